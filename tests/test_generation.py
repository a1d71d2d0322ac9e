from collections.abc import Callable

import numpy as np
import pytest
import torch

from charrnn.errors import RequestError
from charrnn.generation import generate_text, sample, stream_text
from charrnn.network import CharRNN
from charrnn.vocabulary import Vocabulary

Make = Callable[..., CharRNN]
VOCABULARY = Vocabulary("abcdefg")


def test_the_prompt_and_then_as_many_characters_as_asked(make_network: Make) -> None:
    text = generate_text(make_network(), VOCABULARY, prompt="gab", length=50, temperature=1.0, seed=1)
    assert text.startswith("gab")
    assert len(text) == 53
    assert set(text) <= set("abcdefg")
    assert generate_text(make_network(), VOCABULARY, prompt="gab", length=0, temperature=1.0, seed=1) == "gab"


def test_the_seed_decides(make_network: Make) -> None:
    network = make_network()
    one, same, other = (
        generate_text(network, VOCABULARY, prompt="a", length=60, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_without_a_prompt_a_random_character_starts(make_network: Make) -> None:
    network = make_network()
    starts = {generate_text(network, VOCABULARY, length=0, temperature=1.0, seed=seed) for seed in range(40)}
    assert starts > set("abc")
    assert all(len(start) == 1 for start in starts)


def test_temperature_zero_follows_the_likeliest_characters(make_network: Make) -> None:
    network = make_network(layers=2)
    text = generate_text(network, VOCABULARY, prompt="ad", length=20, temperature=0, seed=1)
    ids_TB = torch.from_numpy(VOCABULARY.encode(text).astype(np.int64))[:, None]
    logits, _ = network.unroll(ids_TB, network.initial_state(1))
    assert VOCABULARY.decode(logits[1:-1, 0].argmax(-1).numpy()) == text[2:]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    logits = np.array([0.3, -1.0, 2.0, 0.0])
    draws = np.random.default_rng(0)
    n = 20_000
    counts = np.bincount([sample(logits, temperature, draws.random()) for _ in range(n)], minlength=4)
    p = torch.softmax(torch.from_numpy(logits) / temperature, 0).numpy()
    chi_square = ((counts - n * p) ** 2 / (n * p)).sum()
    assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001


def test_the_edges_of_a_draw() -> None:
    assert sample(np.array([0.0, 0.0]), 1.0, 0.0) == 0
    assert sample(np.array([0.0, 0.0]), 1.0, np.nextafter(1.0, 0.0)) == 1
    assert sample(np.array([5.0, 5.0, -1e30]), 1.0, np.nextafter(1.0, 0.0)) == 1
    assert sample(np.array([1.0, 9.0]), 1e-300, 0.5) == 1


def test_training_goes_on_undisturbed(make_network: Make) -> None:
    network = make_network(layers=2, dropout=0.5).train()
    before = torch.get_rng_state()
    generate_text(network, VOCABULARY, length=5, temperature=1.0, seed=1)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_requests(make_network: Make) -> None:
    for arguments, message in (
        ({"prompt": "abz"}, "'z' .U.007A. at position 2"),
        ({"length": -1}, "length must be an integer of at least 0"),
        ({"temperature": -0.5}, "temperature must be a number of at least 0"),
        ({"temperature": float("nan")}, "temperature must be a number"),
    ):
        asked = {"length": 3, "temperature": 1.0, "seed": 1, **arguments}
        with pytest.raises(RequestError, match=message):
            list(stream_text(make_network(), VOCABULARY, **asked))
