"""The three commands that write the page: one template, opened at the place that was asked for."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from charrnn.data.splits import read_split
from charrnn.data.vocabulary import Vocabulary
from charrnn.evaluation.surprisal import surprisals
from charrnn.network import CharRNN
from charrnn.runs.load import load_network
from charrnn.visualization.page import page as module
from conftest import TEXT, call, save_network, train_here

LINES = "a line of text (with brackets)\n\tand another one, naïve\r\n" * 20
Trained = tuple[Path, CharRNN, Vocabulary]


@pytest.fixture
def trained(make_network: Callable[..., CharRNN], tmp_path: Path) -> Trained:
    """A checkpoint of a network whose vocabulary has all characters of LINES but one, and whose own text is gone."""
    vocabulary = Vocabulary(LINES.replace("ï", ""), unknown=True)
    network = make_network(len(vocabulary))
    data = {
        "text": {**TEXT, "path": ["gone.txt"]}, "corpus_sha256": "0", "train_share": 0.9,
        "validation_fraction": 0.1, "test_fraction": 0.0,
    }  # fmt: skip
    save_network(network, vocabulary, tmp_path / "tiny.ckpt", data=data)
    (tmp_path / "lines.txt").write_bytes(LINES.encode())
    return tmp_path, network, vocabulary


def data_of(content: str) -> dict[str, Any]:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', content)[0])


@pytest.mark.parametrize("window", [None, 9])
def test_evaluate_writes_a_page_that_computes_its_score(
    browser: webdriver.Chrome, trained: Trained, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, network, vocabulary = trained
    more = ("--protocol", "windows", "--window", window) if window else ()
    asked = ("--checkpoint", folder / "tiny.ckpt", "--text", folder / "lines.txt", *more)
    plain = call("scripts/evaluate.py", *asked)
    assert call("scripts/evaluate.py", *asked, "--surprisal", folder / "a" / "page.html") == plain
    result = json.loads(plain[1])
    browser.get((folder / "a" / "page.html").as_uri())
    assert browser.title == "Surprisal: lines.txt"
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "progress").text == "")
    shown = browser.find_element(By.TAG_NAME, "body").text
    for fact in (
        f"{result['bits_per_char']:.4f}", f"{result['perplexity']:.3f}", f"{result['characters']:,}",
        "1 layer of 5 (elman, tanh)", "tiny.ckpt", f"every {window}" if window else "carried",
    ):  # fmt: skip
        assert fact in shown
    assert float(browser.find_element(By.ID, "mean").text) == pytest.approx(result["bits_per_char"], abs=1e-3)

    code, out, err = call("scripts/evaluate.py", *asked, "--surprisal", folder / "lines.txt")
    assert (code, out, (folder / "lines.txt").read_bytes()) == (2, "", LINES.encode())
    assert "lines.txt already exists; choose another file with --surprisal, or overwrite it with --force" in err
    assert call("scripts/evaluate.py", *asked, "--surprisal", folder / "a" / "page.html", "--force") == plain

    monkeypatch.setattr(module, "MAX_SHOWN_SYMBOLS", 100)
    code, out, err = call("scripts/evaluate.py", *asked, "--surprisal", folder / "page.html")
    assert (code, out) == plain[:2]
    start = f"the first 100 of {result['characters']:,} characters"
    assert err == f"evaluate.py: --surprisal shows {start}\n"
    data = data_of((folder / "page.html").read_text("utf-8"))
    bits = surprisals(network, vocabulary.encode(LINES)[:101], window).bits_N
    assert data["facts"]["note"] == f"Only {start} are shown; they cost {bits.mean():.4f} bits per character."
    assert (len(data["ids"]), data["window"]) == (101, window)


def test_the_three_commands_share_one_template(trained: Trained) -> None:
    folder, *_ = trained
    asked = ("--checkpoint", folder / "tiny.ckpt")
    text = ("--text", folder / "lines.txt")
    pages = {}
    for tab, script, options in (
        ("step", "export", ("--format", "html", "--out")),
        ("score", "evaluate", (*text, "--surprisal")),
        ("units", "visualize", (*text, "--out")),
    ):
        done = call(f"scripts/{script}.py", *asked, *options, folder / f"{tab}.html")
        assert (done.returncode, done.stderr) == (0, "")
        pages[tab] = (folder / f"{tab}.html").read_text("utf-8")
    bare = {re.sub(r'(id="data">).*?(</script>)', r"\1\2", content) for content in pages.values()}
    assert len(bare) == 1
    data = {tab: data_of(content) for tab, content in pages.items()}
    assert {tab: content["tab"] for tab, content in data.items()} == {tab: tab for tab in data}
    assert data["step"]["weights"] == data["score"]["weights"] == data["units"]["weights"]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", bare.pop())  # no request to anywhere


def test_visualize_writes_a_page_with_charts(browser: webdriver.Chrome, trained: Trained) -> None:
    folder, *_ = trained
    asked = ("--checkpoint", folder / "tiny.ckpt", "--text", folder / "lines.txt")
    assert call("scripts/visualize.py", *asked, "--out", folder / "page.html").returncode == 0
    browser.get((folder / "page.html").as_uri())
    assert browser.find_element(By.ID, "tab-units").get_attribute("aria-selected") == "true"
    assert browser.find_elements(By.CSS_SELECTOR, "#unit-list li")
    charts = browser.find_elements(By.CSS_SELECTOR, "#charts figure")
    assert len(charts) == len(data_of((folder / "page.html").read_text("utf-8"))["facts"]["diagnostics"]["charts"]) >= 2
    for chart in charts:
        assert chart.is_displayed()
        lines = [line.get_attribute("points").split() for line in chart.find_elements(By.TAG_NAME, "polyline")]
        assert all(len(points) > 5 and "NaN" not in " ".join(points) for points in lines)
    assert browser.execute_script("return ticks(1e-19, 1, true)") == pytest.approx([1, 1e-4, 1e-8, 1e-12, 1e-16])
    assert all(len(browser.execute_script(f"return ticks(3e-{n}, 1, true)")) <= 6 for n in range(1, 40))
    assert browser.get_log("browser") == []


def test_the_exported_page_opens_on_the_validation_split(text_file: Path, tmp_path: Path) -> None:
    small = ("model.hidden=8", "trainer.max_steps=3", "threads=1", "data.batch_size=2", "data.sequence_length=8")
    train_here(tmp_path / "run", "data=text", *small, path=text_file)
    done = call("scripts/export.py", "--format", "html", "--run", tmp_path / "run", "--out", tmp_path / "page.html")
    assert done.returncode == 0
    data = data_of((tmp_path / "page.html").read_text("utf-8"))
    assert data["facts"]["text"] == "small.txt: validation split"
    assert data["facts"]["val_bits_per_char"] > 0
    _, vocabulary, settings, _ = load_network(tmp_path / "run")
    assert data["ids"] == read_split(settings, vocabulary, "validation")[:2000].tolist()


def test_without_its_text_the_page_opens_on_one_that_the_network_writes(trained: Trained) -> None:
    folder, _, vocabulary = trained
    out = folder / "page.html"
    call("scripts/export.py", "--format", "html", "--checkpoint", folder / "tiny.ckpt", "--out", out)
    data = data_of(out.read_text("utf-8"))
    assert data["facts"]["text"] == "written by the network itself"
    assert len(data["ids"]) == module.OPENING_SYMBOLS
    assert set(data["ids"]) <= set(range(len(vocabulary)))
