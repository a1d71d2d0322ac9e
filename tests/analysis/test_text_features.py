"""Features against plain loops over the characters that follow the rules literally."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from charrnn.analysis.text_features import FEATURES, codes_of, features_of
from charrnn.data.vocabulary import ByteVocabulary, Vocabulary

TEXT = """\
First Citizen:
  Don't say "speak (now", 'tis late;
\tx = f("a", ['b c', {1: 2}])  # it's
    «Ünder 45» ') '

He said: 'well' and "never
ended (here

\n"Out" again) ]) :-) (3
last 'line' d'or
"""


def value_of(name: str) -> Callable[[str], float]:
    """Return a function that computes the feature's value after the last character of a text, with a loop."""

    def line(text: str) -> str:
        return text[text.rfind("\n") + 1 :]

    def paragraph(text: str) -> str:
        return text[text.rfind("\n\n") + 2 :] if "\n\n" in text else text

    def depth(text: str) -> float:
        opened = 0
        for character in paragraph(text):
            opened = opened + 1 if character in "([{" else max(0, opened - (character in ")]}"))
        return opened

    def single(text: str) -> float:
        start = len(text) - len(line(text))
        pattern = re.compile(r"(?<![^\W_])'(?!\s)|(')(?![^\W_])")  # opens, or closes
        marks = [mark[1] is None for mark in pattern.finditer(TEXT, start) if mark.start() < len(text)]
        return bool(marks) and marks[-1]

    def double(text: str) -> float:
        text = paragraph(text)
        return text.count('"') % 2 == 1 or text.count("«") > text.count("»")

    return {
        "position in the line": lambda text: len(line(text)),
        "position in the word": lambda text: len(re.search(r"[^\W\d_]*\Z", text)[0]),
        "lines since a blank one": lambda text: paragraph(text).count("\n"),
        "indentation": lambda text: len(line(text)) - len(line(text).lstrip(" \t")),
        "inside brackets": depth,
        'inside " "': double,
        "inside ' '": single,
        "after # in the line": lambda text: "#" in line(text),
        "upper case": lambda text: text[-1].isupper(),
        "letter": lambda text: text[-1].isalpha(),
        "digit": lambda text: text[-1].isdigit(),
        "space": lambda text: text[-1] in " \t",
        "line end": lambda text: text[-1] == "\n",
        "punctuation": lambda text: not text[-1].isalnum() and not text[-1].isspace(),
    }[name]


@pytest.mark.parametrize("index", range(len(FEATURES)), ids=[feature.name for feature in FEATURES])
def test_features_match_a_loop_over_the_text(index: int) -> None:
    vocabulary = Vocabulary(TEXT)
    found = features_of(vocabulary.encode(TEXT), vocabulary)[index]
    expected = [value_of(FEATURES[index].name)(TEXT[: n + 1]) for n in range(len(TEXT))]
    wrong = [(n, TEXT[: n + 1][-20:], found[n], expected[n]) for n in np.flatnonzero(found != expected)]
    assert not wrong
    assert len(set(expected)) > 1  # otherwise TEXT does not test this feature


def test_every_byte_of_a_character_has_its_code_point() -> None:
    raw = "aß€😀\n".encode() + b"\xff\xe2"
    ids = np.frombuffer(raw, np.uint8)
    expected = [ord("a"), *[ord("ß")] * 2, *[ord("€")] * 3, *[ord("😀")] * 4, 10, 0xDCFF, 0xDCE2]
    assert codes_of(ids, ByteVocabulary()).tolist() == expected
