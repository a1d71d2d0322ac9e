"""What users typed: settings, sweeps and folders that were refused with the wrong words, or not at all."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import charrnn
from charrnn.runs import sweep
from charrnn.runs.commands import override
from charrnn.runs.folder import read_summary
from charrnn.runs.settings_files import refuse_foreign_files
from charrnn.utils.errors import RequestError, Stopped, one_line
from conftest import ROOT, Called, call, command

TINY = (
    "data=text", "data.path=book.txt", "model.hidden=4", "data.batch_size=2", "data.sequence_length=4", "threads=1",
    "trainer.accelerator=cpu", "trainer.max_steps=2", "trainer.log_every_n_steps=1", "callbacks=none",
)  # fmt: skip
DRY = (*TINY, "dry_run=true")


@pytest.fixture
def here(docs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, where the commands are given."""
    (tmp_path / "book.txt").write_text(docs[:3000])
    (tmp_path / "outputs").mkdir()
    monkeypatch.setattr(sweep, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(done: Called, *words: str) -> None:
    """Require one line with all these words, and the exit code of a wrong request."""
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def recipe(here: Path, name: str, text: str) -> tuple[str, str, str]:
    """Write a recipe of the user's own; return what selects it."""
    file = here / "own" / "experiment" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return "--config-dir", "own", f"experiment={name}"


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


# 3, 44: the mode counts, however it came to be


def test_3_a_recipe_that_is_a_sweep_resumes_without_m(here: Path) -> None:
    mine = recipe(here, "two", "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {model.hidden: '3,5'}}}")
    typed = (*mine, *TINY[:2], *TINY[3:], "hydra.sweep.dir=sweep")
    assert call("train.py", *typed).returncode == 0
    again = call("train.py", *typed, "sweep.resume=true")
    assert (again.returncode, again.stdout.count("nothing to do")) == (0, 2), again
    refused(call("train.py", *mine, *TINY, "sweep.resume=true"), "needs the sweep's folder; add hydra.sweep.dir=DIR")
    refused(call("train.py", *mine, *TINY, "hydra.mode=RUN", "sweep.resume=true"), "works only in a sweep")


def test_44_a_sweep_over_a_recipe_that_is_a_sweep_is_refused(here: Path) -> None:
    before = tree(here)
    for values in ("gru_vs_rnn,overfit", "overfit,gru_vs_rnn", "glob(*)"):
        done = call("train.py", "-m", f"experiment={values}", *DRY, "hydra.sweep.dir=sweep")
        refused(done, "experiment=gru_vs_rnn is a sweep itself")
    assert tree(here) == before
    both = call("train.py", "-m", "experiment=overfit,python_docs", *DRY, "hydra.sweep.dir=sweep")
    assert (both.returncode, both.stdout.count("nothing was trained")) == (0, 2)


# 9: paths count from where the command was given


@pytest.mark.parametrize("text", ["book.txt", "*.txt", "[book.txt]", "./texts"])
def test_9_a_text_counts_from_where_the_command_was_given(here: Path, text: str) -> None:
    (here / "texts").mkdir()
    shutil.copy("book.txt", "texts/a.txt")
    done = call("train.py", *TINY, f"data.path={text}", "hydra.job.chdir=true", "hydra.run.dir=run")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "checkpoint  run/checkpoints/best.ckpt" in done.stdout
    assert "--run run\n" in done.stdout


@pytest.mark.parametrize("key", ["init_from", "resume_from"])
def test_9_a_checkpoint_counts_from_where_the_command_was_given(here: Path, key: str) -> None:
    assert call("train.py", *TINY, "hydra.run.dir=old").returncode == 0
    changes = (f"{key}=old/checkpoints/last.ckpt", "trainer.max_steps=4", "hydra.job.chdir=true", "hydra.run.dir=new")
    done = call("train.py", *TINY, *changes)
    assert done.returncode == 0, done
    assert read_summary(here / "new")["steps"] == 4


@pytest.mark.slow
def test_9_also_in_jobs_side_by_side(here: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install -e '.[sweep]'")
    side_by_side = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2", "hydra.sweep.dir=sweep")
    done = command("train.py", *TINY, *side_by_side, "hydra.job.chdir=true", cwd=here)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert {read_summary(here / "sweep" / f"seed-{seed}")["status"] for seed in (1, 2)} == {"finished"}


# 13, 17, 33, 39: settings that do not exist as they were written


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (("optimizer=adam", "optimizer.weight_decay=0.1"), "+optimizer.weight_decay=0.1"),
        (("optimizer=rmsprop", "optimizer.momentum=0.9"), "+optimizer.momentum=0.9"),
        (("scheduler=step", "scheduler.last_epoch=3"), "+scheduler.last_epoch=3"),
        (("scheduler=plateau", "scheduler.min_lr=1e-5"), "+scheduler.min_lr=1e-5"),
        (("trainer.profiler=simple",), "+trainer.profiler=simple"),
        (("callbacks=all", "callbacks.weights.foo=1"), "unknown setting callbacks.weights.foo; python train.py"),
        (("-m", "optimizer=adam", "optimizer.weight_decay=0.1,0.2"), "+optimizer.weight_decay=0.1,0.2"),
        (("optimizer=adam", "optimizer.beta=[0.9,0.9]"), "did you mean optimizer.betas?"),
        (("model=gru", "model.activation=relu"), "model.activation is not a setting here; only model=elman has it"),
        (
            ("-m", "model=elman,gru", "model.activation=tanh,relu"),
            "model.activation is not a setting here; only model=",
        ),
        (("optimiser.lr=1",), "did you mean optimizer.lr?"),
        (("hidden=7",), "unknown setting hidden;"),
    ],
)
def test_13_a_setting_that_the_class_takes_is_named_with_its_plus(
    here: Path, typed: tuple[str, ...], wanted: str
) -> None:
    refused(call("train.py", *typed, "hydra.run.dir=run"), wanted)


