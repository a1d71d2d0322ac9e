"""The settings of a run in Hydra's files: written when it starts, and read to tell its folder from one of others."""

import re
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.runs.folder import (
    CONFIG,
    HYDRA_FOLDER,
    LEADERBOARD,
    LOG,
    MULTIRUN,
    OVERRIDES,
    SAMPLES,
    SUMMARY,
    read_summary,
)
from charrnn.utils.errors import RequestError
from charrnn.utils.files import write_text

# By these keys a run of this project is known, however old: those of .hydra/config.yaml, those of summary.json.
OWN_SETTINGS, OWN_SUMMARY = {"model", "data", "optimizer", "trainer"}, {"status", "val_bits_per_char", "corpus_sha256"}


def refuse_foreign_files(run: Path) -> None:
    """Raise `RequestError` if a run in this folder would replace a file that no run of this project wrote."""
    summary, settings = read_summary(run), _keys(run / HYDRA_FOLDER / CONFIG)
    if settings >= OWN_SETTINGS or summary.keys() >= OWN_SUMMARY:
        return
    for name in (SUMMARY, SAMPLES, HYDRA_FOLDER, LOG):
        if (run / name).exists() and not (name == LOG and _is_own_log(run / name)):
            raise RequestError(f"{run / name} is not of a run of this project; choose another folder")


def refuse_foreign_sweep(sweep: Path) -> None:
    """Raise `RequestError` if a sweep in this folder would replace a file that no sweep of this project wrote."""
    for name in (SUMMARY, MULTIRUN, f"{LEADERBOARD}.csv", f"{LEADERBOARD}.md"):
        if (sweep / name).exists() and not _keys(sweep / MULTIRUN) >= OWN_SETTINGS:
            raise RequestError(f"{sweep / name} is not of a sweep of this project; choose another folder")


def _keys(file: Path) -> set[str]:
    """Return the keys of a YAML file's settings; none if it has no such contents."""
    with suppress(OSError, ValueError, YAMLError, OmegaConfBaseException):
        settings = OmegaConf.load(file)
        return {str(key) for key in settings} if OmegaConf.is_dict(settings) else set()
    return set()


def _is_own_log(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as lines:
        return re.match(r"$|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", lines.readline()) is not None


def write_settings(run: Path, cfg: DictConfig) -> None:
    """Write into `.hydra/` what Hydra would write, but only for a run that starts: not for a refused command."""
    texts = {CONFIG: OmegaConf.to_yaml(cfg)}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        texts["hydra.yaml"] = OmegaConf.to_yaml({"hydra": hydra})
        texts[OVERRIDES] = OmegaConf.to_yaml(hydra.overrides.task)
    for name, text in texts.items():
        write_text(run / HYDRA_FOLDER / name, text)
