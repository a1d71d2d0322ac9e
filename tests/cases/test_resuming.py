"""Resume with changes, from a folder, from what is left; start from the weights of another run; keep checkpoints."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from charrnn.runs import checkpoint_file
from charrnn.runs.folder import write_summary
from charrnn.utils.errors import RequestError
from conftest import train_here

TEXT_LENGTH = 3000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=40", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def stopped(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    train_here(folder, *SMALL, "trainer.max_steps=20", path=text)
    return folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def last(run: Path) -> dict[str, Any]:
    return checkpoint_file.read(run / "checkpoints" / "last.ckpt")


CHANGES = {
    "optimizer.lr=1e-4": "optimizer.lr: 0.006 -> 0.0001",
    "data.batch_size=5": "data.batch_size: 3 -> 5",
    "data.sequence_length=30": "data.sequence_length: 7 -> 30",
    "scheduler=constant": "scheduler._target_: warmup_cosine -> ConstantLR",
    "scheduler=plateau": "scheduler._target_: warmup_cosine -> ReduceLROnPlateau",
    "optimizer=sgd": "optimizer._target_: AdamW -> SGD",
    "optimizer.weight_decay=0.5": "optimizer.weight_decay: 0.1 -> 0.5",
    "model.dropout=0.5": "model.dropout: 0.0 -> 0.5",
    "model.input_dropout=0.1": "model.input_dropout: 0.0 -> 0.1",
    "model.label_smoothing=0.1": "model.label_smoothing: 0.0 -> 0.1",
    "trainer.precision=bf16-mixed": "trainer.precision: 32-true -> bf16-mixed",
    "tf32=true": "tf32: False -> True",
    "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches: 1 -> 2",
    "trainer.gradient_clip_val=0.1": "trainer.gradient_clip_val: 1.0 -> 0.1",
    "trainer.gradient_clip_algorithm=value": "trainer.gradient_clip_algorithm: norm -> value",
    "data.order=shuffle": "data.order: stream -> shuffle",
    "data.order=rotate": "data.order: stream -> rotate",
}


@pytest.mark.parametrize("change", CHANGES)
def test_23_resume_with_a_change(change: str, run: Path, text: Path) -> None:
    command = (*SMALL, change, "resume_from=last")
    with pytest.raises(RequestError, match="or add resume_with_changes=true$"):
        train_here(run, *command, path=text)
    summary = train_here(run, *command, "resume_with_changes=true", path=text)
    assert (summary["status"], summary["steps"]) == ("finished", 40)
    assert f"{CHANGES[change]}, after step 20" in summary["changes"]
    saved = last(run)
    assert saved["global_step"] == 40 and saved["charrnn"]["run"]["changes"] == summary["changes"]


def test_23_a_changed_rate_holds_from_the_next_step(run: Path, text: Path) -> None:
    change = ("optimizer.lr=1e-4", "resume_from=last", "resume_with_changes=true", "trainer.max_steps=21")
    train_here(run, *SMALL, *change, "scheduler.total_steps=40", path=text)
    (group,) = last(run)["optimizer_states"][0]["param_groups"]
    expected = 1e-4 * 0.5 * (1 + math.cos(math.pi * (21 - 4) / (40 - 4)))
    assert group["lr"] == pytest.approx(expected) and group["initial_lr"] == 1e-4
    assert last(run)["optimizer_states"][0]["state"][0]["step"] == 21  # the averages were kept


def test_23_no_change_is_bit_exact(run: Path, text: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    scores = [
        train_here(folder, *SMALL, "resume_from=last", f"resume_with_changes={flag}", path=text)["val_nats_per_char"]
        for folder, flag in ((run, "false"), (again, "true"))
    ]
    assert scores[0] == scores[1]


def test_23_a_changed_run_resumes_exactly_afterwards(run: Path, text: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    change = (*SMALL, "data.batch_size=4", "scheduler.total_steps=40", "resume_from=last", "resume_with_changes=true")
    whole = train_here(other, *change, path=text)
    train_here(run, *change, "trainer.max_steps=30", path=text)
    parts = train_here(run, *change, path=text)
    assert parts["val_nats_per_char"] == whole["val_nats_per_char"]
    assert [change.split(",")[0] for change in parts["changes"]] == ["data.batch_size: 3 -> 4", *TOTAL_STEPS]


def test_23_a_changed_run_that_was_killed_at_its_end_repeats_its_steps_with_the_change(run: Path, text: Path) -> None:
    """Its newest checkpoint has the new settings already; the one from which it starts has the old ones."""
    old = (run / "checkpoints" / "last.ckpt").read_bytes()
    command = (*SMALL, "optimizer.lr=1e-3", "data.batch_size=4", "resume_from=last", "resume_with_changes=true")
    whole = train_here(run, *command, path=text)
    (run / "checkpoints" / "previous.ckpt").write_bytes(old)
    write_summary(run, {**whole, "status": "interrupted"})
    repeated = train_here(run, *command, path=text)
    assert repeated["changes"] == whole["changes"]
    assert repeated["val_nats_per_char"] == whole["val_nats_per_char"]


TOTAL_STEPS = ["scheduler.total_steps: None -> 40"]


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("model.hidden=7", "resume with model.hidden=6$"),
        ("model=gru", "resume with model=elman model.hidden=6$"),
        ("model.activation=tanh", "resume with model.activation=relu$"),
        ("data.validation_fraction=0.2", "resume with data.validation_fraction=0.05$"),
        ("data.newlines=lf", None),
    ],
)
def test_23_the_network_and_the_text_can_not_change(change: str, advice: str | None, run: Path, text: Path) -> None:
    command = (*SMALL, change, "resume_from=last", "resume_with_changes=true")
    if advice is None:  # the same characters
        assert train_here(run, *command, path=text)["steps"] == 40
        return
    with pytest.raises(RequestError, match=advice):
        train_here(run, *command, path=text)


def test_x21_one_line_names_every_group(run: Path, text: Path) -> None:
    changes = ("scheduler=constant", "model=gru", "optimizer=sgd", "resume_from=last")
    with pytest.raises(RequestError) as refused:
        train_here(run, *SMALL, *changes, "data.batch_size=2", path=text)
    advice = str(refused.value).partition("resume with ")[2]
    expected = "data.batch_size=3 model=elman model.hidden=6 optimizer=adamw scheduler=cosine"
    assert advice == expected


@pytest.mark.parametrize("broken", ["missing", "torn"])
def test_x12_only_the_best_checkpoint_is_left(broken: str, run: Path, text: Path) -> None:
    file = run / "checkpoints" / "last.ckpt"
    if broken == "missing":
        file.unlink()
    else:
        os.truncate(file, 1000)
    best = run / "checkpoints" / "best.ckpt"
    with pytest.raises(RequestError, match=f"resume from the best one: resume_from={best}$"):
        train_here(run, *SMALL, "resume_from=last", path=text)
    summary = train_here(run, *SMALL, f"resume_from={best}", path=text)
    assert (summary["status"], summary["steps"]) == ("finished", 40)


def test_x25_a_run_folder_stands_for_its_last_checkpoint(run: Path, text: Path, tmp_path: Path) -> None:
    new = train_here(tmp_path / "new", *SMALL, f"resume_from={run}", path=text)
    assert new["steps"] == 40
    assert train_here(run, *SMALL, "resume_from=last", path=text)["val_nats_per_char"] == new["val_nats_per_char"]


def test_24_checkpoints_are_kept(text: Path, tmp_path: Path) -> None:
    train_here(tmp_path, *SMALL, "keep_every=15", "keep_best=2", path=text)
    kept = sorted(file.name for file in (tmp_path / "checkpoints").glob("step_*"))
    assert kept == [f"step_{step:07d}.ckpt" for step in (15, 30, 40)]  # the best are those after steps 30 and 40
    for file in kept:
        assert checkpoint_file.read(tmp_path / "checkpoints" / file)["global_step"] == int(file[5:12])


def test_24_the_best_are_the_same_after_a_resume(text: Path, tmp_path: Path) -> None:
    command = (*SMALL, "keep_best=2", "scheduler.total_steps=40", "optimizer.lr=0.3")
    train_here(tmp_path / "whole", *command, path=text)
    train_here(tmp_path / "parts", *command, "trainer.max_steps=20", path=text)
    train_here(tmp_path / "parts", *command, "resume_from=last", path=text)
    whole, parts = (sorted(f.name for f in (tmp_path / name).glob("*/step_*")) for name in ("whole", "parts"))
    assert whole == parts and len(whole) == 2


@pytest.mark.parametrize("setting", ["keep_every=0", "keep_every=x", "keep_best=0", "keep_best=1.5", "max_minutes=-1"])
def test_24_wrong_numbers(setting: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=setting.partition("=")[0]):
        train_here(tmp_path, *SMALL, setting, path=text)
