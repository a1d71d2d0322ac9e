"""The settings of a text, checked: the keys of `conf/data/text.yaml` that say which text, and what its symbols are."""

from dataclasses import dataclass
from typing import Any

from charrnn.errors import RequestError, require_choice, require_integer

LEVELS = ("char", "byte")
ERRORS = ("strict", "replace", "ignore")
NEWLINES = ("keep", "lf")
NORMAL_FORMS = ("none", "nfc", "nfkc")
SCOPES = ("all", "train")


@dataclass(frozen=True)
class TextOptions:
    """Which text, and how it becomes symbols; the arguments are those of `conf/data/text.yaml`."""

    path: Any
    pattern: str
    sha256: str | None
    separator: str
    level: str
    encoding: str
    errors: str
    newlines: str
    normalize: str
    min_count: int
    vocabulary_from: str

    def __post_init__(self) -> None:
        require_choice("level", self.level, LEVELS)
        require_integer("min_count", self.min_count)
        require_choice("vocabulary_from", self.vocabulary_from, SCOPES)
        for name in ("pattern", "separator"):
            if not isinstance(getattr(self, name), str) or (name == "pattern" and not self.pattern):
                raise RequestError(f"{name} must be a text, got {getattr(self, name)!r}")
        require_choice("errors", self.errors, ERRORS)
        require_choice("newlines", self.newlines, NEWLINES)
        require_choice("normalize", self.normalize, NORMAL_FORMS)
        _require_encoding(self.encoding)
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


def _require_encoding(encoding: object) -> None:
    try:
        "".encode(encoding)  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError):
        raise RequestError(
            f"encoding must be one that Python knows, such as utf-8 or cp1252, got {encoding!r}"
        ) from None
