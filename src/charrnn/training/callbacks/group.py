"""Several callbacks as one for Lightning, which takes microseconds per hook and callback even if it does nothing."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import lightning
from lightning.pytorch import Callback

OWN = ("state_dict", "load_state_dict", "on_save_checkpoint", "on_load_checkpoint")
HOOKS = tuple(name for name in vars(Callback) if name.startswith(("on_", "setup", "teardown")) and name not in OWN)


class CallbackGroup(Callback):
    """Calls the hooks of its members in their order, and only those that a member has.

    A checkpoint holds the state of each member under its own key, as if Lightning had called it.
    """

    def __init__(self, members: Sequence[Callback]) -> None:
        self.members = tuple(members)
        for name in HOOKS:
            hooks = [getattr(member, name) for member in members if has_hook(member, name)]
            if hooks:
                setattr(self, name, _one_after_another(hooks))

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for member in self.members:
            if state := member.state_dict():
                checkpoint["callbacks"][member.state_key] = state
            member.on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for member in self.members:
            member.on_load_checkpoint(trainer, pl_module, checkpoint)
            if member.state_key in checkpoint["callbacks"]:
                member.load_state_dict(copy.deepcopy(checkpoint["callbacks"][member.state_key]))


def has_hook(callback: Callback, name: str) -> bool:
    """Return whether a callback, by its class or by itself, has a hook of its own instead of the empty one."""
    hook = getattr(callback, name)
    return getattr(hook, "__func__", hook) is not getattr(Callback, name)


def _one_after_another(hooks: list[Callable[..., Any]]) -> Callable[..., None]:
    def call(*arguments: Any, **named: Any) -> None:
        for hook in hooks:
            hook(*arguments, **named)

    return call


def grouped(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks with those of this project, which need nothing else of Lightning, as one at the end."""
    own = [callback for callback in callbacks if type(callback).__module__.startswith("charrnn.")]
    return [*(callback for callback in callbacks if callback not in own), CallbackGroup(own)]
