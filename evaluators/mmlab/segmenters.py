"""The part of a segmentation network's configuration file that depends on network and data. Free of torch and of mmseg."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from nni_plugins.spaces.staged import Stage

from ..data.augmentation import IGNORED
from .config_text import Section
from .segmentation_data import SegmentationData
from .settings import SegmentationRecipe

PAD = 32
"""Test images are padded to a multiple of it."""


def wanted(stages: Sequence[Stage], recipe: SegmentationRecipe) -> tuple[int, ...]:
    """The last stage, and for the auxiliary head the one before."""
    return tuple(range(len(stages)))[-2 if recipe.segmenter.auxiliary else -1 :]


def model(
    recipe: SegmentationRecipe,
    backbone: dict[str, Any],
    stages: Sequence[Stage],
    classes: int,
    normalisation: dict[str, Any],
) -> dict[str, Any]:
    """The model; ``stages``: those that the backbone returns."""
    settings, norm = recipe.segmenter, dict(backbone["norm_cfg"])
    ours, tested = settings.kind == "unnas", recipe.images.test_size
    test = {"size_divisor": PAD} if tested is None else {"size": tuple(tested)}
    padding = {"pad_val": 0, "seg_pad_val": IGNORED, "size": tuple(recipe.images.crop), "test_cfg": test}
    loss = {
        "type": "CrossEntropyLoss",
        "use_sigmoid": False,
        **({"avg_non_ignore": True} if ours else {}),
        "loss_weight": 1.0,
    }
    head = {
        "type": "NASASPPHead" if ours else "ASPPHead",
        "in_channels": stages[-1].channels,
        "in_index": len(stages) - 1,
        "channels": settings.channels,
        "dilations": (1, *settings.rates),
        "dropout_ratio": settings.dropout,
        "num_classes": classes,
        "norm_cfg": norm,
        "align_corners": ours,
        "loss_decode": loss,
    }
    network: dict[str, Any] = {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", **normalisation, "bgr_to_rgb": True, **padding},
        "backbone": backbone,
        "decode_head": head,
    }
    if settings.auxiliary:
        network["auxiliary_head"] = {
            "type": "FCNHead",
            "in_channels": stages[-2].channels,
            "in_index": 0,
            "channels": settings.channels // 2,
            "num_convs": 1,
            "concat_input": False,
            "dropout_ratio": settings.dropout,
            "num_classes": classes,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": {**loss, "loss_weight": 0.4},
        }
    return {**network, "train_cfg": {}, "test_cfg": {"mode": "whole"}}


def data(recipe: SegmentationRecipe, found: SegmentationData, loader: dict[str, Any], batch: int) -> list[Section]:
    """Pipelines, loaders and metrics."""
    images = recipe.images
    read, labels = {"type": "ReadImage"}, {"type": "LoadLabelImage"}
    scaled = {
        "type": "RandomShortSide",
        "nominal": images.short_side,
        "scale": tuple(images.scale),
        "log_uniform": images.scale_draw == "log_uniform",
        "least": min(images.crop) if images.at_least_crop else 1,
    }
    train = [
        read,
        labels,
        scaled,
        {"type": "RandomCrop", "crop_size": tuple(images.crop), "cat_max_ratio": images.largest_share},
    ]
    train.append({"type": "RandomFlip", "prob": images.flip})
    train += [{"type": "PhotoMetricDistortion"}] if images.photometric else []
    train += [{"type": "Lighting", "strength": images.lighting}] if images.lighting else []
    train.append({"type": "PackSegInputs"})
    test = [read, labels, {"type": "PackSegInputs"}]

    def dataset(split: str, pipeline: list[Any]) -> dict[str, Any]:
        place = {"data_root": os.path.abspath(found.root), "split": split}
        return {
            "type": "LabelledImages",
            **place,
            "metainfo": {"classes": found.classes},
            "test_mode": split != "train",
            "pipeline": pipeline,
        }

    def tested(split: str) -> dict[str, Any]:
        sampler = {"type": "DefaultSampler", "shuffle": False}
        return {"batch_size": 1, **loader, "drop_last": False, "sampler": sampler, "dataset": dataset(split, test)}

    metric = {"type": "IoUMetric", "iou_metrics": ["mIoU"], "ignore_index": IGNORED}
    endless = recipe.epochs is None
    sampler = {"type": "InfiniteSampler" if endless else "DefaultSampler", "shuffle": True}
    trained = {
        "batch_size": batch,
        **loader,
        "drop_last": recipe.drop_last,
        "sampler": sampler,
        "dataset": dataset("train", train),
    }
    return [
        (
            "For mmseg's inference on single images.",
            {"test_pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}]},
        ),
        (
            "Data. Crops for training, whole images for tests.",
            {"train_dataloader": trained, "val_dataloader": tested("val")},
        ),
        (f"The final test is on the part {found.tested!r}.", {"test_dataloader": tested(found.tested)}),
        (
            "Intersection over union of each class, their mean, and the share of pixels that are right.",
            {"val_evaluator": metric, "test_evaluator": metric},
        ),
    ]
