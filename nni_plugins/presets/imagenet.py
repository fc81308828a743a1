"""Experiment files of PC-DARTS' search on ImageNet (Xu et al., ICLR 2020; official code) and RF-PCDARTS', which follows
it.
"""

from __future__ import annotations

from typing import Any

from .base import Preset

_COMMENT = (
    "on an eighth of ImageNet with PC-DARTS' values (Xu et al., ICLR 2020; official code): of every class 10 % of the images train the\n"
    "weights and 2.5 % the architecture, half of the channels are mixed, 35 epochs before the architecture is trained. What is found is listed,\n"
    "not trained. Needs a GPU with 80 GB, or `devices: 8` and trialGpuNumber: 8 for smaller ones. data.path is a folder with train/<class>/ and\n"
    "val/<class>/, as torchvision has ImageNet; its images are kept with a shorter side of 256 pixels and a square crop."
)


def _preset(tuner: str, name: str, search: dict[str, Any]) -> Preset:
    arguments: dict[str, Any] = {
        "optimize_mode": "maximize",
        "space": {"name": "darts", "channels": 16, "cells": 8, "stem": "imagenet_wide"},
        "data": {
            "source": "folder",
            "path": "imagenet",
            "image_size": 256,
            "per_class": 0.125,
            "split_per_class": True,
            "augmentation": {
                "kind": "resized_crop",
                "size": 224,
                "brightness": 0.4,
                "contrast": 0.4,
                "saturation": 0.4,
                "hue": 0.2,
                "lighting": 0.0,
            },
        },
        "objective": {"name": "supervised"},
        "training": {
            "epochs": 50,
            "batch_size": 1024,
            "learning_rate": 0.5,
            "final_learning_rate": 0.0,
            "learning_rate_warmup": 5,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0003,
            "gradient_clip": 5.0,
            "architecture_learning_rate": 0.006,
            "architecture_weight_decay": 0.001,
            "architecture_clip": 5.0,
            "order": 1,
            "first": "architecture",
            "warmup_epochs": 35,
            "portion": 0.8,
            "precision": "bf16-mixed",
            "memory_format": "channels_last",
        },
        "search": {**search, "partial_channels": 2, "edge_normalization": True},
        "stand_alone": None,
        "seeds": [0],
        "found": 1,
    }
    return Preset(tuner, f"{name} {_COMMENT}", arguments, hours=240)


IMAGENET = {
    "pcdarts_imagenet": _preset("PCDARTS", "PC-DARTS", {"option": "B", "initialisation": "torch"}),
    "rfpcdarts_imagenet": _preset(
        "RFPCDARTS", "RF-PCDARTS", {"option": "C", "initialisation": "kaiming", "train_classifier": True}
    ),
}
