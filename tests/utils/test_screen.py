import io
import logging
import re
from collections.abc import Iterator

import pytest

from charrnn.utils.screen import HARD_SPACE, WIDTH, ScreenHandler, report, report_sample, wrap_lines


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logger = logging.getLogger("charrnn.utils.screen")
    monkeypatch.setattr(logger, "handlers", [ScreenHandler(stream)])
    monkeypatch.setattr(logger, "level", logging.INFO)
    ScreenHandler.reported.clear()
    yield stream
    ScreenHandler.reported.clear()


def test_an_entry_is_wrapped_between_words_with_a_hanging_indent(
    screen: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    words = [f"word{i},{HARD_SPACE}{i}" for i in range(40)] + ["x" * 100]
    report("text", " ".join(words), new_group=True)
    empty, first, *others = screen.getvalue().splitlines()
    assert empty == "" and first.startswith("text      word0, 0 word1, 1")
    assert all(re.match(r" {10}\S", line) for line in others)
    assert all(len(line) <= WIDTH or line.strip() == words[-1] for line in (first, *others))
    assert all(re.search(r"\d$", line) for line in (first, *others[:-1]))  # never between a word and its number
    plain = " ".join(words).replace(HARD_SPACE, " ")
    assert " ".join(screen.getvalue().split()) == f"text {plain}"
    assert caplog.messages == [f"text      {plain}"]  # train.log: one line


def test_an_entry_that_is_the_same_in_every_job_of_a_sweep_appears_once(screen: io.StringIO) -> None:
    for hidden in (8, 16):
        report("text", "a.txt")
        report("network", f"1 layer of {hidden}")
    assert screen.getvalue().split("\n") == ["text      a.txt", "network   1 layer of 8", "network   1 layer of 16", ""]


def test_a_sample_is_wrapped_and_keeps_every_character(screen: io.StringIO) -> None:
    text = "a  b\n\n" + "words and " * 30 + "\n    indented\t" + "x" * 200 + "\n"
    report_sample("sample of step 5:", text)
    lines = screen.getvalue().split("\n")
    assert lines[1] == "sample of step 5:" and max(map(len, lines)) == WIDTH
    assert screen.getvalue().replace("\n", "")[17:] == text.replace("\n", "")
    assert wrap_lines("a b c d", 3) == "a b\n c \nd"
