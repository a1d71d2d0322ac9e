"""Search for good settings: each trial learns from those before it, and stops early if others were better.

python scripts/tune.py data=shakespeare trainer.max_steps=2500 --trials 30
python scripts/tune.py model=gru --search gated --folder outputs/my_search --jobs 2
python scripts/tune.py model=gru --search gated --folder outputs/my_search --trials 60     (continues the search)

Settings use the syntax of train.py and apply to all trials; conf/search/ lists the settings that are searched.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import EXIT_FAILED, CommandParser
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.paths import install_command
from charrnn.utils.streams import say
from charrnn.utils.validation import require_integer


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Search for good settings; trials that are worse than others stop early.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all trials, as for train.py")
    parser.add_argument("--trials", type=int, default=30, help="number of trials, old ones included (default: 30)")
    parser.add_argument("--search", default="elman", metavar="NAME", help="conf/search/NAME or a file (default: elman)")
    parser.add_argument(
        "--config-dir",
        "-cd",
        metavar="DIR",
        help="folder with config files of your own, as for train.py (default: none)",
    )
    parser.add_argument("--folder", metavar="DIR", help="new or existing search (default: outputs/tune_<date>_<time>)")
    parser.add_argument("--storage", metavar="URL", help="database of the study (default: SQLite in DIR/study.db)")
    parser.add_argument("--jobs", type=int, default=1, help="parallel trials, which share the CPU cores (default: 1)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # one of the processes of --jobs
    arguments = parser.parse_intermixed_args()
    for name in ("trials", "jobs"):
        require_integer(f"--{name}", getattr(arguments, name))
    if arguments.config_dir is not None:
        arguments.overrides.append(search_path(arguments.config_dir))
    return arguments


def search_path(folder: str) -> str:
    """Return the override for a folder with config files, which every trial, worker and continued search gets."""
    path = user_path(folder).absolute()
    if not path.is_dir():
        raise RequestError(f"--config-dir must be a folder, but there is none at {path}")
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'hydra.searchpath=["file://{escaped}"]'


def main() -> int:
    arguments = read_arguments()
    if find_spec("optuna") is None:
        raise RequestError(f"this script needs optuna, which is not installed: {install_command('tune')}")

    from charrnn.runs.commands import command
    from charrnn.search.report import report
    from charrnn.search.study import make_request, open_study
    from charrnn.search.tune import ENDED, prepare, work
    from charrnn.utils.paths import OUTPUTS

    folder = user_path(arguments.folder or OUTPUTS / f"tune_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    request = make_request(folder, arguments.overrides, arguments.search, arguments.trials, arguments.storage)
    if arguments.worker:
        stop_with_parent()
        work(request, open_study(request))
        return 0
    study = prepare(request)
    ended = len(study.get_trials(states=ENDED))
    say(f"search    {', '.join(request.space)}; in bits per character of the validation split")
    for option in dict.fromkeys(request.left_out.values()):
        keys = ", ".join(key for key, without in request.left_out.items() if without == option)
        say(f"left out  {keys}, which {option} does not have")
    say(f"folder    {folder}" + (f", which has {ended} trials already" if ended else ""))
    if request.trials < arguments.trials:
        say(f"trials    {request.trials}: the search space has no more settings")
    say()
    options = {name: getattr(arguments, name) for name in ("search", "trials", "storage", "jobs")} | {"folder": folder}
    words: list[str | Path] = list(arguments.overrides)
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", value if isinstance(value, Path) else str(value)]
    unfinished = True
    try:
        if arguments.jobs == 1:
            work(request, study)
        else:
            work_in_parallel([*words, "--worker"], arguments.jobs)
        unfinished = len(study.get_trials(states=ENDED)) < request.trials
    finally:
        width = shutil.get_terminal_size((120, 0)).columns
        say(f"\n{report(folder, list(request.space), width)}")
        if unfinished:
            say(f"continue  {command('scripts/tune.py', words)}")
    return EXIT_FAILED if unfinished or all(trial.state.name != "COMPLETE" for trial in study.trials) else 0


def work_in_parallel(arguments: list[str | Path], jobs: int) -> None:
    """Run this script in `jobs` processes, which share the CPU cores. On a signal, stop them and raise `Stopped`."""
    from charrnn.utils.process import default_threads
    from charrnn.utils.signals import signals_raise_stopped

    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(default_threads(jobs))}
    workers: list[subprocess.Popen] = []
    try:
        with signals_raise_stopped():
            for _ in range(jobs):  # each in its own process group, so that Ctrl-C reaches this process alone
                workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, env=environment))
            for worker in workers:
                worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def stop_with_parent() -> None:
    """Stop this worker process when the process that started it ends."""
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # so that parallel workers show no progress bars

    def wait() -> None:
        sys.stdin.read()  # nothing is written to it: returns when the parent ends
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    entry.run_script(main)
