"""The metrics of a run while it trains: collected on the device, and read only when they are needed.

P parameters, N symbols, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charrnn.data.batches import IGNORED
from charrnn.evaluation.scoring import summed_nats

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger

Mean = Callable[[Tensor], Tensor]


class TrainingMetrics:
    """Collects the loss of every batch, and after every step the norm of each parameter's gradient, [P]."""

    def __init__(self) -> None:
        self._shared = 0  # the number of losses that are already means over all ranks
        self._losses: list[tuple[int, int, Tensor]] = []  # step, symbols, nats per symbol
        self._norms: list[tuple[int, Tensor]] = []  # step, norms

    def __len__(self) -> int:
        return len(self._losses)

    def add_loss(self, step: int, symbols: int, nats: Tensor) -> None:
        self._losses.append((step, symbols, nats.detach()))

    def add_norms(self, step: int, norms_P: Tensor) -> None:
        self._norms.append((step, norms_P))

    def share(self, mean: Mean) -> None:
        """Replace the losses by their means over all ranks, computed by `mean`. All ranks must call it together."""
        if len(self._losses) > self._shared:
            own = self._losses[self._shared :]
            means = mean(torch.stack([nats for _, _, nats in own]))
            self._losses[self._shared :] = [(step, n, nats) for (step, n, _), nats in zip(own, means, strict=True)]
        self._shared = len(self._losses)

    def nonfinite(self, names: Sequence[str], *, check_gradients: bool) -> str | None:
        """Describe the first loss or gradient that is NaN or infinite, with its step; None if all are finite.

        `names` are those of the parameters.
        """
        found = []
        if self._losses:
            losses = torch.stack([nats for _, _, nats in self._losses]).float().cpu()
            found += [
                (self._losses[i][0], f"the loss is {float(losses[i])}") for i in (~losses.isfinite()).nonzero()[:1, 0]
            ]
        if self._norms and check_gradients:
            norms = torch.stack([norms_P for _, norms_P in self._norms]).float().cpu()
            found += [
                (self._norms[i][0], f"the gradient of {names[p]} is {float(norms[i, p])}")
                for i, p in (~norms.isfinite()).nonzero()[:1].tolist()
            ]
        if not found:
            return None
        step, problem = min(found, key=lambda pair: pair[0])
        return f"{problem} at step {step}"

    def mean(self) -> float:
        """Return nats per symbol over all collected batches."""
        weights = torch.tensor([symbols for _, symbols, _ in self._losses], dtype=torch.float32)
        losses = torch.stack([nats for _, _, nats in self._losses]).float().cpu()
        return float((losses * weights).sum() / weights.sum())

    def gradient_norm(self) -> float:
        """Return the norm of the last step's gradient over all parameters."""
        return float(torch.linalg.vector_norm(self._norms[-1][1]))

    def clear(self) -> None:
        self._shared = 0
        self._losses.clear()
        self._norms.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the metrics, under the names of its format."""
        return {
            "losses": [nats.cpu() for _, _, nats in self._losses],
            "losses_of": [[symbols, step] for step, symbols, _ in self._losses],
            "gradient_norms": [norms_P.cpu() for _, norms_P in self._norms],
        }

    def load_state_dict(self, state: dict[str, Any], last_step: int, device: torch.device) -> None:
        """Restore what `state_dict` returned after `last_step`; each step up to it has one entry of norms."""
        losses = zip(state["losses_of"], state["losses"], strict=True)
        self._losses = [(step, symbols, nats.to(device)) for (symbols, step), nats in losses]
        self._shared = len(self._losses)
        norms = state["gradient_norms"]
        self._norms = [(last_step - len(norms) + 1 + i, norms_P.to(device)) for i, norms_P in enumerate(norms)]


class ValidationMetrics:
    """Sums the loss over a split, in nats, so that it is divided once, by the number of symbols."""

    def __init__(self) -> None:
        self._nats: list[Tensor] = []
        self._symbols = 0

    def add(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        self._nats.append(summed_nats(logits_NV, targets_N))
        self._symbols += int((targets_N != IGNORED).sum())

    def nats_per_symbol(self, total: Callable[[Tensor], Tensor]) -> float:
        """Return nats per symbol over all ranks, and clear the sums; `total` adds up a tensor over the ranks."""
        nats = torch.stack(self._nats).sum()
        nats, symbols = total(torch.stack([nats, nats.new_tensor(self._symbols)])).tolist()
        self._nats.clear()
        self._symbols = 0
        return float(nats / symbols)


class MetricLog:
    """Passes metrics on to the loggers, and keeps the latest value of each.

    A checkpoint remembers what was logged for its own step, because a resumed run drops the points from that step on.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._step, self._logged = -1, dict[str, float]()

    def write(self, metrics: dict[str, float], step: int, loggers: "Sequence[Logger]") -> None:
        """Log `metrics` at this optimizer step."""
        self.latest.update(metrics)
        if self._step != step:
            self._step, self._logged = step, {}
        self._logged.update(metrics)
        for logger in loggers:
            logger.log_metrics(metrics, step=step)

    def rewrite(self, step: int, loggers: "Sequence[Logger]") -> None:
        """Log again what was logged for the step at which a run resumes."""
        for logger in loggers if self._step == step else ():
            logger.log_metrics(self._logged, step=step)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "figures": self._logged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, self._logged = state["step"], state["figures"]
