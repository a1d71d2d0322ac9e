"""Requests of a search; how trials are chosen, counted, pruned and retried; searches with small networks."""

import math
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.runs.records import read_job
from charrnn.utils.errors import RequestError, RunFailed, Stopped
from charrnn.utils.paths import CONF
from conftest import call, command, start, train_here, wait_for

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler

from charrnn.search import study, tune
from charrnn.search.report import report
from charrnn.search.space import read_search, rounded, size
from charrnn.search.study import Request, make_request, open_study

SPACE: dict[str, Any] = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model.hidden": IntDistribution(8, 64, step=8),
    "model.activation": CategoricalDistribution(["tanh", "relu"]),
}
START = {"optimizer.lr": 0.0012345, "model.hidden": 16, "model.activation": "tanh"}
SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "trainer.max_steps=40", "trainer.val_check_interval=10",
    "checkpoint_every=5", "threads=1", "callbacks=none",
)  # fmt: skip
WHOLE = {
    "space": "{optimizer.lr: {low: 1e-3, high: 1e-2, log: true}, model.hidden: {low: 8, high: 32, step: 8}, a: [x, y]}",
    "sampler": "{_target_: optuna.samplers.TPESampler, seed: 1}",
    "pruner": "{_target_: optuna.pruners.NopPruner}",
}
RATES = "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}}"


class Runs:
    """Replaces training by synthetic curves, whose final values depend on the settings: best with lr=0.01 and relu."""

    def __init__(self) -> None:
        self.started: list[tuple[str, tuple[str, ...]]] = []
        self.raised: dict[tuple[int, int], BaseException] = {}  # keys: number of the run, step
        self.diverged: set[int] = set()

    def __call__(self, overrides: list[str], folder: Path, on_validation: Any) -> float:
        number = len(self.started)
        self.started.append((folder.name, tuple(overrides)))
        settings = dict(override.split("=") for override in overrides)
        best = 2 + abs(math.log10(float(settings["optimizer.lr"])) + 2) + (settings["model.activation"] == "tanh")
        for step in range(10, 60, 10):
            if (number, step) in self.raised:
                raise self.raised[number, step]
            on_validation(step, best + 3 / step)
        return math.nan if number in self.diverged else best


def search_file(folder: Path, **changes: str) -> str:
    file = folder / "my.yaml"
    file.write_text("".join(f"{part}: {text}\n" for part, text in {**WHOLE, **changes}.items()))
    return str(file)


def test_search_files(tmp_path: Path) -> None:
    space, components = read_search(search_file(tmp_path))
    assert space == {
        "optimizer.lr": FloatDistribution(0.001, 0.01, log=True),
        "model.hidden": IntDistribution(8, 32, step=8),
        "a": CategoricalDistribution(["x", "y"]),
    }
    assert list(map(size, space.values())) == [math.inf, 4, 2]
    assert isinstance(components["pruner"], NopPruner)
    assert all("optimizer.lr" in read_search(file.stem)[0] for file in (CONF / "search").glob("*.yaml"))


def test_errors_in_a_search_file_are_one_line(tmp_path: Path) -> None:
    spaces = (
        "{a: 5}", "{a: [1, 1]}", "{a: [0, 0.0]}", "{a: [[1], [1]]}", "{a: {low: 1, hihg: 2}}", "{a: {low: 2, high: 1}}",
        "{a: {low: 1, high: .inf}}", "{a: {low: 0, high: 1, log: true}}", "{a: {low: 1, high: 9, log: maybe}}",
        "{a: {low: 1.0, high: 9, log: true, step: 2}}",
    )  # fmt: skip
    for key, text, message in (
        *(("space", text, r"space: a must be different values \[a, b\], or a range .*; got ") for text in spaces),
        ("space", "{}", "expected a space, and a sampler and a pruner of Optuna"),
        ("space", "[a, b]", "expected a space"),
        ("spcae", "{a: 1}", "expected a space"),
        ("sampler", "{_target_: optuna.samplers.Nothing}", "Nothing"),
        ("pruner", "{_target_: optuna.samplers.TPESampler}", "a pruner of Optuna"),
        ("space", "{trainer.max_steps: [10, 20]}", "trainer.max_steps can't be searched"),
        ("space", "[", "while parsing"),
    ):
        with pytest.raises(RequestError, match=rf"^my.yaml: .*{message}") as error:
            read_search(search_file(tmp_path, **{key: text}))
        assert "\n" not in str(error.value)