def test_13_in_a_recipe_of_ones_own(here: Path) -> None:
    mine = recipe(here, "mine", "# @package _global_\ndefaults:\n  - override /optimizer: adam\n")
    refused(call("train.py", *mine, "optimizer.weight_decay=0.1"), "+optimizer.weight_decay=0.1")


def test_13_what_is_named_works(here: Path) -> None:
    assert call("train.py", *DRY, "optimizer=adam", "+optimizer.weight_decay=0.1").returncode == 0


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_x17_a_cell_without_its_settings_names_its_group(here: Path, cell: str) -> None:
    refused(call("train.py", *TINY, f"model.cell={cell}"), "model.activation", f"model={cell}")
    assert call("train.py", *DRY, f"model={cell}").returncode == 0


def test_33_what_to_write_for_a_group_that_the_config_has(here: Path) -> None:
    refused(call("train.py", *TINY, "+experiment=overfit"), "write experiment=overfit")
    refused(call("train.py", *TINY, "+optimizer=sgd"), "write optimizer=sgd")
    mine = recipe(here, "mine", "# @package _global_\ndefaults:\n  - /data: shakespeare\n")
    refused(call("train.py", *mine, *TINY[2:]), "in a file, write: - override data: shakespeare")


@pytest.mark.parametrize("text", ["model: {hidden: 7}\n", "# my own\noptimizer: {lr: 1}\n", "{}\n"])
def test_33_a_recipe_without_its_first_line_is_told_so(here: Path, text: str) -> None:
    refused(call("train.py", *recipe(here, "mine", text), *TINY), "experiment=mine", "# @package _global_")
    (here / "own" / "experiment").rename(here / "own" / "recipe")
    refused(call("train.py", "--config-dir", "own", "+recipe=mine", *TINY), "recipe=mine", "# @package _global_")


@pytest.mark.parametrize("package", ["pytorch_lightning", "pl"])
def test_39_the_older_package_is_told_the_new_name(here: Path, package: str) -> None:
    callback = f"+callbacks.t={{_target_: {package}.callbacks.Timer, duration: {{seconds: 2}}}}"
    refused(call("train.py", *TINY, callback), "write callbacks.t._target_=lightning.pytorch.callbacks.Timer")


# X7: sweeps by functions


