"""Many runs side by side: what differs in their settings, what came out, seeds grouped, best first.

A row is one run, or with `n` one group of runs that differ in the seed only: their mean and standard deviation.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from charrnn.runs.records import Record

Row = dict[str, Any]

FIGURES = {  # column: heading on the screen, format
    "val_bits_per_char": ("validation", ".4f"),
    "test_bits_per_char": ("test", ".4f"),
    "best_step": ("best step", ",.0f"),
    "parameters": ("parameters", ",.0f"),
    "train_chars_per_second": ("chars/s", ",.0f"),
    "minutes": ("minutes", ".2f"),
}
BITS = ("val_bits_per_char", "test_bits_per_char")
DEVIATION = "_deviation"
SEED = "seed"
NOT_COMPARED = ("resume_from", "sweep.resume", "dry_run")  # how a command went on says nothing of its result


def setting_text(value: Any) -> str:
    """A setting as one types it, on one line; 0 and 0.0 are the same."""
    if isinstance(value, str) and value.isprintable() and value.strip() == value != "":
        return value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return json.dumps(int(value) if whole else value)


def differing(records: Sequence[Record]) -> list[str]:
    """The keys, but for the seed, in which settings differ, as they came.

    Of keys that some runs do not have at all (a GRU's activation, what older versions did not know), those that tell
    runs apart which are otherwise the same.
    """
    known = [record for record in records if record.settings]
    values: dict[str, set[str]] = {}
    for record in known:
        for key in record.settings.keys() - {SEED, *NOT_COMPARED}:
            values.setdefault(key, set()).add(setting_text(record.settings[key]))
    order = {key: place for record in reversed(known) for place, key in enumerate(record.settings)}
    keys = [key for key in values if len(values[key]) > 1]
    for key in sorted(values.keys() - keys, key=order.__getitem__):
        without = {_signature(record.settings, keys) for record in known if key not in record.settings}
        if without & {_signature(record.settings, keys) for record in known if key in record.settings}:
            keys.append(key)
    return sorted(keys, key=order.__getitem__)


def _signature(settings: Row, keys: Iterable[str]) -> tuple[str | None, ...]:
    return tuple(setting_text(settings[key]) if key in settings else None for key in keys)


def uncommon(settings: Row, keys: Iterable[str], all_settings: Sequence[Row]) -> list[str]:
    """Those of `keys` whose value here is not that of more than half of all."""
    own = {key: _signature(settings, [key]) for key in keys if key in settings}
    every = {key: [_signature(other, [key]) for other in all_settings] for key in own}
    return [key for key in own if 2 * every[key].count(own[key]) <= len(all_settings)]


def groups(records: Iterable[Record], keys: Sequence[str]) -> list[list[Record]]:
    """The runs, those together that agree in `keys`; one whose settings can't be read stands alone."""
    found: dict[object, list[Record]] = {}
    for record in records:
        found.setdefault(_signature(record.settings, keys) if record.settings else record.folder, []).append(record)
    return list(found.values())


def common_folder(records: Iterable[Record]) -> Path:
    """The folder that holds them all."""
    return Path(os.path.commonpath([record.folder.parent for record in records]))


def run_rows(records: Sequence[Record], keys: Sequence[str], base: Path) -> list[Row]:
    """One row per run, best first, those without a result last; runs are named as they lie in `base`."""
    return sorted((_row(record, keys, base) for record in records), key=_rank)


def group_rows(records: Sequence[Record], keys: Sequence[str], base: Path) -> list[Row]:
    """One row per group, best first, and one per run without a result; `run` is the group's best run."""
    ranked = groups((record for record in records if record.complete), keys)
    grouped = [_mean([_row(record, keys, base) for record in group]) for group in ranked]
    left = [_row(record, keys, base) for record in records if not record.complete]
    return sorted([*grouped, *left], key=_rank)


def _row(record: Record, keys: Sequence[str], base: Path) -> Row:
    seconds = record.number("train_seconds")
    minutes = None if seconds is None else round(seconds / 60, 2)
    return {
        "run": setting_text(str(record.folder.relative_to(base))),
        **{key: record.settings[key] for key in keys if key in record.settings},
        "status": str(record.summary.get("status", "unknown")),
        **{key: record.number(key) for key in FIGURES},
        "minutes": minutes,
        "reason": record.summary.get("reason"),
        SEED: record.settings.get(SEED, record.summary.get(SEED)),
    }


def _mean(rows: list[Row]) -> Row:
    rows = sorted(rows, key=_rank)
    seeds = sorted({setting_text(row[SEED]) for row in rows}, key=lambda seed: (len(seed), seed))
    result: Row = {**rows[0], "n": len(rows), "seeds": " ".join(seeds)}
    del result[SEED]
    for column in FIGURES:
        values = [row[column] for row in rows if row[column] is not None]
        result[column] = mean(values) if values else None
        if column in BITS:
            result[column + DEVIATION] = stdev(values) if len(values) > 1 else None
    return result


def _rank(row: Row) -> tuple[bool, bool, float, str]:
    value = row["val_bits_per_char"]
    return (not complete(row), value is None, value or 0.0, row["run"])


def complete(row: Row) -> bool:
    """Whether the row tells of a run that trained to its end."""
    return row["status"] == "finished" and not row["reason"]
