"""What is reported of a run of mmengine's Runner: losses, metrics in percent, time left."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
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


def percent(metrics: Mapping[str, Any], scope: str) -> dict[str, float]:
    """Metrics in percent, without their prefix. Where nothing was detected at all mmdet reports nothing; that is a
    precision of 0.
    """
    plain = {key.rpartition("/")[2]: float(value) for key, value in metrics.items()}
    if scope == "mmseg":
        return {key: round(plain[key], 2) for key in METRICS[scope]}
    found = {key: round(100 * plain.get(key, 0.0), 1) for key in METRICS[scope]}
    absent = (
        0.0 if METRICS[scope][0] not in plain else -1.0
    )  # where nothing was detected every size is 0; -1: no boxes of that size
    return {**found, **{key: round(100 * plain.get(key, absent), 1) for key in SIZES if plain.get(key, absent) >= 0}}


def watch(base: Any, scope: str, file: Path, report: Report | None, progress: Report | None) -> Any:
    """The hook that follows a run; ``base``: mmengine's class."""

    class Watch(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows: list[Row] = []
            self.losses: list[float] = []
            self.began = (time.monotonic(), 0)

        def before_train(self, runner: Any) -> None:
            """Rows of an earlier run up to its checkpoint; and its evaluation, if it was killed before that."""
            if runner.rank == 0 and file.exists():
                self.rows = [
                    row for row in map(json.loads, file.read_text().splitlines()) if row["iteration"] <= runner.iter
                ]
            for row in self.rows if report is not None else ():
                report(row)  # type: ignore[misc]
            self.began = (time.monotonic(), runner.iter)
            loop = runner.train_loop
            position = runner.epoch if hasattr(loop, "run_epoch") else runner.iter
            due = position > 0 and (position % loop.val_interval == 0 or runner.iter >= runner.max_iters)
            missing = [due and not any(row["iteration"] == runner.iter for row in self.rows)]
            require_mm("mmengine.dist").broadcast_object_list(missing)  # all processes evaluate, or none
            if missing[0] and runner.val_loop is not None:
                runner.val_loop.run()

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            loss = outputs["loss"].item()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in iteration {runner.iter + 1}.",
                    "Lower the learning rate: --set optimizer.learning_rate=...",
                )
            self.losses.append(loss)
            if progress is not None and runner.rank == 0:
                start, first = self.began
                done = runner.iter + 1
                left = (time.monotonic() - start) / (done - first) * (runner.max_iters - done)
                progress({"iteration": done, "iterations": runner.max_iters, "loss": loss, "seconds_left": left})

        def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
            if runner.rank != 0:
                return
            loss = sum(self.losses) / len(self.losses) if self.losses else None
            self.losses = []
            rate = float(runner.optim_wrapper.optimizer.param_groups[0]["lr"])
            place = {"evaluation": len(self.rows) + 1, "epoch": runner.epoch, "iteration": runner.iter}
            self.rows.append({**place, "loss": loss, "learning_rate": rate, **percent(metrics or {}, scope)})
            atomic_write(file, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
            if report is not None:
                report(self.rows[-1])

    return Watch()
