"""The result of a search: leaderboard, counts, best value so far, best folder and the command that trains it again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from charrnn.comparison import complete
from charrnn.leaderboard import on_screen, write_leaderboard
from charrnn.records import Record, read_job

SHOWN = 10  # best trials on the screen; the files have all
ENDED = ("finished", "pruned", "failed")
BITS = "val_bits_per_char"


def report(folder: Path, keys: Sequence[str], width: int) -> str:
    """Write the leaderboard of a search over `keys`, and return the text for the screen."""
    trials = [read_job(trial) for trial in sorted(folder.glob("trial_*"), key=lambda trial: int(trial.name[6:]))]
    if not trials:
        return ""
    rows, _ = write_leaderboard(folder, width)
    ranked = [row for row in rows if complete(row)]
    lines = [f"leaderboard {folder / 'leaderboard.csv'} and .md, best first, in bits per character:"]
    lines.append(on_screen(ranked[:SHOWN], keys, width))
    lines.append(f"trials    {_counts(trials)}")
    if ranked:
        lines.append(f"progress  {_best_so_far(trials)}")
        best = next(trial for trial in trials if trial.folder.name == ranked[0]["run"])
        pairs = [f"{key}={value}" if value else key for key, value in best.settings.items()]
        lines.append(f"best      {best.folder}, {ranked[0][BITS]:.4f} bits per character")
        lines.append(f"rerun     {shlex.join(['python', 'train.py', *pairs])}")
    return "\n".join(lines)


def _counts(trials: Sequence[Record]) -> str:
    """Count the trials by how they ended, and the share of the steps that they made."""
    statuses = [trial.summary["status"] for trial in trials]
    counts = [f"{statuses.count(status)} {status}" for status in ENDED if status in statuses]
    unfinished = sum(status not in ENDED for status in statuses)
    counts += [f"{unfinished} interrupted or running"] if unfinished else []
    steps = [trial.number("steps") or 0 for trial in trials]
    whole = len(trials) * max((own for trial, own in zip(trials, steps, strict=True) if trial.complete), default=0)
    share = f"; {100 * sum(steps) / whole:.0f} % of the steps of {len(trials)} whole runs" if whole else ""
    return f"{len(trials)}: {', '.join(counts)}{share}"


def _best_so_far(trials: Sequence[Record]) -> str:
    """List the best results in the order of the trials, each with the number of trials up to it."""
    results = [(trial.number(BITS) if trial.complete else None) or float("inf") for trial in trials]
    bests = [
        (bits, number)
        for number, bits in enumerate(results, 1)
        if bits < min(results[: number - 1], default=float("inf"))
    ]
    return ", ".join(f"{bits:.4f} after {number}" for bits, number in bests)
