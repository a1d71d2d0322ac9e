"""The rows of a comparison as people and programs read them: screen, Markdown, CSV, JSON, and the files of a sweep."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.runs.comparison import (
    BITS,
    DEVIATION,
    FIGURES,
    NOT_COMPARED,
    SEED,
    Row,
    complete,
    differing,
    group_rows,
    groups,
    run_rows,
    setting_text,
    uncommon,
)
from charrnn.runs.folder import LEADERBOARD, json_text
from charrnn.runs.records import read_job, runs_below
from charrnn.utils.files import write_text
from charrnn.utils.tables import NOTHING, PLUS_MINUS, aligned, csv_text, markdown

COSTS = tuple(figure for figure in FIGURES if figure not in BITS)
CLASS = "._target_"
GROUPED = "mean ± standard deviation of n runs that differ in the seed only; run is the best of them"
LEAST_WIDTH = 40  # of running text


def on_screen(rows: Sequence[Row], keys: Sequence[str], width: int) -> str:
    """The rows with a result as an aligned table, figures first; below it the others, each with its reason."""
    ranked, others = [row for row in rows if complete(row)], [row for row in rows if not complete(row)]
    names = short_names(keys)
    parts = []
    if ranked:
        known = [row for row in ranked if row.keys() & keys]  # not of a run whose settings can't be read
        between = [key for key in keys if len({_cell(row, key) for row in known}) > 1]
        columns = _filled(ranked, [*BITS, "n", *between, *COSTS, "run"])
        headings = ["#", *(names.get(column) or FIGURES.get(column, (column,))[0] for column in columns)]
        cells = [[_short(rows, column, _cell(row, column)) or NOTHING for column in columns] for row in ranked]
        parts.append(aligned(headings, [[str(place), *row] for place, row in enumerate(cells, 1)], width))
    if others:
        parts.append("without a result (settings that most runs share are left out):\n")
        wrapper = textwrap.TextWrapper(
            max(width, LEAST_WIDTH), "  ", "    ", break_long_words=False, break_on_hyphens=False
        )
        for row in others:
            told = [f"{names[key]}={_short(rows, key, _cell(row, key))}" for key in uncommon(row, keys, rows)]
            settings, reason = f" ({', '.join(told)})" if told else "", _cell(row, "reason")
            parts[-1] += wrapper.fill(f"{row['run']}{settings}: {row['status']}{', ' if reason else ''}{reason}") + "\n"
    return "\n".join(parts)


def _short(rows: Sequence[Row], column: str, cell: str) -> str:
    """The cell's short value, unless another one in the column has the same."""
    cells = {_cell(row, column) for row in rows}
    return short_value(column, cell) if len({short_value(column, other) for other in cells}) == len(cells) else cell


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """For every key its last part, or as many as no other key ends with; a group's name for the class that it picks."""
    parts = {key: key.removesuffix(CLASS).split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        tails = (own[-length:] for length in range(1, len(own) + 1))
        alone = [tail for tail in tails if sum(tail == other[-len(tail) :] for other in parts.values()) == 1]
        names[key] = ".".join(alone[0]) if alone else key
    return names


def short_value(key: str, value: Any) -> Any:
    """A class by its own name, everything else as it is."""
    return value.rpartition(".")[2] if key.endswith(CLASS) else value


def as_markdown(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """One table of all rows, without the columns in which there is nothing."""
    columns = _filled(rows, ["run", *keys, "n", "seeds", "status", *FIGURES, "reason"])
    return markdown(columns, [[_cell(row, column) for column in columns] for row in rows])


def as_csv(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """One table of all rows, every figure with all its digits."""
    columns = ["run", *keys, "n", "seeds", "status", *FIGURES, *(bits + DEVIATION for bits in BITS), "reason"]
    columns = [column for column in columns if any(column in row for row in rows)]  # single runs have no deviation
    known = [{key: value for key, value in row.items() if value is not None or key in keys} for row in rows]
    return csv_text(columns, [[setting_text(row[key]) if key in row else "" for key in columns] for row in known])


def as_json(rows: Sequence[Row]) -> str:
    """A list with one object per row, null for what is not known."""
    return "[\n" + ",\n".join(json_text(row) for row in rows) + "\n]\n"


def _filled(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    return [column for column in columns if any(_cell(row, column) for row in rows)]


def _cell(row: Row, column: str) -> str:
    """What people read: figures rounded, with their deviation if the row has one; empty for what is not there."""
    value = row.get(column)
    if column in FIGURES:
        figures = [figure for figure in (value, row.get(column + DEVIATION)) if figure is not None]
        return PLUS_MINUS.join(f"{figure:{FIGURES[column][1]}}" for figure in figures)
    if column not in row or (value is None and column in ("reason", SEED)):
        return ""
    return setting_text(value)


def write_leaderboard(sweep: Path, width: int) -> tuple[list[Row], str]:
    """Write `leaderboard.csv` and `leaderboard.md` into the sweep's folder; return its rows, and them on the screen.

    Every job with the settings that were typed; where seeds are swept, a second table of their means.
    """
    records = [read_job(folder) for folder in runs_below(sweep)]
    keys = differing(records)
    every = [record.settings for record in records if record.settings]
    typed = {key: {settings.get(key) for settings in every} for named in every for key in named}
    swept = [key for key, values in typed.items() if len(values) > 1 and key not in NOT_COMPARED]
    rows = run_rows(records, list(typed), sweep)
    tables, screens = [as_markdown(rows, swept)], [on_screen(rows, swept, width)]
    ended = [record for record in records if record.complete]
    if any(len(group) > 1 for group in groups(ended, keys)):
        means = group_rows(ended, keys, sweep)
        tables.append(f"{GROUPED}:\n\n{as_markdown(means, keys)}")
        screens.append(f"{GROUPED}:\n{on_screen(means, keys, width)}")
    if same := [f"{key}={values.pop()}" for key, values in typed.items() if len(values) == 1]:
        tables.append(f"The same in every job: {', '.join(same)}\n")
    write_text(sweep / f"{LEADERBOARD}.csv", as_csv(rows, list(typed)))
    write_text(sweep / f"{LEADERBOARD}.md", "\n".join(tables))
    return rows, "\n".join(screens)
