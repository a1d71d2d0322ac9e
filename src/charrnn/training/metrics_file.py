"""The logger that every run has: `metrics.csv`, one row a step, one column a metric."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from charrnn.runs.folder import METRICS
from charrnn.runs.records import STEP, read_metrics
from charrnn.utils.files import append, write_text
from charrnn.utils.tables import csv_text

log = logging.getLogger(__name__)


class MetricsFile(Logger):
    """Writes metrics as CSV. `save` writes the completed steps, `close` also the current one.

    A run that resumes after `resumed_step` drops the rows from that step on: it logs them again.
    """

    name, version = "csv", ""

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self._file, self._resumed_step = folder / METRICS, resumed_step
        self._columns: list[str] = []
        self._rows: list[dict[str, str]] = []  # not yet written
        self._current: dict[str, str] = {}
        self._warned = False

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        if self._current.get(STEP) != str(step):
            self._complete_row()
            self._current = {STEP: str(step)}
        self._current |= {name: repr(float(value)) for name, value in metrics.items()}

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the settings are in `.hydra/config.yaml`."""

    def _complete_row(self) -> None:
        if self._current:
            self._rows.append(self._current)
            self._current = {}

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        try:
            new = {name: None for row in self._rows for name in row if name not in self._columns}
            if new:  # at the first call, or when a callback begins to log another metric
                earlier = self._earlier_rows()
                columns = {name: None for row in earlier for name in row}
                names = list({STEP: None} | columns | dict.fromkeys(self._columns) | new)
                write_text(self._file, csv_text(names, _cells([*earlier, *self._rows], names)))
                self._columns, self._resumed_step = names, None
            else:
                first, *others = _cells(self._rows, self._columns)
                append(self._file, csv_text(first, others).encode())
            self._rows = []
        except OSError as error:
            if not self._warned:
                log.warning("can't write %s (%s); training continues", self._file, error.strerror)
            self._warned = True

    def _earlier_rows(self) -> list[dict[str, str]]:
        before = self._resumed_step
        if before is None and not self._columns:
            return []  # of another run in this folder, which starts over
        rows = read_metrics(self._file)
        return rows if before is None else [row for row in rows if int(row[STEP]) < before]

    def close(self) -> None:
        self._complete_row()
        self.save()


def _cells(rows: list[dict[str, str]], names: list[str]) -> list[list[str]]:
    return [[row.get(name, "") for name in names] for row in rows]
