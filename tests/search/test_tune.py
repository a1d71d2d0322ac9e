"""What a search may ask for; how trials are chosen, counted, pruned, retried; searches over small networks."""

import math
import re
import signal
import subprocess
import sys
import time
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
from conftest import ROOT, call, command, train_here

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler

from charrnn.search import study, tune
from charrnn.search.report import report
from charrnn.search.study import Request, make_request, open_study, read_search, rounded, size

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
    """Curves in place of training: they fall to a value of the settings' own, best with lr=0.01 and relu."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, tuple[str, ...]]] = []
        self.raised: dict[tuple[int, int], BaseException] = {}  # by the number of the run and the step
        self.diverged: set[int] = set()

    def __call__(self, overrides: list[str], folder: Path, on_validation: Any) -> float:
        number = len(self.begun)
        self.begun.append((folder.name, tuple(overrides)))
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
    space, parts = read_search(search_file(tmp_path))
    assert space == {
        "optimizer.lr": FloatDistribution(0.001, 0.01, log=True),
        "model.hidden": IntDistribution(8, 32, step=8),
        "a": CategoricalDistribution(["x", "y"]),
    }
    assert list(map(size, space.values())) == [math.inf, 4, 2]
    assert isinstance(parts["pruner"], NopPruner)
    assert all("optimizer.lr" in read_search(file.stem)[0] for file in (CONF / "search").glob("*.yaml"))


def test_a_wrong_file_is_told_in_one_line(tmp_path: Path) -> None:
    spaces = (
        "{a: 5}", "{a: [1, 1]}", "{a: [1, [2]]}", "{a: {low: 1, hihg: 2}}", "{a: {low: 2, high: 1}}",
        "{a: {low: 1, high: .inf}}", "{a: {low: 0, high: 1, log: true}}", "{a: {low: 1, high: 9, log: maybe}}",
        "{a: {low: 1.0, high: 9, log: true, step: 2}}",
    )  # fmt: skip
    for part, text, told in (
        *(("space", text, r"space: a must be different values \[a, b\], or a range .*; got ") for text in spaces),
        ("space", "{}", "it needs a space, a sampler and a pruner of Optuna, with _target_"),
        ("space", "[a, b]", "it needs a space"),
        ("spcae", "{a: 1}", "it needs a space"),
        ("sampler", "{_target_: optuna.samplers.Nothing}", "Nothing"),
        ("pruner", "{_target_: optuna.samplers.TPESampler}", "a pruner of Optuna"),
        ("space", "{trainer.max_steps: [10, 20]}", "trainer.max_steps can't be searched"),
        ("space", "[", "while parsing"),
    ):
        with pytest.raises(RequestError, match=rf"^my.yaml: .*{told}") as refused:
            read_search(search_file(tmp_path, **{part: text}))
        assert "\n" not in str(refused.value)


@given(st.floats(1e-6, 10.0), st.floats(0.0, 1.0), st.booleans())
def test_a_value_that_is_tried_is_short_and_near_the_suggested_one(low: float, share: float, log: bool) -> None:
    suggested = min(max(low * 3**share if log else low + 2 * low * share, low), 3 * low)
    tried = rounded(FloatDistribution(low, 3 * low, log), suggested)
    assert low <= tried <= 3 * low
    assert math.isclose(tried, suggested, rel_tol=0.01)
    assert tried in (low, 3 * low) or len(f"{tried:e}".split("e")[0].rstrip("0")) <= 6
    assert rounded(FloatDistribution(0.1, 0.5, step=0.1), 0.1 + 2 * 0.1) == 0.3


def test_wrong_requests(tmp_path: Path) -> None:
    for space, override, told in (
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
    ):
        with pytest.raises(RequestError, match=told):
            tune.prepare(make_request(tmp_path / "study", [override], search_file(tmp_path, space=space), 2))
    with pytest.raises(RequestError, match="there is no search elmann; name a file.yaml, or one of elman, gated, size"):
        make_request(tmp_path, [], "elmann", 2)
    assert not (tmp_path / "study").exists()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    monkeypatch.setattr(study, "GRACE", 1)
    monkeypatch.setattr(tune, "_run", runs)
    return runs


def request(folder: Path, **changes: Any) -> Request:
    parts = {"sampler": TPESampler(seed=1, n_startup_trials=4), "pruner": MedianPruner(2, 2)}
    return replace(Request(folder / "study", ("seed=2",), START, 9, 10, None, SPACE, parts), **changes)


def work(wanted: Request) -> None:
    tune.work(wanted, open_study(wanted))


def ended(wanted: Request) -> list[str]:
    return [trial.state.name for trial in open_study(wanted).get_trials(states=tune.ENDED)]


def test_the_first_trial_changes_nothing_and_the_poor_ones_are_pruned(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = request(tmp_path, trials=12)
    work(wanted)
    assert [name for name, _ in runs.begun] == [f"trial_{number:03d}" for number in range(12)]
    assert runs.begun[0][1] == ("seed=2", "optimizer.lr=0.0012345", "model.hidden=16", "model.activation=tanh")
    best = open_study(wanted).best_trial.params
    assert best["model.activation"] == "relu"
    assert 0.003 < best["optimizer.lr"] < 0.03
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial_000  finished with 3.9085                lr=0.0012345 hidden=16 activation=tanh"
    assert re.search(r" lr=0\.0*[1-9]\d{0,2} ", lines[1])
    pruned = next(line for line in lines if " pruned at step 20 with " in line)  # the second validation is the first
    assert [*open_study(wanted).trials[int(pruned[6:9])].intermediate_values] == [1, 2]


def test_an_interrupted_trial_is_retried_and_none_that_ended_is_repeated(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=6)
    runs.raised = {(2, 20): SystemExit(), (3, 10): Stopped(2), (4, 10): SystemExit()}
    for raised in (SystemExit, Stopped, SystemExit):  # nobody handles SystemExit, as if the process was killed
        with pytest.raises(raised):
            work(wanted)
    work(wanted)
    names = [name for name, _ in runs.begun]
    assert (len(names), len({*names}), len({*runs.begun})) == (9, 6, 6)  # with the same settings
    assert len(ended(wanted)) == 6
    resumed = [trial for trial in open_study(wanted).trials if trial.system_attrs.get("failed_trial") == 2]
    assert [*resumed[-1].intermediate_values][:2] == [1, 2]
    work(replace(wanted, trials=7))
    assert (len(runs.begun), len({name for name, _ in runs.begun})) == (10, 7)


def test_a_trial_that_died_before_its_first_heartbeat_is_replaced(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=2)
    work(replace(wanted, trials=1))
    with pytest.warns(UserWarning, match="Heartbeat"):
        open_study(wanted).ask()  # and nothing more
    work(wanted)
    assert len(ended(wanted)) == 2


def test_processes_side_by_side_share_the_trials(runs: Runs, tmp_path: Path) -> None:
    open_study(request(tmp_path))
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(work, [request(tmp_path, trials=5), request(tmp_path, trials=5)]))
    assert len(runs.begun) == len({*runs.begun}) == len({name for name, _ in runs.begun}) == 5


def test_all_settings_of_a_grid_are_tried_once(runs: Runs, tmp_path: Path) -> None:
    rates, sizes = CategoricalDistribution([0.1, 0.2]), IntDistribution(1, 3)
    work(request(tmp_path, space={**SPACE, "optimizer.lr": rates, "model.hidden": sizes}, trials=12))
    assert len(runs.begun) == len({settings for _, settings in runs.begun}) == 12


def test_a_trial_that_fails_is_not_the_search(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = request(tmp_path, trials=5)
    runs.diverged = {3}
    runs.raised = {(0, 20): RunFailed("exploded"), (1, 20): MemoryError(), (2, 20): RequestError("no\ntext")}
    work(wanted)
    assert ended(wanted) == ["PRUNED"] * 4 + ["COMPLETE"]
    told = re.findall("failed: (.*?)  ", capsys.readouterr().out)
    assert told == ["exploded", "MemoryError", "no text", "the validation loss is NaN or infinite"]
    assert open_study(wanted).trials[0].user_attrs["reason"] == "exploded"
    work(wanted)
    assert len(runs.begun) == 5


def test_what_a_study_refuses(tmp_path: Path) -> None:
    one = request(tmp_path)
    open_study(one)
    for changed, told in (
        (replace(one, overrides=("seed=3",)), r"was begun with .*'seed=2'.*; continue with the same, or choose"),
        (replace(one, space={"optimizer.lr": SPACE["optimizer.lr"]}), "was begun with .*'model.hidden': "),
        (replace(one, folder=tmp_path), "holds no study and is not empty"),
        (replace(one, folder=tmp_path, storage=f"sqlite:///{tmp_path}/other.db"), "holds no study and is not empty"),
        (replace(one, folder=tmp_path / "a?b"), "SQLite takes none of ?"),
        (replace(one, storage="nonsense"), "the study can't be opened: Could not parse"),
    ):
        with pytest.raises(RequestError, match=told) as refused:
            open_study(changed)
        assert "\n" not in str(refused.value)


def test_the_retries_of_settings_that_kill_their_process_have_an_end(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "RETRIES", 1)
    runs.raised = {(0, 10): Stopped(2), (1, 10): Stopped(2)}
    for _ in range(2):
        with pytest.raises(Stopped):
            work(request(tmp_path, trials=2))
    work(request(tmp_path, trials=2))
    assert sorted(ended(request(tmp_path))) == ["COMPLETE", "PRUNED"]


def test_good_settings_are_found_and_poor_ones_end_early(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "{optimizer.lr: [1e-6, 0.003], model.activation: [tanh, selu]}"
    pruner = "{_target_: optuna.pruners.MedianPruner, n_startup_trials: 1, n_warmup_steps: 2}"
    overrides = [*SMALL, f"data.path={text_file}", "optimizer.weight_decay=0.02"]
    wanted = make_request(tmp_path / "study", overrides, search_file(tmp_path, space=space, pruner=pruner), 9)
    assert wanted.trials == 4  # there are no more
    tune.work(wanted, tune.prepare(wanted))
    assert "failed: model.activation must be one of tanh, relu; got 'selu'" in capsys.readouterr().out
    trials = [read_job(folder) for folder in sorted(wanted.folder.glob("trial_*"))]
    found = {(trial.settings["optimizer.lr"], trial.settings["model.activation"]): trial for trial in trials}
    assert found["0.003", "tanh"] is trials[0]  # as it is without a search
    *_, counts, progress, best, rerun = report(wanted.folder, list(wanted.space), 120).splitlines()
    assert counts == "trials    4: 1 finished, 1 pruned, 2 failed; 38 % of the steps of 4 whole runs"
    assert progress == f"progress  {trials[0].summary['val_bits_per_char']:.4f} after 1"
    assert best.startswith(f"best      {trials[0].folder}, ")
    assert rerun.startswith(f"rerun     python train.py {' '.join(SMALL)}")
    assert rerun.endswith("optimizer.weight_decay=0.02 optimizer.lr=0.003 model.activation=tanh")
    assert (wanted.folder / "leaderboard.csv").read_text().count(",pruned,") == 1

    pruned = found["1e-06", "tanh"]  # it is a run that may be continued
    assert (pruned.summary["status"], pruned.summary["steps"]) == ("pruned", 20)
    assert checkpoint_file.read(Path(pruned.summary["checkpoint"]))["global_step"] == 20
    overrides = [f"{key}={value}" for key, value in pruned.settings.items() if not key.startswith("data.path")]
    summary = train_here(pruned.folder, *overrides, "resume_from=last", path=text_file)
    assert (summary["status"], summary["steps"]) == ("finished", 40)


def test_what_the_command_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("scripts/tune.py", "--trials", "0")
    assert (done.returncode, done.stderr) == (2, "tune.py: --trials must be a positive integer, got 0\n")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "optuna, which is not installed: pip install -e '.[tune]'\n" in call("scripts/tune.py").stderr


def test_two_processes_are_stopped_and_continued_in_a_database_of_ones_own(text_file: Path, tmp_path: Path) -> None:
    search, folder = search_file(tmp_path, space=RATES), tmp_path / "study"
    typed = [
        *SMALL, f"data.path={text_file}", "trainer.max_steps=400", "trainer.val_check_interval=200", "--search", search,
        "--folder", str(folder), "--trials", "3", "--storage", f"sqlite:///{tmp_path}/own.db", "--jobs", "2",
    ]  # fmt: skip
    begun = [sys.executable, str(ROOT / "scripts" / "tune.py"), *typed]
    search_process = subprocess.Popen(begun, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while len(list(folder.glob("trial_*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    search_process.send_signal(signal.SIGINT)
    said, _ = search_process.communicate(timeout=60)
    assert search_process.returncode == 130
    assert "2 interrupted or running" in said
    assert "continue  python scripts/tune.py data=text" in said
    assert {read_summary(trial)["status"] for trial in folder.glob("trial_*")} == {"interrupted"}
    again = command("scripts/tune.py", *typed)
    assert (again.returncode, again.stderr) == (0, "")
    assert len({*re.findall(r"(trial_\d+)  finished", again.stdout)}) == 3
    assert "trials    3: 3 finished; 100 % of the steps of 3 whole runs" in again.stdout
    assert "resuming  after step" in (folder / "trial_001" / "train.log").read_text()
    assert not (folder / "study.db").exists()
