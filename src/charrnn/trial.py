"""A search as it was asked for, and one trial of it, in the hands of the process that is at work on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.comparison import setting_text
from charrnn.errors import Pruned, RunFailed
from charrnn.search_space import Search

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.trial import FrozenTrial

MOST_DEATHS = 3  # of a trial's process; settings that take all memory would kill every process that tries them


@dataclass(frozen=True)
class Request:
    """What a search is asked for: so many trials of `overrides` with settings of `search`, beginning with `start`."""

    folder: Path
    overrides: tuple[str, ...]
    search: Search
    start: dict[str, Any]  # the settings as they are without a change
    trials: int
    validate_every: int  # steps

    def described(self) -> dict[str, Any]:
        """What must stay the same when the study goes on, as plain values."""
        space = {key: asdict(dimension) for key, dimension in self.search.space.items()}
        described = {"settings": self.overrides, "space": space, "sampler": self.search.sampler}
        return json.loads(json.dumps(described))  # type: ignore[no-any-return]  # lists, as they are read back


class Trial:
    """A trial that this process is at work on."""

    def __init__(self, study: OptunaStudy, frozen: FrozenTrial, request: Request) -> None:
        from optuna import Trial as OptunaTrial

        self._study, self._frozen = study, frozen
        self._trial = OptunaTrial(study, frozen._trial_id)  # the only way to go on with one that was begun elsewhere
        self.number: int = frozen.number
        self.settings = {key: setting_text(frozen.params[key]) for key in request.search.space}
        self.overrides = [*request.overrides, *(f"{key}={value}" for key, value in self.settings.items())]
        self.folder = request.folder / f"trial_{self.number:03d}"
        self._deaths = {"step": 0, "count": 0}

    def begin(self) -> None:
        """Take note that a process is at work, in case that it dies. `RunFailed` if several have, getting nowhere."""
        from charrnn.checkpoints import readable_checkpoints

        found = readable_checkpoints(self.folder / "checkpoints")
        step = found[0][1]["global_step"] if found else 0
        before = self._frozen.user_attrs.get("deaths", self._deaths)
        self._deaths = {"step": step, "count": before["count"] if before["step"] == step else 0}
        if self._deaths["count"] >= MOST_DEATHS:
            raise RunFailed(f"its process was killed {MOST_DEATHS} times after step {step:,}")
        self._trial.set_user_attr("deaths", {"step": step, "count": self._deaths["count"] + 1})

    def put_back(self) -> None:
        """Leave it to whoever comes next; its process did not die."""
        self._trial.set_user_attr("deaths", self._deaths)

    def judge(self, step: int, bits_per_char: float) -> None:
        """Note a validation, and raise `Pruned` if others did better. What a resumed run repeats is not judged anew."""
        if step not in self._frozen.intermediate_values:
            self._trial.report(bits_per_char, step)
        if step >= (self._frozen.last_step or 0) and self._trial.should_prune():
            raise Pruned(f"at step {step:,} with {bits_per_char:.4f}")

    def end(self, bits_per_char: float) -> None:
        """Its result."""
        self._study.tell(self.number, bits_per_char)

    def end_without_result(self, *, poor: bool) -> None:
        """It was pruned or went wrong; the sampler learns from it if the settings are to blame."""
        from optuna.trial import TrialState

        self._study.tell(self.number, state=TrialState.PRUNED if poor else TrialState.FAIL)
