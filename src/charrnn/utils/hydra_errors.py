"""A command line that Hydra refuses -> one line that says what was wanted, what was got and what to do."""

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

HELP = "python train.py --help lists what there is"
# The extra that brings each of Hydra's launchers.
LAUNCHERS = {"joblib": "sweep", "submitit_local": "cluster", "submitit_slurm": "cluster"}


def check_command_line(arguments: list[str]) -> list[str]:
    """The command line as Hydra reads it best: overrides first, then flags, a quoted `~` in a folder expanded.

    So `model.hidden=64 -m seed=1,2` works too. Raises `RequestError` for flags that Hydra's parser does not know (it
    would print its whole usage) and for a sweep in which two jobs would be the same.
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
                raise RequestError(f"{override.key_or_group} is swept over {value} twice; name every value once")


def _check_resume(overrides: list[str], *, sweep: bool) -> None:
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    if values.get("sweep.resume", "").lower() != "true":
        return
    if not sweep:
        raise RequestError("sweep.resume is for sweeps, which have -m; to go on with one run write resume_from=last")
    if "hydra.sweep.dir" not in values:
        raise RequestError("sweep.resume=true needs the sweep's folder; add hydra.sweep.dir=DIR")
    if values.get("resume_from", "null") not in ("null", "last"):
        raise RequestError("sweep.resume=true goes on from every job's last checkpoint; leave resume_from out")


def request_line(error: Exception) -> str | None:
    """What to tell the user of `error`, or None if it is not about the request but a fault of the program."""
    if isinstance(error, RequestError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    launcher = str(getattr(error, "missing_cfg_file", "")).removeprefix("hydra/launcher/")
    if launcher in LAUNCHERS:
        install = f"pip install -e '.[{LAUNCHERS[launcher]}]'"
        return f"Hydra's launcher {launcher} is not installed; {install}, or leave it out: jobs then run one by one"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        outer = "hydra/" * error.missing_cfg_file.startswith("hydra/")
        group, _, option = error.missing_cfg_file.removeprefix(outer).partition("/")
        group = outer + group
        own_text = "; a text of your own is data=text data.path=FILE" if group == "data" else ""
        there = ", ".join(sorted({*(file.stem for file in (CONF / group).glob("*.yaml")), *error.options}))
        return f"{group}={option} is not an option of {group}; it has {there}{own_text}"
    if isinstance(error, ConfigCompositionException):
        key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete .*?'([^']+)'", str(error))
        if key:
            return _unknown_key(next(group for group in key.groups() if group))
    ambiguous = re.search(r"Ambiguous value for argument '([^=']+)=", str(error))
    if ambiguous:
        return f"{ambiguous[1]} takes one value; to try several, one run each, use train.py -m"
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_hydra(error):
        return one_line(error) or one_line(error.__cause__)
    return None


def _raised_by_hydra(error: Exception) -> bool:
    """Whether it came up before the job began: a check of Hydra's, or a folder that it could not make."""
    rooms = {str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)}
    return isinstance(error, ValueError | OSError) and "charrnn.experiment" not in rooms and "hydra.main" in rooms


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
        known = [*flattened(OmegaConf.to_container(compose("config"), resolve=False)), *compose("config")]
    known = [str(name) for name in known if name != key]
    alike = difflib.get_close_matches(key, known, n=1) or [name for name in known if name.split(".")[-1] == key]
    meant = f"did you mean {alike[0]}? " if alike else ""
    return f"there is no setting {key}; {meant}{HELP}"
