"""The report of a search: leaderboard, counts of trials, best trial, and the command that trains it again."""

import math
from collections.abc import Sequence
from pathlib import Path

from charrnn.runs.commands import rerun
from charrnn.runs.leaderboard import as_text, heading, write_leaderboard
from charrnn.runs.records import is_complete, read_job

BITS = "val_bits_per_char"


def report(folder: Path, keys: Sequence[str], width: int) -> str:
    """Write the leaderboard of a search over `keys`; return the report as text."""
    trials = [read_job(trial) for trial in sorted(folder.glob("trial_*"), key=lambda trial: int(trial.name[6:]))]
    if not trials:
        return ""
    ranked = [row for row in write_leaderboard(folder, width)[0] if is_complete(row)]
    counts = dict.fromkeys(("finished", "pruned", "failed", "interrupted or running"), 0)
    for trial in trials:
        status = trial.summary["status"]
        counts[status if status in counts else "interrupted or running"] += 1
    outcomes = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    steps = sum(trial.number("steps") or 0 for trial in trials)
    full_steps = len(trials) * max((trial.number("steps") or 0 for trial in trials if trial.complete), default=0)
    share = f"; {100 * steps / full_steps:.0f} % of the steps of {len(trials)} full runs" if full_steps else ""
    lines = [heading(folder)]
    lines += [as_text(ranked[:10], keys, width), f"trials    {len(trials)}: {outcomes}{share}"]
    if ranked:
        results = [(trial.number(BITS) if trial.complete else None) or math.inf for trial in trials]
        improvements = [n for n in range(len(trials)) if results[n] < min(results[:n], default=math.inf)]
        best = next(trial for trial in trials if trial.folder.name == ranked[0]["run"])
        lines.append(f"progress  {', '.join(f'{results[n]:.4f} after {n + 1}' for n in improvements)}")
        lines.append(f"best      {best.folder}, {ranked[0][BITS]:.4f} bits per character")
        lines.append(f"rerun     {rerun(best.folder)}")
    return "\n".join(lines)
