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

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import open_dict
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from charrnn.runs.folder import locked, read_summary, write_summary
from charrnn.runs.leaderboard import short_names
from charrnn.runs.sweep import composed
from charrnn.search.study import GRACE_SECONDS, Request, open_study, size
from charrnn.utils.errors import Pruned, RequestError, RunFailed, Stopped, one_line
from charrnn.utils.signals import record_signals

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
MAX_RETRIES = 10  # so that settings which kill their process can't block the search forever


def prepare(request: Request) -> optuna.Study:
    """Check that a run of the request can be built, then open the study. Raises `RequestError` if it can't."""
    with tempfile.TemporaryDirectory() as folder:
        _run([*request.overrides, "dry_run=true"], Path(folder), None)
    return open_study(request)


def work(request: Request, study: optuna.Study) -> None:
    """Run trials until `request.trials` have ended, and print a line for each. Raises `Stopped` on a signal."""
    seconds_waited = 0
    with record_signals() as received:  # so that no signal interrupts a database write; a run handles signals itself
        while not received:
            retry_dead(study, request)
            states = [trial.state for trial in _counted_trials(study, request)]
            if sum(map(states.count, ENDED)) >= request.trials:
                return
            if TrialState.WAITING in states or len(states) < request.trials:
                try:
                    study.optimize(lambda trial: run_trial(study, request, trial), n_trials=1)
                except ValueError as error:
                    if "Cannot tell" not in str(error):  # Optuna's error if another process declared the trial dead
                        raise
                continue
            seconds_waited += 1
            if seconds_waited == 10:
                print("waiting    for trials that another process is running, or was running until it died", flush=True)
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
    trials = study.get_trials(deepcopy=False)
    return [each for each in trials if each.state != TrialState.FAIL and each.params.keys() == request.space.keys()]


def run_trial(study: optuna.Study, request: Request, trial: optuna.Trial) -> float:
    """Run or resume a trial; return its validation bits per character, or NaN (Optuna: FAIL) if it is dropped."""
    record = study.trials[trial.number]
    retries = len(RetryHeartbeatStaleTrialCallback.retry_history(record))
    kinds = {key: type(values).__name__.removesuffix("Distribution").lower() for key, values in request.space.items()}
    suggest = {key: getattr(trial, f"suggest_{kind}") for key, kind in kinds.items()}
    settings = request.settings({key: suggest[key](key, **vars(values)) for key, values in request.space.items()})
    if not retries and not _is_wanted(study, request, trial.number, settings):
        return math.nan
    folder, names = _folder(request, record), short_names([*settings])

    def on_validation(step: int, bits_per_char: float) -> None:
        trial.report(bits_per_char, step // request.validate_every_steps)
        if trial.should_prune():
            raise Pruned(f"at step {step:,} with {bits_per_char:.4f}")

    try:
        if retries > MAX_RETRIES:
            raise RunFailed(f"its process was interrupted or killed {retries} times")
        with locked(folder, wait=True):  # a process that was declared dead may still be running it
            pass
        bits_per_char = _run(
            [*request.overrides, *(f"{key}={text}" for key, text in settings.items())], folder, on_validation
        )
        if not math.isfinite(bits_per_char):
            raise RunFailed("the validation loss is NaN or infinite")
        outcome = f"finished with {bits_per_char:.4f}"
    except Stopped:
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
    print(f"{folder.name}  {outcome:34}  {values}", flush=True)
    if not outcome.startswith("finished"):  # a failed trial too: so the sampler learns that its settings are poor
        raise optuna.TrialPruned
    return bits_per_char


def _is_wanted(study: optuna.Study, request: Request, number: int, settings: dict[str, str]) -> bool:
    """Return whether to run a trial: not if there are enough, or if it repeats another in a finite space."""
    # Parallel processes may ask this at the same time. Each has stored its settings already, so the others see them.
    others = [other for other in _counted_trials(study, request) if other.number != number]
    finite = math.isfinite(math.prod(map(size, request.space.values())))
    repeated = finite and settings in [request.settings(other.params) for other in others]
    # After a repetition the next suggestion is random, so that the search does not suggest the same again.
    study.sampler = optuna.samplers.RandomSampler(seed=number) if repeated else request.components["sampler"]
    return not repeated and sum(other.state != TrialState.WAITING for other in others) < request.trials


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
