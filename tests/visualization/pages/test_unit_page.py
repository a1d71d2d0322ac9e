from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from charrnn.analysis import units
from charrnn.analysis.text_features import features_of
from charrnn.data.vocabulary import ByteVocabulary
from charrnn.network import CharRNN
from charrnn.visualization.pages import unit_page
from handmade import QUOTES, TEXT, MakeNetwork, quote_detector

FACTS: dict[str, Any] = {"text": "small.txt", "measured": len(TEXT), "about": [["network", "made by hand"]]}


def open_page(browser: webdriver.Chrome, file: Path, page: str) -> None:
    file.write_text(page, "utf-8")
    browser.get_log("browser")
    browser.get(file.as_uri())


def colors(browser: webdriver.Chrome) -> list[str]:
    return browser.execute_script("return [...document.querySelectorAll('#text span')].map((span) => span.className)")


def test_the_page_shows_every_activation_and_selecting_a_unit_recolors_the_text(
    make_network: MakeNetwork, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    network, vocabulary = quote_detector(make_network)
    ids = vocabulary.encode(TEXT)
    states_UN, features_FN = units.read_states(network, ids), features_of(ids, vocabulary)
    shown = ids[:300]
    open_page(
        browser, tmp_path / "units.html", unit_page.page(states_UN, features_FN, network, shown, vocabulary, FACTS)
    )
    values = browser.execute_script(
        "return data.peaks.map((_, unit) => data.graphemes.map((_, n) => activation(unit, n)))"
    )
    half_a_level_U = states_UN.max(axis=1) / 254 + 1e-6
    assert (np.abs(np.array(values) - states_UN[:, :300]).max(axis=1) <= half_a_level_U).all()

    Select(browser.find_element(By.ID, "feature")).select_by_visible_text('inside " "')
    assert browser.find_element(By.ID, "title").text == "Unit 0 of layer 1"
    assert "+1.00" in browser.find_element(By.ID, "lead").text
    inside = features_FN[QUOTES, :300].astype(bool)
    full = ["u8" in name.split() for name in colors(browser)]
    assert full == inside[: len(full)].tolist()
    assert sum(full) > 30

    spans = browser.find_elements(By.CSS_SELECTOR, "#text span")
    ActionChains(browser).move_to_element(spans[TEXT.index("I will")]).perform()
    assert browser.find_element(By.ID, "tip").text == "I · unit 0 of layer 1 · +1.000"
    before = colors(browser)
    browser.find_element(By.CSS_SELECTOR, "#units li:nth-child(3)").click()
    assert browser.find_element(By.ID, "title").text != "Unit 0 of layer 1"
    assert colors(browser) != before

    spans[TEXT.index("They")].click()
    assert browser.execute_script("return [map.first, map.end]") == [TEXT.index("then"), TEXT.index('"So')]
    assert browser.execute_script("return map.units.length") == 6
    assert not browser.get_log("browser")


def test_a_large_network_has_all_units_for_the_beginning_and_some_for_the_rest(
    make_network: MakeNetwork, browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, vocabulary = quote_detector(make_network)
    ids = vocabulary.encode(TEXT)
    states_UN = units.read_states(network, ids)
    monkeypatch.setattr(unit_page, "FULL_UNITS", 2)
    monkeypatch.setattr(unit_page, "BEGINNING_VALUES", 6 * 50)
    page = unit_page.page(states_UN, features_of(ids, vocabulary), network, ids, vocabulary, FACTS)
    open_page(browser, tmp_path / "units.html", page)
    other = next(unit for unit in range(6) if unit not in browser.execute_script("return data.full"))
    found = browser.execute_script(f"return [0, 49, 50].map((position) => activation({other}, position))")
    assert found[:2] == pytest.approx(states_UN[other, [0, 49]].tolist(), abs=float(states_UN[other].max()) / 254)
    assert found[2] is None
    browser.execute_script(f"choose({other}); mapLine(60)")
    assert "first 50 characters" in browser.find_element(By.ID, "coverage").text
    assert browser.execute_script("return map.units.length") == 2
    assert not browser.get_log("browser")


@pytest.mark.parametrize("width", [1280, 400])
def test_bytes_and_diagnostics_fit_every_window(browser: webdriver.Chrome, tmp_path: Path, width: int) -> None:
    network = CharRNN(256, cell="lstm", hidden=4, layers=2, dropout=0.0, residual=False)
    ids = np.frombuffer(("„Grüße“ 😀, " * 20).encode(), np.uint8)
    vocabulary = ByteVocabulary()
    states_UN = units.read_states(network, ids)
    curve = {
        "title": "Gradient by lag", "note": "",
        "x": {"label": "lag", "log": False}, "y": {"label": "norm", "log": True},
        "series": [{"name": "layer 0", "points": [[1, 1.0], [2, 0.1], [4, 0.001], [8, 0.0]]}],
    }  # fmt: skip
    facts = {**FACTS, "diagnostics": {"metrics": [["spectral radius", "1.2"]], "charts": [curve]}}
    page = unit_page.page(states_UN, features_of(ids, vocabulary), network, ids, vocabulary, facts)
    size = {
        "width": width,
        "height": 900,
        "deviceScaleFactor": 1,
        "mobile": False,
    }  # a real window cannot be that narrow
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, tmp_path / "units.html", page)
    assert browser.find_element(By.ID, "text").text.startswith("„Grüße“ 😀, „Grüße“")
    last_byte = browser.execute_script("return data.graphemes.slice(0, 4).map((_, n) => activation(7, n))")
    assert last_byte == pytest.approx(states_UN[7, [2, 3, 4, 6]].tolist(), abs=0.005)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#charts polyline")) == 1
    sizes = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert sizes[0] <= sizes[1] == width
    assert not browser.get_log("browser")
