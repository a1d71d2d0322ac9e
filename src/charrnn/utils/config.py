"""Convert a configuration to plain values and to dotted keys."""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain values that a checkpoint may hold, with all references resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))


def flattened(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys: `{"model": {"hidden": 8}}` -> `{"model.hidden": 8}`."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        key: value
        for name, inner in settings.items()
        for key, value in flattened(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }
