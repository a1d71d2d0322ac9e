"""Check the text settings: the keys of `conf/data/text.yaml` that select a text and define its symbols."""

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice, require_integer

CHOICES = {
    "level": ("char", "byte"),
    "vocabulary_from": ("all", "train"),
    "errors": ("strict", "replace", "ignore"),
    "newlines": ("keep", "lf"),
    "normalize": ("none", "nfc", "nfkc"),
}


@dataclass(frozen=True)
class TextOptions:
    """The settings that select a text and define its symbols; `conf/data/text.yaml` explains them."""

    path: Any
    pattern: str | list[str] = "*.txt"
    separator: str = "\n"
    sha256: str | None = None
    level: str = "char"
    encoding: str = "utf-8"
    errors: str = "strict"
    newlines: str = "keep"
    normalize: str = "none"
    min_count: int = 1
    vocabulary_from: str = "all"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            require_choice(name, getattr(self, name), choices)
        require_integer("min_count", self.min_count)
        if self.sha256 is not None and not isinstance(self.sha256, str):
            raise RequestError(f"sha256 must be a checksum of 64 hexadecimal digits, or null; got {self.sha256!r}")
        patterns = self.pattern if isinstance(self.pattern, list | tuple) else [self.pattern]
        if not patterns or not all(isinstance(pattern, str) and PurePath(pattern).name for pattern in patterns):
            expected = "a pattern such as *.txt, or a list such as [*.c,*.h]"
            raise RequestError(f"pattern must be {expected}, got {self.pattern!r}")
        if not isinstance(self.separator, str):
            raise RequestError(f"separator must be a string, got {self.separator!r}")
        require_encoding("encoding", self.encoding)
        if self.level == "byte":
            for name, default in (("newlines", "keep"), ("normalize", "none"), ("min_count", 1)):
                if getattr(self, name) != default:
                    raise RequestError(
                        f"data.{name}={getattr(self, name)} needs data.level=char; "
                        "data.level=byte keeps all bytes unchanged"
                    )


def require_encoding(name: str, value: Any) -> None:
    """Raise `RequestError` unless `value` is an encoding of text that Python knows."""
    try:
        "".encode(value)
    except (LookupError, TypeError, ValueError):
        expected = "a text encoding of Python, such as utf-8 or cp1252"
        raise RequestError(f"{name} must be {expected}, got {value!r}") from None


def unescaped(typed: str) -> str:
    """Return a text typed in a command with `\\n` replaced by a line end, `\\t` by a tab, `\\\\` by one backslash."""
    escapes = {"n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nt\\])", lambda match: escapes[match[1]], typed)


def options_of(settings: dict[str, Any]) -> TextOptions:
    """Return the text options stored in a checkpoint; raise `RequestError` if it has none."""
    try:
        return TextOptions(**settings["text"])
    except (KeyError, TypeError):
        raise RequestError("the checkpoint does not say how its text was read; use one written by train.py") from None
