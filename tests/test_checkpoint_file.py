import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn import checkpoint_file
from charrnn.errors import RequestError


def good() -> dict[str, Any]:
    return {"state_dict": {"w": torch.ones(2)}, "charrnn": {"format": checkpoint_file.FORMAT}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint_file.write(good(), path)
    assert torch.equal(checkpoint_file.read(path)["state_dict"]["w"], torch.ones(2))
    assert checkpoint_file.is_whole(path)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**good(), "extra": Malicious()}, tmp_path / "bad.ckpt")
    with pytest.raises(RequestError, match="not a readable checkpoint"):
        checkpoint_file.read(tmp_path / "bad.ckpt")
    assert not (tmp_path / "executed").exists()


def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    checkpoint_file.write(good(), tmp_path / "a.ckpt")
    whole = (tmp_path / "a.ckpt").read_bytes()
    for tenth in range(10):
        cut = tmp_path / f"{tenth}.ckpt"
        cut.write_bytes(whole[: len(whole) * tenth // 10])
        assert not checkpoint_file.is_whole(cut)
        with pytest.raises(RequestError, match="not a readable checkpoint"):
            checkpoint_file.read(cut)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"state_dict": {}}, "not a checkpoint of this project"),
        ([1, 2], "not a checkpoint of this project"),
        ({"state_dict": {}, "charrnn": {"format": 999}}, "format 999, this version reads 2; update charrnn"),
        ({"state_dict": {}, "charrnn": {"format": 1}}, "format 1, this version reads 2; take a checkpoint of this"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, checkpoint: Any, message: str) -> None:
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(RequestError, match=message):
        checkpoint_file.read(tmp_path / "a.ckpt")


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("a", "b")
    for name in ("text.ckpt", "zip.ckpt"):
        with pytest.raises(RequestError, match="not a readable checkpoint"):
            checkpoint_file.read(tmp_path / name)
    with pytest.raises(RequestError, match="there is no checkpoint file"):
        checkpoint_file.read(tmp_path / "gone.ckpt")
    assert not checkpoint_file.is_whole(tmp_path / "gone.ckpt")
