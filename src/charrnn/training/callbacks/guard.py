"""Guards around the callbacks that the config adds, so that whatever they do, the trained weights are kept."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback

from charrnn.training.callbacks.group import has_hook
from charrnn.training.run_state import RunState
from charrnn.utils.errors import Pruned, RequestError, RunFailed, one_line

log = logging.getLogger(__name__)

HOOKS = tuple(name for name in vars(Callback) if name.startswith(("on_", "setup", "teardown", "state_dict", "load_")))
BEFORE_TRAINING = ("setup", "on_fit_start", "on_train_start", "on_load_checkpoint", "load_state_dict")
OWN_ERRORS = (RequestError, RunFailed, Pruned)


def guard(callback: Callback, key: str, state: RunState) -> Callback:
    """Make the hooks of `callback` report to `state` which callback stops the run, or fails; return the callback.

    `key` is its setting, such as `callbacks.early`. An error before training refuses the run. A callback that raises
    later is not called again, and the run ends after this step: it is saved, validated and scored, and then fails.
    """
    name = f"{key} ({type(callback).__name__})"
    for hook_name in HOOKS:
        if has_hook(callback, hook_name):
            setattr(callback, hook_name, _guarded(getattr(callback, hook_name), hook_name, name, state))
    return callback


def _guarded(hook: Callable[..., Any], hook_name: str, name: str, state: RunState) -> Callable[..., Any]:
    @functools.wraps(hook)
    def guarded(*arguments: Any, **named: Any) -> Any:
        if name in state.failed:
            return {} if hook_name == "state_dict" else None
        trainer = next((value for value in arguments if isinstance(value, lightning.Trainer)), None)
        was_stopping = trainer is not None and trainer.should_stop
        try:
            result = hook(*arguments, **named)
        except OWN_ERRORS:
            raise
        except KeyboardInterrupt:  # raised by the callback itself: while a run trains, Ctrl-C only sets a flag
            if trainer is None or hook_name in BEFORE_TRAINING:
                raise
            result, trainer.should_stop = None, True
        except Exception as error:
            problem = f"{type(error).__name__}: {one_line(error)}"
            if hook_name in BEFORE_TRAINING:
                raise RequestError(f"{name} can't be used here: {_advice(error) or problem}") from error
            log.error("%s raised an error in %s", name, hook_name, exc_info=error)
            state.failed[name] = f"{name} raised {problem}"
            if trainer is not None:
                if trainer.global_rank > 0:
                    raise  # rank 0 reports that it lost this one
                if trainer.world_size > 1:  # the other ranks would wait for this one
                    raise RunFailed(state.failed[name]) from error
                trainer.should_stop = True
            return {} if hook_name == "state_dict" else None
        if trainer is not None and trainer.should_stop and not was_stopping:
            state.stopped_by = name
        return result

    return guarded


def _advice(error: Exception) -> str:
    """Return the message of an error that speaks to the user, else an empty string."""
    return one_line(error) if isinstance(error, MisconfigurationException | ModuleNotFoundError) else ""
