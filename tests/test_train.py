"""train.py, generate.py and evaluate.py as a user calls them, on a small real text."""

import io
import json
import math
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from charrnn.runs.checkpoint_file import read
from charrnn.runs.folder import read_summary
from charrnn.runs.load import load_network
from conftest import ROOT, Called, call, command, composed, start, train_here, wait_for

SMALL = (
    "data=text", "model.hidden=32", "data.batch_size=8", "data.sequence_length=16", "data.validation_fraction=0.1",
    "data.test_fraction=0.1", "trainer.accelerator=cpu", "trainer.log_every_n_steps=10", "threads=1",
)  # fmt: skip


def train(folder: Path, text: Path, *overrides: str) -> Called:
    return call("train.py", *SMALL, f"data.path={text}", f"hydra.run.dir={folder}", "callbacks=none", *overrides)


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    length = ("trainer.max_steps=250", "trainer.val_check_interval=100")
    done = command("train.py", *SMALL, f"data.path={text_file}", f"hydra.run.dir={folder}", *length, "seed=7")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_what_a_person_sees(run: Path, text_file: Path) -> None:
    screen = (run / "stdout.txt").read_text()
    report = " ".join(screen.split())  # without its line breaks
    summary = read_summary(run)
    for expected in (
        "cpu, 1 thread,",
        "small.txt: 30,000 characters",
        "train 24,000, validation 3,000, test 3,000",
        f"{summary['parameters']:,} parameters",
        "an epoch has 188 batches",
        "100  train ",
        "200  train ",
        f"validation  {summary['val_bits_per_char']:.4f} bits per character",
        f"test        {summary['test_bits_per_char']:.4f} bits per character",
        "checkpoints/best.ckpt",
        "curves      ",
        " --logdir ",
        "then open http://localhost:6006/?smoothing=0&pinnedCards=%5B%7B%22plugin%22%3A%22scalars%22",
    ):
        assert " ".join(expected.split()) in report
    # These may be longer than 80 columns, to be pasted.
    commands = ("curves ", "more text ", "look inside ", "            then open ")
    assert [line for line in screen.splitlines() if len(line) > 80 and not line.startswith(commands)] == []
    sample = re.search(r"sample of step \d+:\n(.*)\n\nvalidation", screen, re.DOTALL)
    assert sample
    written = (run / "samples.txt").read_text().rpartition("---\n")[2].removesuffix("\n\n")
    assert sample[1].replace("\n", "") == written.replace("\n", "")
    assert len(written) == 301  # the random start character counts
    for noise in ("litlogger", "GPU available", "Warning", "LOCAL_RANK"):
        assert noise not in screen


