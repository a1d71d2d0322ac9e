"""Choose settings that are `auto` by the length of the training text: regularization and steps.

If `max_minutes` leaves no time for so many steps, there are fewer: a learning rate that has not come down scores worse.
"""

from math import inf
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from charrnn.data.datamodule import CharDataModule
from charrnn.training.config_checks import run_length
from charrnn.training.resume import ADDED_LATER

AUTO = "auto"
STEPS, INTERVAL = "trainer.max_steps", "trainer.val_check_interval"
WEIGHT_DECAY = "optimizer.weight_decay"
VALIDATIONS = 20  # in a run
TRAINING_SHARE = 0.9  # of max_minutes; the rest is for the validations


class Choice(NamedTuple):
    """The settings for training splits of at most `characters`; docs/learning.md says which were measured."""

    characters: float
    dropout: float
    input_dropout: float
    label_smoothing: float
    weight_decay: float  # decoupled, as in AdamW
    steps: int

    @property
    def values(self) -> dict[str, Any]:
        """The settings by their names."""
        return {
            "model.dropout": self.dropout,
            "model.input_dropout": self.input_dropout,
            "model.label_smoothing": self.label_smoothing,
            WEIGHT_DECAY: self.weight_decay,
            STEPS: self.steps,
        }


# A short text is soon learned by heart: more regularization, fewer steps. A long one hardly repeats.
CHOICES = (
    Choice(2e5, dropout=0.5, input_dropout=0.03, label_smoothing=0.01, weight_decay=0.4, steps=2000),
    Choice(6e5, dropout=0.4, input_dropout=0.03, label_smoothing=0.01, weight_decay=0.4, steps=6000),
    Choice(2e6, dropout=0.3, input_dropout=0.03, label_smoothing=0.01, weight_decay=0.4, steps=20_000),
    Choice(6e6, dropout=0.1, input_dropout=0.0, label_smoothing=0.0, weight_decay=0.1, steps=20_000),
    Choice(inf, dropout=0.05, input_dropout=0.0, label_smoothing=0.0, weight_decay=0.1, steps=20_000),
)


def set_by_length(cfg: DictConfig, data: CharDataModule, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Set what is `auto` in `cfg` and depends on the length of the training text; return these settings.

    The interval of validations depends on the length of the run. `before` is the config of the run that this one
    resumes, which decides.
    """
    characters = len(data.train_ids)
    values = next(choice.values for choice in CHOICES if characters <= choice.characters)
    if before is not None:
        earlier = OmegaConf.create(before)
        values |= {key: value for key, value in ADDED_LATER.items() if key in values}
        values = {key: OmegaConf.select(earlier, key, default=values.get(key)) for key in (*values, INTERVAL)}
    if not str(OmegaConf.select(cfg, "optimizer._target_")).endswith("AdamW"):  # others add it to the gradient
        values[WEIGHT_DECAY] = 0.0
    chosen = _set(cfg, {key: value for key, value in values.items() if OmegaConf.select(cfg, key) == AUTO})
    if OmegaConf.select(cfg, INTERVAL) == AUTO:
        chosen |= _set(cfg, {INTERVAL: _interval(run_length(cfg.trainer, data.batches_per_epoch))})
    return chosen


def fit_to_time(cfg: DictConfig, by_length: dict[str, Any], seconds_per_batch: float) -> dict[str, Any]:
    """Set fewer steps in `cfg` than the length of the text decided if `max_minutes` is too short for them.

    Returns the settings that it changed: none if the steps fit, or if the user has set their number.
    """
    if STEPS not in by_length or cfg.max_minutes is None:
        return {}
    seconds_per_step = seconds_per_batch * cfg.trainer.accumulate_grad_batches
    steps = max(VALIDATIONS, int(TRAINING_SHARE * 60 * cfg.max_minutes / seconds_per_step))
    if steps >= by_length[STEPS]:
        return {}
    return _set(cfg, {STEPS: steps, **({INTERVAL: _interval(steps)} if INTERVAL in by_length else {})})


def _interval(steps: int) -> int:
    return max(1, steps // VALIDATIONS)


def _set(cfg: DictConfig, values: dict[str, Any]) -> dict[str, Any]:
    for key, value in values.items():
        OmegaConf.update(cfg, key, value)
    return values
