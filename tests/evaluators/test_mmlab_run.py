"""Detection and segmentation for real: a few updates on drawn shapes, with mmdet and mmseg."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError, DataError, MissingBackend
from nni_plugins.evaluators.files import shareable
from nni_plugins.evaluators.locks import FolderLock
from nni_plugins.evaluators.mmlab.installation import check
from nni_plugins.evaluators.mmlab.run import run
from nni_plugins.evaluators.mmlab.transfer import Transfer, backbone
from nni_plugins.evaluators.mmlab.watch import Report
from nni_plugins.spaces import NASBench201

from .transfer_data import camvid, coco

try:
    check()
except MissingBackend as error:
    pytest.skip(f"needs mmcv, mmengine, mmdet and mmseg: {error.problem}", allow_module_level=True)

SPACE = NASBench201(channels=8, cells_per_stage=1, stem="imagenet")
CELL = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
COMMON = {
    "epochs": 2,
    "batch_size": 4,
    "validate_every": 1,
    "backbone.sizes": {},
    "schedule": {"name": "constant", "warmup_iterations": 0},
}
DETECTION = {
    **COMMON,
    "images.size": [96, 64],
    "detector": {"kind": "retinanet", "channels": 64, "convolutions": 1, "norm": "group"},
}
SEGMENTATION = {**COMMON, "images.crop": [48, 48], "segmenter.channels": 8, "drop_last": False}
Rows = list[dict[str, Any]]


def detection(
    folder: Path, changes: dict[str, Any] | None = None, follow: Report | None = None, **options: Any
) -> tuple[dict[str, Any], Rows, Rows]:
    """The result, the reported rows and those of every update."""
    transfer = Transfer(
        "detection", "retinanet_small", str(folder.parent / "boxes"), changes={**DETECTION, **(changes or {})}
    )
    rows: Rows = []
    steps: Rows = []

    def step(row: dict[str, Any]) -> None:
        steps.append(row)
        if follow is not None:
            follow(row)

    result = transfer.train(
        backbone("cell", SPACE, CELL, transfer.resolved), folder, report=rows.append, progress=step, **options
    )
    return result, rows, steps


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    coco(folder / "boxes", {"train": 8, "val": 2, "test": 2})
    camvid(folder / "labels", {"train": 8, "val": 2})
    return folder


@pytest.fixture(scope="module")
def detected(place: Path) -> tuple[dict[str, Any], Rows, Rows]:
    return detection(place / "detected", origin={"kind": "text"})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "mmengine/epoch_2.pth", weights_only=False)
    return {key: value for key, value in content["state_dict"].items() if value.is_floating_point()}


def test_detection(place: Path, detected: tuple[dict[str, Any], Rows, Rows]) -> None:
    result, rows, steps = detected
    assert (
        [row["iteration"] for row in steps] == [1, 2, 3, 4]
        and steps[-1]["iterations"] == 4
        and steps[-1]["seconds_left"] == 0
    )
    assert [(row["evaluation"], row["epoch"], row["iteration"]) for row in rows] == [
        (1, 1, 2),
        (2, 2, 4),
    ] and rows == result["history"]
    assert (
        all({"loss", "learning_rate", "bbox_mAP", "bbox_mAP_50", "bbox_mAP_75"} <= set(row) for row in rows)
        and rows[0]["learning_rate"] == 0.001
    )
    assert rows[0]["loss"] == pytest.approx((steps[0]["loss"] + steps[1]["loss"]) / 2)
    assert (
        0 <= result["metrics"]["bbox_mAP"] <= 100 and result["metric"] == "bbox_mAP" and result["tested_on"] == "test"
    )
    features = sum(p.numel() for p in SPACE.features(CELL).parameters())
    assert result["parameters"]["backbone"] == features < result["parameters"]["model"]
    stored = json.loads((place / "detected/result.json").read_text())
    assert stored == shareable(result, place / "detected") and stored["data"]["path"] == "boxes"
    assert result["data"]["images"] == {"train": 8, "val": 2, "test": 2}
    assert result["versions"]["mmdet"].split()[0].endswith("mmdetection") and "Environment" not in result["versions"]
    lines = (place / "detected/mmengine/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    picture = np.asarray(Image.open(place / "detected/predictions.png").convert("RGB"))
    assert picture.shape[0] > 300 and ((picture == picture[0, 0]).all(-1)).mean() < 0.9, "something is drawn"


def test_the_same_again_does_nothing_and_another_is_refused(
    place: Path, detected: tuple[dict[str, Any], Rows, Rows]
) -> None:
    again, rows, steps = detection(place / "detected")
    assert (
        again["metrics"] == detected[0]["metrics"]
        and rows == detected[1]
        and not steps
        and again["resumed_from"] == "epoch_2.pth"
    )
    with pytest.raises(ConfigChanged, match=r"holds a training by another config\.py"):
        detection(place / "detected", {"optimizer.learning_rate": 0.1})


class Stopped(Exception):
    """Of the fixture that interrupts a training."""


def stop(row: dict[str, Any]) -> None:
    if row["iteration"] == 3:
        raise Stopped


def kill(row: dict[str, Any]) -> None:
    if row["iteration"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def resumed(place: Path, folder: Path, undisturbed: Rows) -> None:
    """Go on after a stop in the second epoch and before the first evaluation was written: curve and weights are the
    undisturbed run's.
    """
    (folder / "mmengine/metrics.jsonl").unlink()
    result, rows, steps = detection(folder)
    assert result["resumed_from"] == "epoch_1.pth" and [row["iteration"] for row in steps] == [3, 4]
    assert rows == undisturbed and result["history"] == undisturbed
    first, second = weights(place / "detected"), weights(folder)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_stopped_and_resumed(place: Path, detected: tuple[dict[str, Any], Rows, Rows]) -> None:
    with pytest.raises(Stopped):
        detection(place / "stopped", follow=stop)
    resumed(place, place / "stopped", detected[1])


def test_a_damaged_checkpoint_a_torn_curve_and_a_second_process(
    place: Path, detected: tuple[dict[str, Any], Rows, Rows], caplog: pytest.LogCaptureFixture
) -> None:
    folder = place / "damaged"
    shutil.copytree(place / "detected", folder)
    (folder / "config.py").unlink()  # it names the other folder
    newest = folder / "mmengine/epoch_2.pth"
    newest.write_bytes(newest.read_bytes()[:-1000])
    rows = folder / "mmengine/metrics.jsonl"
    rows.write_text(rows.read_text()[:-10])
    with FolderLock(folder), pytest.raises(CheckpointError, match="is in use by another process"):
        detection(folder)
    result, again, steps = detection(folder)
    assert "continuing from epoch_1.pth, 1 epochs are repeated" in caplog.text
    assert result["resumed_from"] == "epoch_1.pth" and [row["iteration"] for row in steps] == [3, 4]
    assert again == detected[1] and result["metrics"] == detected[0]["metrics"]
    first, second = weights(place / "detected"), weights(folder)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.slow
def test_killed_and_resumed(place: Path, detected: tuple[dict[str, Any], Rows, Rows]) -> None:
    """SIGKILL."""
    code = "from pathlib import Path; import tests.conftest; "
    code += f"import tests.evaluators.test_mmlab_run as job; job.detection(Path({str(place / 'killed')!r}), follow=job.kill)"
    killed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed(place, place / "killed", detected[1])


def test_segmentation(place: Path) -> None:
    transfer = Transfer("segmentation", "deeplabv3_small", str(place / "labels"), changes={**SEGMENTATION, "epochs": 1})
    result = transfer.train(backbone("cell", SPACE, CELL, transfer.resolved), place / "segmented")
    assert (
        set(result["metrics"]) == {"mIoU", "aAcc", "mAcc"}
        and 0 < result["metrics"]["aAcc"] <= 100
        and result["tested_on"] == "val"
    )
    assert result["history"][0]["mIoU"] == result["metrics"]["mIoU"] and result["data"]["classes"] == ["Sky", "Ground"]
    assert (place / "segmented/predictions.png").stat().st_size > 10_000
    with pytest.raises(ConfigError, match="mixed precision needs a GPU"):
        run(place / "segmented/config.py", amp=True, device="cpu")


def test_a_label_that_breaks_later_is_an_error(place: Path, tmp_path: Path) -> None:
    """All are read before the training; who changes one then is told which."""
    camvid(tmp_path, {"train": 4, "val": 2})
    transfer = Transfer("segmentation", "deeplabv3_small", str(tmp_path), changes={**SEGMENTATION, "epochs": 1})
    assert transfer.dataset.report.images == 6
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(tmp_path / "trainannot/3.png")
    with pytest.raises(DataError, match=r"3\.png: holds the label 7"):
        transfer.train(backbone("cell", SPACE, CELL, transfer.resolved), tmp_path / "out")
    assert json.loads((tmp_path / "out/data.json").read_text())["parts"]["train"]["images"] == 4


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("default_scope = 'mmpose'\n")
    with pytest.raises(ConfigError, match="default_scope must be mmdet or mmseg, but is 'mmpose'"):
        run(tmp_path / "a.py")
    (tmp_path / "b.py").write_text("model = \n")
    with pytest.raises(ConfigError, match=r"b\.py: mmengine cannot read it"):
        run(tmp_path / "b.py")
