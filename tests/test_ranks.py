import os
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from torch import distributed

from charrnn import ranks
from charrnn.agreement import Votes
from charrnn.errors import RequestError, RunFailed
from charrnn.ranks import Ranks, find_ranks, helped

SLURM = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_STEP_NUM_TASKS": "8"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "LOCAL_RANK": "5", "WORLD_SIZE": "8"}


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "expected"),
    [
        ({}, 1, 1, Ranks()),
        (SLURM, 1, 1, Ranks()),  # eight runs, one each
        (SLURM, 4, 2, Ranks(8, 3, 4, "Slurm")),
        (TORCHRUN, 8, 1, Ranks(8, 5, 8, "torchrun")),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
            4,
            1,
            Ranks(4, 0, 4),
        ),  # starts the others
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 4, 1, Ranks(4, 0, 4)),  # within sbatch, but without srun
    ],
)
def test_the_place_among_the_processes(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, nodes: int, expected: Ranks
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = find_ranks(devices, nodes)
    assert (found.size, found.rank, found.here, found.starter) == (
        expected.size, expected.rank, expected.here, expected.starter,
    )  # fmt: skip
    assert bool(found.port) == (found.size > 1 and found.starter is None)
    if found.starter == "Slurm":
        assert found.environment().auto_requeue is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environment", "devices", "told"),
    [
        (SLURM, 4, "are 4 processes, and Slurm has started 8; start one for every device"),
        ({**SLURM, "SLURM_LOCALID": "8"}, 8, "are 8 processes, and Slurm has started 8; start one for every device"),
        (TORCHRUN, 1, "are 1 processes, and torchrun has started 8"),
    ],
)
def test_another_number_of_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, told: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=told):
        find_ranks(devices, 1)


def work(what: str, place: Ranks) -> Iterator[None]:
    """Meet the others and tell them something."""
    if what == "fails":
        raise ValueError("as asked")
    yield
    distributed.init_process_group("gloo", address(place), rank=place.rank, world_size=place.size)
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fails at the end" or (what == "fails late" and place.rank == 2):
        raise ValueError("as asked")
    talk(place)


def address(place: Ranks) -> str:
    return f"tcp://127.0.0.1:{place.port}"


def talk(place: Ranks) -> None:
    assert ranks.gather({"rank": place.rank}) == [{"rank": rank} for rank in range(place.size)]
    votes = Votes()
    assert votes.cast([0, place.rank]) == [0, 0]  # nobody waits
    assert votes.cast([5 * (place.rank == 0), 0]) == [0, place.size - 1]
    assert votes.cast([5, 0]) == [5, 0]
    assert votes.cast([0, 0]) == [0, 0]  # it was granted before


def test_processes_help_each_other_and_none_is_left() -> None:
    place = find_ranks(3, 1)
    with helped(place, 1, work, "talks"):
        distributed.init_process_group("gloo", address(place), rank=0, world_size=3)
        talk(place)
    assert not distributed.is_initialized()
    assert ranks.gather("alone") == ["alone"]
    assert Votes().cast([3, 0]) == [3, 0]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("fails", "process 1 failed: ValueError: as asked"),
        ("dies", "process 1 was killed"),
        ("fails late", "process 2 failed: ValueError: as asked"),  # the first lost its connection only
        ("fails at the end", "process 1 failed: ValueError: as asked"),
    ],
)
def test_trouble_in_another_process_is_told(what: str, told: str) -> None:
    place = find_ranks(3 if what == "fails late" else 2, 1)
    with pytest.raises(RunFailed, match=told), helped(place, 1, work, what):
        distributed.init_process_group("gloo", address(place), timedelta(seconds=30), place.size, 0)
        if what != "fails at the end":
            ranks.gather(0)
