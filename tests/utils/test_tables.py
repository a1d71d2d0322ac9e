import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from charrnn.utils.tables import aligned, csv_text, markdown

HEADINGS = ["#", "best step", "name"]
ROWS = [["1", "9,000", "a"], ["2", "40", "long name"], ["3", "-", ""]]


def test_numbers_are_right_aligned_and_means_align_with_and_without_deviation() -> None:
    assert aligned(HEADINGS, ROWS, 80).splitlines() == [
        "#  best step  name", "1      9,000  a", "2         40  long name", "3          -",
    ]  # fmt: skip
    cells = ["12.51 ± 0.25", "3.50", "0.75 ± 0.01"]
    assert aligned(["#", "x"], [[str(index), cell] for index, cell in enumerate(cells)], 80).splitlines() == [
        "#             x", "0  12.51 ± 0.25", "1   3.50", "2   0.75 ± 0.01",
    ]  # fmt: skip


@given(
    st.lists(st.lists(st.text("ab 1.", max_size=12), min_size=4, max_size=4), min_size=1, max_size=4),
    st.integers(1, 60),
)
def test_no_cell_is_lost_on_a_narrow_screen(rows: list[list[str]], width: int) -> None:
    rows = [[str(index), *("".join(cell.split()) for cell in row)] for index, row in enumerate(rows)]
    headings = ["#", "one", "two", "three", "four"]
    text = aligned(headings, rows, width)
    blocks = [block.splitlines() for block in text.split("\n\n")]
    found: list[list[str]] = [
        [cell for block in blocks for cell in block[1 + index].split()[1:]] for index in range(len(rows))
    ]
    assert found == [[cell for cell in row[1:] if cell] for row in rows]
    widest = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    assert max(map(len, text.splitlines())) <= max(width, widest[0] + 2 + max(widest[1:]))


def test_markdown_escapes_its_cells() -> None:
    assert markdown(HEADINGS, [["1", "9,000", "a | b\nc"]]).splitlines() == [
        "| # | best step | name |", "| ---: | ---: | --- |", "| 1 | 9,000 | a \\| b c |",
    ]  # fmt: skip


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=3, max_size=3)))
def test_csv_reads_back(rows: list[list[str]]) -> None:
    assert list(csv.reader(io.StringIO(csv_text(HEADINGS, rows), newline=""))) == [HEADINGS, *rows]
