"""Shared by all commands: the argument parser, the error line, and the exit codes."""

import argparse
import sys
from typing import NoReturn

from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.validation import SPLITS

EXIT_FAILED = 1
EXIT_REQUEST = 2


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises `RequestError` for an invalid command line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; {self.prog} --help lists the options")

    def add_network(self) -> None:
        """Add the options that select a trained network (see `runs.folder.find_checkpoint`)."""
        source = self.add_mutually_exclusive_group()
        source.add_argument("--run", metavar="DIR", help="run folder; uses its best checkpoint (default: latest)")
        source.add_argument("--checkpoint", metavar="PATH", help="checkpoint file to use instead of --run")

    def add_text(self) -> None:
        """Add the options that select the text to read (see `data.splits.named_text`)."""
        text = self.add_mutually_exclusive_group()
        text.add_argument("--text", metavar="FILE", help="text to read: file, folder, pattern, URL, or - for stdin")
        text.add_argument("--split", choices=SPLITS, help="split of the run's own text to read (default: validation)")
        self.add_argument("--encoding", help="encoding of --text (default: that of the training text)")


def print_error(program: str, error: object) -> None:
    """Report an error as one line on stderr, prefixed with the program's name."""
    sys.stderr.write(f"{program}: {one_line(error)}\n")
