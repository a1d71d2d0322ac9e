"""Compare text generation by our writers with `nn.RNN` and eager torch, called once per character.

B text, V vocabulary, H hidden unit. All candidates have the same weights and first characters. Candidates with the same
sampler must generate the same texts before they are timed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.candidates import V, network_of
from benchmarks.record import interleaved, print_table, summary
from charrnn.data.vocabulary import Vocabulary
from charrnn.generation.generate import stream_texts
from charrnn.generation.sampling import Sampling
from charrnn.generation.stepper import Step, numpy_stepper, torch_stepper
from charrnn.generation.writer import compiled_writer, stepping_writer
from charrnn.network import CharRNN
from charrnn.utils.errors import RunFailed

VOCABULARY = Vocabulary("".join(map(chr, range(32, 32 + V))))
HIDDEN = 256
SAMPLES = (1, 64)
TEMPERATURE = 0.8
CHECKED = 50  # characters: later one of many draws may differ, because the candidates round differently


def nn_rnn_stepper(network: CharRNN, state_LBS: torch.Tensor) -> Step:
    """Return the common way to step a network: `nn.RNN` on a one-hot character, then a linear layer."""
    cell: Any = network.cells[0]
    rnn: Any = nn.RNN(V, HIDDEN, nonlinearity=cell.activation)
    output: Any = nn.Linear(HIDDEN, V)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(cell.input_to_hidden)
        rnn.weight_hh_l0.copy_(cell.hidden_to_hidden)
        rnn.bias_ih_l0.copy_(cell.hidden_bias)
        rnn.bias_hh_l0.zero_()
        output.weight.copy_(network.hidden_to_output)
        output.bias.copy_(network.output_bias)
    state = state_LBS.contiguous()

    def step(ids_B: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode():
            x_1BV = nn.functional.one_hot(torch.from_numpy(ids_B), V).float()[None]
            states_1BH, state = rnn(x_1BV, state)
            logits: np.ndarray = output(states_1BH[0]).numpy()
            return logits

    return step


class TorchSampling(Sampling):
    """Samples with `torch.softmax` and `torch.multinomial`, as most programs do."""

    def pick(self, logits_BV: np.ndarray, uniforms_B: np.ndarray) -> np.ndarray:
        p_BV = torch.softmax(torch.from_numpy(logits_BV) / self.temperature, dim=1)
        ids: np.ndarray = torch.multinomial(p_BV, 1)[:, 0].numpy()
        return ids


BASELINE = "nn.RNN, torch.multinomial"
CANDIDATES: dict[str, tuple[Callable[..., Step] | None, Sampling]] = {
    "compiled (ours)": (None, Sampling(TEMPERATURE)),
    "NumPy (ours)": (numpy_stepper, Sampling(TEMPERATURE)),
    "eager torch (network.step), our draw": (torch_stepper, Sampling(TEMPERATURE)),
    "nn.RNN, our draw": (nn_rnn_stepper, Sampling(TEMPERATURE)),
    "eager torch, torch.multinomial": (torch_stepper, TorchSampling(TEMPERATURE)),
    BASELINE: (nn_rnn_stepper, TorchSampling(TEMPERATURE)),
}


def write(network: CharRNN, name: str, samples: int, length: int) -> list[str]:
    """Return the texts that a candidate generates."""
    make_stepper, sampling = CANDIDATES[name]
    write = compiled_writer if make_stepper is None else partial(stepping_writer, make_stepper=make_stepper)
    pieces = stream_texts(
        network, VOCABULARY, length=length, sampling=sampling, seed=1, samples=samples, make_writer=write
    )
    return ["".join(parts) for parts in zip(*pieces, strict=True)]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the characters per second of all candidates, for one text and for a batch of texts."""
    network = network_of(HIDDEN, "auto", "cpu")
    length = 20 if arguments.toy else arguments.length
    records: list[dict[str, Any]] = []
    for samples in SAMPLES:
        characters = length if samples == 1 else max(10, length // 8)
        same = {
            tuple(write(network, name, samples, min(CHECKED, characters)))
            for name in CANDIDATES
            if "multinomial" not in name
        }
        if len(same) > 1:
            raise RunFailed("candidates with the same sampler generated different texts")
        calls: dict[str, Callable[[], object]] = {
            name: partial(write, network, name, samples, characters) for name in CANDIDATES
        }
        seconds = interleaved(calls, arguments.rounds)
        rates = {name: samples * characters / (summary(values)["median_ms"] / 1e3) for name, values in seconds.items()}
        records += [
            {
                "samples": samples, "candidate": name, "characters_per_second": round(rate),
                "against_baseline": rate / rates[BASELINE],
            }
            for name, rate in rates.items()
        ]  # fmt: skip
    title = f"H = {HIDDEN}, V = {V}, {torch.get_num_threads()} threads, with sampling and decoding"
    print_table(title, ["texts", "candidate", "characters/s", f"against {BASELINE}"], [[*r.values()] for r in records])
    return {"hidden": HIDDEN, "vocabulary": V, "length": length, "measurements": records}
