import os
import random

import numpy as np
import pytest
import torch

from charrnn.utils import process
from charrnn.utils.errors import RequestError


def test_the_seed_sets_every_generator() -> None:
    drawn = []
    for seed in (5, 5, 6):
        assert process.prepare_process(seed, 1) == (seed, 1)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))


def test_tf32_is_used_on_request_only() -> None:
    for tf32 in (True, False):
        process.prepare_process(1, 1, tf32=tf32)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= process.default_threads() <= process.MAX_THREADS
    monkeypatch.setattr(process, "cpu_cores", lambda: 6)
    assert [process.default_threads(jobs) for jobs in (1, 2, 4, 9)] == [6, 3, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert process.default_threads() == 3
    assert process.prepare_process(1, "auto") == (1, 3)
    assert torch.get_num_threads() == 3


def test_a_slurm_job_may_have_fewer_cores_than_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    available = process.cpu_cores()
    for allocated, cores in (("1", 1), (str(available + 1), available), ("", available)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", allocated)
        assert process.cpu_cores() == cores


@pytest.mark.parametrize(("seed", "threads"), [(-1, 1), (2**32, 1), (1, 0), (1, "many")])
def test_invalid_values_are_refused(seed: object, threads: object) -> None:
    with pytest.raises(RequestError, match=r"seed must be|threads must be"):
        process.prepare_process(seed, threads)


def test_the_environment_of_the_user_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    process.set_before_torch()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
