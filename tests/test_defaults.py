"""A default has one value: the YAML gives it with its reason, the Python signature repeats it."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from charrnn.data import CharDataset
from charrnn.data.datamodule import CharDataModule
from charrnn.data.options import TextOptions
from charrnn.data.vocabulary import Vocabulary
from charrnn.generation import generate_text
from charrnn.module import DEFAULT_OPTIMIZER, CharRNNModule
from charrnn.network import CharRNN
from charrnn.utils.paths import CONF
from conftest import ROOT


def settings(option: str) -> dict[str, Any]:
    loaded = OmegaConf.to_container(OmegaConf.load(CONF / f"{option}.yaml"), resolve=False)
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items() if key != "_target_"}


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_of_the_network(cell: str) -> None:
    expected = settings(f"model/{cell}")
    size = {} if cell == "elman" else {"hidden": expected["hidden"]}  # as many parameters as 512 plain units
    assert CharRNN(5, cell=cell, **size).settings == {"vocabulary_size": 5, **expected}


def test_of_the_data() -> None:
    expected = settings("data/text")
    assert defaults(TextOptions) | defaults(CharDataModule) == {
        **{key: value for key, value in expected.items() if key != "path"},
        "seed": OmegaConf.load(CONF / "config.yaml").seed,
        "make_vocabulary": None,  # set by the run
    }
    assert defaults(CharDataset) == {"sequence_length": expected["sequence_length"]}


def test_of_the_module() -> None:
    optimizer = settings("optimizer/adamw")
    del optimizer["fused"]
    assert {**DEFAULT_OPTIMIZER.keywords, "betas": list(DEFAULT_OPTIMIZER.keywords["betas"])} == optimizer
    assert defaults(CharRNNModule)["log_every"] == settings("trainer/auto")["log_every_n_steps"]


def test_of_generated_text() -> None:
    script = (ROOT / "scripts" / "generate.py").read_text("utf-8")
    for name, value in defaults(generate_text).items():
        assert f'"--{name}"' in script
        assert f"default={value!r}".replace("'", '"') in script.split(f'"--{name}"')[1].split("add_argument")[0]


def test_a_network_called_is_unroll_from_a_zero_state() -> None:
    network, ids_TB = CharRNN(7, hidden=5), torch.randint(7, (4, 3))
    torch.nn.init.normal_(network.hidden_to_output)
    for called, expected in zip(network(ids_TB), network.unroll(ids_TB, network.initial_state(3)), strict=True):
        assert torch.equal(called, expected)
    state_LBS = torch.rand(1, 3, 5)
    assert torch.equal(network(ids_TB, state_LBS)[0], network.unroll(ids_TB, state_LBS)[0])


def test_a_network_trains_with_nothing_but_defaults(tmp_path: Any) -> None:
    import lightning

    (tmp_path / "a.txt").write_text("the quick brown fox " * 200)
    data = CharDataModule(path=str(tmp_path / "a.txt"))
    module = CharRNNModule(CharRNN(len(data.vocabulary), hidden=16), data.vocabulary)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_steps=40, accelerator="cpu", default_root_dir=tmp_path, enable_model_summary=False, **quiet
    )
    trainer.fit(module, datamodule=data)
    assert module.metric_log.latest["nats_per_char/val"] < 2.5
    assert generate_text(module.network, Vocabulary("the quick brown fox "), prompt="the", length=5).startswith("the")
