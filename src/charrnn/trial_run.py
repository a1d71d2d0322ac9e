"""One trial of a search as an ordinary run: composed outside of `hydra.main`, with its folder and its train.log."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from charrnn.errors import Pruned, RequestError, RunFailed
from charrnn.overrides import CONF, request_line
from charrnn.sweep import register_resolvers

if TYPE_CHECKING:
    from charrnn.ending import Judge

log = logging.getLogger(__name__)


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration that train.py would have, with `hydra` in it. Raises `RequestError` for a wrong override."""
    register_resolvers()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose("config", overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        line = request_line(error)
        if line is None:
            raise
        raise RequestError(line) from error


def present_value(cfg: DictConfig, key: str) -> Any:
    """What a setting is: the option of a group, or a value."""
    choices = cfg.hydra.runtime.choices
    value = choices[key] if key in choices else OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def run_trial(overrides: Sequence[str], folder: Path, judge: "Judge") -> float:
    """Begin the run in `folder`, or go on with it, as train.py would; return its validation bits per character."""
    from charrnn.experiment import run

    cfg = composed(overrides)
    with open_dict(cfg):
        cfg.hydra.run.dir = cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)  # the run writes it down
        form = cfg.hydra.job_logging.formatters.file.format
        del cfg["hydra"]
        cfg.resume_from = "last"
    try:
        with _logged(folder / "train.log", form):
            try:
                return run(cfg, folder, judge)
            except (RequestError, RunFailed, Pruned):
                raise
            except Exception:
                log.exception("the trial failed")
                raise
    finally:
        HydraConfig.instance().cfg = None


def check_run(overrides: Sequence[str], folder: Path) -> None:
    """Build the run in `folder` and train nothing. Raises `RequestError` for what it could not be."""
    from charrnn.experiment import run

    cfg = composed(overrides)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.dry_run = True
    if not cfg.data.get("validation_fraction"):
        raise RequestError("a search compares runs on the validation part; set data.validation_fraction above 0")
    run(cfg, folder)


@contextmanager
def _logged(file: Path, form: str) -> Iterator[None]:
    """Within the block what is logged goes into the file, and not on the screen."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter(form))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
