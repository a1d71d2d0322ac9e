"""Learning-rate schedules that torch does not have; conf/scheduler uses torch's own classes for the others."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from charrnn.utils.validation import require_integer, require_number


def warmup_cosine(optimizer: Optimizer, *, total_steps: int, warmup_steps: int, final_fraction: float) -> LambdaLR:
    """Return a schedule with linear warm-up over `warmup_steps` and cosine decay to `final_fraction` of the rate.

    For step k >= w = min(warmup_steps, total_steps / 10):  f + (1 - f) (1 + cos(pi (k - w) / (total - w))) / 2.
    In a run of fewer than 10 steps w is 10.
    Source: Loshchilov and Hutter 2017 (one cycle of SGDR); Goyal et al. 2017 (warm-up).
    torch's OneCycleLR stores its length in the checkpoint, so a finished run could not be resumed for more steps.
    """
    require_integer("warmup_steps", warmup_steps, minimum=0)
    floor = require_number("final_fraction", final_fraction, 0.0)
    # A short run does not spend all its steps on warm-up, but the few steps of a trial run are no full ones at once.
    warmup = min(warmup_steps, total_steps // 10 or 10)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
