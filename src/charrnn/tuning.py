"""A search from its request to its last trial; each trial is an ordinary run that may be pruned."""

import logging
import math
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from charrnn.comparison import setting_text
from charrnn.errors import Pruned, RequestError, RunFailed, Stopped, one_line, require_integer
from charrnn.leaderboard import short_names
from charrnn.overrides import CONF, request_line
from charrnn.runs import locked, read_summary, write_summary
from charrnn.search_space import read_search, size
from charrnn.signals import signals_noted
from charrnn.study import FOLDER, REASON, Request, begin, newest, open_study, retry_interrupted
from charrnn.sweep import register_resolvers

if TYPE_CHECKING:
    from charrnn.ending import Judge

log = logging.getLogger(__name__)

OUTCOME_WIDTH = 34  # characters on the screen
PATIENCE_SECONDS = 10  # before a process says that it is waiting for another
SET_BY_SEARCH = ("resume_from", "dry_run", "sweep.resume")


def make_request(folder: Path, overrides: Sequence[str], name: str, trials: int, storage: str | None = None) -> Request:
    """Check what a search is asked for. A setting that the command fixes is not searched. Raises `RequestError`."""
    cfg, search = composed(overrides), read_search(name)
    fixed = {override.partition("=")[0].lstrip("+~") for override in overrides}
    for key in sorted(fixed):
        if key in SET_BY_SEARCH or key.startswith("hydra"):
            raise RequestError(f"{key} is set by the search itself; leave it out, and name the place with --folder")
    space = {key: dimension for key, dimension in search.pop("space").items() if key not in fixed}
    if not space:
        raise RequestError(f"{name}: every setting of its space is fixed by the command; leave one of them open")
    try:
        for key, dimension in space.items():
            for value in dimension.choices if isinstance(dimension, CategoricalDistribution) else [dimension.low]:
                composed([*overrides, f"{key}={setting_text(value)}"])
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from error
    if cfg.trainer.devices != 1:
        raise RequestError(f"a search trains each trial on one device, got trainer.devices={cfg.trainer.devices}")
    if not cfg.data.get("validation_fraction"):
        raise RequestError("a search compares runs on the validation part; set data.validation_fraction above 0")
    every = require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval)
    groups = cfg.hydra.runtime.choices
    start = {key: groups[key] if key in groups else OmegaConf.select(cfg, key) for key in space}
    most = math.prod(map(size, space.values()))
    parts = {**search, "space": space}
    return Request(folder, tuple(overrides), start, int(min(trials, most)), every, storage, **parts)


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration that train.py would have, with `hydra` in it. Raises `RequestError`."""
    register_resolvers()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose("config", overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        line = request_line(error)
        if line is None:
            raise
        raise RequestError(line.replace("add -m to the command", "name them in a file for --search")) from error


def prepare(request: Request) -> optuna.Study:
    """Open the study of the search. Raises `RequestError`, before there is any, for a run that can't be built."""
    if not any(request.folder.glob("trial_*")):
        with tempfile.TemporaryDirectory() as folder:
            _run([*request.overrides, "dry_run=true"], Path(folder), None)
    return open_study(request)


def work(request: Request, study: optuna.Study) -> None:
    """Run trials until the study has as many as asked for, and print a line for each. Raises `Stopped` on a signal."""
    waited = 0
    with signals_noted() as received:  # a signal must not disturb the database; a run handles signals itself
        while not received:
            retry_interrupted(study, request)
            states = [trial.state for trial in newest(study).values()]
            if TrialState.WAITING in states or len(states) < request.trials:
                study.optimize(partial(run_trial, study, request), n_trials=1)
            elif TrialState.RUNNING not in states:
                return
            else:
                waited += 1
                if waited == PATIENCE_SECONDS:
                    print("waiting    for a trial of another process, or of one that died a moment ago", flush=True)
                time.sleep(1)
    raise Stopped(received[0])


def run_trial(study: optuna.Study, request: Request, trial: optuna.Trial) -> float:
    """Run the trial, or resume it, and return its validation bits per character: NaN, a failure, if it has none."""
    settings = begin(trial, study, request)
    if settings is None:
        return math.nan
    names, texts = short_names(list(settings)), {key: setting_text(value) for key, value in settings.items()}
    folder, told = request.folder / trial.user_attrs[FOLDER], " ".join(f"{names[key]}={texts[key]}" for key in texts)
    before = study.trials[trial.number].intermediate_values

    def judge(step: int, bits_per_char: float) -> None:
        validation = step // request.validate_every
        if validation not in before:  # a resumed run repeats some
            trial.report(bits_per_char, validation)
        if trial.should_prune():
            raise Pruned(f"at step {step:,} with {bits_per_char:.4f}")

    try:
        with locked(folder, wait=True):  # a process that was taken for dead may still run it
            pass
        bits_per_char = _run([*request.overrides, *(f"{key}={text}" for key, text in texts.items())], folder, judge)
        if not math.isfinite(bits_per_char):
            raise RunFailed("the validation loss is NaN or infinite")
        print(f"{folder.name}  {f'finished with {bits_per_char:.4f}':{OUTCOME_WIDTH}}  {told}", flush=True)
        return bits_per_char
    except Stopped:
        study.tell(trial, state=TrialState.FAIL)  # without a reason: it is retried
        raise
    except Pruned as pruned:
        print(f"{folder.name}  {f'pruned {pruned}':{OUTCOME_WIDTH}}  {told}", flush=True)
        raise optuna.TrialPruned from pruned
    except Exception as error:  # one trial is not the search
        reason = one_line(error) or type(error).__name__
        print(f"{folder.name}  {f'failed: {reason}':{OUTCOME_WIDTH}}  {told}", flush=True)
        if not isinstance(error, RequestError | RunFailed):
            log.exception("the trial failed")
        if read_summary(folder)["status"] != "failed":
            write_summary(folder, {**read_summary(folder), "status": "failed", "reason": reason})
        if isinstance(error, RunFailed):  # the sampler learns that the settings are poor
            raise optuna.TrialPruned from error
        trial.set_user_attr(REASON, reason)
        return math.nan


def _run(overrides: Sequence[str], folder: Path, judge: "Judge | None") -> float:
    """Run in `folder` what train.py would, or resume it, with the log in a file only."""
    from charrnn.experiment import run

    cfg = composed([*overrides, "hydra.job_logging.root.handlers=[file]"])
    with open_dict(cfg):
        cfg.hydra.run.dir = cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)  # the run writes it down
        configure_log(cfg.hydra.job_logging)
        cfg.resume_from = "last"
        del cfg["hydra"]
    try:
        return run(cfg, folder, judge)
    finally:
        HydraConfig.instance().cfg = None
