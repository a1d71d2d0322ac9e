"""The Optuna study of a search: where it is stored, how its trials are counted, and how an interrupted one is retried.

DIR/study.db     all trials: settings, validation curves, results (SQLite; or another database, by --storage)
DIR/trial_000/   the run of the first trial, and so on

Optuna counts every start of a trial as a trial. Those with the same folder, a user attribute, are one trial of the
search, and the newest tells its state. A start that failed without a reason was interrupted, and is retried.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from optuna.distributions import distribution_to_json
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from charrnn.errors import RequestError, one_line
from charrnn.runs import locked
from charrnn.search_space import Dimension, rounded, suggest

FOLDER, START, REASON = "folder", "start", "reason"  # user attributes of a trial
LOCK_TIMEOUT_SECONDS = 60.0  # how long SQLite waits while another process writes
HEARTBEAT_SECONDS, GRACE = 5, timedelta(seconds=30)  # a process that is silent for longer is taken for dead
RETRIES = 10  # of one trial: settings that kill their process must not hold up the search for ever


@dataclass(frozen=True)
class Request:
    """What a search was asked for: `trials` runs of `overrides` with settings of `space`, beginning with `start`."""

    folder: Path
    overrides: tuple[str, ...]
    start: dict[str, Any]  # the settings as they are without a change
    trials: int
    validate_every: int  # steps
    storage: str | None  # the URL of a database; None: a file in the folder
    space: dict[str, Dimension]
    sampler: dict[str, Any]  # as Hydra instantiates it
    pruner: dict[str, Any]

    def settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """Round what the sampler chose; a value that equals the one at the start stays as it is."""
        own = {key: rounded(dimension, params[key]) for key, dimension in self.space.items()}
        return {key: self.start[key] if self.start[key] == params[key] else own[key] for key in own}


def open_study(request: Request) -> optuna.Study:
    """Create the study, or load it. Raises `RequestError` if the folder or the database holds something else."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search itself reports failed trials
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder, file = request.folder, request.folder.absolute() / "study.db"
    name = folder.name if request.storage else "tune"
    if request.storage is None and set(str(file)) & set("?{}"):
        raise RequestError(f"SQLite takes no ? and no braces in a file name; choose another --folder than {folder}")
    try:
        sampler, pruner = instantiate(request.sampler), instantiate(request.pruner)
        if not isinstance(sampler, optuna.samplers.BaseSampler) or not isinstance(pruner, optuna.pruners.BasePruner):
            raise RequestError("the sampler and the pruner of a search must be ones of Optuna")
        found = name in optuna.get_all_study_names(_storage(request.storage)) if request.storage else file.exists()
        if not found and folder.is_dir() and any(folder.iterdir()):
            raise RequestError(f"{folder} holds no study and is not empty; choose another --folder")
        with locked(folder, wait=True):
            storage = _storage(request.storage or f"sqlite:///{file}")
            parts: dict[str, Any] = {"storage": storage, "sampler": sampler, "pruner": pruner}
            study = optuna.create_study(study_name=name, load_if_exists=True, **parts)
            _require_same_request(study, request)
            if study.trials:
                study.sampler.reseed_rng()  # the seed would give what the study has already
            else:
                with suppress(ValueError):  # a value at the start is not in the space
                    space: Any = request.space
                    study.add_trial(create_trial(state=TrialState.WAITING, params=request.start, distributions=space))
    except (InstantiationException, SQLAlchemyError, ImportError) as error:
        raise RequestError(f"the study can't be opened: {one_line(error)}") from error
    return study


def _storage(url: str) -> RDBStorage:
    sqlite = {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    return RDBStorage(url, sqlite, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE.seconds)


def _require_same_request(study: optuna.Study, request: Request) -> None:
    space = {key: distribution_to_json(dimension) for key, dimension in request.space.items()}
    now = {"settings": list(request.overrides), "space": space, "sampler": request.sampler}
    before = study.user_attrs.get("request", now)
    if before != now:
        was = ", ".join(f"{part} {before[part]}" for part in now if before[part] != now[part])
        advice = "continue with the same, or choose another --folder"
        raise RequestError(f"the study in {request.folder} was begun with the {was}; {advice}")
    study.set_user_attr("request", now)


def newest(study: optuna.Study) -> dict[str, FrozenTrial]:
    """Map the folder of each trial to the newest of its starts."""
    return {trial.user_attrs[FOLDER]: trial for trial in study.trials if FOLDER in trial.user_attrs}


def retry_interrupted(study: optuna.Study, request: Request) -> None:
    """Queue each trial again whose process was stopped or died, with its settings, folder and curve."""
    retry = RetryHeartbeatStaleTrialCallback(RETRIES, inherit_intermediate_values=True)
    with locked(request.folder, wait=True):
        fail_stale_trials(study)
        for trial in newest(study).values():
            silent = trial.state == TrialState.RUNNING and trial.user_attrs[START] != trial.number
            if silent and datetime.now() - (trial.datetime_start or datetime.now()) > GRACE:
                study.tell(trial.number, state=TrialState.FAIL)  # it died before its first heartbeat
        for trial in newest(study).values():
            if trial.state == TrialState.FAIL and REASON not in trial.user_attrs:
                retry(study, trial)


def begin(trial: optuna.Trial, study: optuna.Study, request: Request) -> dict[str, Any] | None:
    """Choose the settings and the folder of a trial; None if it is one too many, or has the settings of another.

    In the second case settings that are new are drawn evenly, and queued.
    """
    with locked(request.folder, wait=True):
        trials, retried = newest(study), FOLDER in trial.user_attrs
        if not retried and len(trials) >= request.trials:
            return None
        trial.set_user_attr(START, trial.number)
        settings = request.settings({key: suggest(trial, key, request.space[key]) for key in request.space})
        tried = [request.settings(other.params) for other in trials.values()]
        if not retried and settings in tried:
            study.enqueue_trial(_new_params(study, request, tried))
            return None
        if not retried:
            trial.set_user_attr(FOLDER, f"trial_{len(trials):03d}")
    return settings


def _new_params(study: optuna.Study, request: Request, tried: list[dict[str, Any]]) -> dict[str, Any]:
    sampler, any_trial, space = RandomSampler(seed=len(tried)), study.trials[0], request.space
    for _ in range(10_000):
        params = {key: sampler.sample_independent(study, any_trial, key, space[key]) for key in space}
        if request.settings(params) not in tried:
            return params
    raise RequestError(f"no settings are left that were not tried, after {len(tried)} trials")
