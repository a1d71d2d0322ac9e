import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from charrnn.data.vocabulary import Vocabulary
from charrnn.evaluation import surprisal
from charrnn.evaluation.surprisal import log_probabilities, surprisals
from charrnn.generation.generate import generate_text
from charrnn.network import CharRNN
from charrnn.utils.errors import RequestError

Make = Callable[..., CharRNN]
V = 7
LETTERS = Vocabulary("abcdefg")


def ids(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(V, size=n).astype(np.uint8)


@pytest.mark.parametrize("window", [None, 1, 10, 95, 200])
def test_surprisal_equals_plain_steps(make_network: Make, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surprisal, "CHUNK", 4)
    monkeypatch.setattr(surprisal, "WINDOWS_PER_CALL", 3)
    network, text = make_network(V, layers=2, dropout=0.5).double(), ids(96)
    found = surprisals(network.train(), text, window)
    assert network.training
    network.eval()
    for n in range(95):
        if n % (window or 95) == 0:
            state = network.initial_state(1)
        logits, state = network.step(torch.tensor([int(text[n])]), state)
        logs = logits[0].detach().log_softmax(0)
        assert found.bits_N[n] == pytest.approx(-logs[int(text[n + 1])].item() / math.log(2), rel=1e-12)
        best = sorted(range(V), key=lambda symbol: -logs[symbol].item())[:5]
        assert found.guesses_NK[n].tolist() == best
        assert found.probabilities_NK[n] == pytest.approx(logs[best].exp().numpy(), rel=1e-12)
    assert len(found.bits_N) == 95


def test_errors(make_network: Make) -> None:
    with pytest.raises(RequestError, match="at least 2 characters, got 1"):
        surprisals(make_network(), ids(1))
    network = make_network()
    torch.nn.init.constant_(network.output_bias, math.nan)
    with pytest.raises(RequestError, match="NaN or infinite; use another checkpoint"):
        surprisals(network, ids(9))


def test_log_probabilities_equal_plain_steps(make_network: Make) -> None:
    network = make_network(dropout=0.5).train()
    text = generate_text(network, LETTERS, prompt="cab", length=600, temperature=0.7, seed=1)
    logs = log_probabilities(network, LETTERS, "cab", text)
    ids, state_LBS = LETTERS.encode(text).astype(np.int64), network.initial_state(1)
    assert len(logs) == 600
    assert network.training
    expected, network = [], network.eval()
    for this, following in pairwise(ids):
        with torch.no_grad():
            logits_BV, state_LBS = network.step(torch.tensor([this]), state_LBS)
        expected.append(torch.log_softmax(logits_BV[0], 0)[following].item())
    np.testing.assert_allclose(logs, expected[2:], atol=1e-4)
    alone = generate_text(network, LETTERS, length=10, temperature=0.7, seed=1)
    assert len(log_probabilities(network, LETTERS, "", alone)) == 10
    assert log_probabilities(network, LETTERS, "cab", "cab") == []
