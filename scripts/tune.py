"""Search for good settings: each trial learns from those before it, and ends early if others did better.

python scripts/tune.py data=shakespeare trainer.max_steps=2500 --trials 30
python scripts/tune.py model=gru --search gated --folder outputs/my_search --jobs 2
python scripts/tune.py model=gru --search gated --folder outputs/my_search --trials 60     (continues it)

Settings are written as for train.py and hold for all trials; conf/search/ has the settings that are searched.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

try:
    from charrnn.errors import EXIT_FAILED, CommandParser, RequestError, Stopped, exit_codes, require_integer
except ModuleNotFoundError:
    sys.stderr.write("tune.py: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)

WIDTH = 120  # where there is no terminal


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Search for good settings, with trials that may end early.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all trials, as for train.py")
    parser.add_argument("--trials", type=int, default=30, help="number of trials, earlier ones included (default: 30)")
    parser.add_argument(
        "--search", default="elman", metavar="NAME", help="a file of conf/search/, or FILE.yaml (default: elman)"
    )
    parser.add_argument("--folder", metavar="DIR", help="folder of the search, new or to be continued")
    parser.add_argument("--storage", metavar="URL", help="database of the study (default: SQLite in DIR/study.db)")
    parser.add_argument("--jobs", type=int, default=1, help="trials side by side, sharing the CPU cores (default: 1)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # one of the --jobs
    arguments = parser.parse_intermixed_args()
    for name in ("trials", "jobs"):
        require_integer(f"--{name}", getattr(arguments, name))
    return arguments


def main() -> int:
    arguments = read_arguments()

    from charrnn.process import set_before_torch

    set_before_torch()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every character
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        message = "the search needs optuna, which is not installed: pip install -e '.[tune]'"
        raise RequestError(message) from None

    from charrnn.files import user_path
    from charrnn.runs import OUTPUTS
    from charrnn.search_report import report
    from charrnn.study import newest, open_study
    from charrnn.tuning import make_request, prepare, work

    new = OUTPUTS / f"tune_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = new if arguments.folder is None else user_path(arguments.folder)
    request = make_request(folder, arguments.overrides, arguments.search, arguments.trials, arguments.storage)
    if arguments.worker:
        stop_with_parent()
        work(request, open_study(request))
        return 0
    study = prepare(request)
    begun = len(newest(study))
    print(f"search    {', '.join(request.space)}; in bits per character of the validation split")
    print(f"folder    {folder}" + (f", which has {begun} trials" if begun else ""))
    if request.trials < arguments.trials:
        print(f"trials    {request.trials}: the search has no more different settings")
    print(flush=True)
    keys, width = list(request.space), shutil.get_terminal_size((WIDTH, 0)).columns
    command = command_to_continue(arguments, folder)
    try:
        if arguments.jobs == 1:
            work(request, study)
        else:
            work_side_by_side([*command, "--worker"], arguments.jobs)
    except Stopped:
        print(f"\n{report(folder, keys, width)}\ncontinue  {shlex.join(command)}")
        raise
    ended = [trial for trial in newest(study).values() if trial.state.is_finished()]
    print(f"\n{report(folder, keys, width)}")
    if len(ended) < request.trials:
        print(f"continue  {shlex.join(command)}")
    return 0 if len(ended) >= request.trials and any(trial.state.name == "COMPLETE" for trial in ended) else EXIT_FAILED


def command_to_continue(arguments: argparse.Namespace, folder: Path) -> list[str]:
    options = {name: getattr(arguments, name) for name in ("search", "trials", "storage", "jobs")} | {"folder": folder}
    typed = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return ["python", "scripts/tune.py", *arguments.overrides, *typed]


def work_side_by_side(command: list[str], jobs: int) -> None:
    """Run the command in `jobs` processes, which share the CPU cores; stop them on a signal, and raise `Stopped`."""
    from charrnn.process import default_threads
    from charrnn.signals import signals_raise_stopped

    # In a group of its own each: Ctrl-C on the terminal reaches this process alone.
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "process_group": 0}
    options["env"] = {**os.environ, "OMP_NUM_THREADS": str(default_threads(jobs))}
    workers: list[subprocess.Popen] = []
    try:
        with signals_raise_stopped():
            for _ in range(jobs):
                workers.append(subprocess.Popen([sys.executable, __file__, *command[2:]], **options))
            for worker in workers:
                worker.wait()
    except Stopped:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        raise
    finally:
        for worker in workers:
            worker.kill()


def stop_with_parent() -> None:
    """Stop this process, one of several side by side, when the one that started it ends."""
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # no progress bars on top of each other

    def wait() -> None:
        sys.stdin.read()  # nothing is ever written
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    with exit_codes("tune.py"):
        try:
            sys.exit(main())
        except Stopped as stop:
            sys.exit(stop.exit_code)
