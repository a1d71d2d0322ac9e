import importlib.util

import pytest

from charrnn import canvas


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert canvas.missing() is None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert canvas.missing() == "pictures need matplotlib, which is not installed; pip install matplotlib"
