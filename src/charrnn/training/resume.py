"""Resume a run: find its checkpoint, check that the settings are the same, and let Lightning write and read it."""

import json
import logging
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf

from charrnn.data.datamodule import CharDataModule
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import network_weights
from charrnn.runs.commands import override, resume_run
from charrnn.runs.folder import CHECKPOINTS, latest_run
from charrnn.training.callbacks.checkpoint import readable_checkpoints
from charrnn.utils.config import flattened
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.paths import CONF

log = logging.getLogger(__name__)

# The saved state of optimizer, schedule, random generators and data position is valid for these settings only.
FIXED = (
    "model.", "optimizer.", "scheduler.", "data.order.", "data.batch_size.", "data.sequence_length.", "data.seed.",
    "data.validation_fraction.", "data.test_fraction.", "trainer.accumulate_grad_batches.", "trainer.precision.",
)  # fmt: skip
FREE = ("model.kernel", "optimizer.fused")  # they change how the same result is computed


def checkpoints_to_resume(
    resume_from: object, folder: Path, folder_is_named: bool
) -> list[tuple[Path, dict[str, Any]]]:
    """Return the checkpoints that `resume_from` (null, a path, or `last`) names, best choice first; none for a new run.

    Raises `RequestError` if none of them can be read.
    """
    if resume_from == "last":
        if not folder_is_named:
            advice = ": add hydra.run.dir=DIR"
            with suppress(RequestError):
                advice = f"; for the newest run: {resume_run(latest_run())}"
            raise RequestError(f"resume_from=last needs the run's folder{advice}")
        found = readable_checkpoints(folder)
        if not found and any(folder.glob("*.ckpt")):
            raise RequestError(f"no checkpoint in {folder} can be read; choose another hydra.run.dir")
        return found
    if resume_from is None:
        return []
    path = user_path(resume_from)
    checkpoint = checkpoint_file.read(path)
    if not {"run", "train_state", "random"} <= checkpoint["charrnn"].keys():
        raise RequestError(
            f"resume_from: {path} holds a network without the state of its run; start a new run with "
            + shlex.quote(override("init_from", path))
        )
    return [(path, checkpoint)]


def refuse_used_folder(resume_from: object, run: Path) -> None:
    """Raise `RequestError` if the folder holds a run other than the one to resume: it would be overwritten."""
    folder = run / CHECKPOINTS
    if resume_from == "last" or not any(folder.glob("*.ckpt")):
        return
    if resume_from is None or user_path(resume_from).resolve().parent != folder.resolve():
        raise RequestError(
            f"{run} already holds a run; resume it with resume_from=last, or choose another hydra.run.dir"
        )


class Start(NamedTuple):
    """Where training starts: after `step` steps, with the checkpoint `path`. A `trained` run only needs its scores."""

    path: Path | None
    step: int
    trained: bool = False


def choose(found: list[tuple[Path, dict[str, Any]]], steps: int, *, own: bool) -> Start:
    """Return the newest of the checkpoints before step `steps`, if there is one.

    A run whose `own` newest checkpoint is at its last step was killed after it: it repeats the steps since the
    checkpoint before, so that it ends like any other. Raises `RequestError` for a checkpoint beyond that step.
    """
    step = found[0][1]["global_step"] if found else 0
    if step > steps or (step == steps and not own):
        path, checkpoint = found[0]
        raise RequestError(
            f"resume_from: {path} is at step {checkpoint['global_step']}, but this run ends at {steps}; "
            "raise trainer.max_steps or trainer.max_epochs"
        )
    before = [(path, checkpoint["global_step"]) for path, checkpoint in found if checkpoint["global_step"] < steps]
    if not before:
        return Start(None, steps, trained=True) if found else Start(None, 0)
    path, step = before[0]
    return Start(path if step else None, step)  # before its first step a run starts as a new one


def require_same_settings(path: Path, checkpoint: dict[str, Any], config: dict[str, Any], data: CharDataModule) -> None:
    """Raise `RequestError`, with the overrides to use, if the checkpoint belongs to other settings."""
    about = checkpoint["charrnn"]
    was, now = _comparable(about.get("config", {})), _comparable(config)
    different = [
        key
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key) and key not in FREE and f"{key}.".startswith(FIXED)
    ]
    if different:
        classes = [key for key in different if key.endswith("._target_")]  # other keys differ only as a consequence
        advice = shlex.join(_override(key, was.get(key)) for key in classes or different)
        raise RequestError(f"resume_from: {path} was trained with other settings; resume with {advice}")
    if about.get("data", {}).get("corpus_sha256") != data.corpus.sha256:
        raise RequestError(f"resume_from: {path} was trained on another text; set data.path to that text")
    if about["vocabulary"] != data.vocabulary.settings:
        raise RequestError(
            f"resume_from: {path} has another vocabulary; resume with its data.level, data.min_count and "
            "data.vocabulary_from"
        )


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings by full key, classes by their bare names: a class keeps its name when its module moves."""
    return {key: _bare(value) if key.endswith("._target_") else value for key, value in flattened(config).items()}


def _bare(target: object) -> str:
    return str(target).rpartition(".")[2]


def load_weights(init_from: object, network: CharRNN, data: CharDataModule) -> None:
    """Load only the weights of a checkpoint into `network`; raise `RequestError` if they do not fit."""
    path = user_path(init_from)
    checkpoint = checkpoint_file.read(path)
    about = checkpoint["charrnn"]
    if about["vocabulary"] != data.vocabulary.settings:
        raise RequestError(
            f"init_from: {path} has another vocabulary than this text; use a checkpoint with the same symbols"
        )
    weights = network_weights(checkpoint)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != wanted:
        shape = ", ".join(f"model.{key}={about['network'].get(key)}" for key in ("cell", "hidden", "layers"))
        raise RequestError(f"init_from: {path} holds a network of another size; use {shape}")
    with torch.no_grad():
        network.load_state_dict(weights)


def _override(key: str, value: object) -> str:
    group, _, name = key.partition(".")
    if name == "_target_":
        for option in sorted((CONF / group).glob("*.yaml")):
            if _bare(OmegaConf.select(OmegaConf.load(option), "_target_")) == value:
                return f"{group}={option.stem}"
    return f"{'seed' if key == 'data.seed' else key}={json.dumps(value) if not isinstance(value, str) else value}"
