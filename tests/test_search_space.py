"""What a search file may contain, and the values that a trial gets."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import RequestError
from charrnn.overrides import CONF

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charrnn.search_space import read_search, rounded, size

WHOLE = {
    "space": "{optimizer.lr: {low: 1e-3, high: 1e-2, log: true}, model.hidden: {low: 8, high: 32, step: 8}, a: [x, y]}",
    "sampler": "{_target_: optuna.samplers.TPESampler, seed: 1}",
    "pruner": "{_target_: optuna.pruners.NopPruner}",
}


def search_file(folder: Path, **changes: str) -> str:
    file = folder / "my.yaml"
    file.write_text("".join(f"{part}: {text}\n" for part, text in {**WHOLE, **changes}.items()))
    return str(file)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    search = read_search(search_file(tmp_path))
    assert search["space"] == {
        "optimizer.lr": FloatDistribution(0.001, 0.01, log=True),
        "model.hidden": IntDistribution(8, 32, step=8),
        "a": CategoricalDistribution(["x", "y"]),
    }
    assert list(map(size, search["space"].values())) == [math.inf, 4, 2]
    assert search["pruner"] == {"_target_": "optuna.pruners.NopPruner"}


@pytest.mark.parametrize("file", sorted((CONF / "search").glob("*.yaml")))
def test_the_searches_of_the_project(file: Path) -> None:
    assert "optimizer.lr" in read_search(file.stem)["space"]


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("space", "{}", "a search has a space, and a sampler and a pruner, each with its _target_"),
        ("spcae", "{a: 1}", "a search has a space, and"),
        ("sampler", "{name: tpe, seed: 1}", "each with its _target_"),
        ("space", "{a: 5}", r"space: a must be a list of different values \[a, b\], or a range"),
        ("space", "{a: {low: 1, hihg: 2}}", "a must be .*'hihg'"),
        ("space", "{a: {low: 2, high: 1}}", r"a must be .*low=2, high=1"),
        ("space", "{a: {low: x, high: 1}}", "a must be .*not str"),
        ("space", "{a: {low: 1, high: .inf}}", "a must be .*inf"),
        ("space", "{a: {low: 0, high: 1, log: true}}", "a must be .*low=0"),
        ("space", "{a: {low: 1, high: 9, log: maybe}}", "a must be .*'maybe'"),
        ("space", "{a: {low: 1.0, high: 9, log: true, step: 2}}", "a must be .*`step`.*log"),
        ("space", "{a: [1]}", "a must be a list of different values"),
        ("space", "{a: [1, 1]}", "a must be a list of different values"),
        ("space", "{a: [1, [2]]}", "a must be a list of different values"),
        ("space", "{trainer.max_steps: [10, 20]}", "trainer.max_steps can't be searched"),
        ("space", "[", "it can't be read as YAML"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, part: str, text: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as refused:
        read_search(search_file(tmp_path, **{part: text}))
    assert str(refused.value).startswith("my.yaml: ")
    assert "\n" not in str(refused.value)


def test_a_search_that_does_not_exist() -> None:
    with pytest.raises(
        RequestError, match=r"there is no search elmann; name a file.yaml, or one of elman, gated, size"
    ):
        read_search("elmann")


@given(st.floats(1e-6, 10.0), st.floats(0.0, 1.0), st.booleans())
def test_a_value_that_is_tried_is_short_and_near_the_suggested_one(low: float, share: float, log: bool) -> None:
    dimension = FloatDistribution(low, 3 * low, log)
    suggested = low * 3**share if log else low + 2 * low * share
    suggested = min(max(suggested, low), 3 * low)
    tried = rounded(dimension, suggested)
    assert low <= tried <= 3 * low
    assert math.isclose(tried, suggested, rel_tol=0.01)
    assert tried in (low, 3 * low) or len(f"{tried:e}".split("e")[0].rstrip("0")) <= 6
    assert rounded(FloatDistribution(0.1, 0.5, step=0.1), 0.1 + 2 * 0.1) == 0.3
    assert rounded(IntDistribution(8, 32), 12) == 12
