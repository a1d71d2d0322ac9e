"""Fill HTML templates with data. The pages need only a browser: no server and no network."""

import json
from importlib.resources import files
from typing import Any

PLACEHOLDER = "{{ data }}"


def fill(package: str, template: str, data: dict[str, Any]) -> str:
    """Return an HTML template of `package` with `data` inserted as JSON in place of `{{ data }}`.

    The placeholder must be inside `<script type="application/json">`. The JSON is ASCII and contains no "<", so the
    data cannot end the script or start a comment. Raises `ValueError` for NaN and infinity, which JSON does not have.
    """
    page = (files(package) / template).read_text("utf-8")
    head, tail = page.split(PLACEHOLDER)
    return head + json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c") + tail
