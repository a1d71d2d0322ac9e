"""Search good settings: trials that learn from those before, and end early where others did better.

python scripts/tune.py data=shakespeare trainer.max_steps=2500 --trials 30
python scripts/tune.py model=gru --search gated --folder outputs/my_search --jobs 2
python scripts/tune.py model=gru --search gated --folder outputs/my_search --trials 60     (goes on with it)

Settings are written as for train.py, and fixed for all trials; conf/search/ says what is tried.
"""

import argparse
import pickle
import shlex
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from charrnn.errors import EXIT_FAILED, CommandParser, Stopped, exit_codes, require_integer
except ModuleNotFoundError:
    sys.stderr.write("tune.py: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)

if TYPE_CHECKING:
    from charrnn.study import Request

WIDTH = 120  # where there is no terminal


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Search good settings: trials that learn from those before and may end early.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all trials, as for train.py")
    parser.add_argument("--trials", type=int, default=30, help="how many in all, earlier ones included (30)")
    parser.add_argument(
        "--search", default="elman", metavar="NAME", help="a file of conf/search/, or FILE.yaml (elman)"
    )
    parser.add_argument("--folder", metavar="DIR", help="where the search goes, or the one to go on with")
    parser.add_argument("--jobs", type=int, default=1, help="trials side by side, which share the processors (1)")
    arguments = parser.parse_intermixed_args()
    for name in ("trials", "jobs"):
        require_integer(f"--{name}", getattr(arguments, name))
    return arguments


def main() -> int:
    arguments = read_arguments()

    from charrnn.process import set_before_torch

    set_before_torch()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every character

    from charrnn.files import user_path
    from charrnn.runs import OUTPUTS
    from charrnn.search_report import read_trials, report
    from charrnn.tuning import make_request, prepare

    folder = OUTPUTS / f"tune_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    if arguments.folder is not None:
        folder = user_path(arguments.folder)
    request = make_request(folder, arguments.overrides, arguments.search, arguments.trials)
    prepare(request)
    begun = len(read_trials(folder))
    print(f"search    {', '.join(request.search.space)}; in bits per character of the validation part")
    print(f"folder    {folder}" + (f", where {begun} trials were begun" if begun else "") + "\n", flush=True)
    code, all_worked = 0, True
    try:
        all_worked = do_trials(request, arguments.jobs)
    except Stopped as stop:
        code = stop.exit_code
    print(f"\n{report(folder, list(request.search.space), shutil.get_terminal_size((WIDTH, 0)).columns)}")
    if code or not all_worked:
        print(f"to go on: {command_to_go_on(arguments, folder)}")
    ended_well = all_worked and any(trial.complete for trial in read_trials(folder))
    return code or (0 if ended_well else EXIT_FAILED)


def do_trials(request: "Request", jobs: int) -> bool:
    """Work until no trial is left, in this process or in `jobs` others; whether none of those was killed."""
    from charrnn.process import default_threads
    from charrnn.tuning import work
    from charrnn.workers import run_tasks

    if jobs == 1:
        return work(request)
    results: dict[int, bool | None] = {}
    run_tasks([pickle.dumps((work, (request,)))] * jobs, jobs, default_threads(jobs), results.__setitem__)
    return all(results.values())


def command_to_go_on(arguments: argparse.Namespace, folder: Path) -> str:
    options = {"search": arguments.search, "trials": arguments.trials, "jobs": arguments.jobs, "folder": folder}
    typed = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "scripts/tune.py", *arguments.overrides, *typed])


if __name__ == "__main__":
    with exit_codes("tune.py"):
        sys.exit(main())
