"""Search spaces: read and check a file of conf/search, and the values that a trial may have."""

import math
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna import Trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.errors import RequestError, one_line
from charrnn.files import user_path
from charrnn.overrides import CONF

Dimension = CategoricalDistribution | FloatDistribution | IntDistribution
PARTS = ("space", "sampler", "pruner")
# Runs of different lengths can't be compared at the same step, nor runs on different texts. The search sets the others.
NOT_SEARCHED = (
    "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "data", "data.path",
    "data.validation_fraction", "data.test_fraction", "experiment", "resume_from", "dry_run", "threads", "sweep.resume",
)  # fmt: skip
DIGITS = 3  # significant digits of a value that is tried: short enough to paste
GRID_DIGITS = 9  # the same for a value on a grid


def read_search(name: str) -> dict[str, Any]:
    """Read a YAML file, or one of conf/search by its name; its `space` in Optuna's terms. Raises `RequestError`."""
    place = user_path(name)
    file = place if place.suffix in (".yaml", ".yml") else CONF / "search" / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in (CONF / "search").glob("*.yaml")))
        raise RequestError(f"there is no search {name}; name a file.yaml, or one of {known}")
    try:
        search: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise RequestError(f"{file.name}: it can't be read as YAML: {one_line(error)}") from error
    whole = (
        isinstance(search, dict) and search.keys() == {*PARTS} and all(isinstance(search[part], dict) for part in PARTS)
    )
    if not whole or not search["space"] or not all("_target_" in search[part] for part in PARTS[1:]):
        raise RequestError(f"{file.name}: a search has a space, and a sampler and a pruner, each with its _target_")
    try:
        return {**search, "space": {str(key): _dimension(str(key), own) for key, own in search["space"].items()}}
    except RequestError as error:
        raise RequestError(f"{file.name}: space: {error}") from error


def _dimension(key: str, wanted: Any) -> Dimension:
    if key in NOT_SEARCHED or key.startswith("hydra"):
        raise RequestError(f"{key} can't be searched: trials are compared at the same steps on the same text")
    try:
        if isinstance(wanted, list) and len({(type(value), value) for value in wanted}) == len(wanted) > 1:
            return CategoricalDistribution(wanted)
        if not isinstance(wanted, dict) or not isinstance(wanted.get("log", False), bool):
            raise TypeError
        numbers = [number for name, number in wanted.items() if name != "log"]
        if not all(map(math.isfinite, numbers)):
            raise TypeError
        return (IntDistribution if all(isinstance(number, int) for number in numbers) else FloatDistribution)(**wanted)
    except (TypeError, ValueError) as error:
        why = f" ({one_line(error)})" if str(error) else ""
        expected = "a list of different values [a, b], or a range {low: 1, high: 9}, with log: true or step: 2"
        raise RequestError(f"{key} must be {expected}; got {wanted!r}{why}") from error


def suggest(trial: Trial, key: str, dimension: Dimension) -> Any:
    """Let the study's sampler choose a value."""
    if isinstance(dimension, CategoricalDistribution):
        return trial.suggest_categorical(key, dimension.choices)
    ask: Any = trial.suggest_int if isinstance(dimension, IntDistribution) else trial.suggest_float
    return ask(key, dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def rounded(dimension: Dimension, value: Any) -> Any:
    """Round a suggested number to few digits, so that the setting can be pasted."""
    if not isinstance(dimension, FloatDistribution):
        return value
    scale = value if dimension.log else dimension.step or dimension.high - dimension.low or 1.0
    digits = (GRID_DIGITS if dimension.step else DIGITS) - 1 - math.floor(math.log10(scale))
    return min(max(round(value, digits), dimension.low), dimension.high)


def size(dimension: Dimension) -> float:
    """Count the values of a dimension; infinite for a continuous range."""
    if isinstance(dimension, CategoricalDistribution):
        return len(dimension.choices)
    return round((dimension.high - dimension.low) / dimension.step) + 1 if dimension.step else math.inf
