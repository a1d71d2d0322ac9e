"""The story of a search: what is asked for, and trials one after the other until there are none left."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from charrnn.comparison import setting_text
from charrnn.errors import (
    Pruned,
    RequestError,
    RunFailed,
    Stopped,
    one_line,
    require_integer,
)
from charrnn.leaderboard import short_names
from charrnn.optuna_parts import require_optuna
from charrnn.runs import read_summary, write_summary
from charrnn.search_space import Choices, Dimension, read_search
from charrnn.signals import signals_noted
from charrnn.study import Study
from charrnn.trial import Request, Trial
from charrnn.trial_run import check_run, composed, present_value, run_trial

WIDTH = 34  # of what most trials come to, on the screen
OWN = ("resume_from", "dry_run", "sweep.resume")  # what a search says itself


def make_request(folder: Path, overrides: Sequence[str], name: str, trials: int) -> Request:
    """What is asked for, its settings known and its values readable. A setting that is fixed is not searched."""
    parsed = _parsed(overrides)
    for override in parsed:
        if override.is_sweep_override():
            raise RequestError(
                f"{override.key_or_group} takes one value here, that of all trials; what is to be tried stands in the "
                "file of --search"
            )
    cfg = composed(overrides)
    fixed = {override.key_or_group for override in parsed}
    for key in sorted(fixed):
        if key in OWN or key.startswith("hydra"):
            raise RequestError(f"{key} is set by the search itself; leave it out, and name the place with --folder")
    search = read_search(name)
    search = replace(search, space={key: search.space[key] for key in search.space if key not in fixed})
    if not search.space:
        raise RequestError(f"{name}: every setting of its space is fixed by the command; leave one of them open")
    try:
        _try_to_compose(overrides, search.space)
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from error
    if cfg.trainer.devices != 1:
        raise RequestError(f"a search trains each trial on one device, got trainer.devices={cfg.trainer.devices}")
    start = {key: present_value(cfg, key) for key in search.space}
    every = require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval)
    return Request(folder, tuple(overrides), search, start, trials, every)


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException:
        return []  # `composed` says how it is written


def _try_to_compose(overrides: Sequence[str], space: dict[str, Dimension]) -> None:
    """Compose so many configurations that every choice and every end of a range is in one."""
    values = {
        key: dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
        for key, dimension in space.items()
    }
    for place in range(max(map(len, values.values()))):
        composed([*overrides, *(f"{key}={setting_text(own[place % len(own)])}" for key, own in values.items())])


def prepare(request: Request) -> None:
    """Make the study, or find that it may go on. Raises `RequestError`, before there is any, for what can't be run."""
    require_optuna()
    if not (request.folder / "study.db").exists():
        with tempfile.TemporaryDirectory() as folder:
            check_run(request.overrides, Path(folder))
    Study(request)


def work(request: Request) -> bool:
    """Do one trial after the other, a line for each, until none is left. Raises `Stopped` after a signal."""
    study, names = Study(request), short_names(list(request.search.space))
    with signals_noted() as received:  # the database is not to be disturbed; a run listens for itself
        while not received:
            with ExitStack() as claim:
                trial = study.take(claim)
                if trial is None:
                    return True
                settings = " ".join(f"{names[key]}={value}" for key, value in trial.settings.items())
                print(f"{trial.folder.name}  {_outcome(trial):{WIDTH}}  {settings}", flush=True)
    raise Stopped(received[0])


def _outcome(trial: Trial) -> str:
    """Run the trial, or go on with it, and tell the study what came of it."""
    try:
        trial.begin()
        before = read_summary(trial.folder)
        if before["status"] == "pruned":  # and killed before the study knew
            raise Pruned(before["reason"])
        bits_per_char = run_trial(trial.overrides, trial.folder, trial.judge)
    except Stopped:
        trial.put_back()
        raise
    except Pruned as pruned:
        trial.end_without_result(poor=True)
        return f"pruned {pruned}"
    except Exception as error:  # one trial is not the search
        line = one_line(error) or type(error).__name__
        trial.end_without_result(poor=isinstance(error, RunFailed))
        if read_summary(trial.folder)["status"] != "failed":
            write_summary(trial.folder, {**read_summary(trial.folder), "status": "failed", "reason": line})
        return f"failed: {line}"
    trial.end(bits_per_char)
    return f"finished with {bits_per_char:.4f}"
