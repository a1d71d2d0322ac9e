"""The trials of a search, each an ordinary run in DIR/trial_000/ and so on, which may be pruned.

The number is Optuna's of the first start; some are missing. A trial has ended if it is COMPLETE, or PRUNED, as one that
went wrong is too. One that is FAIL was interrupted, and another trial resumes it; or it was given up before it began.
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
from charrnn.search.study import GRACE, Request, open_study, size
from charrnn.utils.errors import Pruned, RequestError, RunFailed, Stopped, one_line
from charrnn.utils.signals import signals_noted

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
RETRIES = 10  # of one trial: settings that kill their process must not hold up the search for ever


def prepare(request: Request) -> optuna.Study:
    """Open the study of the search. Raises `RequestError`, before there is any, for a run that can't be built."""
    with tempfile.TemporaryDirectory() as folder:
        _run([*request.overrides, "dry_run=true"], Path(folder), None)
    return open_study(request)


def work(request: Request, study: optuna.Study) -> None:
    """Run trials until as many as asked for have ended, and print a line for each. Raises `Stopped` on a signal."""
    waited = 0
    with signals_noted() as received:  # a signal must not disturb the database; a run handles signals itself
        while not received:
            retry_dead(study, request)
            states = [trial.state for trial in _counted(study, request)]
            if sum(map(states.count, ENDED)) >= request.trials:
                return
            if TrialState.WAITING in states or len(states) < request.trials:
                try:
                    study.optimize(lambda trial: run_trial(study, request, trial), n_trials=1)
                except ValueError as error:
                    if "Cannot tell" not in str(error):  # else another process had taken the trial for dead
                        raise
                continue
            waited += 1
            if waited == 10:  # seconds
                print("waiting    for a trial of another process, or of one that died a moment ago", flush=True)
            time.sleep(1)
    raise Stopped(received[0])


def retry_dead(study: optuna.Study, request: Request) -> None:
    """Queue the trials again whose process died: it gives no heartbeat any more, or does not hold its folder."""
    fail_stale_trials(study)
    for own in _counted(study, request):  # one that died before its first heartbeat goes unnoticed by Optuna
        late = own.datetime_start is not None and datetime.now() - own.datetime_start > timedelta(seconds=GRACE)
        if own.state == TrialState.RUNNING and late and request.storage is None:
            with suppress(RequestError), locked(folder := _folder(request, own)):
                if read_summary(folder)["status"] in ("interrupted", "missing"):  # else it is just being told to Optuna
                    _queue_again(study, own.number)


def _queue_again(study: optuna.Study, number: int) -> None:
    if study.trials[number].state != TrialState.RUNNING:
        return  # another process took this one for dead, and has queued it
    study.tell(number, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, study.trials[number])


def _folder(request: Request, trial: FrozenTrial) -> Path:
    first = [*RetryHeartbeatStaleTrialCallback.retry_history(trial), trial.number][0]
    return request.folder / f"trial_{first:03d}"


def _counted(study: optuna.Study, request: Request) -> list[FrozenTrial]:
    """List the trials that have their settings, and were neither interrupted nor given up."""
    trials = study.get_trials(deepcopy=False)
    return [own for own in trials if own.state != TrialState.FAIL and own.params.keys() == request.space.keys()]


def run_trial(study: optuna.Study, request: Request, trial: optuna.Trial) -> float:
    """Run the trial, or resume it, and return its validation bits per character: NaN, a failure, if it is given up."""
    own = study.trials[trial.number]
    retries = len(RetryHeartbeatStaleTrialCallback.retry_history(own))
    kinds = {key: type(own).__name__.removesuffix("Distribution").lower() for key, own in request.space.items()}
    suggest = {key: getattr(trial, f"suggest_{kind}") for key, kind in kinds.items()}
    settings = request.settings({key: suggest[key](key, **vars(own)) for key, own in request.space.items()})
    if not retries and not _is_wanted(study, request, trial.number, settings):
        return math.nan
    folder, names = _folder(request, own), short_names([*settings])

    def on_validation(step: int, bits_per_char: float) -> None:
        trial.report(bits_per_char, step // request.validate_every)
        if trial.should_prune():
            raise Pruned(f"at step {step:,} with {bits_per_char:.4f}")

    try:
        if retries > RETRIES:
            raise RunFailed(f"its process was stopped or died {retries} times")
        with locked(folder, wait=True):  # a process that was taken for dead may still run it
            pass
        bits_per_char = _run(
            [*request.overrides, *(f"{key}={text}" for key, text in settings.items())], folder, on_validation
        )
        if not math.isfinite(bits_per_char):
            raise RunFailed("the validation loss is NaN or infinite")
        outcome = f"finished with {bits_per_char:.4f}"
    except Stopped:
        _queue_again(study, trial.number)
        raise
    except Pruned as pruned:
        outcome = f"pruned {pruned}"
    except UpdateFinishedTrialError:  # another process took this one for dead, as after a long sleep, and continues it
        return math.nan
    except Exception as error:  # one trial is not the search
        reason = one_line(error) or type(error).__name__
        if not isinstance(error, RequestError | RunFailed):
            logging.getLogger(__name__).exception("the trial failed")
        if read_summary(folder)["status"] != "failed":
            write_summary(folder, {**read_summary(folder), "status": "failed", "reason": reason})
        trial.set_user_attr("reason", reason)
        outcome = f"failed: {reason}"
    told = " ".join(f"{names[key]}={text}" for key, text in settings.items())
    print(f"{folder.name}  {outcome:34}  {told}", flush=True)
    if not outcome.startswith("finished"):  # a failed trial has ended too, and tells the sampler that it was poor
        raise optuna.TrialPruned
    return bits_per_char


def _is_wanted(study: optuna.Study, request: Request, number: int, settings: dict[str, str]) -> bool:
    """Tell whether a trial is not one too many, and in a finite space not like another: then the next is random."""
    # Processes side by side ask this at the same time. Each has recorded what it chose, so that the others see it.
    others = [other for other in _counted(study, request) if other.number != number]
    finite = math.isfinite(math.prod(map(size, request.space.values())))
    repeated = finite and settings in [request.settings(other.params) for other in others]
    study.sampler = optuna.samplers.RandomSampler(seed=number) if repeated else request.parts["sampler"]
    return not repeated and sum(other.state != TrialState.WAITING for other in others) < request.trials


def _run(overrides: Sequence[str], folder: Path, on_validation: Callable[[int, float], None] | None) -> float:
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
        return run(cfg, folder, on_validation)
    finally:
        HydraConfig.instance().cfg = None
