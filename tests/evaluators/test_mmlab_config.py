"""Recipes of detection and segmentation, and the configuration files that come of them. Needs none of OpenMMLab's
packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.mmlab.config import BackboneChoice, config
from nni_plugins.evaluators.mmlab.config_text import changed as changed_text
from nni_plugins.evaluators.mmlab.config_text import text
from nni_plugins.evaluators.mmlab.detection_data import DetectionData, detection_data
from nni_plugins.evaluators.mmlab.recipes import AnyRecipe, names, recipe
from nni_plugins.evaluators.mmlab.run import plain_norms
from nni_plugins.evaluators.mmlab.segmentation_data import SegmentationData, segmentation_data
from nni_plugins.evaluators.mmlab.transfer import backbone
from nni_plugins.evaluators.mmlab.watch import METRICS, SIZES, percent
from nni_plugins.evaluators.overrides import changed
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.published import published

from .transfer_data import camvid, coco

SMALL = BackboneChoice("darts_v2", "darts_v2", None, {"stem": "imagenet", "channels": 8, "cells": 5})
UNNAS = BackboneChoice("darts_v2", "darts_v2", None, {"stem": "imagenet", "channels": 82, "cells": 12})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionData, SegmentationData]:
    boxes, labels = tmp_path_factory.mktemp("boxes"), tmp_path_factory.mktemp("labels")
    coco(boxes, {"train": 2, "val": 1, "test": 1})
    camvid(labels, {"train": 2, "val": 1})
    return detection_data(str(boxes)), segmentation_data(str(labels))


def content(file: str) -> dict[str, Any]:
    """The variables of a configuration file."""
    values: dict[str, Any] = {}
    exec(compile(file, "config.py", "exec"), values)
    return values


def written(
    name: str | AnyRecipe,
    folders: tuple[DetectionData, SegmentationData],
    choice: BackboneChoice = SMALL,
    **options: Any,
) -> dict[str, Any]:
    chosen = recipe(name) if isinstance(name, str) else name
    return content(config(chosen, choice, folders[chosen.task == "segmentation"], Path("work"), **options))


# Recipes


def test_recipes() -> None:
    assert set(names()) == set(names("detection")) | set(names("segmentation")) and len(names("detection")) == 4
    assert all(recipe(name).source and recipe(name).task for name in names())
    one = recipe("faster_rcnn_coco_1x")
    assert (one.epochs, one.batch_size, one.optimizer.learning_rate, one.optimizer.weight_decay) == (12, 16, 0.02, 1e-4)
    assert (one.schedule.steps, one.schedule.warmup_iterations, one.images.size) == ((8, 11), 500, (1333, 800))  # type: ignore[union-attr]
    assert recipe("retinanet_coco_1x").optimizer.learning_rate == 0.01
    unnas = recipe("unnas_cityscapes")
    assert (unnas.epochs, unnas.batch_size, unnas.optimizer.learning_rate, unnas.optimizer.nesterov) == (
        2700,
        64,
        0.1,
        True,
    )
    assert (unnas.images.crop, unnas.segmenter.rates, unnas.backbone.output_stride) == ((769, 769), (6, 12, 18), 16)  # type: ignore[union-attr]


def test_own_recipes(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text(
        (Path("evaluators/mmlab/recipes/retinanet_small.yml")).read_text().replace("epochs: 12", "epochs: 3")
    )
    assert recipe(str(file)).epochs == 3
    file.write_text("task: cooking")
    with pytest.raises(ConfigError, match="task must be detection or segmentation, but got 'cooking'"):
        recipe(str(file))
    file.write_text("{")
    with pytest.raises(ConfigError, match="is not YAML"):
        recipe(str(file))
    with pytest.raises(ConfigError, match=r"unknown recipe 'retinanet_smal'; did you mean 'retinanet_small'"):
        recipe("retinanet_smal")
    with pytest.raises(ConfigError, match="cannot read"):
        recipe(str(tmp_path / "none.yml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "epoch: no such key; did you mean 'epochs'"),
        ({"optimizer.learning_rte": 3}, r"optimizer\.learning_rte: no such key; did you mean 'learning_rate'"),
        ({"epochs.x": 3}, r"epochs\.x: epochs holds a value"),
        ({"iterations": 100}, "epochs or iterations must be given, and not both"),
        ({"accumulate": 3}, "batch_size must be a multiple of accumulate, but got 8 and 3"),
        ({"schedule": {"name": "step", "steps": [12]}}, "the last of schedule.steps must lie before the last epoch"),
        ({"schedule": {"name": "step"}}, "step needs steps"),
        (
            {"epochs": None, "iterations": 100, "schedule.per": "epoch"},
            "a schedule by epochs needs the length in epochs",
        ),
        ({"detector.channels": 48}, "channels must be a multiple of 64 for norm: group, but got 48"),
    ],
)
def test_changes_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(recipe("retinanet_small"), changes)


# Configuration files


def test_retinanet(folders: tuple[DetectionData, SegmentationData]) -> None:
    """mmdet's 1x schedule; the pyramid stands on the strides 8, 16 and 32."""
    loose = changed(
        recipe("retinanet_coco_1x"),
        {"backbone.pretrained": False, "backbone.frozen_stages": -1, "backbone.norm_eval": False},
    )
    file = written(loose, folders, seed=3)
    model = file["model"]
    assert (file["default_scope"], model["type"], model["backbone"]["out_indices"]) == ("mmdet", "RetinaNet", (1, 2, 3))
    assert (
        model["neck"]["in_channels"] == [32, 64, 128]
        and model["neck"]["num_outs"] == 5
        and model["bbox_head"]["num_classes"] == 2
    )
    assert model["bbox_head"]["anchor_generator"]["strides"] == [8, 16, 32, 64, 128]
    assert model["backbone"]["architecture"] == "darts_v2" and model["backbone"]["arguments"] == SMALL.arguments
    loader, rates = file["train_dataloader"], file["param_scheduler"]
    assert loader["batch_size"] == 16 and loader["dataset"]["metainfo"]["classes"] == ("disc", "bar")
    assert loader["dataset"]["pipeline"][2] == {"type": "Resize", "scale": (1333, 800), "keep_ratio": True}
    assert file["test_dataloader"]["dataset"]["ann_file"].endswith("test.json") and file["val_evaluator"][
        "ann_file"
    ].endswith("val.json")
    assert rates[0] == {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500}
    assert rates[1] == {
        "type": "MultiStepLR",
        "begin": 0,
        "end": 12,
        "by_epoch": True,
        "milestones": [8, 11],
        "gamma": 0.1,
    }
    assert file["optim_wrapper"] == {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
    }
    assert (
        file["train_cfg"] == {"type": "EpochBasedTrainLoop", "max_epochs": 12, "val_interval": 1}
        and file["randomness"]["seed"] == 3
    )
    assert model["data_preprocessor"]["mean"] == [123.675, 116.28, 103.53], "ImageNet's, of R, G, B"


