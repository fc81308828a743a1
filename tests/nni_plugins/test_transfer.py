"""``nni-plugins transfer`` and its trials, without a training: what reaches it, what is written, what is refused.
test_mmlab_run.py trains.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nni
import pytest

from nni_plugins.evaluators.mmlab.transfer import Transfer
from nni_plugins.portal import reporting
from nni_plugins.requests.transfer import TransferRequest

from ..evaluators.transfer_data import camvid, coco
from .small import CELL, OTHER, Cli

ROWS = [
    {
        "evaluation": i,
        "epoch": 2 * i,
        "iteration": 4 * i,
        "loss": 1.0 / i,
        "learning_rate": 0.1,
        "bbox_mAP": 10.0 * i,
        "bbox_mAP_50": 20.0 * i,
    }
    for i in (1, 2)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    coco(folder / "boxes", {"train": 2, "val": 1})
    camvid(folder / "labels", {"train": 8, "val": 1})
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The trainings that were asked for; none of them is done."""
    asked: list[dict[str, Any]] = []

    def train(
        self: Transfer,
        backbone: Any,
        folder: Path,
        *,
        origin: Any,
        report: Callable[..., Any] | None,
        progress: Any,
        quiet: bool,
    ) -> Any:
        asked.append({"transfer": self, "backbone": backbone, "folder": folder, "origin": origin, "quiet": quiet})
        self.write(backbone, folder)
        for row in ROWS:
            if progress is not None:
                progress({"iteration": row["iteration"], "iterations": 8, "loss": 0.5, "seconds_left": 3.0})
            if report is not None:
                report(row)
        return {
            "backbone": {"name": backbone.name, "checkpoint": None},
            "parameters": {"backbone": 1234, "model": 5678},
            "data": {"images": {"train": 2, "val": 1}},
            "metrics": {"bbox_mAP": 20.0, "bbox_mAP_50": 40.0},
            "metric": "bbox_mAP",
            "tested_on": "val",
            "history": ROWS,
            "files": ["config.py"],
        }

    monkeypatch.setattr(Transfer, "train", train)
    return asked


def test_detection(run: Cli, place: Path, tmp_path: Path, trained: list[dict[str, Any]]) -> None:
    words = [
        "transfer",
        "detection",
        CELL,
        "--space-argument",
        "nodes=3",
        "--data",
        place / "boxes",
        "--output",
        tmp_path / "out",
        "--set",
        "epochs=4",
        "--seed",
        3,
    ]
    answer = run(*words, "--config-option", "train_dataloader.num_workers=1")
    assert (
        answer.status == 0
        and "1,234 of the backbone, 5,678 in all" in answer.out
        and "bbox_mAP, val" in answer.out
        and "20.00 %" in answer.out
    )
    (asked,) = trained
    transfer, backbone = asked["transfer"], asked["backbone"]
    assert (transfer.task, transfer.recipe, transfer.seed, transfer.resolved.epochs) == (
        "detection",
        "retinanet_small",
        3,
        4,
    )
    assert (
        (backbone.architecture, backbone.space) == (CELL, "nasbench201")
        and asked["quiet"]
        and asked["origin"] == {"kind": "text"}
    )
    assert backbone.arguments == {"nodes": 3, "channels": 32, "cells_per_stage": 2, "stem": "imagenet"}
    assert "num_workers=1" in (tmp_path / "out/config.py").read_text()
    assert (
        json.loads(run(*words, "--config-option", "train_dataloader.num_workers=1", "--json").out)["metrics"][
            "bbox_mAP"
        ]
        == 20.0
    )


def test_the_folder_is_that_of_the_same_training(place: Path) -> None:
    request = TransferRequest(
        task="detection", architecture="resnet18", data=str(place / "boxes"), recipe="retinanet_small"
    )
    same = replace(request, changes={"epochs": 12})
    assert request.folder() == same.folder() and str(request.folder()).startswith(
        "runs/transfer/resnet18-retinanet_small-boxes-0-"
    )
    others = [
        {"seed": 1},
        {"changes": {"epochs": 3}},
        {"architecture": "resnet34"},
        {"options": {"log_level": "ERROR"}},
        {"amp": True},
    ]
    folders = {replace(request, **other).folder() for other in others}
    assert len(folders | {request.folder()}) == 6


def test_dry_run(run: Cli, place: Path, tmp_path: Path) -> None:
    answer = run(
        "transfer", "segmentation", "darts_v2", "--data", place / "labels", "--output", tmp_path, "--dry-run", "--json"
    )
    file = Path(json.loads(answer.out)["config"])
    assert answer.status == 0 and file == tmp_path / "config.py" and 'architecture="darts_v2"' in file.read_text()


