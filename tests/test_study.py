"""What a search file and a command may ask for, the values that a trial gets, and what a study refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import RequestError
from charrnn.overrides import CONF

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from charrnn.study import Request, make_request, open_study, read_search, rounded, size
from charrnn.tuning import prepare

WHOLE = {
    "space": "{optimizer.lr: {low: 1e-3, high: 1e-2, log: true}, model.hidden: {low: 8, high: 32, step: 8}, a: [x, y]}",
    "sampler": "{_target_: optuna.samplers.TPESampler, seed: 1}",
    "pruner": "{_target_: optuna.pruners.NopPruner}",
}
RATES = "{optimizer.lr: [0.1, 0.2]}"


def search_file(folder: Path, **changes: str) -> str:
    file = folder / "my.yaml"
    file.write_text("".join(f"{part}: {text}\n" for part, text in {**WHOLE, **changes}.items()))
    return str(file)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    space, parts = read_search(search_file(tmp_path))
    assert space == {
        "optimizer.lr": FloatDistribution(0.001, 0.01, log=True),
        "model.hidden": IntDistribution(8, 32, step=8),
        "a": CategoricalDistribution(["x", "y"]),
    }
    assert list(map(size, space.values())) == [math.inf, 4, 2]
    assert isinstance(parts["pruner"], NopPruner)


@pytest.mark.parametrize("file", sorted((CONF / "search").glob("*.yaml")))
def test_the_searches_of_the_project(file: Path) -> None:
    assert "optimizer.lr" in read_search(file.stem)[0]


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("space", "{}", "a search has a space, and a sampler and a pruner of Optuna, each with its _target_"),
        ("space", "[a, b]", "a search has a space, and"),
        ("spcae", "{a: 1}", "a search has a space, and"),
        ("sampler", "{name: tpe, seed: 1}", "each with its _target_"),
        ("sampler", "{_target_: optuna.samplers.Nothing}", "Nothing"),
        ("pruner", "{_target_: optuna.samplers.TPESampler}", "a pruner of Optuna"),
        ("space", "{a: 5}", r"space: a must be different values \[a, b\], or a range .*; got 5"),
        ("space", "{a: {low: 1, hihg: 2}}", "a must be .*'hihg'"),
        ("space", "{a: {low: 2, high: 1}}", "a must be .*'low': 2"),
        ("space", "{a: {low: x, high: 1}}", "a must be .*'x'"),
        ("space", "{a: {low: 1, high: .inf}}", "a must be .*inf"),
        ("space", "{a: {low: 0, high: 1, log: true}}", "a must be .*log: true if low is above 0"),
        ("space", "{a: {low: 1, high: 9, log: maybe}}", "a must be .*'maybe'"),
        ("space", "{a: {low: 1.0, high: 9, log: true, step: 2}}", "a must be .*or step: 2"),
        ("space", "{a: [1]}", "a must be different values"),
        ("space", "{a: [1, 1]}", "a must be different values"),
        ("space", "{a: [1, [2]]}", "a must be different values"),
        ("space", "{trainer.max_steps: [10, 20]}", "trainer.max_steps can't be searched"),
        ("space", "[", "while parsing"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, part: str, text: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as refused:
        read_search(search_file(tmp_path, **{part: text}))
    assert str(refused.value).startswith("my.yaml: ")
    assert "\n" not in str(refused.value)


@given(st.floats(1e-6, 10.0), st.floats(0.0, 1.0), st.booleans())
def test_a_value_that_is_tried_is_short_and_near_the_suggested_one(low: float, share: float, log: bool) -> None:
    suggested = low * 3**share if log else low + 2 * low * share
    suggested = min(max(suggested, low), 3 * low)
    tried = rounded(FloatDistribution(low, 3 * low, log), suggested)
    assert low <= tried <= 3 * low
    assert math.isclose(tried, suggested, rel_tol=0.01)
    assert tried in (low, 3 * low) or len(f"{tried:e}".split("e")[0].rstrip("0")) <= 6
    assert rounded(FloatDistribution(0.1, 0.5, step=0.1), 0.1 + 2 * 0.1) == 0.3
    assert rounded(IntDistribution(8, 32), 12) == 12


@pytest.mark.parametrize(
    ("space", "override", "told"),
    [
        ("{model.hiden: [1, 2]}", "seed=1", "my.yaml: there is no setting model.hiden; did you mean model.hidden"),
        ("{optimizer: [adamw, adamm]}", "seed=1", "my.yaml: optimizer=adamm is not an option of optimizer"),
        (RATES, "optimizer.lr=0.1", "every setting of its space is fixed by the command"),
        (RATES, "seed=1,2", "seed takes one value; to try several, one run each, name them in a file for --search"),
        (RATES, "resume_from=last", "resume_from is set by the search itself"),
        (RATES, "hydra.run.dir=a", "hydra.run.dir is set by the search itself"),
        (RATES, "trainer.devices=2", "one device, got trainer.devices=2"),
        (RATES, "data.validation_fraction=0", "set data.validation_fraction above 0"),
        (RATES, "model.dropout=2", "model.dropout must be a number"),
        (RATES, "trainer.val_check_interval=0.5", "trainer.val_check_interval must be a positive integer, got 0.5"),
    ],
)
def test_wrong_requests(tmp_path: Path, space: str, override: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        prepare(make_request(tmp_path / "study", [override], search_file(tmp_path, space=space), 2))
    assert not (tmp_path / "study").exists()
    with pytest.raises(RequestError, match="there is no search elmann; name a file.yaml, or one of elman, gated, size"):
        make_request(tmp_path, [], "elmann", 2)


def test_what_a_study_refuses(tmp_path: Path) -> None:
    space: dict[str, Any] = {"a": IntDistribution(1, 9), "b": IntDistribution(1, 9)}
    parts = {"sampler": RandomSampler(), "pruner": NopPruner()}
    one = Request(tmp_path / "one é", ("seed=2",), {"a": 1, "b": 2}, 9, 10, None, space, parts)
    open_study(one)
    assert (one.folder / "study.db").exists()
    for changed, told in (
        (replace(one, overrides=("seed=3",)), r"was begun with .*'seed=2'.*; continue with the same, or choose"),
        (replace(one, space={"a": space["a"]}), "was begun with .*'b': "),
        (replace(one, folder=tmp_path), "holds no study and is not empty"),
        (replace(one, folder=tmp_path, storage=f"sqlite:///{tmp_path}/other.db"), "holds no study and is not empty"),
        (replace(one, folder=tmp_path / "a?b"), "SQLite takes none of ?"),
        (replace(one, storage="nonsense"), "the study can't be opened: Could not parse"),
    ):
        with pytest.raises(RequestError, match=told) as refused:
            open_study(changed)
        assert "\n" not in str(refused.value)
