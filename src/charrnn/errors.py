"""The one error that is the user's to mend, the checks that raise it, and how a command ends."""

import argparse
import math
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

EXIT_FAILED = 1
EXIT_REQUEST = 2
PARTS = ("train", "validation", "test")  # of a text


class RequestError(ValueError):
    """A request that cannot be met. The message is one line: what was wanted, what was got, what to do."""


class RunFailed(RuntimeError):
    """A run that went wrong by itself, not by a fault of the program. The message is one line, with advice."""


class Pruned(Exception):
    """A run that is not worth its remaining steps, others being better after as many. The message is one line."""


class Stopped(BaseException):
    """A signal asked the run to end (128 + its number is the exit code, as shells have it).

    Not an `Exception`, so that no library on the way turns it into a failed job.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)  # what it is pickled with, on the way from another process
        self.signum = signum
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


def one_line(text: object) -> str:
    """`text` with every run of white space, line ends included, as one space."""
    return " ".join(str(text).split())


def require_integer(name: str, value: object, minimum: int = 1) -> int:
    """`value`, if it is an integer of at least `minimum`; `RequestError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        kind = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise RequestError(f"{name} must be {kind}, got {value!r}")
    return value


def require_number(
    name: str, value: object, minimum: float, below: float = math.inf, at_most: float = math.inf
) -> float:
    """`value` as a float, if minimum <= value < below and value <= at_most; `RequestError` otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value < below and value <= at_most:
        return float(value)
    upper = f" and below {below:g}" * (below < math.inf) + f" and at most {at_most:g}" * (at_most < math.inf)
    raise RequestError(f"{name} must be a number of at least {minimum:g}{upper}, got {value!r}")


def require_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`; `RequestError` otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise RequestError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def require_flag(name: str, value: object) -> bool:
    """`value`, if it is true or false; `RequestError` otherwise."""
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false, got {value!r}")
    return value


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
        text.add_argument("--split", choices=PARTS, help="a part of the run's text (validation)")
        self.add_argument("--encoding", help="of --text, as data.encoding (that of the training text)")


def print_error(program: str, error: object) -> None:
    """One line on stderr, as every command of this project reports what went wrong."""
    sys.stderr.write(f"{program}: {one_line(error)}\n")
