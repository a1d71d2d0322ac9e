"""What the commands have in common: their argument parser, their error line, and their exit codes."""

import argparse
import sys
from typing import NoReturn

from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.validation import SPLITS

EXIT_FAILED = 1
EXIT_REQUEST = 2


class CommandParser(argparse.ArgumentParser):
    """argparse that refuses a wrong command line as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; {self.prog} --help lists what there is")

    def add_network(self) -> None:
        """The options that name a trained network, as `runs.find_checkpoint` takes them."""
        source = self.add_mutually_exclusive_group()
        source.add_argument("--run", metavar="DIR", help="a run folder, or latest (the default): its best checkpoint")
        source.add_argument("--checkpoint", metavar="PATH", help="a checkpoint file")

    def add_text(self) -> None:
        """The options that name a text to read, as `parts.named_text` takes them."""
        text = self.add_mutually_exclusive_group()
        text.add_argument("--text", metavar="FILE", help="the text to read")
        text.add_argument("--split", choices=SPLITS, help="a part of the run's text (validation)")
        self.add_argument("--encoding", help="of --text, as data.encoding (that of the training text)")


def print_error(program: str, error: object) -> None:
    """One line on stderr, as every command of this project reports what went wrong."""
    sys.stderr.write(f"{program}: {one_line(error)}\n")
