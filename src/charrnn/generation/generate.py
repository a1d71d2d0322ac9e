"""A prompt in, characters out: one symbol after the other, several texts at a time.

T time step, B text, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import UNKNOWN, AnyVocabulary, ByteVocabulary
from charrnn.generation.sampling import Sampling
from charrnn.generation.stepper import Step, as_floats, read_text, stepper
from charrnn.network import CharRNN
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice, require_integer

DRAWS_AT_ONCE = 1024  # random numbers of a text; a call for each would cost as much as a small network's step
UNKNOWN_WAYS = ("error", "skip", "replace")
SHOWN_CHARACTERS = 12
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
    pieces = stream_texts(
        network, vocabulary, prompt=prompt, length=length, sampling=Sampling(temperature), seed=seed, **options
    )
    with np.errstate(over="ignore", invalid="ignore"):  # a network that explodes in training is told of elsewhere
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
    make_stepper: Callable[..., Step] = stepper,
) -> Iterator[list[str]]:
    """Yield what is new in each of `samples` texts: first the prompt, then up to `length` sampled symbols, one by one.

    The network starts from a zero state. Without a prompt a random symbol starts each text. A text ends before the
    first string of `stop` in what was sampled; the beginning of one is held back until it is clear. Text i draws from
    the random numbers of (seed, i), so it does not depend on how many there are. Raises `RequestError` for what can't
    be done.
    """
    require_integer("length", length, minimum=0)
    require_integer("seed", seed, minimum=0)
    draws = [np.random.default_rng([seed, i]) for i in range(require_integer("samples", samples))]
    if "" in stop:
        raise RequestError("a stop string needs at least one character, got an empty one")
    if prompt:
        ids_TB = vocabulary.encode(prompt)[:, None]
        yield [prompt] * samples
    else:
        ids_TB = np.array([[generator.choice(vocabulary.starts) for generator in draws]])
        yield [vocabulary.decode(ids) for ids in ids_TB.T]
    texts = [_Text(vocabulary.decoder(), stop) for _ in draws]
    add = [text.add if stop else text.decode for text in texts]
    last_BV, state_LBS = read_text(network, ids_TB)
    step = make_stepper(network, state_LBS.expand(-1, samples, -1))
    logits_BV = as_floats(last_BV.expand(samples, -1))
    for uniforms_B in _uniforms(draws, length):
        ids_B = sampling.pick(logits_BV, uniforms_B)
        yield [add_to(id_) for add_to, id_ in zip(add, ids_B.tolist(), strict=True)]
        if stop and all(text.ended for text in texts):
            return
        logits_BV = step(ids_B)
    yield [text.held for text in texts]


def _uniforms(draws: Sequence[np.random.Generator], length: int) -> Iterator[NDArray[np.float64]]:
    """`length` times one number in [0, 1) for each text, [B]: those that each generator would give one by one."""
    for start in range(0, length, DRAWS_AT_ONCE):
        yield from np.stack([generator.random(min(DRAWS_AT_ONCE, length - start)) for generator in draws], axis=1)


class _Text:
    """A text as it grows: ids in, out comes what is certain to stand before the first stop string."""

    def __init__(self, decode: Callable[[int], str], stop: Sequence[str]) -> None:
        self.ended = False
        self.held = ""  # what may begin a stop string
        self.decode = decode
        self._stop = stop

    def add(self, id_: int) -> str:
        if self.ended:
            return ""
        text = self.held + self.decode(id_)
        places = [text.find(stop) for stop in self._stop if stop in text]
        if places:
            self.ended, self.held = True, ""
            return text[: min(places)]
        certain = len(text) - max(n for stop in self._stop for n in range(len(stop)) if text.endswith(stop[:n]))
        self.held = text[certain:]
        return text[:certain]


def fit_prompt(prompt: str, vocabulary: AnyVocabulary, unknown: str) -> str:
    """The prompt as the network can read it: characters outside the vocabulary left out (`skip`) or as a sign or space.

    `replace` takes the vocabulary's own sign for such characters, or a space. With `error`, and where it has neither,
    `RequestError` lists them.
    """
    require_choice("unknown", unknown, UNKNOWN_WAYS)
    if isinstance(vocabulary, ByteVocabulary) or (vocabulary.unknown is not None and unknown != "skip"):
        return prompt
    known = set(vocabulary.characters) - ({UNKNOWN} if vocabulary.unknown is not None else set())
    missing = sorted(set(prompt) - known)
    if not missing or unknown == "skip":
        return "".join(character for character in prompt if character in known)
    if unknown == "replace" and " " in known:
        return "".join(character if character in known else " " for character in prompt)
    shown = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in missing[:SHOWN_CHARACTERS])
    more = f" and {len(missing) - SHOWN_CHARACTERS} more" if len(missing) > SHOWN_CHARACTERS else ""
    raise RequestError(
        f"the prompt has characters that the network was not trained on: {shown}{more}; "
        "leave them out, or write --unknown skip" + (" or --unknown replace" if " " in known else "")
    )
