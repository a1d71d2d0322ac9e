import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary
from charrnn.export import arrays, onnx_graph
from charrnn.generation.generate import generate_text
from charrnn.network import CharRNN
from charrnn.runs.folder import write_summary
from charrnn.utils.errors import RequestError
from conftest import OPTIONS, ROOT, call, command, mostly_slow, save_network
from test_bad_requests import refused

LETTERS = Vocabulary("\n abcé€\U0001f600")
NETWORKS: dict[str, tuple[AnyVocabulary, dict[str, Any]]] = {
    "tanh": (LETTERS, {"layers": 1, **OPTIONS}),
    "relu": (Vocabulary("\n abcde", unknown=True), {"layers": 3, **OPTIONS, "activation": "relu"}),
    "not residual": (LETTERS, {"layers": 2, "residual": False, **OPTIONS}),
    "bytes": (ByteVocabulary(), {"layers": 2, **OPTIONS}),
    "gru": (LETTERS, {"layers": 2, "cell": "gru"}),
    "lstm": (LETTERS, {"layers": 2, "cell": "lstm"}),
}
PROMPT = "ab c"


def make(name: str) -> tuple[CharRNN, AnyVocabulary]:
    vocabulary, changes = NETWORKS[name]
    network = CharRNN(len(vocabulary), **{"cell": "elman", "hidden": 5, "dropout": 0.0, "residual": True, **changes})
    torch.nn.init.normal_(network.hidden_to_output)
    torch.nn.init.normal_(network.output_bias)
    return network.eval(), vocabulary


def play(model: Path, *arguments: object) -> str:
    """Return the output of scripts/play.py when neither charrnn nor torch can be imported."""
    program = (
        "import runpy, sys; sys.modules.update(charrnn=None, torch=None);"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ROOT / "scripts" / "play.py", model, *map(str, arguments)],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout.decode("utf-8")


def test_errors_of_the_player_are_one_line(tmp_path: Path) -> None:
    model = tmp_path / "model.npz"
    model.write_bytes(arrays.to_numpy(*make("tanh"), {}))
    np.savez(tmp_path / "future.npz", format=99)
    for options, message in (
        ((model, "--prompt=aü"), "does not know 'ü'"),
        ((model, "--temperature=-1"), "must be at least 0"),
        ((tmp_path / "future.npz",), "expected a model of format 1, got 99"),
        ((tmp_path / "gone.npz",), "No such file"),
    ):
        done = command("scripts/play.py", *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", mostly_slow(NETWORKS, 3))
def test_play_gives_the_same_text_with_numpy_alone(name: str, tmp_path: Path) -> None:
    network, vocabulary = make(name)
    model = tmp_path / "model.npz"
    model.write_bytes(arrays.to_numpy(network, vocabulary, {"checkpoint": "best.ckpt"}))
    for prompt, temperature in ((PROMPT, 1.0), ("", 0.7), (PROMPT, 0.0)):
        asked = {"prompt": prompt, "length": 2000, "temperature": temperature, "seed": 3}
        options = [f"--{key}={value}" for key, value in asked.items()]
        assert play(model, *options) == generate_text(network, vocabulary, **asked)


def test_export_and_play_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "my_run"
    save_network(*make("relu"), run / "checkpoints" / "best.ckpt")
    write_summary(run, {"val_bits_per_char": 2.25})
    done = call("scripts/export.py", "--format", "numpy", "--run", run)
    assert done == (0, f"best.npz: {Path('best.npz').stat().st_size:,} bytes\n", "")
    assert np.load("best.npz")["checkpoint"] == "my_run/best.ckpt"
    assert np.load("best.npz")["val_bits_per_char"] == 2.25
    options = ("--prompt=a?b", "--length=2000", "--seed=5")
    expected = command("scripts/generate.py", "--run", run, *options)
    assert len(expected.stdout) == 2003, expected.stderr
    assert play(Path("best.npz"), *options) == expected.stdout
    assert np.load("best.npz", allow_pickle=False)["hidden_to_output"].dtype == np.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_gives_the_same_results(name: str) -> None:
    network, vocabulary = make(name)
    content = onnx_graph.to_onnx(network, vocabulary, {"val_bits_per_char": 2.5})
    session = onnxruntime.InferenceSession(content)
    for lanes in (1, 3):
        ids_TB = torch.randint(len(vocabulary), (20, lanes))
        expected, expected_last = network.unroll(ids_TB, network.initial_state(lanes))
        state = network.initial_state(lanes).numpy()
        for ids_B, expected_BV in zip(ids_TB.numpy(), expected, strict=True):
            logits, state = session.run(["logits", "new_state"], {"ids": ids_B, "state": state})
            torch.testing.assert_close(torch.from_numpy(logits), expected_BV)
        torch.testing.assert_close(torch.from_numpy(state), expected_last)
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load_from_string(content).metadata_props}
    facts = {"val_bits_per_char": 2.5}
    assert metadata == {"settings": network.settings, "vocabulary": vocabulary.settings, "facts": facts}


def test_a_wrong_onnx_graph_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_network(*make("tanh"), tmp_path / "a.ckpt")
    weights_of = onnx_graph.weights_of
    off = {"output_bias": np.full(len(LETTERS), 1e-4, dtype=np.float32)}
    monkeypatch.setattr(onnx_graph, "weights_of", lambda network: {**weights_of(network), **off})
    code, _, stderr = call(
        "scripts/export.py", "--format", "onnx", "--checkpoint", checkpoint, "--out", tmp_path / "a.onnx"
    )
    assert (code, stderr.count("\n")) == (1, 1)
    assert "differ from torch's by" in stderr
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RequestError, match=r"needs onnx and onnxruntime .* pip install onnx onnxruntime"):
        onnx_graph.to_onnx(*make("tanh"), {})


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    checkpoint = save_network(*make("tanh"), tmp_path / "a.ckpt")
    out = tmp_path / "a.npz"
    asked = ("--format", "numpy", "--checkpoint", checkpoint, "--out")
    out.write_text("mine")
    for arguments, message in (
        ((*asked, out), "already exists; choose another file with --out, or overwrite it with --force"),
        ((*asked, tmp_path), "is a folder"),
        (("--format", "csv"), "invalid choice: 'csv'"),
    ):
        refused(*call("scripts/export.py", *arguments), message, "export.py")
    assert out.read_text() == "mine"
    assert call("scripts/export.py", *asked, out, "--force")[0] == 0
    assert "hidden_to_hidden_0" in np.load(out)