def test_what_a_run_leaves(run: Path) -> None:
    assert {path.name for path in run.iterdir() if not path.name.startswith("events.")} == {
        ".hydra", "checkpoints", "metrics.csv", "samples.txt", "stdout.txt", "summary.json", "train.log",
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert "200  train " in (run / "train.log").read_text()
    assert (run / "samples.txt").read_text().count("--- step ") == 3
    summary = read_summary(run)
    assert summary["status"] == "finished"
    assert summary["steps"] == summary["best_step"] == 250
    assert (summary["seed"], summary["kernel"], summary["threads"]) == (7, "numba", 1)
    assert summary["val_bits_per_char"] == pytest.approx(summary["val_nats_per_char"] / math.log(2))
    assert summary["val_bits_per_char"] < 4.6
    assert summary["train_seconds"] > 0
    assert summary["train_chars_per_second"] > 0
    assert Path(summary["checkpoint"]) == run / "checkpoints" / "best.ckpt"
    network, vocabulary, _, about = load_network(run / "checkpoints" / "best.ckpt")
    assert summary["parameters"] == network.parameter_count()
    assert summary["vocabulary_size"] == len(vocabulary)
    assert summary["corpus_sha256"] == about["data"]["corpus_sha256"]


def test_what_tensorboard_shows(run: Path) -> None:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()
    watched = ("network/", "gradient/", "update_ratio/")  # test_monitors.py
    assert set(tags["images"]) == {
        "network/eigenvalues", "network/singular_values", "gradient/by_lag", "gradient/over_training",
        "memory/loss_by_context", "memory/gain_by_context",
    }  # fmt: skip
    assert set(tags["histograms"]) == {"weights/W_hh", "states/h_t"}
    assert {tag for tag in tags["scalars"] if not tag.startswith(watched)} == {
        *(f"reference/{name}_bits_per_char" for name in ("unigram", "trigram", "xz")),
        "bits_per_char/train", "bits_per_char/val",
        "optimizer/learning_rate", "optimizer/gradient_norm", "speed/chars_per_second",
        "sample/longest_copy", "sample/copied_10grams",
        "result/val_bits_per_char", "result/test_bits_per_char", "result/memory_characters",
    }  # fmt: skip
    assert {"sample/text_summary", "_hparams_/session_start_info"} <= set(tags["tensors"]) | set(
        events.summary_metadata
    )
    assert [event.step for event in events.Scalars("bits_per_char/train")] == list(range(10, 251, 10))
    assert [event.step for event in events.Scalars("bits_per_char/val")] == [100, 200, 250]
    (final,) = events.Scalars("result/val_bits_per_char")
    assert final.value == pytest.approx(read_summary(run)["val_bits_per_char"], rel=1e-6)
    losses = [event.value for event in events.Scalars("bits_per_char/train")]
    assert losses[0] > losses[-1] + 0.5


def test_evaluating_gives_the_figures_of_the_run(run: Path, text_file: Path) -> None:
    summary = read_summary(run)
    for split in ("validation", "test"):
        done = call("scripts/evaluate.py", "--run", run, "--split", split)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        key = "val_bits_per_char" if split == "validation" else "test_bits_per_char"
        assert result["bits_per_char"] == pytest.approx(summary[key], rel=1e-9)
        assert result["perplexity"] == pytest.approx(math.exp(result["nats_per_char"]))
        expected = {"characters": 2999, "protocol": "carried", "lanes": 1, "window": None}
        assert {key: result[key] for key in expected} == expected


def test_evaluating_a_text_in_windows(run: Path, text_file: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    arguments = ("--checkpoint", best, "--text", text_file, "--protocol", "windows", "--window", "50")
    result = json.loads(call("scripts/evaluate.py", *arguments).stdout)
    assert result["characters"] == 29_999 // 50 * 50
    assert (result["protocol"], result["lanes"], result["window"]) == ("windows", None, 50)


def test_generating_writes_text_and_nothing_else(run: Path) -> None:
    done = command("scripts/generate.py", "--run", run, "--prompt", "The ", "--length", "80", "--seed", "3")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("The ")
    assert len(done.stdout) == 84
    best = run / "checkpoints" / "best.ckpt"
    again = call("scripts/generate.py", "--checkpoint", best, "--prompt", "The ", "--length", "80", "--seed", "3")
    assert again.stdout == done.stdout
    alone = call("scripts/generate.py", "--run", run, "--length", "20", "--temperature", "0")
    assert len(alone.stdout) == 21


def test_generating_many_texts(run: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_bytes("The \u4e2d\r".encode())
    cuts = ("--top-k", "20", "--top-p", "0.9", "--min-p", "0.01", "--unknown", "skip", "--stop", "\\n", "--stop", "e")
    asked = ("--run", run, "--prompt-file", prompt, "--samples", "3", "--length", "40", "--json", "--novelty", *cuts)
    done = call("scripts/generate.py", *asked)
    texts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(texts) == 3
    for i, found in enumerate(texts):
        assert found["text"].startswith("The ") and not {"\n", "e"} & set(found["text"][4:])
        assert len(found["log_probabilities"]) == len(found["text"]) - 4
        assert all(value < 0 for value in found["log_probabilities"])
        assert found["settings"]["sample"] == i
        assert found["settings"]["stop"] == ["\n", "e"]
    assert [line[:10] for line in done.stderr.splitlines()] == ["", "copied    ", "held out  "]
    plain = call("scripts/generate.py", *(argument for argument in asked if argument not in ("--json", "--novelty")))
    assert plain.stdout == "".join(found["text"] + "\n" for found in texts)


@pytest.mark.parametrize("option", ["--prompt", "--prompt-file"])
def test_a_prompt_from_stdin(run: Path, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"The ")))
    done = call("scripts/generate.py", "--run", run, option, "-", "--length", "30")
    assert done.stdout.startswith("The ") and len(done.stdout) == 34


def test_a_reader_of_generate_that_goes_away(run: Path) -> None:
    script = f"'{sys.executable}' '{ROOT / 'scripts' / 'generate.py'}' --run '{run}'"
    cut = f"{script} --length 1000000 | head -c 100; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", cut], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, len(done.stdout), done.stderr) == (141, 100, "")


