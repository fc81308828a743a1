"""What is reported of a run of mmengine's Runner: losses, metrics in percent, time left."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..files import atomic_write
from .installation import require_mm

Row = dict[str, Any]
Report = Callable[[Row], None]
METRICS = {"mmdet": ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75"), "mmseg": ("mIoU", "aAcc", "mAcc")}
"""What is always reported, in percent; the first is the one that counts."""
SIZES = ("bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")


TIMES = ("data_time", "time")
"""Numbers that mmengine puts beside the metrics."""
COCO = ("coco/bbox_", "coco/segm_")
"""How mmdet's precisions begin that are shares of 1; -1 stands for one that nothing was measured of."""


def percent(metrics: Mapping[str, Any], scope: str) -> dict[str, float]:
    """COCO's precisions in percent, and mmseg's metrics, which are, without their prefix; all others as the evaluator gives
    them, under its own names. Where nothing was detected at all mmdet reports nothing; that is a precision of 0.
    """
    given = {
        key: float(value)
        for key, value in metrics.items()
        if key.rpartition("/")[2] not in TIMES and isinstance(value, Real)
    }
    if scope == "mmseg":
        return {key.rpartition("/")[2]: round(value, 2) for key, value in given.items()}
    if not given:
        return dict.fromkeys((*METRICS[scope], *SIZES), 0.0)
    shares = {key: value for key, value in given.items() if key.startswith(COCO) and value >= 0}
    found = {key.rpartition("/")[2]: round(100 * value, 1) for key, value in shares.items()}
    return {**found, **{key: value for key, value in given.items() if not key.startswith(COCO)}}


BLOCK = "nni_plugins"
"""Where a checkpoint keeps what :class:`Curve` knows."""


class Curve:
    """What a run has measured so far: the losses since its last evaluation, and a row for each evaluation. Checkpoints
    hold both, so that a run that goes on has the curve of one that nobody disturbed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = []
        self.losses: list[float] = []
        self.known = True
        """Whether the losses are all those since the last evaluation."""

    def described(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"losses": list(self.losses), "rows": [dict(row) for row in self.rows], "known": self.known}

    def take_up(self, block: Any, iteration: int) -> None:
        """Go on from the checkpoint of ``iteration``. Evaluations since then stand in the file, as do those before it if
        mmengine alone wrote the checkpoint.
        """
        given = block if isinstance(block, Mapping) else {"losses": [], "rows": None, "known": False}
        self.losses, self.known = [float(loss) for loss in given["losses"]], bool(given["known"])
        written = [row for row in rows_in(self.file) if row["iteration"] <= iteration]
        self.rows = written if given["rows"] is None else [dict(row) for row in given["rows"]]
        later = [row for row in written if row["iteration"] == iteration]
        if later and (not self.rows or self.rows[-1]["iteration"] < iteration):
            self.rows.append(later[-1])
        if self.rows and self.rows[-1]["iteration"] == iteration:
            self.losses, self.known = [], True

    def evaluated(self, place: Row, numbers: Row) -> Row:
        """The new row; without ``loss`` if some of its losses are not known."""
        loss = {"loss": sum(self.losses) / len(self.losses)} if self.losses and self.known else {}
        self.losses, self.known = [], True
        self.rows.append({"evaluation": len(self.rows) + 1, **place, **loss, **numbers})
        self.write()
        return self.rows[-1]

    def write(self) -> None:
        """``metrics.jsonl``, whole."""
        atomic_write(self.file, "".join(json.dumps(row) + "\n" for row in self.rows).encode())


def rows_in(file: Path) -> list[Row]:
    """The whole rows of ``metrics.jsonl``; a kill or a disk may have damaged others."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("iteration"), int):
                rows.append(row)
    return rows


def watch(base: Any, scope: str, file: Path, report: Report | None, progress: Report | None) -> tuple[Any, Any]:
    """Two hooks that follow a run; ``base``: mmengine's class. The first must come before mmengine's own hook of
    checkpoints, the second after it.
    """
    curve = Curve(file)

    class Losses(base):  # type: ignore[misc]
        def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
            checkpoint[BLOCK] = curve.described()

        def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
            if runner.cfg.get("resume") and "meta" in checkpoint:
                curve.take_up(checkpoint.get(BLOCK), int(checkpoint["meta"]["iter"]))

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            loss = outputs["loss"].item()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in iteration {runner.iter + 1}.",
                    "Lower the learning rate: --set optimizer.learning_rate=...",
                )
            curve.losses.append(loss)

    class Watch(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.began = (time.monotonic(), 0)

        @property
        def rows(self) -> list[Row]:
            return curve.rows

        def before_train(self, runner: Any) -> None:
            """Rows of an earlier run up to its checkpoint; and its evaluation, if it was killed before that."""
            if runner.rank == 0:
                curve.write()
            for row in curve.rows if report is not None else ():
                report(row)  # type: ignore[misc]
            self.began = (time.monotonic(), runner.iter)
            loop = runner.train_loop
            position = runner.epoch if hasattr(loop, "run_epoch") else runner.iter
            due = position > 0 and (position % loop.val_interval == 0 or runner.iter >= runner.max_iters)
            missing = [due and not any(row["iteration"] == runner.iter for row in curve.rows)]
            require_mm("mmengine.dist").broadcast_object_list(missing)  # all processes evaluate, or none
            if missing[0] and runner.val_loop is not None:
                runner.val_loop.run()

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            if progress is not None and runner.rank == 0:
                start, first = self.began
                done, loss = runner.iter + 1, curve.losses[-1]
                left = (time.monotonic() - start) / (done - first) * (runner.max_iters - done)
                progress({"iteration": done, "iterations": runner.max_iters, "loss": loss, "seconds_left": left})

        def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
            if runner.rank != 0:
                curve.losses = []
                return
            rate = float(runner.optim_wrapper.optimizer.param_groups[0]["lr"])
            place = {"epoch": runner.epoch, "iteration": runner.iter}
            row = curve.evaluated(place, {"learning_rate": rate, **percent(metrics or {}, scope)})
            if report is not None:
                report(row)

    return Losses(), Watch()
