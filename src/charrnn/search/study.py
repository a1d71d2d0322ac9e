"""Checks the request of a search and opens its Optuna study: DIR/study.db, or the database of --storage."""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.runs.comparison import setting_text
from charrnn.runs.folder import locked
from charrnn.runs.sweep import composed
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.files import user_path
from charrnn.utils.paths import CONF
from charrnn.utils.validation import count_devices

SET_BY_SEARCH = ("resume_from", "dry_run", "sweep.resume")
# Trials are compared at the same step, so they need the same length and the same text.
NOT_SEARCHED = (
    *SET_BY_SEARCH, "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "data", "data.path",
    "data.validation_fraction", "data.test_fraction", "experiment", "threads",
)  # fmt: skip
HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 30  # a process without a heartbeat for this long counts as dead


@dataclass(frozen=True)
class Request:
    """A search: `trials` runs of `overrides`, with settings from `space`; the first trial uses `start`."""

    folder: Path
    overrides: tuple[str, ...]
    start: dict[str, Any]  # the values without a search
    trials: int
    validate_every_steps: int
    storage: str | None  # URL of a database; None: study.db in the folder
    space: dict[str, Any]  # Optuna's distributions
    components: dict[str, Any]  # sampler and pruner

    def settings(self, params: dict[str, Any]) -> dict[str, str]:
        """Return the suggested values as settings to type, rounded except where they equal the start values."""
        same = {key: self.start[key] for key in self.space if self.start[key] == params[key]}
        values = {key: same.get(key, rounded(distribution, params[key])) for key, distribution in self.space.items()}
        return {key: setting_text(value) for key, value in values.items()}


def make_request(folder: Path, overrides: Sequence[str], name: str, trials: int, storage: str | None = None) -> Request:
    """Check the request of a search and return it. Overrides are not searched. Raises `RequestError`."""
    cfg, (space, components) = composed(overrides), read_search(name)
    for key in sorted(override.partition("=")[0].lstrip("+~") for override in overrides):
        space.pop(key, None)
        if key in SET_BY_SEARCH or key.startswith("hydra"):
            raise RequestError(f"{key} is set by the search itself; remove it (--folder sets the folder)")
    if not space:
        raise RequestError(f"{name}: every setting of its space is fixed by the command; remove one from the command")
    try:
        for key, distribution in space.items():
            values = distribution.choices if isinstance(distribution, CategoricalDistribution) else [distribution.low]
            for value in values:
                composed([*overrides, f"{key}={setting_text(value)}"])
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from error
    if count_devices(cfg.trainer.devices) != 1:
        raise RequestError(f"a trial of a search needs one device, got trainer.devices={cfg.trainer.devices}; use 1")
    if not cfg.data.get("validation_fraction"):
        raise RequestError("a search compares runs on the validation split; set data.validation_fraction above 0")
    groups, every = cfg.hydra.runtime.choices, cfg.trainer.val_check_interval
    start = {key: groups[key] if key in groups else OmegaConf.select(cfg, key) for key in space}
    trials = int(min(trials, math.prod(map(size, space.values()))))
    return Request(folder, tuple(overrides), start, trials, every, storage, space, components)


def read_search(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file, or conf/search/NAME.yaml; return the space, and sampler and pruner. Raises `RequestError`."""
    path = user_path(name)
    file = path if path.suffix in (".yaml", ".yml") else CONF / "search" / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in (CONF / "search").glob("*.yaml")))
        raise RequestError(f"there is no search {name}; use a file.yaml, or one of {known}")
    kinds = {"sampler": optuna.samplers.BaseSampler, "pruner": optuna.pruners.BasePruner}
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


def _distribution(key: str, values: Any) -> BaseDistribution:
    if key in NOT_SEARCHED or key.startswith("hydra"):
        raise RequestError(f"space: {key} can't be searched: trials are compared at the same steps on the same text")
    with suppress(TypeError, ValueError):
        if isinstance(values, list) and len({(type(value), value) for value in values}) == len(values) > 1:
            return CategoricalDistribution(values)
        numbers = [number for name, number in dict(values).items() if name != "log"]
        if isinstance(values.get("log", False), bool) and all(map(math.isfinite, numbers)):
            integers = all(isinstance(number, int) for number in numbers)
            return (IntDistribution if integers else FloatDistribution)(**values)
    expected = "different values [a, b], or a range {low: 1, high: 9}, optionally with log: true (low > 0) or step: 2"
    raise RequestError(f"space: {key} must be {expected}; got {values!r}")


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


def open_study(request: Request) -> optuna.Study:
    """Create the study, or load it. Raises `RequestError` if the folder or the database has other contents."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search itself reports failed trials
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # A resumed run repeats its last validation, and reports the same step again.
    warnings.filterwarnings("ignore", message="The reported value is ignored")
    folder, file, advice = request.folder, request.folder.absolute() / "study.db", "choose another --folder"
    if request.storage is None and set(str(file)) & set("?%{}"):
        raise RequestError(f"SQLite can't use a path with any of ? % {{ }}: {folder}; {advice}")
    url = request.storage or f"sqlite:///{file}?timeout=60"  # the seconds to wait for another process that writes
    name = folder.name if request.storage else "tune"
    space = {key: str(distribution) for key, distribution in request.space.items()}
    current = {"settings": list(request.overrides), "space": space}
    try:
        found = name in optuna.get_all_study_names(_storage(url)) if request.storage else file.exists()
        if not found and folder.is_dir() and any(folder.iterdir()):
            raise RequestError(f"{folder} holds no study and is not empty; {advice}")
        with locked(folder, wait=True):
            storage = _storage(url)
            study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, **request.components)
            unknown = "other settings" if study.trials else current  # the study of another program, or a new one
            if (before := study.user_attrs.get("request", unknown)) != current:
                raise RequestError(f"{folder} was started with {before}; use the same settings, or {advice}")
            study.set_user_attr("request", current)
            if found or study.trials:
                study.sampler.reseed_rng()  # the original seed would repeat its first suggestions
            else:
                with suppress(ValueError):  # raised if a start value is not in the space
                    start = create_trial(state=TrialState.WAITING, params=request.start, distributions=request.space)
                    study.add_trial(start)
    except (SQLAlchemyError, ImportError) as error:
        raise RequestError(f"the study can't be opened: {one_line(error)}") from error
    return study


def _storage(url: str) -> RDBStorage:
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    return RDBStorage(
        url, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS, heartbeat_stale_trial_callback=retry
    )
