"""Recovery from divergence: a loss or gradient that is NaN or infinite, or a loss that explodes."""

import logging
import math
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.module import VALIDATION, CharRNNModule
from charrnn.runs.checkpoint_file import network_weights
from charrnn.training.callbacks.checkpoint import Checkpoints, readable_checkpoints
from charrnn.training.run_state import RunState
from charrnn.utils.errors import RunFailed
from charrnn.utils.validation import require_integer, require_number

log = logging.getLogger(__name__)

RATES = ("lr", "initial_lr", "max_lr", "min_lr")  # torch's schedules store these in the optimizer's groups


class Recovery(Callback):
    """Returns to the last good weights when training diverges, and multiplies the learning rate by `factor`.

    Training diverges if a loss, a gradient or a validation loss is NaN or infinite. It also diverges if the loss is
    above `explosion` times its minimum, and above that of a uniform guess, in `patience` logged values in a row;
    meanwhile nothing is saved. The step count and the position in the text continue, the states start from zero. After
    `retries` recoveries the run fails.
    """

    def __init__(
        self, checkpoints: Checkpoints, state: RunState, *, retries: int, factor: float, explosion: float, patience: int
    ) -> None:
        self._checkpoints, self._state = checkpoints, state
        self._retries = require_integer("recovery.retries", retries, minimum=0)
        self._factor = require_number("recovery.factor", factor, 0.0, below=1.0)
        self._explosion = require_number("recovery.explosion", explosion, 1.0)
        self._patience = require_integer("recovery.patience", patience)
        self._used = 0
        self._minimum = math.inf
        self._high = 0  # how many logged losses in a row were too high
        self._good_step = 0  # the step of the last loss that was not

    def state_dict(self) -> dict[str, Any]:
        return {"used": self._used, "minimum": self._minimum, "high": self._high, "good_step": self._good_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._used, self._minimum = state_dict["used"], state_dict["minimum"]
        self._high, self._good_step = state_dict["high"], state_dict["good_step"]

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if not (pl_module.should_log() or (pl_module.step_completed() and self._checkpoints.due(trainer))):
            return
        trouble = pl_module.nonfinite()
        if trouble is None and pl_module.should_log():
            nats, uniform_nats = pl_module.shared_metrics().mean(), math.log(len(pl_module.vocabulary))
            trouble = self._check_loss(nats, uniform_nats, trainer.global_step)
        if trouble is not None:
            self._recover(trainer, pl_module, trouble)
        self._state.saving_suspended = self._high > 0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        value = float(trainer.callback_metrics[VALIDATION])
        if trainer.state.fn != TrainerFn.FITTING or math.isfinite(value) or self._checkpoints.is_over(trainer):
            return
        # The checkpoint of this step has these weights too.
        self._high, self._good_step = max(1, self._high), min(self._good_step, trainer.global_step - 1)
        with torch.inference_mode(False):  # a tensor made in inference mode can't be trained
            self._recover(trainer, pl_module, f"the validation loss is {value} at step {trainer.global_step}")
        self._state.saving_suspended = False

    def _check_loss(self, nats: float, uniform_nats: float, step: int) -> str | None:
        """Record a loss; return what is wrong if `patience` losses in a row were too high."""
        self._minimum = min(self._minimum, nats)
        if nats <= max(self._explosion * self._minimum, uniform_nats):
            self._high, self._good_step = 0, step
            return None
        self._high += 1
        if self._high < self._patience:
            return None
        return f"the loss is {nats:.3g} at step {step}, its minimum was {self._minimum:.3g}"

    def _last_good(self) -> dict[str, Any] | None:
        """Return the newest finite checkpoint from before the divergence, preferring one saved on schedule."""
        folder = self._checkpoints.folder
        finite = [
            checkpoint
            for _, checkpoint in readable_checkpoints(folder, with_best=True)
            if checkpoint["global_step"] <= (self._good_step if self._high else math.inf)
            and all(weight.isfinite().all() for weight in network_weights(checkpoint).values())
        ]
        return max(
            finite,
            key=lambda checkpoint: (
                self._checkpoints.is_scheduled(checkpoint["global_step"]),
                checkpoint["global_step"],
            ),
            default=None,
        )

    def _recover(self, trainer: lightning.Trainer, module: CharRNNModule, trouble: str) -> None:
        last_good = self._last_good() if trainer.is_global_zero else None
        checkpoint = trainer.strategy.broadcast(last_good)  # all ranks must load the same one
        if self._used >= self._retries or checkpoint is None:
            times = f" after {self._used} recoveries" if self._used else ""
            grows = module.network.settings.get("recurrent_gain", 0.0) > 1.0
            advice = "model.recurrent_gain below 1 or " * grows + "a lower optimizer.lr"
            raise RunFailed(f"{trouble}{times}; start over with {advice}")
        self._used, self._high = self._used + 1, 0
        with torch.no_grad():
            module.network.load_state_dict(network_weights(checkpoint))
        (optimizer,) = trainer.optimizers
        rates = [{key: group[key] for key in RATES if key in group} for group in optimizer.param_groups]
        optimizer.load_state_dict(checkpoint["optimizer_states"][0])
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group.update({key: value * self._factor for key, value in rate.items()})
        scheduler: Any = module.lr_schedulers()
        if hasattr(scheduler, "base_lrs"):  # torch's schedules compute the rate from these, not from the optimizer
            scheduler.base_lrs = [rate * self._factor for rate in scheduler.base_lrs]
        module.start_over()
        log.warning(
            "%s; continuing from the weights of step %s with learning rate x %g (recovery %d of %d)",
            trouble, f"{checkpoint['global_step']:,}", self._factor, self._used, self._retries,
        )  # fmt: skip
