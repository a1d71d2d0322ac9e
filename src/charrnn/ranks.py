"""The processes that train one network together: how many, which of them this one is, who starts and ends them.

Each has a rank, 0 for the first; that one alone writes files and speaks to the user.
"""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from charrnn.errors import RequestError, RunFailed, one_line, require_integer
from charrnn.signals import STOPPING
from charrnn.workers import Worker, when_parent_ends

PATIENCE = 1.0  # seconds


@dataclass(frozen=True)
class Ranks:
    """`size` processes, of which this is number `rank`; `here` of them are on this machine.

    `starter` has started them all (Slurm or torchrun), or is None: then rank 0 starts the others, and they meet at
    `port`.
    """

    size: int = 1
    rank: int = 0
    here: int = 1
    starter: str | None = None
    port: int = 0

    def environment(self) -> ClusterEnvironment:
        """What Lightning asks for all this; it starts no processes of its own, and puts no job into a queue again."""
        if self.starter == "Slurm":
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(self.here))  # else Lightning takes -n for a mistake
            return SLURMEnvironment(auto_requeue=False)
        return TorchElasticEnvironment() if self.starter == "torchrun" else _OnThisMachine(self)


class _OnThisMachine(LightningEnvironment):
    """Processes that `helped` has started."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    creates_processes_externally = True  # not by Lightning
    main_address = "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._ranks.port

    def local_rank(self) -> int:
        return self._ranks.rank

    def node_rank(self) -> int:
        return 0


def find_ranks(devices: object, nodes: object) -> Ranks:
    """The place of this process among those that the settings ask for; `RequestError` if others were started."""
    here = require_integer("trainer.devices", devices)
    size = here * require_integer("trainer.num_nodes", nodes)
    for starter, is_there, names in (
        ("torchrun", "TORCHELASTIC_RUN_ID", ("WORLD_SIZE", "RANK", "LOCAL_RANK")),
        ("Slurm", "SLURM_STEP_ID", ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")),
    ):
        if is_there not in os.environ:
            continue
        number, rank, local = (int(os.environ[name]) for name in names)
        if starter == "Slurm" and 1 in (number, size):
            continue  # it started one process, which starts the others; or many runs, one process each
        if number != size or local >= here:
            raise RequestError(
                f"trainer.devices={here} on trainer.num_nodes={nodes} are {size} processes, and {starter} has started "
                f"{number}; start one for every device"
            )
        return Ranks(size, rank, here, starter) if size > 1 else Ranks()
    if size == 1:
        return Ranks()
    if size > here:
        raise RequestError(
            f"trainer.num_nodes={nodes} needs a starter of processes, such as srun or torchrun; see docs/scaling.md"
        )
    return Ranks(size, here=here, port=find_free_network_port())


Work = Callable[..., Iterator[None]]  # gets ready, yields, and does its part


@contextmanager
def helped(ranks: Ranks, threads: int, work: Work, *arguments: Any) -> Iterator[None]:
    """The other processes, each with so many threads, get ready for `work(*arguments, their ranks)`; then the block.

    If one of them fails or is killed, what this process is doing breaks off, and `RunFailed` says why. In the end none
    is left.
    """
    workers = [Worker(threads) for _ in range(1, ranks.size if ranks.starter is None else 1)]
    try:
        for rank, worker in enumerate(workers, 1):
            worker.begin(pickle.dumps((_get_ready, (work, *arguments, replace(ranks, rank=rank)))))
        for rank, worker in enumerate(workers, 1):
            _check(rank, worker.result())
        for worker in workers:
            worker.begin(pickle.dumps((_do, ())))
        yield
        _part()  # together with the others
        for rank, worker in enumerate(workers, 1):
            _check(rank, worker.result())
    except RunFailed:  # all have failed
        raise
    except RuntimeError as error:  # what torch raises if another process has gone
        told = [(rank, worker) for rank, worker in enumerate(workers, 1) if worker.connection.poll(PATIENCE)]
        for rank, trouble in sorted(((rank, worker.result()) for rank, worker in told), key=_is_consequence):
            _check(rank, trouble, error)
        raise
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
        _part()


def _is_consequence(told: tuple[int, str | None]) -> bool:
    """Whether a process only lost its connection to the one that failed."""
    return str(told[1]).startswith(("RuntimeError", "Dist"))


def _check(rank: int, trouble: str | None, because: Exception | None = None) -> None:
    """Raise `RunFailed` if the process failed; None is what is heard of one that was killed."""
    if trouble != "":
        what = "was killed" if trouble is None else f"failed: {trouble}"
        raise RunFailed(f"process {rank} {what}; the others were ended") from because


_under_way: list[Iterator[None]] = []  # in a process that `helped` has started


def _get_ready(work: Work, *arguments: Any) -> str:
    for signum in STOPPING:  # rank 0 hears them too, and decides
        signal.signal(signum, signal.SIG_IGN)
    when_parent_ends(lambda: os._exit(1))
    _under_way.append(work(*arguments))
    return _do()


def _do() -> str:
    """Go on with the work; what went wrong, or nothing."""
    try:
        next(_under_way[0], None)
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    finally:
        _part()  # the others, who may wait for this one, notice
    return ""


def _part() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks; all call it together."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
