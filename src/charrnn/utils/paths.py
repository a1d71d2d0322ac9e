"""The folders of the project, located relative to this file."""

import shlex
from pathlib import Path

from charrnn.utils.errors import RequestError

PROJECT = Path(__file__).resolve().parents[3]
CONF = PROJECT / "conf"
OUTPUTS = PROJECT / "outputs"


def require_project() -> None:
    """Raise `RequestError` if this package is a copy without the project around it, as `pip install .` makes one."""
    if not (CONF / "config.yaml").is_file():
        raise RequestError(
            f"charrnn was copied to {Path(__file__).parents[1]}, without its settings in conf/; "
            "install it in place, from the project's folder: pip install -e ."
        )


def install_command(extra: str) -> str:
    """Return the command that installs an extra of this project, as typed in the current folder."""
    place = "." if Path.cwd() == PROJECT else str(PROJECT)
    return f"pip install -e {shlex.quote(f'{place}[{extra}]')}"
