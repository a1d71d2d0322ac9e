"""Prepare a run: read the text, build the network, and find the checkpoint to start from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from charrnn.data.datamodule import CharDataModule
from charrnn.network import CharRNN
from charrnn.runs.folder import CHECKPOINTS, read_summary
from charrnn.training.builders import build
from charrnn.training.config_checks import run_length
from charrnn.training.distributed.ranks import Ranks
from charrnn.training.initial_weights import load_weights, vocabulary_from
from charrnn.training.resume import Start, checkpoints_to_resume, choose, require_same_settings
from charrnn.training.text_length import set_by_length
from charrnn.utils.config import plain
from charrnn.utils.process import prepare_process
from charrnn.utils.validation import require_flag


@dataclass
class Preparation:
    """Holds what is known of a run before it is trained.

    `facts`: what `summary.json` says of it. `steps`: the optimizer steps of the whole run. `found`: the checkpoints
    from which it may resume, newest first. `earlier`: the kernel and the threads of the run that is resumed.
    `finished`: the summary of a run that has completed all its steps already. `changed`: the settings in which this run
    differs from the one that it resumes. `by_length`: the settings that the length of the text decided; `by_time`:
    those of them that `max_minutes` changed.
    """

    data: CharDataModule
    network: CharRNN
    facts: dict[str, Any]
    steps: int
    found: list[tuple[Path, dict[str, Any]]]
    earlier: dict[str, Any]
    start: Start
    finished: dict[str, Any] | None
    changed: list[str] = field(default_factory=list)
    by_length: dict[str, Any] = field(default_factory=dict)
    by_time: dict[str, Any] = field(default_factory=dict)

    @property
    def newest_checkpoint(self) -> dict[str, Any]:
        return self.found[0][1]


def prepare(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks) -> Preparation:
    """Read the text, build the network, and find the checkpoint to start from."""
    found = checkpoints_to_resume(cfg.resume_from, folder / CHECKPOINTS, named)
    earlier = found[0][1]["charrnn"]["run"] if found else {}
    threads = earlier.get("threads", "auto") if cfg.threads == "auto" else cfg.threads
    sharing = 1 if ranks.launcher == "Slurm" else ranks.local_size  # Slurm gives each process its own CPU cores
    seed, threads = prepare_process(cfg.seed, threads, sharing, tf32=require_flag("tf32", cfg.tf32))
    make_vocabulary = vocabulary_from(cfg, found[0][1] if found else None)
    data: CharDataModule = build(cfg, "data", CharDataModule, make_vocabulary=make_vocabulary)
    data.share(ranks.size)
    by_length = set_by_length(cfg, data, found[0][1]["charrnn"]["config"] if found else None)
    network: CharRNN = build(cfg, "model", CharRNN, vocabulary_size=len(data.vocabulary))
    steps = run_length(cfg.trainer, data.batches_per_epoch)
    with_changes = require_flag("resume_with_changes", cfg.resume_with_changes)
    before = read_summary(folder)
    completed = found and cfg.resume_from == "last" and before["status"] == "finished" and before["steps"] >= steps
    start = Start(None, 0) if completed else choose(found, steps, own=cfg.resume_from == "last")
    # Not always the newest, whose settings may already be those of this run: see `choose`.
    base = next((each for each in found if each[0] == start.path), found[0] if found else None)
    changes = require_same_settings(*base, plain(cfg), data, with_changes=with_changes) if base else {}
    if not completed and start.step == 0 and cfg.init_from is not None:
        load_weights(cfg.init_from, network, data.vocabulary)
    facts = {
        "seed": seed,
        "threads": threads,
        "corpus_sha256": data.corpus.sha256,
        "vocabulary_size": len(data.vocabulary),
        "parameters": network.parameter_count(),
    }
    history = [
        *(base[1]["charrnn"]["run"].get("changes", []) if base else []),
        *(f"{key}: {old_new}, after step {start.step}" for key, old_new in changes.items()),
    ]
    if history:
        facts["changes"] = history
    finished = before if completed else None
    return Preparation(data, network, facts, steps, found, earlier, start, finished, [*changes], by_length)
