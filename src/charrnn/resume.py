"""What a resume needs from Lightning: checkpoints written and read as `checkpoint_file` does it."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from charrnn import checkpoint_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Whole files only, on the disk before they get their name; nothing in a file is ever executed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint_file.write(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint_file.read(Path(path))
