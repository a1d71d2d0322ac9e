"""The request of a search, checked, and its Optuna study: DIR/study.db, or another database by --storage."""

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

SET_BY_SEARCH = ("resume_from", "dry_run", "sweep.resume")
# Runs of different lengths can't be compared at the same step, nor runs on different texts.
NOT_SEARCHED = (
    *SET_BY_SEARCH, "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "data", "data.path",
    "data.validation_fraction", "data.test_fraction", "experiment", "threads",
)  # fmt: skip
HEARTBEAT, GRACE = 5, 30  # seconds; a process that is silent for longer is taken for dead


@dataclass(frozen=True)
class Request:
    """What a search was asked for: `trials` runs of `overrides` with settings of `space`, beginning with `start`."""

    folder: Path
    overrides: tuple[str, ...]
    start: dict[str, Any]  # the settings as they are without a change
    trials: int
    validate_every: int  # steps
    storage: str | None  # the URL of a database; None: a file in the folder
    space: dict[str, Any]  # Optuna's distributions
    parts: dict[str, Any]  # sampler and pruner

    def settings(self, params: dict[str, Any]) -> dict[str, str]:
        """Round what the sampler chose, as one types it; a value that equals the one at the start stays as it is."""
        same = {key: self.start[key] for key in self.space if self.start[key] == params[key]}
        return {key: setting_text(same.get(key, rounded(own, params[key]))) for key, own in self.space.items()}


def make_request(folder: Path, overrides: Sequence[str], name: str, trials: int, storage: str | None = None) -> Request:
    """Check what a search is asked for. A setting that the command fixes is not searched. Raises `RequestError`."""
    cfg, (space, parts) = composed(overrides), read_search(name)
    for key in sorted(override.partition("=")[0].lstrip("+~") for override in overrides):
        space.pop(key, None)
        if key in SET_BY_SEARCH or key.startswith("hydra"):
            raise RequestError(f"{key} is set by the search itself; leave it out, and name the place with --folder")
    if not space:
        raise RequestError(f"{name}: every setting of its space is fixed by the command; leave one of them open")
    try:
        for key, own in space.items():
            for value in own.choices if isinstance(own, CategoricalDistribution) else [own.low]:
                composed([*overrides, f"{key}={setting_text(value)}"])
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from error
    if cfg.trainer.devices != 1:
        raise RequestError(f"a search trains each trial on one device, got trainer.devices={cfg.trainer.devices}")
    if not cfg.data.get("validation_fraction"):
        raise RequestError("a search compares runs on the validation part; set data.validation_fraction above 0")
    groups, every = cfg.hydra.runtime.choices, cfg.trainer.val_check_interval
    start = {key: groups[key] if key in groups else OmegaConf.select(cfg, key) for key in space}
    trials = int(min(trials, math.prod(map(size, space.values()))))
    return Request(folder, tuple(overrides), start, trials, every, storage, space, parts)


def read_search(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file, or one of conf/search by its name: the space; sampler and pruner. Raises `RequestError`."""
    place = user_path(name)
    file = place if place.suffix in (".yaml", ".yml") else CONF / "search" / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in (CONF / "search").glob("*.yaml")))
        raise RequestError(f"there is no search {name}; name a file.yaml, or one of {known}")
    kinds = {"sampler": optuna.samplers.BaseSampler, "pruner": optuna.pruners.BasePruner}
    try:
        search: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        parts = {part: instantiate(search.pop(part)) for part in kinds}
        space = {key: _distribution(key, wanted) for key, wanted in search.pop("space").items()}
        if search or not space or not all(isinstance(parts[part], kind) for part, kind in kinds.items()):
            raise KeyError
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, InstantiationException) as error:
        raise RequestError(f"{file.name}: {one_line(error)}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(f"{file.name}: it needs a space, a sampler and a pruner of Optuna, with _target_") from error
    return space, parts


def _distribution(key: str, wanted: Any) -> BaseDistribution:
    if key in NOT_SEARCHED or key.startswith("hydra"):
        raise RequestError(f"space: {key} can't be searched: trials are compared at the same steps on the same text")
    with suppress(TypeError, ValueError):
        if isinstance(wanted, list) and len({(type(value), value) for value in wanted}) == len(wanted) > 1:
            return CategoricalDistribution(wanted)
        numbers = [number for name, number in dict(wanted).items() if name != "log"]
        if isinstance(wanted.get("log", False), bool) and all(map(math.isfinite, numbers)):
            whole = all(isinstance(number, int) for number in numbers)
            return (IntDistribution if whole else FloatDistribution)(**wanted)
    expected = "different values [a, b], or a range {low: 1, high: 9}, with log: true if low is above 0, or step: 2"
    raise RequestError(f"space: {key} must be {expected}; got {wanted!r}")


def rounded(own: BaseDistribution, value: Any) -> Any:
    """Round a suggested number to few digits, so that the setting can be pasted."""
    if not isinstance(own, FloatDistribution):
        return value
    scale = value if own.log else own.step or own.high - own.low or 1.0
    digits = (9 if own.step else 3) - 1 - math.floor(math.log10(scale))  # a grid is kept, 0.1 + 0.2 becomes 0.3
    return min(max(round(value, digits), own.low), own.high)


def size(own: Any) -> float:
    """Count the values of a distribution; infinite for a continuous range."""
    if isinstance(own, CategoricalDistribution):
        return len(own.choices)
    return round((own.high - own.low) / own.step) + 1 if own.step else math.inf


def open_study(request: Request) -> optuna.Study:
    """Create the study, or load it. Raises `RequestError` if the folder or the database holds something else."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search itself reports failed trials
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="The reported value is ignored")  # a resumed run repeats some validations
    folder, file, advice = request.folder, request.folder.absolute() / "study.db", "choose another --folder"
    if request.storage is None and set(str(file)) & set("?%{}"):
        raise RequestError(f"SQLite takes none of ? % {{ }} in a file name; {advice} than {folder}")
    url = request.storage or f"sqlite:///{file}?timeout=60"  # seconds to wait while another process writes
    name = folder.name if request.storage else "tune"
    now = {"settings": list(request.overrides), "space": {key: str(own) for key, own in request.space.items()}}
    try:
        found = name in optuna.get_all_study_names(_storage(url)) if request.storage else file.exists()
        if not found and folder.is_dir() and any(folder.iterdir()):
            raise RequestError(f"{folder} holds no study and is not empty; {advice}")
        with locked(folder, wait=True):
            study = optuna.create_study(storage=_storage(url), study_name=name, load_if_exists=True, **request.parts)
            if (before := study.user_attrs.get("request", now)) != now:
                raise RequestError(f"{folder} was begun with {before}; continue with the same, or {advice}")
            study.set_user_attr("request", now)
            if found or study.trials:
                study.sampler.reseed_rng()  # the seed would give what the study has already
            else:
                with suppress(ValueError):  # a value at the start is not in the space
                    start = create_trial(state=TrialState.WAITING, params=request.start, distributions=request.space)
                    study.add_trial(start)
    except (SQLAlchemyError, ImportError) as error:
        raise RequestError(f"the study can't be opened: {one_line(error)}") from error
    return study


def _storage(url: str) -> RDBStorage:
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    return RDBStorage(url, heartbeat_interval=HEARTBEAT, grace_period=GRACE, heartbeat_stale_trial_callback=retry)