def test_faster_rcnn_without_a_stage_of_stride_four(folders: tuple[DetectionData, SegmentationData]) -> None:
    cell = BackboneChoice("rf", "nasbench201_rf_darts", None, {"stem": "imagenet", "channels": 8, "cells_per_stage": 1})
    file = written("faster_rcnn_small", folders, cell)["model"]
    assert file["neck"]["in_channels"] == [8, 16, 32] and file["roi_head"]["bbox_roi_extractor"]["featmap_strides"] == [
        8,
        16,
        32,
    ]
    assert (
        file["rpn_head"]["anchor_generator"]["strides"] == [8, 16, 32, 64, 128]
        and file["roi_head"]["bbox_head"]["num_classes"] == 2
    )
    timms = written("faster_rcnn_small", folders, BackboneChoice("resnet18", "resnet18"))["model"]
    assert timms["backbone"]["out_indices"] == (1, 2, 3, 4) and timms["neck"]["in_channels"] == [64, 128, 256, 512]
    with pytest.raises(
        ConfigError,
        match=r"strides 1, 2, 4, but a pyramid needs at least two of 4, 8, 16 and 32\.\nGive it an ImageNet stem",
    ):
        written("retinanet_small", folders, BackboneChoice("rf", "nasbench201_rf_darts"))


def test_unnas_on_cityscapes(folders: tuple[DetectionData, SegmentationData]) -> None:
    boxes, labels = folders
    many = replace(labels, parts={**labels.parts, "train": labels.parts["train"] * 40})
    file = written("unnas_cityscapes", (boxes, many), UNNAS, devices=8, cuda=True)
    model, head = file["model"], file["model"]["decode_head"]
    assert (
        model["backbone"]["output_stride"] == 16
        and model["backbone"]["by"] == "fewer_reductions"
        and model["backbone"]["out_indices"] == (2,)
    )
    assert (head["type"], head["in_channels"], head["channels"], head["dilations"]) == (
        "NASASPPHead",
        656,
        256,
        (1, 6, 12, 18),
    )
    assert (
        head["num_classes"] == 2
        and head["align_corners"]
        and head["loss_decode"]["avg_non_ignore"]
        and "auxiliary_head" not in model
    )
    assert (
        file["train_dataloader"]["batch_size"] == 8
        and file["train_dataloader"]["drop_last"]
        and file["env_cfg"]["dist_cfg"] == {"backend": "nccl"}
    )
    assert model["backbone"]["norm_cfg"]["type"] == "BN", "UnNAS does not synchronise batch norms"
    steps = [step["type"] for step in file["train_dataloader"]["dataset"]["pipeline"]]
    assert steps == [
        "ReadImage",
        "LoadLabelImage",
        "RandomShortSide",
        "RandomCrop",
        "RandomFlip",
        "Lighting",
        "PackSegInputs",
    ]
    assert file["param_scheduler"] == [
        {"type": "CosineAnnealingLR", "begin": 0, "end": 2700, "by_epoch": True, "T_max": 2700, "eta_min": 0.0}
    ]
    assert "nni_plugins.evaluators.mmlab.heads" in file["custom_imports"]["imports"]