@pytest.mark.parametrize(
    ("values", "jobs"),
    [
        ("optimizer=glob(*)", 5),
        ("optimizer=glob([a*,sgd],exclude=adamw)", 3),
        ("model=glob(*)", 3),
        ("scheduler=glob(*)", 4),
        ("seed=range(1,4)", 3),
        ("seed=choice(4,5)", 2),
        ("seed=sort(3,1,2)", 3),
        ("seed=shuffle(1,2,3)", 3),
        ("seed=shuffle(range(1,3))", 2),
        ("optimizer.lr=tag(a,choice(1e-3,1e-2))", 2),
    ],
)
def test_x7_a_glob_can_be_swept(here: Path, values: str, jobs: int) -> None:
    tiny = [word for word in DRY if not (values.startswith("model=") and word.startswith("model."))]
    done = call("train.py", "-m", values, *tiny, "hydra.sweep.dir=sweep")
    assert (done.returncode, done.stdout.count("nothing was trained"), done.stderr) == (0, jobs, ""), done


@pytest.mark.parametrize("values", ["1,1", "choice(1,2,1)", "sort(2,1,2)", "shuffle(3,3)"])
def test_x7_equal_jobs_are_still_refused(here: Path, values: str) -> None:
    refused(call("train.py", "-m", f"seed={values}", *DRY), "twice; list each value once")


@pytest.mark.parametrize("values", ["range(3,3)", "glob(*)"])
def test_x7_a_sweep_over_nothing_is_refused(here: Path, values: str) -> None:
    refused(call("train.py", "-m", f"seed={values}", *DRY), f"seed={values} gives no values")


# 19: an installation that is a copy


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `pip install .` would put the package."""
    place = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(Path(charrnn.__file__).parent, place / "charrnn", ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize("script", ["train.py", "scripts/compare.py"])
def test_19_a_copy_without_conf_is_refused(copied: Path, here: Path, script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copied)}
    done = subprocess.run(
        [sys.executable, str(ROOT / script)], capture_output=True, text=True, env=environment, check=False
    )
    refused(Called(done.returncode, done.stdout, done.stderr), "pip install -e .", str(copied / "charrnn"))
    assert {path.name for path in copied.iterdir()} == {"charrnn"}
    assert not (copied.parents[1] / "outputs").exists()


# X19: what refused commands and dry runs leave


NO_RESULTS = [
    (("dry_run=true",), 0),
    (("model.hidden=-1",), 2),
    (("data.path=gone.txt",), 2),
    (("+foo=1",), 2),
    (("resume_from=gone.ckpt",), 2),
    (("sweep.resume=true",), 2),
    (("model.hiden=1",), 2),
    (("hydra.job_logging.root.level=LOUD",), 2),
    (("dry_run=true", "hydra.job.chdir=true", "hydra.output_subdir=x"), 0),
    (("-m", "seed=1,2", "dry_run=true"), 0),
    (("-m", "seed=1,1"), 2),
    (("-m", "seed=1,2", "model.hiden=1"), 2),
    (("-m", "model.hidden=-1,3", "dry_run=true"), 1),
]
PLACES = ("", "new/er", "full")


@pytest.mark.parametrize(
    ("typed", "code", "named"),
    [(*each, place) for i, each in enumerate(NO_RESULTS) for place in (PLACES if i < 2 else PLACES[i % 3 : i % 3 + 1])],
)
def test_x19_nothing_is_left(here: Path, typed: tuple[str, ...], code: int, named: str) -> None:
    """Neither in outputs/ (here), nor in a new folder that the command names, nor in one with the user's files."""
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    kind = "sweep" if "-m" in typed else "run"
    before = tree(here)
    done = call("train.py", *TINY, *typed, *([f"hydra.{kind}.dir={named}"] if named else []))
    assert done.returncode == code, done
    assert done.stderr.count("\n") == bool(code)
    assert tree(here) == before


