"""Runs the trials of a search. Each is an ordinary run in DIR/trial_000/ and so on, which may be pruned.

The folder's number is Optuna's number of the first start, so some are missing. A trial has ended if its state is
COMPLETE or PRUNED; failed runs are PRUNED too. FAIL means that the trial was interrupted and another one resumes it, or
that it was dropped before it started.
"""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import open_dict
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BruteForceSampler, RandomSampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from charrnn.runs.folder import locked, read_summary, write_summary
from charrnn.runs.leaderboard import short_names
from charrnn.runs.sweep import composed
from charrnn.search.space import count
from charrnn.search.study import GRACE_SECONDS, Request, open_study
from charrnn.utils.errors import Pruned, RequestError, RunFailed, Stopped, one_line
from charrnn.utils.signals import record_signals
from charrnn.utils.streams import say

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
MAX_RETRIES = 10  # so that settings which kill their process can't block the search forever
STOPS = "stops"  # a user attribute of a trial: how often Ctrl-C or another signal has stopped it


def prepare(request: Request) -> optuna.Study:
    """Check that a run of the request can be built, then open the study. Raises `RequestError` if it can't."""
    with tempfile.TemporaryDirectory() as folder:
        _run([*request.overrides, "dry_run=true"], Path(folder), None)
    return open_study(request)


def work(request: Request, study: optuna.Study) -> None:
    """Run trials until `request.trials` have ended, and print a line for each. Raises `Stopped` on a signal."""
    seconds_waited, repeated = 0, False

    def objective(trial: optuna.Trial) -> float:
        nonlocal repeated
        settings = request.settings(suggested(trial, request))
        resumes = bool(RetryHeartbeatStaleTrialCallback.retry_history(study.trials[trial.number]))
        wanted, repeated = (True, False) if resumes else _is_wanted(study, request, trial.number, settings)
        return run_trial(study, request, trial, settings, received) if wanted else math.nan

    with record_signals() as received:  # so that no signal interrupts a database write; a run handles signals itself
        while not received:
            retry_dead(study, request)
            states = [trial.state for trial in _counted_trials(study, request)]
            if sum(map(states.count, ENDED)) >= request.trials:
                return
            if TrialState.WAITING in states or len(states) < request.trials:
                # After a repetition, so that the sampler does not suggest the same again and again.
                study.sampler = BruteForceSampler(seed=len(study.trials)) if repeated else request.components["sampler"]
                try:
                    study.optimize(objective, n_trials=1)
                except ValueError as error:
                    if "Cannot tell" not in str(error):  # Optuna's error if another process declared the trial dead
                        sampler = type(study.sampler).__name__
                        raise RequestError(f"{sampler} can't suggest settings: {one_line(error)}") from error
                finally:
                    study.sampler = RandomSampler()  # others stop the study if a trial is told to be dead
                continue
            seconds_waited += 1
            if seconds_waited == 10:
                say("waiting    for trials that another process is running, or was running until it died")
            time.sleep(1)
    raise Stopped(received[0])


def retry_dead(study: optuna.Study, request: Request) -> None:
    """Requeue trials whose process died: its heartbeat stopped, or the trial's folder is not locked."""
    fail_stale_trials(study)
    grace = timedelta(seconds=GRACE_SECONDS)
    for trial in _counted_trials(study, request):  # Optuna misses a process that died before its first heartbeat
        late = trial.datetime_start is not None and datetime.now() - trial.datetime_start > grace
        if trial.state == TrialState.RUNNING and late and request.storage is None:
            with suppress(RequestError), locked(folder := _folder(request, trial)):
                # Other statuses mean that the run has ended and its process is about to tell Optuna.
                if read_summary(folder)["status"] in ("interrupted", "missing"):
                    _requeue(study, trial.number)


def _requeue(study: optuna.Study, number: int) -> None:
    if study.trials[number].state != TrialState.RUNNING:
        return  # another process declared this trial dead and has requeued it
    study.tell(number, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, study.trials[number])


def _folder(request: Request, trial: FrozenTrial) -> Path:
    first = [*RetryHeartbeatStaleTrialCallback.retry_history(trial), trial.number][0]
    return request.folder / f"trial_{first:03d}"


