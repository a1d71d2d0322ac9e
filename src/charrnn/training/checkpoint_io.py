"""Write and read the checkpoint files of a run for Lightning."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from charrnn.runs import checkpoint_file


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes whole files only, and reads them without executing anything in them.

    `problem` says why the last file could not be written. It is not raised, because other ranks wait for this one.
    """

    problem: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            checkpoint_file.write(checkpoint, Path(path), keep=storage_options)
            self.problem = None
        except OSError as error:
            self.problem = error.strerror or str(error)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint_file.read(Path(path))
