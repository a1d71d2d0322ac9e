"""The ranks of a run: how many processes train one network together, and which of them this one is.

Rank 0 alone writes files and speaks to the user.
"""

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer

# Who starts processes, the variable that says so, and those with the number of processes, the rank, the local rank.
STARTERS = (
    ("torchrun", "TORCHELASTIC_RUN_ID", ("WORLD_SIZE", "RANK", "LOCAL_RANK")),
    ("Slurm", "SLURM_STEP_ID", ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")),
    ("Lightning", "LOCAL_RANK", ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_RANK")),
)


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `size`; `here` of them are on this machine.

    `starter` started them all: torchrun or Slurm. Otherwise Lightning starts the others when rank 0 begins to train.
    """

    size: int = 1
    rank: int = 0
    here: int = 1
    starter: str = "Lightning"

    def environment(self) -> ClusterEnvironment:
        """Return what tells Lightning about the ranks; it puts no Slurm job into the queue again."""
        if self.starter == "Slurm":
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(self.here))  # else Lightning takes -n for a mistake
            return SLURMEnvironment(auto_requeue=False)
        return TorchElasticEnvironment() if self.starter == "torchrun" else LightningEnvironment()


def find_ranks(devices: object, nodes: object) -> Ranks:
    """Find this process among the ranks that the settings ask for.

    Raises `RequestError` if torchrun or Slurm started another number of processes.
    """
    here = require_integer("trainer.devices", devices)
    size = here * require_integer("trainer.num_nodes", nodes)
    for starter, marker, names in STARTERS:
        if marker not in os.environ:
            continue
        number, rank, local = (int(os.environ.get(name, "1" if name == "WORLD_SIZE" else "0")) for name in names)
        if starter == "Slurm" and 1 in (number, size):
            continue  # it started one process; or several runs of one process each
        if number != size or local >= here:
            raise RequestError(
                f"trainer.devices={here} on trainer.num_nodes={nodes} are {size} processes, and {starter} has started "
                f"{number}; start one for every device"
            )
        return Ranks(size, rank, here, starter) if size > 1 else Ranks()
    if size > here:
        raise RequestError(
            f"trainer.num_nodes={nodes} needs srun or torchrun to start the processes; see docs/scaling.md"
        )
    return Ranks(size, here=here)
