"""Who gets which trial, what a study that was stopped goes on with, when a run is pruned: without any training."""

import math
import random
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import Pruned, RequestError, RunFailed
from charrnn.optuna_parts import make_pruner
from charrnn.search_space import Choices, Dimension, Range, Search
from charrnn.study import Study
from charrnn.trial import MOST_DEATHS, Request, Trial

optuna = pytest.importorskip("optuna", reason="needs pip install optuna")
SPACE: dict[str, Dimension] = {
    "optimizer.lr": Range(1e-4, 1e-1, log=True),
    "model.hidden": Range(8, 64, step=8),
    "model.activation": Choices(("tanh", "relu")),
}
START = {"optimizer.lr": 0.001, "model.hidden": 16, "model.activation": "tanh"}
MEDIAN = {"name": "median", "startup": 2, "first": 2}
HALVING = {"name": "halving", "first": 1, "factor": 3}
STEPS = range(10, 60, 10)


def request(folder: Path, **changes: Any) -> Request:
    search = Search(SPACE, {"name": "tpe", "seed": 1, "startup": 4}, MEDIAN)
    return replace(Request(folder, ("seed=2",), search, START, trials=9, validate_every=10), **changes)


def with_pruner(wanted: Request, pruner: dict[str, Any]) -> Request:
    return replace(wanted, search=replace(wanted.search, pruner=pruner))


def bits(trial: Trial, step: int) -> float:
    """A curve that falls, to a height of the settings' own: the best are lr=0.01, relu."""
    away = abs(math.log10(float(trial.settings["optimizer.lr"])) + 2)
    return 2 + away + (trial.settings["model.activation"] == "tanh") + 3 / step


def do(trial: Trial, until: int = 1000) -> bool:
    """Do the trial; False if it broke off at step `until`."""
    trial.begin()
    try:
        for step in STEPS:
            if step >= until:
                return False
            trial.judge(step, bits(trial, step))
        trial.end(bits(trial, 100))
    except Pruned:
        trial.end_without_result(poor=True)
    return True


def state(folder: Path) -> list[tuple[Any, ...]]:
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{folder / 'study.db'}")
    return [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in study.trials]


def finish(wanted: Request) -> None:
    study = Study(wanted)
    while True:
        with ExitStack() as claim:
            trial = study.take(claim)
            if trial is None:
                return
            assert do(trial)


def test_a_trial_has_one_process_at_a_time_and_is_taken_up_when_that_has_died(tmp_path: Path) -> None:
    one, other = Study(request(tmp_path, trials=3)), Study(request(tmp_path, trials=3))
    with ExitStack() as claim:
        first = one.take(claim)
        assert first is not None
        assert first.overrides == ["seed=2", "optimizer.lr=0.001", "model.hidden=16", "model.activation=tanh"]
        with ExitStack() as theirs:
            second = other.take(theirs)
            assert second is not None
            assert (first.number, second.number) == (0, 1)
            second.end(4.0)
        first.judge(10, 5.0)
    with ExitStack() as claim:  # the one that was left behind, with its settings, comes before any new one
        again = other.take(claim)
        assert again is not None
        assert (again.number, again.settings) == (first.number, first.settings)
        again.end(3.0)
        third = one.take(claim)
        assert third is not None
        assert third.number == 2
        third.end(2.0)
        assert one.take(claim) is other.take(claim) is None
    assert [(number, name) for number, name, *_ in state(tmp_path)] == [
        (0, "COMPLETE"),
        (1, "COMPLETE"),
        (2, "COMPLETE"),
    ]


@pytest.mark.parametrize("pruner", [MEDIAN, HALVING])
def test_a_study_that_is_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path, pruner: dict[str, Any]) -> None:
    whole, broken = (with_pruner(request(tmp_path / name), pruner) for name in ("whole", "broken"))
    finish(whole)
    draws = random.Random(5)
    for _ in range(8):
        with ExitStack() as claim:
            trial = Study(broken).take(claim)
            if trial is not None and not do(trial, until=draws.randrange(10, 80)):
                trial.put_back()
    finish(broken)
    assert state(broken.folder) == state(whole.folder)
    names = [name for _, name, *_ in state(whole.folder)]
    assert {*names} == {"COMPLETE", "PRUNED"}
    best = min(state(whole.folder), key=lambda trial: trial[3])
    assert best[2]["model.activation"] == "relu"
    assert 0.003 < best[2]["optimizer.lr"] < 0.03


