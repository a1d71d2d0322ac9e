import signal
from pathlib import Path
from typing import NoReturn

import pytest
from hydra import compose, initialize_config_dir

from charrnn import experiment
from charrnn.errors import Stopped
from charrnn.overrides import CONF
from charrnn.runs import read_summary


def test_a_stop_before_the_first_step_claims_no_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> NoReturn:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(experiment, "prepare_process", stopped)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"of an earlier run")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config")
    with pytest.raises(Stopped):
        experiment.run(cfg, tmp_path)
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"], summary["checkpoint"]) == ("interrupted", "SIGTERM", None)
