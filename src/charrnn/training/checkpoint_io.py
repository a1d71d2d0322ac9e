"""Write and read the checkpoint files of a run for Lightning."""

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from charrnn.runs import checkpoint_file
from charrnn.utils.errors import RequestError

log = logging.getLogger(__name__)

# What `torch.load` accepts with weights_only=True.
PLAIN_TYPES = (
    type(None), bool, int, float, complex, str, bytes, bytearray, torch.Size, torch.dtype, torch.device, Counter,
)  # fmt: skip


class NotPlain(TypeError):
    """Raised for a value that a checkpoint can't hold; the message names its type and where it was found."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes whole files only, and reads them without executing anything in them.

    `problem` says why the last file could not be written. It is not raised, because other ranks wait for this one.
    Reading accepts plain values only (see `plain_value`): any other is refused before the first step, and left out
    of the file with a warning if it appears later.
    """

    problem: str | None = None
    adapt: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # to other settings of the run that resumes

    def __init__(self) -> None:
        super().__init__()
        self._left_out: set[str] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        new = checkpoint["global_step"] == 0
        callbacks = self._plain_entries(checkpoint.get("callbacks", {}), "the state of callback ", new)
        entries = self._plain_entries({**checkpoint, "callbacks": callbacks}, "the checkpoint's entry ", new)
        try:
            checkpoint_file.write(entries, Path(path), keep=storage_options)
            self.problem = None
        except OSError as error:
            self.problem = error.strerror or str(error)

    def _plain_entries(self, entries: dict[str, Any], what: str, new: bool) -> dict[str, Any]:
        plain = {}
        for key, value in entries.items():
            try:
                plain[key] = plain_value(value)
            except NotPlain as error:
                if new:
                    expected = "it takes numbers, strings and tensors, and lists and dictionaries of them"
                    raise RequestError(f"{what}{key} has {error}, which a checkpoint can't hold: {expected}") from error
                if key not in self._left_out:
                    log.warning(
                        "%s%s now has %s, so checkpoints leave it out; a resumed run lacks it", what, key, error
                    )
                self._left_out.add(key)
        return plain

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = checkpoint_file.read(Path(path))
        return checkpoint if self.adapt is None else self.adapt(checkpoint)


def plain_value(value: Any, where: str = "") -> Any:
    """Return `value` as a checkpoint can hold it: NumPy numbers and arrays, paths and subclasses become plain values.

    Raises `NotPlain` for anything else that `torch.load` would refuse; `where` is the place of the value.
    """
    if type(value) in PLAIN_TYPES or isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        pairs = ((plain_value(key, where), plain_value(inner, f"{where}[{key!r}]")) for key, inner in value.items())
        return (OrderedDict if type(value) is OrderedDict else dict)(pairs)
    if type(value) is tuple or isinstance(value, list | deque | set | frozenset):
        kind = {tuple: tuple, set: set, frozenset: set}.get(type(value), list)
        return kind(plain_value(inner, f"{where}[{index}]") for index, inner in enumerate(value))
    if isinstance(value, np.generic | np.ndarray):
        return plain_value(value.tolist(), where)
    if isinstance(value, Path):
        return str(value)
    for base in (int, float, str):
        if isinstance(value, base) and not isinstance(value, Enum):
            return base(value)
    raise NotPlain(f"a value of type {type(value).__name__}" + (f" at {where}" if where else ""))
