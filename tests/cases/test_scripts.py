"""What users ran into with the scripts: prompts, unknown characters, messages, folders instead of files, play.py."""

import io
import json
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.data.vocabulary import ByteVocabulary, Vocabulary
from charrnn.runs.folder import read_summary, write_summary
from charrnn.runs.load import load_network
from charrnn.utils.errors import RequestError
from conftest import ROOT, call, command, save_network, train_here
from handmade import Malicious
from test_bad_requests import refused

CAFE = "café"
TINY = (
    "data=text", "model.hidden=4", "data.batch_size=2", "data.sequence_length=4", "threads=1", "trainer.max_steps=2",
    "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text whose line ends are converted and whose accents are composed."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "text.txt").write_text("a café\tby the sea\n" * 60)
    normal = ("data.newlines=lf", "data.normalize=nfc")
    train_here(folder / "run", *TINY, *normal, path=folder / "text.txt")
    return folder / "run"


@pytest.fixture
def bare(make_network: Callable[..., Any], tmp_path: Path) -> Path:
    """A checkpoint with a network, and nothing of a run."""
    return save_network(make_network(5), Vocabulary("ab\n\t\\"), tmp_path / "bare.ckpt")


def generate(*arguments: object) -> str:
    done = call("scripts/generate.py", "--length", 4, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "text"), [(r"a\nb", "a\nb"), (r"\t\ta", "\t\ta"), (r"a\\n", r"a\n"), ("a\nb", "a\nb"), (r"\\\\", r"\\")]
)
def test_26_escapes_in_the_prompt(typed: str, text: str, bare: Path, tmp_path: Path) -> None:
    assert generate("--checkpoint", bare, "--unknown", "skip", "--prompt", typed).startswith(text.replace("n", ""))
    (tmp_path / "prompt.txt").write_text(r"a\\b")
    assert generate("--checkpoint", bare, "--prompt-file", tmp_path / "prompt.txt").startswith(r"a\\b")  # verbatim


def test_26_stop_strings_are_written_like_the_prompt(make_network: Callable[..., Any], tmp_path: Path) -> None:
    network = make_network(3)
    torch.nn.init.zeros_(network.hidden_to_output)
    vocabulary = Vocabulary("a\n\\")
    for stop, symbol in ((r"\n", "\n"), (r"\\", "\\")):
        with torch.no_grad():
            network.output_bias.copy_(torch.eye(3)[vocabulary.characters.index(symbol)])
        save_network(network, vocabulary, tmp_path / "net.ckpt")
        fixed = ("--checkpoint", tmp_path / "net.ckpt", "--prompt", "a", "--temperature", 0)
        assert generate(*fixed) == "a" + 4 * symbol
        assert generate(*fixed, "--stop", stop) == "a"


def test_27_output_without_the_prompt(run: Path) -> None:
    options = ("--run", run, "--prompt", "the sea", "--temperature", 0)
    whole = generate(*options)
    assert whole == "the sea" + generate(*options, "--no-prompt")
    assert len(generate(*options, "--no-prompt")) == 4
    done = call("scripts/generate.py", "--length", 4, *options, "--no-prompt", "--samples", 2)
    assert done.stdout == 2 * f"{whole[7:]}\n"
    assert generate("--run", run, "--no-prompt") == generate("--run", run)  # a random start is no prompt


def test_27_json_has_prompt_and_continuation_apart(run: Path) -> None:
    for typed, prompt in ((("--prompt", r"sea\n"), "sea\n"), ((), "")):
        for line in generate("--run", run, "--json", "--samples", 2, *typed).splitlines():
            found = json.loads(line)
            assert found["prompt"] == prompt
            assert found["text"] == found["prompt"] + found["continuation"]
            assert len(found["continuation"]) == 4 + (not prompt)


def test_x18_prompts_are_treated_as_the_text_was(run: Path, tmp_path: Path) -> None:
    typed = unicodedata.normalize("NFD", f"{CAFE}\r\n{CAFE}\r")
    text = f"{CAFE}\n{CAFE}\n"
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbf" + typed.encode())
    for options in (("--prompt", typed), ("--prompt-file", tmp_path / "prompt.txt")):
        assert json.loads(generate("--run", run, "--json", *options))["prompt"] == text
    found = json.loads(generate("--run", run, "--json", "--stop", typed))
    assert found["settings"]["stop"] == [text]
    (tmp_path / "other.txt").write_bytes(typed.encode())
    done = call("scripts/evaluate.py", "--run", run, "--text", tmp_path / "other.txt")
    assert json.loads(done.stdout)["characters"] == len(text) - 1


