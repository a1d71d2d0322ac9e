"""Turn a command line that Hydra rejects into one line: what is wrong, what was expected and what to do."""

import difflib
import re
import shlex
import traceback
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from charrnn.utils.config import flattened
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.paths import CONF

HELP = "python train.py --help lists the settings"
# Hydra's launchers are separate packages: the extra of this project that installs each.
LAUNCHER_EXTRAS = {"joblib": "sweep", "submitit_local": "cluster", "submitit_slurm": "cluster"}


def check_command_line(arguments: list[str]) -> list[str]:
    """Return the arguments in the order that Hydra expects: overrides first, then flags.

    This allows `model.hidden=64 -m seed=1,2`. A quoted `~` in a folder is expanded. Raises `RequestError` for unknown
    flags (Hydra would print its whole usage), for a sweep with two equal jobs, and for a wrong use of `sweep.resume`.
    """

    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; settings are written key=value, for example model.hidden=256 ({HELP})")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args(arguments)
    flags = list(arguments)
    for override in parsed.overrides:
        flags.remove(override)
    if parsed.multirun:
        _check_sweep(parsed.overrides)
    _check_resume(parsed.overrides, sweep=parsed.multirun)
    return [*map(_expand_folder, parsed.overrides), *flags]


def _expand_folder(override: str) -> str:
    folder = re.fullmatch(r"(hydra\.(?:run|sweep)\.dir)=([\"'])(~.*)\2", override)
    return f'{folder[1]}="{Path(folder[3]).expanduser()}"' if folder else override


def _check_sweep(overrides: list[str]) -> None:
    for override in OverridesParser.create().parse_overrides(overrides):
        values = list(override.sweep_string_iterator()) if override.is_choice_sweep() else []
        for value in values:
            if values.count(value) > 1:
                raise RequestError(f"the sweep over {override.key_or_group} has {value} twice; list each value once")


def _check_resume(overrides: list[str], *, sweep: bool) -> None:
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    if values.get("sweep.resume", "").lower() != "true":
        return
    if not sweep:
        raise RequestError("sweep.resume works only in a sweep (-m); to resume a single run, use resume_from=last")
    if "hydra.sweep.dir" not in values:
        raise RequestError("sweep.resume=true needs the sweep's folder; add hydra.sweep.dir=DIR")
    if values.get("resume_from", "null") not in ("null", "last"):
        raise RequestError("sweep.resume=true resumes each job from its last checkpoint; remove resume_from")


def request_line(error: Exception) -> str | None:
    """Return the message for the user if the request caused `error`, or None for a bug in the program."""
    if isinstance(error, RequestError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    launcher = str(getattr(error, "missing_cfg_file", "")).removeprefix("hydra/launcher/")
    if launcher in LAUNCHER_EXTRAS:
        install = f"pip install -e '.[{LAUNCHER_EXTRAS[launcher]}]'"
        alternative = "remove hydra/launcher to run the jobs one by one"
        return f"Hydra's launcher {launcher} is not installed; run {install}, or {alternative}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        outer = "hydra/" * error.missing_cfg_file.startswith("hydra/")
        group, _, option = error.missing_cfg_file.removeprefix(outer).partition("/")
        group = outer + group
        own_text = "; for a text of your own, use data=text data.path=FILE" if group == "data" else ""
        known = ", ".join(sorted({*(file.stem for file in (CONF / group).glob("*.yaml")), *error.options}))
        return f"{group}={option} does not exist; {group} must be one of {known}{own_text}"
    if isinstance(error, ConfigCompositionException):
        key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete .*?'([^']+)'", str(error))
        if key:
            return _unknown_key(next(group for group in key.groups() if group))
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


def _unknown_key(key: str) -> str:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        known = [*flattened(OmegaConf.to_container(compose("config"), resolve=False)), *compose("config")]
    known = [str(name) for name in known if name != key]
    similar = difflib.get_close_matches(key, known, n=1) or [name for name in known if name.split(".")[-1] == key]
    hint = f"did you mean {similar[0]}? " if similar else ""
    return f"unknown setting {key}; {hint}{HELP}"
