"""The study of a search: which trial comes next, with which settings, and which process is at work on it.

DIR/study.db     all trials: settings, validation curves, results (Optuna, SQLite)
DIR/.claims/     a folder per trial, locked by the process that is at work on it
DIR/trial_000/   the run of the first trial, and so on
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from charrnn.errors import RequestError
from charrnn.optuna_parts import distributions, draw_settings, make_pruner, require_optuna
from charrnn.runs import locked
from charrnn.trial import Request, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SECONDS = 60.0  # to wait while another process writes


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
                was = " ".join(before[part]) or "as they are" if part == "settings" else before[part]
                raise RequestError(
                    f"the study in {self._request.folder} was begun with the {part} {was}; "
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
