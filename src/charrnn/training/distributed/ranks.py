"""The ranks of a run: how many processes train one network together, and which one this is.

Only rank 0 writes files and prints.
"""

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import count_devices, require_integer

# Launcher, the environment variable that identifies it, and its variables for world size, rank and local rank.
LAUNCHERS = (
    ("torchrun", "TORCHELASTIC_RUN_ID", ("WORLD_SIZE", "RANK", "LOCAL_RANK")),
    ("Slurm", "SLURM_STEP_ID", ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")),
    ("Lightning", "LOCAL_RANK", ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_RANK")),
)


@dataclass(frozen=True)
class Ranks:
    """Identifies this process: number `rank` of `size` processes, of which `local_size` are on this machine.

    `launcher` is what launches them: torchrun and Slurm launch all. Lightning launches the others from rank 0 when
    training starts.
    """

    size: int = 1
    rank: int = 0
    local_size: int = 1
    launcher: str = "Lightning"

    def environment(self) -> ClusterEnvironment:
        """Return the cluster environment for Lightning, with its own requeueing of Slurm jobs turned off."""
        if self.launcher == "Slurm":
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(self.local_size))  # Lightning rejects srun -n without it
            return SLURMEnvironment(auto_requeue=False)
        return TorchElasticEnvironment() if self.launcher == "torchrun" else LightningEnvironment()


def find_ranks(devices: object, nodes: object) -> Ranks:
    """Return the rank of this process, from the config and the launcher's environment variables.

    Raises `RequestError` if torchrun or Slurm started a different number of processes than the config asks for.
    """
    local_size = count_devices(devices)
    size = local_size * require_integer("trainer.num_nodes", nodes)
    for launcher, marker, names in LAUNCHERS:
        values = [os.environ.get(name, "") for name in names]
        if marker not in os.environ or not all(map(str.isdigit, values)):
            continue  # left by another program, such as an interactive job
        started, rank, local_rank = map(int, values)
        if launcher == "Slurm" and 1 in (started, size):
            continue  # a single process, or several independent runs of one process each
        if launcher == "Lightning" and (started != size or local_rank >= local_size):
            raise RequestError(
                f"WORLD_SIZE={started} and LOCAL_RANK={local_rank} do not fit trainer.devices={local_size} and "
                f"trainer.num_nodes={nodes}; unset these variables, or start the processes with torchrun or srun"
            )
        if started != size or local_rank >= local_size:
            raise RequestError(
                f"trainer.devices={local_size} and trainer.num_nodes={nodes} need {size} processes, "
                f"but {launcher} started {started}; start one process per device"
            )
        return Ranks(size, rank, local_size, launcher) if size > 1 else Ranks()
    if size > 1 and "LOCAL_RANK" in os.environ:  # Lightning would wait for processes that nobody starts
        raise RequestError("LOCAL_RANK is set, but no launcher's other variables; unset it, or use torchrun or srun")
    if size > local_size:
        raise RequestError(
            f"trainer.num_nodes={nodes} needs srun or torchrun to start the processes; "
            "see docs/how-to/devices-and-clusters.md"
        )
    return Ranks(size, local_size=local_size)
