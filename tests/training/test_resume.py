import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.runs import checkpoint_file, folder
from charrnn.training.resume import Start, checkpoints_to_resume, choose, refuse_used_folder, require_same_settings
from charrnn.utils.errors import RequestError

CONFIG: dict[str, Any] = {
    "model": {"hidden": 8, "kernel": "auto"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.006, "fused": "auto"},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "gamma": 0.5},
    "data": {"order": "stream", "batch_size": 4, "sequence_length": 8, "validation_fraction": 0.1, "test_fraction": 0},
    "trainer": {"max_steps": 20, "precision": "32-true"},
    "seed": 1,
}


def changed(group: str, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, group: {**CONFIG[group], **settings}}


def data(sha256: str = "abc", vocabulary: str = "xyz") -> Any:
    return SimpleNamespace(corpus=SimpleNamespace(sha256=sha256), vocabulary=SimpleNamespace(settings=vocabulary))


def write(path: Path, step: int = 20) -> dict[str, Any]:
    about = {
        "format": checkpoint_file.FORMAT, "config": CONFIG, "data": {"corpus_sha256": "abc"}, "vocabulary": "xyz",
        "run": {}, "train_state": None, "random": {},
    }  # fmt: skip
    checkpoint = {"state_dict": {}, "global_step": step, "charrnn": about}
    checkpoint_file.write(checkpoint, path)
    return checkpoint


def test_a_run_that_fits_resumes(tmp_path: Path) -> None:
    longer, other_kernel = changed("trainer", max_steps=30), changed("model", kernel="reference")
    moved = changed("scheduler", _target_="elsewhere.StepLR")
    for config in (CONFIG, longer, other_kernel, moved, changed("optimizer", fused=False)):
        require_same_settings(tmp_path, write(tmp_path / "last.ckpt"), config, data())


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (changed("model", hidden=9), "resume with model.hidden=8"),
        (changed("optimizer", lr=0.1), "resume with optimizer.lr=0.006"),
        (
            changed("optimizer", _target_="torch.optim.SGD", lr=0.1),
            "resume with optimizer=adamw, or add resume_with_changes=true$",
        ),
        (changed("data", seed=2), "resume with seed=null"),
        (
            changed("scheduler", _target_="charrnn.training.schedules.warmup_cosine"),
            "resume with scheduler=step, or add",
        ),
        (changed("data", order="shuffle", batch_size=5), "resume with data.batch_size=4 data.order=stream"),
        (changed("scheduler", gamma=0.1), "resume with scheduler.gamma=0.5"),
        (changed("trainer", precision="bf16-true"), "resume with trainer.precision=32-true"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_would(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        require_same_settings(tmp_path, write(tmp_path / "last.ckpt"), config, data())


def test_another_text_or_vocabulary(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "last.ckpt")
    with pytest.raises(RequestError, match="was trained on another text"):
        require_same_settings(tmp_path, checkpoint, CONFIG, data(sha256="abd"))
    with pytest.raises(RequestError, match="has another vocabulary"):
        require_same_settings(tmp_path, checkpoint, CONFIG, data(vocabulary="xy"))


def test_which_checkpoint(tmp_path: Path) -> None:
    assert checkpoints_to_resume(None, tmp_path, True) == []
    assert checkpoints_to_resume("last", tmp_path, True) == []
    write(tmp_path / "previous.ckpt", 10)
    write(tmp_path / "last.ckpt", 20)
    found = checkpoints_to_resume("last", tmp_path, True)
    # A run that was killed after its last step repeats some, so that its end is as any other's.
    assert choose(found, 20, own=True) == Start(tmp_path / "previous.ckpt", 10)
    assert choose(found, 30, own=True) == Start(tmp_path / "last.ckpt", 20)
    assert choose(found[:1], 20, own=True) == Start(None, 20, trained=True)
    assert choose([], 20, own=True) == Start(None, 0)
    with pytest.raises(RequestError, match="is at step 20, but this run ends at 15; raise trainer.max_steps"):
        choose(found, 15, own=True)
    with pytest.raises(RequestError, match="is at step 20, but this run ends at 20"):
        choose(found[:1], 20, own=False)
    ((path, _),) = checkpoints_to_resume(str(tmp_path / "previous.ckpt"), tmp_path, True)
    assert path == tmp_path / "previous.ckpt"
    for name in ("last", "previous"):
        (tmp_path / f"{name}.ckpt").write_bytes(b"torn")
    with pytest.raises(RequestError, match="no last.ckpt in .* can be read; choose another"):
        checkpoints_to_resume("last", tmp_path, True)
    with pytest.raises(RequestError, match="is a folder; choose a .ckpt file"):
        checkpoints_to_resume(str(tmp_path), tmp_path, True)


def test_a_network_without_a_run_is_refused(tmp_path: Path) -> None:
    about = {"format": checkpoint_file.FORMAT, "network": {}}
    checkpoint_file.write({"state_dict": {}, "charrnn": about}, tmp_path / "a.ckpt")
    with pytest.raises(
        RequestError, match="holds a network without the state of its run; start a new run with init_from="
    ):
        checkpoints_to_resume(str(tmp_path / "a.ckpt"), tmp_path, True)


def test_last_without_a_folder_tells_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "OUTPUTS", tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setattr(folder.latest_run, "__defaults__", (tmp_path,))
    with pytest.raises(RequestError, match="needs the run's folder: add hydra.run.dir=DIR"):
        checkpoints_to_resume("last", tmp_path, False)
    write(tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / ".hydra").mkdir()
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("- model.hidden=8\n- data.path=a b.txt\n")
    command = f"python train.py model.hidden=8 'data.path=a b.txt' hydra.run.dir={tmp_path}/run resume_from=last"
    with pytest.raises(RequestError) as error:
        checkpoints_to_resume("last", tmp_path, False)
    assert str(error.value).endswith(f"for the newest run: {command}")


def test_a_used_folder(tmp_path: Path) -> None:
    refuse_used_folder(None, tmp_path)
    write(tmp_path / "checkpoints" / "last.ckpt")
    refuse_used_folder("last", tmp_path)
    refuse_used_folder(str(tmp_path / "checkpoints" / "last.ckpt"), tmp_path)
    for other in (None, "elsewhere/last.ckpt"):
        with pytest.raises(RequestError, match="already holds a run"):
            refuse_used_folder(other, tmp_path)
