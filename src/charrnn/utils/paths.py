"""Folders of the project, found from where this package is installed."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
CONF = PROJECT / "conf"
OUTPUTS = PROJECT / "outputs"
