"""What a resume needs: checkpoints written and read as `checkpoint_file` does it, and a run that fits its own."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from charrnn import checkpoint_file
from charrnn.errors import RequestError
from charrnn.settings import flattened

# What the saved state of optimizer, schedule and data position belongs to; it would not fit anything else.
KEPT = (
    "model", "optimizer", "scheduler._target_", "data.order", "data.batch_size", "data.sequence_length",
    "data.validation_fraction", "data.test_fraction",
)  # fmt: skip
FREE = ("model.kernel", "optimizer.fused")  # how it is computed, not what


class AtomicCheckpointIO(TorchCheckpointIO):
    """Whole files only, on the disk before they get their name; nothing in a file is ever executed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint_file.write(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint_file.read(Path(path))


def resumable(resume_from: object, config: dict[str, Any], corpus_sha256: str, steps: int) -> str | None:
    """The path of the checkpoint to go on from, if this run can; None without one.

    Raises `RequestError` with the overrides that would fit.
    """
    if resume_from is None:
        return None
    path = Path(str(resume_from)).expanduser()
    checkpoint = checkpoint_file.read(path)
    about = checkpoint["charrnn"]
    was, now = flattened(about.get("config", {})), flattened(config)
    changed = [
        f"{key}={was.get(key)}"
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key) and key not in FREE and any(_within(key, kept) for kept in KEPT)
    ]
    if changed:
        raise RequestError(f"resume_from: {path} was trained with other settings; go on with {' '.join(changed)}")
    if about.get("data", {}).get("corpus_sha256") != corpus_sha256:
        raise RequestError(f"resume_from: {path} was trained on another text; name that one with data.path")
    if checkpoint.get("global_step", 0) >= steps:
        raise RequestError(
            f"resume_from: {path} is at step {checkpoint['global_step']} and this run ends at {steps}; "
            "raise trainer.max_steps or trainer.max_epochs"
        )
    return str(path)


def _within(key: str, kept: str) -> bool:
    return key == kept or key.startswith(kept + ".")