def _counted_trials(study: optuna.Study, request: Request) -> list[FrozenTrial]:
    """Return the trials with all their settings, except those that were interrupted or dropped."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
    return [trial for trial in trials if {*trial.params} == {*request.keys(trial.params)}]


def suggested(trial: optuna.Trial, request: Request) -> dict[str, Any]:
    """Return the parameters of a trial: options of groups first, then what these options have."""
    params: dict[str, Any] = {}
    for key, values in request.space.items():
        if key in request.keys(params):
            kind = type(values).__name__.removesuffix("Distribution").lower()
            params[key] = getattr(trial, f"suggest_{kind}")(key, **vars(values))
    return params


def run_trial(
    study: optuna.Study, request: Request, trial: optuna.Trial, settings: dict[str, str], received: list[int]
) -> float:
    """Run or resume a trial; return its validation bits per character."""
    record = study.trials[trial.number]
    deaths = len(RetryHeartbeatStaleTrialCallback.retry_history(record)) - record.user_attrs.get(STOPS, 0)
    folder, names = _folder(request, record), short_names([*settings])

    def stop_if_asked() -> None:
        if received:  # a signal from before the run had its own handlers
            raise Stopped(received[0])

    def on_validation(step: int, bits_per_char: float) -> None:
        stop_if_asked()
        if not math.isfinite(bits_per_char):  # the run recovers, or fails
            return
        trial.report(bits_per_char, step // request.validate_every_steps)
        if trial.should_prune():
            raise Pruned(f"at step {step:,} with {bits_per_char:.4f}")

    try:
        if deaths > MAX_RETRIES:
            raise RunFailed(f"its process was killed {deaths} times")
        with locked(folder, wait=True):  # a process that was declared dead may still be running it
            pass
        stop_if_asked()
        bits_per_char = _run(
            [*request.overrides, *(f"{key}={text}" for key, text in settings.items())], folder, on_validation
        )
        if not math.isfinite(bits_per_char):
            raise RunFailed("the validation loss is NaN or infinite")
        outcome = f"finished with {bits_per_char:.4f}"
    except Stopped:
        trial.set_user_attr(STOPS, record.user_attrs.get(STOPS, 0) + 1)
        _requeue(study, trial.number)
        raise
    except Pruned as pruned:
        outcome = f"pruned {pruned}"
    except UpdateFinishedTrialError:  # another process declared this one dead, as after a long sleep, and resumes it
        return math.nan
    except Exception as error:  # a failed trial must not end the search
        reason = one_line(error) or type(error).__name__
        if not isinstance(error, RequestError | RunFailed):
            logging.getLogger(__name__).exception("the trial failed")
        if read_summary(folder)["status"] != "failed":
            write_summary(folder, {**read_summary(folder), "status": "failed", "reason": reason})
        trial.set_user_attr("reason", reason)
        outcome = f"failed: {reason}"
    values = " ".join(f"{names[key]}={text}" for key, text in settings.items())
    say(f"{folder.name}  {outcome:34}  {values}")
    if not outcome.startswith("finished"):  # a failed trial too: so the sampler learns that its settings are poor
        raise optuna.TrialPruned
    return bits_per_char


def _is_wanted(study: optuna.Study, request: Request, number: int, settings: dict[str, str]) -> tuple[bool, bool]:
    """Return whether to run a trial, and whether it repeats another in a finite space; nor if there are enough."""
    # Parallel processes may ask this at the same time. Each has stored its settings already, so the others see them.
    others = [other for other in _counted_trials(study, request) if other.number != number]
    finite = math.isfinite(count(request.space, request.lacking))
    repeated = finite and settings in [request.settings(other.params) for other in others]
    enough = sum(other.state != TrialState.WAITING for other in others) >= request.trials
    return not repeated and not enough, repeated


def _run(overrides: Sequence[str], folder: Path, on_validation: Callable[[int, float], None] | None) -> float:
    """Run or resume in `folder`, as train.py does, but log to a file only."""
    from charrnn.experiment import run

    cfg = composed([*overrides, "hydra.job_logging.root.handlers=[file]"])
    with open_dict(cfg):
        cfg.hydra.run.dir = cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)  # the run saves it
        configure_log(cfg.hydra.job_logging)
        cfg.resume_from = "last"
        del cfg["hydra"]
    try:
        return run(cfg, folder, on_validation)
    finally:
        HydraConfig.instance().cfg = None
        for handler in logging.getLogger().handlers[:]:
            if isinstance(handler, logging.FileHandler):
                logging.getLogger().removeHandler(handler)
                handler.close()
