"""The loss of a network and its gradients as one CUDA graph, so that a training step does not wait for Python.

A step of a small network is some hundred kernels of a few microseconds each, and Python needs longer to start each of
them. A graph is recorded once for each shape of batch; then one call replays them all.

B lane, T time step, L layer, S state size of one layer.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.network.char_rnn import CharRNN
from charrnn.network.recurrence import tf32_allowed
from charrnn.utils.errors import RequestError, one_line

MOST_GRAPHS = 8  # for further shapes of batches, the loss is computed without a graph
WARM_UP = 3  # calls before recording, in which libraries allocate their workspaces


class GraphedLoss:
    """Computes `network.loss` with its gradients, as a CUDA graph on NVIDIA GPUs.

    The state that it returns has no gradients. The loss must be differentiated before the next call. Raises
    `RequestError` if CUDA can't record the network's operations.
    """

    def __init__(self, network: CharRNN) -> None:
        self._network = network
        self._graphs: dict[tuple[object, ...], _Graph] = {}
        self._pool: Any = None  # memory for what the graphs compute on the way: only one runs at a time

    def __call__(self, ids_TB: Tensor, targets_TB: Tensor, state_LBS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy, nats per symbol, and the last state, [L, B, S], like `network.loss`."""
        parameters = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        # Gradients in float16 must be computed from a scaled loss, and the scale is not known here.
        usable = state_LBS.is_cuda and torch.is_grad_enabled() and _autocast_dtype() != torch.float16
        # Hooks of gradients would run when the graph is recorded, and again when gradients are added up.
        hooked = any(getattr(parameter, "_backward_hooks", None) for parameter in parameters)
        if not usable or hooked or torch.is_anomaly_enabled() or not parameters:
            return self._network.loss(ids_TB, targets_TB, state_LBS)
        # A graph reads and writes the memory that it was recorded with, and repeats the choices of that time.
        memory = tuple(parameter.data_ptr() for parameter in parameters)
        choices = self._network.training, self._network.dropout.p, tf32_allowed(), _autocast_dtype()
        key = (memory, ids_TB.shape, *choices)
        graph = self._graphs.get(key)
        if graph is None:
            self._graphs = {kept: each for kept, each in self._graphs.items() if kept[0] == memory}
            if len(self._graphs) == MOST_GRAPHS:
                return self._network.loss(ids_TB, targets_TB, state_LBS)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = self._graphs[key] = _Graph(self._network, parameters, (ids_TB, targets_TB, state_LBS), self._pool)
        loss: Tensor
        loss, state_LBS = _Replay.apply(graph, (ids_TB, targets_TB, state_LBS), *parameters)
        return loss, state_LBS

    def clear(self) -> None:
        """Free the memory of all graphs."""
        self._graphs, self._pool = {}, None


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which graphs of this device are recorded; libraries keep a workspace for each stream."""
    return torch.cuda.Stream(device)


class _Graph:
    """A recorded graph, with the tensors from which it reads, `given`, and to which it writes."""

    def __init__(
        self, network: CharRNN, parameters: Sequence[Tensor], given: tuple[Tensor, Tensor, Tensor], pool: Any
    ) -> None:
        self.given = tuple(tensor.detach().clone() for tensor in given)
        self.uses = 0
        device = self.given[0].device
        dtype = _autocast_dtype()

        def compute() -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
            # The weights must be cast in each replay, so autocast must not keep casts of an earlier step.
            with torch.enable_grad(), torch.autocast("cuda", dtype, enabled=dtype is not None, cache_enabled=False):
                loss, state_LBS = network.loss(*self.given)
            return loss.detach(), state_LBS.detach(), torch.autograd.grad(loss, parameters)

        # Recording draws random numbers for dropout. Without this, a resumed run would draw others than a whole one.
        with torch.random.fork_rng([device]), torch.cuda.device(device):
            stream = _stream(device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    compute()
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            try:
                # Only operations of this thread count: others may wait for the device at the same time.
                with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
                    self._loss, self._state_LBS, self.gradients = compute()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                cause = error.__context__ or error  # ending the record of a failed operation fails too
                problem = f"a training step can't be recorded as a CUDA graph: {one_line(cause)}"
                raise RequestError(f"{problem}; use cuda_graph=false") from error

    def replay(self, given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the loss and the last state; `gradients` then has those of the loss."""
        for own, tensor in zip(self.given, given, strict=True):
            own.copy_(tensor)
        self._graph.replay()
        self.uses += 1
        return self._loss.clone(), self._state_LBS.clone()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: _Graph, given: tuple[Tensor, ...], *parameters: Tensor) -> tuple[Tensor, Tensor]:
        loss, state_LBS = graph.replay(given)
        ctx.graph, ctx.use = graph, graph.uses
        ctx.mark_non_differentiable(state_LBS)
        return loss, state_LBS

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.use != ctx.graph.uses:
            raise RuntimeError("the gradients of this loss are gone: call backward() before the next loss is computed")
        # A product, not the tensors themselves, which the next replay overwrites.
        return None, None, *torch._foreach_mul(ctx.graph.gradients, gradient.to(ctx.graph.gradients[0].dtype))
