"""Common to the scripts of this folder, which import it first: one line where charrnn is missing, and exit codes."""

import sys
from collections.abc import Callable
from pathlib import Path

try:
    from charrnn.utils.cli import EXIT_FAILED, EXIT_REQUEST, print_error
    from charrnn.utils.errors import RequestError, RunFailed, Stopped
    from charrnn.utils.process import set_before_torch
except ModuleNotFoundError:
    name = Path(sys.argv[0]).name
    sys.stderr.write(f"{name}: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)


def run_script(main: Callable[[], int | None]) -> None:
    """Run `main` and end the process with the exit code that it returns, 0 for None.

    A wrong request ends it with one line and exit code 2, `RunFailed` with one line and 1, a signal with 128 + its
    number, and a reader that went away (`generate.py | head`) quietly with the code of SIGPIPE.
    """
    program, code = Path(sys.argv[0]).name, EXIT_REQUEST
    set_before_torch()
    try:
        if sys.stdout is not None:  # it may be closed
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every character
        code = main() or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except RequestError as error:
        print_error(program, error)
    except RunFailed as error:
        print_error(program, error)
        code = EXIT_FAILED
    except Stopped as stop:
        code = stop.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        sys.stdout = None  # else the interpreter complains while it flushes at exit
        code = 141
    except OSError as error:  # a folder that may not be read, a disk that is full
        print_error(program, f"{error.filename or 'a file'} can't be used: {error.strerror or error}")
    sys.exit(code)
