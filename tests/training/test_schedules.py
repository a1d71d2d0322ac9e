import math
from typing import Any

import pytest
import torch

from charrnn.training.schedules import warmup_cosine
from charrnn.utils.errors import RequestError


def rates(steps: int, **arguments: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine(optimizer, **arguments)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_a_linear_rise_then_half_a_cosine() -> None:
    lr = rates(101, total_steps=100, warmup_steps=4, final_fraction=0.1)
    assert lr[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    half = [0.1 + 0.9 * (1 + math.cos(math.pi * (step - 4) / 96)) / 2 for step in range(4, 101)]
    assert lr[4:] == pytest.approx([2.0 * factor for factor in half])


def test_a_short_run_warms_up_for_a_tenth_of_it() -> None:
    lr = rates(20, total_steps=20, warmup_steps=100, final_fraction=0.0)
    assert lr.index(max(lr)) == 2
    assert lr[0] > 0


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_trial_run_of_a_few_steps_has_only_small_ones(steps: int) -> None:
    lr = rates(steps, total_steps=steps, warmup_steps=100, final_fraction=0.0)
    assert lr == pytest.approx([2.0 * (k + 1) / 11 for k in range(steps)])
    assert rates(steps, total_steps=steps, warmup_steps=0, final_fraction=0.0)[0] == 2.0


def test_wrong_requests() -> None:
    with pytest.raises(RequestError, match="warmup_steps must be an integer of at least 0"):
        rates(1, total_steps=10, warmup_steps=-1, final_fraction=0.0)
    with pytest.raises(RequestError, match="final_fraction must be a number"):
        rates(1, total_steps=10, warmup_steps=1, final_fraction="none")
