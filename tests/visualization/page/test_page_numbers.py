"""The page computes what Python computes: probabilities, texts, contributions, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium import webdriver

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary
from charrnn.evaluation.surprisal import surprisals
from charrnn.generation.generate import generate_text
from charrnn.network import CharRNN
from charrnn.runs.load import LoadedNetwork
from charrnn.visualization.page import page as module
from charrnn.visualization.page.page import measure_units, page
from conftest import OPTIONS

LETTERS = Vocabulary("\n abcé€\U0001f600")
RELU = {**OPTIONS, "activation": "relu", "recurrent_gain": 0.8}
NETWORKS: dict[str, tuple[AnyVocabulary, dict[str, Any]]] = {
    "tanh": (LETTERS, {"layers": 1, **OPTIONS}),
    "relu": (LETTERS, {"layers": 1, **RELU}),
    "relu, 3 layers": (Vocabulary("\n abcde", unknown=True), {"layers": 3, **RELU}),
    "tanh, not residual": (LETTERS, {"layers": 2, "residual": False, **OPTIONS}),
    "bytes": (ByteVocabulary(), {"layers": 2, **OPTIONS}),
    "2 symbols": (Vocabulary("01"), {"layers": 1, **OPTIONS}),
    "gru": (LETTERS, {"layers": 1, "cell": "gru"}),
    "gru, 3 layers": (LETTERS, {"layers": 3, "cell": "gru"}),
    "lstm": (LETTERS, {"layers": 1, "cell": "lstm"}),
    "lstm, 3 layers": (LETTERS, {"layers": 3, "cell": "lstm", "residual": False}),
}
EXACT = ("relu", "relu, 3 layers")
T = 200


def make(name: str, **changes: Any) -> tuple[CharRNN, AnyVocabulary]:
    vocabulary, settings = NETWORKS[name]
    options = {"cell": "elman", "hidden": 20, "dropout": 0.0, "residual": True, **settings, **changes}
    network = CharRNN(len(vocabulary), **options)
    with torch.no_grad():
        for values in network.parameters():
            if values.ndim == 1 or values is network.hidden_to_output:
                values.normal_(std=0.7)
    return network.eval(), vocabulary


def text_of(vocabulary: AnyVocabulary, length: int = T) -> np.ndarray:
    ids = np.random.default_rng(1).integers(len(vocabulary), size=length)
    return ids.astype(np.uint8)


Open = Callable[..., None]


@pytest.fixture
def open_page(browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setattr(module, "SHOWN_DIGIT", 0)  # 32-bit weights

    def opened(network: CharRNN, vocabulary: AnyVocabulary, ids: np.ndarray, **options: Any) -> None:
        units = measure_units(network, vocabulary, ids, "a text")
        loaded = LoadedNetwork(network, vocabulary, {}, {})
        (tmp_path / "page.html").write_text(page(loaded, ids, units, {"text": "a text"}, **options), "utf-8")
        browser.get((tmp_path / "page.html").as_uri())
        assert browser.get_log("browser") == []

    return opened


def probabilities(network: CharRNN, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits_TBV, _ = network(torch.from_numpy(ids.astype(np.int64))[:, None])
    return logits_TBV[:, 0].softmax(-1).numpy()


def page_probabilities(browser: webdriver.Chrome) -> np.ndarray:
    script = "return view.reading.ids.map((_, t) => [...softmax(view.reading.logits(t))])"
    return np.array(browser.execute_script(script))


@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_and_texts_equal_those_of_python(name: str, browser: webdriver.Chrome, open_page: Open) -> None:
    network, vocabulary = make(name)
    ids = text_of(vocabulary)
    open_page(network, vocabulary, ids)
    assert np.abs(page_probabilities(browser) - probabilities(network, ids)).max() < 1e-4
    prompt = "01" if name == "2 symbols" else "ab c"
    greedy = generate_text(network, vocabulary, prompt=prompt, length=T, temperature=0)
    assert browser.execute_script("return generate(...arguments)", prompt, T, 0) == greedy
    drawn = generate_text(network, vocabulary, prompt=prompt, length=T, temperature=0.9, seed=2)
    script = "const draws = arguments[3]; return generate(...[...arguments].slice(0, 3), () => draws.shift())"
    draws = np.random.default_rng([2, 0]).random(T).tolist()
    assert browser.execute_script(script, prompt, T, 0.9, draws) == drawn
    assert browser.get_log("browser") == []


def test_16_bit_weights_are_used_where_they_change_no_shown_digit(
    browser: webdriver.Chrome, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, vocabulary = make("relu", hidden=40)
    ids = text_of(vocabulary)
    differences = []
    for digit, short in ((1e-9, False), (1e-3, True)):
        monkeypatch.setattr(module, "SHOWN_DIGIT", digit)
        open_page(network, vocabulary, ids)
        differences.append(np.abs(page_probabilities(browser) - probabilities(network, ids)).max())
        assert browser.execute_script("return page.weights.hidden_to_hidden_0.integers !== undefined") == short
    assert differences[0] < 1e-5 < differences[1] < 1e-3


def by_autograd(network: CharRNN, ids: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient times input of each character [T], and the norm of dy / dh_t after each of them [T].

    Every position gets a column of W_xh of its own, so that autograd tells them apart.
    """
    settings = {**network.settings, "vocabulary_size": len(ids)}
    wide = CharRNN(**settings).eval()
    weights = {name: values.detach().clone() for name, values in network.named_parameters()}
    first = next(name for name in weights if name.endswith(("0.input_to_hidden", "0.layer.weight_ih_l0")))
    weights[first] = weights[first][:, ids.astype(np.int64)]
    for name in ("hidden_to_output", "output_bias"):
        padding = (0, 0) * (weights[name].ndim - 1) + (0, len(ids) - len(weights[name]))
        weights[name] = torch.nn.functional.pad(weights[name], padding)
    wide.load_state_dict(weights)
    state, states = wide.initial_state(1), []
    for t in range(len(ids)):
        logits, state = wide.step(torch.tensor([t]), state)
        states.append(state)
    table = wide.get_parameter(first)
    table_gradient, *gradients = torch.autograd.grad(logits[0, chosen], [table, *states[:-1]])
    lengths = [float(gradient.norm()) for gradient in gradients]
    return (table_gradient * table).sum(0).detach().numpy(), np.array(lengths)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "bytes"])
