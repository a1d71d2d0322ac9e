"""The story of a run: data, model, trainer, fit, final validation and test, summary."""

import logging
import math
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from charrnn import checkpoint_file
from charrnn.building import build, build_optimizer, build_scheduler, build_trainer, check_keys, run_length
from charrnn.callbacks import Progress, Samples, Speed
from charrnn.data import CharDataModule
from charrnn.ending import LastStep, StopOnSignal
from charrnn.errors import RequestError, Stopped, one_line, require_integer, signals_raise_stopped
from charrnn.evaluation import in_text, score_carried
from charrnn.module import VALIDATION, CharRNNModule
from charrnn.network import CharRNN, network_weights
from charrnn.preview import report_text, seconds_per_step
from charrnn.process import prepare_process
from charrnn.report import RunLogger, report_end, report_start, report_stop, shown
from charrnn.resume import resumable
from charrnn.runs import write_summary
from charrnn.settings import plain

log = logging.getLogger(__name__)

SUMMARY_KEYS = (
    "status", "reason", "val_nats_per_char", "val_bits_per_char", "test_bits_per_char", "best_step", "steps",
    "train_seconds", "train_chars_per_second", "parameters", "vocabulary_size", "corpus_sha256", "seed", "kernel",
    "threads", "checkpoint",
)  # fmt: skip


def run(cfg: DictConfig, folder: Path | None = None) -> float:
    """Train what `cfg` describes, leave the run in `folder` (by default Hydra's), return validation bits per character.

    nan without a validation part. However the run ends, `summary.json` says how; the exception goes on to the caller.
    """
    folder = folder or Path(HydraConfig.get().runtime.output_dir)
    summary: dict[str, Any] = dict.fromkeys(SUMMARY_KEYS)
    try:
        logger = RunLogger(folder, name="", version="", default_hp_metric=False, flush_secs=10)
        with signals_raise_stopped(), closing(logger):
            bits_per_char = _run(cfg, folder, logger, summary)
        summary["status"] = "finished"
        return bits_per_char
    except Stopped as stop:
        summary.update(status="interrupted", reason=str(stop))
        last = folder / "checkpoints" / "last.ckpt"
        if summary["steps"] and last.exists():  # a checkpoint from before this run began says nothing of it
            summary["checkpoint"] = str(last.absolute())
        report_stop(summary)
        raise
    except BaseException as error:
        summary.update(status="failed", reason=one_line(error) or type(error).__name__)
        raise
    finally:
        write_summary(folder, summary)


def _run(cfg: DictConfig, folder: Path, logger: RunLogger, summary: dict[str, Any]) -> float:
    check_keys(cfg)
    summary["seed"], summary["threads"] = prepare_process(cfg.seed, cfg.threads)

    data: CharDataModule = build(cfg, "data")
    summary["corpus_sha256"], summary["vocabulary_size"] = data.corpus.sha256, len(data.vocabulary)
    network: CharRNN = build(cfg, "model", vocabulary_size=len(data.vocabulary))
    summary["parameters"] = network.parameter_count()
    steps = run_length(cfg.trainer.max_steps, cfg.trainer.max_epochs, data.batches_per_epoch, cfg.trainer)
    module = CharRNNModule(
        network,
        data.vocabulary,
        optimizer=build_optimizer(cfg, network),
        scheduler=build_scheduler(cfg, steps),
        symbols_per_character={part: data.symbols_per_character(part) for part in ("train", "validation")},
        log_every=require_integer("trainer.log_every_n_steps", cfg.trainer.log_every_n_steps),
        about={"data": data.settings, "config": plain(cfg)},
    )

    checkpoints = folder / "checkpoints"
    every = require_integer("checkpoint_every", cfg.checkpoint_every)
    best = ModelCheckpoint(
        checkpoints, "best", monitor=VALIDATION, auto_insert_metric_name=False, enable_version_counter=False
    )
    last = ModelCheckpoint(checkpoints, "last", every_n_train_steps=every, enable_version_counter=False)
    speed, samples, progress = Speed(), Samples(folder, summary["seed"]), Progress(steps, log.info)
    ending = [LastStep(steps, checkpoints / "last.ckpt"), StopOnSignal(checkpoints / "last.ckpt")]
    trainer = build_trainer(cfg, data, logger, [speed, samples, progress, best, last, *ending])
    resume_from = resumable(cfg.resume_from, plain(cfg), data.corpus.sha256, steps)
    references = report_text(data)
    device = trainer.strategy.root_device
    step_seconds = seconds_per_step(network, data, build_optimizer(cfg, network), device, trainer.precision)
    summary["kernel"] = report_start(cfg, data, network, trainer, steps, step_seconds)
    if cfg.dry_run:
        summary.update(steps=0, reason="dry_run=true: nothing was trained")
        log.info("dry run   nothing was trained")
        return math.nan
    log.info("folder    %s", shown(folder))
    logger.draw_references(references, steps)

    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from)
    except MisconfigurationException as error:  # some settings meet only when Lightning sees the data
        raise RequestError(f"trainer: these settings can't be used: {error}") from error
    finally:
        summary["steps"], summary["train_seconds"] = trainer.global_step, round(speed.fit.seconds, 3)
        summary["train_chars_per_second"] = speed.characters_per_second()

    checkpoint = Path(best.best_model_path or checkpoints / "last.ckpt")  # no best without a validation part
    summary["checkpoint"], summary["best_step"] = str(checkpoint.absolute()), _restore(network, checkpoint)
    _measure(network, data, summary)
    logger.log_outcome(cfg, summary)
    report_end(folder, summary, samples.write(trainer, module, summary["best_step"]))
    bits_per_char = summary["val_bits_per_char"]
    return math.nan if bits_per_char is None else float(bits_per_char)


def _restore(network: CharRNN, checkpoint: Path) -> int:
    """Put the checkpoint's weights into `network`, in float32 as everyone reads them; return their step."""
    saved = checkpoint_file.read(checkpoint)
    network.float()
    network.load_state_dict(network_weights(saved))
    return int(saved["global_step"])


def _measure(network: CharRNN, data: CharDataModule, summary: dict[str, Any]) -> None:
    """Score the validation and the test part, each read once with the state carried."""
    if len(data.validation_ids):
        validation = in_text(score_carried(network, data.validation_ids), data.vocabulary, data.validation_ids)
        summary["val_nats_per_char"] = validation.nats_per_char
        summary["val_bits_per_char"] = validation.bits_per_char
    if len(data.test_ids):
        test = in_text(score_carried(network, data.test_ids), data.vocabulary, data.test_ids)
        summary["test_bits_per_char"] = test.bits_per_char
