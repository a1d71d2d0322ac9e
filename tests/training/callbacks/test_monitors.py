"""Monitors write to TensorBoard and do not change the run."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from charrnn import module
from charrnn.runs import checkpoint_file
from charrnn.training.callbacks import monitor, progress
from charrnn.training.logger import RunLogger
from charrnn.utils.errors import RequestError
from charrnn.visualization import figure
from conftest import train_here
from test_exactness import SMALL, go_on, killed

TEXT_LENGTH = 2000
RUN = (*SMALL, "trainer.max_steps=36", "resume_from=last", "callbacks=all")


def written(folder: Path) -> dict[str, Any]:
    """Return all that the monitors wrote: scalars, images and texts by tag, each with its step."""
    sizes = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0}
    events = EventAccumulator(str(folder), size_guidance=sizes).Reload()
    tags = events.Tags()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    images = {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in tags["images"]}
    histograms = {tag: [(e.step, str(e.histogram_value)) for e in events.Histograms(tag)] for tag in tags["histograms"]}
    # After a resume TensorBoard keeps both texts of a repeated step; they must be equal.
    texts = {tag: sorted({(e.step, str(e.tensor_proto)) for e in events.Tensors(tag)}) for tag in tags["tensors"]}
    found = scalars | images | histograms | texts
    prefixes = ("network/", "gradient/", "memory/", "update_ratio/", "samples/", "weights/", "states/")
    return {tag: points for tag, points in found.items() if tag.startswith(prefixes)}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoint_file.read(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return weights


CASES: dict[str, tuple[str, ...]] = {
    "two layers": ("model.layers=2", "model.activation=tanh"),
    "relu, no validation split": (
        "model.activation=relu", "optimizer.lr=1e-3", "data.validation_fraction=0", "trainer.accumulate_grad_batches=2",
    ),
    "lstm, bfloat16": ("model=lstm", "model.hidden=4", "data.order=shuffle", "trainer.precision=bf16-true"),
}  # fmt: skip
MOMENTS = [
    (progress.Progress, "on_train_batch_end", 24),  # after the metrics, before the checkpoint
    (module.CharRNNModule, "training_step", 12),  # after the validation and its plots
    (progress.Progress, "on_train_end", 36),  # after all
]


@pytest.fixture(scope="module", autouse=True)
def _plots_without_axes() -> Iterator[None]:
    """Ticks, labels and layout take most of the time of a plot, and test_diagnostic_plots.py draws them."""
    add_plot = RunLogger.add_plot

    def add_quickly(self: RunLogger, tag: str, figure: Any, step: int) -> None:
        figure.set_layout_engine("none")
        for axes in figure.axes:
            axes.set_axis_off()
        add_plot(self, tag, figure, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLogger, "add_plot", add_quickly)
        yield


@pytest.fixture(scope="module")
def whole_run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a case, trained once."""

    @cache
    def train_case(case: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        train_here(folder, *RUN, *CASES[case], path=text)
        return folder

    return train_case


@pytest.fixture
def undisturbed(request: pytest.FixtureRequest, whole_run: Callable[[str], Path]) -> Any:
    return CASES[request.param], whole_run(request.param)


@pytest.mark.parametrize("undisturbed", ["two layers"], indirect=True)
def test_what_is_written(undisturbed: Any) -> None:
    found = written(undisturbed[1])
    steps = {tag: [step for step, _ in points] for tag, points in found.items()}
    layers = {f"{tag}/layer{layer}" for layer in (0, 1) for tag in (
        "network/spectral_radius", "network/largest_singular_value", "network/state_norm", "network/saturated",
        "gradient/vanishing_lag", *(f"gradient/lag_{2**i}" for i in range(1, 7)),
    )}  # fmt: skip
    histograms = {f"{tag}/layer{layer}" for layer in (0, 1) for tag in ("weights/W_hh", "states/h_t")}
    validations = {*layers, *histograms, "network/lyapunov", "memory/characters", "samples/grid/text_summary"}
    updates = {
        f"update_ratio/layer{layer}/{name}" for layer in (0, 1) for name in ("input_to_hidden", "hidden_to_hidden")
    }
    plots = {"memory/loss_by_context", "memory/gain_by_context"}
    for plot in ("network/eigenvalues", "network/singular_values", "gradient/by_lag", "gradient/over_training"):
        plots |= {f"{plot}/layer0", f"{plot}/layer1"}
    assert steps.keys() == {*validations, *updates, "update_ratio/hidden_to_output", *plots}
    assert all(steps[tag] == [12, 24, 36] for tag in validations)
    assert all(steps[tag] == list(range(4, 37, 4)) for tag in updates)
    assert all(steps[tag] == [12, 36] for tag in plots)
    assert all(image.startswith(b"\x89PNG") for tag in plots for _, image in found[tag])


@pytest.mark.parametrize("undisturbed", CASES, indirect=True)
def test_monitors_do_not_change_the_run(undisturbed: Any, text: Path, tmp_path: Path) -> None:
    overrides, folder = undisturbed
    assert written(folder)
    train_here(tmp_path, *RUN, *overrides, "callbacks=none", path=text)
    assert not written(tmp_path)
    monitored, plain = weights_of(folder), weights_of(tmp_path)
    assert all(torch.equal(monitored[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ("undisturbed", "owner", "hook", "step"),
    # Two of three pairs cover all cases and all moments in less time.
    [(case, *moment) for i, case in enumerate(CASES) for j, moment in enumerate(MOMENTS) if i != j],
    indirect=["undisturbed"],
)
def test_a_killed_run_writes_everything_once(
    undisturbed: Any, text: Path, tmp_path: Path, owner: Any, hook: str, step: int
) -> None:
    overrides, folder = undisturbed
    killed(tmp_path, text, owner, hook, step, *RUN, *overrides)
    go_on(tmp_path, text, *RUN, *overrides)
    assert written(tmp_path) == written(folder)


def test_the_update_ratio_is_that_of_the_weights(text: Path, tmp_path: Path) -> None:
    settings = ("scheduler=constant", "trainer.log_every_n_steps=1")
    for steps in (1, 2):
        train_here(tmp_path / str(steps), *RUN, *settings, f"trainer.max_steps={steps}", path=text)
    before, after = (weights_of(tmp_path / str(steps))["network.cells.0.hidden_to_hidden"] for steps in (1, 2))
    (_, (step, ratio)) = written(tmp_path / "2")["update_ratio/hidden_to_hidden"]
    assert step == 2
    assert ratio == pytest.approx(float((after - before).norm() / after.norm()), rel=1e-5)


def test_without_matplotlib_training_warns_once_and_continues(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(figure, "available", lambda: False)
    monitor._warn_without_matplotlib.cache_clear()
    summary = train_here(tmp_path, *RUN, path=text)
    monitor._warn_without_matplotlib.cache_clear()
    assert summary["status"] == "finished"
    line = "matplotlib is not installed: no plots in TensorBoard (scalars are logged). To get it:"
    assert caplog.text.count(line) == 1
    found = written(tmp_path)
    assert "network/lyapunov" in found
    assert not EventAccumulator(str(tmp_path)).Reload().Tags()["images"]


def test_the_sample_grid_has_every_prompt_at_every_temperature(text: Path, tmp_path: Path) -> None:
    grid = ("callbacks.samples.prompts=[The,a]", "callbacks.samples.temperatures=[0.5,1]", "trainer.max_steps=12")
    train_here(tmp_path, *RUN, *grid, path=text)
    ((_, shown),) = written(tmp_path)["samples/grid/text_summary"]
    for title in (f"temperature {t}, prompt {p}" for t in ("0.5", "1") for p in (r"\'The\'", r"\'a\'")):
        assert shown.count(title) == 1


def test_wrong_requests(text: Path, tmp_path: Path) -> None:
    for override, message in (
        ("callbacks.gradient.when=always", "callbacks.gradient.when must be one of validation, end; got 'always'"),
        ("callbacks.gradient.largest_lag=1", "callbacks.gradient.largest_lag must be an integer of at least 2"),
        ("+callbacks.memory.foo=1", "callbacks.memory.foo is not a setting of callbacks.memory"),
        ("+callbacks.mine=3", "callbacks.mine must name a Lightning callback with _target_, or be null; got 3"),
        ("+callbacks.mine={_target_: builtins.dict}", "callbacks.mine must name a class of Callback"),
        ("callbacks.samples.prompts=[\\u2603]", "is not in the vocabulary of"),
    ):
        with pytest.raises(RequestError, match=message):
            train_here(tmp_path, *RUN, override, path=text)
