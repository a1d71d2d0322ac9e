"""Run scripts/show_checkpoint.py on a stored checkpoint, a bare network and invalid files."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from charrnn.data.vocabulary import ByteVocabulary, Vocabulary
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from conftest import ROOT, call, save_network, train_here
from test_bad_requests import refused

SCRIPT = "scripts/show_checkpoint.py"
STORED = ROOT / "tests" / "stored" / "format2.ckpt"

Make = Callable[..., CharRNN]


def show(*arguments: object) -> str:
    """Return the stdout of the script."""
    code, stdout, stderr = call(SCRIPT, *arguments)
    assert (code, stderr) == (0, "")
    return stdout


def test_the_page() -> None:
    """The stored checkpoint: 30 steps on a sentence from standard input, the last validation before that at step 20."""
    page = show(STORED)
    for expected in (
        "file        /",
        "bytes, format 2, written by Lightning 2.6.6\nnetwork     1 layer of 4 (elman, tanh): 281 parameters\n",
        "            h_t = tanh(W_xh x_t + W_hh h_(t-1) + b_h), y_t = W_hy h_t + b_y\n",
        "parameters  hidden_to_output                   29 x 4  float32\n",
        "vocabulary  29 characters\n            \\n .abcdefghijklmnopqrstuvwxyz\n",
        "trained     30 steps (max_steps 30, max_epochs -1), now in epoch 1\n            960 characters in 1.5 s, ",
        "validation  these weights: unknown, measured as in the training curve\n",
        "            best so far: 4.7996 bits per character (3.3268 nats)\n",
        "optimizer   AdamW, lr 0.003, ",
        "; current learning rate 0\nscheduler   warmup_cosine, ",
        "text        -\n            SHA-256 81a1dff0",
        "train 0.9, validation 0.05, test 0.05\nbatches     batch_size 4, sequence_length 8, order stream\n",
        "computed    precision 32-true, kernel fused, threads 1, seed 1\n",
        "use         resume_from=CHECKPOINT resumes its run; init_from=CHECKPOINT",
    ):
        assert expected in page


def test_everything_as_json(text_file: Path, tmp_path: Path) -> None:
    summary = train_here(
        tmp_path, "data=text", "model.hidden=6", "trainer.accelerator=cpu", "threads=1", "trainer.max_steps=20",
        "trainer.val_check_interval=10", "seed=5", "scheduler=constant", path=text_file,
    )  # fmt: skip
    found = json.loads(show("--run", tmp_path, "--json"))
    file = tmp_path / "checkpoints" / "best.ckpt"
    best = checkpoint_file.read(file)
    assert found["path"] == str(file) == summary["checkpoint"]
    assert found["bytes"] == file.stat().st_size
    assert found["step"] == summary["best_step"]
    assert all(found[key] == summary[key] for key in ("parameters", "kernel", "seed", "threads"))
    assert found["vocabulary"]["size"] == len(found["vocabulary"]["characters"]) == summary["vocabulary_size"]
    assert found["data"]["corpus_sha256"] == summary["corpus_sha256"]
    assert found["validation_nats_per_char"] == pytest.approx(
        summary["val_nats_per_char"], rel=0.05
    )  # its lanes differ
    assert found["best_validation_nats_per_char"] == pytest.approx(found["validation_nats_per_char"], rel=1e-6)
    assert (found["learning_rate"], found["resumable"]) == (0.006, True)
    assert found["network"] == best["charrnn"]["network"]
    assert found["config"] == best["charrnn"]["config"]
    shapes = {f"network.{name}": tuple(tensor["shape"]) for name, tensor in found["tensors"].items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in best["state_dict"].items()}
    best["global_step"], best["callbacks"]["Checkpoints"]["best"] = (
        0,
        math.inf,
    )  # the values before the first validation
    checkpoint_file.write(best, file)
    first = json.loads(show(file, "--json"))
    assert (first["step"], first["best_validation_nats_per_char"]) == (0, None)  # JSON has no infinity


def test_a_network_without_a_run(make_network: Make, tmp_path: Path) -> None:
    for vocabulary, expected in (
        (Vocabulary("\x1b[2Jab", unknown=True), "7 characters, U+FFFD for all others\n"),
        (ByteVocabulary(), "vocabulary  256 bytes, of UTF-8\n"),
        (Vocabulary("".join(map(chr, range(0x4E00, 0x5000)))), "and 32 more; --json shows all\n"),
    ):
        path = save_network(make_network(len(vocabulary)), vocabulary, tmp_path / "a\x1b[2J.ckpt")
        page = show(path)
        assert expected in page
        assert "\x1b" not in page  # neither the file's content nor its name controls the terminal
        assert "it has no run to resume; init_from=CHECKPOINT starts" in page
        found = json.loads(show(path, "--json"))
        assert [found[key] for key in ("resumable", "config", "step", "learning_rate")] == [False, None, None, None]


def test_invalid_requests_give_one_line(make_network: Make, tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {}, "charrnn": {"format": checkpoint_file.FORMAT}}, tmp_path / "hollow.ckpt")
    odd = save_network(make_network(3), Vocabulary("abc"), tmp_path / "odd.ckpt", config={"trainer": 3}, data=[])
    for arguments, message in (
        ([tmp_path / "gone.ckpt"], "there is no checkpoint file"),
        ([tmp_path / "text.ckpt"], "is not a readable checkpoint"),
        ([tmp_path / "foreign.ckpt"], "is not a checkpoint of this project"),
        ([tmp_path / "hollow.ckpt"], r"does not fit together \(KeyError\('network'\)\)"),
        ([odd], "does not fit together"),
        ([tmp_path], "is a folder; choose a .ckpt file"),
        (["--run", tmp_path / "nowhere"], "there is no run folder"),
        ([STORED, "--run", "latest"], "argument --run: not allowed with argument CHECKPOINT"),
    ):
        called = call(SCRIPT, *arguments)
        refused(*called, message, SCRIPT)
        assert called.stdout == ""


@pytest.mark.parametrize(("argument", "absent"), [(str(STORED), ("lightning",)), ("--help", ("torch", "hydra"))])
def test_no_heavy_imports(argument: str, absent: tuple[str, ...]) -> None:
    program = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
sys.argv = ["show_checkpoint.py", {argument!r}]
try:
    runpy.run_path({str(ROOT / SCRIPT)!r}, run_name="__main__")
finally:
    if set({absent!r}) & set(sys.modules):
        sys.exit("imported")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
