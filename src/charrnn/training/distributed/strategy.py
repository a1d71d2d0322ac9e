"""A data-parallel strategy: one all-reduce of all gradients after each backward pass."""

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn


class MeanGradients(DDPStrategy):
    """Averages all gradients over the ranks in one message after each backward pass.

    The order of the sum is fixed, so a resumed run rounds exactly as an uninterrupted one. DistributedDataParallel
    does not: it rebuilds its buckets after the first step, also in a resumed run. Its overlap of communication with
    the backward pass gains little here, because backpropagation through time yields most gradients at the very end.
    """

    def configure_ddp(self) -> None:
        """Copy the weights of rank 0 to all ranks; the network is not wrapped in DistributedDataParallel."""
        assert self.model is not None
        for parameter in self.model.parameters():
            distributed.broadcast(parameter.data, src=0)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients; what earlier batches of an accumulated step added is equal on all ranks and stays."""
        assert self.model is not None
        average_gradients(self.model)


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient by its mean over all ranks."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    means = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
