import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.data.options import options_of
from charrnn.evaluation.scoring import score_carried
from charrnn.runs import checkpoint_file
from charrnn.runs.load import load_network
from charrnn.training.resume import checkpoints_to_resume
from charrnn.utils import process_state
from charrnn.utils.errors import RequestError
from conftest import ROOT
from handmade import Malicious


def good() -> dict[str, Any]:
    return {"state_dict": {"w": torch.ones(2)}, "charrnn": {"format": checkpoint_file.FORMAT}}


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**good(), "extra": Malicious()}, tmp_path / "bad.ckpt")
    refused(tmp_path / "bad.ckpt")
    assert not (tmp_path / "executed").exists()


def refused(path: Path, message: str = "not a readable checkpoint") -> None:
    with pytest.raises(RequestError, match=message):
        checkpoint_file.read(path)


def test_what_is_written_is_read_and_every_cut_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint_file.write(good(), path)
    assert torch.equal(checkpoint_file.read(path)["state_dict"]["w"], torch.ones(2))
    assert checkpoint_file.is_whole(path)
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        assert not checkpoint_file.is_whole(path)
        refused(path)
    assert not checkpoint_file.is_whole(tmp_path / "gone.ckpt")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ([1, 2], "not a checkpoint of this project"),
        ({"state_dict": {}}, "not a checkpoint of this project"),
        ({"state_dict": {}, "charrnn": {"format": 1}}, "format 1, this version reads 2; use a checkpoint of this"),
        ({"state_dict": {}, "charrnn": {"format": 99}}, "format 99, this version reads 2; update charrnn"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, checkpoint: Any, message: str) -> None:
    torch.save(checkpoint, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt", message)


def test_a_checkpoint_of_this_format_is_read_for_ever(tmp_path: Path) -> None:
    """tests/stored/format2.ckpt: `model.hidden=4 model.kernel=fused`, 30 steps on a sentence from standard input."""
    path = ROOT / "tests" / "stored" / "format2.ckpt"
    network, vocabulary, _, about = load_network(path)
    text = "the lazy dog jumps over the quick brown fox."
    assert score_carried(network, vocabulary.encode(text)).nats_per_char == pytest.approx(3.3236073, rel=1e-6)
    ((_, checkpoint),) = checkpoints_to_resume(str(path), tmp_path, True)
    assert checkpoint["global_step"] == 30
    process_state.restore_rng_state(about["random"])
    assert options_of(about["data"]).path == ["-"]


def test_what_unfolds_into_more_than_it_is_or_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint_file.write(good(), path)
    whole = path.read_bytes()
    seen = 0
    for place in range(100, len(whole) - 200, len(whole) // 12):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if not checkpoint_file.is_whole(path):  # some bytes only pad
            refused(path)
            seen += 1
    assert seen > 5
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    refused(tmp_path / "b.ckpt")
