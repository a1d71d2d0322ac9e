"""The LightningModule: unrolls the network over a batch, carries the state, loss, optimizer, logging.

B batch lane, T time step, V vocabulary, L layer, S state size.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from charrnn import checkpoint_file
from charrnn.batches import IGNORED, Batch
from charrnn.errors import RunFailed
from charrnn.evaluation import summed_nats
from charrnn.network import CharRNN
from charrnn.vocabulary import AnyVocabulary

VALIDATION = "nats_per_char/val"  # the figure that picks the best checkpoint


class CharRNNModule(lightning.LightningModule):
    """Trains a `CharRNN` by truncated back-propagation through time (Werbos 1990; Williams and Peng 1990).

    A batch is one chunk of time: the state enters from the batch before and is detached, so errors flow back within
    the chunk and the state goes on beyond it. `optimizer` and `scheduler` are callables that take what they act on.
    Figures are written every `log_every` steps, per character: those per symbol times `symbols_per_character` of the
    part (1 unless the symbols are bytes). `about` goes into every checkpoint, beside the network's settings and
    the vocabulary, as plain values.
    """

    def __init__(
        self,
        network: CharRNN,
        vocabulary: AnyVocabulary,
        *,
        optimizer: Callable[[list[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau],
        log_every: int,
        symbols_per_character: dict[str, float],
        about: dict[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self._symbols_per_character = symbols_per_character
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._log_every = log_every
        self._about = about
        # Plain attributes, not buffers: a state belongs to this process and its streams.
        self._train_state_LBS: Tensor | None = None
        self._validation_state_LBS: Tensor | None = None
        self._nats_since_log: list[tuple[Tensor, int]] = []
        self._gradient_norm: Tensor | float = math.nan
        self._logged_step = 0
        self._validation_nats: list[tuple[Tensor, int]] = []
        self.latest: dict[str, float] = {}

    def _unroll(self, batch: Batch, state_LBS: Tensor | None) -> tuple[Tensor, Tensor]:
        if batch.starts or state_LBS is None:
            state_LBS = self.network.initial_state(batch.inputs_TB.shape[1])
        logits_TBV, state_LBS = self.network.unroll(batch.inputs_TB, state_LBS)
        return logits_TBV.flatten(0, 1), state_LBS.detach()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, self._train_state_LBS = self._unroll(batch, self._train_state_LBS)
        loss = nn.functional.cross_entropy(logits, batch.targets_TB.flatten())
        self._nats_since_log.append((loss.detach(), batch.targets_TB.numel()))
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # torch's clipping by norm returns the norm, which would otherwise be computed twice to be logged.
        if gradient_clip_algorithm in (None, "norm"):
            largest = math.inf if gradient_clip_val is None else gradient_clip_val
            self._gradient_norm = nn.utils.clip_grad_norm_(self.network.parameters(), largest)
        else:
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            self._gradient_norm = nn.utils.get_total_norm(gradients)
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # Every n steps and never in between: logging costs as much as the arithmetic of a small network.
        if not self.logs_now():
            return
        self._logged_step = self.global_step
        nats = self._mean_since_log() * self._symbols_per_character["train"]
        self.write_metrics(
            {
                "nats_per_char/train": nats,
                "bits_per_char/train": nats / math.log(2),
                "optimizer/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
                "optimizer/gradient_norm": float(self._gradient_norm),
            }
        )

    def _mean_since_log(self) -> float:
        """Nats per symbol of all batches since the last figures; `RunFailed` if that is no number any more."""
        weights = torch.tensor([characters for _, characters in self._nats_since_log], dtype=torch.float32)
        losses = torch.stack([loss for loss, _ in self._nats_since_log]).float().cpu()
        self._nats_since_log.clear()
        mean = float((losses * weights).sum() / weights.sum())
        if not math.isfinite(mean):
            raise RunFailed(f"the loss is {mean} at step {self.global_step}; lower optimizer.lr")
        return mean

    def logs_now(self) -> bool:
        """Whether the step just made is one after which figures are written."""
        return self.global_step != self._logged_step and self.global_step % self._log_every == 0

    def write_metrics(self, metrics: dict[str, float]) -> None:
        """Write `metrics` to the logger at the current optimizer step, and keep them for whoever shows progress."""
        self.latest.update(metrics)
        if self.logger is not None:
            self.logger.log_metrics(metrics, step=self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits, self._validation_state_LBS = self._unroll(batch, self._validation_state_LBS)
        nats = summed_nats(logits, batch.targets_TB.flatten())
        self._validation_nats.append((nats, int((batch.targets_TB != IGNORED).sum())))

    def on_validation_epoch_end(self) -> None:
        nats = torch.stack([nats for nats, _ in self._validation_nats]).sum().item()
        symbols = sum(symbols for _, symbols in self._validation_nats)
        value = nats / symbols * self._symbols_per_character["validation"]
        self._validation_nats.clear()
        self.log(VALIDATION, value, logger=False)  # for the checkpoint callback
        self.write_metrics({VALIDATION: value, "bits_per_char/val": value / math.log(2)})
        scheduler = self.lr_schedulers() if self.trainer.state.fn == TrainerFn.FITTING else None
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer(list(self.network.parameters()))
        scheduler = self._scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning keeps it and saves it, but knows no "after each validation": `on_validation_epoch_end` steps it.
            plateau = {"scheduler": scheduler, "interval": "step", "frequency": sys.maxsize, "monitor": VALIDATION}
            return {"optimizer": optimizer, "lr_scheduler": plateau}  # type: ignore[return-value]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["charrnn"] = {
            "format": checkpoint_file.FORMAT,
            "network": self.network.settings,
            "vocabulary": self.vocabulary.settings,
            "train_state": self._train_state_LBS,
            **self._about,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state_LBS = checkpoint["charrnn"].get("train_state")
        self._train_state_LBS = None if state_LBS is None else state_LBS.to(self.device)
