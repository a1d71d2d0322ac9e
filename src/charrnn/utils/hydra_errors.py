"""Turn a command line that Hydra rejects into one line: what is wrong, what was expected and what to do."""

import argparse
import re
import shlex
import traceback
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.files import user_path
from charrnn.utils.paths import CONF, install_command
from charrnn.utils.unknown_settings import HELP, unknown_key

# Hydra's launchers are separate packages: the extra of this project that installs each.
LAUNCHER_EXTRAS = {"joblib": "sweep", "submitit_local": "cluster", "submitit_slurm": "cluster"}
NO_NAMES = ("", "null", "none", "no", "off", "false")  # what a user types to switch a group off
# How to switch a group off, where that is possible.
SWITCHED_OFF = {
    "callbacks": "to leave all out, use callbacks=none",
    "experiment": "to use no recipe, leave experiment out",
    "hydra/launcher": "to run the jobs one by one, leave hydra/launcher out",
    "logger": "to log nothing but metrics.csv, use logger=csv",
    "scheduler": "to keep the learning rate constant, use scheduler=constant",
}


def check_command_line(arguments: list[str]) -> list[str]:
    """Return the arguments in the order that Hydra expects: overrides first, then flags.

    This allows `model.hidden=64 -m seed=1,2`. A quoted `~` in a folder is expanded. Raises `RequestError` for unknown
    flags (Hydra would print its whole usage).
    """
    overrides = _parsed(arguments).overrides
    check_options(overrides)
    flags = list(arguments)
    for override in overrides:
        flags.remove(override)
    return [*map(_expand_folder, overrides), *flags]


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; settings are written key=value, for example model.hidden=256 ({HELP})")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(arguments)


def check_options(overrides: Sequence[str]) -> None:
    """Raise `RequestError` for a value of a group that is no name, such as null: Hydra's error would not name it."""
    for typed in overrides:
        group, _, value = typed.lstrip("+").partition("=")
        if not group or not (CONF / group).is_dir():
            continue
        try:
            override = OverridesParser.create().parse_override(typed)
            swept = list(override.sweep_string_iterator()) if override.is_sweep_override() else None
        except HydraException:  # a mistake, which Hydra refuses when it reads the command, or glob(), which finds names
            continue
        if swept is not None:
            check_options([f"{group}={each}" for each in swept])
            continue
        parsed = override.value()
        names = parsed if isinstance(parsed, list) else [parsed]
        if not (isinstance(parsed, dict) or all(isinstance(name, str) for name in names)):
            raise RequestError(_no_option(group, value, ()))


def _no_option(group: str, option: str, found: Sequence[str]) -> str:
    """Return the message for an option that a group lacks; Hydra `found` other options, also in other folders."""
    known = ", ".join(sorted({*(file.stem for file in (CONF / group).glob("*.yaml")), *found}))
    advice = SWITCHED_OFF.get(group, "") if option.strip("[]\"'").lower() in NO_NAMES else ""
    if group == "data":
        advice = "for a text of your own, use data=text data.path=FILE"
    return f"{group}={option} does not exist; {group} must be one of {known}" + (f"; {advice}" if advice else "")


def _expand_folder(override: str) -> str:
    folder = re.fullmatch(r"(hydra\.(?:run|sweep)\.dir)=([\"'])(~.*)\2", override)
    return f'{folder[1]}="{user_path(folder[3])}"' if folder else override


def request_line(error: Exception, arguments: Sequence[str] = ()) -> str | None:
    """Return the message for the user if the request caused `error`, or None for a bug in the program.

    `arguments` are those of the command: what is a setting depends on the others.
    """
    if isinstance(error, RequestError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    launcher = str(getattr(error, "missing_cfg_file", "")).removeprefix("hydra/launcher/")
    if launcher in LAUNCHER_EXTRAS:
        install = install_command(LAUNCHER_EXTRAS[launcher])
        alternative = "remove hydra/launcher to run the jobs one by one"
        return f"Hydra's launcher {launcher} is not installed; run {install}, or {alternative}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        outer = "hydra/" * error.missing_cfg_file.startswith("hydra/")
        group, _, option = error.missing_cfg_file.removeprefix(outer).partition("/")
        return _no_option(outer + group, option, error.options)
    if isinstance(error, ConfigCompositionException):
        key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete .*?'([^']+)'", str(error))
        if key:
            return unknown_key(next(filter(None, key.groups())), _parsed(arguments))
        if twice := re.search(r"Multiple values for ([^\s.]+)\. To override a value use '(override .*)'", str(error)):
            typed = f"{twice[1]}={twice[2].rpartition(': ')[2]}"
            where = f"write {typed}" if f"+{typed}" in arguments else f"in a file, write: - {twice[2]}"
            return f"the config has {twice[1]} already; to choose another one, {where}"
    ambiguous = re.search(r"Ambiguous value for argument '([^=']+)=", str(error))
    if ambiguous:
        return f"{ambiguous[1]} takes one value; to run several values as a sweep, use train.py -m"
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_hydra(error):
        return one_line(error) or one_line(error.__cause__)
    return None


def _raised_by_hydra(error: Exception) -> bool:
    """Return whether the error occurred before the job began: a check of Hydra's, or a folder it could not create."""
    modules = {str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)}
    return isinstance(error, ValueError | OSError) and "charrnn.experiment" not in modules and "hydra.main" in modules


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"settings are written key=value, got {override!r}; {HELP}"
    escaped = value.strip("'\"").replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return f"the setting {override!r} cannot be parsed; {HELP}"
    return f"the value in {override!r} needs quotes; use {shlex.quote(quoted)}"
