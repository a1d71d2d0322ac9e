"""Checks the request of a search and opens its Optuna study: DIR/study.db, or the database of --storage."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from omegaconf import Container, DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from charrnn.runs.comparison import setting_text
from charrnn.runs.folder import locked
from charrnn.runs.sweep import composed
from charrnn.search.space import (
    SET_BY_SEARCH,
    Lacking,
    active,
    choice,
    count,
    fitted,
    known_searches,
    read_search,
    rounded,
)
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.validation import count_devices, require_integer

SEARCH_PATH = "hydra.searchpath"  # where else Hydra looks for config files
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
    lacking: Lacking = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # see `Fitted`

    def keys(self, params: dict[str, Any]) -> list[str]:
        """Return the keys of the space that a trial with these parameters has."""
        return active(self.space, self.lacking, params)

    def settings(self, params: dict[str, Any]) -> dict[str, str]:
        """Return the suggested values as settings to type, rounded except where they equal the start values."""
        keys = self.keys(params)
        same = {key: self.start[key] for key in keys if self.start[key] == params[key]}
        values = {key: same.get(key, rounded(self.space[key], params[key])) for key in keys}
        return {key: setting_text(value) for key, value in values.items()}


def make_request(folder: Path, overrides: Sequence[str], name: str, trials: int, storage: str | None = None) -> Request:
    """Check the request of a search and return it. Overrides are not searched. Raises `RequestError`."""
    cfg, (space, components) = composed(overrides), read_search(name)
    for key in sorted(override.partition("=")[0].lstrip("+~") for override in overrides):
        space.pop(key, None)
        if key in SET_BY_SEARCH or (key.startswith("hydra") and key != SEARCH_PATH):
            raise RequestError(f"{key} is set by the search itself; remove it (--folder sets the folder)")
    if not space:
        raise RequestError(f"{name}: every setting of its space is fixed by the command; remove one from the command")
    try:
        fit = fitted(space, overrides, cfg)
        for key, distribution in fit.space.items():
            values = distribution.choices if isinstance(distribution, CategoricalDistribution) else [distribution.low]
            for value in values:
                composed([*overrides, *fit.context(key), f"{key}={setting_text(value)}"])
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from error
    if not fit.space:
        options = ", ".join(sorted({*fit.left_out.values()}))
        raise RequestError(f"{name}: nothing of its space fits {options}; use another search: {known_searches()}")
    if count_devices(cfg.trainer.devices) != 1:
        raise RequestError(f"a trial of a search needs one device, got trainer.devices={cfg.trainer.devices}; use 1")
    if not cfg.data.get("validation_fraction") and cfg.data.get("validation_path") is None:
        raise RequestError("a search compares runs on the validation split; set data.validation_fraction above 0")
    if "auto" in (cfg.trainer.max_steps, cfg.trainer.val_check_interval):
        raise RequestError(
            "a search compares its trials at the same steps; set trainer.max_steps and trainer.val_check_interval"
        )
    groups = cfg.hydra.runtime.choices
    every = require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval)
    start = {key: choice(groups[key] if key in groups else _selected(cfg, key)) for key in fit.space}
    trials = int(min(trials, count(fit.space, fit.lacking)))
    fields = (fit.space, components, fit.lacking, fit.left_out)
    return Request(folder, tuple(overrides), start, trials, every, storage, *fields)


def _selected(cfg: DictConfig, key: str) -> Any:
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value


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
                    keys = request.keys(request.start)
                    params, distributions = ({key: of[key] for key in keys} for of in (request.start, request.space))
                    study.add_trial(create_trial(state=TrialState.WAITING, params=params, distributions=distributions))
    except (SQLAlchemyError, ImportError) as error:
        raise RequestError(f"the study can't be opened: {one_line(error)}") from error
    return study


def _storage(url: str) -> RDBStorage:
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    return RDBStorage(
        url, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS, heartbeat_stale_trial_callback=retry
    )
