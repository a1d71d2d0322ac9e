"""The exceptions of this project, each with a message of one line."""

import signal


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
