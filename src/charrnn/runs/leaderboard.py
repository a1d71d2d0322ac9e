"""Format the rows of a comparison as text, Markdown, CSV or JSON, and write the leaderboard files of a sweep."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.runs.comparison import (
    BITS,
    DEVIATION,
    METRICS,
    NOT_COMPARED,
    SEED,
    TEXT_COLUMNS,
    Row,
    by_text,
    differing,
    group_rows,
    groups,
    run_rows,
    setting_text,
    uncommon,
)
from charrnn.runs.folder import LEADERBOARD, json_text
from charrnn.runs.records import Record, is_complete, read_job, runs_below
from charrnn.utils.files import write_text
from charrnn.utils.tables import EMPTY_CELL, PLUS_MINUS, aligned, csv_text, markdown

OTHER_METRICS = tuple(column for column in METRICS if column not in BITS)
CLASS_SUFFIX = "._target_"
GROUPED = "mean ± standard deviation of n runs that differ only in the seed;\nrun is the best of them"
MIN_TEXT_WIDTH = 40  # characters


def heading(folder: Path) -> str:
    """Return the lines above a leaderboard on the screen, which name its files."""
    return f"leaderboard {folder / LEADERBOARD}.csv and .md:\nbest first, in bits per character"


def as_text(rows: Sequence[Row], keys: Sequence[str], width: int) -> str:
    """Return the rows with a result as an aligned table, metrics first, and below it the others with their reasons."""
    ranked, others = [row for row in rows if is_complete(row)], [row for row in rows if not is_complete(row)]
    names = short_names(keys)
    parts = []
    if ranked:
        readable = [row for row in ranked if row.keys() & keys]  # other rows have no settings to compare
        varying = [key for key in keys if len({_cell(row, key) for row in readable}) > 1]
        number = ["n"] if has_groups(ranked) else []
        columns = _filled(ranked, [*BITS, *number, *varying, *OTHER_METRICS, "run"])
        headings = ["#", *(names.get(column) or METRICS.get(column, (column,))[0] for column in columns)]
        cells = [[_short(rows, column, _cell(row, column)) or EMPTY_CELL for column in columns] for row in ranked]
        parts.append(aligned(headings, [[str(rank), *row] for rank, row in enumerate(cells, 1)], width))
    if others:
        parts.append("runs without a result (settings shared by most runs are omitted):\n")
        wrapper = textwrap.TextWrapper(
            max(width, MIN_TEXT_WIDTH), "  ", "    ", break_long_words=False, break_on_hyphens=False
        )
        for row in others:
            shown = [f"{names[key]}={_short(rows, key, _cell(row, key))}" for key in uncommon(row, keys, rows)]
            settings, reason = f" ({', '.join(shown)})" if shown else "", _cell(row, "reason")
            parts[-1] += wrapper.fill(f"{row['run']}{settings}: {row['status']}{', ' if reason else ''}{reason}") + "\n"
    return "\n".join(parts)


def has_groups(rows: Sequence[Row]) -> bool:
    """Return whether a row is the mean of several runs."""
    return any(row.get("n", 1) > 1 for row in rows)


def _short(rows: Sequence[Row], column: str, cell: str) -> str:
    """Return the short form of a cell, or the cell itself if the short form is ambiguous in its column."""
    cells = {_cell(row, column) for row in rows}
    return short_value(column, cell) if len({short_value(column, other) for other in cells}) == len(cells) else cell


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return for every key the shortest suffix that no other key has; `optimizer._target_` counts as `optimizer`."""
    parts = {key: key.removesuffix(CLASS_SUFFIX).split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        tails = (own[-length:] for length in range(1, len(own) + 1))
        unique = [tail for tail in tails if sum(tail == other[-len(tail) :] for other in parts.values()) == 1]
        names[key] = ".".join(unique[0]) if unique else key
    return names


def short_value(key: str, value: Any) -> Any:
    """Return the class name of a `_target_` without its module; other values stay unchanged."""
    return value.rpartition(".")[2] if key.endswith(CLASS_SUFFIX) else value


def as_markdown(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return a Markdown table of all rows, without the columns that are empty."""
    columns = _filled(rows, ["run", *keys, "n", "seeds", "status", *METRICS, "reason"])
    return markdown(columns, [[_cell(row, column) for column in columns] for row in rows])


def as_csv(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return a CSV table of all rows, with unrounded numbers."""
    columns = ["run", *keys, "n", "seeds", "status", *METRICS, *(bits + DEVIATION for bits in BITS), "reason"]
    columns = [column for column in columns if any(column in row for row in rows)]  # single runs have no deviation
    filled = [{key: value for key, value in row.items() if value is not None or key in keys} for row in rows]
    return csv_text(columns, [[setting_text(row[key]) if key in row else "" for key in columns] for row in filled])


def as_json(rows: Sequence[Row]) -> str:
    """Return a JSON list with one object per row; unknown values are null."""
    return "[\n" + ",\n".join(json_text(row) for row in rows) + "\n]\n"


def _filled(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    return [column for column in columns if any(_cell(row, column) for row in rows)]


def _cell(row: Row, column: str) -> str:
    """Return the text of a cell: metrics rounded, with a deviation if the row has one; empty if there is no value."""
    value = row.get(column)
    if column in METRICS:
        numbers = [number for number in (value, row.get(column + DEVIATION)) if number is not None]
        return PLUS_MINUS.join(f"{number:{METRICS[column][1]}}" for number in numbers)
    if column not in row or (value is None and column in ("reason", SEED)):
        return ""
    return setting_text(value)


class Table(NamedTuple):
    """Rows that compare: `columns` are the settings that differ, `text` describes the text and its splits."""

    text: str
    rows: list[Row]
    columns: list[str]


def compared(texts: Mapping[str, Sequence[Record]], base: Path, *, grouped: bool) -> list[Table]:
    """Return a table for each text (see `by_text`): `grouped` by the settings, or with every run and its seed.

    Names of runs are paths relative to `base`.
    """
    tables = []
    for text, records in texts.items():
        keys = differing(records)
        more = TEXT_COLUMNS if len(texts) > 1 else ()  # for CSV and JSON, which have one table
        rows = (group_rows if grouped else run_rows)(records, [*more, *keys], base)
        tables.append(Table(text, rows, keys if grouped else [*keys, SEED]))
    return tables


def text_tables(tables: Sequence[Table], width: int) -> str:
    """Return the tables for a terminal; if there are several, each with the text above it."""
    titles = [f"{table.text}:\n" if len(tables) > 1 else "" for table in tables]
    shown = [as_text(table.rows, table.columns, width) for table in tables]
    return "\n".join(title + table for title, table in zip(titles, shown, strict=True))


def markdown_tables(tables: Sequence[Table]) -> str:
    """Return the tables in Markdown; if there are several, each with the text above it."""
    titles = [f"{table.text}:\n\n" if len(tables) > 1 else "" for table in tables]
    shown = [as_markdown(table.rows, table.columns) for table in tables]
    return "\n".join(title + table for title, table in zip(titles, shown, strict=True))


def write_leaderboard(sweep: Path, width: int) -> tuple[list[Row], str]:
    """Write `leaderboard.csv` and `leaderboard.md` into the sweep's folder; return the rows and the terminal text.

    Each job has the settings named on its command line. If seeds are swept, a second table shows the means over seeds.
    """
    texts = by_text([read_job(folder) for folder in runs_below(sweep)])
    records = [record for group in texts.values() for record in group]
    all_settings = [record.settings for record in records if record.settings]
    values_by_key = {key: {settings.get(key) for settings in all_settings} for named in all_settings for key in named}
    swept = [key for key, values in values_by_key.items() if len(values) > 1 and key not in NOT_COMPARED]
    tables = [Table(text, run_rows(group, list(values_by_key), sweep), swept) for text, group in texts.items()]
    parts, screens = [markdown_tables(tables)], [text_tables(tables, width)]
    finished = {text: [record for record in group if record.complete] for text, group in texts.items()}
    if any(len(seeds) > 1 for group in finished.values() for seeds in groups(group, differing(group))):
        means = compared(finished, sweep, grouped=True)
        parts.append(f"{GROUPED}:\n\n{markdown_tables(means)}")
        screens.append(f"{GROUPED}:\n{text_tables(means, width)}")
    if same := [f"{key}={values.pop()}" for key, values in values_by_key.items() if len(values) == 1]:
        parts.append(f"The same in every job: {', '.join(same)}\n")
    rows = [row for table in tables for row in table.rows]
    write_text(sweep / f"{LEADERBOARD}.csv", as_csv(rows, list(values_by_key)))
    write_text(sweep / f"{LEADERBOARD}.md", "\n".join(parts))
    return rows, "\n".join(screens)
