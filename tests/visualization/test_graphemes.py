import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary
from charrnn.visualization.graphemes import split_graphemes


def test_graphemes_and_their_sizes() -> None:
    for text, graphemes, sizes in (
        ("a b\n", ["a", " ", "b", "↵\n"], [1, 1, 1, 1]),
        ("e\u0301\n\u0301", ["e\u0301", "↵\n", "◌\u0301"], [2, 1, 1]),
        ("\t\r\x00\x7f\u200b\u202e\ud800", ["⇥\t", "⇤", "U+0000", "U+007F", "U+200B", "U+202E", "U+D800"], [1] * 7),
        ("👩‍👩‍👧👍🏽🇩🇪🇫🇷", ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷"], [5, 2, 2, 2]),
        ("\u200d\nक\u094d\u3000", ["U+200D", "↵\n", "क\u094d", "\u3000"], [1, 1, 2, 1]),
    ):
        found, counts = split_graphemes(Vocabulary(text).encode(text), Vocabulary(text))
        assert (found, counts.tolist()) == (graphemes, sizes)
    sequence = np.frombuffer("aé\u3000e\u0301".encode() + b"\xff\xc3(", dtype=np.uint8)
    found, counts = split_graphemes(sequence, ByteVocabulary())
    assert (found, counts.tolist()) == (["a", "é", "\u3000", "e\u0301", "0xFF", "0xC3", "("], [1, 2, 3, 3, 1, 1, 1])
    found, counts = split_graphemes(sequence[:3], ByteVocabulary(utf8=False))
    assert (found, counts.tolist()) == (["a", "0xC3", "0xA9"], [1, 1, 1])


@given(st.text(st.characters(), min_size=1) | st.binary(min_size=1))
def test_every_symbol_is_in_one_grapheme_and_none_affects_the_text_around_it(text: str | bytes) -> None:
    vocabulary: AnyVocabulary = Vocabulary(text) if isinstance(text, str) else ByteVocabulary()
    sequence = vocabulary.encode(text) if isinstance(text, str) else np.frombuffer(text, dtype=np.uint8)
    found, counts = split_graphemes(sequence, vocabulary)
    assert counts.sum() == len(sequence)
    assert counts.min() >= 1
    assert all(grapheme.encode("utf-8") for grapheme in found)
    assert all("\n" not in grapheme.removesuffix("\n") for grapheme in found)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u202a-\u202e\u2066-\u2069]", "".join(found))
