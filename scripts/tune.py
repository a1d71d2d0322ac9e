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
from importlib.util import find_spec

import entry
from charrnn.utils.cli import EXIT_FAILED, CommandParser
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Search for good settings, with trials that may end early.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all trials, as for train.py")
    parser.add_argument("--trials", type=int, default=30, help="number of trials, earlier ones included (default: 30)")
    parser.add_argument("--search", default="elman", metavar="NAME", help="conf/search/NAME.yaml or a file (elman)")
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
    if find_spec("optuna") is None:
        raise RequestError("the search needs optuna, which is not installed: pip install -e '.[tune]'")

    from charrnn.search.report import report
    from charrnn.search.study import make_request, open_study
    from charrnn.search.tune import ENDED, prepare, work
    from charrnn.utils.files import user_path
    from charrnn.utils.paths import OUTPUTS

    folder = user_path(arguments.folder or OUTPUTS / f"tune_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    request = make_request(folder, arguments.overrides, arguments.search, arguments.trials, arguments.storage)
    if arguments.worker:
        stop_with_parent()
        work(request, open_study(request))
        return 0
    study = prepare(request)
    begun = len(study.get_trials(states=ENDED))
    print(f"search    {', '.join(request.space)}; in bits per character of the validation split")
    print(f"folder    {folder}" + (f", which has {begun} trials that ended" if begun else ""))
    if request.trials < arguments.trials:
        print(f"trials    {request.trials}: the search has no more different settings")
    print(flush=True)
    options = {name: getattr(arguments, name) for name in ("search", "trials", "storage", "jobs")} | {"folder": folder}
    typed = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    command, continued = ["scripts/tune.py", *arguments.overrides, *typed], True
    try:
        if arguments.jobs == 1:
            work(request, study)
        else:
            work_side_by_side([*command[1:], "--worker"], arguments.jobs)
        continued = len(study.get_trials(states=ENDED)) < request.trials
    finally:
        width = shutil.get_terminal_size((120, 0)).columns
        print(f"\n{report(folder, list(request.space), width)}")
        if continued:
            print(f"continue  {shlex.join(['python', *command])}")
    return EXIT_FAILED if continued or all(trial.state.name != "COMPLETE" for trial in study.trials) else 0


def work_side_by_side(arguments: list[str], jobs: int) -> None:
    """Run this script in `jobs` processes, which share the CPU cores; stop them on a signal, and raise `Stopped`."""
    from charrnn.utils.process import default_threads
    from charrnn.utils.signals import signals_raise_stopped

    command = [sys.executable, __file__, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(default_threads(jobs))}
    workers: list[subprocess.Popen] = []
    try:
        with signals_raise_stopped():
            for _ in range(jobs):  # in a group of its own each: Ctrl-C on the terminal reaches this process alone
                workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, env=environment))
            for worker in workers:
                worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def stop_with_parent() -> None:
    """Stop this process, one of several side by side, when the one that started it ends."""
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # no progress bars on top of each other

    def wait() -> None:
        sys.stdin.read()  # nothing is ever written
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    entry.run_script(main)
