"""Start from the weights of another run: the same network, on any text."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.runs.load import load_network
from charrnn.utils.errors import RequestError
from conftest import call, train_here

TEXT_LENGTH = 3000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=20", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5",
)  # fmt: skip
STANDS_STILL = ("optimizer=sgd", "optimizer.lr=1e-30")


@pytest.fixture(scope="module", params=["elman", "gru", "lstm"])
def base(request: pytest.FixtureRequest, text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("runs") / request.param
    train_here(folder, f"model={request.param}", *SMALL, "model.layers=2", path=text)
    return request.param, folder


@pytest.fixture
def other(text: Path, tmp_path: Path) -> Path:
    """A text without `e`, and with three symbols that the first one lacks."""
    file = tmp_path / "other.txt"
    file.write_text(text.read_text("utf-8").replace("e", "é").replace("t", "þ").replace("S", "ẞ"), "utf-8")
    return file


def test_6_fine_tune_on_a_text_with_other_symbols(
    base: tuple[str, Path], other: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cell, run = base
    command = (f"model={cell}", *SMALL, "model.layers=2", *STANDS_STILL, f"init_from={run}")
    train_here(tmp_path / "run", *command, path=other)
    old, new = load_network(run), load_network(tmp_path / "run")
    assert new.vocabulary.characters == "".join(sorted({*old.vocabulary.characters, *"éþẞ"}))
    assert f"weights   from {run}/checkpoints/best.ckpt, after step " in caplog.text
    assert f"; 3 of {len(new.vocabulary)} symbols are new" in caplog.text
    text = "The first"
    ids = torch.from_numpy(new.vocabulary.encode(old.vocabulary.characters).astype("int64"))
    logits, expected = (
        network.network(torch.from_numpy(network.vocabulary.encode(text).astype("int64"))[:, None])[0]
        for network in (new, old)
    )
    torch.testing.assert_close(logits[..., ids], expected)  # all that the network knew, it still knows
    scored = call("scripts/evaluate.py", "--run", tmp_path / "run", "--split", "validation")
    assert scored.returncode == 0, scored.stderr


def test_6_new_symbols_may_count_as_unknown(base: tuple[str, Path], other: Path, tmp_path: Path) -> None:
    cell, run = base
    command = (f"model={cell}", *SMALL, "model.layers=2", f"init_from={run}", "init_new_symbols=unknown")
    train_here(tmp_path / "run", *command, path=other)
    old, new = load_network(run), load_network(tmp_path / "run")
    assert new.vocabulary.characters == old.vocabulary.characters + "\ufffd"


def test_6_a_fine_tuned_run_resumes_exactly(base: tuple[str, Path], other: Path, tmp_path: Path) -> None:
    cell, run = base
    moved = Path(shutil.copytree(run, tmp_path / "base"))
    command = (f"model={cell}", *SMALL, "model.layers=2", f"init_from={moved}", "scheduler.total_steps=20")
    whole = train_here(tmp_path / "whole", *command, path=other)
    train_here(tmp_path / "parts", *command, "trainer.max_steps=12", path=other)
    shutil.rmtree(moved)  # no longer needed
    parts = train_here(tmp_path / "parts", *command, "resume_from=last", path=other)
    assert parts["val_nats_per_char"] == whole["val_nats_per_char"]


def test_6_another_level_is_refused(base: tuple[str, Path], other: Path, tmp_path: Path) -> None:
    cell, run = base
    command = (f"model={cell}", *SMALL, "model.layers=2", f"init_from={run}", "data.level=byte")
    with pytest.raises(RequestError, match="has symbols of level char; use data.level=char"):
        train_here(tmp_path, *command, path=other)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (("model.activation=tanh",), "model.activation=relu"),
        (("model.residual=false", "model.hidden=9"), "model.hidden=6 model.residual=true"),
        (("model.layers=1",), "model.layers=2"),
        (
            (
                "model.dropout=0.2",
                "model.input_dropout=0.1",
                "model.label_smoothing=0.1",
                "model.kernel=reference",
                "model.input_std=0.1",
                "model.output_std=1",
            ),
            None,
        ),
    ],
)
def test_x8_what_the_weights_do_not_fit(
    change: tuple[str, ...], advice: str | None, base: tuple[str, Path], text: Path, tmp_path: Path
) -> None:
    cell, run = base
    if cell != "elman":
        pytest.skip("has no activation")
    command: Any = (*SMALL, "model.layers=2", *change, f"init_from={run}")
    if advice is None:
        assert train_here(tmp_path, *command, path=text)["steps"] == 20
        return
    with pytest.raises(RequestError, match=f"holds another network; use {advice}$"):
        train_here(tmp_path, *command, path=text)


def test_x8_another_cell(base: tuple[str, Path], text: Path, tmp_path: Path) -> None:
    cell, run = base
    other = "gru" if cell != "gru" else "lstm"
    with pytest.raises(RequestError, match=f"holds another network; use model={cell}"):
        train_here(tmp_path, f"model={other}", *SMALL, "model.layers=2", f"init_from={run}", path=text)
