"""The records from which TensorBoard makes its HParams table: the settings of a run, and the tags of its results."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

from charrnn.runs.leaderboard import short_names, short_value

# The columns if the command names fewer settings. TensorBoard opens up to five, and the scores follow at their right:
# in a window of 1280 pixels, more than two would hide a score.
COLUMNS = ("model.hidden", "optimizer.lr")
PATH = "data.path"  # shown without its folders
# The setting that tells the options of a group apart, such as model=gru.
KEY_OF_GROUP = {
    "model": "model.cell",
    "data": PATH,
    "optimizer": "optimizer._target_",
    "scheduler": "scheduler._target_",
}


def hparams_records(settings: Mapping[str, Any], named: Iterable[str], results: Mapping[str, float]) -> list[Summary]:
    """Return the records of a run: its `settings` by dotted key, and its `results` by tag.

    The table has the settings `named` by the command line; in a sweep, these are the swept ones. TensorBoard puts the
    settings that differ first, and believes the first record that it finds about which these are: every record says
    that the named ones are. Runs that name the same share a row, with the means of their results. Scores come first.
    """
    named = {KEY_OF_GROUP.get(key, key) for key in named}
    present = {key: value for key, value in settings.items() if value is not None}  # a column has one type
    columns = [*(key for key in present if key in named), *(key for key in COLUMNS if key in present.keys() - named)]
    shown = {key: _cell(key, present[key]) for key in columns[: max(len(COLUMNS), len(named & present.keys()))]}
    results = dict(sorted(results.items(), key=lambda item: not item[0].endswith("bits_per_char")))
    names = short_names(list(shown))
    records: list[Summary] = list(hparams(shown, results))
    with _changed(records[0]) as data:
        for info in data.experiment.hparam_infos:
            info.differs = info.name in named
        for info in data.experiment.metric_infos:
            info.display_name = info.name.tag.rpartition("/")[2]
    with _changed(records[1]) as data:
        pairs = [f"{names[key]}={value}" for key, value in shown.items() if key in named]
        data.session_start_info.group_name = ", ".join(pairs) or "defaults"
    return records


def _cell(key: str, value: Any) -> Any:
    """Return a setting as the table takes it: a number, or a text without folders and modules."""
    if isinstance(value, int | float) and not isinstance(value, bool):  # torch would record a flag as a number
        return value
    # A file name may hold surrogates, which UTF-8 can't encode.
    text = str(short_value(key, value)).encode("utf-8", "replace").decode()
    return PurePath(text).name if key == PATH else text


@contextmanager
def _changed(record: Summary) -> Iterator[HParamsPluginData]:
    """Write what the block changes in the content of a record back into it."""
    plugin = record.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(plugin.content)
    yield data
    plugin.content = data.SerializeToString()
