"""docs/one-step.html: the tiny network of docs/inside-the-rnn.md as a page. Run this file to write it again."""

import contextlib
import io
import re
from typing import Any

import numpy as np
import torch
from selenium import webdriver

from charrnn.data.vocabulary import Vocabulary
from charrnn.network import CharRNN
from charrnn.runs.load import LoadedNetwork
from charrnn.visualization.page.page import measure_units, page
from conftest import OPTIONS, ROOT

FILE = ROOT / "docs" / "one-step.html"
LESSON = (ROOT / "docs" / "inside-the-rnn.md").read_text("utf-8")
READ = "baca"


def lesson() -> dict[str, Any]:
    """Return the names of the lesson's first block: the weights."""
    names: dict[str, Any] = {}
    code = re.findall(r"^```python\n(.*?)^```", LESSON, re.DOTALL | re.MULTILINE)[0]
    with np.printoptions(), contextlib.redirect_stdout(io.StringIO()):
        exec(code, names)
    return names


def lesson_page() -> str:
    weights, vocabulary = lesson(), Vocabulary("abc")
    network = CharRNN(3, cell="elman", hidden=2, layers=1, dropout=0.0, residual=True, **OPTIONS)
    cell = network.cells[0]
    pairs = {
        "W_xh": cell.input_to_hidden, "W_hh": cell.hidden_to_hidden, "b_h": cell.hidden_bias,
        "W_hy": network.hidden_to_output, "b_y": network.output_bias,
    }  # fmt: skip
    with torch.no_grad():
        for name, values in pairs.items():
            values.copy_(torch.from_numpy(weights[name]))
    ids = vocabulary.encode(READ)
    loaded = LoadedNetwork(network, vocabulary, {}, {})
    facts = {"text": f"“{READ}”, the example of the lesson “Inside the RNN”"}
    return page(loaded, ids, measure_units(network, vocabulary, ids, READ), facts)


def test_the_page_in_docs_is_that_of_the_lesson() -> None:
    command = "PYTHONPATH=tests python tests/visualization/page/test_lesson_page.py"
    assert FILE.read_text("utf-8") == lesson_page(), f"write it again: {command}"


def test_it_shows_the_numbers_of_the_lesson(browser: webdriver.Chrome) -> None:
    browser.get(FILE.as_uri())
    logits = browser.execute_script("return view.reading.ids.map((_, t) => [...view.reading.logits(t)])")
    states = browser.execute_script("return view.reading.states.map(([{ h }]) => [...h])")
    for character, state, scores in zip(READ, states, logits, strict=True):
        numbers = [np.array2string(np.array(values), precision=3, floatmode="fixed") for values in (state, scores)]
        assert f"{character} h = {numbers[0]}  y = {numbers[1]}" in LESSON
    shown = browser.execute_script("return at('unit-sum').textContent")
    assert shown.endswith("= +0.837")  # the last state of the lesson's second block
    assert not browser.get_log("browser")


if __name__ == "__main__":
    FILE.write_text(lesson_page(), "utf-8")
