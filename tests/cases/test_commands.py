"""Commands that are printed can be pasted where they were printed: quoted, complete, from any folder."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from charrnn.runs import folder as folders
from charrnn.runs.commands import command as printed
from charrnn.runs.commands import override, resume_run, resume_sweep
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import composed
from conftest import ROOT, Called, call, mostly_slow, start, wait_for

TINY = (
    "data=text", "model.hidden=4", "data.batch_size=2", "data.sequence_length=4", "threads=1", "callbacks=none",
    "trainer.accelerator=cpu", "trainer.max_steps=6", "trainer.log_every_n_steps=1", "trainer.val_check_interval=3",
)  # fmt: skip
CTRL_C = "+callbacks.stop={_target_: test_commands.CtrlC}"
ODD = [
    "a b", "é", "a,b", "k=v", "(x)", "{x}", "[x]", "a;b", "~x", "'", '"', "a!b", "#x", "&x", "$HOME", "a\\",
    "\\ b", "-x",
]  # fmt: skip
ALL = ODD[0] + "é,=(){}[];~'\"!#&$\\x"
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="/")
NAMES = st.text(CHARACTERS | st.sampled_from("".join(ODD)), min_size=1, max_size=20)
# Hydra itself can't use a folder whose name holds ${.
NAMES = NAMES.filter(lambda name: name.strip(".") and "${" not in name)


class CtrlC(Callback):
    """Interrupts the run after its third step, as a user would."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def here(docs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, where the commands are given."""
    (tmp_path / "book.txt").write_text(docs[:3000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(here: Path, text: str) -> tuple[str, str, str]:
    file = here / "own configs" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# @package _global_\n{text}\n")
    return "--config-dir", "own configs", "experiment=mine"


def line_of(done: Called, label: str) -> str:
    """Return the command that was printed after `label`."""
    found = re.search(rf"^(?:.*)\b{re.escape(label)}\s+(\S.*)$", done.stdout, re.MULTILINE)
    assert found, done
    return found[1]


def paste(line: str) -> Called:
    """Run a printed command in this process; its first words are those of this environment and this project."""
    python, script, *words = shlex.split(line)
    assert python == "python"
    return call(os.path.normpath(Path.cwd() / script), *words)


def bash(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True, check=False)


# X6, 4: quoting


@given(NAMES)
@example(ALL)
def test_x6_a_folder_is_read_back_as_it_was(name: str) -> None:
    folder = f"/runs/{name}"
    line = printed("train.py", [override("hydra.run.dir", folder), override("init_from", name)], Path.cwd())
    _, _, *words = shlex.split(line)
    read = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(words)}
    assert read == {"hydra.run.dir": folder, "init_from": name}


@pytest.mark.parametrize("name", [*ODD, ALL, "null", "1", "true", "${x}", "a\\${x}", "\\\\${x}\\"])
def test_x6_a_value_is_composed_as_it_was(name: str) -> None:
    assert composed([override("init_from", name)]).init_from == name
    assert composed([override("hydra.run.dir", f"/a/{name}/b")]).hydra.run.dir == f"/a/{name}/b"


def test_x6_bash_reads_the_same_words(tmp_path: Path) -> None:
    words = [override("hydra.run.dir", f"/x/{name}") for name in (*ODD, ALL)]
    line = printed("train.py", words)
    read = bash(f"python() {{ printf '%s\\0' \"$@\"; }}; {line}", Path.cwd()).stdout.split("\0")
    assert read[1:-1] == words


# 4, 5: an interrupted run


@pytest.mark.parametrize("name", ["run", "é, k=v", ALL])
def test_4_an_interrupted_run_is_resumed_by_what_it_prints(here: Path, name: str) -> None:
    run = here / name
    done = call("train.py", *TINY, "data.path=book.txt", CTRL_C, override("hydra.run.dir", run))
    assert (done.returncode, read_summary(run)["steps"]) == (130, 3), done
    again = paste(line_of(done, "To resume:"))
    assert (again.returncode, again.stderr) == (0, ""), again
    assert "resuming  after step 3" in again.stdout
    assert read_summary(run)["status"] == "finished"


def test_5_all_that_is_needed_is_in_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = recipe(here, "model: {dropout: 0.25}")
    more = ("hydra.job.chdir=true", "hydra.run.dir=run", "hydra.job_logging.formatters.screen.format='> %(message)s'")
    done = call("train.py", *mine, *TINY, "data.path=book.txt", CTRL_C, *more)
    assert done.returncode == 130, done
    line = line_of(done, "To resume:")
    assert f"--config-dir '{here}/own configs' experiment=mine" in line
    assert "data.path=book.txt" in line
    again = paste(line)
    assert (again.returncode, read_summary(here / "run")["status"]) == (0, "finished"), again
    assert "> resuming  after step 3" in again.stdout

    # The same run is the newest one, and the advice about it is read in another folder.
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    monkeypatch.setattr(folders.latest_run, "__defaults__", (here,))
    refused = call("train.py", "resume_from=last", "data=text", "data.path=../book.txt")
    line = refused.stderr.split("for the newest run: ")[1]
    there, words = line.split(" && ")
    assert there == f"cd {here}"
    assert shlex.split(words)[2:] == [*shlex.split(line_of(done, "To resume:"))[2:]]


def test_5_a_config_of_ones_own_by_name(here: Path) -> None:
    recipe(here, "")
    (here / "own configs" / "whole.yaml").write_text("defaults: [config, _self_]\nseed: 8\n")
    flags = ("--config-dir", "own configs", "--config-name", "whole")
    done = call("train.py", *flags, *TINY, "data.path=book.txt", CTRL_C, "hydra.run.dir=run")
    again = paste(line_of(done, "To resume:"))
    assert (again.returncode, read_summary(here / "run")["seed"]) == (0, 8), again


# 3, X4: sweeps


@pytest.mark.parametrize("name", mostly_slow([ALL, "sweep"]))
@pytest.mark.parametrize("by", mostly_slow(["recipe", "flag", "mode"], 2))
def test_x4_a_sweep_is_resumed_by_what_it_prints(here: Path, by: str, name: str) -> None:
    values = {"recipe": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}"}.get(by, "{}")
    typed = {"recipe": [], "flag": ["-m", "seed=1,2"], "mode": ["hydra.mode=MULTIRUN", "seed=1,2"]}[by]
    sweep = override("hydra.sweep.dir", name)
    done = call("train.py", *recipe(here, values), *TINY, "data.path=book.txt", CTRL_C, sweep, *typed)
    assert done.returncode == 130, done
    assert "To resume:" not in done.stdout  # which would resume the job alone
    line = line_of(done, "to resume:")
    assert ("-m" in shlex.split(line)) == (by != "recipe")
    second = paste(line)  # the second job interrupts itself
    assert second.returncode == 130, second
    assert line_of(second, "to resume:") == line
    third = paste(line)
    assert (third.returncode, third.stderr) == (0, ""), third
    assert {read_summary(here / name / f"seed-{seed}")["status"] for seed in (1, 2)} == {"finished"}


def test_x4_one_job_of_such_a_sweep_is_resumed_alone(here: Path) -> None:
    mine = recipe(here, "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}")
    assert call("train.py", *mine, *TINY, "data.path=book.txt", CTRL_C, "hydra.sweep.dir=sweep").returncode == 130
    line = resume_run(here / "sweep" / "seed-1")
    assert "hydra.mode=RUN" in line
    again = paste(line)
    assert again.returncode == 0, again
    assert read_summary(here / "sweep" / "seed-1")["status"] == "finished"
    assert not (here / "sweep" / "seed-2").exists()


def test_x4_the_launcher_is_in_it(here: Path) -> None:
    config = composed(["hydra.launcher._target_=x", "seed=3"])
    config.hydra.overrides.hydra = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.mode=MULTIRUN"]
    words = shlex.split(resume_sweep(config, here / "a b"))[2:]
    assert words[0] == "-m"
    assert {"seed=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={here}/a b"} < {*words}
    assert not any(word.startswith("hydra.mode") for word in words)


# X5: searches


@pytest.fixture
def search(here: Path) -> Path:
    pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
    file = here / "my search.yaml"
    file.write_text(
        "space: {optimizer.lr: [1e-3, 4e-3], model.activation: [tanh, relu]}\n"
        "sampler: {_target_: optuna.samplers.RandomSampler, seed: 1}\n"
        "pruner: {_target_: optuna.pruners.NopPruner}\n"
    )
    return file


@pytest.mark.parametrize("sweep", [True, False])
def test_x5_the_best_trial_of_a_search_is_trained_again(here: Path, search: Path, sweep: bool) -> None:
    """Also if the recipe of the search is a sweep by itself."""
    typed = [*TINY, "data.path=book.txt", *(["experiment=gru_vs_rnn", "data=text"] if sweep else [])]
    name = "é, (x)=1"
    tuned = call("scripts/tune.py", *dict.fromkeys(typed), "--search", search, "--folder", name, "--trials", "1")
    assert tuned.returncode == 0, tuned
    line = line_of(tuned, "rerun")
    again = paste(f"{line} hydra.run.dir=again")
    assert (again.returncode, again.stderr) == (0, ""), again
    best = read_summary(here / name / "trial_000")["val_bits_per_char"]
    assert read_summary(here / "again")["val_bits_per_char"] == best


def test_x6_a_search_is_continued_by_what_it_prints(here: Path, search: Path) -> None:
    typed = (*TINY, "data.path=book.txt", CTRL_C, "--search", search.name, "--folder=-é, (x)", "--trials", "2")
    stopped = call("scripts/tune.py", *typed)
    assert stopped.returncode == 130, stopped
    line = line_of(stopped, "continue")
    second = paste(line)  # the second trial interrupts itself
    assert "trial_000  finished" in second.stdout, second
    third = paste(line)
    assert third.returncode == 0, third
    assert "trials    2: 2 finished" in third.stdout


# X6: where, and with which Python


@pytest.mark.parametrize("name", ["run", "-x", "latest", "~x", ALL])
def test_x6_the_commands_of_a_finished_run_work_from_where_they_are_printed(here: Path, name: str) -> None:
    done = call("train.py", *TINY, "data.path=book.txt", override("hydra.run.dir", name))
    assert done.returncode == 0, done
    more = paste(f"{line_of(done, 'more text')} --length 5")
    assert (more.returncode, len(more.stdout)) == (0, 6), more
    page = paste(line_of(done, "look inside"))
    assert (page.returncode, (here / "best.html").exists()) == (0, True), page
    *program, option, folder = shlex.split(line_of(done, "curves"))
    assert option == "--logdir" and program in (["tensorboard"], ["python", "-m", "tensorboard.main"])
    assert any((here / folder).glob("events*"))


def test_x6_another_python_is_named_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.chdir(tmp_path)
    assert shlex.split(printed("train.py", []))[0] == str(Path(sys.executable).with_name("python"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{other.parent}")
    assert shlex.split(printed("train.py", ["a b"])) == ["python", str(ROOT / "train.py"), "a b"]
    monkeypatch.chdir(ROOT)
    assert printed("scripts/tune.py", []) == "python scripts/tune.py"
    assert printed("train.py", [], tmp_path) == f"cd {tmp_path} && python {shlex.quote(str(ROOT / 'train.py'))}"


def test_x6_a_run_of_an_older_version_is_resumed_too(tmp_path: Path) -> None:
    for run in (ROOT / "tests" / "stored" / "run", tmp_path):
        words = shlex.split(resume_run(run))
        assert words[-2:] == [override("hydra.run.dir", run), "resume_from=last"]
        get_args_parser().parse_intermixed_args(words[2:])


def test_x6_references_stay_as_they_were_typed(here: Path) -> None:
    done = call("train.py", *TINY, "data.path=book.txt", CTRL_C, "hydra.run.dir=run", "model.layers=${model.residual}")
    assert done.returncode == 2
    done = call("train.py", *TINY, "data.path=${oc.env:BOOK,book.txt}", CTRL_C, "hydra.run.dir=run")
    assert shlex.quote("data.path=${oc.env:BOOK,book.txt}") in line_of(done, "To resume:")
    assert OmegaConf.load(here / "run" / ".hydra" / "config.yaml")["model"]["hidden"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "sweep", "recipe"])
def test_x6_in_a_shell(here: Path, kind: str) -> None:
    """Ctrl-C, then the printed line in bash, in the folder where it was printed."""
    mine = recipe(here, "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}" if kind == "recipe" else "{}")
    target = here / ALL
    folder = override(f"hydra.{'run' if kind == 'run' else 'sweep'}.dir", f"./{ALL}")
    typed = [*mine, *TINY[:-3], "data.path=book.txt", "trainer.max_steps=3000", "trainer.val_check_interval=100"]
    process = start("train.py", *typed, folder, *(["-m", "seed=1,2"] if kind == "sweep" else []), cwd=here)
    first = target if kind == "run" else target / "seed-1"
    wait_for((first / "samples.txt").exists)
    process.send_signal(signal.SIGINT)
    done = Called(0, *process.communicate())
    assert process.returncode == 130, done
    line = line_of(done, "To resume:" if kind == "run" else "to resume:").replace("max_steps=3000", "max_steps=600")
    finished = bash(line, here)
    assert finished.returncode == 0, finished
    jobs = [target] if kind == "run" else [target / "seed-1", target / "seed-2"]
    assert {read_summary(job)["status"] for job in jobs} == {"finished"}
    if kind == "run":
        more = bash(f"{line_of(Called(0, finished.stdout, ''), 'more text')} --length 9", here)
        assert (more.returncode, len(more.stdout)) == (0, 10), more


@pytest.mark.parametrize("terminal", [True, False])
def test_generate_says_which_run_was_the_latest(here: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = here / "runs" / "newest"
    shutil.copytree(ROOT / "tests" / "stored" / "run", run)
    monkeypatch.setattr(folders, "latest_run", lambda: run)
    monkeypatch.setattr("charrnn.runs.folder.is_terminal", lambda stream: terminal)
    note = "generate.py: the latest run is runs/newest\n" if terminal else ""
    for named in ([], ["--run", "latest"]):
        done = call("scripts/generate.py", *named, "--prompt", "a", "--length", "5")
        assert (done.returncode, len(done.stdout), done.stderr) == (0, 6, note)
    assert call("scripts/generate.py", "--run", "runs/newest", "--length", "5").stderr == ""
