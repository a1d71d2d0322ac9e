"""What a search asks of Optuna: settings that are drawn, and a rule by which runs are pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.errors import RequestError
from charrnn.search_space import Choices, Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

NO_OPTUNA = "a search needs optuna, which is not installed; pip install optuna"
DRAWS = 20  # in a row that gave nothing new: then everything was tried


def require_optuna() -> None:
    """Raise `RequestError` if Optuna is not installed; what it has to say goes where everything is logged."""
    try:
        from optuna import logging
    except ModuleNotFoundError as error:
        raise RequestError(NO_OPTUNA) from error
    logging.disable_default_handler()
    logging.enable_propagation()
    logging.set_verbosity(logging.WARNING)


def distributions(space: dict[str, Dimension]) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms."""
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, step = dimension.low, dimension.high, dimension.step
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def draw_settings(
    space: dict[str, Dimension], sampler: dict[str, Any], trials: Sequence[FrozenTrial]
) -> dict[str, Any] | None:
    """Settings that none of `trials` has, by the seed, their number and what came out; None if there are no more."""
    import optuna

    tried = [trial.params for trial in trials]
    for draw in range(DRAWS):
        study = optuna.create_study(sampler=_sampler(sampler, len(trials), draw))  # in memory
        study.add_trials(trials)
        drawn = study.ask(distributions(space)).params
        settings = {key: dimension.rounded(drawn[key]) for key, dimension in space.items()}
        if settings not in tried:
            return settings
    return None


def _sampler(settings: dict[str, Any], number: int, draw: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    seed = int(np.random.SeedSequence((settings["seed"], number, draw)).generate_state(1)[0])
    if settings["name"] == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=settings["startup"])


def make_pruner(settings: dict[str, Any], validate_every: int) -> BasePruner:
    """The rule by which runs are pruned. Its settings count validations, what it hears of are steps."""
    from optuna.pruners import NopPruner, PercentilePruner, SuccessiveHalvingPruner

    if settings["name"] == "none":
        return NopPruner()
    first = settings["first"] * validate_every
    if settings["name"] == "halving":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=settings["factor"])
    return PercentilePruner(settings.get("keep", 50), n_startup_trials=settings["startup"], n_warmup_steps=first)
