"""A run of an earlier version (`stored/run`, killed after step 25 of 40) still opens, resumes and gives its numbers."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from charrnn.runs import checkpoint_file
from charrnn.utils.errors import RequestError
from conftest import ROOT, call, train_here

STORED = ROOT / "tests" / "stored" / "run"
TEXT = STORED / "text.txt"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def test_it_generates_the_same_text(run: Path) -> None:
    done = call("scripts/generate.py", "--run", run, "--prompt", "The ", "--length", 40, "--seed", 3)
    assert done.stdout == "The AOsiAceFpBcgcioxQmoT\nzSTvjer obAmxLlTqpM"


def test_it_scores_the_same(run: Path) -> None:
    done = call("scripts/evaluate.py", "--run", run, "--text", TEXT)
    assert json.loads(done.stdout)["nats_per_char"] == pytest.approx(3.591572418126634, rel=1e-6)


def test_it_resumes_to_the_same_end(run: Path) -> None:
    overrides = [str(override) for override in OmegaConf.load(run / ".hydra" / "overrides.yaml")]
    kept = [override for override in overrides if not override.startswith(("data.path=", "hydra."))]
    with pytest.raises(RequestError, match="resume with ") as refused:  # the defaults were others
        train_here(run, *kept, "resume_from=last", path=TEXT)
    advice = shlex.split(str(refused.value).split("resume with ")[1].split(", or")[0])
    summary = train_here(run, *kept, *advice, "resume_from=last", path=TEXT)
    # Its dropout drew other numbers up to step 25: then 3.53755 and 5.12055 came out.
    expected = {"val_nats_per_char": 3.5372454036365855, "test_bits_per_char": 5.120000735424398, "best_step": 40}
    assert {key: summary[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert (summary["status"], summary["steps"]) == ("finished", 40)
    callbacks = checkpoint_file.read(run / "checkpoints" / "last.ckpt")["callbacks"]
    assert callbacks["Speed"]["characters"] == 40 * 4 * 8  # the sum was restored, under the name that it had


@pytest.mark.parametrize(
    "command",
    [
        ["compare.py", "{run}"],
        ["show_checkpoint.py", "{run}/checkpoints/last.ckpt"],
        ["export.py", "--format", "html", "--run", "{run}", "--out", "{run}/a.html"],
        ["export.py", "--format", "numpy", "--run", "{run}", "--out", "{run}/a.npz"],
        ["visualize.py", "--run", "{run}", "--text", str(TEXT), "--out", "{run}/units.html"],
    ],
)
def test_every_command_takes_it(run: Path, command: list[str]) -> None:
    script, *arguments = (word.replace("{run}", str(run)) for word in command)
    done = call(f"scripts/{script}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
