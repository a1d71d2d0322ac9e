"""Shared by the generated pages: text that Markdown shows as it is. `charrnn.utils.tables` makes their tables."""

import re

WIDTH = 120  # characters of a line of text


def code(text: str) -> str:
    """Return a text as code; nothing for an empty text."""
    return f"`{text}`" if text else ""


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, with links to the pages of `docs/` that it names."""
    shown = re.sub(r"([\\*<])", r"\\\1", text)
    return re.sub(r"docs/(\w+)\.md", r"[docs/\1.md](../\1.md)", shown)


def generated(source: str) -> str:
    """Return the first line of a page: a comment that says where to edit it."""
    return f"<!-- Written by scripts/build_docs.py from {source}. Do not edit this page. -->\n"
