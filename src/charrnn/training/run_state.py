"""The state that the callbacks of a run share: requests to save and to stop, how it ended, and the last saved step."""

import math
import time
from dataclasses import dataclass, field


@dataclass
class RunState:
    """Holds the requests of this rank to save or stop, and the decision of all ranks after the current step.

    `save_requested` is set by a signal, `save_due_at` is a time of `time.monotonic`. `stop_requested` is the signal
    that asks the run to stop, or 0. `save_now` and `stop_now` are the decision. `saving_suspended` is true while the
    loss is too high to save the weights. `saved_step` is the step of last.ckpt. `stopped_by` names the callback that
    stopped the run, `failed` has the callbacks that raised an error, each with a message. `unsaved` has the files that
    could not be written, each with the reason.
    """

    save_requested: bool = False
    save_due_at: float = math.inf
    stop_requested: int = 0
    save_now: bool = False
    stop_now: int = 0
    saving_suspended: bool = False
    saved_step: int | None = None
    stopped_by: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    unsaved: dict[str, str] = field(default_factory=dict)

    def requests(self) -> tuple[bool, int]:
        """Return this rank's requests: whether to save, and the signal to stop for (0: none)."""
        return self.save_requested or time.monotonic() >= self.save_due_at, self.stop_requested
