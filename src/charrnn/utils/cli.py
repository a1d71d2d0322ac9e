"""Shared by all commands: the argument parser, the error line, and the exit codes."""

import argparse
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.files import user_path
from charrnn.utils.signals import ctrl_c_ends_process
from charrnn.utils.streams import flush_streams
from charrnn.utils.validation import SPLITS

EXIT_FAILED = 1
EXIT_REQUEST = 2
EXIT_BROKEN_PIPE = 141  # what a shell reports for a process that SIGPIPE ended
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
UNWRITTEN = (*FULL, errno.EPIPE)  # errors of printing


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises `RequestError` for an invalid command line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; {self.prog} --help lists the options")

    def print_help(self, file: Any = None) -> None:  # argparse hides that it could not be printed
        (file or sys.stdout).write(self.format_help())

    def add_network(self) -> None:
        """Add the options that select a trained network (see `runs.folder.find_checkpoint`)."""
        source = self.add_mutually_exclusive_group()
        source.add_argument(
            "--run", metavar="DIR", help="run or sweep folder; uses its best checkpoint (default: latest)"
        )
        source.add_argument("--checkpoint", metavar="PATH", help="checkpoint, or a folder with one, instead of --run")

    def add_text(self) -> None:
        """Add the options that select the text to read (see `data.splits.named_text`)."""
        text = self.add_mutually_exclusive_group()
        text.add_argument("--text", metavar="FILE", help="text to read: file, folder, pattern, URL, or - for stdin")
        text.add_argument("--split", choices=SPLITS, help="split of the run's own text to read (default: validation)")
        self.add_argument("--encoding", help="encoding of --text (default: that of the training text)")
        self.add_unknown("characters of --text")

    def add_unknown(self, characters: str) -> None:
        """Add the option that says what happens to `characters` outside the vocabulary."""
        self.add_argument(
            "--unknown",
            choices=("error", "skip", "replace"),
            default="error",
            help=f"what to do with {characters} that are not in the network's vocabulary: skip drops them, "
            "replace uses its unknown symbol, or a space if it has none (default: error)",
        )

    def add_force(self) -> None:
        """Add the option that lets `file_to_write` return an existing file."""
        self.add_argument("--force", action="store_true", help="overwrite an existing file")


def file_to_write(typed: object, option: str, force: bool) -> Path:
    """Return the path of a file to write; raise `RequestError` for a folder, and without `force` for an old file."""
    path = user_path(typed)
    if path.is_dir():
        raise RequestError(f"{path} is a folder; choose a file with {option}")
    if path.is_file() and not force:
        raise RequestError(f"{path} already exists; choose another file with {option}, or overwrite it with --force")
    return path


@contextmanager
def option_names(arguments: argparse.Namespace) -> Iterator[None]:
    """Within the block, errors such as "top_k must be ..." name the option of that argument: "--top-k must be ..."."""
    try:
        yield
    except RequestError as error:
        name, _, problem = str(error).partition(" must be ")
        if not problem or name not in vars(arguments):
            raise
        raise RequestError(f"--{name.replace('_', '-')} must be {problem}") from error


def print_error(program: str, error: object) -> None:
    """Report an error as one line on stderr, prefixed with the program's name."""
    with suppress(OSError):  # a full disk
        sys.stderr.write(f"{program}: {one_line(error)}\n")


def unwritten(program: str, error: OSError) -> int:
    """Report that stdout can't be written, silently for a closed pipe; return the exit code."""
    if isinstance(error, BrokenPipeError):
        return EXIT_BROKEN_PIPE
    print_error(program, f"stdout can't be written: {error.strerror or error}")
    return EXIT_FAILED


def flushed(program: str, code: int) -> int:
    """Flush the standard streams at the end of a command; return its exit code, which is not 0 if that fails.

    From then on, Ctrl-C ends the process silently.
    """
    error = flush_streams()
    if error is not None and not code:
        code = unwritten(program, error)
    flush_streams()  # the error line may be lost too
    ctrl_c_ends_process()
    return code
