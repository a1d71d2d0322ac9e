"""Resume a run: find its checkpoint, check that the settings are the same, and let Lightning write and read it."""

import json
import logging
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from charrnn.data.datamodule import CharDataModule
from charrnn.runs import checkpoint_file
from charrnn.runs.commands import override, resume_run
from charrnn.runs.folder import BEST, CHECKPOINTS, LAST, latest_run
from charrnn.training.callbacks.checkpoint import readable_checkpoints
from charrnn.training.changes import can_change
from charrnn.utils.config import flattened
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.paths import CONF

log = logging.getLogger(__name__)

# The saved state of optimizer, schedule, random generators and data position is valid for these settings only.
FIXED = (
    "model.", "optimizer.", "scheduler.", "data.order.", "data.batch_size.", "data.sequence_length.", "data.seed.",
    "data.validation_fraction.", "data.test_fraction.", "trainer.accumulate_grad_batches.", "trainer.precision.",
    "trainer.gradient_clip_val.", "trainer.gradient_clip_algorithm.", "tf32.",
)  # fmt: skip
# The first two change how the same result is computed; the third is of the initial weights, and old runs lack it.
FREE = ("model.kernel", "optimizer.fused", "model.output_std")
# Settings that old runs lack, with the values that they had in effect.
ADDED_LATER: dict[str, Any] = {"tf32": False, "model.input_dropout": 0.0, "model.label_smoothing": 0.0}


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
            best = folder / BEST
            whole = checkpoint_file.is_whole(best)
            advice = (
                f"resume from the best one: {shlex.quote(override('resume_from', best))}"
                if whole
                else "choose another hydra.run.dir"
            )
            raise RequestError(f"no {LAST} in {folder} can be read; {advice}")
        return found
    if resume_from is None:
        return []
    path = user_path(resume_from)
    if (path / CHECKPOINTS).is_dir():  # a run: where it ended
        path = path / CHECKPOINTS / LAST
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


def require_same_settings(
    path: Path, checkpoint: dict[str, Any], config: dict[str, Any], data: CharDataModule, *, with_changes: bool = False
) -> dict[str, str]:
    """Return the settings that differ from those of the checkpoint, each with its old and its new value.

    Raises `RequestError`, with the overrides to use, if there are any and the run was not asked to resume
    `with_changes`, or if it can't: the network and the text must be the same.
    """
    about = checkpoint["charrnn"]
    was, now = _comparable(about.get("config", {})), _comparable(config)
    different = [
        key
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key) and key not in FREE and f"{key}.".startswith(FIXED)
    ]
    refused = [key for key in different if not (with_changes and can_change(key))]
    problems = []
    if refused:
        advice = shlex.join(_overrides(refused, was, now))
        hint = "" if with_changes or not all(map(can_change, refused)) else ", or add resume_with_changes=true"
        problems.append(f"was trained with other settings; resume with {advice}{hint}")
    if about.get("data", {}).get("corpus_sha256") != data.corpus.sha256:
        problems.append("was trained on another text; set data.path to that text, or start with init_from")
    elif about["vocabulary"] != data.vocabulary.settings:
        keys = "data.level, data.min_count and data.vocabulary_from"
        problems.append(f"has another vocabulary; resume with its {keys}")
    if problems:
        raise RequestError(f"resume_from: {path} {'; it '.join(problems)}")
    return {key: f"{was.get(key)} -> {now.get(key)}" for key in different}


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings by full key, classes by their bare names: a class keeps its name when its module moves."""
    settings = {**ADDED_LATER, **flattened(config)}
    return {key: _bare(value) if key.endswith("._target_") else value for key, value in settings.items()}


def _bare(target: object) -> str:
    return str(target).rpartition(".")[2]


def _overrides(keys: list[str], was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the overrides that restore the old values of these settings.

    If a group has another class or cell, they name its old option, and then only what differs from that option.
    """
    overrides: dict[str, None] = {}
    for key in keys:
        group = key.partition(".")[0]
        option = next((f for f in sorted((CONF / group).glob("*.yaml")) if _is_option(f, group, was)), None)
        if option is None or not _has_other_class(group, was, now):
            overrides[_override(key, was.get(key))] = None
            continue
        overrides[f"{group}={option.stem}"] = None
        usual = _comparable({group: OmegaConf.to_container(OmegaConf.load(option), resolve=False)})
        for name, value in usual.items():
            if f"{name}.".startswith(FIXED) and name in was and name not in FREE and not _is_same(value, was[name]):
                overrides[_override(name, was[name])] = None
    return list(overrides)


def _has_other_class(group: str, was: dict[str, Any], now: dict[str, Any]) -> bool:
    return any(was.get(key) != now.get(key) for key in (f"{group}._target_", f"{group}.cell"))


def _is_option(file: Path, group: str, settings: dict[str, Any]) -> bool:
    option = OmegaConf.load(file)
    names = {"_target_": _bare(OmegaConf.select(option, "_target_")), "cell": OmegaConf.select(option, "cell")}
    return all(settings.get(f"{group}.{name}") == value for name, value in names.items() if value != "None")


def _is_same(usual: object, value: object) -> bool:
    return usual == value or (usual is None and isinstance(value, int))  # null: set to the length of the run


def _override(key: str, value: object) -> str:
    name = "seed" if key == "data.seed" else key
    return override(name, value) if isinstance(value, str) else f"{name}={json.dumps(value)}"
