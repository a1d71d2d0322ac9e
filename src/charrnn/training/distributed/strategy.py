"""The strategy for several ranks: one all-reduce of all gradients after each backward pass."""

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn


class MeanGradients(DDPStrategy):
    """Replaces every gradient, after each backward pass, by its mean over all processes; one message carries all.

    Always in the same order, so that a resumed run rounds as the run before it. DistributedDataParallel lays its
    buckets out anew after its first step, that of a resumed run too; and what it gains by sending the first gradients
    while the others are computed is little here, where most come at the end of the way back through time.
    """

    def configure_ddp(self) -> None:
        """Begin everywhere with the weights of rank 0; the network is not wrapped."""
        assert self.model is not None
        for parameter in self.model.parameters():
            distributed.broadcast(parameter.data, src=0)

    def post_backward(self, closure_loss: Tensor) -> None:
        """What earlier batches of the same step have left in the gradients is the same everywhere, and stays."""
        assert self.model is not None
        average_gradients(self.model)


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient by its mean over all processes."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    means = together.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
