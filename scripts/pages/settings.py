"""The page of all settings, written from the YAML files in `conf/` and their comments."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with OmegaConf
from omegaconf import OmegaConf

from charrnn.utils.config import flattened
from charrnn.utils.paths import CONF
from charrnn.utils.tables import markdown
from pages.markdown import code, escaped, generated

LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>.*?))??(?:\s+# (?P<comment>.*))?")
HIDDEN = ("_target_", "defaults")
GROUPS = {
    "model": "The network.",
    "data": "The text, how it is read, and how it is cut into batches.",
    "optimizer": "Any optimizer of `torch.optim` works: name its class in `optimizer._target_`.",
    "scheduler": "How the learning rate changes during the run.",
    "trainer": "The device, the length of the run, and other arguments of Lightning's `Trainer`. "
    "Those that are not listed can be added with a plus sign: `+trainer.profiler=simple`.",
    "callbacks": "Monitors of the network. [Metrics](metrics.md) explains what they log. "
    "Any other callback of Lightning can be added here.",
    "logger": "Where metrics go besides `metrics.csv`. Several: `logger=[tensorboard,wandb]`.",
}
INTRODUCTION = """# Settings

Settings are written as `key=value` after `python train.py`. `group=option` selects a file of `conf/`. Single settings
of it can be changed in the same command:

```bash
python train.py model=gru model.hidden=128 optimizer=sgd optimizer.lr=0.3
```

`python train.py --cfg job` prints all settings with their values, and `--help` the main ones. A setting that does not
exist, or has a wrong value, ends the command with one line and exit code 2.

`null` means: not set. `???` means: must be given. `${seed}` means: the value of `seed`.

"""
RECIPES = """## `experiment`: recipes

A recipe is a set of settings with one name. Settings in the command override those of the recipe:

```bash
python train.py experiment=shakespeare_minute trainer.max_steps=500
```

"""
SEARCH = """## `--search`: spaces of `scripts/tune.py`

These files are not settings of `train.py`. `python scripts/tune.py --search NAME` selects one.
[Searching good settings](../tuning.md) explains them.

"""
HYDRA = """## `hydra`: folders and launchers

`python train.py --hydra-help` lists Hydra's own settings. These are used most:

