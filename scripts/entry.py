"""Start the scripts of this folder, which import it first: one line for what is missing, and exit codes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def refuse(line: str) -> NoReturn:
    if sys.stderr is not None:  # None if it was closed
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {line}\n")
    sys.exit(2)


try:
    import fcntl  # noqa: F401  # the locks of run folders
except ImportError:
    refuse("Windows is not supported; use WSL, Linux or macOS")
try:
    from charrnn.utils.signals import ctrl_c_ends_imports

    ctrl_c_ends_imports()

    from charrnn.utils.cli import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_REQUEST, FULL, flushed, print_error
    from charrnn.utils.errors import RequestError, RunFailed, Stopped
    from charrnn.utils.paths import require_project
    from charrnn.utils.process import set_before_torch
    from charrnn.utils.streams import open_missing_streams
except ModuleNotFoundError:
    refuse("charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate")
except KeyboardInterrupt:
    sys.exit(130)


def run_script(main: Callable[[], int | None]) -> None:
    """Run `main` and exit with the code that it returns (0 for None).

    An invalid request prints one line and exits with 2, `RunFailed` and a full disk print one line and exit with 1. A
    signal exits with 128 + its number, and a closed pipe (`generate.py | head`) silently with the code of SIGPIPE.
    """
    program = Path(sys.argv[0]).name
    set_before_torch()
    open_missing_streams()
    sys.exit(flushed(program, exit_code(program, main)))


def exit_code(program: str, main: Callable[[], int | None]) -> int:
    """Run `main`, report its errors, and return the exit code."""
    try:
        require_project()
        return main() or 0
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    except RequestError as error:
        print_error(program, error)
        return EXIT_REQUEST
    except RunFailed as error:
        print_error(program, error)
        return EXIT_FAILED
    except Stopped as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # such as a missing permission or a full disk
        if isinstance(error, BrokenPipeError):
            return EXIT_BROKEN_PIPE
        print_error(program, f"{error.filename or 'the output'} can't be used: {error.strerror or error}")
        return EXIT_FAILED if error.errno in FULL else EXIT_REQUEST
