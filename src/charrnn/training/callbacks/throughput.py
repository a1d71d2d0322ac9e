"""Training speed, measured by a stopwatch that is paused during validation and sampling."""

import time
from typing import Any

import lightning
from lightning.pytorch import Callback


class Stopwatch:
    """Sums the seconds between starts and stops, on top of those of an earlier process."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def start(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)


class Throughput(Callback):
    """Counts characters, seconds of the fit, and seconds of training alone; a resumed run adds to the sums."""

    state_key = "Speed"  # the name of this class in old checkpoints

    def __init__(self) -> None:
        self.characters = 0
        self.fit = Stopwatch()
        self.training = Stopwatch()  # excludes validation and sampling
        self._logged = (0, 0.0)

    def characters_per_second(self) -> int | None:
        """Return the speed of training alone, or None before the first step."""
        return round(self.characters / self.training.seconds) if self.training.seconds else None

    def state_dict(self) -> dict[str, Any]:
        return {"characters": self.characters, "fit": self.fit.seconds, "training": self.training.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.characters = state_dict["characters"]
        self.fit, self.training = Stopwatch(state_dict["fit"]), Stopwatch(state_dict["training"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._logged = (self.characters, self.training.seconds)
        self.fit.start()

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        self.training.start()  # not at the end of a validation: other callbacks still run then

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.characters += batch.characters
        if not pl_module.should_log():
            return
        now = (self.characters, self.training.seconds)
        characters, seconds = (new - old for new, old in zip(now, self._logged, strict=True))
        pl_module.write_metrics({"speed/chars_per_second": characters / seconds})
        self._logged = now

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.training.stop()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.training.stop()
        self.fit.stop()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