def test_the_best_checkpoint_is_not_the_last_when_training_spoils_it(text_file: Path, tmp_path: Path) -> None:
    done = train(
        tmp_path, text_file, "trainer.max_steps=40", "trainer.val_check_interval=10", "seed=3",
        "optimizer=sgd", "optimizer.lr=0.5", "scheduler=step", "scheduler.step_size=20", "scheduler.gamma=200",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = read_summary(tmp_path)
    assert summary["best_step"] in (10, 20)
    best, last = (read(tmp_path / "checkpoints" / f"{name}.ckpt")["global_step"] for name in ("best", "last"))
    assert (best, last) == (summary["best_step"], 40)
    samples = re.findall(r"--- step (\d+) ---", (tmp_path / "samples.txt").read_text())
    assert samples == ["10", "20", "30", "40", str(best)]
    result = json.loads(call("scripts/evaluate.py", "--run", tmp_path).stdout)
    assert result["bits_per_char"] == pytest.approx(summary["val_bits_per_char"], rel=1e-6)


def test_no_validation_no_test_and_words_of_the_trainer(text_file: Path, tmp_path: Path) -> None:
    parts = ("data.validation_fraction=0", "data.test_fraction=0", "data.order=shuffle", "data.sequence_length=200")
    done = train(tmp_path, text_file, *parts, "trainer.max_steps=5", "+trainer.detect_anomaly=true")
    assert (done.returncode, done.stderr) == (0, "")
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["steps"], summary["best_step"]) == ("finished", 5, 5)
    assert summary["val_bits_per_char"] is summary["test_bits_per_char"] is None
    assert Path(summary["checkpoint"]).name == "last.ckpt"
    assert "fit_loop" not in done.stdout


def test_the_same_seed_gives_the_same_run(text_file: Path, tmp_path: Path) -> None:
    changes = ("trainer.max_steps=12", "model.layers=2", "model.dropout=0.2", "trainer.precision=bf16-mixed")
    results = []
    for name, seed in (("one", 4), ("same", 4), ("other", 5)):
        summary = train_here(tmp_path / name, *SMALL, *changes, f"seed={seed}", path=text_file)
        results.append(summary["val_nats_per_char"])
    assert results[0] == results[1] != results[2]


