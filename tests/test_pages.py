from pathlib import Path

import pytest
from selenium import webdriver

from charrnn import pages

TRICKY = "</script><!-- <script> &amp; \u2028 \U0001f600 \ud800 \\ \" '"


def test_data_reaches_the_page_as_it_is(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html").write_text('<script type="application/json" id="data">{{ data }}</script>')
    monkeypatch.setattr(pages, "files", lambda package: tmp_path)
    page = tmp_path / "filled.html"
    page.write_text(pages.fill("a.html", {"text": TRICKY}), "ascii")
    browser.get(page.as_uri())
    same = f"return JSON.parse(document.getElementById('data').textContent).text === {TRICKY!r}"
    assert browser.execute_script(same) is True


def test_no_page_holds_what_json_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text("{{ data }}")
    monkeypatch.setattr(pages, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        pages.fill("a.html", {"value": float("nan")})
