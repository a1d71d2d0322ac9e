"""What the processes of a run decide together after every step, such as to stop, or to save now."""

from typing import Any, Protocol

import lightning
import torch
from lightning.pytorch import Callback
from torch import distributed

from charrnn.errors import RunFailed


class Votes:
    """What all processes know of each other's wishes, without any of them waiting for another."""

    def __init__(self) -> None:
        self._group: Any = None
        self._under_way: tuple[Any, torch.Tensor] | None = None

    def cast(self, wishes: list[int]) -> list[int]:
        """The largest of every wish: of now if this process is alone, else of the call before; at first 0."""
        if not distributed.is_initialized():
            return wishes
        if self._group is None:  # on the CPU even if the network is on a GPU, which goes on meanwhile
            self._group = distributed.new_group(backend="gloo")
        agreed = [0] * len(wishes)
        if self._under_way is not None:
            work, votes = self._under_way
            work.wait()
            agreed = [int(vote) for vote in votes]
        # What has just been granted is not asked for again.
        votes = torch.tensor([0 if granted else wish for wish, granted in zip(wishes, agreed, strict=True)])
        self._under_way = (distributed.all_reduce(votes, distributed.ReduceOp.MAX, self._group, async_op=True), votes)
        return agreed


class Member(Protocol):
    """A callback that has a wish, 0 for none, and acts on what was `agreed`."""

    agreed: int

    def wish(self) -> int: ...


class Agreement(Callback):
    """Comes before its members: after every step each gets the largest wish that it has in any of the processes."""

    def __init__(self, *members: Member) -> None:
        self._members = members
        self._votes = Votes()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Raise `RunFailed` if the processes are about to train on different texts, or from different steps."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        own = {"text": data.corpus.sha256, "step": trainer.global_step}
        first = trainer.strategy.broadcast(own)
        if own != first:
            raise RunFailed(
                f"process {trainer.global_rank} has {own}, process 0 {first}; see that all read the same files"
            )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.made_a_step():
            agreed = self._votes.cast([member.wish() for member in self._members])
            for member, vote in zip(self._members, agreed, strict=True):
                member.agreed = vote