@pytest.mark.parametrize(("raised", "code"), [(Stopped(2), 130), (Stopped(15), 143), (KeyboardInterrupt(), 130)])
def test_x19_nor_by_a_signal_while_it_starts(
    here: Path, raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(cfg: object) -> float:
        raise raised

    before = tree(here)
    monkeypatch.setattr("charrnn.experiment.run", stop)
    assert call("train.py", *TINY).returncode == code
    assert tree(here) == before


def test_x19_a_run_and_a_sweep_that_exist_stay_as_they_are(here: Path) -> None:
    assert call("train.py", *TINY, "hydra.run.dir=run").returncode == 0
    assert call("train.py", *TINY, "-m", "seed=1,2", "hydra.sweep.dir=sweep").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tree(here) if path.suffix in (".json", ".ckpt", ".csv", ".md")}
    for kind, more in (("run", ()), ("sweep", ("-m", "seed=1,2"))):
        folder = f"hydra.{kind}.dir={kind}"
        assert call("train.py", *TINY, folder, *more, "dry_run=true").returncode in (0, 1, 2)
        call("train.py", *TINY, folder, *more, "model.hidden=-1")
    after = {path: path.stat().st_mtime_ns for path in tree(here) if path.suffix in (".json", ".ckpt", ".csv", ".md")}
    assert {path: after.get(path) for path in before if path.parent.name != "sweep"} == {
        path: time for path, time in before.items() if path.parent.name != "sweep"
    }


# X22: files that are not ours


FOREIGN = [
    ("summary.json", '{"mine": 1}'),
    ("summary.json", "not even JSON"),
    ("summary.json", '{"status": "finished"}'),
    ("samples.txt", "my samples"),
    ("train.log", "epoch 1 loss 3.2\n"),
    (".hydra/config.yaml", "model: {}\ntask: other\n"),
]


@pytest.mark.parametrize(("name", "text"), FOREIGN)
@pytest.mark.parametrize("more", [(), ("resume_from=last",), ("dry_run=true",)])
def test_x22_a_file_that_is_not_ours_is_not_replaced(here: Path, name: str, text: str, more: tuple[str, ...]) -> None:
    file = here / "their" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    before = tree(here)
    done = call("train.py", *TINY, "hydra.run.dir=their", *more)
    refused(done, str(here / "their" / Path(name).parts[0]), "choose another folder")
    assert (file.read_text(), tree(here)) == (text, before)


@pytest.mark.parametrize("name", ["summary.json", "multirun.yaml", "leaderboard.csv", "leaderboard.md"])
def test_x22_nor_by_a_sweep(here: Path, name: str) -> None:
    (here / "their").mkdir()
    (here / "their" / name).write_text('{"mine": 1}')
    before = tree(here)
    refused(call("train.py", *TINY, "-m", "seed=1,2", "hydra.sweep.dir=their"), f"their/{name}", "another folder")
    assert (tree(here), (here / "their" / name).read_text()) == (before, '{"mine": 1}')


def test_x22_nor_by_a_job_of_a_sweep(here: Path) -> None:
    (here / "sweep" / "seed-1").mkdir(parents=True)
    (here / "sweep" / "seed-1" / "summary.json").write_text('{"mine": 1}')
    done = call("train.py", *TINY, "-m", "seed=1,2", "hydra.sweep.dir=sweep")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    assert json.loads((here / "sweep" / "seed-1" / "summary.json").read_text()) == {"mine": 1}


@pytest.mark.parametrize("name", ["summary.json", "study.db", "leaderboard.csv"])
def test_x22_nor_by_a_search(here: Path, name: str) -> None:
    pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
    (here / "their").mkdir()
    (here / "their" / name).write_text('{"mine": 1}')
    refused(call("scripts/tune.py", *TINY, "--folder", "their", "--trials", "1"))
    assert {path.name: path.read_text() for path in (here / "their").iterdir()} == {name: '{"mine": 1}'}