def test_a_run_is_pruned_where_most_were_better_and_not_before(tmp_path: Path) -> None:
    study = Study(request(tmp_path))
    with ExitStack() as claim:
        for height in (2.0, 3.0):
            trial = study.take(claim)
            assert trial is not None
            for step in STEPS:
                trial.judge(step, height + 1 / step)
            trial.end(height)
        bad = study.take(claim)
        assert bad is not None
        bad.judge(10, 9.0)
        with pytest.raises(Pruned, match=r"^at step 20 with 8.0000$"):
            bad.judge(20, 8.0)


def test_what_a_resumed_run_repeats_is_not_judged_anew(tmp_path: Path) -> None:
    with ExitStack() as claim:
        trial = Study(request(tmp_path, trials=1)).take(claim)
        assert trial is not None
        trial.judge(10, 5.0)
        trial.judge(20, 4.0)
    with ExitStack() as claim:
        again = Study(request(tmp_path, trials=1)).take(claim)
        assert again is not None
        asked = []
        again._trial.should_prune = lambda: bool(asked.append(1))  # type: ignore[method-assign,func-returns-value]
        again.judge(10, 5.0)
        assert not asked
        again.judge(20, 4.0)  # it may have been judged, and killed before it knew
        again.judge(30, 3.0)
        assert len(asked) == 2
    assert state(tmp_path)[0][4] == {10: 5.0, 20: 4.0, 30: 3.0}


def test_settings_that_kill_their_process_are_given_up(tmp_path: Path) -> None:
    for _ in range(MOST_DEATHS):
        with ExitStack() as claim:
            trial = Study(request(tmp_path)).take(claim)
            assert trial is not None
            trial.begin()
            trial.put_back()  # Ctrl-C is no fault of theirs
            trial.begin()
    with ExitStack() as claim, pytest.raises(RunFailed, match="its process was killed 3 times after step 0"):
        trial = Study(request(tmp_path)).take(claim)
        assert trial is not None
        trial.begin()


def test_a_space_that_is_used_up_ends_the_study(tmp_path: Path) -> None:
    two: dict[str, Dimension] = {"model.activation": SPACE["model.activation"], "optimizer.lr": Choices((0.1, 0.2))}
    search = replace(request(tmp_path).search, space=two)
    finish(request(tmp_path, search=search, start={"model.activation": "tanh", "optimizer.lr": 0.3}))
    tried = [(settings["model.activation"], settings["optimizer.lr"]) for _, _, settings, *_ in state(tmp_path)]
    assert sorted(tried) == [("relu", 0.1), ("relu", 0.2), ("tanh", 0.1), ("tanh", 0.2)]


def test_what_a_study_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Study(request(tmp_path / "one"))
    with pytest.raises(RequestError, match="was begun with the settings seed=2; go on with the same"):
        Study(request(tmp_path / "one", overrides=("seed=3",)))
    with pytest.raises(RequestError, match="holds no study, and is not empty"):
        Study(request(tmp_path))
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RequestError, match="needs optuna, which is not installed; pip install optuna"):
        Study(request(tmp_path / "two"))


@pytest.mark.parametrize(
    ("pruner", "pruned"),
    [
        ({"name": "median", "startup": 2, "first": 1}, [False, False, True, True]),
        ({"name": "percentile", "keep": 25, "startup": 2, "first": 1}, [False, True, True, True]),
        ({"name": "percentile", "keep": 75, "startup": 2, "first": 1}, [False, False, False, True]),
        ({"name": "none"}, [False] * 4),
    ],
)
def test_what_share_of_the_trials_goes_on(pruner: dict[str, Any], pruned: list[bool]) -> None:
    study = optuna.create_study(pruner=make_pruner(pruner, 10))
    for result in (2.0, 3.0, 4.0, 5.0):
        done = study.ask()
        done.report(result, 5)
        done.report(result, 20)
        study.tell(done, result)
    for result, expected in zip((1.9, 2.9, 3.9, 4.9), pruned, strict=True):
        trial = study.ask()
        trial.report(result, 5)
        assert not trial.should_prune()  # before the first validation that counts
        trial.report(result, 20)
        assert trial.should_prune() == expected
