"""The LightningModule: unrolls the network over a batch, carries the state, loss, optimizer, logging.

B batch lane, T time step, V vocabulary, L layer, S state size.
"""

import math
import sys
from collections.abc import Callable
from functools import reduce
from typing import Any

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from charrnn.data.batches import IGNORED, Batch
from charrnn.data.vocabulary import AnyVocabulary
from charrnn.evaluation.metrics import TrainingMetrics
from charrnn.evaluation.scoring import summed_nats
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import network_weights
from charrnn.utils.process_state import gather_state, restore_rng_state, state_of_rank

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
        self.figures = TrainingMetrics()
        self._step_before = 0
        self._written: dict[str, Any] = {"step": -1, "figures": {}}
        self._random: dict[str, Any] | None = None  # of the run that goes on
        self._validation_nats: list[tuple[Tensor, int]] = []
        self.latest: dict[str, float] = {}

    def _unroll(self, batch: Batch, state_LBS: Tensor | None) -> tuple[Tensor, Tensor]:
        if batch.starts or state_LBS is None:
            state_LBS = self.network.initial_state(batch.inputs_TB.shape[1])
        logits_TBV, state_LBS = self.network.unroll(batch.inputs_TB, state_LBS)
        return logits_TBV.flatten(0, 1), state_LBS.detach()

    def rewrite_metrics(self) -> None:
        """Write the figures that were written of the resumed step before it was saved; its points were dropped."""
        if self._written["step"] == self.global_step and self.logger is not None:
            self.logger.log_metrics(self._written["figures"], step=self.global_step)

    def on_fit_start(self) -> None:
        if self.trainer.global_rank:  # each process drops out other units
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._step_before = self.global_step
        if self._random is not None:  # not earlier: what Lightning does at the start may draw from the generators
            restore_rng_state(self._random)
            self._random = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, self._train_state_LBS = self._unroll(batch, self._train_state_LBS)
        loss = nn.functional.cross_entropy(logits, batch.targets_TB.flatten())
        if batch.weight != 1:  # the gradient is the mean over the processes
            loss = loss * batch.weight
        self.figures.add_loss(self.global_step + 1, batch.characters, loss)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        parameters = list(self.network.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One norm for each parameter: their norm is the one to clip by, and the first that is no number tells where.
        norms = torch.stack(torch._foreach_norm(gradients))
        self.figures.add_norms(self.global_step + 1, norms)
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, torch.linalg.vector_norm(norms))

    def step_completed(self) -> bool:
        """Whether the batch just read ended an optimizer step; with accumulation not every one does."""
        return self.global_step != self._step_before

    def should_log(self) -> bool:
        """Whether the step just made is one after which figures are written."""
        return self.step_completed() and self.global_step % self._log_every == 0

    def trouble(self) -> str | None:
        """What is not a finite number among the losses and gradients since the last figures, and since which step."""
        self._share_metrics()
        names = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        # With 16-mixed the scaler tries gradients that are too large, and drops them.
        return self.figures.trouble(names, look_at_gradients=self.trainer.precision != "16-mixed")

    def training_loss(self) -> float:
        """Nats per symbol of all batches since the last figures, over all processes."""
        self._share_metrics()
        return self.figures.mean()

    def _share_metrics(self) -> None:
        if self.trainer.world_size > 1:
            # Added up one after the other, so that the sum does not depend on how many are sent at once.
            self.figures.share(lambda losses: reduce(torch.add, self.all_gather(losses)) / self.trainer.world_size)

    def write_training_metrics(self) -> None:
        """Write the figures since they were written last. Every n steps: it costs as much as a small network's step."""
        if not len(self.figures):  # a recovery has just thrown them away
            return
        nats = self.training_loss() * self._symbols_per_character["train"]
        norm = self.figures.gradient_norm()
        self.figures.clear()
        self.write_metrics(
            {
                "nats_per_char/train": nats,
                "bits_per_char/train": nats / math.log(2),
                "optimizer/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
                "optimizer/gradient_norm": norm,
            }
        )

    def forget(self) -> None:
        """Begin anew with a zero state and no figures, as after a recovery."""
        self._train_state_LBS = None
        self.figures.clear()

    def write_metrics(self, metrics: dict[str, float]) -> None:
        """Write `metrics` to the logger at the current optimizer step, and keep them for whoever shows progress."""
        self.latest.update(metrics)
        if self._written["step"] != self.global_step:
            self._written = {"step": self.global_step, "figures": {}}
        self._written["figures"].update(metrics)
        if self.logger is not None:
            self.logger.log_metrics(metrics, step=self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits, self._validation_state_LBS = self._unroll(batch, self._validation_state_LBS)
        nats = summed_nats(logits, batch.targets_TB.flatten())
        self._validation_nats.append((nats, int((batch.targets_TB != IGNORED).sum())))

    def on_validation_epoch_end(self) -> None:
        symbols = sum(symbols for _, symbols in self._validation_nats)
        own = torch.stack([nats for nats, _ in self._validation_nats]).sum()
        total = self.trainer.strategy.reduce(torch.stack([own, own.new_tensor(symbols)]), reduce_op="sum")
        nats, symbols = total.tolist()
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
            **gather_state(self._train_state_LBS),
            **self.figures.state_dict(),
            "written": self._written,
            **self._about,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        about = checkpoint["charrnn"]
        # Lightning turns the module into a `-true` precision after it has loaded the weights, which would round them.
        self.network.to(next(iter(network_weights(checkpoint).values())).dtype)
        state_LBS, self._random = state_of_rank(about, self.trainer.global_rank, self.trainer.world_size)
        self._train_state_LBS = None if state_LBS is None else state_LBS.to(self.device)
        self.figures.load_state_dict(about, checkpoint["global_step"], self.device)
        self._written = about["written"]