def test_x22_nor_is_the_study_of_another_program_continued(here: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
    url = f"sqlite:///{here}/their.db"
    study = optuna.create_study(storage=url, study_name="mine")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    done = call("scripts/tune.py", *TINY, "--folder", "mine", "--storage", url, "--trials", "2")
    refused(done, "mine was started with other settings", "choose another --folder")
    assert len(study.trials) == 1


def test_x22_runs_of_all_ages_are_ours(tmp_path: Path) -> None:
    for run in (ROOT / "tests" / "stored" / "run", tmp_path):
        refuse_foreign_files(run)
    (tmp_path / "train.log").write_text("2026-01-02 03:04:05,678 INFO text      a.txt\n")  # killed very early
    refuse_foreign_files(tmp_path)
    (tmp_path / "train.log").write_text("mine")
    with pytest.raises(RequestError):
        refuse_foreign_files(tmp_path)


# All of them: whatever is typed, there is no traceback


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (("data.sha256=2",), "data.sha256 must be a checksum of 64 hexadecimal digits"),
        (("data.sha256={a: 1}",), "data.sha256 must be a checksum"),
        (("optimizer.betas=[]",), "optimizer: torch.optim.AdamW can't be built with these settings"),
        (("experiment=shakespeare_minute", "~optimizer"), "optimizer names no class; choose an option with optimizer="),
        (("~optimizer",), "optimizer is missing; choose an option with optimizer=NAME"),
        (('hydra.run.dir="~x"', "model.hidden=0"), "model.hidden must be a positive integer"),
    ],
)
def test_what_random_commands_found(here: Path, typed: tuple[str, ...], wanted: str) -> None:
    refused(call("train.py", *TINY, *typed), wanted)


