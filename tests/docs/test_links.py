"""Every relative link and anchor of the pages leads somewhere, images have a description, all pages can be found."""

import html
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import ROOT

DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\(\s*<?([^)>\s]*)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
TAG = re.compile(r"<(img|a)\b([^>]*)>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"\b(src|href|alt|id|name)\s*=\s*\"([^\"]*)\"", re.IGNORECASE)


class Link(NamedTuple):
    """A link: its target, and for an image its description."""

    target: str
    alt: str | None = None


def markdown(file: Path) -> str:
    """The text of a page, without its blocks of code; of a notebook, that of its text cells."""
    text = file.read_text("utf-8")
    if file.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    text = re.sub(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1`*[ \t]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


@cache
def links(file: Path) -> list[Link]:
    text = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", markdown(file), flags=re.DOTALL)  # `code`
    text = re.sub(r"^( {4}|\t).*$", "", text, flags=re.MULTILINE)  # blocks of code by indentation
    found = []
    for image, words, target in LINK.findall(text):
        found.append(Link(target, words if image else None))
        found += [Link(inner, alt if mark else None) for mark, alt, inner in LINK.findall(words)]  # a linked image
    found += [Link(target) for target in REFERENCE.findall(text)]
    for tag, attributes in TAG.findall(text):
        values = {name.lower(): value for name, value in ATTRIBUTE.findall(attributes)}
        target = values.get("src" if tag.lower() == "img" else "href")
        if target is not None:
            found.append(Link(target, values.get("alt", "") if tag.lower() == "img" else None))
    return found


@cache
def anchors(file: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page, and those that the page sets itself."""
    text = markdown(file)
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$", text, re.MULTILINE):
        shown = html.unescape(LINK.sub(r"\2", heading).replace("`", ""))
        anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    for _, attributes in TAG.findall(text):
        found |= {value for name, value in ATTRIBUTE.findall(attributes) if name.lower() in ("id", "name")}
    return found


def is_external(target: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE) is not None


def resolved(file: Path, target: str) -> tuple[Path, str]:
    """The file and the anchor that a relative link leads to."""
    path, _, anchor = target.partition("#")
    return ((file.parent / path).resolve() if path else file), anchor


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# From Python\n## 3. One step, and `many`\n## A\n## A\n## [Linked](b.md) part\n## `hydra`: x_y & z\n"
        '```bash\n# no heading\n```\n<a id="own"></a>\n'
    )
    expected = {"from-python", "3-one-step-and-many", "a", "a-1", "linked-part", "hydra-x_y--z", "own"}
    assert anchors(page) == expected


def test_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "[a](x.md#b) `[no](y.md)` ![picture [of] it](p.png)\n[![badge](b.svg)](c.md)\n[r]: d.md\n"
        '<img src="e.png" alt="an e"> <a href="f.md">f</a>\n```text\n[no](z.md)\n```\n\n    [no](w.md)\n'
    )
    expected = {
        Link("x.md#b"), Link("p.png", "picture [of] it"), Link("c.md"), Link("b.svg", "badge"), Link("d.md"),
        Link("e.png", "an e"), Link("f.md"),
    }  # fmt: skip
    assert set(links(page)) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target, alt in links(page):
        assert target, f"an empty link in {page}"
        assert alt is None or alt.strip(), f"{target} has no description"
        if is_external(target):
            continue
        file, anchor = resolved(page, target)
        assert file.is_relative_to(ROOT), f"{target} leads out of the project"
        assert file.exists(), f"{target} does not exist"
        if anchor and file.suffix in (".md", ".ipynb"):
            assert anchor in anchors(file), f"{target}: {file.name} has no such heading, but {sorted(anchors(file))}"


def test_every_page_is_reachable_from_the_index() -> None:
    found, waiting = {INDEX}, [INDEX]
    while waiting:
        page = waiting.pop()
        for target, _ in links(page) if page.suffix in (".md", ".ipynb") else ():
            file = page if is_external(target) else resolved(page, target)[0]
            if file.is_file() and file not in found:
                found.add(file)
                waiting.append(file)
    pages = {file for kind in ("*.md", "*.ipynb", "*.html") for file in DOCS.rglob(kind)}
    assert pages - found == set()


def test_every_image_is_shown() -> None:
    shown = {resolved(page, target)[0] for page in PAGES for target, _ in links(page) if not is_external(target)}
    assert set((DOCS / "images").iterdir()) - shown == set()
