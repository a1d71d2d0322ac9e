"""A configuration as plain values, and its keys as a user types them."""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Dictionaries, lists, strings and numbers, every reference resolved: what a checkpoint may hold."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))


def flattened(settings: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"hidden": 8}}` -> `{"model.hidden": 8}`, the names that a user types."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        key: value
        for name, inner in settings.items()
        for key, value in flattened(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }
