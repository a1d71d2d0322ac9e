import json
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from charrnn.runs.folder import read_summary, write_summary
from charrnn.runs.lifecycle import SUMMARY_KEYS, recorded
from charrnn.utils.errors import Pruned, RequestError, Stopped

CFG = OmegaConf.create({"seed": 1})
EARLIER = {"status": "interrupted", "reason": "SIGINT", "steps": 7}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Stopped(signal.SIGTERM), "interrupted", "SIGTERM"),
        (Pruned("other trials were better"), "pruned", "other trials were better"),
        (RequestError("two\nlines"), "failed", "two lines"),
        (KeyError(), "failed", "KeyError"),
    ],
)
def test_the_summary_says_how_a_run_ended(tmp_path: Path, error: BaseException, status: str, reason: str) -> None:
    with pytest.raises(type(error)), recorded(tmp_path, CFG) as record:
        record.update(steps=3)
        raise error
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"], summary["steps"]) == (status, reason, 3)
    assert tuple(summary) == SUMMARY_KEYS
    assert OmegaConf.load(tmp_path / ".hydra" / "config.yaml") == CFG


def test_a_finished_run_has_no_use_for_its_previous_checkpoint(tmp_path: Path) -> None:
    previous = tmp_path / "checkpoints" / "previous.ckpt"
    previous.parent.mkdir()
    previous.touch()
    with recorded(tmp_path, CFG) as record:
        record.update(steps=3)
        record.begin()
        assert read_summary(tmp_path)["reason"] == "still running, or killed"
    assert read_summary(tmp_path)["status"] == "finished"
    assert not previous.exists()


def test_a_dry_run_and_a_refused_request_change_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    write_summary(tmp_path, EARLIER)
    before = (tmp_path / "summary.json").stat().st_mtime_ns
    with recorded(tmp_path, CFG) as record:
        record.update(steps=0)
        record.keep_earlier_summary()
    with pytest.raises(RequestError), recorded(tmp_path, CFG):
        raise RequestError("no")
    assert json.loads((tmp_path / "summary.json").read_text()) == EARLIER
    assert (tmp_path / "summary.json").stat().st_mtime_ns == before
    assert not (tmp_path / ".hydra").exists()
