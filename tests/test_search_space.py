"""What a search file may say, and what it may not."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import RequestError
from charrnn.overrides import CONF
from charrnn.search_space import Choices, Range, read_search

WHOLE = {
    "space": "{optimizer.lr: {low: 1e-3, high: 1e-2, log: true}, model.hidden: {low: 8, high: 32, step: 8}}",
    "sampler": "{name: tpe, seed: 1, startup: 10}",
    "pruner": "{name: median, startup: 3, first: 3}",
}


def search_file(folder: Path, **changes: str) -> str:
    file = folder / "my.yaml"
    file.write_text("".join(f"{part}: {text}\n" for part, text in {**WHOLE, **changes}.items()))
    return str(file)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    search = read_search(search_file(tmp_path, pruner="{name: none}"))
    assert search.space == {"optimizer.lr": Range(0.001, 0.01, log=True), "model.hidden": Range(8, 32, step=8)}
    assert search.space["model.hidden"].whole
    assert search.pruner == {"name": "none"}


@pytest.mark.parametrize("file", sorted((CONF / "search").glob("*.yaml")))
def test_the_searches_that_are_there(file: Path) -> None:
    assert "optimizer.lr" in read_search(file.stem).space


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("space", "{}", "space is missing"),
        ("spcae", "{a: 1}", "spcae is no part of a search; it has space, sampler, pruner"),
        ("space", "{a: 5}", r"space: a must be a list \[a, b\] or a range"),
        ("space", "{a: {low: 1, hihg: 2}}", "a must be a list"),
        ("space", "{a: {low: 2, high: 1}}", "a: low must be below high, got 2 and 1"),
        ("space", "{a: {low: x, high: 1}}", "a: low must be a number, got 'x'"),
        ("space", "{a: {low: 0, high: 1, log: true}}", "a: low must be above 0 for a log scale, got 0"),
        ("space", "{a: {low: 1, high: 9, log: maybe}}", "a: log must be true or false"),
        ("space", "{a: {low: 1, high: 9, log: true, step: 2}}", "step must be above 0, and goes with no log scale"),
        ("space", "{a: [1]}", "a needs two or more different values"),
        ("space", "{a: [1, 1]}", "a needs two or more different values"),
        ("space", "{a: [1, [2]]}", "a needs two or more different values, numbers or words"),
        ("space", "{trainer.max_steps: [10, 20]}", "trainer.max_steps can't be searched"),
        ("space", "[", "it can't be read as YAML"),
        ("sampler", "{name: bayes, seed: 1}", "sampler.name must be one of tpe, random; got 'bayes'"),
        ("sampler", "{name: random, seed: -1}", "sampler.seed must be an integer of at least 0, got -1"),
        ("pruner", "{name: median, first: 3}", "pruner.startup is missing; pruner median has name, startup, first"),
        ("pruner", "{name: none, first: 3}", "pruner.first is not a setting here; pruner none has name"),
        (
            "pruner",
            "{name: percentile, keep: 100, startup: 1, first: 1}",
            "pruner.keep is .*, 1 to 99; got 100",
        ),
        ("pruner", "{name: halving, first: 1, factor: 1}", "pruner.factor must be an integer of at least 2"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, part: str, text: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as refused:
        read_search(search_file(tmp_path, **{part: text}))
    assert str(refused.value).startswith("my.yaml: ")
    assert "\n" not in str(refused.value)


def test_a_search_that_is_not_there() -> None:
    with pytest.raises(
        RequestError, match=r"there is no search elmann; name a file.yaml, or one of elman, gated, size"
    ):
        read_search("elmann")


@given(st.floats(1e-6, 10.0), st.floats(0.0, 1.0), st.booleans())
def test_what_is_tried_is_short_near_what_was_drawn_and_in_the_range(low: float, share: float, log: bool) -> None:
    dimension = Range(low, 3 * low, log)
    drawn = low * 3**share if log else low + 2 * low * share
    drawn = min(max(drawn, low), 3 * low)
    tried = dimension.rounded(drawn)
    assert dimension.holds(tried)
    assert math.isclose(tried, drawn, rel_tol=0.01)
    assert tried in (low, 3 * low) or len(f"{tried:e}".split("e")[0].rstrip("0")) <= 6


def test_what_a_dimension_holds() -> None:
    grid = Range(0.1, 0.5, step=0.1)
    assert [grid.holds(value) for value in (0.1, 0.3, 0.25, 0.6, "0.3")] == [True, True, False, False, False]
    assert grid.rounded(0.1 + 2 * 0.1) == 0.3
    assert [Range(8, 32, step=8).holds(value) for value in (8, 32, 12, 8.0, True)] == [True, True, False, False, False]
    assert [Choices(("tanh", None)).holds(value) for value in ("tanh", None, "relu")] == [True, True, False]
