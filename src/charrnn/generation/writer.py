"""Writers: they draw symbols, each from the logits after the one before, and step the network in between.

N symbol, B text, V vocabulary, H hidden unit, L layer, P panel of columns, W its width.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.generation.sampling import MIN_TEMPERATURE, Sampling
from charrnn.generation.stepper import Step, as_floats, stepper
from charrnn.network import CharRNN
from charrnn.network.recurrence import nearest_kernel

# Random numbers in [0, 1), [N, B], in; the ids of the next symbol of each text out, N times.
Writer = Callable[[NDArray[np.float64]], Iterator[list[int]]]


def make_writer(network: CharRNN, sampling: Sampling, logits_BV: Tensor, state_LBS: Tensor) -> Writer:
    """Return the fastest writer for this network, which continues from these logits and state."""
    kernel = getattr(network.cells[0], "kernel", None)
    if kernel and nearest_kernel(kernel, torch.device("cpu"), network.output_bias.dtype) == "numba":
        return compiled_writer(network, sampling, logits_BV, state_LBS)
    return stepping_writer(network, sampling, logits_BV, state_LBS)


def stepping_writer(
    network: CharRNN,
    sampling: Sampling,
    logits_BV: Tensor,
    state_LBS: Tensor,
    make_stepper: Callable[[CharRNN, Tensor], Step] = stepper,
) -> Writer:
    """Return a writer that draws with `sampling`, and steps with what `make_stepper` returns."""
    step, next_BV = make_stepper(network, state_LBS), as_floats(logits_BV)

    def write(uniforms_NB: NDArray[np.float64]) -> Iterator[list[int]]:
        nonlocal next_BV
        for uniforms_B in uniforms_NB:
            ids_B = sampling.pick(next_BV, uniforms_B)
            yield ids_B.tolist()
            next_BV = step(ids_B)

    return write


def compiled_writer(network: CharRNN, sampling: Sampling, logits_BV: Tensor, state_LBS: Tensor) -> Writer:
    """Return a writer whose whole loop is compiled, for the plain network; it draws as `sampling` does."""
    from charrnn.network.compiled.operations import loops, packed
    from charrnn.network.compiled.register_tile import COLUMNS, EPILOGUES

    cells, settings = list(network.cells), network.settings
    with torch.no_grad():
        table_VH = cells[0].input_to_hidden.t() + cells[0].hidden_bias  # type: ignore[operator]
        unit = max(0, COLUMNS - settings["hidden"])  # a tile needs COLUMNS: units that are 0
        symbol = max(0, COLUMNS - len(network.output_bias))

        def padded(weight: Tensor, rows: int) -> Tensor:
            return nn.functional.pad(weight.detach().cpu(), (0, unit, 0, rows))

        recurrent = [packed(padded(cell.hidden_to_hidden, unit).t()) for cell in cells]  # type: ignore[arg-type]
        inputs = [packed(padded(cell.input_to_hidden, unit).t()) for cell in cells[1:]]  # type: ignore[arg-type]
        biases = [padded(cell.hidden_bias[None], 0)[0] for cell in cells]  # type: ignore[index]
        output = packed(padded(network.hidden_to_output, symbol).t())
        arrays = [
            np.ascontiguousarray(as_floats(tensor))
            for tensor in (
                nn.functional.pad(logits_BV.detach().cpu(), (0, symbol)),
                nn.functional.pad(state_LBS.detach().cpu(), (0, unit)),
                padded(table_VH, 0),
                torch.stack(recurrent),
                torch.stack([recurrent[0], *inputs]),  # the lowest layer's is not read
                torch.stack(biases),
                output,
                nn.functional.pad(network.output_bias.detach().cpu(), (0, symbol)),
            )
        ]
    scratch = np.empty((3, *arrays[1].shape[1:]), np.float32)
    layer = (loops().step.address, EPILOGUES.index(settings["activation"]), int(settings["residual"]))
    arrays[:2] = [array.copy() for array in arrays[:2]]  # the writer's own

    def write(uniforms_NB: NDArray[np.float64]) -> Iterator[list[int]]:
        ids_NB = np.empty(uniforms_NB.shape, np.int64)
        loop().write(ids_NB, np.ascontiguousarray(uniforms_NB), *arrays, scratch, *layer, *choices(sampling))
        ids: list[list[int]] = ids_NB.tolist()  # type: ignore[assignment]  # two axes
        yield from ids

    return write


def choices(sampling: Sampling) -> tuple[float, int, float, float]:
    """Return the arguments of the compiled `draw` that stand for `sampling`."""
    temperature = max(sampling.temperature, MIN_TEMPERATURE) if sampling.temperature else 0.0
    top_p = 2.0 if sampling.top_p is None else float(sampling.top_p)  # 2 keeps every symbol
    return temperature, sampling.top_k or 0, top_p, float(sampling.min_p or 0)


@cache
def loop() -> Any:
    """Return the module of the compiled loop, from the cache on disk if possible."""
    from charrnn.network.compiled.loading import load

    return load("charrnn.generation.compiled_loop", "the generation of text")