def test_x18_so_are_the_prompts_of_sampled_grids(run: Path, tmp_path: Path) -> None:
    typed = unicodedata.normalize("NFD", CAFE)
    grid = (
        f"_target_: charrnn.training.callbacks.samples.SampleGrid, when: end, prompts: ['{typed}'], temperatures: [0.5]"
    )
    overrides = ("data.newlines=lf", "data.normalize=nfc", f"+callbacks.grid={{{grid}, length: 3, seed: 1}}")
    assert train_here(tmp_path / "run", *TINY, *overrides, path=run.parent / "text.txt")["status"] == "finished"


def test_x18_so_are_those_of_exported_networks(run: Path, model: Path) -> None:
    typed = unicodedata.normalize("NFD", f"{CAFE}\r\n")
    assert call("scripts/play.py", model, "--prompt", typed, "--length", 0).stdout == f"{CAFE}\n"
    done = call("scripts/export.py", "--format", "html", "--run", run, "--out", run / "page.html")
    assert (done.returncode, '"normalize":"NFC"' in (run / "page.html").read_text("utf-8")) == (0, True)


def test_x18_a_text_that_was_kept_keeps_the_prompt(make_network: Callable[..., Any], tmp_path: Path) -> None:
    typed = unicodedata.normalize("NFD", CAFE) + "\r\n"
    save_network(make_network(7), Vocabulary(typed), tmp_path / "net.ckpt")
    assert generate("--checkpoint", tmp_path / "net.ckpt", "--prompt", typed).startswith(typed)


