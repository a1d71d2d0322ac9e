"""Start the scripts of this folder, which import it first: one error line if charrnn is missing, and exit codes."""

import sys
from collections.abc import Callable
from pathlib import Path

try:
    from charrnn.utils.cli import EXIT_FAILED, EXIT_REQUEST, print_error
    from charrnn.utils.errors import RequestError, RunFailed, Stopped
    from charrnn.utils.paths import require_project
    from charrnn.utils.process import set_before_torch
except ModuleNotFoundError:
    name = Path(sys.argv[0]).name
    sys.stderr.write(f"{name}: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)


def run_script(main: Callable[[], int | None]) -> None:
    """Run `main` and exit with the code that it returns (0 for None).

    An invalid request prints one line and exits with 2, `RunFailed` prints one line and exits with 1. A signal exits
    with 128 + its number, and a closed pipe (`generate.py | head`) silently with the code of SIGPIPE.
    """
    program, code = Path(sys.argv[0]).name, EXIT_REQUEST
    set_before_torch()
    try:
        require_project()
        if sys.stdout is not None:  # None if it was closed
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # the terminal's encoding may lack characters
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
        sys.stdout = None  # otherwise the flush at exit reports an error
        code = 141
    except OSError as error:  # such as a missing permission or a full disk
        print_error(program, f"{error.filename or 'a file'} can't be used: {error.strerror or error}")
    sys.exit(code)
