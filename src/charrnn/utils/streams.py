"""The standard streams of a command: they may be closed, full, a closed pipe, or replaced, as in a notebook."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from charrnn.utils.errors import RequestError


class ClosedStream(io.TextIOWrapper):
    """The null device in place of stdout or stderr that was closed when the program started."""


def open_missing_streams() -> None:
    """Open the null device in place of closed standard streams, and let stdout print `?` for what it can't encode.

    Otherwise the next file that is opened would get the number of the closed stream, and what a library or another
    process prints would end up in that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets this number, because all lower ones are open
            os.set_inheritable(descriptor, True)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, ClosedStream(Path(os.devnull).open("wb"), encoding="utf-8"))  # noqa: SIM115
    reconfigure(sys.stdout, errors="replace")


def reconfigure(stream: Any, **changes: Any) -> None:
    """Change the encoding or the line ends of a stream; those of a notebook have none and take any text."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(**changes)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream shows its text on a terminal."""
    return bool(getattr(stream, "isatty", bool)())


def require_stdout() -> None:
    """Raise `RequestError` if stdout was closed, for a command whose result is printed."""
    if isinstance(sys.stdout, ClosedStream):
        raise RequestError("stdout is closed, but the result is printed there; redirect it to a file or to /dev/null")


def stdin_bytes() -> BinaryIO:
    """Return stdin as a binary file. Raises `RequestError` if it is closed."""
    if sys.stdin is None or sys.stdin.closed:
        raise RequestError("standard input is closed or was already read; use a file")
    if not hasattr(sys.stdin, "buffer"):  # replaced by a stream of text
        return io.BytesIO(sys.stdin.read().encode("utf-8"))
    return cast(BinaryIO, sys.stdin.buffer)


def say(text: str = "") -> None:
    """Print a line about work that continues even if nobody can read it: ignores a closed pipe and a full disk."""
    try:
        print(text, flush=True)
    except OSError:
        _flush(sys.stdout)


def flush_streams() -> OSError | None:
    """Flush stdout and stderr; drop what can't be written, and return the error of stdout.

    Otherwise the interpreter tries again when it ends, reports the error and changes the exit code.
    """
    return [_flush(stream) for stream in (sys.stderr, sys.stdout)][-1]


def _flush(stream: Any) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # raised by a stream without a descriptor
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
        return error
    except ValueError:  # the program that called this one has closed the stream
        pass
    return None
