"""The space of a search: its file, Optuna's distributions, and which of its keys the composed config has."""

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.runs.comparison import setting_text
from charrnn.runs.sweep import composed
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.files import user_path
from charrnn.utils.paths import CONF

SET_BY_SEARCH = ("resume_from", "dry_run", "sweep.resume")
# Trials are compared at the same step, so they need the same length and the same text.
NOT_SEARCHED = (
    *SET_BY_SEARCH, "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "data", "data.path",
    "data.validation_fraction", "data.test_fraction", "data.validation_path", "data.test_path", "experiment",
    "threads", "max_minutes",
)  # fmt: skip


def read_search(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file, or conf/search/NAME.yaml; return the space, and sampler and pruner. Raises `RequestError`."""
    path = user_path(name)
    file = path if path.suffix in (".yaml", ".yml") else CONF / "search" / f"{name}.yaml"
    if not file.is_file():
        raise RequestError(f"there is no search {name}; use a file.yaml, or one of {known_searches()}")
    kinds = {"sampler": optuna.samplers.BaseSampler, "pruner": optuna.pruners.BasePruner}
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        search: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        components = {name: instantiate(search.pop(name)) for name in kinds}
        space = {key: _distribution(key, values) for key, values in search.pop("space").items()}
        if search or not space or not all(isinstance(components[name], kind) for name, kind in kinds.items()):
            raise KeyError
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, InstantiationException) as error:
        raise RequestError(f"{file.name}: {one_line(error)}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(f"{file.name}: expected a space, and a sampler and a pruner of Optuna (_target_)") from error
    return space, components


def known_searches() -> str:
    """Return the names of the searches in conf/search."""
    return ", ".join(sorted(path.stem for path in (CONF / "search").glob("*.yaml")))


def _distribution(key: str, values: Any) -> BaseDistribution:
    if key in NOT_SEARCHED or key.startswith("hydra"):
        raise RequestError(f"space: {key} can't be searched: trials are compared at the same steps on the same text")
    if isinstance(values, list):
        choices = list(map(choice, values))
        if len(set(map(setting_text, choices))) == len(choices) > 1:
            return CategoricalDistribution(choices)
    with suppress(TypeError, ValueError):
        numbers = [number for name, number in dict(values).items() if name != "log"]
        if isinstance(values.get("log", False), bool) and all(map(math.isfinite, numbers)):
            integers = all(isinstance(number, int) for number in numbers)
            return (IntDistribution if integers else FloatDistribution)(**values)
    expected = "different values [a, b], or a range {low: 1, high: 9}, optionally with log: true (low > 0) or step: 2"
    raise RequestError(f"space: {key} must be {expected}; got {values!r}")


def choice(value: Any) -> Any:
    """Return a value in the form that Optuna can store: a list or a dictionary becomes the text of an override."""
    if isinstance(value, list):
        return f"[{','.join(setting_text(choice(each)) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{setting_text(choice(each))}' for key, each in value.items())}}}"
    if not isinstance(value, str):
        return value
    with suppress(HydraException):
        if OverridesParser.create().parse_override(f"key={value}").value() == value:
            return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def rounded(distribution: BaseDistribution, value: Any) -> Any:
    """Round a suggested number to few digits, so that it is easy to read and type."""
    if not isinstance(distribution, FloatDistribution):
        return value
    low, high, step = distribution.low, distribution.high, distribution.step
    scale = value if distribution.log else step or high - low or 1.0
    digits = (9 if step else 3) - 1 - math.floor(math.log10(scale))  # on a grid only 0.1 + 0.2 = 0.30000000000000004
    return min(max(round(value, digits), low), high)


def size(distribution: Any) -> float:
    """Return the number of values of a distribution; infinity for a continuous range."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    low, high, step = distribution.low, distribution.high, distribution.step
    return round((high - low) / step) + 1 if step else math.inf


# For an option of a searched group, such as ("optimizer", "sgd"): the keys of the space that it does not have.
Lacking = dict[tuple[str, Any], frozenset[str]]


def active(space: Iterable[str], lacking: Lacking, params: dict[str, Any]) -> list[str]:
    """Return the keys of the space that a trial with these parameters has."""
    missing = {key for option in params.items() for key in lacking.get(option, ())}
    return [key for key in space if key not in missing]


def count(space: dict[str, Any], lacking: Lacking) -> float:
    """Return the number of different settings in a space; infinity if it has a continuous range."""
    groups = sorted({group for group, _ in lacking})
    total = 0.0
    for options in itertools.product(*(space[group].choices for group in groups)):
        keys = active(space, lacking, dict(zip(groups, options, strict=True)))
        total += math.prod(size(space[key]) for key in keys if key not in groups)
    return total


@dataclass(frozen=True)
class Fitted:
    """A space whose keys exist in the composed config: searched groups first, and what was left out, and why."""

    space: dict[str, Any] = field(default_factory=dict)
    lacking: Lacking = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # key -> the option without it, as model=gru

    def context(self, key: str) -> list[str]:
        """Return the overrides without which the config may lack a key of the space."""
        for group in {group for (group, _), keys in self.lacking.items() if key in keys}:
            options = self.space[group].choices
            return [f"{group}={next(option for option in options if key not in self.lacking.get((group, option), ()))}"]
        return []


def fitted(space: dict[str, Any], overrides: Sequence[str], cfg: DictConfig) -> Fitted:
    """Leave out of a space what the chosen options of groups do not have; `cfg` is composed from the overrides.

    A key that no option has stays: the check of the space says that there is no such setting.
    """
    chosen = cfg.hydra.runtime.choices
    groups = [key for key in space if key in chosen]
    configs = {
        (group, option): composed([*overrides, f"{group}={option}"])
        for group in groups
        for option in space[group].choices
    }
    lacking: dict[tuple[str, Any], set[str]] = {}
    left_out = {}
    for key in space:
        group = key.split(".")[0]
        if key in groups or group not in chosen:
            continue
        options = space[group].choices if group in groups else [chosen[group]]
        without = [option for option in options if not _has(configs.get((group, option), cfg), key)]
        if len(without) < len(options):
            for option in without:
                lacking.setdefault((group, option), set()).add(key)
        elif any(_has(OmegaConf.load(file), key.partition(".")[2]) for file in (CONF / group).glob("*.yaml")):
            left_out[key] = " and ".join(f"{group}={option}" for option in options)
    kept = {key: space[key] for key in [*groups, *space] if key not in left_out}
    return Fitted(kept, {option: frozenset(keys) for option, keys in lacking.items()}, left_out)


def _has(cfg: Any, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and name in node
