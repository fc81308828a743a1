"""The part of a detector's configuration file that depends on network and data. Free of torch and of mmdet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from nni_plugins.spaces.staged import Stage

from ..errors import ConfigError
from .config_text import Section
from .detection_data import DetectionData
from .settings import DetectionRecipe

LEVELS = 5
"""Feature maps of the pyramid; those that the backbone lacks are made of its last."""
STRIDES = {"retinanet": (8, 16, 32), "faster_rcnn": (4, 8, 16, 32)}
BOXES = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0, 0.0, 0.0, 0.0]}
UNIT, TENTHS = [1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.2, 0.2]


def wanted(stages: Sequence[Stage], recipe: DetectionRecipe, name: str) -> tuple[int, ...]:
    """Which of the network's stages the pyramid stands on: the last one of each stride.

    Raises:
        ConfigError: the network keeps too high a resolution.
    """
    last = {stage.stride: index for index, stage in enumerate(stages)}
    found = tuple(last[stride] for stride in STRIDES[recipe.detector.kind] if stride in last)
    if len(found) < 2:
        strides = ", ".join(str(stage.stride) for stage in stages)
        raise ConfigError(
            f"{name}: its feature maps have strides {strides}, but a pyramid needs at least two of 4, 8, 16 and 32.",
            "Give it an ImageNet stem: --argument stem=imagenet.",
        )
    return found


def model(
    recipe: DetectionRecipe,
    backbone: dict[str, Any],
    stages: Sequence[Stage],
    classes: int,
    normalisation: dict[str, Any],
) -> dict[str, Any]:
    """The model; ``stages``: those that the backbone returns."""
    settings = recipe.detector
    channels, norm = (
        settings.channels,
        {"norm_cfg": {"type": "GN", "num_groups": 32}} if settings.norm == "group" else {},
    )
    strides = [stage.stride for stage in stages]
    levels = [*strides, *(strides[-1] * 2**i for i in range(1, LEVELS - len(strides) + 1))]
    preprocessor = {"type": "DetDataPreprocessor", **normalisation, "bgr_to_rgb": True, "pad_size_divisor": 32}
    neck: dict[str, Any] = {
        "type": "FPN",
        "in_channels": [stage.channels for stage in stages],
        "out_channels": channels,
        "num_outs": LEVELS,
        **norm,
    }
    if settings.kind == "retinanet":
        neck["add_extra_convs"] = "on_input"
        head = {"bbox_head": _retina(settings.convolutions, channels, classes, levels, norm), **_retina_cfg()}
    else:
        head = {
            "rpn_head": _proposals(channels, levels),
            "roi_head": _regions(recipe, classes, strides),
            **_region_cfg(),
        }
    kind = {"retinanet": "RetinaNet", "faster_rcnn": "FasterRCNN"}[settings.kind]
    return {"type": kind, "data_preprocessor": preprocessor, "backbone": backbone, "neck": neck, **head}


def _assigner(positive: float, negative: float, least: float, **more: Any) -> dict[str, Any]:
    overlap = {"pos_iou_thr": positive, "neg_iou_thr": negative, "min_pos_iou": least}
    return {"type": "MaxIoUAssigner", **overlap, **more, "ignore_iof_thr": -1}


def _retina(convolutions: int, channels: int, classes: int, strides: list[int], norm: dict[str, Any]) -> dict[str, Any]:
    anchors = {
        "type": "AnchorGenerator",
        "octave_base_scale": 4,
        "scales_per_octave": 3,
        "ratios": [0.5, 1.0, 2.0],
        "strides": strides,
    }
    focal = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
    return {
        "type": "RetinaHead",
        "num_classes": classes,
        "in_channels": channels,
        "feat_channels": channels,
        "stacked_convs": convolutions,
        **norm,
        "anchor_generator": anchors,
        "bbox_coder": {**BOXES, "target_stds": UNIT},
        "loss_cls": focal,
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _retina_cfg() -> dict[str, Any]:
    train = {
        "assigner": _assigner(0.5, 0.4, 0.0),
        "sampler": {"type": "PseudoSampler"},
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }
    nms = {"type": "nms", "iou_threshold": 0.5}
    return {
        "train_cfg": train,
        "test_cfg": {"nms_pre": 1000, "min_bbox_size": 0, "score_thr": 0.05, "nms": nms, "max_per_img": 100},
    }


def _proposals(channels: int, strides: list[int]) -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": channels,
        "feat_channels": channels,
        "anchor_generator": {"type": "AnchorGenerator", "scales": [8], "ratios": [0.5, 1.0, 2.0], "strides": strides},
        "bbox_coder": {**BOXES, "target_stds": UNIT},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _regions(recipe: DetectionRecipe, classes: int, strides: list[int]) -> dict[str, Any]:
    channels = recipe.detector.channels
    layer = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}
    head = {
        "type": "Shared2FCBBoxHead",
        "in_channels": channels,
        "fc_out_channels": recipe.detector.fully_connected,
        "roi_feat_size": 7,
        "num_classes": classes,
        "bbox_coder": {**BOXES, "target_stds": TENTHS},
        "reg_class_agnostic": False,
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }
    extractor = {"type": "SingleRoIExtractor", "roi_layer": layer, "out_channels": channels, "featmap_strides": strides}
    return {"type": "StandardRoIHead", "bbox_roi_extractor": extractor, "bbox_head": head}


def _region_cfg() -> dict[str, Any]:
    def sampler(count: int, share: float, truth: bool) -> dict[str, Any]:
        return {
            "type": "RandomSampler",
            "num": count,
            "pos_fraction": share,
            "neg_pos_ub": -1,
            "add_gt_as_proposals": truth,
        }

    def proposals(before: int, after: int) -> dict[str, Any]:
        return {
            "nms_pre": before,
            "max_per_img": after,
            "nms": {"type": "nms", "iou_threshold": 0.7},
            "min_bbox_size": 0,
        }

    rpn = {"assigner": _assigner(0.7, 0.3, 0.3, match_low_quality=True), "sampler": sampler(256, 0.5, False)}
    rcnn = {"assigner": _assigner(0.5, 0.5, 0.5, match_low_quality=False), "sampler": sampler(512, 0.25, True)}
    train = {
        "rpn": {**rpn, "allowed_border": -1, "pos_weight": -1, "debug": False},
        "rpn_proposal": proposals(2000, 1000),
        "rcnn": {**rcnn, "pos_weight": -1, "debug": False},
    }
    found = {"score_thr": 0.05, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100}
    return {"train_cfg": train, "test_cfg": {"rpn": proposals(1000, 1000), "rcnn": found}}


def data(recipe: DetectionRecipe, found: DetectionData, loader: dict[str, Any], batch: int) -> list[Section]:
    """Pipelines, loaders and metrics."""
    size = tuple(recipe.images.size)
    resize = {"type": "Resize", "scale": size, "keep_ratio": True}
    boxes = {"type": "LoadAnnotations", "with_bbox": True}

    def read(split: str) -> dict[str, Any]:
        return {"type": "ReadImage", **({"stored": True} if found.parts[split].stored else {})}

    train = [
        read("train"),
        boxes,
        resize,
        {"type": "RandomFlip", "prob": recipe.images.flip},
        {"type": "PackDetInputs"},
    ]
    kept = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    test = [resize, boxes, {"type": "PackDetInputs", "meta_keys": kept}]

    def dataset(split: str, pipeline: list[Any]) -> dict[str, Any]:
        part = found.parts[split]
        common = {
            "type": "CocoDataset",
            "metainfo": {"classes": found.classes},
            "ann_file": os.path.abspath(part.annotations),
        }
        more = {"filter_cfg": {"filter_empty_gt": True}} if split == "train" else {"test_mode": True}
        return {**common, "data_prefix": {"img": os.path.abspath(part.images) + "/"}, **more, "pipeline": pipeline}

    def tested(split: str) -> dict[str, Any]:
        sampler = {"type": "DefaultSampler", "shuffle": False}
        return {
            "batch_size": 1,
            **loader,
            "drop_last": False,
            "sampler": sampler,
            "dataset": dataset(split, [read(split), *test]),
        }

    def metric(split: str) -> dict[str, Any]:
        return {
            "type": "CocoMetric",
            "ann_file": os.path.abspath(found.parts[split].annotations),
            "metric": "bbox",
            "format_only": False,
        }

    shuffled = {"type": "DefaultSampler", "shuffle": True}
    batches = {"batch_sampler": {"type": "AspectRatioBatchSampler", "drop_last": recipe.drop_last}}
    trained = {"batch_size": batch, **loader, "sampler": shuffled, **batches, "dataset": dataset("train", train)}
    return [
        (
            "Data. Images are resized into the given width and height, keeping their shape.",
            {"train_dataloader": trained, "val_dataloader": tested("val")},
        ),
        (f"The final test is on the part {found.tested!r}.", {"test_dataloader": tested(found.tested)}),
        (
            "COCO's average precision of boxes.",
            {"val_evaluator": metric("val"), "test_evaluator": metric(found.tested)},
        ),
    ]
