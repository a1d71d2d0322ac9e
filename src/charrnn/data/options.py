"""The settings of a text, checked: the keys of `conf/data/text.yaml` that say which text, and what its symbols are."""

from dataclasses import dataclass
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
    """Which text, and how it becomes symbols; the arguments are those of `conf/data/text.yaml`."""

    path: Any
    pattern: str = "*.txt"
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
        for name in ("pattern", "separator"):
            if not isinstance(getattr(self, name), str) or (name == "pattern" and not self.pattern):
                raise RequestError(f"{name} must be a text, got {getattr(self, name)!r}")
        try:
            "".encode(self.encoding)
        except (LookupError, TypeError, ValueError):
            known = "one that Python knows, such as utf-8 or cp1252"
            raise RequestError(f"encoding must be {known}, got {self.encoding!r}") from None
        if self.level == "byte":
            for name, plain in (("newlines", "keep"), ("normalize", "none"), ("min_count", 1)):
                if getattr(self, name) != plain:
                    raise RequestError(f"{name}={getattr(self, name)} goes with level=char; bytes stay as they are")

    @property
    def joint(self) -> str:
        """The separator as meant: `\\n` and `\\t` in a command are line end and tab."""
        return self.separator.replace("\\n", "\n").replace("\\t", "\t")


def options_of(settings: dict[str, Any]) -> TextOptions:
    """How a run's text was read, from what its checkpoint keeps. `RequestError` if that does not say it."""
    try:
        return TextOptions(**settings["text"])
    except (KeyError, TypeError):
        raise RequestError("the checkpoint does not say how its text was read; take one that train.py made") from None
