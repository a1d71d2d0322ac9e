"""Errors of reading a text, which name settings in train.py and options in a script."""

from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.utils.errors import RequestError


class TextError(RequestError):
    """Raised if a text can't be read: the problem, and what to do in train.py or in a script.

    `str()` is the message of train.py, which names settings such as `data.encoding`. `in_script` names options such as
    `--encoding` instead.
    """

    def __init__(self, problem: str, advice: str, script_advice: str, script_problem: str | None = None) -> None:
        super().__init__(f"{problem}; {advice}")
        self.script_problem = script_problem or problem
        self.in_script = f"{self.script_problem}; {script_advice}"


@contextmanager
def named_by_option() -> Iterator[None]:
    """Within the block, errors about the text that `--text` names are worded for a script."""
    try:
        yield
    except TextError as error:
        raise RequestError(error.in_script) from error


@contextmanager
def named_by_run(advice: str) -> Iterator[None]:
    """Within the block, errors about the text of a run say so, and end with `advice`."""
    try:
        yield
    except RequestError as error:
        problem = error.script_problem if isinstance(error, TextError) else error
        raise RequestError(f"the run's text can't be read: {problem}; {advice}") from error
