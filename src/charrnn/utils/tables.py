"""A table of cells as text: aligned for a terminal, Markdown, CSV."""

import csv
import io
import re
from collections.abc import Sequence

Cells = Sequence[Sequence[str]]  # row by row

GAP = "  "
PLUS_MINUS = " ± "  # between a mean and its standard deviation
NUMBER = re.compile(rf"-?[\d,]*\.?\d+(e[-+]?\d+)?({PLUS_MINUS}[\d.]+)?")
NOTHING = "-"  # instead of an empty cell, where one might take it for an oversight


def aligned(headings: Sequence[str], rows: Cells, width: int) -> str:
    """Columns below their headings, numbers to the right, no line wider than `width` where single columns allow it.

    Columns that find no room go on below, in parts that each begin with the first column.
    """
    columns = [_column(heading, [row[place] for row in rows]) for place, heading in enumerate(headings)]
    parts = [columns[:1]]
    for column in columns[1:]:
        if len(parts[-1]) > 1 and len(GAP.join(line[0] for line in (*parts[-1], column))) > width:
            parts.append(columns[:1])
        parts[-1].append(column)
    return "\n".join("".join(f"{GAP.join(line).rstrip()}\n" for line in zip(*part, strict=True)) for part in parts)


def _column(heading: str, cells: Sequence[str]) -> list[str]:
    numbers = _are_numbers(cells)
    if numbers:  # one without a deviation stands below those that have one
        deviations = [len(cell) - len(cell.partition(PLUS_MINUS)[0]) for cell in cells]
        room = max(deviations, default=0)
        cells = [cell + " " * (room - length) for cell, length in zip(cells, deviations, strict=True)]
    width = max(map(len, [heading, *cells]))
    return [line.rjust(width) if numbers else line.ljust(width) for line in (heading, *cells)]


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether every cell that says anything holds a number, or a number and its deviation."""
    return all(NUMBER.fullmatch(cell) for cell in cells if cell not in ("", NOTHING))


def markdown(headings: Sequence[str], rows: Cells) -> str:
    """A Markdown table; a `|` in a cell does not end it."""
    rule = ["---:" if _are_numbers([row[place] for row in rows]) else "---" for place in range(len(headings))]
    lines = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (headings, rule, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def csv_text(headings: Sequence[str], rows: Cells) -> str:
    """Comma-separated values, quoted where they must be (RFC 4180, but with plain line ends)."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    return text.getvalue()
