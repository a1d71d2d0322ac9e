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
    from charrnn.trial import Request

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
    from charrnn.search_report import read_trials, report, under_way
    from charrnn.tuning import make_request, prepare

    new = OUTPUTS / f"tune_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = new if arguments.folder is None else user_path(arguments.folder)
    request = make_request(folder, arguments.overrides, arguments.search, arguments.trials)
    prepare(request)
    begun = len(read_trials(folder))
    print(f"search    {', '.join(request.search.space)}; in bits per character of the validation part")
    print(f"folder    {folder}" + (f", where {begun} trials were begun" if begun else "") + "\n", flush=True)
    keys, width = list(request.search.space), shutil.get_terminal_size((WIDTH, 0)).columns
    try:
        came_back = do_trials(request, arguments.jobs)
    except Stopped:
        print(f"\n{report(folder, keys, width)}\nto go on  {command_to_go_on(arguments, folder)}")
        raise
    trials = read_trials(folder)
    left = under_way(trials) if any(came_back) else trials
    print(f"\n{report(folder, keys, width)}")
    if left:
        print(f"to go on, unless another process does: {command_to_go_on(arguments, folder)}")
    lost = left and not all(came_back)
    return EXIT_FAILED if lost or not any(trial.complete for trial in trials) else 0


def do_trials(request: "Request", jobs: int) -> list[bool]:
    """Work until no trial is left, in this process or in `jobs` others; for each whether it came to its end."""
    from charrnn.process import default_threads
    from charrnn.tuning import work
    from charrnn.workers import run_tasks

    if jobs == 1:
        return [work(request)]
    came_back = [False] * jobs
    task = pickle.dumps((work, (request,)))

    def ended(place: int, result: bool | None) -> None:
        came_back[place] = result is not None

    run_tasks([task] * jobs, jobs, default_threads(jobs), ended)
    return came_back


def command_to_go_on(arguments: argparse.Namespace, folder: Path) -> str:
    options = {"search": arguments.search, "trials": arguments.trials, "jobs": arguments.jobs, "folder": folder}
    typed = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "scripts/tune.py", *arguments.overrides, *typed])


if __name__ == "__main__":
    with exit_codes("tune.py"):
        try:
            sys.exit(main())
        except Stopped as stop:
            sys.exit(stop.exit_code)