def test_a_sweep_names_its_jobs_and_survives_one_that_fails(text_file: Path, tmp_path: Path) -> None:
    # model.hidden is there fixed as well, and its folders must still tell the jobs apart.
    sweep = ("-m", "model.hidden=8,-1", "optimizer.lr=1e-3,3e-3", f"hydra.sweep.dir={tmp_path}", "trainer.max_steps=5")
    done = command("train.py", *SMALL, "callbacks=none", f"data.path={text_file}", *sweep)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["train.py: model.hidden must be a positive integer, got -1"] * 2
    jobs = {f"model.hidden-{hidden}_optimizer.lr-{lr}" for hidden in (8, -1) for lr in ("0.001", "0.003")}
    assert {path.name for path in tmp_path.iterdir()} == {*jobs, "leaderboard.csv", "leaderboard.md", "multirun.yaml"}
    table = (tmp_path / "leaderboard.md").read_text()
    assert table.count("finished") == table.count("failed") == 2
    assert table.index("finished") < table.index("failed")
    assert "leaderboard" in done.stdout
    (curves,) = [line for line in done.stdout.splitlines() if line.startswith("curves ")]  # once, for all jobs
    assert curves.endswith(f" --logdir {tmp_path}")
    for job in jobs:
        summary = read_summary(tmp_path / job)
        assert summary["status"] == ("failed" if "--1" in job else "finished")
    assert "got -1" in read_summary(tmp_path / "model.hidden--1_optimizer.lr-0.001")["reason"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_and_ends_it(text_file: Path, tmp_path: Path, signum: int, code: int) -> None:
    where = (f"data.path={text_file}", f"hydra.run.dir={tmp_path}")
    arguments = (*SMALL, *where, "callbacks=none", "trainer.val_check_interval=10")
    process = start("train.py", *arguments, "trainer.max_steps=1000000")
    wait_for((tmp_path / "samples.txt").exists)
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"]) == ("interrupted", signal.Signals(signum).name)
    assert summary["steps"] >= 10
    last = tmp_path / "checkpoints" / "last.ckpt"
    load_network(last)
    assert Path(summary["checkpoint"]) == last
    name = "Ctrl-C" if signum == signal.SIGINT else "SIGTERM"
    assert f"stopped by {name}; saved after step {summary['steps']:,}. To resume:\n  " in stdout
    assert f"hydra.run.dir={tmp_path} resume_from=last" in stdout


def test_help_fits_a_screen_and_its_defaults_are_those_of_the_config() -> None:
    done = call("train.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 80
    assert 'eval "$(python train.py -sc install=bash)"' in done.stdout
    cfg = composed("optimizer=adamw")
    listed = [re.fullmatch(r"  ([\w., ]+?)  +.*\[(.+)\]", line) for line in lines]
    pairs = [
        (key, default)
        for found in listed
        if found
        for key, default in zip(found[1].split(", "), found[2].split(", "), strict=True)
    ]
    assert len(pairs) == 16
    for key, default in pairs:
        assert default == str(OmegaConf.select(cfg, key)), key
    for group in ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger"):
        (options,) = re.findall(rf"^  {group}  +(.*)", done.stdout, re.MULTILINE)
        files = {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}
        assert files <= set(re.findall(r"\w+", options)), group


def test_runs_go_to_the_project_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("train.py", "--cfg", "hydra", "--resolve", "-p", "hydra.run")
    folder = done.stdout.split("dir: ")[1].strip()
    assert Path(folder).parent == ROOT / "outputs"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}", Path(folder).name)


def test_a_reader_that_goes_away_does_not_disturb_a_run(text_file: Path, tmp_path: Path) -> None:
    where = (f"data.path={text_file}", f"hydra.run.dir={tmp_path}")
    overrides = [*SMALL, *where, "callbacks=none", "trainer.max_steps=5"]
    line = f"set -o pipefail; {shlex.join([sys.executable, str(ROOT / 'train.py'), *overrides])} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert read_summary(tmp_path)["status"] == "finished"


def test_the_prompt_is_bold_on_a_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("--run", run, "--prompt", "The ", "--length", "20")
    plain = call("scripts/generate.py", *asked)
    monkeypatch.setattr("charrnn.utils.streams.is_terminal", lambda stream: True)
    assert call("scripts/generate.py", *asked).stdout == f"\x1b[1mThe \x1b[0m{plain.stdout[4:]}"
    several = call("scripts/generate.py", *asked, "--samples", 2).stdout
    assert several.count("\x1b[1mThe \x1b[0m") == 2 and plain.stdout[4:] in several
    assert "\x1b" not in call("scripts/generate.py", *asked, "--no-prompt").stdout
