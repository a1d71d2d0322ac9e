"""What a search came to: its leaderboard, how the best result fell, what pruning saved, the command to use."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from charrnn.comparison import complete
from charrnn.leaderboard import on_screen, write_leaderboard
from charrnn.records import Record, read_job

SHOWN = 10  # best trials on the screen; the files have all
ENDED = ("finished", "pruned", "failed")
BITS = "val_bits_per_char"


def read_trials(folder: Path) -> list[Record]:
    """The runs of a search in the order of their numbers."""
    return sorted(map(read_job, folder.glob("trial_*")), key=lambda record: int(record.folder.name.rpartition("_")[2]))


def report(folder: Path, keys: Sequence[str], width: int) -> str:
    """Write the leaderboard of a search over `keys`; return what to show of it."""
    trials = read_trials(folder)
    if not trials:
        return ""
    rows, _ = write_leaderboard(folder, width)
    ranked = [row for row in rows if complete(row)]
    lines = [f"leaderboard {folder / 'leaderboard.csv'} and .md, best first, in bits per character:"]
    lines.append(on_screen(ranked[:SHOWN], keys, width))
    lines.append(f"trials    {_counts(trials)}")
    if ranked:
        lines.append(f"course    {_course(trials)}")
        best = next(trial for trial in trials if trial.folder.name == ranked[0]["run"])
        lines.append(f"best      {best.folder}, {ranked[0][BITS]:.4f} bits per character")
        lines.append(f"again     {command(best)}")
    return "\n".join(lines)


def under_way(trials: Sequence[Record]) -> list[Record]:
    """Those that a process is at work on, or has left behind."""
    return [trial for trial in trials if trial.summary["status"] not in ENDED]


def command(trial: Record) -> str:
    """What trains this trial anew."""
    pairs = trial.settings.items()
    return shlex.join(["python", "train.py", *(f"{key}={value}" if value else key for key, value in pairs)])


def _counts(trials: Sequence[Record]) -> str:
    """How many ended how, and the share of the steps that were really made."""
    statuses = [str(trial.summary["status"]) for trial in trials]
    counts = [f"{statuses.count(status)} {status}" for status in ENDED if status in statuses]
    counts += [f"{len(under_way(trials))} not at an end"] if under_way(trials) else []
    made = [trial.number("steps") or 0 for trial in trials]
    whole = max((steps for trial, steps in zip(trials, made, strict=True) if trial.complete), default=0)
    share = (
        f"; {100 * sum(made) / (whole * len(trials)):.0f} % of the steps of {len(trials)} whole runs" if whole else ""
    )
    return f"{len(trials)}: {', '.join(counts)}{share}"


def _course(trials: Sequence[Record]) -> str:
    """The best result after how many trials, where it changed."""
    falls: list[str] = []
    best = float("inf")
    for number, trial in enumerate(trials, 1):
        bits = trial.number(BITS) if trial.complete else None
        if bits is not None and bits < best:
            best = bits
            falls.append(f"{bits:.4f} after {number}")
    return ", ".join(falls)
