"""constraints.txt has one exact version for everything that the project and its extras need."""

import tomllib
from importlib import metadata
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in (
        line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[0] != "#"
    )
}


NOT_PINNED = {"triton"}  # CUDA builds of torch need a version of their own


def needed() -> list[Requirement]:
    """What pyproject.toml names, and what the installed packages need in turn, with the extras that are asked for."""
    found, waiting = [], [Requirement(line) for line in (*PROJECT["dependencies"], *chain(*EXTRAS.values()))]
    seen = set[str]()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen or requirement.name == PROJECT["name"]:
            continue
        seen.add(str(requirement))
        found.append(requirement)
        try:
            lines = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue
        for inner in map(Requirement, lines):
            pins_itself = any(part.operator == "==" for part in inner.specifier)  # as torch does for CUDA's libraries
            extras = requirement.extras or {""}
            if not pins_itself and (inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras)):
                waiting.append(inner)
    return found


def test_all_that_is_needed_has_a_version_that_fits() -> None:
    requirements = needed()
    assert len({requirement.name for requirement in requirements}) > 60
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name in NOT_PINNED:
            continue
        assert name in PINS, f"constraints.txt has no version of {name}"
        assert requirement.specifier.contains(PINS[name]), f"{name}=={PINS[name]} does not fit {requirement}"
