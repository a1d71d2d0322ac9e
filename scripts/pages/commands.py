"""The page of all commands, written from their `--help`.

The options come from the parser itself, not from the text that it prints: Python's versions format that differently.
"""

import argparse
import contextlib
import io
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

from charrnn.utils.cli import CommandParser
from charrnn.utils.paths import PROJECT
from charrnn.utils.tables import markdown
from pages.markdown import code, escaped, generated

SCRIPTS = (
    "generate", "evaluate", "export", "play", "visualize", "compare", "show_checkpoint", "tune", "benchmark",
    "build_docs",
)  # fmt: skip
INTRODUCTION = """# Commands

Run these commands in the project's folder, with the environment active (`source .venv/bin/activate`).
`--help` shows the same. [Exit codes](exit-codes.md) are the same for all.

`--run DIR` names the folder of a run or of a sweep. `latest` is the newest run with a checkpoint.

"""
SHELL = """## `scripts/train.sh`

Creates `.venv` on first use, installs the project there, and runs `train.py` with the same arguments.

```bash
scripts/train.sh model.hidden=512 data=text data.path=my_book.txt
```

The variable `PYTHON` names the Python to use, for example `PYTHON=/opt/python3.12/bin/python3 scripts/train.sh`.

## `scripts/test.sh`

Creates `.venv` in the same way, and runs the tests with the arguments of pytest.
[Contributing](../../CONTRIBUTING.md) explains the markers.

"""


class _Shown(Exception):
    """Raised in place of printing a help text; holds the parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(script: Path) -> argparse.ArgumentParser:
    """Return the parser of a script, which it makes before it looks at its arguments."""

    def show(parser: argparse.ArgumentParser, file: object = None) -> None:
        raise _Shown(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "print_help", show),
        mock.patch.object(CommandParser, "print_help", show),
        mock.patch.object(sys, "argv", [str(script), "--help"]),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except _Shown as shown:
            return shown.parser
    raise RuntimeError(f"{script} has no --help")


def examples(script: Path) -> str:
    """Return the commands in the docstring of a script, as a block; what explains one becomes a comment."""
    docstring = script.read_text("utf-8").split('"""')[1]  # as written, with \\n for a newline
    lines = [line for line in docstring.splitlines() if line.startswith("python ")]
    shown = [re.sub(r"\s{3,}(?![\s#])\(?(.*?)\)?$", r"    # \1", line) for line in lines]
    return "```bash\n" + "".join(f"{line}\n" for line in shown) + "```\n\n"


def _name(action: argparse.Action) -> str:
    """Return how an argument is written, such as `--run DIR`."""
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if not action.option_strings:
        return metavar or action.dest.upper()
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else metavar or action.dest.upper()
    return f"{', '.join(action.option_strings)} {value}"


def _is_shown(action: argparse.Action) -> bool:
    special = (argparse._HelpAction, argparse._SubParsersAction)  # argparse has no public names for them
    return action.help != argparse.SUPPRESS and not isinstance(action, special)


def arguments_text(parser: argparse.ArgumentParser) -> str:
    """Return the arguments of a parser as a table, and which of them exclude each other."""
    actions = [action for action in parser._actions if _is_shown(action)]  # argparse has no public list
    rows = [[code(_name(action)), escaped(action.help or "")] for action in actions]
    text = markdown(["argument", "meaning"], rows) + "\n" if actions else ""
    for group in parser._mutually_exclusive_groups:
        names = [
            code(action.option_strings[0] if action.option_strings else _name(action))
            for action in group._group_actions
        ]
        text += f"Use at most one of {', '.join(names[:-1])} and {names[-1]}.\n\n"
    return text


def command_text(script: Path) -> str:
    """Return the section of a script; one with subcommands has a section for each of them."""
    parser = parser_of(script)
    name = script.relative_to(PROJECT).as_posix()
    text = f"## `{name}`\n\n{escaped(parser.description or '')}\n\n{examples(script)}{arguments_text(parser)}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for subcommand, inner in action.choices.items():
                topic = helps[subcommand][:1].upper() + helps[subcommand][1:]
                text += f"### `{name} {subcommand}`\n\n{escaped(topic)}.\n\n{arguments_text(inner)}"
    return text


def train_help() -> str:
    """Return the text of `python train.py --help`, which is the same everywhere."""
    command = [sys.executable, str(PROJECT / "train.py"), "--help"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


def page() -> str:
    """Return the page."""
    training = f"## `train.py`\n\n{examples(PROJECT / 'train.py')}```text\n{train_help().strip()}\n```\n\n"
    training += "[Settings](settings.md) explains every setting.\n\n"
    scripts = [command_text(PROJECT / "scripts" / f"{name}.py") for name in SCRIPTS]
    return "".join([generated("the --help of each command"), INTRODUCTION, training, *scripts, SHELL]).rstrip() + "\n"
