"""The batch file of docs/scaling.md, with programs in the place of Slurm's and Python's."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, composed

DOCS = (ROOT / "docs" / "scaling.md").read_text("utf-8")
(BATCH_FILE,) = re.findall(r"^```bash\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "python": 'echo "python $*" >>"$CALLS"; exit "$CODE"',
    "scontrol": 'echo "scontrol $*" >>"$CALLS"',
}


@pytest.mark.parametrize("code", [0, 1, 128 + signal.SIGUSR1, 128 + signal.SIGTERM])
def test_a_job_whose_time_is_over_is_queued_again(code: int, tmp_path: Path) -> None:
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(BATCH_FILE)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    calls = tmp_path / "calls"
    environment = {"PATH": path, "CALLS": str(calls), "CODE": str(code), "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(tmp_path / "job.sh")], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, b"")
    trained, *requeued = calls.read_text().splitlines()
    assert requeued == (["scontrol requeue 7"] if code == 138 else [])
    assert trained.endswith(" resume_from=last")


def test_what_it_trains_can_be_trained() -> None:
    composed(*shlex.split(BATCH_FILE.split("train.py")[1].splitlines()[0]))
