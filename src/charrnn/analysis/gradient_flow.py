"""What travels through time: errors backward, small differences forward.

B batch lane, T time step, K time lag, L layer, S state size of one layer, V vocabulary. All of it goes through
`CharRNN.unroll`, so it is exact for every kind of cell and every kernel. Lags and exponents are per time step.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from charrnn.network import CharRNN

VANISHED = 0.01  # of the gradient at lag 1: what arrives no longer weighs beside the noise of a batch
RENORMALIZED_EVERY = 8  # time steps; float32 holds what a product of so many Jacobians does to a vector


def lag_points(largest: int) -> list[int]:
    """The lags 1, 2, 3, 4, 6, 8, 11, 16, ... in half octaves, up to `largest`."""
    powers = [round(2 ** (i / 2)) for i in range(2 * largest.bit_length())]
    return sorted({lag for lag in (*powers, largest) if lag <= largest})


def gradient_by_lag(network: CharRNN, inputs_TB: Tensor, targets_B: Tensor, lags: Sequence[int]) -> Tensor:
    """How much of the error at the last time step T reaches the state k steps before: ||dL_T / dh_{T-k}||, [K, L].

    L_T is the surprisal of `targets_B` after all inputs, from a zero state; the norm is averaged over the lanes.
    `lags` ascend from at least 1 to at most T. In a linear network with W_hh = r Q, Q orthogonal, it is r^k times that
    of lag 0. Sources: Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013.
    """
    state_LBS = network.initial_state(inputs_TB.shape[1])
    if begin := len(inputs_TB) - lags[-1]:
        with torch.no_grad():
            _, state_LBS = network.unroll(inputs_TB[:begin], state_LBS)
    states = []
    with torch.enable_grad():
        state_LBS.requires_grad_()
        for lag, next_lag in zip(lags[::-1], (*lags[-2::-1], 0), strict=True):
            states.append(state_LBS)
            chunk_TB = inputs_TB[len(inputs_TB) - lag : len(inputs_TB) - next_lag]
            logits_TBV, state_LBS = network.unroll(chunk_TB, state_LBS)
        loss = nn.functional.cross_entropy(logits_TBV[-1], targets_B, reduction="sum")  # lanes do not meet
        gradients_KLBS = torch.stack(torch.autograd.grad(loss, states[::-1]))
    norms_KL: Tensor = torch.linalg.vector_norm(gradients_KLBS.float(), dim=-1).mean(dim=-1)
    return norms_KL


def vanishing_lag(lags: Sequence[int], norms_K: Sequence[float]) -> float | None:
    """The lag at which only VANISHED of the gradient of the first lag arrives; None if more arrives everywhere.

    Between two lags the logarithm is taken to be a line, as it is for r^k.
    """
    logs = [math.log(norm / norms_K[0] / VANISHED) if norm else -math.inf for norm in norms_K]
    for (lag, log), (next_lag, next_log) in pairwise(zip(lags, logs, strict=True)):
        if next_log < 0:
            return lag + (next_lag - lag) * log / (log - next_log)
    return None


def lyapunov_exponent(network: CharRNN, ids_TB: Tensor, *, settle: int) -> float:
    """The largest Lyapunov exponent along the text, in nats per time step: lim 1/T log ||J_T ... J_1 v||.

    J_t = dh_t / dh_{t-1} of the whole stacked state. Below 0 differences fade, above 0 they grow (chaos). A random
    vector is pulled back through the transposed product, which has the same exponents, and rescaled on the way
    (Benettin 1980; for recurrent networks Vogt 2022, Engelken 2023). The first and the last `settle` steps do not
    count: the state, and then the vector, still turn there. Mean over the lanes; -inf if the vector dies.
    """
    with torch.no_grad():
        _, state_LBS = network.unroll(ids_TB[:settle], network.initial_state(ids_TB.shape[1]))
    generator = torch.Generator().manual_seed(0)  # not the run's
    vector_LBS = torch.randn(state_LBS.shape, generator=generator).to(state_LBS)
    links = []
    with torch.enable_grad():
        for chunk_TB in ids_TB[settle:].split(RENORMALIZED_EVERY):
            entering_LBS = state_LBS.detach().requires_grad_()
            _, state_LBS = network.unroll(chunk_TB, entering_LBS)
            links.append((len(chunk_TB), entering_LBS, state_LBS))
    growth, counted, passed = torch.zeros(ids_TB.shape[1]), 0, 0
    for steps, entering_LBS, leaving_LBS in reversed(links):
        (vector_LBS,) = torch.autograd.grad(leaving_LBS, entering_LBS, vector_LBS)
        norm_B = torch.linalg.vector_norm(vector_LBS, dim=(0, 2))
        vector_LBS = vector_LBS / norm_B.clamp(min=torch.finfo(norm_B.dtype).tiny)[:, None]
        if passed >= settle:
            growth, counted = growth + norm_B.log().cpu(), counted + steps
        passed += steps
    return float(growth.mean()) / counted
