"""Say what to write instead of a setting that does not exist."""

import argparse
import difflib
import inspect
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import OmegaConf

from charrnn.utils.config import flattened
from charrnn.utils.paths import CONF

HELP = "python train.py --help lists the settings"
SIMILAR = 0.75  # a typing error; words that merely share some letters are less similar


def unknown_key(key: str, command: argparse.Namespace) -> str:
    """Return the message for a key of the command that its config lacks."""
    group, _, name = key.rpartition(".")
    settings = _settings_without(key, command)
    siblings = _at(settings, group)
    typed = next((word for word in command.overrides if word.partition("=")[0] == key), f"{key}=VALUE")
    if not isinstance(siblings, dict):
        known = [*flattened(settings), *settings]
        return _message(key, difflib.get_close_matches(key, known, n=1))
    if similar := difflib.get_close_matches(
        name, [str(each) for each in siblings if each not in ("_target_", name)], 1, SIMILAR
    ):
        return _message(key, [f"{group}.{similar[0]}" if group else similar[0]])
    target = siblings.get("_target_")
    if target and _takes(target, name):
        return f"{key} is not set by default, but {target} takes it; write {shlex.quote('+' + typed)}"
    files = sorted((CONF / group).glob("*.yaml")) if group else []
    options = [file.stem for file in files if name in _keys(file)]
    if options:
        others = " or ".join(f"{group}={option}" for option in options)
        return f"{key} is not a setting here; only {others} has it ({HELP})"
    if similar := difflib.get_close_matches(name, {key for file in files for key in _keys(file)}, 1, SIMILAR):
        return _message(key, [f"{group}.{similar[0]}"])  # of another option
    return _message(key, [each for each in flattened(settings) if each.split(".")[-1] == key][:1])


def _message(key: str, similar: list[str]) -> str:
    hint = f"did you mean {similar[0]}? " if similar else ""
    return f"unknown setting {key}; {hint}{HELP}"


def _settings_without(key: str, command: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command has without this key, or the defaults if that can't be composed."""
    if GlobalHydra.instance().is_initialized():
        return {}
    overrides = []
    if command.config_dir:
        overrides.append(f'hydra.searchpath=["file://{Path(command.config_dir).absolute()}"]')
    with suppress(Exception):
        for override in OverridesParser.create().parse_overrides(command.overrides):
            if override.key_or_group != key:
                sweep = override.is_sweep_override()
                value = f"{override.get_key_element()}={next(override.sweep_string_iterator())}" if sweep else ""
                overrides.append(value or str(override.input_line))
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        for chosen in (overrides, []):
            with suppress(Exception):
                config = compose(command.config_name or "config", chosen)
                return {str(name): value for name, value in OmegaConf.to_container(config, resolve=False).items()}  # type: ignore[union-attr]
    return {}


def _at(settings: Any, group: str) -> Any:
    for name in filter(None, group.split(".")):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _takes(target: str, argument: str) -> bool:
    """Return whether a class takes an argument of this name; importing it may take seconds."""
    with suppress(Exception):
        return argument in inspect.signature(get_object(target)).parameters
    return False


def _keys(file: Path) -> set[str]:
    return set(map(str, OmegaConf.load(file)))
