"""How gradients flow backward through time, and how small differences of the state grow or fade forward.

B batch lane, T time step, K time lag, L layer, S state size of one layer, V vocabulary. Everything is computed with
`CharRNN.unroll`, so it is exact for every cell type and kernel. Lags are time steps; exponents are per time step.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from charrnn.network import CharRNN

# A gradient below this share of that at lag 1 is lost in the noise of a batch.
VANISHED_SHARE = 0.01
# Short enough that a vector multiplied by this many Jacobians neither overflows nor underflows in float32.
RENORMALIZATION_STEPS = 8


def lag_points(largest: int) -> list[int]:
    """Return the lags 1, 2, 3, 4, 6, 8, 11, 16, ... up to `largest`, two per octave."""
    powers = [round(2 ** (i / 2)) for i in range(2 * largest.bit_length())]
    return sorted({lag for lag in (*powers, largest) if lag <= largest})


def gradient_by_lag(network: CharRNN, inputs_TB: Tensor, targets_B: Tensor, lags: Sequence[int]) -> Tensor:
    """Return the gradient norm of the last loss by time lag, ||dL_T / dh_{T-k}||, averaged over the lanes, [K, L].

    L_T is the cross-entropy of `targets_B` after all T inputs, from a zero state. `lags` are ascending, within 1 ... T.
    In a linear network with W_hh = r Q and Q orthogonal, the norm at lag k is r^k times that at lag 0.
    Sources: Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013.
    """
    state_LBS = network.initial_state(inputs_TB.shape[1])
    if warmup := len(inputs_TB) - lags[-1]:
        with torch.no_grad():
            _, state_LBS = network.unroll(inputs_TB[:warmup], state_LBS)
    states = []
    with torch.enable_grad():
        state_LBS.requires_grad_()
        for lag, next_lag in zip(lags[::-1], (*lags[-2::-1], 0), strict=True):
            states.append(state_LBS)
            chunk_TB = inputs_TB[len(inputs_TB) - lag : len(inputs_TB) - next_lag]
            logits_TBV, state_LBS = network.unroll(chunk_TB, state_LBS)
        loss = nn.functional.cross_entropy(logits_TBV[-1], targets_B, reduction="sum")  # lanes are independent
        gradients_KLBS = torch.stack(torch.autograd.grad(loss, states[::-1]))
    norms_KL: Tensor = torch.linalg.vector_norm(gradients_KLBS.float(), dim=-1).mean(dim=-1)
    return norms_KL


def vanishing_lag(lags: Sequence[int], norms_K: Sequence[float]) -> float | None:
    """Return the lag at which the gradient falls to VANISHED_SHARE of that at the first lag; None if it never does.

    Between two lags the logarithm is interpolated linearly, which is exact for r^k.
    """
    logs = [math.log(norm / norms_K[0] / VANISHED_SHARE) if norm else -math.inf for norm in norms_K]
    for (lag, log), (next_lag, next_log) in pairwise(zip(lags, logs, strict=True)):
        if next_log < 0:
            return lag + (next_lag - lag) * log / (log - next_log)
    return None


def lyapunov_exponent(network: CharRNN, ids_TB: Tensor, *, burn_in: int) -> float:
    """Return the largest Lyapunov exponent along the text, in nats per time step: lim 1/T log ||J_T ... J_1 v||.

    J_t = dh_t / dh_{t-1} is the Jacobian of the whole stacked state. Below 0, small differences fade; above 0, they
    grow (chaos). A random vector is propagated backward through the transposed product, which has the same exponents,
    and renormalized on the way (Benettin 1980; for recurrent networks Vogt 2022, Engelken 2023). The first `burn_in`
    steps are skipped because the state has not settled, the last ones because the vector has not aligned.
    Mean over the lanes; -inf if the vector becomes zero.
    """
    with torch.no_grad():
        _, state_LBS = network.unroll(ids_TB[:burn_in], network.initial_state(ids_TB.shape[1]))
    generator = torch.Generator().manual_seed(0)  # so that the run's generator is untouched
    vector_LBS = torch.randn(state_LBS.shape, generator=generator).to(state_LBS)
    segments = []
    with torch.enable_grad():
        for chunk_TB in ids_TB[burn_in:].split(RENORMALIZATION_STEPS):
            start_LBS = state_LBS.detach().requires_grad_()
            _, state_LBS = network.unroll(chunk_TB, start_LBS)
            segments.append((len(chunk_TB), start_LBS, state_LBS))
    log_growth_B, counted_steps, passed_steps = torch.zeros(ids_TB.shape[1]), 0, 0
    for steps, start_LBS, end_LBS in reversed(segments):
        (vector_LBS,) = torch.autograd.grad(end_LBS, start_LBS, vector_LBS)
        norm_B = torch.linalg.vector_norm(vector_LBS, dim=(0, 2))
        vector_LBS = vector_LBS / norm_B.clamp(min=torch.finfo(norm_B.dtype).tiny)[:, None]
        if passed_steps >= burn_in:
            log_growth_B, counted_steps = log_growth_B + norm_B.log().cpu(), counted_steps + steps
        passed_steps += steps
    return float(log_growth_B.mean()) / counted_steps
