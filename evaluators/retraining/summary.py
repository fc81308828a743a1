"""The curve of a retraining for spreadsheets (timm's ``summary.csv``) and TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from ..backends import require
from ..errors import CheckpointError
from ..files import atomic_write

FILE, EVENTS = "summary.csv", "tensorboard"
COLUMNS = {
    "train_loss": ("loss",),
    "train_top1": ("accuracy",),
    "eval_loss": ("test_loss", "validation_loss"),
    "eval_top1": ("top1", "validation_top1"),
    "eval_top5": ("top5", "validation_top5"),
    "eval_top1_raw": ("top1_raw", "validation_top1_raw"),
    "lr": ("learning_rate",),
}
"""timm's names of what a row of the curve holds: of the test images, or of those that are held out; ``top1_raw`` is
without the moving average."""
HELD_OUT = "validation_"
"""Before the names of a row's numbers that are measured on held-out images, not on the test images."""
Rows = Sequence[Mapping[str, Any]]


class Summary:
    """Called after each epoch with all rows so far; everything written is made from them, so nothing doubles or is
    missing after a resume.

    In ``summary.csv`` epochs count from 0, as timm's do; TensorBoard's steps count from 1, as the rows do.

    Args:
        folder: gets ``summary.csv`` and, if asked for, event files in ``tensorboard/``.
        tensorboard: event files of earlier calls with this folder are replaced, and all rows are written again.

    Raises:
        MissingBackend: tensorboard is asked for, but not installed.
    """

    def __init__(self, folder: Path | str, tensorboard: bool = False) -> None:
        self.folder, self._written = Path(folder), 0
        self._writer: Any = None
        if tensorboard:
            require("tensorboard", "tensorboard")
            events = self.folder / EVENTS
            try:
                for old in events.glob("events.out.tfevents.*"):
                    old.unlink()
                self._writer = require("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(events))
            except OSError as error:
                raise CheckpointError(
                    f"cannot write into {events}: {error.strerror}.", "Make room or choose another folder."
                ) from None

    def __call__(self, history: Rows) -> None:
        """Write ``history``, whose rows are those of :data:`COLUMNS` and ``epoch`` (from 1).

        Raises:
            CheckpointError: the disk is full or read-only.
        """
        atomic_write(self.folder / FILE, table(history).encode())
        if self._writer is None:
            return
        for row in history[self._written :]:
            for column, value in columns(row).items():
                if column != "epoch":
                    self._writer.add_scalar(column.replace("_", "/", 1), value, int(row["epoch"]))
        self._written = len(history)
        self._writer.flush()

    def close(self) -> None:
        """Write what is pending; again does no harm."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the table by timm's names; timm counts epochs from 0."""
    found = {column: row[key] for column, keys in COLUMNS.items() for key in keys if key in row}
    return {"epoch": int(row["epoch"]) - 1} | found


def table(history: Rows) -> str:
    """CSV, one line an epoch; a column that no row has is left out."""
    lines = [columns(row) for row in history]
    present = [name for name in ("epoch", *COLUMNS) if any(name in line for line in lines)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, present, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
