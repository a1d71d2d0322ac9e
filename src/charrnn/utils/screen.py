"""What a run logs, as the screen shows it: wrapped between words, above a progress bar, nothing twice in a sweep."""

import logging
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

log = logging.getLogger(__name__)

WIDTH = 80  # columns
LABEL_WIDTH = 10
HARD_SPACE = "\N{NO-BREAK SPACE}"  # in a report, a space at which no line breaks


def report(label: str, text: str, *, new_group: bool = False) -> None:
    """Log an entry of the report of a run; on the screen, an empty line precedes a `new_group`."""
    entry = f"{label:<{LABEL_WIDTH}}{text}"
    log.info("%s", entry.replace(HARD_SPACE, " "), extra={"entry": entry, "new_group": new_group})


def report_sample(title: str, text: str) -> None:
    """Log a text that a network wrote, with a title."""
    log.info("\n%s\n%s\n", title, text, extra={"sample": True})


def wrap_lines(text: str, width: int) -> str:
    """Break the lines that are longer than `width` at spaces, and keep every character; a longer word is broken too."""
    options: dict[str, Any] = {"expand_tabs": False, "replace_whitespace": False, "break_on_hyphens": False}
    wrapper = textwrap.TextWrapper(width, drop_whitespace=False, **options)
    return "\n".join("\n".join(wrapper.wrap(line)) for line in text.split("\n"))


class ScreenHandler(logging.StreamHandler):
    """Writes log lines to the screen; if a closed pipe or a full disk loses them, the run continues.

    A progress bar sets `write_mode`, within which it makes room for a line. Entries in `reported` are not repeated: in
    a sweep, those that are the same for every job.
    """

    write_mode: ClassVar[Callable[[Any], AbstractContextManager[Any]]] = nullcontext
    reported: ClassVar[set[str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if entry := getattr(record, "entry", None):
            if entry in self.reported:
                return
            self.reported.add(entry)
        with ScreenHandler.write_mode(self.stream):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text, entry = super().format(record), getattr(record, "entry", None)
        if getattr(record, "sample", False):
            return wrap_lines(text, WIDTH)
        if entry is None or text != record.getMessage():  # a format of the user's own stays as it is
            return text
        indent = LABEL_WIDTH * " "
        wrapped = textwrap.fill(entry, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        return "\n" * getattr(record, "new_group", False) + wrapped.replace(HARD_SPACE, " ")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
