import json
from pathlib import Path

import pytest

from charrnn.utils import html

TRICKY = "</script><!-- <script> &amp; \u2028 \U0001f600 \ud800 \\ \" '"


def test_data_reaches_the_page_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text("{{ data }}")
    monkeypatch.setattr(html, "files", lambda package: tmp_path)
    filled = html.fill("charrnn", "a.html", {"text": TRICKY})
    assert json.loads(filled) == {"text": TRICKY}
    assert filled.isascii() and "<" not in filled  # nothing can end the script, in any page encoding
    with pytest.raises(ValueError, match="JSON"):
        html.fill("charrnn", "a.html", {"value": float("nan")})
