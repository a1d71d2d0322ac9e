"""Pages that need nothing but a browser: a template with data in it. No server, no network."""

import json
from importlib.resources import files
from typing import Any

DATA = "{{ data }}"


def fill(package: str, template: str, data: dict[str, Any]) -> str:
    """Return a template, a file of `package`, with `data` as JSON in place of `{{ data }}`.

    The place must lie within a `<script type="application/json">`.
    Nothing in the data can end the script or begin a comment, and no character depends on the page's encoding.
    Raises `ValueError` for NaN and infinity, which JSON does not know.
    """
    page = (files(package) / template).read_text("utf-8")
    head, tail = page.split(DATA)
    return head + json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c") + tail
