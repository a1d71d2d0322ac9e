"""What surrounds the jobs of a Hydra multirun: their folders' names, where the sweep lies, its table at the end."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from charrnn.leaderboard import write_leaderboard
from charrnn.runs import OUTPUTS, job_folder_name, read_summary

# With those that plugins bring one job that is killed ends the whole sweep.
OWN_LAUNCHERS = {
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": "charrnn_launcher.SideBySideLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": "charrnn_submitit.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": "charrnn_submitit.SlurmLauncher",
}
WIDTH = 120  # of a table, where there is no terminal


def register_resolvers() -> None:
    """Make `${outputs:}` and `${job_folder:NAME,NUMBER}` known to OmegaConf; conf/config.yaml uses them."""
    OmegaConf.register_new_resolver("outputs", lambda: str(OUTPUTS), replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder_name, replace=True)


class SweepCallback(Callback):
    """Remembers the sweep's folder and its jobs, and lets only swept keys into the names of their folders.

    Hydra pickles its callbacks for launchers that start other processes; making one anew there registers the
    resolvers there too.
    """

    folder: Path | None = None  # of the sweep that this process started; read when it has ended, well or not
    jobs: ClassVar[set[Path]] = set()  # the folders of those of its jobs that a launcher has got

    def __init__(self) -> None:
        register_resolvers()

    def __reduce__(self) -> tuple[type["SweepCallback"], tuple[()]]:
        return SweepCallback, ()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        SweepCallback.folder = Path(config.hydra.sweep.dir).absolute()
        SweepCallback.jobs.clear()
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
        excluded = ",".join(f"'{key}'" for key in {override.key_or_group for override in overrides} - swept)
        with read_write(config):
            # Every job is composed anew from these, in whatever process it runs.
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]")
            own = OWN_LAUNCHERS.get(config.hydra.launcher._target_)
            if own is not None:
                config.hydra.launcher._target_ = f"hydra_plugins.{own}"

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            SweepCallback.jobs.add(Path(config.hydra.runtime.output_dir))


def report_sweep(folder: Path, jobs: Collection[Path]) -> tuple[str, bool]:
    """Write the sweep's leaderboard; return what to show of it, and whether all `jobs` finished."""
    if not any(folder.glob("*/")):  # the sweep was refused before its first job
        (folder / "multirun.yaml").unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        return "", True
    _, table = write_leaderboard(folder, shutil.get_terminal_size((WIDTH, 0)).columns)
    title = f"leaderboard {folder / 'leaderboard.csv'} and .md, best first, in bits per character:"
    all_finished = all(read_summary(job)["status"] == "finished" for job in jobs)
    advice = "" if all_finished else f"\n\nto go on: the same command with hydra.sweep.dir={folder} sweep.resume=true"
    return f"{title}\n{table}".rstrip() + advice, all_finished
