"""Simple features of every place of a text: what a hidden unit may have learned to follow.

N symbol of the text, F feature. A feature's value at n is that after symbol n was read. Nothing loops over symbols.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.vocabulary import AnyVocabulary, ByteVocabulary, Ids

Codes = NDArray[np.uint32]  # code points, [N]
Marks = NDArray[np.bool_]
Values = NDArray[np.integer] | Marks


class Feature(NamedTuple):
    """A function from the code points [N] of a text to a value at each; `rule` says it exactly.

    `remembers`: the character just read does not tell it, so that a unit which follows it needs a memory.
    """

    name: str
    rule: str
    remembers: bool
    values: Callable[[Codes], Values]


def features_of(ids: Ids, vocabulary: AnyVocabulary) -> NDArray[np.float32]:
    """The values of all FEATURES over a text, [F, N]."""
    codes = code_points(ids, vocabulary)
    return np.array([feature.values(codes) for feature in FEATURES], dtype=np.float32)


def code_points(ids: Ids, vocabulary: AnyVocabulary) -> Codes:
    """The character that each symbol is, or is a byte of, [N]; a byte that is no text is a surrogate, as in Python."""
    if not isinstance(vocabulary, ByteVocabulary):
        return _codes(vocabulary.decode(ids))
    codes = _codes(ids.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape"))
    alone = (codes >= 0xDC80) & (codes < 0xDD00)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    return np.repeat(codes, np.where(alone, 1, sizes))


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _are(codes: Codes, kind: Callable[[str], bool]) -> Marks:
    """Where `kind` holds; it is asked once for every distinct character."""
    distinct, places = np.unique(codes, return_inverse=True)
    return np.array([kind(chr(code)) for code in distinct], dtype=bool)[places]


def _among(codes: Codes, characters: str) -> Marks:
    return np.isin(codes, _codes(characters))


def _before(marks: Marks) -> Marks:
    """The marks of the symbol before; before the first there is none."""
    return np.concatenate([[False], marks[:-1]])


def _after(marks: Marks) -> Marks:
    return np.concatenate([marks[1:], [False]])


def _count_since(resets: Marks, marks: Marks) -> NDArray[np.int64]:
    """How many `marks` there were after the last of `resets`, which does not count itself."""
    counts = marks.cumsum()
    return counts - np.maximum.accumulate(np.where(resets, counts, 0))


def _everywhere(codes: Codes) -> Marks:
    return np.ones(len(codes), dtype=bool)


def _line_ends(codes: Codes) -> Marks:
    return _among(codes, "\n")


def _blank_lines(codes: Codes) -> Marks:
    return _line_ends(codes) & _before(_line_ends(codes))


def _spaces(codes: Codes) -> Marks:
    return _are(codes, str.isspace) & ~_line_ends(codes)


def _position_in_line(codes: Codes) -> NDArray[np.int64]:
    return _count_since(_line_ends(codes), _everywhere(codes))


def _position_in_word(codes: Codes) -> Values:
    letters = _are(codes, str.isalpha)
    return _count_since(~letters, letters)


def _lines_in_paragraph(codes: Codes) -> Values:
    return _count_since(_blank_lines(codes), _line_ends(codes))


def _indentation(codes: Codes) -> Values:
    column = _position_in_line(codes)
    leading = column == _count_since(_line_ends(codes), _spaces(codes))
    last = np.maximum.accumulate(np.where(leading, np.arange(len(codes)), 0))
    return np.where(leading[last], column[last], 0)


def _bracket_depth(codes: Codes) -> Values:
    opened, closed = _among(codes, "([{"), _among(codes, ")]}")
    steps = opened.astype(np.int64) - closed - _blank_lines(codes) * (len(codes) + 1)
    depth = steps.cumsum()  # below its lowest value so far there is nothing left to close
    return depth - np.minimum(np.minimum.accumulate(depth), 0)


def _in_double_quotes(codes: Codes) -> Values:
    blank = _blank_lines(codes)
    straight = _count_since(blank, _among(codes, '"')) % 2 == 1
    curly = _count_since(blank, _among(codes, "“„«")) > _count_since(blank, _among(codes, "”»"))
    return np.where(curly, True, straight)


def _in_single_quotes(codes: Codes) -> Values:
    marks = _among(codes, "'")
    beside_word = _are(codes, str.isalnum)
    # An apostrophe stands after a letter; what stands after one and before none closes, if something is open.
    opens = marks & ~_before(beside_word) & ~_after(_are(codes, str.isspace))
    closes = (marks & ~opens & ~_after(beside_word)) | _line_ends(codes)
    places = np.arange(1, len(codes) + 1)
    last_open, last_close = (np.maximum.accumulate(np.where(at, places, 0)) for at in (opens, closes))
    return last_open > last_close


def _after_number_sign(codes: Codes) -> Values:
    return _count_since(_line_ends(codes), _among(codes, "#")) > 0


def _is_punctuation(character: str) -> bool:
    return not character.isalnum() and not character.isspace()


FEATURES = (
    Feature("position in the line", "characters since the line began", True, _position_in_line),
    Feature("position in the word", "letters since the word began; 0 outside words", True, _position_in_word),
    Feature("lines since a blank one", "line ends since the last blank line", True, _lines_in_paragraph),
    Feature("indentation", "spaces and tabs with which the line begins", True, _indentation),
    Feature("inside brackets", "how many of ( [ { are open; a blank line closes all", True, _bracket_depth),
    Feature('inside " "', 'after an odd " of the paragraph, or between “ and ”', True, _in_double_quotes),
    Feature("inside ' '", "between ' before a word and ' after one, in one line", True, _in_single_quotes),
    Feature("after # in the line", "a comment in many languages", True, _after_number_sign),
    Feature("upper case", "the character is a capital letter", False, lambda codes: _are(codes, str.isupper)),
    Feature("letter", "the character is a letter", False, lambda codes: _are(codes, str.isalpha)),
    Feature("digit", "the character is a digit", False, lambda codes: _are(codes, str.isdigit)),
    Feature("space", "the character is a space or tab", False, _spaces),
    Feature("line end", "the character is a line end", False, _line_ends),
    Feature("punctuation", "no letter, digit or white space", False, lambda codes: _are(codes, _is_punctuation)),
)
