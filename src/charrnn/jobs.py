"""The jobs of a sweep in processes of their own, for the launchers in `hydra_plugins`."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from charrnn.errors import print_error
from charrnn.runs import read_summary, write_summary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep, with all that another process needs to run it."""

    number: int
    overrides: Sequence[str]
    context: HydraContext
    sweep: DictConfig  # the sweep's own configuration
    task: TaskFunction
    singletons: dict[Any, Any]  # Hydra's state in the process that made the job

    @property
    def folder(self) -> Path:
        config = self._config()
        return Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()

    def run(self, *, restarted: bool = False) -> float:
        """Run it here, and return what the task does; nan for a job that failed.

        One that was `restarted` goes on with what it left in its folder. Raises `Stopped` after a signal.
        """
        setup_globals()
        Singleton.set_state(self.singletons)
        try:
            config = self._config()
            HydraConfig.instance().set_config(config)
            if restarted and any((self.folder / "checkpoints").glob("*.ckpt")):
                config.sweep.resume = True
            done = run_job(
                hydra_context=self.context, config=config, task_function=self.task,
                job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
            )  # fmt: skip
            return float(done.return_value)
        except Exception as error:  # before the job itself began, which lets none out
            print_error("train.py", f"{' '.join(self.overrides)}: {type(error).__name__}: {error}")
            return math.nan

    def _config(self) -> DictConfig:
        config = self.context.config_loader.load_sweep_config(self.sweep, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        return config

    def returned(self, value: float | None) -> JobReturn:
        """What Hydra's sweepers take for the job's end; None stands for one that was killed."""
        return JobReturn(self.overrides, status=JobStatus.COMPLETED, _return_value=math.nan if value is None else value)


def sweep_jobs(
    context: HydraContext,
    sweep: DictConfig,
    task: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[SweepJob]:
    """A launcher's jobs, one for each list of overrides, numbered from `first`."""
    state = Singleton.get_state()
    return [SweepJob(number, given, context, sweep, task, state) for number, given in enumerate(job_overrides, first)]


def report_job(folder: Path, *, killed: bool, with_reason: bool = False) -> None:
    """One line on the screen for a job that has ended."""
    if killed and read_summary(folder)["status"] == "missing":
        write_summary(folder, {"status": "failed", "reason": "its process was killed before the run began"})
    summary = read_summary(folder)
    bits, reason = summary.get("val_bits_per_char"), summary.get("reason")
    told = [summary["status"]]
    if bits is not None:
        told.append(f"{bits:.4f} bits per character")
    if with_reason and reason is not None:
        told.append(reason.removeprefix("still running, or "))  # by now it is known which
    log.info("%s: %s", folder.name, ", ".join(told))
