"""A prompt in, characters out: sampling from the network's predictions, one character after the other."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.errors import require_integer, require_number
from charrnn.network import CharRNN
from charrnn.vocabulary import AnyVocabulary


def generate_text(
    network: CharRNN, vocabulary: AnyVocabulary, *, prompt: str = "", length: int, temperature: float, seed: int
) -> str:
    """The prompt followed by `length` sampled characters; see `stream_text`."""
    return "".join(stream_text(network, vocabulary, prompt=prompt, length=length, temperature=temperature, seed=seed))


def stream_text(
    network: CharRNN, vocabulary: AnyVocabulary, *, prompt: str = "", length: int, temperature: float, seed: int
) -> Iterator[str]:
    """Yield the prompt, then `length` sampled characters one by one, starting from a zero state.

    p(c) = softmax(y / temperature)_c; temperature 0 takes the likeliest character. Without a prompt a random
    character starts the text. Raises `RequestError` for a prompt with characters outside the vocabulary.
    """
    require_integer("length", length, minimum=0)
    require_number("temperature", temperature, 0.0)
    draws = np.random.default_rng(require_integer("seed", seed, minimum=0))
    if not prompt:
        prompt = vocabulary.decode([draws.choice(vocabulary.starts)])
    ids = torch.from_numpy(vocabulary.encode(prompt).astype(np.int64)).to(network.output_bias.device)
    yield prompt
    ready = vocabulary.decoder()
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            logits_TBV, state_LBS = network.unroll(ids[:, None], network.initial_state(1))
            logits_BV = logits_TBV[-1]
            for _ in range(length):
                choice = sample(logits_BV[0].cpu().double().numpy(), temperature, draws.random())
                yield ready(choice)
                logits_BV, state_LBS = network.step(ids.new_tensor([choice]), state_LBS)
    finally:
        network.train(training)


def sample(logits_V: NDArray[np.float64], temperature: float, uniform: float) -> int:
    """The id that `uniform` in [0, 1) picks from softmax(logits / temperature): the inverse of its cumulative sum."""
    if temperature == 0:
        return int(logits_V.argmax())
    with np.errstate(over="ignore"):  # a tiny temperature turns all but the likeliest into exp(-inf) = 0
        weights = np.exp((logits_V - logits_V.max()) / temperature)
    cumulative = weights.cumsum()
    choice = cumulative.searchsorted(uniform * cumulative[-1], side="right")
    return int(min(choice, len(logits_V) - 1))  # rounding can lift the product to the full sum
