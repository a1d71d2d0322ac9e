"""Check single values: return the value, or raise `RequestError` with the name of the setting."""

import math
from collections.abc import Sequence

from charrnn.utils.errors import RequestError

SPLITS = ("train", "validation", "test")


def require_integer(name: str, value: object, minimum: int = 1) -> int:
    """Return `value` as an integer if it is one >= `minimum`; 1e4 is one too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        kind = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise RequestError(f"{name} must be {kind}, got {value!r}")
    return value


def require_number(
    name: str, value: object, minimum: float, below: float = math.inf, at_most: float = math.inf
) -> float:
    """Return `value` as a float if minimum <= value < below and value <= at_most."""
    if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value < below and value <= at_most:
        return float(value)
    upper = f" and below {below:g}" * (below < math.inf) + f" and at most {at_most:g}" * (at_most < math.inf)
    raise RequestError(f"{name} must be a number of at least {minimum:g}{upper}, got {value!r}")


def count_devices(devices: object) -> int:
    """Return how many devices `trainer.devices` means: a number, or a list of GPU indices."""
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        indices = [require_integer("trainer.devices", index, minimum=0) for index in devices]
        if not indices or len(set(indices)) < len(indices):
            raise RequestError(f"trainer.devices must list different GPUs, such as [0,1]; got {list(devices)}")
        return len(indices)
    return require_integer("trainer.devices", devices)


def require_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise RequestError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def require_flag(name: str, value: object) -> bool:
    """Return `value` if it is true or false."""
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false, got {value!r}")
    return value
