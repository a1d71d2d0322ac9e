"""What the steps since the last figures gave: losses and gradient norms, on the device until they are asked for.

P parameters.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class TrainingMetrics:
    """The loss of every batch, and after every step the norm of every parameter's gradient, [P]."""

    def __init__(self) -> None:
        self._shared = 0  # of the losses are those of all processes
        self._losses: list[tuple[int, int, Tensor]] = []  # step, symbols, nats per symbol
        self._norms: list[tuple[int, Tensor]] = []  # step, norms

    def __len__(self) -> int:
        return len(self._losses)

    def add_loss(self, step: int, symbols: int, nats: Tensor) -> None:
        self._losses.append((step, symbols, nats.detach()))

    def add_norms(self, step: int, norms_P: Tensor) -> None:
        self._norms.append((step, norms_P))

    def share(self, mean: Callable[[Tensor], Tensor]) -> None:
        """Make the losses those of all processes; `mean` is over these, of a tensor. All of them call it together."""
        if len(self._losses) > self._shared:
            means = mean(torch.stack([nats for _, _, nats in self._losses[self._shared :]]))
            own = self._losses[self._shared :]
            self._losses[self._shared :] = [(step, n, nats) for (step, n, _), nats in zip(own, means, strict=True)]
        self._shared = len(self._losses)

    def trouble(self, names: Sequence[str], *, look_at_gradients: bool) -> str | None:
        """The first loss or gradient that is no finite number, with its step; `names` are those of the parameters."""
        found = []
        if self._losses:
            losses = torch.stack([nats for _, _, nats in self._losses]).float().cpu()
            found += [
                (self._losses[i][0], f"the loss is {float(losses[i])}") for i in (~losses.isfinite()).nonzero()[:1, 0]
            ]
        if self._norms and look_at_gradients:
            norms = torch.stack([norms_P for _, norms_P in self._norms]).float().cpu()
            found += [
                (self._norms[i][0], f"the gradient of {names[place]} is {float(norms[i, place])}")
                for i, place in (~norms.isfinite()).nonzero()[:1].tolist()
            ]
        if not found:
            return None
        step, what = min(found, key=lambda trouble: trouble[0])
        return f"{what} at step {step}"

    def mean(self) -> float:
        """Nats per symbol of all these batches."""
        weights = torch.tensor([symbols for _, symbols, _ in self._losses], dtype=torch.float32)
        losses = torch.stack([nats for _, _, nats in self._losses]).float().cpu()
        return float((losses * weights).sum() / weights.sum())

    def gradient_norm(self) -> float:
        """Of the last step, over all parameters."""
        return float(torch.linalg.vector_norm(self._norms[-1][1]))

    def clear(self) -> None:
        self._shared = 0
        self._losses.clear()
        self._norms.clear()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of them, under the names of its format."""
        return {
            "losses": [nats.cpu() for _, _, nats in self._losses],
            "losses_of": [[symbols, step] for step, symbols, _ in self._losses],
            "gradient_norms": [norms_P.cpu() for _, norms_P in self._norms],
        }

    def load_state_dict(self, state: dict[str, Any], last_step: int, device: torch.device) -> None:
        """Put back what `state_dict` gave after `last_step`; there is one entry of norms for each step up to it."""
        figures = zip(state["losses_of"], state["losses"], strict=True)
        self._losses = [(step, symbols, nats.to(device)) for (symbols, step), nats in figures]
        self._shared = len(self._losses)
        norms = state["gradient_norms"]
        self._norms = [(last_step - len(norms) + 1 + i, norms_P.to(device)) for i, norms_P in enumerate(norms)]
