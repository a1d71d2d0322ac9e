"""Write the commands that a run, a sweep or a search prints, so that they can be pasted where they were printed.

Hydra records what was typed in `.hydra/hydra.yaml`. Values that are added here are quoted for Hydra's grammar, and
every word for the shell.
"""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from charrnn.runs.folder import HYDRA_FOLDER, OVERRIDES
from charrnn.utils.files import command_folder, display_path
from charrnn.utils.paths import CONF, PROJECT

OF_A_SWEEP = ("hydra.sweep.", "hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.", "hydra.mode")
# What the launchers and the search add to the command of a job.
ADDED = ("hydra.job.config.override_dirname.exclude_keys=", "hydra.job_logging.root.handlers=[file]")

PINNED = [{"plugin": "scalars", "tag": f"bits_per_char/{split}"} for split in ("train", "val")]
# Where TensorBoard serves by default: these curves at the top, not smoothed.
TENSORBOARD_URL = (
    f"http://localhost:6006/?smoothing=0&pinnedCards={quote(json.dumps(PINNED, separators=(',', ':')))}#timeseries"
)


def override(key: str, value: object) -> str:
    """Return `key=value` with the value quoted for Hydra's grammar, if it needs quotes to be read as this text."""
    text = str(value)
    with suppress(HydraException):
        parsed = OverridesParser.create().parse_override(f"{key}={text}").value()
        if isinstance(parsed, str) and parsed == text and "${" not in text:
            return f"{key}={text}"
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # not a reference of OmegaConf
    return f"{key}={QuotedString(literal, Quote.double).with_quotes()}"


def command(program: str, words: Iterable[str | Path], folder: Path | None = None) -> str:
    """Return a command for the shell. A `program` *.py is a script of this project; paths are shown as in `folder`.

    If `folder` is not the one where this command was given, the line begins with `cd`.
    """
    base = folder or command_folder()
    script = Path(program).suffix == ".py"
    start = [*_executable("python", base), PROJECT / program] if script else _executable(program, base)
    line = shlex.join(_path_word(part, base) if isinstance(part, Path) else part for part in [*start, *words])
    return line if base == command_folder() else f"cd {shlex.quote(str(base))} && {line}"


def _path_word(path: Path, base: Path) -> str:
    """Return a path that no program takes for an option, a home folder or a word such as `latest`."""
    text = display_path(path, base)
    return f"./{text}" if text.startswith(("-", "~")) or text == "latest" else text


def _executable(name: str, base: Path) -> list[str]:
    """Return the words that call a program of this environment: its name if it is first on PATH, else its path."""
    own, found = Path(sys.executable).with_name(name), shutil.which(name)
    if found and Path(found).parent == own.parent:
        return [name]
    if name != "python" and not own.exists():  # a library of another environment, which this one sees
        return [*_executable("python", base), "-m", f"{name}.main"]
    return [display_path(own if own.exists() else Path(sys.executable), base)]


def show_curves(logs: Path) -> list[str]:
    """Return the lines that say how to see the curves of the runs below `logs` in TensorBoard."""
    return [f"curves      {command('tensorboard', ['--logdir', logs])}", f"            then open {TENSORBOARD_URL}"]


def resume_run(run: Path) -> str:
    """Return the command that started the run, changed to resume it."""
    typed = _typed(run)
    return _train(typed, without=("hydra.run.dir", "resume_from"), more=[_folder("run", run), "resume_from=last"])


def rerun(trial: Path) -> str:
    """Return the command that trains the settings of a search's trial as a run of its own."""
    return _train(_typed(trial), without=("hydra.run.dir", "resume_from"))


def resume_sweep(config: DictConfig, sweep: Path) -> str:
    """Return the command that started the sweep with this config, changed to resume it."""
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    flag = ["-m"] if "hydra.mode=MULTIRUN" in hydra["overrides"]["hydra"] else []  # else a recipe makes it a sweep
    kept = _without([*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]], ("hydra.sweep.dir", "hydra.mode"))
    words = [*flag, *_flags(hydra), *_without(kept, ("sweep.resume",)), _folder("sweep", sweep), "sweep.resume=true"]
    return command("train.py", words, Path(hydra["runtime"]["cwd"]))


def _folder(kind: str, folder: Path) -> str:
    return override(f"hydra.{kind}.dir", os.path.abspath(folder))  # noqa: PTH100


def _typed(run: Path) -> dict[str, Any]:
    """Return the `hydra` settings that the run recorded; empty for a run that no command started."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        recorded: Any = OmegaConf.to_container(OmegaConf.load(run / HYDRA_FOLDER / "hydra.yaml"), resolve=False)
        return dict(recorded["hydra"])
    with suppress(OSError, ValueError):  # a run of an older version
        return {"overrides": {"task": [*map(str, OmegaConf.load(run / HYDRA_FOLDER / OVERRIDES))], "hydra": []}}
    return {"overrides": {"task": [], "hydra": []}}


def _train(hydra: dict[str, Any], without: tuple[str, ...], more: Iterable[str] = ()) -> str:
    """Return the command of a single run with these settings, also if it was a job of a sweep or of a search."""
    own, typed = hydra["overrides"]["task"], hydra["overrides"]["hydra"]
    kept = [word for word in _without(typed, (*without, *OF_A_SWEEP)) if not word.startswith(ADDED)]
    recipe_is_sweep = hydra.get("mode") == "MULTIRUN" and not _keys(typed) & {"hydra.mode"}
    if recipe_is_sweep or (hydra.get("sweeper") or {}).get("params"):
        kept.append("hydra.mode=RUN")
    words = [*_flags(hydra), *_without(own, (*without, "sweep.")), *kept, *more]
    folder = hydra.get("runtime", {}).get("cwd")
    return command("train.py", words, Path(folder) if folder and Path(folder).is_dir() else None)


def _without(overrides: Iterable[str], keys: tuple[str, ...]) -> list[str]:
    """Return the overrides whose key is none of `keys`; a key that ends in `.` or has a `/` stands for all below it."""
    prefixes = tuple(key for key in keys if key.endswith(".") or "/" in key)
    return [word for word in overrides if _key(word) not in keys and not _key(word).startswith(prefixes)]


def _keys(overrides: Iterable[str]) -> set[str]:
    return {_key(word) for word in overrides}


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _flags(hydra: dict[str, Any]) -> list[str]:
    """Return Hydra's flags that select the config, as far as they differ from those of a plain `train.py`."""
    sources = {each["provider"]: each["path"] for each in hydra.get("runtime", {}).get("config_sources", [])}
    name, main, own = hydra.get("job", {}).get("config_name"), sources.get("main"), sources.get("command-line")
    flags = ["--config-dir", own] if own else []
    flags += ["--config-path", main] if main and main != str(CONF) and Path(main).is_dir() else []
    return flags + (["--config-name", name] if name and name != "config" else [])