def test_the_split_of_a_logit_is_gradient_times_input(name: str, browser: webdriver.Chrome, open_page: Open) -> None:
    network, vocabulary = make(name)
    ids = text_of(vocabulary, 30)
    open_page(network, vocabulary, ids)
    found = browser.execute_script("return trace(view.reading, 29, 1)")
    contributions, lengths = by_autograd(network, ids, 1)
    count = len(found["characters"])  # it stops where the error has vanished
    assert found["characters"] == pytest.approx(contributions[::-1][:count].tolist(), rel=1e-5, abs=1e-4)
    assert found["lengths"][1:] == pytest.approx(lengths[::-1][: count - 1].tolist(), rel=1e-3, abs=1e-6)
    assert count == 30 or found["lengths"][-1] < 1e-4 * found["lengths"][0]
    assert (found["earlier"] == 0) == (count == 30)
    parts = sum(found["characters"]) + found["bias"] + found["earlier"]
    logit = browser.execute_script("return view.reading.logits(29)[1]")
    assert (parts == pytest.approx(logit, rel=1e-6, abs=1e-4)) == (name in EXACT)


def test_the_card_of_a_unit_names_what_its_layer_reads(browser: webdriver.Chrome, open_page: Open) -> None:
    network, vocabulary = make("relu, 3 layers")
    open_page(network, vocabulary, text_of(vocabulary))
    for layer, source in ((1, "from layer 0 "), (2, "from the layers below ")):  # residual: their sum
        browser.execute_script(f"pointAt({{ layer: {layer}, unit: 0 }})")
        assert source in browser.execute_script("return at('unit-sum').textContent")


@pytest.mark.parametrize("name", EXACT)
def test_the_split_is_exact_for_relu_also_where_it_stops_early_or_a_unit_is_held(
    name: str, browser: webdriver.Chrome, open_page: Open
) -> None:
    network, vocabulary = make(name)
    open_page(network, vocabulary, text_of(vocabulary))
    for t, hold in ((180, "null"), (180, "{ layer: 0, unit: 3, value: 1.5, from: 170 }")):
        browser.execute_script(f"view.reading.setHold({hold}); view.reading.reach({t})")
        for chosen in (0, 3):
            split = browser.execute_script(f"return trace(view.reading, {t}, {chosen})")
            assert len(split["characters"]) <= 128 and split["earlier"] != 0
            parts = sum(split["characters"]) + sum(split[key] for key in ("bias", "held", "earlier"))
            logit = browser.execute_script(f"return view.reading.logits({t})[{chosen}]")
            assert parts == pytest.approx(logit, rel=1e-6, abs=1e-4)
            assert (split["held"] != 0) == (hold != "null")


@pytest.mark.parametrize(("name", "window"), [("tanh", None), ("tanh", 9), ("bytes", None), ("lstm", 7)])
def test_the_surprisal_equals_that_of_python(
    name: str, window: int | None, browser: webdriver.Chrome, open_page: Open
) -> None:
    network, vocabulary = make(name)
    ids = text_of(vocabulary)
    open_page(network, vocabulary, ids, tab="score", window=window)
    bits = browser.execute_script("return view.reading.ids.map((_, t) => view.reading.cost(t)).slice(1)")
    assert bits == pytest.approx(surprisals(network, ids, window).bits_N.tolist(), abs=1e-3)


def test_a_step_is_quick(browser: webdriver.Chrome, open_page: Open) -> None:
    network, vocabulary = make("tanh", hidden=512)
    open_page(network, vocabulary, text_of(vocabulary, 400))
    browser.execute_script("go(300)")
    script = """const times = Array.from({ length: 15 }, (_, i) => {
            const start = performance.now();
            go(301 + i);
            return performance.now() - start;
        });
        return times.sort((a, b) => a - b)[7]"""
    assert browser.execute_script(script) < 200  # milliseconds; about 30 on a quiet machine
