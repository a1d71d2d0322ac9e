"""The folders of the project, located relative to this file."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
CONF = PROJECT / "conf"
OUTPUTS = PROJECT / "outputs"