def test_recipes(run: Cli) -> None:
    listed = json.loads(run("transfer", "recipes", "--json").out)
    assert listed == json.loads(run("transfer", "--json").out) and run("transfer", "--json", "recipes").status == 2
    assert listed["unnas_cityscapes"]["epochs"] == 2700 and len(listed) == 7
    assert (
        "40,000 iterations" in run("transfer", "recipes").out
        and "learning_rate: 0.02" in run("transfer", "recipes", "faster_rcnn_coco_1x").out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detection", "resnet18"], "which data?"),
        (["detection", "--data", "boxes"], "which architecture?"),
        (["detection", "resnet1888", "--data", "boxes"], "unknown architecture 'resnet1888'; did you mean"),
        (["detection", "recurrent_darts", "--data", "boxes"], "whose networks take no images"),
        (["detection", "resnet18", "--data", "labels"], "no annotation file of train and val"),
        (["segmentation", "resnet18", "--data", "boxes"], "has neither a folder train nor leftImg8bit"),
        (
            ["detection", "resnet18", "--data", "boxes", "--recipe", "deeplabv3_small"],
            "the recipe deeplabv3_small is for segmentation",
        ),
        (
            ["detection", "resnet18", "--data", "boxes", "--recipe", "retinanet_coco_1x"],
            "starts from a trained backbone, but no checkpoint was given",
        ),
        (["detection", "resnet18", "--data", "boxes", "--set", "epoch=3"], "epoch: no such key; did you mean 'epochs'"),
        (["detection", "darts_v2", "--data", "boxes", "--space-argument", "chanels=3"], "chanels"),
        (["segmentation", "resnet18", "--data", "labels", "--checkpoint", "none.pth"], "none.pth cannot be read"),
        (
            ["segmentation", "resnet18", "--data", "labels", "--set", "segmenter.auxilary=true"],
            "did you mean 'auxiliary'",
        ),
        (
            [
                "segmentation",
                "resnet18",
                "--data",
                "labels",
                "--set",
                "backbone.output_stride=16",
                "--set",
                "backbone.by=fewer_reductions",
            ],
            "is timm's",
        ),
        (["segmentation", "resnet18", "--data", "labels", "--config-option", "modl.x=3"], "did you mean 'model'"),
    ],
)
def test_what_is_refused(
    run: Cli, place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    """Before anything is trained, and without OpenMMLab's packages: by ``--dry-run``."""
    monkeypatch.chdir(place)
    answer = run("transfer", *words, "--dry-run", "--output", "out")
    assert answer.status == 2 and message in answer.err and not Path("out").exists()


def test_a_trial(
    run: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[dict[str, Any]]
) -> None:
    """The tuner's parameters precede; the curve has no gap, and another attempt sends nothing twice."""
    curve: list[dict[str, Any]] = []
    final: list[dict[str, Any]] = []
    monkeypatch.setenv("NNI_PLATFORM", "local")
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path)))
    monkeypatch.setattr(reporting, "own_parameters", lambda: {"architecture": CELL, "epochs": 4, "seed": 5})
    monkeypatch.setattr(nni, "report_intermediate_result", curve.append)
    monkeypatch.setattr(nni, "report_final_result", final.append)
    monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", lambda number: None)
    words = ["transfer", "detection", OTHER, "--space-argument", "nodes=3", "--data", place / "boxes"]
    assert run(*words).status == 0
    assert (
        trained[0]["backbone"].architecture == CELL
        and trained[0]["transfer"].seed == 5
        and trained[0]["transfer"].resolved.epochs == 4
    )
    assert [(point["default"], point["at_epoch"], point["loss"]) for point in curve] == [(10.0, 2, 1.0), (20.0, 4, 0.5)]
    assert final == [
        {"default": 20.0, "bbox_mAP": 20.0, "bbox_mAP_50": 40.0, "backbone_parameters": 1234, "model_parameters": 5678}
    ]
    assert run(*words).status == 0 and len(curve) == 2 and len(final) == 2
    result = {"metrics": {"bbox_mAP": 30.0}, "metric": "bbox_mAP", "tested_on": "test", "parameters": {}}
    asked = TransferRequest(architecture=CELL, recipe="retinanet_small", task="detection", data=None)
    assert asked.final_value({**result, "history": ROWS}) == {"default": 20.0, "bbox_mAP": 30.0}, "tuners choose by val"
    assert asked.final_value({**result, "history": []})["default"] == 30.0
    monkeypatch.setattr(reporting, "own_parameters", lambda: {"seed": "5"})
    answer = run(*words)
    assert answer.status == 2 and "seed: must be of type int, but the tuner gave '5'" in answer.err
    assert "Leave them out" in run(*words, "--output", "x").err
