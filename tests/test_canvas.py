import importlib.util

import pytest

from charrnn import canvas


def test_a_missing_matplotlib_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert canvas.available()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert not canvas.available()
