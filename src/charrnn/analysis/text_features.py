"""Simple features of every place of a text: what a hidden unit may have learned to follow.

N symbol of the text, F feature. A feature's value at n is that after symbol n was read. Nothing loops over symbols.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Ids, code_points, utf8_sizes

Codes = NDArray[np.uint32]  # code points, [N]
Marks = NDArray[np.bool_]


class Feature(NamedTuple):
    """A feature by its name; `rule` says exactly what its value is.

    `remembers`: the character just read does not tell it, so that a unit which follows it needs a memory.
    """

    name: str
    rule: str
    remembers: bool


FEATURES = (
    Feature("position in the line", "characters since the line began", True),
    Feature("position in the word", "letters since the word began; 0 outside words", True),
    Feature("lines since a blank one", "line ends since the last blank line", True),
    Feature("indentation", "spaces and tabs with which the line begins", True),
    Feature("inside brackets", "how many of ( [ { are open; a blank line closes all", True),
    Feature('inside " "', 'after an odd " of the paragraph, or between “ and ”', True),
    Feature("inside ' '", "between ' before a word and ' after one, in one line", True),
    Feature("after # in the line", "a comment in many languages", True),
    Feature("upper case", "the character is a capital letter", False),
    Feature("letter", "the character is a letter", False),
    Feature("digit", "the character is a digit", False),
    Feature("space", "the character is a space or tab", False),
    Feature("line end", "the character is a line end", False),
    Feature("punctuation", "no letter, digit or white space", False),
)


def features_of(ids: Ids, vocabulary: AnyVocabulary) -> NDArray[np.float32]:
    """The values of all FEATURES over a text, in their order, [F, N]."""
    codes = codes_of(ids, vocabulary)
    letters, digits, alphanumeric = (_are(codes, kind) for kind in (str.isalpha, str.isdigit, str.isalnum))
    white, line_ends = _are(codes, str.isspace), _among(codes, "\n")
    blank_lines = line_ends & _before(line_ends)
    column = _count_since(line_ends, np.ones(len(codes), bool))
    values = (
        column,
        _count_since(~letters, letters),
        _count_since(blank_lines, line_ends),
        _indentation(column, _count_since(line_ends, white & ~line_ends)),
        _bracket_depth(codes, blank_lines),
        _in_double_quotes(codes, blank_lines),
        _in_single_quotes(codes, alphanumeric, white, line_ends),
        _count_since(line_ends, _among(codes, "#")) > 0,
        _are(codes, str.isupper),
        letters,
        digits,
        white & ~line_ends,
        line_ends,
        ~alphanumeric & ~white,
    )
    return np.array(values, dtype=np.float32)


def codes_of(ids: Ids, vocabulary: AnyVocabulary) -> Codes:
    """The character that each symbol is, or is a byte of, [N]; a byte that is no text is a surrogate, as in Python."""
    if not isinstance(vocabulary, ByteVocabulary):
        return code_points(vocabulary.decode(ids))
    codes = code_points(ids.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape"))
    alone = (codes >= 0xDC80) & (codes < 0xDD00)
    return np.repeat(codes, np.where(alone, 1, utf8_sizes(codes)))


def _are(codes: Codes, kind: Callable[[str], bool]) -> Marks:
    """Where `kind` holds; it is asked once for every distinct character."""
    distinct, places = np.unique(codes, return_inverse=True)
    return np.array([kind(chr(code)) for code in distinct], dtype=bool)[places]


def _among(codes: Codes, characters: str) -> Marks:
    return np.isin(codes, code_points(characters))


def _before(marks: Marks) -> Marks:
    """The marks of the symbol before; before the first there is none."""
    return np.concatenate([[False], marks[:-1]])


def _after(marks: Marks) -> Marks:
    return np.concatenate([marks[1:], [False]])


def _count_since(resets: Marks, marks: Marks) -> NDArray[np.int64]:
    """How many `marks` there were after the last of `resets`, which does not count itself."""
    counts = marks.cumsum()
    return counts - np.maximum.accumulate(np.where(resets, counts, 0))


def _indentation(column: NDArray[np.int64], spaces: NDArray[np.int64]) -> NDArray[np.int64]:
    leading = column == spaces
    last = np.maximum.accumulate(np.where(leading, np.arange(len(column)), 0))
    return np.where(leading[last], column[last], 0)


def _bracket_depth(codes: Codes, blank_lines: Marks) -> NDArray[np.int64]:
    opened, closed = _among(codes, "([{"), _among(codes, ")]}")
    steps = opened.astype(np.int64) - closed - blank_lines * (len(codes) + 1)
    depth = steps.cumsum()  # below its lowest value so far there is nothing left to close
    return depth - np.minimum(np.minimum.accumulate(depth), 0)


def _in_double_quotes(codes: Codes, blank_lines: Marks) -> Marks:
    straight: Marks = _count_since(blank_lines, _among(codes, '"')) % 2 == 1
    curly = _count_since(blank_lines, _among(codes, "“„«")) > _count_since(blank_lines, _among(codes, "”»"))
    return straight | curly


def _in_single_quotes(codes: Codes, alphanumeric: Marks, white: Marks, line_ends: Marks) -> Marks:
    marks = _among(codes, "'")
    # An apostrophe stands after a letter; what stands after one and before none closes, if something is open.
    opens = marks & ~_before(alphanumeric) & ~_after(white)
    closes = (marks & ~opens & ~_after(alphanumeric)) | line_ends
    places = np.arange(1, len(codes) + 1)
    last_open, last_close = (np.maximum.accumulate(np.where(at, places, 0)) for at in (opens, closes))
    return last_open > last_close