def test_deeplabv3(folders: tuple[DetectionData, SegmentationData], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"deeplabv3_pretrained starts from a trained backbone, but no checkpoint was given\.\nPass --checkpoint",
    ):
        written("deeplabv3_pretrained", folders, recipe_name="deeplabv3_pretrained")
    trained = BackboneChoice(
        **{**SMALL.__dict__, "checkpoint": str(tmp_path / "a.pth"), "normalisation": ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))}
    )
    for devices, cuda, norm in ((1, True, "BN"), (4, False, "BN"), (4, True, "SyncBN")):
        file = written("deeplabv3_pretrained", folders, trained, devices=devices, cuda=cuda, amp=cuda)
        model = file["model"]
        assert model["backbone"]["norm_cfg"]["type"] == model["decode_head"]["norm_cfg"]["type"] == norm
        assert file["train_dataloader"]["batch_size"] == 8 // devices
    assert model["backbone"]["checkpoint"] == str(tmp_path / "a.pth") and model["data_preprocessor"]["mean"] == [
        127.5,
        127.5,
        127.5,
    ]
    assert (
        model["backbone"]["out_indices"] == (2, 3)
        and model["auxiliary_head"]["in_channels"] == 64
        and model["auxiliary_head"]["in_index"] == 0
    )
    assert file["train_cfg"] == {"type": "IterBasedTrainLoop", "max_iters": 40000, "val_interval": 4000}
    assert file["param_scheduler"] == [
        {"type": "PolyLR", "begin": 0, "end": 40000, "by_epoch": False, "power": 0.9, "eta_min": 1e-4}
    ]
    assert (
        file["optim_wrapper"]["type"] == "AmpOptimWrapper"
        and file["train_dataloader"]["sampler"]["type"] == "InfiniteSampler"
    )


def test_what_does_not_go_together(folders: tuple[DetectionData, SegmentationData]) -> None:
    small = recipe("retinanet_small")
    with pytest.raises(
        ConfigError, match=r"batch_size must be a multiple of devices \* accumulate, but got 8, 3 and 1"
    ):
        written(small, folders, devices=3)
    with pytest.raises(
        ConfigError, match="frozen_stages and norm_eval keep what was trained, but no checkpoint was given"
    ):
        written(changed(small, {"backbone.norm_eval": True}), folders)
    with pytest.raises(ConfigError, match=r"mixed precision needs a GPU\.\nLeave --amp out"):
        written(small, folders, amp=True)
    with pytest.raises(ConfigError, match="is for detection, but the data is not"):
        config(small, SMALL, folders[1], Path("work"))


def test_changes_by_dotted_keys(folders: tuple[DetectionData, SegmentationData]) -> None:
    changes = {
        "train_dataloader.num_workers": 4,
        "param_scheduler.0.end": 7,
        "model.test_cfg.score_thr": 0.2,
        "train_dataloader.prefetch_factor": 2,
    }
    file = written("retinanet_small", folders, changes=changes)
    assert file["train_dataloader"]["num_workers"] == 4 and file["train_dataloader"]["prefetch_factor"] == 2
    assert file["param_scheduler"][0]["end"] == 7 and file["model"]["test_cfg"]["score_thr"] == 0.2
    wrong = {"optim_wraper.x": 1, "model.neck.chanels.x": 1, "param_scheduler.5": 1}
    with pytest.raises(
        ConfigError,
        match=r"optim_wraper: no such key; did you mean 'optim_wrapper'.*neck\.chanels: no such key.*param_scheduler\.5: no such key",
    ):
        written("retinanet_small", folders, changes=wrong)


def test_values_survive_their_way_through_the_text() -> None:
    values = {
        "a": {"b": [1, 2.5, None, True], "c-d": 'it\'s "so"', "e": (1,)},
        "f": ["word"] * 60,
        "g": [{"h": "x" * 80}, {"i": "y" * 60}],
        "j": {},
    }
    written = text("two\nlines", changed_text([("of values", values)], {"a.b.1": "new"}))
    expected = {**values, "a": {**values["a"], "b": [1, "new", None, True]}}  # type: ignore[dict-item]
    assert {key: content(written)[key] for key in values} == expected and (
        "#\n# two\n# lines\n\n# of values\n" in written
    )
    assert max(map(len, written.splitlines())) <= 120


