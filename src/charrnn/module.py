"""The LightningModule: truncated back-propagation through time.

The suffix of a name lists its axes: `state_LBS` is [L, B, S]. B batch lane, T time step, V vocabulary, L layer, S state
size, N = T B.
"""

import sys
from collections.abc import Callable
from functools import partial, reduce
from math import log
from typing import Any

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from charrnn.data.batches import Batch
from charrnn.data.vocabulary import AnyVocabulary
from charrnn.evaluation.metrics import MetricLog, TrainingMetrics, ValidationMetrics
from charrnn.network import CharRNN
from charrnn.network.cuda_graph import GraphedLoss
from charrnn.runs.checkpoint_file import FORMAT, network_weights
from charrnn.utils.process_state import gather_state, restore_rng_state, state_of_rank

DEFAULT_OPTIMIZER = partial(AdamW, lr=6e-3, betas=(0.9, 0.99), weight_decay=0.1)
VALIDATION = "nats_per_char/val"  # the metric that chooses the best checkpoint


class CharRNNModule(lightning.LightningModule):
    """Trains a `CharRNN` by truncated back-propagation through time (Werbos 1990; Williams and Peng 1990).

    Each batch starts from the state after the previous batch. That state is detached, so gradients stop at the boundary
    between batches. `optimizer` and `scheduler` are callables that take what they act on. Metrics are logged every
    `log_every` steps, per character: those per symbol times `symbols_per_character` of the split (1 unless the symbols
    are bytes). With `cuda_graph`, a step on an NVIDIA GPU is a CUDA graph. `about` holds plain values that go into
    every checkpoint, beside the network's settings and the vocabulary.
    """

    def __init__(
        self,
        network: CharRNN,
        vocabulary: AnyVocabulary,
        *,
        optimizer: Callable[[list[nn.Parameter]], Optimizer] = DEFAULT_OPTIMIZER,
        scheduler: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau] | None = None,
        log_every: int = 50,
        cuda_graph: bool = True,
        symbols_per_character: dict[str, float] | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.symbols_per_character = symbols_per_character or {"train": 1.0, "validation": 1.0}
        self.training_metrics = TrainingMetrics()
        self.validation_metrics = ValidationMetrics()
        self.metric_log = MetricLog()
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._log_every = log_every
        self.cuda_graph = cuda_graph
        self._loss = GraphedLoss(network) if cuda_graph else network.loss
        self._about = about or {}
        # Plain attributes, not buffers: a state belongs to this process and its streams.
        self._train_state_LBS: Tensor | None = None
        self._validation_state_LBS: Tensor | None = None
        self._step_before = 0
        self._saved_rng_state: dict[str, Any] | None = None  # of a run that is being resumed

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; Lightning sets this one 50 times a step, and `nn.Module` would look at it closely."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _state(self, batch: Batch, state_LBS: Tensor | None) -> Tensor:
        """Return the state from which the batch starts."""
        return self.network.initial_state(batch.inputs_TB.shape[1]) if batch.starts or state_LBS is None else state_LBS

    def on_fit_start(self) -> None:
        if self.trainer.global_rank:  # each rank draws its own dropout masks
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def teardown(self, stage: str) -> None:
        if isinstance(self._loss, GraphedLoss):
            self._loss.clear()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._step_before = self.global_step
        if self._saved_rng_state is not None:  # not earlier: Lightning may draw random numbers while it starts
            restore_rng_state(self._saved_rng_state)
            self._saved_rng_state = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        state_LBS = self._state(batch, self._train_state_LBS)
        loss, state_LBS = self._loss(batch.inputs_TB, batch.targets_TB, state_LBS)
        self._train_state_LBS = state_LBS.detach()
        if batch.weight != 1:  # the gradient is the mean over the ranks
            loss = loss * batch.weight
        self.training_metrics.add_loss(self.global_step + 1, batch.characters, loss)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Record the norm of each gradient, then clip. Lightning calls this before each step, with clipping or not."""
        parameters = list(self.network.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One norm for each parameter: their norm is the one to clip by, and the first that is not finite is reported.
        norms = torch.stack(torch._foreach_norm(gradients))
        self.training_metrics.add_norms(self.global_step + 1, norms)
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            norm = torch.linalg.vector_norm(norms)
            # Reading it would stop a GPU; on a CPU it costs less than to multiply every gradient by 1.
            if norm.device.type != "cpu" or not norm <= gradient_clip_val:
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        state_LBS = self._state(batch, self._validation_state_LBS)
        logits_TBV, self._validation_state_LBS = self.network.unroll(batch.inputs_TB, state_LBS)
        self.validation_metrics.add(logits_TBV.flatten(0, 1), batch.targets_TB.flatten())

    def on_validation_epoch_end(self) -> None:
        nats = self.validation_metrics.nats_per_symbol(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        nats *= self.symbols_per_character["validation"]
        self.write_metrics({VALIDATION: nats, "bits_per_char/val": nats / log(2)})
        scheduler = self.lr_schedulers() if self.trainer.state.fn == TrainerFn.FITTING else None
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(nats)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer(list(self.network.parameters()))
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning saves and restores it, but can't step it after each validation: `on_validation_epoch_end` does.
            plateau = {"scheduler": scheduler, "interval": "step", "frequency": sys.maxsize, "monitor": VALIDATION}
            return {"optimizer": optimizer, "lr_scheduler": plateau}  # type: ignore[return-value]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def step_completed(self) -> bool:
        """Return whether the last batch ended an optimizer step; with accumulation not every batch does."""
        return self.global_step != self._step_before

    def should_log(self) -> bool:
        """Return whether metrics are to be logged after the last batch."""
        return self.step_completed() and self.global_step % self._log_every == 0

    def write_metrics(self, metrics: dict[str, float]) -> None:
        """Log `metrics` at the current optimizer step; callbacks of Lightning find each by its name."""
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
        self.metric_log.write(metrics, self.global_step, self.loggers)

    def shared_metrics(self) -> TrainingMetrics:
        """Return the training metrics since the last logging, averaged over all ranks, which must call it together."""
        if self.trainer.world_size > 1:
            # Summed in the order of the ranks, so that the result does not depend on how many losses are sent at once.
            self.training_metrics.share(lambda nats: reduce(torch.add, self.all_gather(nats)) / self.trainer.world_size)
        return self.training_metrics

    def nonfinite(self) -> str | None:
        """Describe the first NaN or infinity since the last logging, if any. All ranks must call it together."""
        names = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        # With 16-mixed the gradient scaler tries scales that are too large, and skips those steps.
        return self.shared_metrics().nonfinite(names, check_gradients=self.trainer.precision != "16-mixed")

    def start_over(self) -> None:
        """Continue from a zero state and without metrics, as after a recovery."""
        self._train_state_LBS = None
        self.training_metrics.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["charrnn"] = {
            "format": FORMAT,
            "network": self.network.settings,
            "vocabulary": self.vocabulary.settings,
            **gather_state(self._train_state_LBS),
            **self.training_metrics.state_dict(),
            "written": self.metric_log.state_dict(),
            **self._about,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        about = checkpoint["charrnn"]
        # Lightning converts the module to a `-true` precision after it has loaded the weights, which would round them.
        self.network.to(next(iter(network_weights(checkpoint).values())).dtype)
        state_LBS, self._saved_rng_state = state_of_rank(about, self.trainer.global_rank, self.trainer.world_size)
        self._train_state_LBS = None if state_LBS is None else state_LBS.to(self.device)
        self.training_metrics.load_state_dict(about, checkpoint["global_step"], self.device)
        self.metric_log.load_state_dict(about["written"])
