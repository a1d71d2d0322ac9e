import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary, count_symbols, vocabulary_of
from charrnn.utils.errors import RequestError


@given(st.text(st.characters(), min_size=1))
@example("\x7f\x80\u07ff\u0800\uffff\U00010000")
def test_encode_and_decode_are_inverse(text: str) -> None:
    vocabulary = Vocabulary(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.characters == "".join(sorted(set(text)))
    assert [vocabulary.characters[i] for i in ids] == list(text)
    assert vocabulary == Vocabulary(vocabulary.characters) == vocabulary_of(vocabulary.settings)
    size = len(text.encode("utf-8", "surrogatepass"))
    assert vocabulary.lengths(count_symbols(ids, len(vocabulary))) == (len(text), size)


@pytest.mark.parametrize(("size", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_ids_have_the_smallest_type(size: int, dtype: type) -> None:
    assert Vocabulary("".join(map(chr, range(100, 100 + size)))).encode("d").dtype == dtype


@pytest.mark.parametrize(("unknown", "code"), [("😀", "1F600"), ("\x00", "0000")])
def test_an_unknown_character_is_named_with_its_code_point_and_position(unknown: str, code: str) -> None:
    with pytest.raises(RequestError, match=re.escape(f"character {unknown!r} (U+{code}) at position 3")):
        Vocabulary("abc").encode("abc" + unknown + "a")
    with pytest.raises(RequestError, match="at least one character"):
        Vocabulary("")


@pytest.mark.parametrize("vocabulary", [Vocabulary("abc"), ByteVocabulary()])
def test_ids_out_of_range_are_refused(vocabulary: AnyVocabulary) -> None:
    for outside in (-1, len(vocabulary)):
        with pytest.raises(IndexError, match=rf"0 \.\.\. {len(vocabulary) - 1}"):
            vocabulary.decode([0, outside])


def test_the_unknown_symbol_replaces_all_others() -> None:
    vocabulary = Vocabulary("ab", unknown=True)
    assert vocabulary.encode("ab\u8a9e😀").tolist() == [0, 1, 2, 2]
    assert vocabulary.decode([2]) == "\ufffd"
    assert vocabulary.starts.tolist() == [0, 1]
    assert vocabulary != Vocabulary("ab\ufffd")
    assert vocabulary_of(vocabulary.settings) == vocabulary


@given(st.text(st.characters(codec="utf-8")))
def test_bytes_are_their_own_ids(text: str) -> None:
    vocabulary = ByteVocabulary()
    ids = vocabulary.encode(text)
    assert ids.tobytes() == text.encode()
    assert vocabulary.decode(ids) == text
    decode = vocabulary.decoder()
    assert "".join(decode(int(i)) for i in ids) == text
    assert vocabulary.lengths(count_symbols(ids, 256)) == (len(text), len(text.encode()))
    assert vocabulary_of(vocabulary.settings) == vocabulary != ByteVocabulary(utf8=False)
    assert ByteVocabulary(utf8=False).lengths(count_symbols(ids, 256)) == (len(ids), len(ids))
