"""What a search tries: a file of conf/search, or one like it, read and checked. Needs no Optuna."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.errors import RequestError, one_line, require_choice, require_flag, require_integer, require_number
from charrnn.files import user_path
from charrnn.overrides import CONF

Scalar = str | int | float | bool | None
PARTS = ("space", "sampler", "pruner")
SAMPLERS = {"tpe": ("seed", "startup"), "random": ("seed",)}
PRUNERS = {
    "median": ("startup", "first"),
    "percentile": ("keep", "startup", "first"),
    "halving": ("first", "factor"),
    "none": (),
}
MINIMUM = {"seed": 0, "startup": 0, "factor": 2}  # of the others 1
# Runs of different lengths can't be compared at the same step, nor runs on different texts; the others are the search's
# own.
NOT_SEARCHED = (
    "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "data", "data.path",
    "data.validation_fraction", "data.test_fraction", "experiment", "resume_from", "dry_run", "threads", "sweep.resume",
)  # fmt: skip
DIGITS = 3  # that a value is tried with: more would only be longer to paste
EXACT = 9  # and those of a value on a grid


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are; on a log scale, or in steps, if asked."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    def rounded(self, value: float) -> float:
        """The value that is tried in its place, of few digits."""
        if self.whole:
            return int(value)
        scale = value if self.log else self.step or self.high - self.low
        digits = (EXACT if self.step else DIGITS) - 1 - math.floor(math.log10(scale))
        return min(max(round(value, digits), self.low), self.high)

    def holds(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-6)


@dataclass(frozen=True)
class Choices:
    """Some values, the options of a group among them."""

    values: tuple[Scalar, ...]

    def rounded(self, value: Scalar) -> Scalar:
        """The value itself."""
        return value

    def holds(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        return value in self.values


Dimension = Range | Choices


@dataclass(frozen=True)
class Search:
    """Which settings are tried (`space`, by their keys), how they are drawn, and when a run is given up."""

    space: dict[str, Dimension]
    sampler: dict[str, Any]
    pruner: dict[str, Any]


def read_search(name: str) -> Search:
    """The search of a file, or of conf/search by its name. Raises `RequestError` for what it may not say."""
    place = user_path(name)
    own = place.suffix in (".yaml", ".yml")
    file = place if own else CONF / "search" / f"{name}.yaml"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in (CONF / "search").glob("*.yaml")))
        raise RequestError(f"there is no search {name}; name a file.yaml, or one of {there}")
    try:
        return _search(_loaded(file))
    except RequestError as error:
        raise RequestError(f"{file.name if own else name}: {error}") from None


def _loaded(file: Path) -> dict[str, Any]:
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise RequestError(f"it can't be read as YAML: {one_line(error)}") from error
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}


def _search(loaded: dict[str, Any]) -> Search:
    for part in PARTS:
        if not isinstance(loaded.get(part), dict) or not loaded[part]:
            raise RequestError(f"a search has {', '.join(PARTS)}, each with settings below it; {part} is missing")
    for key in loaded.keys() - PARTS:
        raise RequestError(f"{key} is no part of a search; it has {', '.join(PARTS)}")
    space = {str(key): _dimension(str(key), wanted) for key, wanted in loaded["space"].items()}
    sampler, pruner = _named("sampler", loaded, SAMPLERS), _named("pruner", loaded, PRUNERS)
    return Search(space, sampler, pruner)


def _named(part: str, loaded: dict[str, Any], known: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The settings of the sampler or pruner, all of those that it has and no others."""
    settings = {str(key): value for key, value in loaded[part].items()}
    name = require_choice(f"{part}.name", settings.get("name"), tuple(known))
    has = ", ".join(("name", *known[name]))
    for key in sorted({*settings} ^ {"name", *known[name]}):
        trouble = "is not a setting here" if key in settings else "is missing"
        raise RequestError(f"{part}.{key} {trouble}; {part} {name} has {has}")
    for key in known[name]:
        require_integer(f"{part}.{key}", settings[key], minimum=MINIMUM.get(key, 1))
    if settings.get("keep", 1) > 99:
        raise RequestError(f"{part}.keep is a share of the trials in percent, 1 to 99; got {settings['keep']}")
    return settings


def _dimension(key: str, wanted: Any) -> Dimension:
    if key in NOT_SEARCHED or key.startswith("hydra"):
        raise RequestError(f"space: {key} can't be searched: trials are compared at the same steps on the same text")
    if isinstance(wanted, list):
        return _choices(key, wanted)
    if not isinstance(wanted, dict) or not {"low", "high"} <= wanted.keys() <= {"low", "high", "log", "step"}:
        raise RequestError(f"space: {key} must be a list [a, b] or a range {{low: 1, high: 9}}; got {wanted!r}")
    for end in ("low", "high"):
        if isinstance(wanted[end], bool) or not isinstance(wanted[end], int | float) or not math.isfinite(wanted[end]):
            raise RequestError(f"space: {key}: {end} must be a number, got {wanted[end]!r}")
    log = require_flag(f"space: {key}: log", wanted.get("log", False))
    if wanted["low"] >= wanted["high"]:
        raise RequestError(f"space: {key}: low must be below high, got {wanted['low']} and {wanted['high']}")
    if log and wanted["low"] <= 0:
        raise RequestError(f"space: {key}: low must be above 0 for a log scale, got {wanted['low']}")
    step = wanted.get("step")
    if step is not None and (log or require_number(f"space: {key}: step", step, 0.0) == 0):
        raise RequestError(f"space: {key}: step must be above 0, and goes with no log scale; got {step}")
    return Range(wanted["low"], wanted["high"], log, step)


def _choices(key: str, values: list[Any]) -> Choices:
    scalars = {(type(value), value) for value in values if not isinstance(value, list | dict)}
    if len(values) < 2 or len(scalars) < len(values):
        raise RequestError(f"space: {key} needs two or more different values, numbers or words; got {values!r}")
    return Choices(tuple(values))