@given(st.floats(1e-6, 10.0), st.floats(0.0, 1.0), st.booleans())
def test_a_tried_value_has_few_digits_and_is_near_the_suggested_one(low: float, share: float, log: bool) -> None:
    suggested = min(max(low * 3**share if log else low + 2 * low * share, low), 3 * low)
    tried = rounded(FloatDistribution(low, 3 * low, log), suggested)
    assert low <= tried <= 3 * low
    assert math.isclose(tried, suggested, rel_tol=0.01)
    assert tried in (low, 3 * low) or len(f"{tried:e}".split("e")[0].rstrip("0")) <= 6
    assert rounded(FloatDistribution(0.1, 0.5, step=0.1), 0.1 + 2 * 0.1) == 0.3


def test_wrong_requests(tmp_path: Path) -> None:
    for space, override, message in (
        ("{model.hiden: [1, 2]}", "seed=1", "my.yaml: unknown setting model.hiden; did you mean model.hidden"),
        ("{optimizer: [adamw, adamm]}", "seed=1", "my.yaml: optimizer=adamm does not exist; optimizer must be one of"),
        (RATES, "optimizer.lr=0.1", "every setting of its space is fixed by the command"),
        (RATES, "seed=1,2", "seed takes one value; to run several values as a sweep, use train.py -m"),
        (RATES, "resume_from=last", "resume_from is set by the search itself"),
        (RATES, "hydra.run.dir=a", "hydra.run.dir is set by the search itself"),
        (RATES, "trainer.devices=2", "one device, got trainer.devices=2"),
        (RATES, "data.validation_fraction=0", "set data.validation_fraction above 0"),
        (RATES, "model.dropout=2", "model.dropout must be a number"),
        (RATES, "trainer.val_check_interval=0.5", "trainer.val_check_interval must be a positive integer, got 0.5"),
        (RATES, "trainer.val_check_interval=auto", "set trainer.max_steps and trainer.val_check_interval$"),
    ):
        with pytest.raises(RequestError, match=message):
            tune.prepare(make_request(tmp_path / "study", [override], search_file(tmp_path, space=space), 2))
    with pytest.raises(RequestError, match="there is no search elmann; use a file.yaml, or one of elman, gated, size"):
        make_request(tmp_path, [], "elmann", 2)
    assert not (tmp_path / "study").exists()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study, "GRACE_SECONDS", 1)
    monkeypatch.setattr(tune, "_run", runs)
    return runs


def request(folder: Path, **changes: Any) -> Request:
    components = {"sampler": TPESampler(seed=1, n_startup_trials=4), "pruner": MedianPruner(2, 2)}
    return replace(Request(folder / "study", ("seed=2",), START, 9, 10, None, SPACE, components), **changes)


def work(wanted: Request) -> None:
    tune.work(wanted, open_study(wanted))


def ended(wanted: Request) -> list[str]:
    return [trial.state.name for trial in open_study(wanted).get_trials(states=tune.ENDED)]


