"""Invalid requests: one line on stderr, exit code 2, no traceback, no leftover files, no code executed.

The commands run in this process, because each start of Python takes seconds. Only the last test starts a real one.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from charrnn.runs import checkpoint_file
from charrnn.runs.folder import locked
from conftest import call, command
from handmade import Malicious

TINY = (
    "data=text", "data.path=text.txt", "model.hidden=4", "data.batch_size=2", "data.sequence_length=3", "threads=1",
    "trainer.accelerator=cpu", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with valid and invalid texts and checkpoints, and a finished run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "text.txt").write_text(docs[:3000])
    (folder / "latin.txt").write_bytes("caf\xe9 ".encode("latin-1") * 50)
    (folder / "empty.txt").touch()
    (folder / "short.txt").write_text("abc")
    (folder / "greek.txt").write_text("αβγ" * 20)
    (folder / "folder").mkdir()
    with contextlib.chdir(folder):
        assert call("train.py", *TINY, f"hydra.run.dir={folder}/run")[0] == 0
    good = folder / "run" / "checkpoints" / "best.ckpt"
    checkpoint = checkpoint_file.read(good)
    torch.save({**checkpoint, "more": Malicious()}, folder / "malicious.ckpt")
    torch.save({**checkpoint, "charrnn": {**checkpoint["charrnn"], "vocabulary": 7}}, folder / "odd.ckpt")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    yield place
    shutil.rmtree(place / "new", ignore_errors=True)
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert after == before, "a file was created or changed"


def refused(code: int, stdout: str, stderr: str, message: str, script: str) -> None:
    assert code == 2, stderr
    assert message in stderr or re.search(message, stderr), stderr
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith(f"{Path(script).name}: ")
    assert "Traceback" not in stdout + stderr


# Refused by Hydra or before it: no folder is created.
COMMAND_LINES = [
    (("model.hiden=1",), r"unknown setting model.hiden; did you mean model.hidden\?"),
    (("model=elmo",), "model=elmo does not exist; model must be one of elman, gru"),
    (("data=../a/b.txt",), "data=../a/b.txt does not exist; .*data=text data.path=FILE"),
    (("foo=1",), "unknown setting foo"),
    (("model=null",), "model=null does not exist; model must be one of elman, gru, lstm$"),
    (("logger=null",), "logger=null does not exist; .*to log nothing but metrics.csv, use logger=csv"),
    (("scheduler=none",), "scheduler=none does not exist; .*use scheduler=constant"),
    (
        ("callbacks=[default,null]",),
        r"callbacks=\[default,null\] does not exist; callbacks must be one of all, default",
    ),
    (("experiment=null",), "to use no recipe, leave experiment out"),
    (("-m", "optimizer=sgd,1", "hydra.sweep.dir=sweep_x"), "optimizer=1 does not exist; optimizer must be one of ada"),
    (("model.hidden",), "written key=value, got 'model.hidden'"),
    (("--hidden=3",), "unrecognized arguments: --hidden=3"),
    (("data.path=~/b.txt",), """needs quotes; use 'data.path="~/b.txt"'"""),
    (("resume_from=a/model.hidden=64,lr=1/last.ckpt",), """use 'resume_from="a/model.hidden=64,lr=1/last.ckpt"'"""),
    (("-m", "model.hiden=1,2", "hydra.sweep.dir=sweep_x"), "unknown setting model.hiden"),
    (("-m", "seed=1,1"), "the sweep over seed has 1 twice"),
    (("-m", "seed=1,2", "sweep.resume=true"), "sweep.resume=true needs the sweep's folder; add hydra.sweep.dir=DIR"),
    (("sweep.resume=true",), "sweep.resume works only in a sweep (-m); to resume a single run, use"),
    (("-m", "seed=1,2", "sweep.resume=true", "hydra.sweep.dir=new", "resume_from=a.ckpt"), "remove resume_from"),
    (("-m", "seed=1,2", "hydra/launcher=slurm"), "hydra/launcher=slurm does not exist; hydra/launcher must"),
    (("model.hidden=1,2",), "model.hidden takes one value; to run several values as a sweep, use train.py -m"),
    (("hydra.run.dir=/dev/null/x",), "/dev/null/x"),
]
# Refused by the job.
SETTINGS = [
    (("seed=x",), "seed must be an integer of at least 0, got 'x'"),
    (("+foo=1",), "foo is not a setting"),
    (("~optimizer",), r"optimizer is missing; choose an option with optimizer=NAME"),
    (("logger=[]",), r"logger is missing; choose an option with logger=NAME"),
    (("recovery=null",), "recovery must be a group of settings, such as recovery.retries, got None"),
    (("dry_run=perhaps",), "dry_run must be true or false, got 'perhaps'"),
    (("sweep.resume=perhaps",), "sweep.resume must be true or false, got 'perhaps'"),
    (("+sweep.order=1",), "sweep.order is not a setting of sweep, which has resume"),
    (("checkpoint_every=0",), "checkpoint_every must be a positive integer, got 0"),
    (("checkpoint_minutes=soon",), "checkpoint_minutes must be a number of at least 0, got 'soon'"),
    (("+recovery.tries=2",), "recovery.tries is not a setting of recovery, which has retries"),
    (("recovery.factor=2",), "recovery.factor must be a number of at least 0 and below 1, got 2"),
    (("recovery.retries=-1",), "recovery.retries must be an integer of at least 0, got -1"),
    (("model.hidden=abc",), "model.hidden must be a positive integer, got 'abc'"),
    (("model.recurrent_init=random",), "model.recurrent_init must be one of"),
    (("model.recurrent_gain=-1",), "model.recurrent_gain must be a number of at least 0"),
    (("model.layers=1.5",), "model.layers must be a positive integer, got 1.5"),
    (("model.activation=gelu",), "model.activation must be one of tanh, relu; got 'gelu'"),
    (("model.dropout=1",), "model.dropout must be a number of at least 0 and below 1, got 1"),
    (("model.residual=1",), "model.residual must be true or false, got 1"),
    (("model.kernel=onednn",), "model.kernel must be one of auto, reference"),
    (
        ("model.kernel=triton",),
        "model.kernel=triton is not available here: it needs a CUDA device, .*; use model.kernel=auto",
    ),
    (("+model.hiden=1",), "model.hiden is not a setting of model, which has"),
    (("data.path=???",), "data.path has no value"),
    (("data.path=/nowhere.txt",), "there is no text file /nowhere.txt"),
    (("data.path=empty.txt",), "empty.txt is empty; use another text"),
    (("data.path=latin.txt",), "latin.txt is not utf-8: bytes e9 at offset 3"),
    (("data.path=folder",), "no file in folder matches data.pattern"),
    (("data.path=[]",), "path must name a text, got []"),
    (("data.level=word",), "data.level must be one of char, byte; got 'word'"),
    (("data.order=random",), "data.order must be one of stream, rotate, shuffle; got 'random'"),
    (("data.validation_fraction=0.9", "data.test_fraction=0.2"), "must stay below 1, got 0.9 + 0.2"),
    (("data.validation_fraction=1e-9",), "raise data.validation_fraction or set it to 0"),
    (("optimizer.lr=fast",), "optimizer.lr must be a number of at least 0, got 'fast'"),
    (("optimizer.betas=[2,3]",), "Invalid beta parameter"),
    (("optimizer.weight_decay=much",), "optimizer.weight_decay must be a number, got 'much'"),
    (("optimizer._target_=5",), "optimizer: 5 can't be built with these settings"),
    (("optimizer._target_=null",), "optimizer: None can't be built with these settings"),
    (("optimizer.fused=maybe",), "optimizer.fused must be auto, true, false or null"),
    (("+optimizer.foo=1",), "optimizer.foo is not a setting of optimizer"),
    (("scheduler=step", "scheduler.step_size=0"), "can't step with these settings"),
    (("scheduler=step", "scheduler.gamma=abc"), "scheduler.gamma must be a number, got 'abc'"),
    (("scheduler=plateau", "data.validation_fraction=0"), "scheduler=plateau needs a validation split"),
    (("trainer.max_steps=-1",), "a run needs a length: set trainer.max_steps"),
    (("trainer.max_steps=many",), "trainer.max_steps must be a positive integer, got 'many'"),
    (("trainer.devices=two",), "trainer.devices must be a positive integer, got 'two'"),
    (("trainer.precision=8",), "trainer.precision must be one of"),
    (("trainer.precision=16-mixed",), "needs a GPU; on a CPU use trainer.precision=bf16-mixed"),
    *(
        ((f"trainer.accelerator={name}",), f"{name} is not available here: this machine has .*cpu. Use trainer=auto")
        for name, available in (
            ("gpu", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("tpu", 0),
        )
        if not available
    ),
    (("trainer.gradient_clip_val=0",), "would stop all learning"),
    (("trainer.gradient_clip_val=-1",), "gradient_clip_val must be a number of at least 0"),
    (("trainer.gradient_clip_algorithm=foo",), "must be one of norm, value"),
    (("trainer.deterministic=maybe",), "trainer.deterministic must be true, false or warn"),
    (("trainer.val_check_interval=0.5",), "val_check_interval must be a positive integer"),
    (("+trainer.logger=true",), "trainer.logger is set by the run itself"),
    (("+trainer.reload_dataloaders_every_n_epochs=1",), "is set by the run itself"),  # it would repeat one order
    (("resume_from=gone.ckpt",), "there is no checkpoint file gone.ckpt"),
    (("resume_from=malicious.ckpt",), "malicious.ckpt is not a readable checkpoint"),
    (("resume_from=run/checkpoints/last.ckpt",), "is at step 2, but this run ends at 2; raise trainer.max_steps"),
    (("init_from=malicious.ckpt",), "malicious.ckpt is not a readable checkpoint"),
    (("init_from=run/checkpoints/best.ckpt", "model.hidden=5"), "holds another network; use model.hidden="),
]
SCRIPTS = [
    ("generate", ("--run", "nowhere"), "there is no run folder nowhere; choose one, or use --run latest"),
    ("generate", ("--run", "text.txt"), "text.txt is a file; use --checkpoint for it"),
    ("generate", ("--run", "folder"), "folder holds no readable checkpoint"),
    ("generate", ("--checkpoint", "odd.ckpt"), "does not fit together"),
    ("generate", ("--run", "run", "--prompt", "naïve"), r"not trained on: 'ï' \(U\+00EF\); remove them"),
    ("generate", ("--run", "run", "--seed", "-1"), "seed must be an integer of at least 0, got -1"),
    ("generate", ("--beams",), "unrecognized arguments: --beams"),
    ("evaluate", ("--run", "run", "--text", "short.txt", "--window", "5"), "--window needs --protocol windows"),
    ("evaluate", ("--run", "run", "--text", "greek.txt"), "has 3 characters that are not in the vocabulary"),
    ("evaluate", ("--run", "run", "--dynamic", "0.1", "--protocol", "windows"), "--dynamic needs --protocol carried"),
    ("evaluate", ("--checkpoint", "malicious.ckpt"), "malicious.ckpt is not a readable checkpoint"),
    ("compare", ("nowhere",), "no folder matches nowhere"),
    ("compare", ("--x", "steps"), "--x needs --curves"),
    ("benchmark", (), "required: subcommand"),
    ("benchmark", ("recurrence", "--grid", "64,64"), "--grid takes sizes like 64,64,256, got 64,64"),
]


@pytest.mark.parametrize(("overrides", "message"), COMMAND_LINES)
def test_command_lines(here: Path, overrides: tuple[str, ...], message: str) -> None:
    code, stdout, stderr = call("train.py", *overrides)
    refused(code, stdout, stderr, message, "train.py")
    assert stdout == ""


@pytest.mark.parametrize(("overrides", "message"), SETTINGS)
def test_settings(here: Path, overrides: tuple[str, ...], message: str) -> None:
    code, stdout, stderr = call("train.py", f"hydra.run.dir={here}/new", *TINY, *overrides)
    refused(code, stdout, stderr, message, "train.py")
    assert not (here / "new").exists()


@pytest.mark.parametrize(("script", "arguments", "message"), SCRIPTS)
def test_scripts(here: Path, script: str, arguments: tuple[str, ...], message: str) -> None:
    code, stdout, stderr = call(f"scripts/{script}.py", *arguments)
    refused(code, stdout, stderr, message, f"{script}.py")
    assert stdout == ""


def test_a_folder_that_is_in_use_or_holds_another_run(here: Path) -> None:
    run = (*TINY, f"hydra.run.dir={here}/run")
    refused(*call("train.py", *run), "already holds a run; resume it with resume_from=last", "train.py")
    with locked(here / "run"):
        refused(*call("train.py", *run, "resume_from=last"), "another run is running in", "train.py")
    longer = (*run, "resume_from=last", "trainer.max_steps=9")
    other = "was trained with other settings; resume with model.hidden=4"
    refused(*call("train.py", *longer, "model.hidden=7"), other, "train.py")
    refused(*call("train.py", *longer, "data.min_count=3"), "has another vocabulary", "train.py")


def test_as_a_process(tmp_path: Path) -> None:
    done = command("train.py", "model.hidden=abc", "hydra.run.dir=run", cwd=tmp_path)
    refused(done.returncode, done.stdout, done.stderr, "model.hidden must be a positive integer", "train.py")
