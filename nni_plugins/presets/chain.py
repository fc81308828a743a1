"""A search without labels and everything after it in one experiment: stand-alone, detection, segmentation, each beside
random cells.
"""

from __future__ import annotations

from .base import Preset

CHAIN = {
    "rlnas_transfer": Preset(
        "RLNAS",
        "From photographs without labels to detection and segmentation, in one experiment. A search with random labels on CamVid's photographs; the\n"
        "two best cells by angle and two random ones trained stand-alone on CamVid's label images; then the best found and a random cell as\n"
        "backbone of a detector (a folder in COCO's format) and of DeepLabV3. Change the three paths (docs/transfer.md). Needs mmdet and mmseg\n"
        "(make install-mmlab). Scaled down to half an hour on two cores: 4 cells of 8 channels, crops of 96 pixels, some epochs.",
        {
            "optimize_mode": "maximize",
            "space": {"name": "darts", "channels": 8, "cells": 4, "stem": "imagenet", "reductions": 2},
            "data": {
                "source": "segmentation",
                "path": "camvid",
                "augmentation": {"kind": "scaled_crop", "size": 96, "nominal": 120, "flip": True, "lighting": 0.1},
            },
            "objective": {"name": "random_labels", "classes": 10, "mode": "fixed", "seed": 0},
            "training": {"epochs": 20, "batch_size": 16, "accelerator": "cpu"},
            "search": {"angle": "rlnas", "evolution": {"population": 50, "generations": 20}},
            "stand_alone": {
                "epochs": 12,
                "batch_size": 8,
                "learning_rate": 0.05,
                "weight_decay": 0.0001,
                "accelerator": "cpu",
            },
            "stand_alone_objective": {"name": "segmentation", "ignore": 11, "channels": 32, "rates": [3, 6]},
            "seeds": [0],
            "found": 2,
            "random": 2,
            "follow_ups": {
                "detection": {
                    "task": "detection",
                    "recipe": "retinanet_small",
                    "data": "bccd",
                    "changes": {"epochs": 6},
                },
                "segmentation": {
                    "task": "segmentation",
                    "recipe": "deeplabv3_small",
                    "data": "camvid",
                    "changes": {"epochs": 6},
                },
            },
            "threads": 1,
        },
        concurrency=2,
        hours=4,
    )
}
