import signal
from pathlib import Path
from typing import NoReturn

import pytest
from hydra import compose, initialize_config_dir

from charrnn import checkpoint_file, experiment, training
from charrnn.errors import Stopped
from charrnn.overrides import CONF
from charrnn.runs import read_summary


def test_a_stop_before_the_first_step_claims_no_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> NoReturn:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(training, "prepare_process", stopped)
    earlier = {"state_dict": {}, "global_step": 7, "charrnn": {"format": checkpoint_file.FORMAT, "run": {}}}
    checkpoint_file.write(earlier, tmp_path / "checkpoints" / "last.ckpt")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", overrides=["resume_from=last"])
    with pytest.raises(Stopped):
        experiment.run(cfg, tmp_path)
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"], summary["checkpoint"]) == ("interrupted", "SIGTERM", None)
