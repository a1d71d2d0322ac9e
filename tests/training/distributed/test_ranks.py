import pytest
from torch import distributed

from charrnn.training.distributed.ranks import Ranks, find_ranks
from charrnn.utils import process_state
from charrnn.utils.errors import RequestError

SLURM = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_STEP_NUM_TASKS": "8"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "LOCAL_RANK": "5", "WORLD_SIZE": "8"}


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "expected"),
    [
        ({}, 1, 1, Ranks()),
        ({}, 4, 1, Ranks(4, 0, 4)),  # Lightning starts the others ...
        ({"LOCAL_RANK": "3", "WORLD_SIZE": "4"}, 4, 1, Ranks(4, 3, 4)),  # ... of which this is one
        (SLURM, 1, 1, Ranks()),  # eight runs, one each
        (SLURM, 4, 2, Ranks(8, 3, 4, "Slurm")),
        (TORCHRUN, 8, 1, Ranks(8, 5, 8, "torchrun")),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 4, 1, Ranks(4, 0, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 4, 1, Ranks(4, 0, 4)),  # within sbatch, but without srun
    ],
)
def test_the_rank_of_this_process(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, nodes: int, expected: Ranks
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = find_ranks(devices, nodes)
    assert found == expected
    if found.launcher == "Slurm":
        assert found.environment().auto_requeue is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environment", "devices", "message"),
    [
        (SLURM, 4, "need 4 processes, but Slurm started 8; start one process per device"),
        ({**SLURM, "SLURM_LOCALID": "8"}, 8, "need 8 processes, but Slurm started 8; start one process per device"),
        (TORCHRUN, 1, "need 1 processes, but torchrun started 8"),
    ],
)
def test_a_wrong_number_of_processes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=message):
        find_ranks(devices, 1)


def test_a_single_process_gathers_its_own_value() -> None:
    assert not distributed.is_initialized()
    assert process_state.gather("alone") == ["alone"]
