"""A command line that Hydra refuses -> one line that says what was wanted, what was got and what to do."""

import difflib
import re
import shlex
import traceback
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from charrnn.errors import RequestError, one_line

CONF = Path(__file__).resolve().parents[2] / "conf"
HELP = "python train.py --help lists what there is"


def check_command_line(arguments: list[str]) -> list[str]:
    """The command line in an order that Hydra reads: flags first, so that `model.hidden=64 -m seed=1,2` works too.

    Raises `RequestError` for flags that Hydra's parser does not know; it would print its whole usage and exit.
    """

    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; settings are written key=value, for example model.hidden=256 ({HELP})")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(arguments).overrides
    flags, left = [], list(overrides)
    for argument in arguments:
        if argument in left:
            left.remove(argument)
        else:
            flags.append(argument)
    return [*flags, *overrides]


def request_line(error: Exception) -> str | None:
    """What to tell the user of `error`, or None if it is not about the request but a fault of the program."""
    if isinstance(error, RequestError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option} is not an option of {group}; it has {', '.join(error.options)}"
    if isinstance(error, ConfigCompositionException):
        key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete .*?'([^']+)'", str(error))
        if key:
            return _unknown_key(next(group for group in key.groups() if group))
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_hydra(error):
        return one_line(error) or one_line(error.__cause__)
    return None


def _raised_by_hydra(error: Exception) -> bool:
    """Whether Hydra's own code raised it: some of its checks raise a bare `ValueError`."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return isinstance(error, ValueError) and str(frames[-1][0].f_globals.get("__name__")).startswith("hydra.")


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"settings are written key=value, got {override!r}; {HELP}"
    escaped = value.strip("'\"").replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return f"the setting {override!r} can't be read; {HELP}"
    return f"the value in {override!r} needs quotes; write {shlex.quote(quoted)}"


def _unknown_key(key: str) -> str:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        known = _keys(OmegaConf.to_container(compose("config"), resolve=False))
    alike = difflib.get_close_matches(key, known, n=1) or [name for name in known if name.split(".")[-1] == key]
    meant = f"did you mean {alike[0]}? " if alike else ""
    return f"there is no setting {key}; {meant}{HELP}"


def _keys(settings: Any, prefix: str = "") -> list[str]:
    if not isinstance(settings, dict):
        return [prefix]
    nested = [_keys(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in settings.items()]
    return [key for keys in nested for key in keys] + ([prefix] if prefix else [])
