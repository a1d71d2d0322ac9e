"""The form of the README: short sentences, short paragraphs, one value in a cell."""

import re

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PROSE = re.sub(r"^(```.*?^```|    .*?)$", "", README, flags=re.DOTALL | re.MULTILINE)
BLOCKS = [block for block in re.split(r"\n\s*\n", PROSE) if block.strip()]
MAX_WORDS, MAX_SENTENCES, MAX_CODE_SPANS = 30, 4, 3
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def words_of(markdown: str) -> str:
    """Return what a reader sees: links by their text, a code span as one word."""
    return re.sub(r"`[^`]*`", "code", LINK.sub(r"\1", markdown))


def paragraphs() -> list[str]:
    """Return the paragraphs and the items of lists, each as one line."""
    found = []
    for block in BLOCKS:
        if not block.startswith(("#", "|", "!", "[")):
            found += [" ".join(item.split()) for item in re.split(r"^- ", block, flags=re.MULTILINE) if item.strip()]
    return found


def sentences(paragraph: str) -> list[str]:
    return [each for each in re.split(r"(?<=[.!?:;])\s+", words_of(paragraph)) if each]


def test_there_is_prose_to_check() -> None:
    assert len(paragraphs()) > 20
    assert sentences("It is `a.b c`. Is [it](x.md)? Yes.") == ["It is code.", "Is it?", "Yes."]


@pytest.mark.parametrize("paragraph", paragraphs())
def test_a_paragraph_is_short(paragraph: str) -> None:
    found = sentences(paragraph)
    assert len([each for each in found if each.endswith((".", "?", "!"))]) <= MAX_SENTENCES, paragraph
    assert [each for each in found if len(each.split()) > MAX_WORDS] == []


def test_a_line_of_prose_has_few_code_spans() -> None:
    lines = [line for block in BLOCKS if not block.startswith("|") for line in block.splitlines()]
    assert [line for line in lines if line.count("`") > 2 * MAX_CODE_SPANS] == []


def test_a_cell_has_one_value() -> None:
    rows = [line for block in BLOCKS if block.startswith("|") for line in block.splitlines()]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split(" | ")]
    assert len(cells) > 100
    assert [cell for cell in cells if cell.count("`") > 2 or re.search(r"\d;", cell)] == []


def test_headings_stand_where_bold_words_would() -> None:
    assert re.findall(r"^(?:- )?\*\*.*$", README, re.MULTILINE) == []
    assert len(re.findall(r"^##+ ", README, re.MULTILINE)) >= 10
