"""The study of a search: which trial comes next, with which settings, and which process is at work on it.

DIR/study.db     all trials: settings, validation curves, results (Optuna, SQLite)
DIR/.claims/     a folder per trial, locked by the process that is at work on it
DIR/trial_000/   the run of the first trial, and so on
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.comparison import setting_text
from charrnn.errors import Pruned, RequestError, RunFailed
from charrnn.optuna_parts import distributions, draw_settings, make_pruner, require_optuna
from charrnn.runs import locked
from charrnn.search_space import Search

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.trial import FrozenTrial

SECONDS = 60.0  # to wait while another process writes
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
        described = {"overrides": self.overrides, "space": space, "sampler": self.search.sampler}
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


class Study:
    """Hands out trials, each to one process at a time: first those that a process left behind, then new ones.

    A new trial's settings depend on the seed, its number and the trials before it alone, so that a study that was
    stopped goes on as if it had not been. The first trial has the settings of the request without a change.
    """

    def __init__(self, request: Request) -> None:
        """Raises `RequestError` if the folder holds something else, or the study of another request."""
        require_optuna()
        import optuna

        self._request = request
        self._space = distributions(request.search.space)
        file = request.folder.absolute() / "study.db"
        if not file.exists() and request.folder.is_dir() and any(request.folder.iterdir()):
            raise RequestError(f"{request.folder} holds no study, and is not empty; name another --folder")
        if set(str(file)) & set("?{}"):
            raise RequestError(
                f"SQLite takes no ? and no braces in a name; name another --folder than {request.folder}"
            )
        with locked(request.folder, wait=True):
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": SECONDS}}
            )
            self._study = optuna.create_study(
                storage=storage,
                study_name="tune",
                load_if_exists=True,
                pruner=make_pruner(request.search.pruner, request.validate_every),
            )
            self._require_same(request.described())

    def _require_same(self, described: dict[str, Any]) -> None:
        before = self._study.user_attrs.get("request")
        if before is None:
            self._study.set_user_attr("request", described)
            return
        for part, value in described.items():
            if before[part] != value:
                was = " ".join(before[part]) if part == "overrides" else before[part]
                raise RequestError(
                    f"the study in {self._request.folder} was begun with another {part}: {was}; "
                    "go on with the same, or name another --folder"
                )

    def take(self, claim: ExitStack) -> Trial | None:
        """The next trial, which is this process's own until `claim` is closed; None if there is none left."""
        with locked(self._request.folder, wait=True):
            frozen = self._left_behind(claim) or self._new(claim)
            if frozen is None:
                return None
            return Trial(self._study, frozen, self._request)

    def _claimed(self, number: int, claim: ExitStack) -> bool:
        try:
            claim.enter_context(locked(self._request.folder / ".claims" / str(number)))
        except RequestError:
            return False
        return True

    def _left_behind(self, claim: ExitStack) -> FrozenTrial | None:
        from optuna.trial import TrialState

        begun = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return next((trial for trial in begun if self._claimed(trial.number, claim)), None)

    def _new(self, claim: ExitStack) -> FrozenTrial | None:
        from optuna.trial import TrialState, create_trial

        trials = self._study.get_trials(deepcopy=False)
        number = len(trials)
        settings = self._settings(trials) if number < self._request.trials else None
        if settings is None or not self._claimed(number, claim):
            return None
        trial = create_trial(state=TrialState.RUNNING, params=settings, distributions=self._space)
        self._study.add_trial(trial)  # at once with all its settings
        return self._study.get_trials(deepcopy=False)[number]

    def _settings(self, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
        """What the next trial has: first of all the settings as they are, then what is drawn."""
        space, start = self._request.search.space, self._request.start
        if not trials and all(space[key].holds(value) for key, value in start.items()):
            return start
        return draw_settings(space, self._request.search.sampler, trials)
