"""Simple features of a text at every position, such as the column or the bracket depth, to compare with hidden units.

N symbol of the text, F feature. The value at n is the one after symbol n was read. All code is vectorized over N.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Ids, code_points, utf8_sizes

Codes = NDArray[np.uint32]  # code points, [N]
Mask = NDArray[np.bool_]


class Feature(NamedTuple):
    """A feature: its name, the rule that defines its value, and whether a unit needs memory to follow it.

    `needs_memory` is false if the character just read determines the value.
    """

    name: str
    rule: str
    needs_memory: bool


FEATURES = (
    Feature("position in the line", "characters since the line began", True),
    Feature("position in the word", "letters since the word began; 0 outside words", True),
    Feature("lines since a blank one", "line ends since the last blank line", True),
    Feature("indentation", "spaces and tabs at the start of the line", True),
    Feature("inside brackets", "number of open ( [ {; a blank line closes all", True),
    Feature('inside " "', 'after an odd number of " in the paragraph, or between “ and ”', True),
    Feature("inside ' '", "between ' before a word and ' after one, within a line", True),
    Feature("after # in the line", "a comment in many languages", True),
    Feature("upper case", "the character is a capital letter", False),
    Feature("letter", "the character is a letter", False),
    Feature("digit", "the character is a digit", False),
    Feature("space", "the character is a space or tab", False),
    Feature("line end", "the character is a line end", False),
    Feature("punctuation", "not a letter, a digit, or white space", False),
)


def features_of(ids: Ids, vocabulary: AnyVocabulary) -> NDArray[np.float32]:
    """Return the values of all FEATURES over a text, in that order, [F, N]."""
    codes = codes_of(ids, vocabulary)
    letters, digits, alphanumeric = (_where(codes, predicate) for predicate in (str.isalpha, str.isdigit, str.isalnum))
    white, line_ends = _where(codes, str.isspace), _is_one_of(codes, "\n")
    blank_lines = line_ends & _previous(line_ends)
    column = _count_since(line_ends, np.ones(len(codes), bool))
    values = (
        column,
        _count_since(~letters, letters),
        _count_since(blank_lines, line_ends),
        _indentation(column, _count_since(line_ends, white & ~line_ends)),
        _bracket_depth(codes, blank_lines),
        _in_double_quotes(codes, blank_lines),
        _in_single_quotes(codes, alphanumeric, white, line_ends),
        _count_since(line_ends, _is_one_of(codes, "#")) > 0,
        _where(codes, str.isupper),
        letters,
        digits,
        white & ~line_ends,
        line_ends,
        ~alphanumeric & ~white,
    )
    return np.array(values, dtype=np.float32)


def codes_of(ids: Ids, vocabulary: AnyVocabulary) -> Codes:
    """Return the code point that each symbol is, or is a byte of, [N]; an invalid byte becomes a surrogate escape."""
    if not isinstance(vocabulary, ByteVocabulary):
        return code_points(vocabulary.decode(ids))
    codes = code_points(ids.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape"))
    invalid = (codes >= 0xDC80) & (codes < 0xDD00)
    return np.repeat(codes, np.where(invalid, 1, utf8_sizes(codes)))


def _where(codes: Codes, predicate: Callable[[str], bool]) -> Mask:
    """Return where the predicate holds, calling it once per distinct character."""
    distinct, indices = np.unique(codes, return_inverse=True)
    return np.array([predicate(chr(code)) for code in distinct], dtype=bool)[indices]


def _is_one_of(codes: Codes, characters: str) -> Mask:
    return np.isin(codes, code_points(characters))


def _previous(mask: Mask) -> Mask:
    """Return the mask at the previous symbol; False at the first one."""
    return np.concatenate([[False], mask[:-1]])


def _next(mask: Mask) -> Mask:
    return np.concatenate([mask[1:], [False]])


def _count_since(resets: Mask, mask: Mask) -> NDArray[np.int64]:
    """Return the number of true values in `mask` after the last of `resets`, excluding that position itself."""
    counts = mask.cumsum()
    return counts - np.maximum.accumulate(np.where(resets, counts, 0))


def _indentation(column: NDArray[np.int64], spaces: NDArray[np.int64]) -> NDArray[np.int64]:
    leading = column == spaces
    last = np.maximum.accumulate(np.where(leading, np.arange(len(column)), 0))
    return np.where(leading[last], column[last], 0)


def _bracket_depth(codes: Codes, blank_lines: Mask) -> NDArray[np.int64]:
    opened, closed = _is_one_of(codes, "([{"), _is_one_of(codes, ")]}")
    steps = opened.astype(np.int64) - closed - blank_lines * (len(codes) + 1)
    depth = steps.cumsum()
    # A closing bracket without an open one lowers the minimum so far; depth is counted from that minimum.
    return depth - np.minimum(np.minimum.accumulate(depth), 0)


def _in_double_quotes(codes: Codes, blank_lines: Mask) -> Mask:
    straight: Mask = _count_since(blank_lines, _is_one_of(codes, '"')) % 2 == 1
    curly = _count_since(blank_lines, _is_one_of(codes, "“„«")) > _count_since(blank_lines, _is_one_of(codes, "”»"))
    return straight | curly


def _in_single_quotes(codes: Codes, alphanumeric: Mask, white: Mask, line_ends: Mask) -> Mask:
    marks = _is_one_of(codes, "'")
    # After a letter, ' is an apostrophe if another letter follows (don't), and a closing quote if none does.
    opens = marks & ~_previous(alphanumeric) & ~_next(white)
    closes = (marks & ~opens & ~_next(alphanumeric)) | line_ends
    positions = np.arange(1, len(codes) + 1)
    last_open, last_close = (np.maximum.accumulate(np.where(mask, positions, 0)) for mask in (opens, closes))
    return last_open > last_close
