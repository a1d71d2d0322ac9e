"""Split a text into graphemes, with a visible sign for every character that would be invisible.

G grapheme: what a reader sees as one character, such as a letter with its accents.
"""

import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Ids

# Other invisible characters are shown by their code points.
SIGNS = {"\n": "↵", "\r": "⇤", "\t": "⇥", " ": "␣"}
ZERO_WIDTH_JOINER = "\u200d"
SKIN_TONES, TAGS = range(0x1F3FB, 0x1F400), range(0xE0020, 0xE0080)
JOINERS = {"\u200c", ZERO_WIDTH_JOINER, *map(chr, SKIN_TONES), *map(chr, TAGS)}
# Vowels and final consonants of Korean syllables join the previous character although they are not marks.
JOINING_JAMO = range(0x1160, 0x1200)
FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # a pair of them is one flag
MAX_CLUSTER_SYMBOLS = 16


def split_graphemes(ids: Ids, vocabulary: AnyVocabulary) -> tuple[list[str], NDArray[np.int64]]:
    """Return the graphemes of a text, and how many symbols each consists of, [G].

    The bytes of a character, and a letter with its accents, stay together. Invisible characters become signs.
    """
    if isinstance(vocabulary, ByteVocabulary):
        codec = ("utf-8" if vocabulary.utf8 else "ascii", "surrogateescape")
        clusters = list(_clusters(ids.astype(np.uint8).tobytes().decode(*codec)))
        sizes = [len(cluster.encode(*codec)) for cluster in clusters]
    else:
        clusters = list(_clusters(vocabulary.decode(ids)))
        sizes = [len(cluster) for cluster in clusters]
    return [_visible(cluster) for cluster in clusters], np.array(sizes)


def _clusters(text: str) -> Iterator[str]:
    """Yield grapheme clusters by the rules of Unicode Standard Annex 29 that work without large tables."""
    cluster = ""
    for character in text:
        if cluster and not _joins(cluster, character):
            yield cluster
            cluster = ""
        cluster += character
    yield cluster


def _joins(cluster: str, character: str) -> bool:
    if len(cluster) == MAX_CLUSTER_SYMBOLS or unicodedata.category(cluster[0]) in ("Cc", "Cs", "Zl", "Zp"):
        return False
    kind = unicodedata.category(character)[0]
    return (
        kind == "M"
        or character in JOINERS
        or ord(character) in JOINING_JAMO
        or (cluster[-1] == ZERO_WIDTH_JOINER and kind not in "CZ")
        or (len(cluster) == 1 and ord(cluster) in FLAG_LETTERS and ord(character) in FLAG_LETTERS)
    )


def _visible(cluster: str) -> str:
    if unicodedata.category(cluster[0]) == "Zs":
        return cluster  # a space needs no sign: its background color shows
    return sign(cluster[0]) + (cluster if cluster in "\n\t" else cluster[1:])


def sign(character: str) -> str:
    """Return a visible sign for a single character that does not affect the text around it."""
    code, kind = ord(character), unicodedata.category(character)[0]
    if character in SIGNS:
        return SIGNS[character]
    if 0xDC80 <= code < 0xDD00:  # Python's surrogate escape of an invalid byte
        return f"0x{code - 0xDC00:02X}"
    if kind in "CZ":
        return f"U+{code:04X}"
    return f"◌{character}" if kind == "M" else character


def symbol_signs(vocabulary: AnyVocabulary) -> list[str]:
    """Return the sign of every symbol of the vocabulary, in order."""
    all_bytes = bytes(range(256)).decode("ascii", "surrogateescape")
    return [sign(c) for c in (all_bytes if isinstance(vocabulary, ByteVocabulary) else vocabulary.characters)]
