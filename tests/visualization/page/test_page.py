"""The page is driven as a reader does: keys, clicks, tabs, the walk."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary
from charrnn.evaluation.surprisal import surprisals
from charrnn.network import CharRNN
from charrnn.runs.load import LoadedNetwork
from charrnn.visualization.graphemes import sign, split_graphemes
from charrnn.visualization.page.page import measure_units, page
from handmade import TEXT as QUOTED
from handmade import MakeNetwork, quote_detector

LINES = "ab cab a long line of cab\nbb\n\nabc, a ball of cabs in a fine line\n" * 6
TRICKY = (
    '</script><script>document.title="lost"</script> <!-- &amp;\n'
    "cafe\u0301 naïve\tשלום مرحبا 日本語\r\n"
    "👩‍👩‍👧 👍🏽 🇩🇪🇫🇷 bell\x07 \u200bzero \u202eright\n\n"
)


class Page:
    """A page in the browser. `value` returns what an expression of its script gives."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def value(self, expression: str) -> Any:
        return self.browser.execute_script(f"return {expression}")

    def at(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def find(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    @property
    def text(self) -> str:
        return self.value("view.reading.ids.map((id) => characters[id]).join('')")

    @property
    def t(self) -> int:
        return self.value("view.t")


@pytest.fixture
def opened(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Any]:
    def open_page(network: CharRNN, vocabulary: AnyVocabulary, text: str, **options: Any) -> Page:
        ids = vocabulary.encode(text)
        loaded = LoadedNetwork(network, vocabulary, {}, {})
        facts = {"text": "a text", "checkpoint": "best.ckpt", "val_bits_per_char": 2.345}
        content = page(loaded, ids, measure_units(network, vocabulary, ids, "a text"), facts, **options)
        (tmp_path / "page.html").write_text(content, "utf-8")
        browser.set_window_size(1280, 1000)
        browser.get((tmp_path / "page.html").as_uri())
        return Page(browser)

    yield open_page
    assert browser.get_log("browser") == []  # no error, whatever a test did
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0  # no request


@pytest.fixture
def lines(opened: Any, make_network: MakeNetwork) -> Page:
    vocabulary = Vocabulary(LINES)
    return opened(make_network(len(vocabulary), hidden=40), vocabulary, LINES)


def test_keys_and_clicks_move_and_write(lines: Page) -> None:
    lines.find("#lines span")[30].click()
    start = lines.t
    assert start == lines.value("document.querySelector('#lines .caret').piece.start") == 30
    lines.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert (lines.t, lines.text) == (32, LINES)
    lines.press(Keys.ARROW_LEFT)
    assert lines.t == 31
    lines.press("b", "a")
    assert (lines.t, lines.text) == (33, f"{LINES[:32]}ba{LINES[32:]}")
    lines.press(Keys.BACKSPACE)
    assert (lines.t, lines.text) == (32, f"{LINES[:32]}b{LINES[32:]}")
    lines.press(Keys.HOME, Keys.ARROW_DOWN)
    assert lines.t == LINES.index("\n") + 1
    lines.press("ü")
    assert lines.at("message").text == "Left out, since the network does not know them: “ü” (U+00FC)"
    lines.press(Keys.END)
    count = len(lines.text)
    assert lines.t == count - 1
    lines.press(Keys.ARROW_RIGHT)  # at the end of the text, it draws
    assert (lines.t, len(lines.text)) == (count, count + 1)
    lines.at("back").click()
    lines.at("forward").click()
    assert (lines.t, len(lines.text)) == (count, count + 1)


def test_the_caret_is_in_sight_and_the_text_as_it_is(lines: Page) -> None:
    """Lines stay from step to step, so that what is edited must still be made anew."""
    script = """const pane = document.querySelector('#lines').getBoundingClientRect();
        const carets = document.querySelectorAll('#lines .caret'), box = carets[0].getBoundingClientRect();
        const spans = [...document.querySelectorAll('#lines span')];
        return [carets.length, carets[0].piece.start === view.t, box.top >= pane.top && box.bottom <= pane.bottom,
            spans.every(({ piece, classList }) => classList.contains('ahead') === piece.start > view.t),
            spans.every(({ piece: { start, end }, textContent }) =>
                textContent === pieces(view.reading.ids, start, end)[0].text)]"""
    last = "view.reading.ids.length - 1"
    for change in (
        "go(0)",
        f"go({last})",
        "go(3)",
        "write(2)",
        "view.reading.splice(view.t, 1, 3); go(view.t)",  # as many characters as before
        "takeBack()",
        f"go({last})",
        "write(1)",
        "go(view.t - 40)",
    ):
        lines.browser.execute_script(change)
        assert lines.browser.execute_script(script) == [1, True, True, True, True], change


def test_a_long_pasted_text_is_read_in_slices(lines: Page) -> None:
    """The page shows how far it is; a key does what it does after the text, and a step ends the reading."""
    paste = "go(40); const typing = at('typing'); typing.value = MARK + 'ab\\n'.repeat(2000) + 'ü';"
    paste += "typing.dispatchEvent(new InputEvent('input'));"
    slow = "const { step } = Reading.prototype; Reading.prototype.step = function (t) {"
    slow += "const end = performance.now() + 0.05; while (performance.now() < end); return step.call(this, t); };"
    lines.browser.execute_script(slow + paste)
    assert (lines.t, len(lines.text)) == (40, len(LINES) + 6000)
    assert re.fullmatch(r"\d+ % of the text read …", lines.at("message").text)
    WebDriverWait(lines.browser, 60).until(lambda _: lines.t == 6040)
    assert lines.at("message").text.startswith("Left out, since the network does not know them: “ü”")
    lines.browser.execute_script(paste + "type('c');")
    assert lines.text[6040:6043] == "\nca"  # before the text that was pasted first
    WebDriverWait(lines.browser, 60).until(lambda _: lines.t == 6041)
    lines.browser.execute_script(paste + "at('back').click()")
    lines.browser.execute_async_script("setTimeout(arguments[0], 1500)")
    assert (lines.t, lines.at("message").text) == (39, "")


def test_keys_work_whatever_was_clicked(lines: Page) -> None:
    lines.browser.execute_script("go(40)")
    for clicked in ("#forward", "#back", ".bar", "#hold", "#h-0 canvas", "#steps button:last-child"):
        lines.find(clicked)[0].click()
        if clicked == "#h-0 canvas":
            unit = lines.value("view.unit.unit")
            lines.press(Keys.ARROW_LEFT)  # on a grid, arrow keys choose a unit
            assert lines.value("view.unit.unit") == unit - 1
        else:
            t = lines.t
            lines.press(Keys.ARROW_LEFT)
            assert lines.t == t - 1, clicked
        t = lines.t
        lines.press("b")
        assert (lines.t, lines.text[lines.t]) == (t + 1, "b"), clicked
    lines.at("back").click()
    t = lines.t
    lines.press(Keys.SPACE, Keys.ENTER)  # they still press the button that has the focus
    assert lines.t == t - 2
    lines.at("temperature").click()
    t = lines.t
    lines.press(Keys.ARROW_RIGHT)  # moves the slider
    assert (lines.t, lines.value("view.temperature")) == (t, pytest.approx(1.05))
    lines.at("start-walk").click()
    lines.at("forward").click()
    lines.press(Keys.ESCAPE)
    assert not lines.at("walk").is_displayed()
    lines.at("tab-step").click()
    t = lines.t
    lines.press(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)  # on the tabs, arrow keys choose a tab
    assert lines.at("step").is_displayed() and lines.t == t


def test_writing_goes_on_until_it_is_stopped(lines: Page) -> None:
    lines.browser.execute_script("go(40)")
    lines.at("write").click()
    WebDriverWait(lines.browser, 20).until(lambda _: lines.t > 44)
    lines.at("write").click()
    t = lines.t
    lines.browser.execute_async_script("setTimeout(arguments[0], 150)")
    assert (lines.t, lines.text[:41], lines.text[t + 1 :]) == (t, LINES[:41], LINES[41:])  # no text is lost


def test_a_bar_explains_and_chooses_a_character(lines: Page) -> None:
    probabilities = lines.value("[...view.p]")
    order = np.argsort(probabilities)[::-1]
    bar = lines.find(".bar")[1]
    ActionChains(lines.browser).move_to_element(bar).perform()
    assert lines.value("view.chosen") == order[1]
    assert bar.find_element(By.CSS_SELECTOR, "span:last-child").text == f"{100 * probabilities[order[1]]:.1f} %"
    assert lines.at("why-name").text == f"Why {sign(Vocabulary(LINES).characters[order[1]])}?"
    t, text = lines.t, lines.text
    bar.click()
    assert lines.t == t + 1
    assert lines.text == text[: t + 1] + Vocabulary(LINES).characters[order[1]] + text[t + 1 :]


def test_the_temperature_bends_the_bars(lines: Page) -> None:
    lines.browser.execute_script("at('temperature').value = 2; at('temperature').dispatchEvent(new Event('input'))")
    logits = torch.tensor(lines.value("[...view.logits]"))
    assert lines.value("[...view.p]") == pytest.approx((logits / 2).softmax(0).tolist(), abs=1e-6)


def test_a_unit_is_pointed_at_and_held(lines: Page, make_network: MakeNetwork) -> None:
    canvas = lines.find("#h-0 canvas")[0]
    width, columns = lines.value("cell.width"), lines.value("columns")
    x, y = (11 % columns + 0.5) * width, (11 // columns + 0.5) * width
    size = canvas.size
    ActionChains(lines.browser).move_to_element_with_offset(
        canvas, round(x - size["width"] / 2), round(y - size["height"] / 2)
    ).perform()
    assert lines.at("unit-name").text == "Unit 11"
    assert lines.value("view.unit") == {"layer": 0, "unit": 11}
    sums = lines.value("[view.parts[0].character[11], view.parts[0].memory[11], view.parts[0].h[11]]")
    assert np.tanh(sums[0] + sums[1]) == pytest.approx(sums[2], abs=1e-5)
    lines.at("hold").click()
    before = np.array(lines.value("[...view.logits]"))
    value = 0.75
    lines.browser.execute_script(f"at('value').value = {value}; at('value').dispatchEvent(new Event('input'))")
    column = np.array(lines.value("[...row(output.rowsT, 11, V)]"))
    after = np.array(lines.value("[...view.logits]"))
    assert after == pytest.approx(before + column * (value - sums[2]), abs=1e-4)
    t = lines.t
    lines.at("forward").click()
    assert lines.value(f"view.reading.states[{t + 1}][0].h[11]") == value
    lines.at("hold").click()
    assert lines.value(f"view.reading.states[{t + 1}][0].h[11]") != value
    ActionChains(lines.browser).move_to_element(canvas).perform()
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ENTER)
    held = lines.value("view.reading.hold.unit")
    assert held == lines.value("view.unit.unit")
    ActionChains(lines.browser).move_to_element(canvas).move_by_offset(round(width), 0).perform()
    assert lines.value("view.unit.unit") == held  # the mouse passes over other cells on its way to the slider
    assert lines.at("release").text == f"release unit {held}"
    lines.at("release").click()
    assert lines.value("view.reading.hold") is None


@pytest.mark.parametrize("width", [1280, 400])
def test_holding_a_unit_does_not_move_its_cell(width: int, lines: Page, browser: webdriver.Chrome) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.refresh()
        canvas = lines.find("#h-0 canvas")[0]
        y = canvas.rect["y"]
        canvas.click()  # the mouse comes over the cell before
        held = lines.value("view.reading.hold")
        assert held and canvas.rect["y"] == y
        assert "click to release it" in lines.at("unit-hint").text
        assert lines.at("held-value").text == f"{held['value']:+.2f}".replace("-", "−")
        canvas.click()
        assert lines.value("view.reading.hold") is None and canvas.rect["y"] == y
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(
    ("cell", "layers", "grids"), [("elman", 1, 3), ("elman", 3, 9), ("gru", 1, 6), ("gru", 3, 18), ("lstm", 1, 8)]
)
def test_every_term_of_every_layer_has_a_grid(
    cell: str, layers: int, grids: int, opened: Any, make_network: MakeNetwork
) -> None:
    vocabulary = Vocabulary(LINES)
    shown = opened(make_network(len(vocabulary), cell=cell, layers=layers, hidden=30), vocabulary, LINES)
    assert len(shown.find("#layers canvas")) == grids
    assert len(shown.find("#steps canvas")) == len(shown.find("#steps button")) * layers >= 5 * layers
    shown.at("forward").click()
    name = shown.at("unit-name").text
    assert ("of layer" in name) == (layers > 1)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_window(
    width: int, opened: Any, make_network: MakeNetwork, browser: webdriver.Chrome
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        vocabulary = Vocabulary(LINES)
        shown = opened(make_network(len(vocabulary), cell="lstm", layers=2, hidden=60), vocabulary, LINES)
        for tab in ("step", "score", "units"):
            shown.at(f"tab-{tab}").click()
            assert shown.value("document.documentElement.scrollWidth <= innerWidth"), tab
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_tabs_by_click_and_key_and_another_text(lines: Page) -> None:
    lines.at("tab-step").click()
    lines.press(Keys.ARROW_RIGHT)
    assert (lines.at("score").is_displayed(), lines.at("step").is_displayed()) == (True, False)
    lines.press(Keys.ARROW_LEFT)
    assert lines.at("step").is_displayed()
    lines.find("summary")[0].click()
    lines.at("other").send_keys("cab!")
    lines.at("read").click()
    assert lines.text == "cab"
    assert "Left out" in lines.value("at('note').textContent")
    lines.at("other").clear()
    lines.at("other").send_keys("!")
    lines.at("read").click()
    assert "knows none" in lines.at("refused").text


def test_a_text_is_scored(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary = Vocabulary(TRICKY)
    network, ids = make_network(len(vocabulary), hidden=12), vocabulary.encode(TRICKY)
    shown = opened(network, vocabulary, TRICKY, tab="score")
    WebDriverWait(shown.browser, 20).until(lambda _: shown.at("progress").text == "")
    bits = surprisals(network, ids).bits_N
    assert shown.at("mean").text == f"{bits.mean():.4f}"
    graphemes, sizes = split_graphemes(ids, vocabulary)
    spans = shown.find("#scored span")
    assert shown.value("[...document.querySelectorAll('#scored span')].map((span) => span.textContent)") == graphemes
    ends = sizes.cumsum()
    costs = np.add.reduceat(np.append(0.0, bits), ends - sizes)
    classes = [span.get_attribute("class") for span in spans]
    assert [int(bits) for bits in costs.clip(max=8)] == [
        next((int(name[1:]) for name in names.split() if name[1:].isdigit()), 0) for names in classes
    ]
    spans[5].click()
    assert f"cost {costs[5]:.2f} bits" in shown.at("expected").text
    shown.at("surprise").click()
    t = shown.t
    assert bits[t - 1] >= np.quantile(bits, 0.95)
    shown.at("open-step").click()
    assert (shown.at("step").is_displayed(), shown.t) == (True, t - 1)


def test_a_long_text_opens_at_its_top_and_says_how_long_it_takes(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary, text = Vocabulary(LINES), LINES * 3 + "ab " * 15 + "c\n"
    shown = opened(make_network(len(vocabulary), hidden=40), vocabulary, text, tab="score")
    WebDriverWait(shown.browser, 20).until(lambda _: shown.at("progress").text == "")
    assert shown.value("at('scored').scrollTop") == 0
    seen = shown.browser.execute_async_script("""
        const done = arguments[0], seen = new Set();
        read(`${"a ball of cabs "}`.repeat(4000));
        const look = () => {
            seen.add(at("progress").textContent);
            if (at("progress").textContent) setTimeout(look, 20); else done([...seen]);
        };
        look();""")
    assert shown.value("at('scored').scrollTop") == 0
    assert any(re.fullmatch(r"\d+ % of 60,000 characters scored, about \d+ s left …", words) for words in seen)


def test_bytes_are_shown_as_characters(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary, text = ByteVocabulary(), "„Grüße“ 😀, \n" * 8
    shown = opened(make_network(256, hidden=12), vocabulary, text, tab="score")
    graphemes, _ = split_graphemes(vocabulary.encode(text), vocabulary)
    assert shown.value("[...document.querySelectorAll('#scored span')].map((span) => span.textContent)") == graphemes
    shown.at("tab-step").click()
    shown.browser.execute_script("go(1)")
    assert shown.find("#lines .caret")[0].text == "„"
    shown.browser.execute_script("type('é')")
    assert shown.value("view.reading.ids.slice(2, 4)") == list("é".encode())


def test_all_units_show_what_they_follow(opened: Any, make_network: MakeNetwork) -> None:
    network, vocabulary = quote_detector(make_network)
    shown = opened(network, vocabulary, QUOTED, tab="units")
    Select(shown.at("feature")).select_by_visible_text('inside " "')
    assert shown.find("#unit-list li")[0].text.split("\n") == ["unit 0 of layer 1", 'inside " "', "+1.00"]
    shown.find("#unit-list li")[0].click()
    assert shown.at("chosen-unit").text == "Unit 0 of layer 1"
    WebDriverWait(shown.browser, 20).until(lambda _: shown.value("view.reading.states.length") == len(QUOTED))
    colored = shown.value("unitText.lines[0].spans.map((span) => span.classList.contains('more'))")
    assert colored == [QUOTED[: i + 1].count('"') % 2 == 1 for i in range(len(colored))]
    shown.press(Keys.ARROW_DOWN)
    assert shown.at("chosen-unit").text != "Unit 0 of layer 1"
    shown.value("unitText.lines[1].spans[3].click()")
    assert shown.value("[map.first, map.end]") == [QUOTED.index("then"), QUOTED.index('"So')]
    shown.at("map").click()
    assert len(shown.find("#correlations tr")) > 3


def test_a_unit_that_never_fires_follows_no_feature(opened: Any, make_network: MakeNetwork) -> None:
    network, vocabulary = quote_detector(make_network)
    with torch.no_grad():
        for weights in (network.cells[1].input_to_hidden, network.cells[1].hidden_to_hidden):
            weights[1:] = 0
        network.cells[1].hidden_bias[1:] = 0
    shown = opened(network, vocabulary, QUOTED, tab="units")
    assert not shown.find("#unit-list #unit-" + str(shown.value("H + 1")))  # it does not remember
    Select(shown.at("feature")).select_by_value("any")
    names = {item.text.split("\n")[0]: item.text.split("\n")[1:] for item in shown.find("#unit-list li")}
    assert names["unit 1 of layer 1"] == ["none of these", "0.00"]


@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "2 symbols"])
def test_the_walk_has_eight_cards(kind: str, opened: Any, make_network: MakeNetwork) -> None:
    text = "0110" * 30 if kind == "2 symbols" else LINES
    cell = {"cell": "lstm"} if kind == "lstm" else {"activation": "relu"} if kind == "relu" else {}
    vocabulary = Vocabulary(text)
    shown = opened(make_network(len(vocabulary), hidden=20, **cell), vocabulary, text)
    shown.at("start-walk").click()
    titles = []
    for _ in range(8):
        titles.append(shown.at("walk-title").text)
        assert len(shown.at("walk-text").text) > 150
        assert not any(word in shown.at("walk-text").text for word in ("undefined", "NaN", "[object"))
        assert shown.find(".lit")
        shown.press(Keys.ENTER)
    assert [title[:6] for title in titles] == [f"{i} of 8" for i in range(1, 9)]
    assert not shown.at("walk").is_displayed() and not shown.find(".lit")
    if text == LINES:
        shown.at("start-walk").click()
        shown.browser.execute_script("showCard(6)")
        assert shown.text[shown.t] == "\n"
        shown.press(Keys.ESCAPE)
        assert not shown.at("walk").is_displayed()


def test_small_networks_are_shown_in_numbers_and_edited(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary = Vocabulary("abc")
    network = make_network(3, hidden=2)
    shown = opened(network, vocabulary, "bacab")
    shown.browser.execute_script("go(3)")
    assert shown.at("matrices").location["y"] > shown.at("cards").location["y"]  # the cards are in sight
    fields = shown.find("#matrices tbody input")
    assert len(fields) == 2 * 3 + 2 + 2 * 2 + 3 * 2 + 3
    field, weight_HH = fields[8], network.cells[0].hidden_to_hidden.detach()
    assert float(field.get_attribute("value")) == pytest.approx(weight_HH[0, 0].item(), abs=1e-3)
    field.clear()
    field.send_keys("-0.7")
    with torch.no_grad():
        weight_HH[0, 0] = -0.7
        logits, _ = network(torch.from_numpy(vocabulary.encode("baca").astype(np.int64))[:, None])
    assert shown.value("[...view.logits]") == pytest.approx(logits[-1, 0].tolist(), abs=1e-4)
    assert len(shown.find("#matrices td.now, #matrices tr.now")) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_on_cells_can_be_read(scheme: str, lines: Page, browser: webdriver.Chrome) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        browser.refresh()
        colors = lines.value("palette.map((color, i) => [color.match(/\\d+/g).map(Number), inkOn(i / 100 - 1)])")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for color, ink in colors:
        shares = np.array(color) / 255
        linear = np.where(shares > 0.04045, ((shares + 0.055) / 1.055) ** 2.4, shares / 12.92)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        assert (luminance + 0.05 if ink == "#000" else 1.05 / (luminance + 0.05) * 0.05) / 0.05 >= 4.5


def test_tables_and_captions_use_the_names_of_the_equation(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary = Vocabulary("abc")
    network = make_network(3, hidden=4, layers=3, cell="gru")
    shown = opened(network, vocabulary, "bacab")
    titles = [title.text.split(",")[0] for title in shown.find("#tables > div > code")]
    assert titles == ["Wxr", "Wxz", "Wxn", "Whr", "Whz", "Whn"] * 3 + ["Why: a row for each next character"]
    assert shown.at("character-0").text.startswith("What the character says\nWxn xt + bxn")
    assert shown.at("character-1").text.startswith("What the layer below says\nWxn ht of layer 0 + bxn")
    assert all(line.text == f"{i % 4}" for i, line in enumerate(shown.find("#tables tbody th")[:12]))
    for table, matrix, rows in ((2, "input_to_hidden", 3), (5, "hidden_to_hidden", 4)):
        field = shown.find("#tables table")[table].find_elements(By.CSS_SELECTOR, "tbody input")[rows + 2]  # row 1
        place = (2 * 4 + 1) * rows + 1
        weight = shown.value(f"weights.{matrix}_0[{place}]")
        assert float(field.get_attribute("value")) == pytest.approx(weight, abs=1e-3)
    assert len(shown.find("#matrices td.now")) == 3 * 4


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_shown_parts_of_a_logit_add_up(activation: str, opened: Any, make_network: MakeNetwork) -> None:
    vocabulary = Vocabulary(LINES)
    shown = opened(make_network(len(vocabulary), hidden=20, activation=activation), vocabulary, LINES)
    for t in range(0, 100, 7):
        shown.browser.execute_script(f"go({t})")
        words = shown.at("why-sum").text.replace("−", "-")
        parts = [float(part) for part in shown.value("[...document.querySelectorAll('#why-sum b')].map((b) =>"
                 " b.textContent.replace('−', '-'))")]  # fmt: skip
        logit = float(words.split("y = ")[1].split(". The")[0])
        assert sum(parts) == pytest.approx(logit, abs=1e-6)
        assert logit == pytest.approx(shown.value("view.logits[view.chosen]"), abs=0.0051)
        assert "rest (not linear)" not in words or activation == "tanh"
        assert " 0.00 from what" not in words


def test_right_to_left_texts_step_to_the_left(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary, text = Vocabulary("שלום עולם\n"), "שלום עולם\n" * 5
    shown = opened(make_network(len(vocabulary), hidden=20), vocabulary, text)
    shown.browser.execute_script("go(12)")
    shown.at("lines").click()
    t = shown.t
    shown.press(Keys.ARROW_LEFT)
    assert shown.t == t + 1
    first, second = (span.location["x"] for span in shown.find("#lines span")[:2])
    assert first > second


def test_large_networks_have_no_grids(opened: Any, make_network: MakeNetwork) -> None:
    vocabulary = Vocabulary("ab")
    shown = opened(make_network(2, hidden=1025), vocabulary, "abab" * 5)
    assert not shown.find("#layers canvas")
    assert "1,025 units a layer: too many to draw (at most 1,024)" in shown.at("layers").text
    shown.at("forward").click()
    shown.at("start-walk").click()
    assert len(shown.find(".bar")) == 2
