"""The story of a run: data, model, trainer, fit, final validation and test, summary."""

import logging
import math
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from charrnn.data.datamodule import CharDataModule
from charrnn.evaluation.scoring import in_text, score_carried
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import network_weights
from charrnn.runs.folder import locked, read_summary, write_settings, write_summary
from charrnn.runs.sweep import in_sweep
from charrnn.training.builders import build_optimizer
from charrnn.training.callbacks.checkpoint import LAST, PREVIOUS
from charrnn.training.callbacks.progress import Progress
from charrnn.training.callbacks.samples import Samples
from charrnn.training.callbacks.stopping import OnValidation, PruningCallback
from charrnn.training.callbacks.throughput import Throughput
from charrnn.training.config_checks import check_keys
from charrnn.training.distributed.ranks import find_ranks
from charrnn.training.logger import RunLogger
from charrnn.training.preview import report_text, seconds_per_step
from charrnn.training.report import display_path, report_end, report_start, report_stop
from charrnn.training.resume import refuse_used_folder
from charrnn.training.setup import assemble, find_own_rank, prepare, train_as_follower
from charrnn.utils.errors import Pruned, RequestError, Stopped, one_line
from charrnn.utils.signals import signals_raise_stopped

log = logging.getLogger(__name__)

SUMMARY_KEYS = (
    "status", "reason", "val_nats_per_char", "val_bits_per_char", "test_bits_per_char", "best_step", "steps",
    "train_seconds", "train_chars_per_second", "parameters", "vocabulary_size", "corpus_sha256", "seed", "kernel",
    "threads", "checkpoint",
)  # fmt: skip


def run(cfg: DictConfig, folder: Path | None = None, on_validation: OnValidation | None = None) -> float:
    """Train what `cfg` describes, leave the run in `folder` (by default Hydra's), return validation bits per character.

    NaN without a validation split. `on_validation` is called after every validation but the last, with the step and the
    bits per character; it may end the run by raising `Pruned`.
    However the run ends, `summary.json` says how; the exception goes on to the caller.
    A folder that another run is at work in, or has finished in, is left as it is.
    """
    named = folder is not None or _folder_is_named()
    folder = folder or Path(HydraConfig.get().runtime.output_dir)
    own = find_own_rank(cfg, named)
    if own.rank > 0:
        return train_as_follower(cfg, folder, named, own)
    with locked(folder):
        refuse_used_folder(cfg.get("resume_from"), folder)
        before = read_summary(folder) if (folder / "summary.json").exists() else None
        if before is None:
            write_settings(folder, cfg)
        summary: dict[str, Any] = dict.fromkeys(SUMMARY_KEYS)
        try:
            with signals_raise_stopped():
                check_keys(cfg)
                bits_per_char = _run(cfg, folder, named, summary, on_validation)
            summary["status"] = "finished"
            if cfg.dry_run and before is not None:
                summary = before
            return bits_per_char
        except BaseException as error:
            if isinstance(error, RequestError) and before is not None:
                summary = before
            else:
                status = {Stopped: "interrupted", Pruned: "pruned"}.get(type(error), "failed")
                summary.update(status=status, reason=one_line(error) or type(error).__name__)
            if isinstance(error, Stopped):
                report_stop(summary, folder)
            raise
        finally:
            if read_summary(folder) != summary:
                write_summary(folder, summary)
            if summary["status"] == "finished" and summary["steps"]:  # the copy has no use any more
                (folder / "checkpoints" / PREVIOUS).unlink(missing_ok=True)


def _folder_is_named() -> bool:
    """Whether the command said where the run goes, so that the same command finds it again."""
    key = "hydra.sweep.dir" if in_sweep() else "hydra.run.dir"
    return any(override.split("=")[0] == key for override in HydraConfig.get().overrides.hydra)


