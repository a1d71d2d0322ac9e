from pathlib import Path
from typing import Any

import pytest

from charrnn import checkpoint_file
from charrnn.errors import RequestError
from charrnn.resume import resumable

CONFIG: dict[str, Any] = {
    "model": {"hidden": 8, "kernel": "auto"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.003, "fused": "auto"},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "gamma": 0.5},
    "data": {"order": "stream", "batch_size": 4, "sequence_length": 8, "validation_fraction": 0.1, "test_fraction": 0},
    "trainer": {"max_steps": 20},
    "seed": 1,
}


def changed(group: str, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, group: {**CONFIG[group], **settings}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    about = {"format": 1, "config": CONFIG, "data": {"corpus_sha256": "abc"}}
    checkpoint_file.write({"state_dict": {}, "global_step": 20, "charrnn": about}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        changed("trainer", max_steps=30),
        changed("model", kernel="reference"),
        changed("optimizer", fused=False),
        changed("scheduler", gamma=0.1),
    ],
)
def test_a_run_that_fits_goes_on(checkpoint: Path, config: dict[str, Any]) -> None:
    assert resumable(str(checkpoint), config, "abc", steps=30) == str(checkpoint)
    assert resumable(None, config, "abc", steps=30) is None


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (changed("model", hidden=9), "go on with model.hidden=8"),
        (changed("optimizer", lr=0.1), "go on with optimizer.lr=0.003"),
        (changed("optimizer", _target_="torch.optim.SGD"), "optimizer._target_=torch.optim.AdamW"),
        (changed("scheduler", _target_="charrnn.schedules.warmup_cosine"), "scheduler._target_=torch.optim"),
        (changed("data", order="shuffle", batch_size=5), "go on with data.batch_size=4 data.order=stream"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_would(checkpoint: Path, config: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        resumable(str(checkpoint), config, "abc", steps=30)


def test_another_text_and_a_run_that_is_over(checkpoint: Path) -> None:
    with pytest.raises(RequestError, match="was trained on another text"):
        resumable(str(checkpoint), CONFIG, "abd", steps=30)
    with pytest.raises(RequestError, match="is at step 20 and this run ends at 20; raise trainer.max_steps"):
        resumable(str(checkpoint), CONFIG, "abc", steps=20)
    with pytest.raises(RequestError, match="is a folder; name a checkpoint file"):
        resumable(str(checkpoint.parent), CONFIG, "abc", steps=30)
