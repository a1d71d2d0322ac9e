"""Common to the scripts of this folder, which import it first: one line where charrnn is missing, and exit codes."""

import sys
from collections.abc import Callable
from pathlib import Path

try:
    from charrnn.errors import EXIT_FAILED, RunFailed, Stopped, exit_codes, print_error
    from charrnn.process import set_before_torch
except ModuleNotFoundError:
    name = Path(sys.argv[0]).name
    sys.stderr.write(f"{name}: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)


def run_script(main: Callable[[], int | None]) -> None:
    """Run `main` and end the process: with the exit code that it returns, 0 for None, or as `exit_codes` says.

    `RunFailed` ends it with one line and exit code 1, `Stopped` with the exit code of the signal.
    """
    program = Path(sys.argv[0]).name
    set_before_torch()
    with exit_codes(program):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every character
        try:
            code = main()
        except RunFailed as error:
            print_error(program, error)
            code = EXIT_FAILED
        except Stopped as stop:
            code = stop.exit_code
    sys.exit(code)