@pytest.mark.parametrize("script", ["evaluate", "visualize"])
def test_22_characters_that_the_network_does_not_know(script: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a café! by the sea ☃!")
    page = ("--out", tmp_path / "page.html", "--force") if script == "visualize" else ()
    options = (f"scripts/{script}.py", "--run", run, "--text", tmp_path / "other.txt", *page)
    for action in ((), ("--unknown", "error")):
        refused(
            *call(*options, *action),
            r"'!' \(U\+0021, 2 x\), '☃' .*use --unknown skip or --unknown replace$",
            f"{script}.py",
        )
    for action, skipped, replaced in (("skip", 3, 0), ("replace", 0, 3)):
        done = call(*options, "--unknown", action)
        assert done.returncode == 0
        # the vocabulary of this run has no unknown symbol
        assert done.stderr.count("\n") == (action == "replace")
        assert ("3 unknown characters of other.txt" in done.stderr) == (action == "replace")
        if script == "evaluate":
            found = json.loads(done.stdout)
            assert [found[key] for key in ("skipped", "replaced", "characters")] == [skipped, replaced, 20 - skipped]
        else:
            name = "skipped" if skipped else "replaced"
            assert f'["{name}","3 unknown characters"]' in (tmp_path / "page.html").read_text("utf-8")


def test_22_the_unknown_symbol_replaces_if_there_is_one(make_network: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("abxayb")
    options = (
        "scripts/evaluate.py",
        "--checkpoint",
        tmp_path / "net.ckpt",
        "--text",
        tmp_path / "other.txt",
        "--unknown",
    )
    for vocabulary, expected in (
        (Vocabulary("ab", unknown=True), {"skip": (2, 0), "replace": (0, 2), "error": (0, 2)}),
        (ByteVocabulary(), {"skip": (0, 0), "replace": (0, 0), "error": (0, 0)}),
    ):
        data = {"text": {"path": ["-"], "level": vocabulary.level}}
        save_network(make_network(len(vocabulary)), vocabulary, tmp_path / "net.ckpt", data=data)
        for action, (skipped, replaced) in expected.items():
            done = call(*options, action)
            assert done.stderr == ""
            found = json.loads(done.stdout)
            assert (found["skipped"], found["replaced"], found["characters"]) == (skipped, replaced, 5 - skipped)
    save_network(make_network(2), Vocabulary("ab"), tmp_path / "net.ckpt", data={"text": {"path": ["-"]}})
    refused(*call(*options, "replace"), "remove them, or use --unknown skip$", "evaluate.py")
    (tmp_path / "other.txt").write_text("xyz")
    refused(*call(*options, "skip"), "a text to evaluate needs at least 2 characters, got 0", "evaluate.py")


BAD_TEXTS = {
    "latin.txt": "café by the sea".encode("latin-1"),
    "wide.txt": "a café".encode("utf-32-le"),
    "binary.txt": b"\xff\xfe\xfd" + bytes(range(128, 256)),
    "book.pdf": b"%PDF-1.4 ",
    "page.txt": b"<html>",
    "other.txt": "☃☃☃".encode(),
    "empty.txt": b"",
    "broken.tar.gz": b"\x1f\x8b\x08\0\0",
    "folder": None,
    "gone.txt": None,
    "": None,
}


def options_of(script: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", call(f"scripts/{script}.py", "--help").stdout))


@pytest.mark.parametrize("script", ["evaluate", "visualize", "generate"])
def test_x15_errors_name_the_options_of_the_script(script: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.md").touch()
    requests: list[tuple[object, ...]] = []
    for name, content in BAD_TEXTS.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        requests.append(("--text", tmp_path / name if name else ""))
    requests += [("--text", tmp_path / "latin.txt", "--encoding", encoding) for encoding in ("klingon", "ascii")]
    requests.append(("--text", "http://[bad"))
    if script == "generate":
        numbers = ("--length", "--temperature", "--top-k", "--top-p", "--min-p", "--samples", "--seed")
        requests = [(option, -1) for option in numbers] + [("--prompt", "☃"), ("--stop", "")]
    if script == "evaluate":
        requests += [("--dynamic", -1), ("--protocol", "windows", "--window", 0)]
    if script == "visualize":
        requests += [("--characters", 0)]
    known = options_of(script)
    for request in requests:
        called = call(f"scripts/{script}.py", "--run", run, *request)
        refused(*called, "", f"{script}.py")
        assert not re.search(r"\bdata\.[a-z]", called.stderr), called.stderr
        assert set(re.findall(r"--[a-z][a-z-]*", called.stderr)) <= known, called.stderr
        if isinstance(request[-1], int):
            assert str(request[-2]) in called.stderr


def test_x15_errors_about_the_text_of_the_run(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    for name, spoil in {
        "missing": lambda: text.unlink(),
        "undecodable": lambda: text.write_bytes(b"\xff\x80" * 900),
        "of another kind": lambda: text.write_bytes(b"%PDF-1.4"),
        "changed": lambda: text.write_text("another text"),
    }.items():
        text.write_text("a text by the sea\n" * 60)
        train_here(tmp_path / name, *TINY, path=text)
        spoil()
        for script, option, own in (
            ("evaluate", "--split=test", ("--text", "--split")),
            ("visualize", "--split=train", ("--text", "--split")),
            ("generate", "--novelty", ("--novelty",)),
        ):
            called = call(f"scripts/{script}.py", "--run", tmp_path / name, option)
            refused(*called, "the run", f"{script}.py")
            assert "data." not in called.stderr
            assert set(re.findall(r"--[a-z]+", called.stderr)) == set(own)


def test_18_a_network_is_loaded_from_a_text_a_path_or_a_folder(run: Path) -> None:
    ids_TB = torch.tensor([[0, 1], [2, 3], [1, 1]])
    expected = load_network(run / "checkpoints" / "best.ckpt").network(ids_TB)[0]
    assert expected.shape[:2] == (3, 2)
    for path in (str(run / "checkpoints" / "best.ckpt"), run, str(run), run / "checkpoints"):
        network, vocabulary, data, _ = load_network(path)
        assert torch.equal(network(ids_TB)[0], expected)
        assert len(vocabulary) == expected.shape[-1]
        assert data["text"]["newlines"] == "lf"
    with pytest.raises(RequestError, match="is a folder; choose a .ckpt file"):
        load_network(run.parent)


@pytest.fixture
def sweep(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for name, bits in (("a", 3.0), ("b", 2.0), ("c", None), ("d", 1.0)):
        shutil.copytree(run, folder / name)
        write_summary(folder / name, {**read_summary(run), "val_bits_per_char": bits})
    (folder / "multirun.yaml").touch()
    for name in ("best", "last"):
        (folder / "d" / "checkpoints" / f"{name}.ckpt").write_bytes(b"torn")
    return folder


def test_x25_a_folder_names_its_best_checkpoint(sweep: Path) -> None:
    def checkpoint(*options: object) -> str:
        return str(json.loads(generate(*options, "--json"))["settings"]["checkpoint"])

    best = str(sweep / "b" / "checkpoints" / "best.ckpt")
    for folder in (sweep, sweep / "b"):
        assert checkpoint("--run", folder) == checkpoint("--checkpoint", folder) == best
    assert checkpoint("--checkpoint", sweep / "b" / "checkpoints") == best
    assert best in call("scripts/show_checkpoint.py", sweep).stdout
    (sweep / "b" / "checkpoints" / "best.ckpt").write_bytes(b"torn")
    assert checkpoint("--run", sweep) == str(sweep / "b" / "checkpoints" / "last.ckpt")


def test_x25_a_sweep_without_a_score_is_refused(sweep: Path) -> None:
    for name in "abcd":
        (sweep / name / "summary.json").unlink()
    refused(*call("scripts/generate.py", "--run", sweep), "has a score and a checkpoint; name one", "generate.py")
    (sweep / "multirun.yaml").unlink()  # a folder of some runs is not a sweep: their texts may differ
    refused(*call("scripts/generate.py", "--run", sweep), "holds no readable checkpoint", "generate.py")


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


NOT_MODELS: dict[str, bytes | None] = {
    "book.txt": b"The quick brown fox",
    "empty.npz": b"",
    "a.zip": zipped("a.txt", b"text"),
    "other.npz": npz(weights=np.zeros(3)),
    "pickle.npz": npz(format=1, weights=np.array([Malicious()], dtype=object)),
    "array.npy": npy(np.zeros(3)),
    "newer.npz": npz(format=9),
    "folder": None,
    "gone.npz": None,
}


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    file = run.parent / "model.npz"
    assert call("scripts/export.py", "--format", "numpy", "--run", run, "--out", file).returncode == 0
    return file


@pytest.mark.parametrize("name", NOT_MODELS)
def test_x23_play_refuses_other_files_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = NOT_MODELS[name]
    if content is not None:
        Path(name).write_bytes(content)
    elif name == "folder":
        Path(name).mkdir()
    called = call("scripts/play.py", name)
    refused(*called, f"play.py: {name}( is not a model| can't be read|: expected a model of format 1)", "play.py")
    assert "allow_pickle" not in called.stderr
    assert not Path("executed").exists()


def test_x23_play_refuses_damaged_models(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:-30],
        whole[: len(whole) // 2] + b"damaged" + whole[len(whole) // 2 + 7 :],
    ):
        (tmp_path / "model.npz").write_bytes(content)
        refused(*call("scripts/play.py", tmp_path / "model.npz"), "is not a model, or is damaged", "play.py")
    arrays = dict(np.load(model))
    (tmp_path / "model.npz").write_bytes(npz(**{**arrays, "format": 9}))
    refused(
        *call("scripts/play.py", tmp_path / "model.npz"),
        "expected a model of format 1, got 9; export it again",
        "play.py",
    )
    del arrays["hidden_bias_0"]
    (tmp_path / "model.npz").write_bytes(npz(**arrays))
    refused(*call("scripts/play.py", tmp_path / "model.npz"), "do not fit together", "play.py")


def test_x23_play_needs_only_numpy(model: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "scripts" / "play.py", tmp_path)
    source = (tmp_path / "play.py").read_text("utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE))
    assert imported <= {"argparse", "codecs", "contextlib", "os", "sys", "typing", "numpy", "zipfile", "unicodedata"}


@pytest.mark.parametrize("script", ["export", "show_checkpoint", "generate"])
def test_x15_errors_about_a_run_name_the_options_of_the_script(script: str, run: Path) -> None:
    required = ("--format", "html") if script == "export" else ()
    for request in (("--run", run / "summary.json"), ("--run", "nowhere"), ("--checkpoint", "gone"), ("--run", "/")):
        called = call(f"scripts/{script}.py", *required, *request)
        refused(*called, "", f"{script}.py")
        assert set(re.findall(r"--[a-z]+", called.stderr)) <= options_of(script), called.stderr


def test_a_prompt_may_have_any_bytes(run: Path, make_network: Callable[..., Any], tmp_path: Path) -> None:
    surrogates = "caf\udcff\ud800"
    refused(*call("scripts/generate.py", "--run", run, "--prompt", surrogates), r"U\+D800", "generate.py")
    assert generate("--run", run, "--prompt", surrogates, "--unknown", "skip").startswith("caf")
    save_network(make_network(256), ByteVocabulary(), tmp_path / "net.ckpt")
    for json_option in ((), ("--json",)):
        done = call(
            "scripts/generate.py",
            "--checkpoint",
            tmp_path / "net.ckpt",
            "--length",
            3,
            "--prompt",
            "a\udcff",
            *json_option,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_prompt_of_any_bytes_on_the_command_line(run: Path) -> None:
    done = command("scripts/generate.py", "--run", run, "--prompt", "caf\udcff", "--unknown", "skip", "--length", 3)
    assert (done.returncode, done.stdout[:3], done.stderr) == (0, "caf", "")