# Backbones


def test_sizes_of_a_backbone() -> None:
    """Arguments of the command line precede the recipe's, which precede those that the architecture comes with."""
    small, item = recipe("retinanet_small"), published("darts_v2")
    chosen = backbone("darts_v2", DARTS(channels=99, cells=20), item.architecture, small, {"channels": 24})
    assert chosen.architecture == "darts_v2" and chosen.arguments == {
        "stem": "imagenet",
        "channels": 24,
        "cells": 8,
        "reductions": 2,
    }
    space = NASBench201()
    other = backbone("", space, space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"), small)
    assert (
        other.space == "nasbench201"
        and other.arguments["stem"] == "imagenet"
        and other.architecture.startswith("|nor_conv_3x3~0|")
    )
    assert backbone("resnet18", None, None, small).architecture == "resnet18"


def test_checkpoints_of_other_networks(tmp_path: Path) -> None:
    import torch

    file, item = tmp_path / "a.pth", published("darts_v2")
    space = published("darts_v1").space
    description = {
        "space": ["darts", space.config()],
        "architecture": dict(published("darts_v1").architecture.choices),
        "timm": ["darts_v1", {}],
    }
    norm = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    torch.save({"state_dict": {}, "nni_plugins": {"description": description, "normalisation": norm}}, file)
    with pytest.raises(CheckpointError, match=r"holds another network: .*sep_conv_3x3"):
        backbone("darts_v2", DARTS(), item.architecture, recipe("retinanet_small"), checkpoint=str(file))
    with pytest.raises(CheckpointError, match="holds a network of the space darts, but the backbone is resnet18"):
        backbone("resnet18", None, None, recipe("retinanet_small"), checkpoint=str(file))
    own = backbone(
        "darts_v1", DARTS(), published("darts_v1").architecture, recipe("retinanet_small"), checkpoint=str(file)
    )
    assert own.arguments["channels"] == space.config()["channels"] and own.normalisation == (
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
    ), "the checkpoint's, not the recipe's"


# What needs no run


def test_synchronised_norms_become_plain_ones() -> None:
    file: dict[str, Any] = {
        "model": {
            "backbone": {"norm_cfg": {"type": "SyncBN"}},
            "heads": [{"norm_cfg": {"type": "MMSyncBN"}}, {"type": "GN"}],
        }
    }
    plain_norms(file)
    assert file["model"] == {
        "backbone": {"norm_cfg": {"type": "BN"}},
        "heads": [{"norm_cfg": {"type": "BN"}}, {"type": "GN"}],
    }


@pytest.mark.parametrize(
    ("given", "scope", "expected"),
    [
        (
            {"coco/bbox_mAP": 0.123, "coco/bbox_mAP_50": 0.5, "coco/bbox_mAP_75": 0.1, "coco/bbox_mAP_s": -1.0},
            "mmdet",
            {"bbox_mAP": 12.3, "bbox_mAP_50": 50.0, "bbox_mAP_75": 10.0},
        ),
        ({"time": 0.1}, "mmdet", dict.fromkeys((*METRICS["mmdet"], *SIZES), 0.0)),
        (
            {"coco/bbox_mAP": 0.5, "coco/segm_mAP": 0.123, "coco/segm_mAP_s": -1.0, "data_time": 0.1},
            "mmdet",
            {"bbox_mAP": 50.0, "segm_mAP": 12.3},
        ),
        (
            {"pascal_voc/mAP": 0.56, "pascal_voc/AP50": 0.56, "pascal_voc/time": 1.0},
            "mmdet",
            {"pascal_voc/mAP": 0.56, "pascal_voc/AP50": 0.56},
        ),
        ({"coco_panoptic/PQ": 41.2, "lvis/bbox_AP": 0.2}, "mmdet", {"coco_panoptic/PQ": 41.2, "lvis/bbox_AP": 0.2}),
        (
            {"mIoU": 40.5, "aAcc": 90.1, "mAcc": 50.0, "data_time": 0.1},
            "mmseg",
            {"mIoU": 40.5, "aAcc": 90.1, "mAcc": 50.0},
        ),
        ({"mDice": np.float32(61.0), "aAcc": 90.1, "note": "x"}, "mmseg", {"mDice": 61.0, "aAcc": 90.1}),
    ],
)
def test_metrics_in_percent(given: Mapping[str, float], scope: str, expected: dict[str, float]) -> None:
    assert percent(given, scope) == expected
