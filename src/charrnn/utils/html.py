"""Fill HTML templates with data. The pages need only a browser: no server and no network."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any


def fill(package: str, template: str, data: dict[str, Any], **parts: Sequence[str]) -> str:
    """Return an HTML template of `package` with `data` inserted as JSON in place of `{{ data }}`.

    The placeholder must be inside `<script type="application/json">`. The JSON is ASCII and contains no "<", so the
    data cannot end the script or start a comment. `parts` are further placeholders, each with the files of `package`
    that are joined in its place. Raises `ValueError` for NaN and infinity, which JSON does not have.
    """
    folder = files(package)
    content = {name: "\n".join((folder / file).read_text("utf-8") for file in names) for name, names in parts.items()}
    content["data"] = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = (folder / template).read_text("utf-8")
    for name, text in content.items():
        head, tail = page.split(f"{{{{ {name} }}}}")
        page = head + text + tail
    return page
