"""A text as a reader sees it: symbols put together to characters, and a sign for each that would not be seen.

U unit: what a reader sees as one character.
"""

import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Ids

# Signs for common characters that are not seen by themselves; of the others the code point is.
SIGNS = {"\n": "↵", "\r": "⇤", "\t": "⇥", " ": "␣"}
ZERO_WIDTH_JOINER = "\u200d"
SKIN_TONES, TAGS = range(0x1F3FB, 0x1F400), range(0xE0020, 0xE0080)
JOINERS = {"\u200c", ZERO_WIDTH_JOINER, *map(chr, SKIN_TONES), *map(chr, TAGS)}
# Vowels and final consonants of Korean syllables join what stands before them, without being marks.
JOINING_JAMO = range(0x1160, 0x1200)
FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # two of them are a flag
MAX_CLUSTER_SYMBOLS = 16  # symbols


def split_graphemes(ids: Ids, vocabulary: AnyVocabulary) -> tuple[list[str], NDArray[np.int64]]:
    """The text of `ids` in pieces that a reader sees as one character, and how many symbols each is made of, [U].

    The bytes of a character, and a letter with its accents, stay together. Whatever would not be seen is a sign.
    """
    if isinstance(vocabulary, ByteVocabulary):
        how = ("utf-8" if vocabulary.utf8 else "ascii", "surrogateescape")
        clusters = list(_clusters(ids.astype(np.uint8).tobytes().decode(*how)))
        sizes = [len(cluster.encode(*how)) for cluster in clusters]
    else:
        clusters = list(_clusters(vocabulary.decode(ids)))
        sizes = [len(cluster) for cluster in clusters]
    return [_shown(cluster) for cluster in clusters], np.array(sizes)


def _clusters(text: str) -> Iterator[str]:
    """The text in grapheme clusters, by the few rules of Unicode's annex 29 that tables are not needed for."""
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


def _shown(cluster: str) -> str:
    if unicodedata.category(cluster[0]) == "Zs":
        return cluster  # its background is seen
    return sign(cluster[0]) + (cluster if cluster in "\n\t" else cluster[1:])


def sign(character: str) -> str:
    """What stands for a character by itself: something that is seen, and does nothing to the text around it."""
    code, kind = ord(character), unicodedata.category(character)[0]
    if character in SIGNS:
        return SIGNS[character]
    if 0xDC80 <= code < 0xDD00:  # what Python makes of a byte that is no text
        return f"0x{code - 0xDC00:02X}"
    if kind in "CZ":
        return f"U+{code:04X}"
    return f"◌{character}" if kind == "M" else character


def symbol_signs(vocabulary: AnyVocabulary) -> list[str]:
    """The sign of every symbol, one by one."""
    in_bytes = bytes(range(256)).decode("ascii", "surrogateescape")
    return [sign(c) for c in (in_bytes if isinstance(vocabulary, ByteVocabulary) else vocabulary.characters)]
