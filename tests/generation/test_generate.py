from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from charrnn.data.vocabulary import ByteVocabulary, Vocabulary
from charrnn.generation.generate import fit_prompt, generate_text, stream_texts
from charrnn.generation.sampling import Sampling
from charrnn.network import CharRNN
from charrnn.utils.errors import RequestError
from conftest import OPTIONS

Make = Callable[..., CharRNN]
VOCABULARY = Vocabulary("abcdefg")


def test_the_text_is_the_prompt_and_length_characters_fixed_by_the_seed(make_network: Make) -> None:
    network = make_network()

    def write(length: int, seed: int, prompt: str = "gab") -> str:
        return generate_text(network, VOCABULARY, prompt=prompt, length=length, temperature=1.0, seed=seed)

    assert write(0, 1) == "gab"
    assert write(50, 1) == write(50, 1) != write(50, 2)
    assert len(write(50, 1)) == 53
    assert write(50, 1).startswith("gab")
    starts = {write(0, seed, prompt="") for seed in range(40)}  # a random character
    assert set("abc") < starts <= set("abcdefg")


def test_temperature_zero_takes_the_most_likely_characters(make_network: Make) -> None:
    network = make_network(layers=2)
    text = generate_text(network, VOCABULARY, prompt="ad", length=20, temperature=0, seed=1)
    ids_TB = torch.from_numpy(VOCABULARY.encode(text).astype(np.int64))[:, None]
    logits, _ = network.unroll(ids_TB, network.initial_state(1))
    assert VOCABULARY.decode(logits[1:-1, 0].argmax(-1).numpy()) == text[2:]


def joined(pieces: Iterable[list[str]]) -> list[str]:
    return ["".join(parts) for parts in zip(*pieces, strict=True)]


def test_a_text_does_not_depend_on_the_number_of_samples(make_network: Make) -> None:
    network = make_network()
    options = {"length": 1500, "sampling": Sampling(), "seed": 5}  # more than DRAWS_PER_CALL
    for prompt in ("", "bad"):
        many, fewer = (joined(stream_texts(network, VOCABULARY, prompt=prompt, samples=n, **options)) for n in (4, 2))
        assert many[:2] == fewer
        assert len(set(many)) == 4
        assert {len(text) for text in many} == {1500 + len(prompt or "a")}
        one = generate_text(network, VOCABULARY, prompt=prompt, length=1500, temperature=1.0, seed=5)
        assert one == many[0]


@pytest.mark.parametrize("stop", [["ca"], ["gab", "ab"], ["zz"], ["aaa", "ab", "fedc"]])
def test_a_text_ends_before_the_first_stop_string(make_network: Make, stop: list[str]) -> None:
    network = make_network()
    options = {"prompt": "ca", "length": 300, "sampling": Sampling(), "seed": 2, "samples": 6}
    pieces = list(stream_texts(network, VOCABULARY, stop=stop, **options))
    ends = []
    for whole, cut in zip(joined(stream_texts(network, VOCABULARY, **options)), joined(pieces), strict=True):
        # The stop string that is complete first ends the text; none of these starts inside another one.
        ends.append(min(whole.index(s, 2) if s in whole[2:] else 302 for s in stop))
        assert cut == whole[: ends[-1]]
    assert (len(pieces) < 302) == (max(ends) < 302)


def test_the_start_of_a_stop_string_is_held_back(make_network: Make) -> None:
    network = make_network(vocabulary_size=3)
    with torch.no_grad():  # a, b, c, a, b, c, ...
        network.hidden_to_output.zero_()
        network.output_bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    vocabulary, options = Vocabulary("abc"), {"length": 5, "sampling": Sampling(0), "seed": 1, "prompt": "b"}
    pieces = [piece for (piece,) in stream_texts(network, vocabulary, stop=["aaab"], **options)]
    assert pieces == ["b", "", "", "", "a", "a", "aaa"]
    pieces = [piece for (piece,) in stream_texts(network, vocabulary, stop=["aaa"], **options)]
    assert pieces == ["b", "", "", ""]


def test_bytes_come_as_whole_characters() -> None:
    vocabulary = ByteVocabulary()
    network = CharRNN(256, cell="elman", hidden=4, layers=1, dropout=0.0, residual=True, **OPTIONS)
    torch.nn.init.normal_(network.hidden_to_output)
    pieces = [p for (p,) in stream_texts(network, vocabulary, prompt="é", length=400, sampling=Sampling(), seed=1)]
    assert pieces[0] == "é"
    assert any(pieces) and "" in pieces  # a byte may not complete a character


SCRIPTS = {
    "cyrillic": "Привет, мир", "arabic": "مرحبا بالعالم", "emoji": "👩‍💻🎉", "combining": "e\u0301a\u0308",
    "control": "\x00\x1b[31m\x7f\u2028",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_prompts_in_many_scripts(name: str) -> None:
    prompt = SCRIPTS[name]
    knows = Vocabulary(prompt + " x")
    assert fit_prompt(prompt, knows, "error") == prompt
    assert fit_prompt(prompt, ByteVocabulary(), "error") == prompt

    lacks = Vocabulary("abc e")
    missing = set(prompt) - set("abc e")
    with pytest.raises(RequestError) as error:
        fit_prompt(prompt, lacks, "error")
    assert all(f"U+{ord(character):04X}" in str(error.value) for character in missing)
    assert fit_prompt(prompt, lacks, "skip") == "".join(c for c in prompt if c not in missing)
    assert fit_prompt(prompt, lacks, "replace") == "".join(" " if c in missing else c for c in prompt)
    with pytest.raises(RequestError, match="use --unknown skip$"):
        fit_prompt(prompt, Vocabulary("abce"), "replace")
    signed = Vocabulary("abc e", unknown=True)
    assert fit_prompt(prompt, signed, "error") == prompt
    assert fit_prompt(prompt, signed, "skip") == "".join(c for c in prompt if c not in missing)


def test_generation_does_not_change_the_state_of_training(make_network: Make) -> None:
    network = make_network(layers=2, dropout=0.5).train()
    before = torch.get_rng_state()
    generate_text(network, VOCABULARY, length=5, temperature=1.0, seed=1)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_requests(make_network: Make) -> None:
    for arguments, message in (
        ({"prompt": "abz"}, "'z' .U.007A. at position 2"),
        ({"length": -1}, "length must be an integer of at least 0"),
        ({"samples": 0}, "samples must be a positive integer"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"stop": ["a", ""]}, "a stop string needs at least one character"),
    ):
        options = {"length": 3, "sampling": Sampling(), "seed": 1, **arguments}
        with pytest.raises(RequestError, match=message):
            next(stream_texts(make_network(), VOCABULARY, **options))
    with pytest.raises(RequestError, match="unknown must be one of error, skip, replace"):
        fit_prompt("a", VOCABULARY, "drop")
