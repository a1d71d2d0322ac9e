"""The commands of the README, in its order, in a copy of the project; only the number of steps is small."""

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.data.vocabulary import Vocabulary
from charrnn.network import CharRNN
from conftest import ROOT, save_network
from zygote import Zygote

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
# The table "How do I ...?".
COMMANDS += re.findall(r"^\| .+\? \| `(.+?)` \| ", README, re.MULTILINE)
NOT_RUN = {
    ".venv/bin/tensorboard": "it serves until it is stopped",
    "source": "it only changes the shell",
    "scripts/test.sh": "this test would run itself",
    "python train.py trainer=gpu": "no test needs a GPU",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("project")
    for folder in ("conf", "src", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "train.py", copy)
    return copy


@pytest.mark.slow
def test_the_commands_run(project: Path, text_file: Path) -> None:
    assert (COMMANDS[0], len(COMMANDS)) == ("scripts/train.sh", 22)
    commands = []
    small = "trainer.max_steps=20 threads=1"
    for written in COMMANDS:
        if written.startswith(tuple(NOT_RUN)):
            continue
        command = written.replace("scripts/train.sh", "python train.py")  # no test makes a virtual environment
        command = command.replace("other.txt", str(text_file)).replace("--trials 30", f"--trials 2 {small}")
        assert command.startswith("python ")
        if "train.py" in command:
            command += f" {small}" + " callbacks=none" * bool(commands)
        if "train.py" in command and commands:
            command += f" data.path={text_file} data.sha256=null"  # no download in a test, and a small text
        elif "train.py" in command:
            command += " data.validation_fraction=0.002 data.test_fraction=0.002"  # reading all of it takes long
        elif "tune.py" in command:
            command += f" data.path={text_file}"
        command += " trainer.accelerator=cpu" * ("trainer=ddp" in command)
        commands.append(command)
    zygote = Zygote(PYTHONPATH=str(project / "src"))  # its package is the copy, and so are its outputs
    for command in commands:
        _, script, *arguments = shlex.split(command)
        with zygote.start(project / script, arguments, project, dict(os.environ)) as process:
            printed, errors = process.communicate()
        assert (process.returncode, bool(printed)) == (0, True), f"{command}\n{printed}\n{errors}"
    zygote.close()
    (sweep,) = (project / "outputs").glob("sweep_*")
    assert len(list(sweep.glob("*/summary.json"))) == 6
    assert (project / "outputs" / "my_run" / "checkpoints" / "last.ckpt").exists()


def test_the_python_examples_run(
    capsys: pytest.CaptureFixture[str],
    make_network: Callable[..., CharRNN],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    vocabulary = Vocabulary("The lazy dog jumps.")
    save_network(make_network(len(vocabulary)), vocabulary, tmp_path / "outputs/my_run/checkpoints/best.ckpt")
    use, build = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(use, "README.md", "exec"), {})
    *text, bits = capsys.readouterr().out.splitlines()
    assert "\n".join(text).startswith("The ")
    assert len("\n".join(text)) == 204
    assert 0 < float(bits) < 50
    exec(compile(build, "README.md", "exec"), {})
    assert float(capsys.readouterr().out.split()[0]) < 2.7  # ln 28 = 3.3 before training
