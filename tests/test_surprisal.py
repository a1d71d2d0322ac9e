import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from charrnn import readable, surprisal
from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary
from charrnn.generation import generate_text
from charrnn.network import CharRNN
from charrnn.readable import units
from charrnn.surprisal import COLORS, Surprisal, log_probabilities, page, surprisals, terminal_text
from charrnn.utils.errors import RequestError
from conftest import TEXT, call, save_network

Make = Callable[..., CharRNN]
V = 7
LETTERS = Vocabulary("abcdefg")
TRICKY = (
    '</script><script>document.title="lost"</script> <!-- &amp;\n'
    "cafe\u0301 naïve\tשלום مرحبا 日本語\r\n"
    "👩‍👩‍👧 👍🏽 🇩🇪🇫🇷 bell\x07 \u200bzero \u202eright\n\n"
)
FACTS: dict[str, Any] = {"text": "tricky", "window": None, "note": "", "figures": [], "about": []}


def ids(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(V, size=n).astype(np.uint8)


@pytest.mark.parametrize("window", [None, 1, 10, 95, 200])
def test_surprisal_equals_plain_steps(make_network: Make, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surprisal, "CHUNK", 4)
    monkeypatch.setattr(surprisal, "WINDOWS_AT_ONCE", 3)
    network, text = make_network(V, layers=2, dropout=0.5).double(), ids(96)
    found = surprisals(network.train(), text, window)
    assert network.training
    network.eval()
    for n in range(95):
        if n % (window or 95) == 0:
            state = network.initial_state(1)
        logits, state = network.step(torch.tensor([int(text[n])]), state)
        logs = logits[0].detach().log_softmax(0)
        assert found.bits_N[n] == pytest.approx(-logs[int(text[n + 1])].item() / math.log(2), rel=1e-12)
        best = sorted(range(V), key=lambda symbol: -logs[symbol].item())[:5]
        assert found.guesses_NK[n].tolist() == best
        assert found.probabilities_NK[n] == pytest.approx(logs[best].exp().numpy(), rel=1e-12)
    assert len(found.bits_N) == 95


def test_what_has_no_surprisal(make_network: Make) -> None:
    with pytest.raises(RequestError, match="at least 2 characters, got 1"):
        surprisals(make_network(), ids(1))
    network = make_network()
    torch.nn.init.constant_(network.output_bias, math.nan)
    with pytest.raises(RequestError, match="no numbers"):
        surprisals(network, ids(9))


def test_a_unit_is_what_a_reader_sees_as_one_character() -> None:
    for text, pieces, sizes in (
        ("a b\n", ["a", " ", "b", "↵\n"], [1, 1, 1, 1]),
        ("e\u0301\n\u0301", ["e\u0301", "↵\n", "◌\u0301"], [2, 1, 1]),
        ("\t\r\x00\x7f\u200b\u202e\ud800", ["⇥\t", "⇤", "U+0000", "U+007F", "U+200B", "U+202E", "U+D800"], [1] * 7),
        ("👩‍👩‍👧👍🏽🇩🇪🇫🇷", ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷"], [5, 2, 2, 2]),
        ("\u200d\nक\u094d\u3000", ["U+200D", "↵\n", "क\u094d", "\u3000"], [1, 1, 2, 1]),
    ):
        seen, counts = units(Vocabulary(text).encode(text), Vocabulary(text))
        assert (seen, counts.tolist()) == (pieces, sizes)
    sequence = np.frombuffer("aé\u3000e\u0301".encode() + b"\xff\xc3(", dtype=np.uint8)
    seen, counts = units(sequence, ByteVocabulary())
    assert (seen, counts.tolist()) == (["a", "é", "\u3000", "e\u0301", "0xFF", "0xC3", "("], [1, 2, 3, 3, 1, 1, 1])
    seen, counts = units(sequence[:3], ByteVocabulary(utf8=False))
    assert (seen, counts.tolist()) == (["a", "0xC3", "0xA9"], [1, 1, 1])


@given(st.text(st.characters(), min_size=1) | st.binary(min_size=1))
def test_every_symbol_is_in_one_unit_and_does_nothing_to_the_text_around_it(text: str | bytes) -> None:
    vocabulary: AnyVocabulary = Vocabulary(text) if isinstance(text, str) else ByteVocabulary()
    sequence = vocabulary.encode(text) if isinstance(text, str) else np.frombuffer(text, dtype=np.uint8)
    seen, counts = units(sequence, vocabulary)
    assert counts.sum() == len(sequence)
    assert counts.min() >= 1
    assert all(piece.encode("utf-8") for piece in seen)
    assert all("\n" not in piece.removesuffix("\n") for piece in seen)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u202a-\u202e\u2066-\u2069]", "".join(seen))


def test_the_terminal_shows_one_color_a_bit_and_none_over_a_line_end() -> None:
    vocabulary = Vocabulary("ab\n ")
    bits = np.array([0.9, 1.0, 8.5, 2.5, 0.0, 30.0])  # of the text without its first character
    sequence = vocabulary.encode("abb\n\nb ")
    shown = terminal_text(Surprisal(bits, np.zeros((6, 1), int), np.ones((6, 1))), sequence, vocabulary)
    scale, text = shown.split("\n\n", 1)
    front, back = zip(*COLORS, strict=True)
    on = [f"\x1b[38;5;{text};48;5;{ground}m" for text, ground in zip(front, back, strict=True)]
    assert scale.count("\x1b[48") == 0
    assert [scale.count(color) for color in on] == [1] * len(COLORS)
    assert text == f"ab{on[0]}b\x1b[0m{on[7]}↵\x1b[0m\n{on[1]}↵\x1b[0m\nb{on[7]} \x1b[0m"
    for line in shown.split("\n"):
        assert line.count("\x1b[38") == line.count("\x1b[0m")


def opened(browser: webdriver.Chrome, file: Path, html: str) -> webdriver.Chrome:
    file.write_text(html, "utf-8")
    browser.set_window_size(1280, 900)
    browser.get(file.as_uri())
    assert browser.get_log("browser") == []
    return browser


def percent(p: float) -> str:
    return "< 0.1 %" if p < 0.0005 else f"{100 * p:.1f} %"


def rows(browser: webdriver.Chrome) -> list[tuple[str, str, bool]]:
    """What the card lists: symbol, probability, and whether it is the one that came."""
    read = """return [...document.querySelectorAll("#card tr")].map((row) =>
        [row.cells[0].textContent, row.cells[2].textContent, row.classList.contains("own")])"""
    return [tuple(row) for row in browser.execute_script(read)]


def test_the_page_shows_the_text_its_bits_and_the_guesses(
    browser: webdriver.Chrome, make_network: Make, tmp_path: Path
) -> None:
    vocabulary = Vocabulary(TRICKY)
    sequence = vocabulary.encode(TRICKY)
    found = surprisals(make_network(len(vocabulary)), sequence)
    opened(browser, tmp_path / "page.html", page(found, sequence, vocabulary, FACTS))
    assert browser.title == "Surprisal: tricky"
    seen, counts = units(sequence, vocabulary)
    spans = browser.find_elements(By.CSS_SELECTOR, "#text span")
    assert browser.execute_script("return [...document.querySelectorAll('#text span')].map(s => s.textContent)") == seen
    starts = counts.cumsum() - counts
    for unit in (1, 3, 40, seen.index("e\u0301"), seen.index("⇤"), seen.index("👍🏽")):
        ActionChains(browser).move_to_element(spans[unit]).perform()
        expected = []
        for n in range(starts[unit] - 1, starts[unit] + counts[unit] - 1):
            own = sequence[n + 1]
            listed = dict(zip(found.guesses_NK[n], found.probabilities_NK[n], strict=True))
            listed[own] = 2 ** -found.bits_N[n]
            for symbol, p in listed.items():
                expected.append((readable.sign(vocabulary.decode([symbol])), percent(p), symbol == own))
        assert rows(browser) == expected
        bits = found.bits_N[starts[unit] - 1 : starts[unit] + counts[unit] - 1].sum()
        shown = float(browser.find_element(By.CSS_SELECTOR, "#card h2 span").text.removesuffix(" bits"))
        assert shown == pytest.approx(bits, abs=0.01)
        assert f"s{min(8, int(bits))}" in spans[unit].get_attribute("class") or bits < 1
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_page_is_read_by_keys_and_taps(browser: webdriver.Chrome, make_network: Make, tmp_path: Path) -> None:
    vocabulary = Vocabulary("ab\n")
    sequence = vocabulary.encode("aba\nbab\n" * 2000)  # more than what gets its colors at once
    opened(browser, tmp_path / "page.html", page(surprisals(make_network(3), sequence), sequence, vocabulary, FACTS))
    painted = "return document.querySelectorAll('#text span').length"
    assert 0 < browser.execute_script(painted) < len(sequence)
    text = browser.find_element(By.ID, "text")
    assert text.text.count("↵") == 4000

    def chosen(*keys: str) -> int:
        ActionChains(browser).send_keys(*keys).perform()
        return browser.execute_script("return chosen && unitOf(chosen)")

    browser.execute_script("arguments[0].focus({ preventScroll: true })", text)
    assert chosen(Keys.ARROW_RIGHT) == 0
    assert "given, not predicted" in browser.find_element(By.ID, "card").text
    assert chosen(Keys.ARROW_RIGHT) == 1
    assert len(rows(browser)) == 3
    assert chosen(Keys.ARROW_DOWN) == 5
    assert chosen(Keys.ARROW_LEFT, Keys.ARROW_UP) == 0
    assert chosen(*[Keys.ARROW_DOWN] * 200) == 800
    assert chosen(Keys.ESCAPE) is None
    assert not browser.find_element(By.ID, "card").is_displayed()
    span = browser.find_element(By.CSS_SELECTOR, "#text span:nth-child(3)")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", span)
    assert browser.execute_script("return unitOf(chosen)") == 2
    browser.find_element(By.TAG_NAME, "h1").click()
    assert not browser.find_element(By.ID, "card").is_displayed()


@pytest.fixture
def trained(make_network: Make, tmp_path: Path) -> tuple[Path, CharRNN, Vocabulary]:
    """A checkpoint of a network that knows the letters of TRICKY, but for those that it does not."""
    vocabulary = Vocabulary(TRICKY.replace("ï", ""), unknown=True)
    network = make_network(len(vocabulary))
    save_network(network, vocabulary, tmp_path / "tiny.ckpt", data={"text": {**TEXT, "path": ["gone.txt"]}})
    (tmp_path / "tricky.txt").write_bytes((TRICKY * 20).encode())
    return tmp_path, network, vocabulary


@pytest.mark.parametrize("window", [None, 9])
def test_evaluate_writes_the_page(
    browser: webdriver.Chrome,
    trained: tuple[Path, CharRNN, Vocabulary],
    window: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, network, vocabulary = trained
    more = ("--protocol", "windows", "--window", str(window)) if window else ()
    asked = ("--checkpoint", f"{folder}/tiny.ckpt", "--text", f"{folder}/tricky.txt", *more)
    plain = call("scripts/evaluate.py", *asked)
    assert call("scripts/evaluate.py", *asked, "--surprisal", f"{folder}/a/page.html") == plain
    result = json.loads(plain[1])
    opened(browser, folder / "again.html", (folder / "a" / "page.html").read_text("utf-8"))
    shown = browser.find_element(By.TAG_NAME, "header").text
    for figure in (f"{result['bits_per_char']:.4f}", f"{result['perplexity']:.3f}", f"{result['characters']:,}"):
        assert figure in shown
    for fact in ("1 layer of 5 (elman, tanh)", "tiny.ckpt", f"every {window}" if window else "carried", "� what"):
        assert fact in shown
    mean = browser.execute_script("return bits.reduce((sum, b) => sum + b, 0) / bits.length")
    assert mean == pytest.approx(result["bits_per_char"], abs=1e-3)
    assert browser.execute_script("return bits.length") == result["characters"]

    monkeypatch.setattr(surprisal, "SHOWN", 100)
    code, out, err = call("scripts/evaluate.py", *asked, "--surprisal", f"{folder}/page.html")
    assert (code, out) == plain[:2]
    assert err == f"evaluate.py: --surprisal shows the first 100 of {result['characters']:,} characters\n"
    opened(browser, folder / "page.html", (folder / "page.html").read_text("utf-8"))
    ids = vocabulary.encode(TRICKY)[:101]
    bits = surprisals(network, ids, window).bits_N
    note = f"Only the first 100 of {result['characters']:,} characters are shown; they cost {bits.mean():.4f} bits"
    assert browser.find_element(By.ID, "note").text.startswith(note)
    assert browser.execute_script("return bits") == pytest.approx(bits.tolist(), abs=6e-4)


def test_evaluate_colors_the_terminal_and_ends_with_the_json(trained: tuple[Path, CharRNN, Vocabulary]) -> None:
    folder, *_ = trained
    asked = ("--checkpoint", f"{folder}/tiny.ckpt", "--text", f"{folder}/tricky.txt")
    plain = call("scripts/evaluate.py", *asked)
    code, out, err = call("scripts/evaluate.py", *asked, "--surprisal", "-")
    assert (code, err) == (0, "")
    assert out.endswith("\n" + plain[1])
    bare = re.sub("\x1b\\[[0-9;]*m", "", out).replace("↵", "").split("\n\n", 1)[1]
    assert bare.startswith(TRICKY.split("\n")[0])
    assert bare.count("\n") == 20 * TRICKY.count("\n") + 2


def test_what_evaluate_refuses() -> None:
    for asked, message in (
        (("--dynamic", "0.1", "--surprisal", "page.html"), "leave out --dynamic"),
        (("--surprisal", "."), "--surprisal needs the name of a file, . is a folder"),
    ):
        code, out, err = call("scripts/evaluate.py", *asked)
        assert (code, out) == (2, "")
        assert message in err


def test_log_probabilities_are_those_of_one_step_after_the_other(make_network: Make) -> None:
    network = make_network(dropout=0.5).train()
    text = generate_text(network, LETTERS, prompt="cab", length=600, temperature=0.7, seed=1)
    logs = log_probabilities(network, LETTERS, "cab", text)
    ids, state_LBS = LETTERS.encode(text).astype(np.int64), network.initial_state(1)
    assert len(logs) == 600
    assert network.training
    expected, network = [], network.eval()
    for this, following in pairwise(ids):
        with torch.no_grad():
            logits_BV, state_LBS = network.step(torch.tensor([this]), state_LBS)
        expected.append(torch.log_softmax(logits_BV[0], 0)[following].item())
    np.testing.assert_allclose(logs, expected[2:], atol=1e-4)
    alone = generate_text(network, LETTERS, length=10, temperature=0.7, seed=1)
    assert len(log_probabilities(network, LETTERS, "", alone)) == 10
    assert log_probabilities(network, LETTERS, "cab", "cab") == []
