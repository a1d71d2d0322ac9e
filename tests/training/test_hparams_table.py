from typing import Any

import pytest
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from charrnn.training.hparams_table import hparams_records

SETTINGS: dict[str, Any] = {
    "model._target_": "charrnn.network.CharRNN", "model.cell": "gru", "model.hidden": 256, "model.activation": None,
    "data.path": "/home/me/texts/book\udce9.txt", "data.encoding": "utf-8", "data.sha256": None,
    "optimizer._target_": "torch.optim.AdamW", "optimizer.lr": 0.003, "optimizer.betas": [0.9, 0.99],
    "optimizer.fused": True, "seed": 1,
}  # fmt: skip
RESULTS = {"result/memory_characters": 9.0, "result/val_bits_per_char": 2.0, "result/test_bits_per_char": 3.0}


def records(*named: str) -> tuple[dict[str, Any], list[str], Any]:
    """Return the columns of the Experiment record, its metrics, and the session."""
    experiment, session, _ = (
        HParamsPluginData.FromString(record.value[0].metadata.plugin_data.content)
        for record in hparams_records(SETTINGS, named, RESULTS)
    )
    infos = {info.name: info for info in experiment.experiment.hparam_infos}
    return infos, [info.name.tag for info in experiment.experiment.metric_infos], session.session_start_info


def test_the_named_settings_come_first_and_the_scores_stay_in_view() -> None:
    infos, metrics, session = records("model.hidden", "optimizer.betas", "optimizer.fused")
    assert set(infos) == {"model.hidden", "optimizer.betas", "optimizer.fused"}
    assert all(info.differs for info in infos.values())
    assert session.group_name == "hidden=256, betas=[0.9, 0.99], fused=True"
    assert metrics == ["result/val_bits_per_char", "result/test_bits_per_char", "result/memory_characters"]


@pytest.mark.parametrize(
    ("named", "others"),
    [((), {"model.hidden", "optimizer.lr"}), (("seed",), {"model.hidden"}), (("model.hidden",), {"optimizer.lr"}),
     (("seed", "data"), set())],
)  # fmt: skip
def test_with_few_named_settings_there_are_two_columns(named: tuple[str, ...], others: set[str]) -> None:
    infos, _, _ = records(*named)
    assert {name for name, info in infos.items() if not info.differs} == others
    assert len(infos) == 2


@pytest.mark.parametrize(
    ("named", "key", "name"),
    [("model", "model.cell", "cell=gru"), ("optimizer", "optimizer._target_", "optimizer=AdamW"),
     ("data", "data.path", "path=book?.txt"), ("seed", "seed", "seed=1"), ("callbacks", None, "defaults")],
)  # fmt: skip
def test_a_named_group_is_known_by_one_of_its_settings(named: str, key: str | None, name: str) -> None:
    infos, _, session = records(named)
    assert [column for column, info in infos.items() if info.differs] == ([key] if key else [])
    assert session.group_name == name


def test_a_column_has_one_type() -> None:
    infos, _, session = records("optimizer.fused", "optimizer.lr", "model.hidden", "data.path", "model.activation")
    types = {key: info.type for key, info in infos.items()}
    assert types["model.hidden"] == types["optimizer.lr"] == api_pb2.DATA_TYPE_FLOAT64
    assert types["optimizer.fused"] == types["data.path"] == api_pb2.DATA_TYPE_STRING
    assert "model.activation" not in {*infos, *session.hparams}  # None is no text
    assert session.hparams["data.path"].string_value == "book?.txt"