GROUPS: dict[str, list[str]] = {
    "model": ["elman", "gru", "lstm", "rnn"],
    "optimizer": ["adamw", "adam", "sgd", "rmsprop", "adagrad", "lion"],
    "scheduler": ["cosine", "constant", "step", "plateau", "linear"],
    "trainer": ["auto", "cpu", "ddp"],
    "callbacks": ["none", "default", "null"],
    "experiment": ["overfit", "gru_vs_rnn", "null", "mine", "unheaded"],
    "data": ["text", "python_docs"],
}
KEYS: dict[str, list[str]] = {
    "model.hidden": ["4", "5", "0", "4.0", "1e1", "auto", "null"],
    "model.layers": ["1", "2", "-1"],
    "model.activation": ["tanh", "relu", "gelu"],
    "model.cell": ["elman", "gru", "lstm", "foo"],
    "model.dropout": ["0", "0.5", "1", "many"],
    "model.input_dropout": ["0", "0.5", "1", "many"],
    "model.label_smoothing": ["0", "0.5", "1", "many"],
    "model.kernel": ["auto", "reference", "numba", "triton"],
    "data.path": ["book.txt", "gone.txt", "[book.txt,other.txt]", "''", "*.txt", "null", "'a b.txt'", "1984", "."],
    "data.pattern": ["*.txt", "*.c", "[]"],
    "data.order": ["stream", "rotate", "shuffle"],
    "data.level": ["char", "byte", "word"],
    "data.encoding": ["utf-8", "latin-1", "klingon"],
    "data.batch_size": ["2", "100000", "two"],
    "data.validation_fraction": ["0", "0.3", "1", "-1"],
    "optimizer.lr": ["1e-3", "0", "-1", "fast"],
    "optimizer.weight_decay": ["0.1", "-1"],
    "optimizer.betas": ["[0.9,0.99]", "[2]", "0.9"],
    "optimizer._target_": ["torch.optim.SGD", "torch.optim.Nope", "os.getcwd"],
    "scheduler.gamma": ["0.5", "x"],
    "scheduler.warmup_steps": ["1", "-5", "x"],
    "trainer.max_steps": ["2", "-1", "1e1", "null"],
    "trainer.max_epochs": ["1", "null", "x"],
    "trainer.precision": ["32-true", "bf16-mixed", "16-mixed", "8"],
    "trainer.devices": ["1", "2", "0", "auto"],
    "trainer.accelerator": ["cpu", "gpu", "abacus"],
    "trainer.val_check_interval": ["1", "0.5"],
    "trainer.max_time": ["1"],
    "seed": ["1", "-1", "x", "${seed}", "${nope}", "${threads}"],
    "threads": ["1", "auto", "0"],
    "resume_from": ["last", "gone.ckpt", "null"],
    "init_from": ["gone.ckpt", "book.txt", "."],
    "checkpoint_every": ["1", "0"],
    "recovery.factor": ["0.5", "2"],
    "sweep.resume": ["true", "false"],
    "hydra.job.chdir": ["true", "false"],
    "hydra.verbose": ["true", "nonsense"],
    "hydra.mode": ["RUN", "MULTIRUN", "WALK"],
    "hydra.job.name": ["a", "'a/b'"],
    "hydra.output_subdir": ["null", "x"],
    "hydra.job_logging.root.level": ["INFO", "LOUD"],
    "model": ["{hidden: 4}", "5"],
    "callbacks.t": ["{_target_: lightning.pytorch.callbacks.Timer, duration: {seconds: 9}}", "5", "null"],
    "callbacks.weights": ["null", "5"],
    "nonsense": ["1"],
}
SWEEPS = [
    "seed=1,2", "model.hidden=3,x", "optimizer=glob(*)", "seed=range(1,3)", "seed=1,1", "experiment=overfit,mine",
]  # fmt: skip
FLAGS = [["-m"], ["--config-dir", "own"], ["--config-dir", "nowhere"], ["--config-name", "mine"], ["--oops"]]
DELETED = ["optimizer", "optimizer.lr", "model.hidden", "callbacks", "scheduler", "hydra.mode", "data.path"]
NAMES = st.text(st.sampled_from("abc 1.,=(){}[];~\"'!#&é$\\:%@-+*?|<>^`"), min_size=1, max_size=12)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command as a user may type it, right or wrong."""

    def rarely() -> bool:
        return draw(st.integers(0, 9)) == 0

    chosen = draw(st.lists(st.sampled_from(sorted(GROUPS)), max_size=2, unique=True))
    words = [f"{group}={draw(st.sampled_from(GROUPS[group]))}" for group in chosen]
    for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=3, unique=True)):
        sign = draw(st.sampled_from(["+", "++"])) if rarely() or key == "callbacks.t" else ""
        words.append(f"{sign}{key}={draw(st.sampled_from(KEYS[key]))}")
    if rarely():
        words.append("~" + draw(st.sampled_from(DELETED)))
    flags = draw(st.sampled_from(FLAGS)) if draw(st.booleans()) else []
    if "-m" in flags or rarely():
        words.append(draw(st.sampled_from(SWEEPS)))
    name, kind = draw(NAMES), draw(st.sampled_from(["run", "sweep"]))
    folder = str(Path.cwd() / "runs" / (name if name.strip(".") else "r"))
    return [*words, f"hydra.{kind}.dir={folder}" if rarely() else override(f"hydra.{kind}.dir", folder), *flags]


def check(words: list[str]) -> None:
    """Require what holds for every command: success, or one line and the code of a wrong request; and no leftovers."""
    typed = {word.lstrip("+").split("=")[0] for word in words}
    always = [word for word in DRY if word.split("=")[0] not in typed]
    if "model" in typed or "experiment" in typed:
        always = [word for word in always if not word.startswith("model.")]
    done = call("train.py", *always, *words)
    in_sweep = any(word in ("-m", "hydra.mode=MULTIRUN", "experiment=gru_vs_rnn") for word in words)
    assert done.returncode in ((0, 1, 2) if in_sweep else (0, 2)), (words, done)
    assert "Traceback" not in done.stdout + done.stderr, (words, done)
    if done.returncode == 2:
        assert done.stderr.count("\n") == 1, (words, done)
        assert done.stderr.startswith("train.py: ")
    elif done.returncode == 0:
        assert done.stderr == "", (words, done)
    assert not Path("runs").exists(), (words, done)


@pytest.fixture(scope="module")
def place(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    for name in ("book.txt", "other.txt", "1984", "a b.txt"):
        (folder / name).write_text(docs[:3000])
    recipe(folder, "mine", "# @package _global_\nseed: 7\n")
    recipe(folder, "unheaded", "seed: 7\n")
    (folder / "own" / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 8\n")
    return folder


def anything(place: Path, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sweep, "OUTPUTS", place / "outputs")

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(command_lines())
    def run(words: list[str]) -> None:
        check(words)

    run()


# Odd settings of logging may leave a log open, which a process of its own closes at its end.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@LEFT_OPEN
def test_whatever_is_typed_ends_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anything(place, 25, monkeypatch)


@LEFT_OPEN
@pytest.mark.slow
def test_whatever_is_typed_ends_well_more_often(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anything(place, 200, monkeypatch)


@given(st.text())
@example("a  b\n   c\r\n")
def test_an_error_line_keeps_the_white_space_of_a_path(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert "a  b" not in text or "a  b" in line
    with contextlib.suppress(ValueError):
        assert one_line(line) == line
