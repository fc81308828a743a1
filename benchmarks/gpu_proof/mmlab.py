"""Detection and segmentation with mixed precision: the device path of OpenMMLab's packages with our backbones."""

from __future__ import annotations

import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import MissingBackend
from nni_plugins.evaluators.mmlab import installation
from nni_plugins.requests.transfer import TransferRequest

from .record import Bar, Found, Given, NotRun, Section

ABOUT = (
    "`nni-plugins transfer` with `--amp` (on a CPU without it): one epoch of the small recipes with DARTS' second "
    "cell as backbone, on the data that was given, validation and test included. What is proven is that it runs and "
    "that the loss is finite; one epoch says nothing of the quality."
)
FINITE = Bar("==", 1)
RECIPES = {"detection": "retinanet_small", "segmentation": "deeplabv3_small"}


def mmlab(section: Section) -> None:
    given = section.given
    for task, data in (("detection", given.detection), ("segmentation", given.segmentation)):
        section.check(task, f"{RECIPES[task]}: finite loss and metrics", partial(_transfer, task, data, given))


def _transfer(task: str, data: str | None, given: Given) -> Found:
    if data is None:
        raise NotRun(f"no data: give --data-{task} DIR")
    try:
        installation.check("mmcv", "mmengine", "mmdet" if task == "detection" else "mmseg")
        if given.cuda and not installation.for_cuda():
            raise installation.cpu_only()
    except MissingBackend as missing:
        raise NotRun(f"{missing.problem} {missing.remedy}") from None
    sizes = {"darts": {"stem": "imagenet", "channels": given.sized(16, 8), "cells": given.sized(8, 3)}}
    request = TransferRequest(
        task=task,  # type: ignore[arg-type]
        architecture="darts_v2",
        recipe=RECIPES[task],
        data=data,
        amp=given.cuda,
        changes={"epochs": 1, "validate_every": 1, "schedule.warmup_iterations": 0, "backbone.sizes": sizes},
    )
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        result = request.train(Path(folder), progress=rows.append)
    metrics = {key: float(value) for key, value in result["metrics"].items()}
    losses = [float(row["loss"]) for row in rows]
    finite = bool(losses) and all(map(math.isfinite, losses)) and all(map(math.isfinite, metrics.values()))
    note = f"{time.perf_counter() - began:.0f} s in all; {result['metric']} {metrics[result['metric']]:.2f} %"
    return Found(float(finite), "(1: yes)", FINITE, note, {"losses": losses, "metrics": metrics, "amp": given.cuda})
