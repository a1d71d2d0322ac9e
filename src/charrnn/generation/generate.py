"""Text generation: continues a prompt symbol by symbol, for several texts at a time.

T time step, B text, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import UNKNOWN, AnyVocabulary, ByteVocabulary, replacement
from charrnn.generation.sampling import Sampling
from charrnn.generation.stepper import read_text
from charrnn.generation.writer import Writer, make_writer
from charrnn.network import CharRNN
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer

BLOCK = 1024  # symbols that are drawn at a time: few enough to see a text grow
MAX_LISTED_CHARACTERS = 12
DEFAULT_SAMPLING = Sampling(temperature=0.8)


def generate_text(
    network: CharRNN,
    vocabulary: AnyVocabulary,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 0.8,
    seed: int = 1,
    **options: Any,
) -> str:
    """Return the prompt followed by `length` sampled characters; `options` are further arguments of `stream_texts`."""
    sampling = Sampling(temperature)
    pieces = stream_texts(network, vocabulary, prompt=prompt, length=length, sampling=sampling, seed=seed, **options)
    with np.errstate(over="ignore", invalid="ignore"):  # training reports a diverging network itself
        return "".join(piece for (piece,) in pieces)


def stream_texts(
    network: CharRNN,
    vocabulary: AnyVocabulary,
    *,
    prompt: str = "",
    length: int = 500,
    sampling: Sampling = DEFAULT_SAMPLING,
    seed: int = 1,
    samples: int = 1,
    stop: Sequence[str] = (),
    make_writer: Callable[..., Writer] = make_writer,
) -> Iterator[list[str]]:
    """Yield the new characters of each of `samples` texts: first the prompt, then up to `length` symbols, one by one.

    The network starts from a zero state. Without a prompt, each text starts with a random symbol. A text ends before
    the first `stop` string in the sampled characters; characters that may start one are held back until that is clear.
    Text i uses the random numbers of (seed, i), so it does not depend on `samples`. Raises `RequestError` for invalid
    arguments.
    """
    require_integer("length", length, minimum=0)
    require_integer("seed", seed, minimum=0)
    generators = [np.random.default_rng([seed, i]) for i in range(require_integer("samples", samples))]
    if "" in stop:
        raise RequestError("a stop string needs at least one character, got an empty one")
    if prompt:
        ids_TB = vocabulary.encode(prompt)[:, None]
        yield [prompt] * samples
    else:
        ids_TB = np.array([[generator.choice(vocabulary.starts) for generator in generators]])
        yield [vocabulary.decode(ids) for ids in ids_TB.T]
    texts = [_Text(vocabulary.decoder(), stop) for _ in generators]
    add = [text.add if stop else text.decode for text in texts]
    last_BV, state_LBS = read_text(network, ids_TB)
    write = make_writer(network, sampling, last_BV.expand(samples, -1), state_LBS.expand(-1, samples, -1))
    for uniforms_NB in _uniforms(generators, length):
        for ids in write(uniforms_NB):
            yield [add_to(id_) for add_to, id_ in zip(add, ids, strict=True)]
            if stop and all(text.ended for text in texts):
                return
    yield [text.held for text in texts]


def _uniforms(generators: Sequence[np.random.Generator], length: int) -> Iterator[NDArray[np.float64]]:
    """Yield `length` numbers in [0, 1) for each generator, in blocks [N, B]."""
    for start in range(0, length, BLOCK):
        yield np.stack([generator.random(min(BLOCK, length - start)) for generator in generators], axis=1)


class _Text:
    """Decodes the ids of one text and returns the characters that are certain to precede the first stop string."""

    def __init__(self, decode: Callable[[int], str], stop: Sequence[str]) -> None:
        self.ended = False
        self.held = ""  # characters that may be the start of a stop string
        self.decode = decode
        self._stop = stop

    def add(self, id_: int) -> str:
        if self.ended:
            return ""
        text = self.held + self.decode(id_)
        positions = [text.find(stop) for stop in self._stop if stop in text]
        if positions:
            self.ended, self.held = True, ""
            return text[: min(positions)]
        certain = len(text) - max(n for stop in self._stop for n in range(len(stop)) if text.endswith(stop[:n]))
        self.held = text[certain:]
        return text[:certain]


def fit_prompt(prompt: str, vocabulary: AnyVocabulary, unknown: str) -> str:
    """Return the prompt with characters outside the vocabulary dropped or replaced (see `vocabulary.replacement`).

    Raises `RequestError`, which lists these characters, if they are refused. The vocabulary itself replaces them by its
    unknown symbol, so such a prompt stays as it is.
    """
    new = replacement(vocabulary, unknown)
    if isinstance(vocabulary, ByteVocabulary) or new == UNKNOWN:
        return prompt
    known = set(vocabulary.characters) - ({UNKNOWN} if vocabulary.unknown is not None else set())
    missing = sorted(set(prompt) - known)
    if not missing or new is not None:
        return "".join(character if character in known else new or "" for character in prompt)
    shown = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in missing[:MAX_LISTED_CHARACTERS])
    more = f" and {len(missing) - MAX_LISTED_CHARACTERS} more" if len(missing) > MAX_LISTED_CHARACTERS else ""
    raise RequestError(
        f"the prompt has characters that the network was not trained on: {shown}{more}; "
        "remove them, or use --unknown skip" + (" or --unknown replace" if " " in known else "")
    )