def test_the_first_trial_changes_nothing_and_the_poor_ones_are_pruned(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = request(tmp_path, trials=12)
    work(wanted)
    assert [name for name, _ in runs.started] == [f"trial_{number:03d}" for number in range(12)]
    assert runs.started[0][1] == ("seed=2", "optimizer.lr=0.0012345", "model.hidden=16", "model.activation=tanh")
    best = open_study(wanted).best_trial.params
    assert best["model.activation"] == "relu"
    assert 0.003 < best["optimizer.lr"] < 0.03
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial_000  finished with 3.9085                lr=0.0012345 hidden=16 activation=tanh"
    assert re.search(r" lr=0\.0*[1-9]\d{0,2} ", lines[1])
    pruned = next(line for line in lines if " pruned at step 20 with " in line)  # the first that may be pruned
    assert [*open_study(wanted).trials[int(pruned[6:9])].intermediate_values] == [1, 2]


def test_an_interrupted_trial_is_retried_and_an_ended_one_is_not(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=6)
    runs.raised = {(2, 20): SystemExit(), (3, 10): Stopped(2), (4, 10): SystemExit()}
    for raised in (SystemExit, Stopped, SystemExit):  # SystemExit is not handled, as if the process was killed
        with pytest.raises(raised):
            work(wanted)
    work(wanted)
    names = [name for name, _ in runs.started]
    assert (len(names), len({*names}), len({*runs.started})) == (9, 6, 6)  # with the same settings
    assert len(ended(wanted)) == 6
    resumed = [trial for trial in open_study(wanted).trials if trial.system_attrs.get("failed_trial") == 2]
    assert [*resumed[-1].intermediate_values][:2] == [1, 2]
    work(replace(wanted, trials=7))
    assert (len(runs.started), len({name for name, _ in runs.started})) == (10, 7)


def test_a_signal_before_the_run_handles_signals_ends_the_search(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*arguments: Any) -> float:
        signal.raise_signal(signal.SIGINT)  # while the run starts
        return runs(*arguments)

    wanted = request(tmp_path, trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(tune, "_run", signalled)
        with pytest.raises(Stopped):
            work(wanted)
    assert ended(wanted) == [] and len(runs.started) == 1
    work(wanted)
    assert len(ended(wanted)) == 2 and runs.started[1] == runs.started[0]  # the stopped trial is retried


def test_a_trial_that_died_before_its_first_heartbeat_is_replaced(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=2)
    work(replace(wanted, trials=1))
    with pytest.warns(UserWarning, match="Heartbeat"):
        open_study(wanted).ask()  # without a heartbeat
    work(wanted)
    assert len(ended(wanted)) == 2


def test_parallel_processes_share_the_trials(runs: Runs, tmp_path: Path) -> None:
    open_study(request(tmp_path))
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(work, [request(tmp_path, trials=5), request(tmp_path, trials=5)]))
    assert len(runs.started) == len({*runs.started}) == len({name for name, _ in runs.started}) == 5


def test_all_settings_of_a_grid_are_tried_once(runs: Runs, tmp_path: Path) -> None:
    rates, sizes = CategoricalDistribution([0.1, 0.2]), IntDistribution(1, 3)
    work(request(tmp_path, space={**SPACE, "optimizer.lr": rates, "model.hidden": sizes}, trials=12))
    assert len(runs.started) == len({settings for _, settings in runs.started}) == 12


def test_a_failed_trial_does_not_end_the_search(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = request(tmp_path, trials=5)
    runs.diverged = {3}
    runs.raised = {(0, 20): RunFailed("exploded"), (1, 20): MemoryError(), (2, 20): RequestError("no\ntext")}
    work(wanted)
    assert ended(wanted) == ["PRUNED"] * 4 + ["COMPLETE"]
    reasons = re.findall("failed: (.*?)  ", capsys.readouterr().out)
    assert reasons == ["exploded", "MemoryError", "no text", "the validation loss is NaN or infinite"]
    assert open_study(wanted).trials[0].user_attrs["reason"] == "exploded"
    work(wanted)
    assert len(runs.started) == 5


def test_errors_of_open_study(tmp_path: Path) -> None:
    one = request(tmp_path)
    open_study(one)
    for changed, message in (
        (
            replace(one, overrides=("seed=3",)),
            r"was started with .*'seed=2'.*; use the same settings, or choose",
        ),
        (replace(one, space={"optimizer.lr": SPACE["optimizer.lr"]}), "was started with .*'model.hidden': "),
        (replace(one, folder=tmp_path), "holds no study and is not empty"),
        (replace(one, folder=tmp_path, storage=f"sqlite:///{tmp_path}/other.db"), "holds no study and is not empty"),
        (replace(one, folder=tmp_path / "a?b"), "SQLite can't use a path with any of "),
        (replace(one, storage="nonsense"), "the study can't be opened: Could not parse"),
    ):
        with pytest.raises(RequestError, match=message) as error:
            open_study(changed)
        assert "\n" not in str(error.value)


def test_settings_that_kill_their_process_are_not_retried_forever(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "MAX_RETRIES", 1)
    runs.raised = {(0, 10): SystemExit(), (1, 10): SystemExit()}
    for _ in range(2):
        with pytest.raises(SystemExit):
            work(request(tmp_path, trials=1))
    work(request(tmp_path, trials=1))
    assert ended(request(tmp_path)) == ["PRUNED"]


def test_good_settings_are_found_and_poor_ones_end_early(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "{optimizer.lr: [1e-6, 0.006], model.activation: [relu, selu]}"
    pruner = "{_target_: optuna.pruners.MedianPruner, n_startup_trials: 1, n_warmup_steps: 2}"
    overrides = [*SMALL, f"data.path={text_file}", "optimizer.weight_decay=0.02"]
    wanted = make_request(tmp_path / "study", overrides, search_file(tmp_path, space=space, pruner=pruner), 9)
    assert wanted.trials == 4  # the size of the space
    tune.work(wanted, tune.prepare(wanted))
    assert "failed: model.activation must be one of tanh, relu; got 'selu'" in capsys.readouterr().out
    trials = [read_job(folder) for folder in sorted(wanted.folder.glob("trial_*"))]
    found = {(trial.settings["optimizer.lr"], trial.settings["model.activation"]): trial for trial in trials}
    assert found["0.006", "relu"] is trials[0]  # the settings without a search
    *_, counts, progress, best, rerun = report(wanted.folder, list(wanted.space), 120).splitlines()
    assert counts == "trials    4: 1 finished, 1 pruned, 2 failed; 38 % of the steps of 4 full runs"
    assert progress == f"progress  {trials[0].summary['val_bits_per_char']:.4f} after 1"
    assert best.startswith(f"best      {trials[0].folder}, ")
    assert rerun.startswith(f"rerun     python train.py {' '.join(SMALL)}")
    assert rerun.endswith("optimizer.weight_decay=0.02 optimizer.lr=0.006 model.activation=relu")
    assert (wanted.folder / "leaderboard.csv").read_text().count(",pruned,") == 1

    pruned = found["1e-06", "relu"]  # a pruned trial can be resumed as a run
    assert (pruned.summary["status"], pruned.summary["steps"]) == ("pruned", 20)
    assert checkpoint_file.read(Path(pruned.summary["checkpoint"]))["global_step"] == 20
    overrides = [f"{key}={value}" for key, value in pruned.settings.items() if not key.startswith("data.path")]
    summary = train_here(pruned.folder, *overrides, "resume_from=last", path=text_file)
    assert (summary["status"], summary["steps"]) == ("finished", 40)


def test_errors_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("scripts/tune.py", "--trials", "0")
    assert (done.returncode, done.stderr) == (2, "tune.py: --trials must be a positive integer, got 0\n")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "optuna, which is not installed: pip install -e '.[tune]'\n" in call("scripts/tune.py").stderr


@pytest.mark.slow
def test_two_jobs_with_another_database_are_stopped_and_resumed(text_file: Path, tmp_path: Path) -> None:
    search, folder = search_file(tmp_path, space=RATES), tmp_path / "study"
    typed = [
        *SMALL, f"data.path={text_file}", "trainer.max_steps=400", "trainer.val_check_interval=200", "--search", search,
        "--folder", str(folder), "--trials", "3", "--storage", f"sqlite:///{tmp_path}/own.db", "--jobs", "2",
    ]  # fmt: skip
    process = start("scripts/tune.py", *typed)
    wait_for(lambda: len(list(folder.glob("trial_*/checkpoints/last.ckpt"))) == 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "2 interrupted or running" in output
    assert "continue  python scripts/tune.py data=text" in output
    assert {read_summary(trial)["status"] for trial in folder.glob("trial_*")} == {"interrupted"}
    resumed = command("scripts/tune.py", *typed[:-1], "1")  # one after the other
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert len({*re.findall(r"(trial_\d+)  finished", resumed.stdout)}) == 3
    assert "trials    3: 3 finished; 100 % of the steps of 3 full runs" in resumed.stdout
    assert "resuming  after step" in (folder / "trial_001" / "train.log").read_text()
    assert not (folder / "study.db").exists()