def _run(
    cfg: DictConfig, folder: Path, named: bool, summary: dict[str, Any], on_validation: OnValidation | None
) -> float:
    ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    ready = prepare(cfg, folder, named, ranks, summary)
    data, network, start = ready.data, ready.network, ready.start
    if ready.over is not None:
        log.info(
            "the run in %s has finished its %s steps; nothing to do", display_path(folder), f"{ready.over['steps']:,}"
        )
        summary.update(ready.over)
        return _bits_per_char(summary)
    # Points from there on are written again.
    purge = start.step if any(folder.glob("events.out.*")) and not start.trained else None
    logger = RunLogger(folder, name="", version="", default_hp_metric=False, flush_secs=10, purge_step=purge)
    with closing(logger):
        speed, samples = Throughput(), Samples(folder, summary["seed"], data.train_ids)
        watching = [samples, speed, Progress(ready.steps, log.info)]
        judges = [PruningCallback(on_validation, ready.steps)] if on_validation is not None else []
        training = assemble(cfg, ready, folder, ranks, logger, watching, judges)
        trainer, checkpoints = training.trainer, training.checkpoints
        summary["kernel"] = training.kernel
        references = report_text(data)
        optimizer, device = build_optimizer(cfg, network), trainer.strategy.root_device
        lanes = data.batch_size // ranks.size
        step_seconds = seconds_per_step(network, data, lanes, optimizer, device, trainer.precision)
        report_start(cfg, data, network, trainer, f"{training.kernel}, {training.why}", ready.steps, step_seconds)
        if cfg.dry_run:
            summary.update(steps=0, reason="dry_run=true: nothing was trained")
            log.info("dry run   nothing was trained")
            return math.nan
        log.info("folder    %s", display_path(folder))
        if cfg.resume_from is not None:
            log.info("resuming  %s", f"after step {start.step:,}" if start.step else "nothing there: a new run")
        write_settings(folder, cfg)
        write_summary(folder, {**summary, "status": "interrupted", "reason": "still running, or killed"})
        try:
            if start.trained:  # and killed before it was scored
                speed.load_state_dict(ready.found[0][1]["callbacks"][speed.state_key])
                training.state.saved_step = ready.steps
            else:
                logger.draw_references(references, ready.steps, start.step)
                if ranks.size > 1 and ranks.starter == "Lightning":
                    log.info("starting  %d more of %d processes", ranks.size - 1, ranks.size)
                training.fit(data, start.path)
                training.stop_on_signal.stop_if_asked()
        except (Stopped, Pruned):
            if training.state.saved_step:
                summary["checkpoint"] = str((checkpoints.folder / LAST).absolute())
            raise
        finally:
            saved_step = training.state.saved_step
            summary["steps"] = trainer.global_step if saved_step is None else saved_step
            summary["train_seconds"] = round(speed.fit.seconds, 3)
            summary["train_chars_per_second"] = speed.characters_per_second()

        log.info("scoring   the best weights on the validation and test part, in one pass")
        checkpoint = checkpoints.best
        if checkpoint.exists():
            summary["checkpoint"], summary["best_step"] = str(checkpoint.absolute()), _restore(network, checkpoint)
        else:  # none could be written; what was learned is scored all the same
            summary["best_step"] = summary["steps"] = trainer.global_step
        _measure(network, data, summary)
        logger.log_outcome(cfg, summary)
        report_end(folder, summary, samples.write(trainer, training.module, summary["best_step"]))
    return _bits_per_char(summary)


def _bits_per_char(summary: dict[str, Any]) -> float:
    return math.nan if summary["val_bits_per_char"] is None else float(summary["val_bits_per_char"])


def _restore(network: CharRNN, checkpoint: Path) -> int:
    saved = checkpoint_file.read(checkpoint)
    network.float()
    network.load_state_dict(network_weights(saved))
    return int(saved["global_step"])


def _measure(network: CharRNN, data: CharDataModule, summary: dict[str, Any]) -> None:
    for split, ids in (("val", data.validation_ids), ("test", data.test_ids)):
        if len(ids):
            score = in_text(score_carried(network, ids), data.vocabulary, ids)
            summary[f"{split}_bits_per_char"] = score.bits_per_char
            if split == "val":
                summary["val_nats_per_char"] = score.nats_per_char
