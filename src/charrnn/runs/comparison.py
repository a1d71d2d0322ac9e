"""Compare runs: find the settings that differ, group runs that differ only in the seed, and sort by result.

A row describes one run or, if it has `n`, the mean and standard deviation of a group of runs.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from charrnn.runs.records import Record, is_complete

Row = dict[str, Any]

METRICS = {  # column: (heading in a terminal, number format)
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
NOT_COMPARED = ("resume_from", "sweep.resume", "dry_run")  # these do not affect the result of a finished run
PATH = "data.path"
SPLITS = {"validation": "data.validation_fraction", "test": "data.test_fraction"}
SPLIT_KEYS = (*SPLITS.values(), "data.validation_path", "data.test_path")
TEXT_COLUMNS = (PATH, *SPLIT_KEYS)  # of a table of several texts
TEXT_KEYS = ("data.sha256", *TEXT_COLUMNS)  # the same for all runs of a table, or another place of the same text


def setting_text(value: Any) -> str:
    """Return a setting as a user would type it, on one line; 0 and 0.0 give the same text."""
    if isinstance(value, str) and value.isprintable() and value.strip() == value != "":
        return value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return json.dumps(int(value) if whole else value)


def differing(records: Sequence[Record]) -> list[str]:
    """Return the keys whose values differ between runs, without seed and text, in the order of the settings.

    A key that some runs lack (an activation for a GRU, a setting that an older version did not have) counts only if
    runs with and without it are otherwise the same.
    """
    readable = [record for record in records if record.settings]
    values: dict[str, set[str]] = {}
    for record in readable:
        for key in record.settings.keys() - {SEED, *NOT_COMPARED, *TEXT_KEYS}:
            values.setdefault(key, set()).add(setting_text(record.settings[key]))
    order = {key: index for record in reversed(readable) for index, key in enumerate(record.settings)}
    keys = [key for key in values if len(values[key]) > 1]
    for key in sorted(values.keys() - keys, key=order.__getitem__):
        without = {_signature(record.settings, keys) for record in readable if key not in record.settings}
        if without & {_signature(record.settings, keys) for record in readable if key in record.settings}:
            keys.append(key)
    return sorted(keys, key=order.__getitem__)


def by_text(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Group the runs by their text and its splits, under a description: other bits per character do not compare.

    A run that failed before it read its text belongs to the runs of the same path, or else to the first group.
    """
    hashes = {_path(record): _sha256(record) for record in records if _sha256(record)}
    by_key: dict[tuple[str, ...], list[Record]] = {}
    unknown = []
    for record in records:
        path = _path(record)
        text = _sha256(record) or hashes.get(path) or path
        if text is None:
            unknown.append(record)
            continue
        splits = (setting_text(record.settings.get(key)) for key in SPLIT_KEYS)
        by_key.setdefault((str(text), *splits), []).append(record)
    texts: dict[str, list[Record]] = {}
    for (text, *_), group in by_key.items():
        name = _describe(group[0], text)
        texts[f"{name}, SHA-256 {text[:8]}" if name in texts else name] = group
    first = next(iter(texts), "")
    return {**texts, first: [*texts.get(first, []), *unknown]} if unknown else texts


def _path(record: Record) -> str | None:
    """Return the path of the text, of which there may be a list, as one string."""
    path = record.settings.get(PATH)
    return None if path is None else str(path)


def _sha256(record: Record) -> str | None:
    return record.summary.get("corpus_sha256")


def _describe(record: Record, text: str) -> str:
    """Describe a text and its splits: `input.txt, validation 0.1`."""
    path = record.settings.get(PATH, record.settings.get("data", f"SHA-256 {text[:8]}"))
    shares = [
        f"{split} {setting_text(record.settings[key])}" for split, key in SPLITS.items() if key in record.settings
    ]
    return ", ".join([Path(setting_text(path)).name, *shares])


def _signature(settings: Row, keys: Iterable[str]) -> tuple[str | None, ...]:
    return tuple(setting_text(settings[key]) if key in settings else None for key in keys)


def uncommon(settings: Row, keys: Iterable[str], all_settings: Sequence[Row]) -> list[str]:
    """Return the keys whose value in `settings` is shared by at most half of `all_settings`."""
    own = {key: _signature(settings, [key]) for key in keys if key in settings}
    signatures = {key: [_signature(other, [key]) for other in all_settings] for key in own}
    return [key for key in own if 2 * signatures[key].count(own[key]) <= len(all_settings)]


def groups(records: Iterable[Record], keys: Sequence[str]) -> list[list[Record]]:
    """Group the runs that agree in `keys`; a run whose settings cannot be read is a group of its own."""
    by_signature: dict[object, list[Record]] = {}
    for record in records:
        signature = _signature(record.settings, keys) if record.settings else record.folder
        by_signature.setdefault(signature, []).append(record)
    return list(by_signature.values())


def common_folder(records: Iterable[Record]) -> Path:
    """Return the innermost folder that contains all run folders."""
    return Path(os.path.commonpath([record.folder.parent for record in records]))


def run_rows(records: Sequence[Record], keys: Sequence[str], base: Path) -> list[Row]:
    """Return one row per run, best first, runs without a result last; names are paths relative to `base`."""
    return sorted((_row(record, keys, base) for record in records), key=_rank)


def group_rows(records: Sequence[Record], keys: Sequence[str], base: Path) -> list[Row]:
    """Return one row per group, best first, then one per run without a result; `run` names the best run of a group."""
    complete_groups = groups((record for record in records if record.complete), keys)
    means = [_mean([_row(record, keys, base) for record in group]) for group in complete_groups]
    incomplete = [_row(record, keys, base) for record in records if not record.complete]
    return sorted([*means, *incomplete], key=_rank)


def _row(record: Record, keys: Sequence[str], base: Path) -> Row:
    seconds = record.number("train_seconds")
    minutes = None if seconds is None else round(seconds / 60, 2)
    return {
        "run": setting_text(str(record.folder.relative_to(base))),
        **{key: record.settings[key] for key in keys if key in record.settings},
        "status": str(record.summary.get("status", "unknown")),
        **{key: record.number(key) for key in METRICS},
        "minutes": minutes,
        "reason": record.summary.get("reason"),
        SEED: record.settings.get(SEED, record.summary.get(SEED)),
    }


def _mean(rows: list[Row]) -> Row:
    rows = sorted(rows, key=_rank)
    seeds = sorted({setting_text(row[SEED]) for row in rows}, key=lambda seed: (len(seed), seed))
    result: Row = {**rows[0], "n": len(rows), "seeds": " ".join(seeds)}
    del result[SEED]
    for column in METRICS:
        values = [row[column] for row in rows if row[column] is not None]
        result[column] = mean(values) if values else None
        if column in BITS:
            result[column + DEVIATION] = stdev(values) if len(values) > 1 else None
    return result


def _rank(row: Row) -> tuple[bool, bool, float, str]:
    value = row["val_bits_per_char"]
    return (not is_complete(row), value is None, value or 0.0, row["run"])
