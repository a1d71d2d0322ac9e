import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from charrnn.data.vocabulary import Vocabulary
from charrnn.evaluation.surprisal import Surprisal, surprisals
from charrnn.network import CharRNN
from charrnn.visualization import graphemes
from charrnn.visualization.graphemes import split_graphemes
from charrnn.visualization.pages import surprisal_page
from charrnn.visualization.pages.surprisal_page import COLORS, page, terminal_text
from conftest import TEXT, call, save_network

Make = Callable[..., CharRNN]
TRICKY = (
    '</script><script>document.title="lost"</script> <!-- &amp;\n'
    "cafe\u0301 naïve\tשלום مرحبا 日本語\r\n"
    "👩‍👩‍👧 👍🏽 🇩🇪🇫🇷 bell\x07 \u200bzero \u202eright\n\n"
)
FACTS: dict[str, Any] = {"text": "tricky", "window": None, "note": "", "metrics": [], "about": []}


def test_the_terminal_shows_one_color_per_bit_and_none_across_lines() -> None:
    vocabulary = Vocabulary("ab\n ")
    bits = np.array([0.9, 1.0, 8.5, 2.5, 0.0, 30.0])  # of all characters but the first
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
    """Return the rows of the card: symbol, probability, and whether it is the actual symbol."""
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
    seen, counts = split_graphemes(sequence, vocabulary)
    spans = browser.find_elements(By.CSS_SELECTOR, "#text span")
    assert browser.execute_script("return [...document.querySelectorAll('#text span')].map(s => s.textContent)") == seen
    starts = counts.cumsum() - counts
    for index in (1, 3, 40, seen.index("e\u0301"), seen.index("⇤"), seen.index("👍🏽")):
        ActionChains(browser).move_to_element(spans[index]).perform()
        expected = []
        for n in range(starts[index] - 1, starts[index] + counts[index] - 1):
            own = sequence[n + 1]
            listed = dict(zip(found.guesses_NK[n], found.probabilities_NK[n], strict=True))
            listed[own] = 2 ** -found.bits_N[n]
            for symbol, p in listed.items():
                expected.append((graphemes.sign(vocabulary.decode([symbol])), percent(p), symbol == own))
        assert rows(browser) == expected
        bits = found.bits_N[starts[index] - 1 : starts[index] + counts[index] - 1].sum()
        shown = float(browser.find_element(By.CSS_SELECTOR, "#card h2 span").text.removesuffix(" bits"))
        assert shown == pytest.approx(bits, abs=0.01)
        assert f"s{min(8, int(bits))}" in spans[index].get_attribute("class") or bits < 1
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_page_reacts_to_keys_and_taps(browser: webdriver.Chrome, make_network: Make, tmp_path: Path) -> None:
    vocabulary = Vocabulary("ab\n")
    sequence = vocabulary.encode("aba\nbab\n" * 2000)  # more than one block is colored at once
    opened(browser, tmp_path / "page.html", page(surprisals(make_network(3), sequence), sequence, vocabulary, FACTS))
    painted = "return document.querySelectorAll('#text span').length"
    assert 0 < browser.execute_script(painted) < len(sequence)
    text = browser.find_element(By.ID, "text")
    assert text.text.count("↵") == 4000

    def chosen(*keys: str) -> int:
        ActionChains(browser).send_keys(*keys).perform()
        return browser.execute_script("return chosen && graphemeOf(chosen)")

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
    assert browser.execute_script("return graphemeOf(chosen)") == 2
    browser.find_element(By.TAG_NAME, "h1").click()
    assert not browser.find_element(By.ID, "card").is_displayed()


@pytest.fixture
def trained(make_network: Make, tmp_path: Path) -> tuple[Path, CharRNN, Vocabulary]:
    """A checkpoint of a network whose vocabulary has all characters of TRICKY but one."""
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
    for metric in (f"{result['bits_per_char']:.4f}", f"{result['perplexity']:.3f}", f"{result['characters']:,}"):
        assert metric in shown
    for fact in (
        "1 layer of 5 (elman, tanh)",
        "tiny.ckpt",
        f"every {window}" if window else "carried",
        "� a character not in the vocabulary",
    ):
        assert fact in shown
    mean = browser.execute_script("return bits.reduce((sum, b) => sum + b, 0) / bits.length")
    assert mean == pytest.approx(result["bits_per_char"], abs=1e-3)
    assert browser.execute_script("return bits.length") == result["characters"]

    monkeypatch.setattr(surprisal_page, "MAX_SHOWN_SYMBOLS", 100)
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


def test_wrong_requests() -> None:
    for asked, message in (
        (("--dynamic", "0.1", "--surprisal", "page.html"), "remove --dynamic"),
        (("--surprisal", "."), "--surprisal needs a file name, but . is a folder"),
    ):
        code, out, err = call("scripts/evaluate.py", *asked)
        assert (code, out) == (2, "")
        assert message in err
