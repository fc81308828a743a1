"""Detection and segmentation as evaluators: their settings, and what is tried before a search. Needs none of OpenMMLab's
packages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.errors import ConfigError, DataError, MissingBackend
from nni_plugins.evaluators.mmlab import installation, transfer
from nni_plugins.evaluators.mmlab.plugin import DetectionPlugin, SegmentationPlugin, TransferPlugin
from nni_plugins.evaluators.mmlab.recipes import FOLDER
from nni_plugins.evaluators.plugins import read_evaluation
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.recurrent import RecurrentCell

from .transfer_data import camvid, coco

SPACE = NASBench201(channels=8, cells_per_stage=1, stem="imagenet")
CELL = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
FROM_SCRATCH = {"backbone.pretrained": False, "backbone.frozen_stages": -1, "backbone.norm_eval": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    coco(folder / "boxes", {"train": 2, "val": 1, "test": 1})
    camvid(folder / "labels", {"train": 8, "val": 1})
    return folder


def detection(data: Path | str = "/nowhere", space: Any = SPACE, **settings: Any) -> TransferPlugin:
    given = {"evaluator": "detection", "recipe": "retinanet_small", "data": str(data), **settings}
    return DetectionPlugin(read_evaluation(given, ""), space)


def segmentation(data: Path | str = "/nowhere", **settings: Any) -> TransferPlugin:
    given = {"evaluator": "segmentation", "recipe": "deeplabv3_small", "data": str(data), **settings}
    return SegmentationPlugin(read_evaluation(given, ""), SPACE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "retinanet_smal"}, r"unknown recipe 'retinanet_smal'; did you mean 'retinanet_small'"),
        ({"recipe": "deeplabv3_small"}, "is for segmentation, not for detection"),
        ({"changes": {"optimizer.learningrate": 1}}, "optimizer.learningrate"),
        ({"data": ""}, "data"),
        ({"found": -1}, "found"),
        ({"recipes": "x"}, "recipes: no such key; did you mean 'recipe'"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        detection(**settings)


@pytest.mark.parametrize("key", list(FROM_SCRATCH))
def test_every_part_of_a_trained_backbone_is_refused(key: str) -> None:
    trained = {"backbone.pretrained": True, "backbone.frozen_stages": 1, "backbone.norm_eval": True}
    assert detection(recipe="retinanet_coco_1x", changes=FROM_SCRATCH).settings.recipe == "retinanet_coco_1x"
    with pytest.raises(ConfigError, match="retinanet_coco_1x starts from a trained backbone, which evaluations do not"):
        detection(recipe="retinanet_coco_1x", changes={**FROM_SCRATCH, key: trained[key]})


def test_the_metric_is_that_of_the_task() -> None:
    metrics = [(one.metric.name, one.metric.unit, one.metric.mode) for one in (detection(), segmentation())]
    assert metrics == [("bbox_mAP", "%", "maximize"), ("mIoU", "%", "maximize")]


def test_identity_is_the_recipe_itself(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text((FOLDER / "retinanet_small.yml").read_text())
    before = detection().identity()
    assert detection(recipe=str(own)).identity() == before
    assert detection(changes={"checkpoint_every": 5, "source": "mine"}).identity() == before
    for changes in ({"epochs": 5}, {"workers": 1}, {"images.flip": 0.0}):
        assert detection(changes=changes).identity() != before
    assert detection("/elsewhere").identity() != before
    assert detection(options={"model.neck.num_outs": 4}).identity() != before


def test_networks_without_feature_maps_are_refused() -> None:
    with pytest.raises(ConfigError, match="networks of recurrent take no images, so they have no feature maps"):
        detection(space=RecurrentCell(nodes=2)).check()
    detection().check()


@pytest.mark.parametrize(("one", "package"), [(detection, "mmdet"), (segmentation, "mmseg")])
def test_a_missing_back_end_is_named_with_the_line_that_installs_it(
    one: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(installation, "require_mm", checked.append)
    with pytest.raises(DataError, match=r"/nowhere"):
        one().prepare()
    assert checked == ["mmcv", "mmcv.ops", "mmengine", package]
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "mmcv", None)
    with pytest.raises(MissingBackend, match=r"mmcv[\s\S]*Type: .*install"):
        one().prepare()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if OpenMMLab's packages were there."""
    monkeypatch.setattr(installation, "check", lambda *packages: None)
    monkeypatch.setattr(installation, "for_cuda", lambda: True)


def test_what_is_tried_before_a_search(place: Path, installed: None) -> None:
    pytest.importorskip("timm")
    for one in (detection(place / "boxes"), segmentation(place / "labels")):
        one.prepare(["resnet18", "darts_v2"])
        with pytest.raises(ConfigError, match="unknown architecture 'resnet_18'"):
            one.prepare(["resnet_18"])
    with pytest.raises(DataError, match=r"/nowhere: no such folder"):
        detection().prepare()
    with pytest.raises(ConfigError, match=r"modell: no such key; did you mean 'model'"):
        detection(place / "boxes", options={"modell.neck": 1}).prepare()
    with pytest.raises(ConfigError, match=r"batch_size must be a multiple"):
        detection(place / "boxes", changes={"batch_size": 3, "accumulate": 2}).prepare()


def test_a_model_of_timms_without_timm(place: Path, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"] + ["timm"]:
        monkeypatch.setitem(sys.modules, module, None)
    detection(place / "boxes").prepare(["darts_v2"])
    with pytest.raises(MissingBackend, match=r"pip install .*timm>="):
        detection(place / "boxes").prepare(["resnet18"])


ROWS: list[dict[str, Any]] = [
    {"evaluation": 1, "epoch": 2, "iteration": 8, "loss": 1.5, "learning_rate": 0.1, "bbox_mAP": 1.0},
    {"evaluation": 2, "epoch": 4, "iteration": 16, "loss": None, "learning_rate": 0.1, "bbox_mAP": 2.0},
]


def test_rows_count_evaluations(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may lie several epochs apart, and the portal counts them from 1. A killed training's last has no loss."""
    folders = []

    def train(self: transfer.Transfer, backbone: Any, folder: Path, *, report: Report | None) -> dict[str, Any]:
        folders.append(folder)
        assert folder.is_dir() and (self.seed, backbone.space) == (7, "nasbench201")
        for row in ROWS if report is not None else ():
            report(row)
        sizes = {"backbone": 10, "model": 30}
        return {"metrics": {"bbox_mAP": 3.0, "bbox_mAP_50": 4.0}, "history": ROWS, "parameters": sizes}

    monkeypatch.setattr(transfer.Transfer, "train", train)
    told: list[dict[str, float]] = []
    one = detection(place / "boxes")
    measured = one.evaluate(CELL, 7, None, told.append)
    assert not folders[0].exists(), "without a folder nothing is kept"
    rate = {"learning_rate": 0.1}
    assert (
        told
        == measured.curve
        == [
            {"epoch": 1, "at_epoch": 2, "iteration": 8, "loss": 1.5, "bbox_mAP": 1.0, **rate},
            {"epoch": 2, "at_epoch": 4, "iteration": 16, "bbox_mAP": 2.0, **rate},
        ]
    )
    assert measured.value == 3.0 and measured.metrics == {"bbox_mAP": 3.0, "bbox_mAP_50": 4.0}
    assert measured.cost == {"parameters": 30, "backbone_parameters": 10}
    assert [one.curve_point(row)["default"] for row in told] == [1.0, 2.0]
    assert one.curve_file is None, "a resumed training reports all its rows again"
    one.evaluate(CELL, 7, place, None)
    assert folders[1] == place
