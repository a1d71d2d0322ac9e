"""The story of a run: data, model, trainer, fit, final validation and test, summary."""

import logging
import math
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from charrnn.data.datamodule import CharDataModule
from charrnn.evaluation.scoring import per_character, score_carried
from charrnn.network import CharRNN
from charrnn.runs.checkpoint_file import network_weights, read
from charrnn.runs.folder import locked
from charrnn.runs.lifecycle import RunRecord, recorded
from charrnn.runs.settings_files import refuse_foreign_files
from charrnn.runs.sweep import in_sweep
from charrnn.training.callbacks.stopping import OnValidation
from charrnn.training.config_checks import check_keys, run_length
from charrnn.training.distributed.ranks import find_ranks
from charrnn.training.follower import find_own_rank, train_as_follower
from charrnn.training.loggers import Loggers
from charrnn.training.preparation import Preparation, prepare
from charrnn.training.preview import report_text
from charrnn.training.report import report_end, report_scoring, report_start, report_stop
from charrnn.training.resume import refuse_used_folder
from charrnn.training.setup import Training, assemble
from charrnn.training.text_length import fit_to_time
from charrnn.utils.errors import RunFailed, Stopped
from charrnn.utils.files import display_path
from charrnn.utils.screen import report
from charrnn.utils.signals import signals_raise_stopped

log = logging.getLogger(__name__)


def run(cfg: DictConfig, folder: Path | None = None, on_validation: OnValidation | None = None) -> float:
    """Train what `cfg` describes, leave the run in `folder` (by default Hydra's), return validation bits per character.

    NaN without a validation split. `on_validation` is called after every validation but the last, with the step and the
    bits per character; it may end the run by raising `Pruned`. However the run ends, `summary.json` says how, and the
    exception is raised to the caller. A folder in which another run is running, or has finished, is left as it is.
    """
    named = folder is not None or _folder_is_named()  # so that the same command can resume it
    folder = folder or Path(HydraConfig.get().runtime.output_dir)
    this_rank = find_own_rank(cfg, named)
    if this_rank.rank > 0:
        return train_as_follower(cfg, folder, named, this_rank)
    with locked(folder):
        refuse_used_folder(cfg.get("resume_from"), folder)
        refuse_foreign_files(folder)
        with recorded(folder, cfg) as record:
            try:
                with signals_raise_stopped():
                    check_keys(cfg)
                    _run(cfg, folder, named, record, on_validation)
            except Stopped as stop:
                report_stop(str(stop), record.summary, folder)
                raise
    bits = record.summary["val_bits_per_char"]
    return math.nan if bits is None or cfg.dry_run else float(bits)


def _run(cfg: DictConfig, folder: Path, named: bool, record: RunRecord, on_validation: OnValidation | None) -> None:
    ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)  # here a wrong setting ends up in the summary
    ready = prepare(cfg, folder, named, ranks)
    record.update(**ready.facts)
    if ready.finished is not None:
        steps = f"{ready.finished['steps']:,}"
        log.info("the run in %s has finished its %s steps; nothing to do", display_path(folder), steps)
        record.update(**ready.finished)
        return
    with Loggers(cfg, folder, ready.start) as loggers:
        training = assemble(cfg, ready, folder, ranks, loggers, on_validation)
        record.update(kernel=training.kernel)
        baselines = report_text(ready.data, symbols=cfg.dry_run)
        step_seconds = training.seconds_per_step(ready, ranks)
        if ranks.size == 1 and not ready.found:  # other ranks would measure another time; a resumed run keeps its steps
            ready.by_time = fit_to_time(cfg, ready.by_length, step_seconds)
        if ready.by_time:  # build again what knows the number of steps: the schedule, callbacks, checkpoints
            ready.steps = run_length(cfg.trainer, ready.data.batches_per_epoch)
            training = assemble(cfg, ready, folder, ranks, loggers, on_validation)
        report_start(cfg, ready, training, step_seconds)
        if cfg.dry_run:
            log.info("\ndry run   nothing was trained")
            record.update(steps=0, reason="dry_run=true: nothing was trained")
            record.keep_earlier_summary()
            return
        report("folder", display_path(folder), new_group=True)
        if cfg.resume_from is not None:
            step = ready.start.step
            report("resuming", f"after step {step:,}" if step else "nothing there: a new run")
            for change in ready.facts.get("changes", []):
                report("changed", change)
        record.begin()
        loggers.begin(baselines, ready.steps)
        if ranks.size > 1 and ranks.launcher == "Lightning" and not ready.start.trained:
            report("starting", f"{ranks.size - 1} more of {ranks.size} processes")
        try:
            training.fit(ready)
        finally:
            record.update(**training.progress())
        record.update(reason=training.early_end())
        report_scoring(ready.data)
        record.update(**restore_best(ready, training))
        record.update(**score(ready.network, ready.data))
        require_finite(record.summary)
        loggers.end(record.summary)
        sample = training.samples.write(training.trainer, training.module, record.summary["best_step"])
        report_end(folder, record.summary, sample)
        training.raise_failures()


def restore_best(ready: Preparation, training: Training) -> dict[str, Any]:
    """Load the best weights into the network, and return what `summary.json` says of them.

    Weights that could not be saved are left as they are after the last step.
    """
    checkpoint = training.checkpoints.best
    if not checkpoint.exists():
        step = training.trainer.global_step
        return {"best_step": step, "steps": step}
    saved = read(checkpoint)
    ready.network.float()
    ready.network.load_state_dict(network_weights(saved))
    return {"best_step": int(saved["global_step"]), "checkpoint": str(checkpoint.absolute())}


def score(network: CharRNN, data: CharDataModule) -> dict[str, float]:
    """Read the validation and the test split from start to end, and return what `summary.json` says of them."""
    scores = {}
    for split, ids in (("val", data.validation_ids), ("test", data.test_ids)):
        if len(ids):
            result = per_character(score_carried(network, ids), data.vocabulary, ids)
            scores[f"{split}_bits_per_char"] = result.bits_per_char
            if split == "val":
                scores["val_nats_per_char"] = result.nats_per_char
    return scores


def require_finite(summary: dict[str, Any]) -> None:
    """Raise `RunFailed` if a score is NaN or infinite: such a network is no result."""
    for split, key in (("validation", "val_bits_per_char"), ("test", "test_bits_per_char")):
        if summary[key] is not None and not math.isfinite(summary[key]):
            raise RunFailed(
                f"the {split} loss of the weights of step {summary['best_step']:,} is {summary[key]}; "
                "start over with a lower optimizer.lr, or with model.activation=tanh"
            )


def _folder_is_named() -> bool:
    """Return whether the command names the run's folder, so that the same command finds it again."""
    key = "hydra.sweep.dir" if in_sweep() else "hydra.run.dir"
    return any(override.split("=")[0] == key for override in HydraConfig.get().overrides.hydra)
