"""The network: input lookup, stacked recurrent layers and an output layer, independent of Lightning and Hydra.

B lane, T time step, V vocabulary, H hidden unit, L layer, S state size of one layer.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.network.dropout import Dropout, InputDropout
from charrnn.network.elman import ElmanCell
from charrnn.network.gated import GatedCell
from charrnn.network.linear import linear_cross_entropy
from charrnn.utils.validation import require_choice, require_flag, require_integer, require_number

# Cells are selected by name, not by import path: a checkpoint must not be able to run arbitrary code.
CELLS: dict[str, Callable[..., nn.Module]] = {
    "elman": ElmanCell,
    "gru": partial(GatedCell, "gru"),
    "lstm": partial(GatedCell, "lstm"),
}

# A checkpoint keeps the settings that were left to their defaults too.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    name: {
        key: parameter.default
        for key, parameter in inspect.signature(make).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    for name, make in CELLS.items()
}

# The number of time steps per call in evaluation. It limits memory and does not change the result.
CHUNK = 256


class CharRNN(nn.Module):
    """Maps character ids to logits of the next character: y_t = W_hy h_t + b_y above `layers` recurrent layers.

    `cell` is the type of layer, `cell_options` its settings. Dropout is applied to each layer's output, never to its
    state (Zaremba 2014), and in training a share `input_dropout` of the characters is not read (see `InputDropout`).
    In training the gradients of the loss are those of smoothed labels (`label_smoothing`, see `linear_cross_entropy`).
    With `residual`, each layer above the first adds its output to its input (He 2016).
    W_hy is normal, with standard deviation `output_std` / sqrt(H): with 0, the first gradients of all other weights are
    0, Adam turns the tiny ones that follow into steps of full size in one direction, and a ReLU state explodes.
    `settings` has the arguments as plain values, from which the same network can be built.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str = "elman",
        hidden: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        residual: bool = True,
        output_std: float = 2.0,
        **cell_options: Any,
    ) -> None:
        super().__init__()
        hidden, layers = require_integer("hidden", hidden), require_integer("layers", layers)
        cell_options = {**CELL_DEFAULTS[require_choice("cell", cell, tuple(CELLS))], **cell_options}
        self.settings: dict[str, Any] = {
            "vocabulary_size": require_integer("vocabulary_size", vocabulary_size),
            "cell": cell,
            "hidden": hidden,
            "layers": layers,
            "dropout": require_number("dropout", dropout, 0.0, below=1.0),
            "input_dropout": require_number("input_dropout", input_dropout, 0.0, below=1.0),
            "label_smoothing": require_number("label_smoothing", label_smoothing, 0.0, below=1.0),
            "residual": require_flag("residual", residual),
            "output_std": require_number("output_std", output_std, 0.0),
            **cell_options,
        }
        self.cells = nn.ModuleList(
            CELLS[cell](vocabulary_size if layer == 0 else hidden, hidden, reads_ids=layer == 0, **cell_options)
            for layer in range(layers)
        )
        self._state_size = int(self.cells[0].state_size)  # type: ignore[arg-type]  # ModuleList loses the type of its modules
        self.dropout, self.input_dropout = Dropout(dropout), InputDropout(input_dropout, missing=vocabulary_size)
        self.hidden_to_output = nn.Parameter(torch.zeros(vocabulary_size, hidden))
        nn.init.normal_(self.hidden_to_output, std=output_std / hidden**0.5)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))

    def initial_state(self, lanes: int) -> Tensor:
        """Return the zero state h_0, [L, B, S], with the network's device and dtype."""
        return self.hidden_to_output.new_zeros((len(self.cells), lanes, self._state_size))

    def forward(self, ids_TB: Tensor, state_LBS: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and last state as `unroll` does, from a zero state unless one is given."""
        return self.unroll(ids_TB, self.initial_state(ids_TB.shape[1]) if state_LBS is None else state_LBS)

    def step(self, ids_B: Tensor, state_LBS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step from x_t and h_{t-1}: return the logits y_t, [B, V], and the state h_t, [L, B, S]."""
        x_BH, _, state_LBS = self._run_layers(ids_B, state_LBS, "step")
        return self._logits(x_BH), state_LBS

    def unroll(self, ids_TB: Tensor, state_LBS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute T time steps, like T calls of `step`: return the logits, [T, B, V], and the last state, [L, B, S]."""
        x_TBH, _, state_LBS = self._run_layers(ids_TB, state_LBS, "unroll")
        return self._logits(x_TBH), state_LBS

    def loss(self, ids_TB: Tensor, targets_TB: Tensor, state_LBS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of the logits of `unroll`, nats per symbol, and the last state, [L, B, S].

        In training its gradients are those of smoothed labels (see `linear_cross_entropy`).
        """
        x_TBH, _, state_LBS = self._run_layers(ids_TB, state_LBS, "unroll")
        output = self.dropout(x_TBH).flatten(0, 1), self.hidden_to_output, self.output_bias
        kernel = getattr(self.cells[0], "kernel", "auto")
        smoothing = self.settings["label_smoothing"] if self.training else 0.0
        return linear_cross_entropy(*output, targets_TB.flatten(), kernel, smoothing), state_LBS

    def unroll_layers(self, ids_TB: Tensor, state_LBS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute T time steps like `unroll`, but return each layer's outputs h_t, [L, T, B, H], instead of logits."""
        _, outputs, state_LBS = self._run_layers(ids_TB, state_LBS, "unroll")
        return torch.stack(outputs), state_LBS

    def _run_layers(self, x: Tensor, state_LBS: Tensor, method: str) -> tuple[Tensor, list[Tensor], Tensor]:
        outputs, states = [], []
        for layer, cell in enumerate(self.cells):
            read = self.dropout(x) if layer > 0 else self.input_dropout(x)
            output, state_BS = getattr(cell, method)(read, state_LBS[layer])
            x = output + x if self.settings["residual"] and layer > 0 else output
            outputs.append(output)
            states.append(state_BS)
        return x, outputs, torch.stack(states)

    def _logits(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.dropout(x), self.hidden_to_output, self.output_bias)

    def parameter_count(self) -> int:
        """Return the number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def description(self) -> str:
        """A description in one line (see `describe`)."""
        return describe(self.settings, self.parameter_count())


def describe(settings: dict[str, Any], parameters: int) -> str:
    """Describe a network in one line, such as "1 layer of 256 (elman, tanh): 115,040 parameters"."""
    layers = "1 layer" if settings["layers"] == 1 else f"{settings['layers']} layers"
    kind = ", ".join(settings[key] for key in ("cell", "activation") if key in settings)
    return f"{layers} of {settings['hidden']:,} ({kind}): {parameters:,} parameters"


@contextmanager
def evaluating(network: CharRNN) -> Iterator[None]:
    """Disable dropout and gradients within the block; then restore the mode of every module."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def read_chunks(
    network: CharRNN,
    batches: Iterable[tuple[Tensor, Tensor, bool, *tuple[object, ...]]],
    *,
    chunk: int = CHUNK,
    unroll: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield logits, [T, B, V], targets, [T, B], and state, [L, B, S], chunk by chunk, without dropout or gradients.

    A batch (see `Batch`) has inputs, [T, B], targets, [T, B], and whether its sequences start from a zero state. If
    not, they continue from the state after the previous batch. `unroll` replaces `network.unroll`; its output replaces
    the logits.
    """
    state_LBS = torch.empty(0)
    for inputs_TB, targets_TB, starts, *_ in batches:
        if starts:
            state_LBS = network.initial_state(inputs_TB.shape[1])
        for inputs, targets in zip(inputs_TB.split(chunk), targets_TB.split(chunk), strict=True):
            with evaluating(network):  # excludes `yield`, so that the caller's code is unaffected
                outputs, state_LBS = (unroll or network.unroll)(inputs.to(state_LBS.device), state_LBS)
            yield outputs, targets.to(state_LBS.device), state_LBS
