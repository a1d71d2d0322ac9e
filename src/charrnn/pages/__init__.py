"""Pages that need nothing but a browser: a template of this folder with data in it. No server, no network."""

import json
from importlib.resources import files
from typing import Any

DATA = "{{ data }}"


def fill(template: str, data: dict[str, Any]) -> str:
    """The template with `data` as JSON where it says `{{ data }}`, within a `<script type="application/json">`.

    Nothing in the data can end the script or begin a comment, and no character depends on the page's encoding.
    Raises `ValueError` for NaN and infinity, which JSON does not know.
    """
    page = (files(__package__) / template).read_text("utf-8")
    head, tail = page.split(DATA)
    return head + json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c") + tail
