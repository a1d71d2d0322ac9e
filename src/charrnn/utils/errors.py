"""The exceptions of this project. Each message is one line."""

import signal


class RequestError(ValueError):
    """Raised for an invalid request; the message says what is wrong, what was expected and what to do."""


class RunFailed(RuntimeError):
    """Raised when a run fails although neither the request nor the program is wrong; the message gives advice."""


class Pruned(Exception):
    """Raised to stop a trial early: other trials were better at this step."""


class Stopped(BaseException):
    """Raised when a signal stops the run; the exit code is 128 + the signal number, as in a shell.

    It is not an `Exception`, so that no library catches it and reports a failed job.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)  # pickle needs it to pass the exception between processes
        self.signum = signum
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


def one_line(text: object) -> str:
    """Return `text` on one line; white space within its lines stays, since a path may have any."""
    return " ".join(filter(None, map(str.strip, str(text).splitlines())))
