"""Format a table as text: aligned for a terminal, Markdown, or CSV."""

import csv
import io
import re
from collections.abc import Sequence

Cells = Sequence[Sequence[str]]  # a list of rows

GAP = "  "
PLUS_MINUS = " ± "  # separates a mean from its standard deviation
NUMBER = re.compile(rf"-?[\d,]*\.?\d+(e[-+]?\d+)?({PLUS_MINUS}[\d.]+)?")
EMPTY_CELL = "-"  # shown where an empty cell could look like an oversight


def aligned(headings: Sequence[str], rows: Cells, width: int) -> str:
    """Return a table with aligned columns, numbers right-aligned, for a terminal of `width` characters.

    Columns that do not fit continue in further blocks below; each block repeats the first column.
    """
    columns = [_column(heading, [row[index] for row in rows]) for index, heading in enumerate(headings)]
    blocks = [columns[:1]]
    for column in columns[1:]:
        if len(blocks[-1]) > 1 and len(GAP.join(line[0] for line in (*blocks[-1], column))) > width:
            blocks.append(columns[:1])
        blocks[-1].append(column)
    return "\n".join("".join(f"{GAP.join(line).rstrip()}\n" for line in zip(*block, strict=True)) for block in blocks)


def _column(heading: str, cells: Sequence[str]) -> list[str]:
    numbers = _are_numbers(cells)
    if numbers:  # pad numbers without a deviation, so that the means align
        deviations = [len(cell) - len(cell.partition(PLUS_MINUS)[0]) for cell in cells]
        longest = max(deviations, default=0)
        cells = [cell + " " * (longest - length) for cell, length in zip(cells, deviations, strict=True)]
    width = max(map(len, [heading, *cells]))
    return [line.rjust(width) if numbers else line.ljust(width) for line in (heading, *cells)]


def _are_numbers(cells: Sequence[str]) -> bool:
    """Return whether every cell with content holds a number, with or without a deviation."""
    return all(NUMBER.fullmatch(cell) for cell in cells if cell not in ("", EMPTY_CELL))


def markdown(headings: Sequence[str], rows: Cells) -> str:
    """Return the table as Markdown, with `|` escaped in cells."""
    rule = ["---:" if _are_numbers([row[index] for row in rows]) else "---" for index in range(len(headings))]
    lines = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (headings, rule, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def csv_text(headings: Sequence[str], rows: Cells) -> str:
    """Return the table as CSV (RFC 4180, but with `\\n` as the line end)."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    return text.getvalue()
