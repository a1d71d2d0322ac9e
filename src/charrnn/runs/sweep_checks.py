"""Refuse sweeps that can't do what was typed, before their first job. The mode counts however it came to be: by `-m`,
or by `hydra.mode: MULTIRUN` in a recipe.
"""

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from charrnn.utils.errors import RequestError


def check_sweep(config: DictConfig, loader: ConfigLoader) -> list[Override]:
    """Return the overrides of a sweep with this config, those of its recipe first; raise `RequestError` if refused."""
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    recipe = [f"{key}={values}" for key, values in (hydra["sweeper"].get("params") or {}).items()]
    overrides = OverridesParser.create(loader).parse_overrides([*recipe, *hydra["overrides"]["task"]])
    for override in overrides:
        if not override.is_discrete_sweep():
            continue
        values = list(override.sweep_string_iterator())
        if not values:
            raise RequestError(f"{override.input_line} gives no values to sweep over; list at least one")
        for value in values:
            if values.count(value) > 1:
                raise RequestError(f"the sweep over {override.key_or_group} has {value} twice; list each value once")
    _check_resume(config, hydra)
    _refuse_inner_sweeps(config, overrides, loader)
    return overrides


def _check_resume(config: DictConfig, hydra: dict[str, Any]) -> None:
    if OmegaConf.select(config, "sweep.resume") is not True:
        return
    if not any(override.startswith("hydra.sweep.dir=") for override in hydra["overrides"]["hydra"]):
        raise RequestError("sweep.resume=true needs the sweep's folder; add hydra.sweep.dir=DIR")
    if OmegaConf.select(config, "resume_from") not in (None, "last"):
        raise RequestError("sweep.resume=true resumes each job from its last checkpoint; remove resume_from")


def _refuse_inner_sweeps(config: DictConfig, overrides: list[Override], loader: ConfigLoader) -> None:
    """Refuse to sweep over recipes that are sweeps themselves: Hydra would drop their own sweep without a word."""
    fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
    for override in overrides:
        if not override.is_discrete_sweep() or not loader.get_group_options(override.key_or_group):
            continue
        for value in override.sweep_string_iterator():
            setting = f"{override.get_key_element()}={value}"
            try:
                job = loader.load_sweep_config(config, [*fixed, setting])
            except HydraException:
                continue  # Hydra refuses this job itself
            if job.hydra.sweeper.get("params") != config.hydra.sweeper.get("params"):
                raise RequestError(f"{setting} is a sweep itself, which can't be a job of another; run it by itself")
