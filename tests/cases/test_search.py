"""Searches: grids to the last setting, settings that an option lacks, lists, own config files, stops and NaN."""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charrnn.runs.sweep import composed as with_hydra
from charrnn.utils.errors import RequestError, Stopped
from conftest import call, command, mostly_slow

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from charrnn.search import study, tune
from charrnn.search.space import choice
from charrnn.search.study import Request, make_request, open_study

SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "trainer.accelerator=cpu",
    "trainer.max_steps=4", "trainer.val_check_interval=2", "threads=1", "callbacks=none",
)  # fmt: skip
GRID = {
    "optimizer.lr": [0.1, 0.01], "model.hidden": [4, 8, 16, 32], "model.activation": ["tanh", "relu"],
    "model.layers": [1, 2],
}  # fmt: skip
SAMPLERS = {
    "TPE": "{_target_: optuna.samplers.TPESampler, seed: 1, n_startup_trials: 4}",
    "Random": "{_target_: optuna.samplers.RandomSampler, seed: 1}",
    "Grid": f"{{_target_: optuna.samplers.GridSampler, seed: 1, search_space: {json.dumps(GRID)}}}",
    "BruteForce": "{_target_: optuna.samplers.BruteForceSampler, seed: 1}",
}


def search_file(folder: Path, space: Any, sampler: str = SAMPLERS["TPE"]) -> str:
    file = folder / "my.yaml"
    pruner = "{_target_: optuna.pruners.NopPruner}"
    file.write_text(f"space: {json.dumps(space)}\nsampler: {sampler}\npruner: {pruner}\n")
    return str(file)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace training; the settings of each trial that was started."""
    started: list[tuple[str, ...]] = []

    def run(overrides: list[str], folder: Path, on_validation: Any) -> float:
        started.append(tuple(overrides))
        return 2 + len(started) % 7

    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study, "GRACE_SECONDS", 1)
    monkeypatch.setattr(tune, "_run", run)
    return started


def work(wanted: Request) -> None:
    tune.work(wanted, open_study(wanted))


@pytest.mark.parametrize("sampler", mostly_slow(SAMPLERS))
def test_x1_a_grid_is_tried_to_its_last_setting(sampler: str, runs: list[tuple[str, ...]], tmp_path: Path) -> None:
    file = search_file(tmp_path, GRID, SAMPLERS[sampler])
    for trials in (11, 40):  # stopped, and continued
        wanted = make_request(tmp_path / "study", ["seed=2"], file, trials)
        work(wanted)
    assert wanted.trials == 32
    assert len(runs) == len(set(runs)) == 32
    work(wanted)
    assert len(runs) == 32


@pytest.mark.parametrize("sampler", mostly_slow(["TPE", "Grid"]))
def test_x1_two_processes_share_a_grid(sampler: str, runs: list[tuple[str, ...]], tmp_path: Path) -> None:
    file = search_file(tmp_path, GRID, SAMPLERS[sampler])
    requests = [make_request(tmp_path / "study", ["model.layers=1"], file, 32) for _ in range(2)]
    open_study(requests[0])
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(work, requests))
    assert len(runs) == len(set(runs)) == 16


@pytest.mark.slow
def test_x1_the_order_of_a_grid_is_reproducible(runs: list[tuple[str, ...]], tmp_path: Path) -> None:
    orders = []
    for name in ("first", "second"):
        work(make_request(tmp_path / name, ["model.layers=1"], search_file(tmp_path, GRID), 32))
        orders.append([*runs])
        runs.clear()
    assert orders[0] == orders[1]


def test_x1_a_sampler_that_cannot_suggest_is_one_line(runs: list[tuple[str, ...]], tmp_path: Path) -> None:
    space = {"optimizer.lr": {"low": 0.1, "high": 0.2}}
    wanted = make_request(tmp_path / "study", [], search_file(tmp_path, space, SAMPLERS["BruteForce"]), 3)
    with pytest.raises(RequestError, match=r"BruteForceSampler can't suggest settings: .*step must be given"):
        work(wanted)


def test_14_what_the_chosen_optimizer_lacks_is_left_out(text_file: Path, tmp_path: Path) -> None:
    typed = [*SMALL, f"data.path={text_file}", "optimizer=sgd", "--trials", "2", "--folder", tmp_path / "study"]
    done = call("scripts/tune.py", *typed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("weight_decay") == 1
    assert "left out  optimizer.weight_decay, which optimizer=sgd does not have\n" in done.stdout
    assert "trials    2: 2 finished" in done.stdout


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_x11_the_default_search_starts_for_gated_cells(model: str, tmp_path: Path) -> None:
    wanted = make_request(tmp_path / "study", [f"model={model}"], "elman", 5)
    assert [*wanted.space] == ["optimizer.lr", "optimizer.weight_decay", "model.dropout"]
    assert wanted.left_out == dict.fromkeys(("model.activation", "model.input_std"), f"model={model}")


def test_x11_a_space_that_does_not_fit_at_all_is_one_line(tmp_path: Path) -> None:
    file = search_file(tmp_path, {"model.activation": ["tanh", "relu"]})
    with pytest.raises(RequestError, match="nothing of its space fits model=gru; use another search: elman, gated"):
        make_request(tmp_path / "study", ["model=gru"], file, 5)
    file = search_file(tmp_path, {"model.activasion": ["tanh", "relu"]})
    with pytest.raises(RequestError, match="unknown setting model.activasion; did you mean model.activation"):
        make_request(tmp_path / "study", ["model=gru"], file, 5)


def test_a_search_needs_steps_that_are_set(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="set trainer.max_steps and trainer.val_check_interval"):
        make_request(tmp_path / "study", ["experiment=my_text", "data.path=x"], "elman", 5)


def test_14_an_option_of_a_searched_group_brings_only_its_settings(runs: list[tuple[str, ...]], tmp_path: Path) -> None:
    space = {"optimizer.momentum": [0.5, 0.9], "optimizer.weight_decay": [0, 0.1], "optimizer": ["adamw", "sgd"]}
    wanted = make_request(tmp_path / "study", [], search_file(tmp_path, space), 9)
    assert wanted.trials == 4
    work(wanted)
    assert sorted(runs) == [
        ("optimizer=adamw", "optimizer.weight_decay=0"),
        ("optimizer=adamw", "optimizer.weight_decay=0.1"),
        ("optimizer=sgd", "optimizer.momentum=0.5"),
        ("optimizer=sgd", "optimizer.momentum=0.9"),
    ]


def test_32_lists_are_values(text_file: Path, tmp_path: Path) -> None:
    file = search_file(tmp_path, {"optimizer.betas": [[0.9, 0.99], [0.8, 0.999]]})
    typed = [*SMALL, f"data.path={text_file}", "--search", file, "--folder", tmp_path / "study"]
    done = call("scripts/tune.py", *typed, "--trials", "9")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trial_000  finished" in done.stdout  # the first trial has the values without a search
    assert "betas=[0.9,0.99]" in done.stdout and "betas=[0.8,0.999]" in done.stdout
    assert "trials    2: 2 finished" in done.stdout
    rerun = next(line for line in done.stdout.splitlines() if line.startswith("rerun"))
    assert rerun.endswith(("'optimizer.betas=[0.9,0.99]'", "'optimizer.betas=[0.8,0.999]'"))


plain = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | st.text("ab1,:=[]{}'\"$ .", max_size=5)


@settings(max_examples=30, deadline=None)
@given(st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_32_any_value_becomes_an_override_that_reads_the_same(value: Any) -> None:
    assume("${" not in json.dumps(value))  # a reference to another setting
    text = study.setting_text(choice(value))
    assert with_hydra([f"+data.x={text}"]).data.x == value


def own_experiment(folder: Path) -> Path:
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel: {hidden: 6}\n")
    return folder


@pytest.mark.parametrize("flag", mostly_slow(["--config-dir", "-cd", "hydra.searchpath"]))
def test_31_own_config_files_can_be_searched(flag: str, text_file: Path, tmp_path: Path) -> None:
    folder = own_experiment(tmp_path / ("plain" if "=" in flag or "hydra" in flag else "it's mine, x=1"))
    option = [f"{flag}=[{folder}]"] if flag.startswith("hydra") else [flag, folder]
    small = [setting for setting in SMALL if "hidden" not in setting]
    typed = [*small, f"data.path={text_file}", "experiment=mine", *option, "--folder", tmp_path / "study"]
    for trials in (1, 2):  # started and continued
        done = call("scripts/tune.py", *typed, "--trials", trials)
        assert (done.returncode, done.stderr) == (0, "")
    for number in range(2):
        assert "hidden: 6" in (tmp_path / "study" / f"trial_00{number}" / ".hydra" / "config.yaml").read_text()


def test_31_a_missing_folder_of_config_files_is_one_line(tmp_path: Path) -> None:
    done = call("scripts/tune.py", "--config-dir", tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tune.py: --config-dir must be a folder, but there is none at {tmp_path}/none\n"


@pytest.mark.slow
def test_31_the_workers_of_jobs_get_own_config_files(text_file: Path, tmp_path: Path) -> None:
    folder = own_experiment(tmp_path / "my conf")
    small = [setting for setting in SMALL if "hidden" not in setting]
    typed = [*small, f"data.path={text_file}", "experiment=mine", "-cd", folder, "--folder", tmp_path / "study"]
    done = command("scripts/tune.py", *typed, "--trials", "2", "--jobs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trials    2: 2 finished" in done.stdout


def test_a_trial_may_be_stopped_any_number_of_times(
    runs: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = search_file(tmp_path, {"optimizer.lr": [0.1, 0.2]}), tune._run
    wanted = make_request(tmp_path / "study", [], file, 1)

    def raising(error: BaseException) -> Callable[..., float]:
        def stopped(*_: Any) -> float:
            raise error

        return stopped

    monkeypatch.setattr(tune, "MAX_RETRIES", 1)
    for _ in range(4):
        monkeypatch.setattr(tune, "_run", raising(Stopped(2)))
        with pytest.raises(Stopped):
            work(wanted)
    monkeypatch.setattr(tune, "_run", raising(SystemExit()))  # as if the process was killed, once
    with pytest.raises(SystemExit):
        work(wanted)
    monkeypatch.setattr(tune, "_run", run)
    work(wanted)
    assert len(runs) == 1
    assert [trial.state.name for trial in open_study(wanted).get_trials(states=tune.ENDED)] == ["COMPLETE"]


def test_x3_a_trial_whose_validation_is_nan_is_never_finished_or_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [math.nan, 3.0, math.inf]

    def run(overrides: list[str], folder: Path, on_validation: Any) -> float:
        result = results.pop(0)
        for step in (10, 20):
            on_validation(step, result)
        return result

    monkeypatch.setattr(tune, "_run", run)
    wanted = make_request(tmp_path / "study", [], search_file(tmp_path, {"optimizer.lr": [0.1, 0.2, 0.3]}), 3)
    work(wanted)
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()[1:3]) for line in lines] == ["failed: the", "finished with", "failed: the"]
    assert open_study(wanted).best_value == 3.0