"""
HYDRA_SETTINGS = (
    ("hydra.run.dir", "outputs/<date>_<time>", "folder of a run"),
    ("hydra.sweep.dir", "outputs/sweep_<date>_<time>", "folder of a sweep (-m)"),
    (
        "hydra/launcher",
        "basic",
        "how the jobs of a sweep run: basic one after the other, joblib side by side, or below",
    ),
    ("hydra.launcher.n_jobs", "-1", "jobs at a time, with hydra/launcher=joblib; -1: as many as there are CPU cores"),
)


@dataclass(frozen=True)
class Setting:
    """A key with its value and comment, as the file has them."""

    key: str
    value: str
    comment: str


@dataclass(frozen=True)
class Option:
    """A file of a config group: what its first comment says, the options that it extends, its class, its settings."""

    name: str
    description: str
    extends: list[str]
    target: str
    settings: list[Setting]


def read_option(file: Path, prefix: str) -> Option:
    """Read a config file with its comments; keys get `prefix`."""
    loaded = OmegaConf.load(file)
    raw: Any = OmegaConf.to_container(loaded, resolve=False)
    description: list[str] = []
    settings: list[Setting] = []
    open_keys = [(-1, prefix)]
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("# ") and not settings and "@package" not in line:
            description.append(line.removeprefix("# "))
        match = LINE.fullmatch(line)
        if match is None:
            continue
        indent, value = len(match["indent"]), match["value"] or ""
        open_keys = [*(pair for pair in open_keys if pair[0] < indent), (indent, match["key"])]
        keys = [key for _, key in open_keys if key]
        if keys[-1] == "hydra":
            break  # in config.yaml: Hydra's own, which HYDRA_SETTINGS explains
        if set(keys) & set(HIDDEN):
            continue
        if not value:
            value = _value_below(OmegaConf.select(loaded, ".".join(key for _, key in open_keys[1:])))
        settings.append(Setting(".".join(keys), value, match["comment"] or ""))
    extends = [name for name in raw.get("defaults", ()) if isinstance(name, str) and name != "_self_"]
    return Option(file.stem, " ".join(description), extends, raw.get("_target_", ""), settings)


def _value_below(value: Any) -> str:
    """Return what the lines below a key have: a list, the class of an object, or nothing for a group of settings."""
    if OmegaConf.is_list(value):
        return f"[{', '.join(map(str, OmegaConf.to_container(value, resolve=False)))}]"  # type: ignore[arg-type]
    return str(value.get("_target_", "")).rpartition(".")[2]


def options(group: str) -> list[Option]:
    """Return the options of a config group by name."""
    prefix = "" if group in ("search", "experiment") else group.replace("/", ".")
    return [read_option(file, prefix) for file in sorted((CONF / group).glob("*.yaml"))]


def settings_table(settings: list[Setting]) -> str:
    """Return the settings as a table."""
    rows = [[code(each.key), code(each.value), escaped(each.comment)] for each in settings]
    return markdown(["setting", "default", "meaning"], rows)


def _option_text(group: str, option: Option, default: str) -> str:
    names = " and ".join(code(f"{group}={name}") for name in option.extends if not name.startswith("submitit"))
    paragraphs = [
        f"### `{group}={option.name}`" + (" (default)" if option.name == default else ""),
        escaped(option.description),
        f"Like {names}, except for:" if names and option.settings else f"Like {names}." if names else "",
        f"Class: `{option.target}`." if option.target else "",
    ]
    text = "\n\n".join(filter(None, paragraphs)) + "\n\n"
    return text + (settings_table(option.settings) + "\n" if option.settings else "")


def _recipe_text(file: Path) -> str:
    option = read_option(file, "")
    raw: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    chosen = [each for each in raw.get("defaults", ()) if isinstance(each, dict)]
    rows = [[key.removeprefix("override /"), name, ""] for each in chosen for key, name in each.items()]
    for setting in filter(lambda each: each.value or each.comment, option.settings):  # not groups of settings
        values = flattened(yaml.load(setting.value, yaml.BaseLoader))  # as the file has them: 4e-3, not 0.004
        comments = [setting.comment, *[""] * len(values)]
        rows += [
            [f"{setting.key}.{key}" if key else setting.key, value, comment]
            for (key, value), comment in zip(values.items(), comments, strict=False)
        ]
    swept = raw.get("hydra", {}).get("sweeper", {}).get("params", {})
    rows += [[key, value, "a sweep: one run for each"] for key, value in swept.items()]
    text = f"### `experiment={option.name}`\n\n{escaped(option.description)}\n\n"
    if option.extends:
        text += f"Like `experiment={option.extends[0]}`, except for:\n\n"
    cells = [[code(key), code(value), escaped(comment)] for key, value, comment in rows]
    return text + markdown(["setting", "value", "reason"], cells) + "\n"


def _search_text(option: Option) -> str:
    searched = {each.key.removeprefix("space."): each for each in option.settings if each.key.startswith("space.")}
    others = [each for each in option.settings if each.key.partition(".")[0] != "space"]
    values = markdown(["setting", "values"], [[code(key), code(each.value)] for key, each in searched.items()])
    return f"### `--search {option.name}`\n\n{escaped(option.description)}\n\n{values}\n{settings_table(others)}\n"


def page() -> str:
    """Return the page."""
    main = read_option(CONF / "config.yaml", "")
    chosen: Any = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    defaults = {group: name for each in chosen["defaults"] if isinstance(each, dict) for group, name in each.items()}
    parts = [generated("conf/"), INTRODUCTION, "## General\n\n", settings_table(main.settings), "\n"]
    for group, description in GROUPS.items():
        parts += [f"## `{group}`\n\n{description}\n\n"]
        default = defaults[group]
        listed = sorted(options(group), key=lambda option: option.name != default)  # the default first
        parts += [_option_text(group, option, default) for option in listed]
    parts += [RECIPES, *map(_recipe_text, sorted((CONF / "experiment").glob("*.yaml")))]
    parts += [SEARCH]
    parts += map(_search_text, options("search"))
    parts += [HYDRA, settings_table([Setting(*each) for each in HYDRA_SETTINGS]), "\n"]
    parts += [_option_text("hydra/launcher", option, "") for option in options("hydra/launcher")]
    return "".join(parts).rstrip() + "\n"
