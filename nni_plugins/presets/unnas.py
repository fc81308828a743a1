"""Experiment files of UnNAS' search phase (Liu et al., ECCV 2020): three data sets, each with labels and with three
pretext tasks.

The values are those of the twelve official configurations (fact sheet, section 2.2); :data:`TABLE` holds what differs
between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Preset

Values = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One official configuration. ``batch``: images, of which rotation makes four inputs each and the jigsaw nine
    tiles; ``size``: pixels a side that the network is trained on; ``rate``, ``architecture_rate``: learning rates."""

    data: str
    task: str
    epochs: int
    warmup: int
    batch: int
    rate: float
    architecture_rate: float
    weight_decay: float
    size: int
    gpus: int = 1


TABLE = (
    Row("imagenet", "cls", 2, 1, 64, 0.1, 3e-4, 3e-5, 224),
    Row("imagenet", "rot", 2, 1, 32, 0.05, 1.5e-4, 3e-5, 224),
    Row("imagenet", "col", 2, 1, 64, 0.1, 3e-4, 3e-5, 224),
    Row("imagenet", "jig", 2, 1, 32, 0.05, 1.5e-4, 3e-5, 255),
    Row("imagenet22k", "cls", 1, 0, 256, 0.4, 1.2e-3, 3e-5, 224, 4),
    Row("imagenet22k", "rot", 1, 0, 128, 0.2, 6e-4, 3e-5, 224, 4),
    Row("imagenet22k", "col", 1, 0, 256, 0.4, 1.2e-3, 3e-5, 224, 4),
    Row("imagenet22k", "jig", 1, 0, 128, 0.2, 6e-4, 3e-5, 255, 4),
    Row("cityscapes", "seg", 400, 0, 32, 0.1, 3e-4, 3e-4, 321),
    Row("cityscapes", "rot", 400, 0, 16, 0.05, 1.5e-4, 3e-4, 321),
    Row("cityscapes", "col", 400, 0, 16, 0.05, 1.5e-4, 3e-4, 321),
    Row("cityscapes", "jig", 400, 0, 32, 0.1, 3e-4, 3e-4, 321),
)

OBJECTIVES: dict[str, Values] = {
    "cls": {"name": "supervised"},
    "rot": {"name": "rotation"},
    "col": {"name": "colorization"},
    "jig": {"name": "jigsaw", "grid": 3, "permutations": 1000, "seed": 0, "gray": 0.3},
    "seg": {"name": "segmentation", "ignore": 255, "channels": 64, "rates": [6]},
}

_TASKS = {
    "cls": ("classes", "The paper's supervised counterpart, with the classes of the images as labels."),
    "rot": ("rotation", "Which way was an image turned? All four turns of each image are in the batch."),
    "col": ("colorization", "Which of 313 colours had each pixel of the grey image?"),
    "jig": ("jigsaw puzzles", "Which of 1,000 orders do the nine tiles of an image have?"),
    "seg": (
        "label maps",
        "The paper's supervised counterpart, segmentation: output stride 16, atrous spatial pyramid pooling (64\nchannels, rate 6).",
    ),
}
_DATA = {
    "imagenet": (
        "ImageNet-1K",
        "Two epochs, the second of which trains the architecture too. data.path is a folder with train/<class>/ and val/<class>/, as\n"
        "torchvision has it; without labels, any folder of images will do.",
    ),
    "imagenet22k": (
        "ImageNet-22K",
        "One epoch. data.path is a folder with one folder a synset; without labels, any folder of images will do.",
    ),
    "cityscapes": (
        "Cityscapes",
        "400 epochs of 2,975 images. data.path holds leftImg8bit/ and, where labels are used, gtFine/.",
    ),
}
_LISTED = "What is found is listed, not trained: the paper trains it at another depth and width (docs/unnas.md)."
_TRAINED = (
    "What is found and a random architecture are then trained at the search's depth, width and crop, with the paper's other values (2,700\n"
    "epochs; ASPP of 256 channels and rates 6, 12, 18), and measured by mean intersection over union on the validation images."
)


def _augmentation(row: Row) -> Values:
    lighting = 0.0 if row.task == "col" else 0.1
    if row.data == "cityscapes":
        return {"kind": "scaled_crop", "size": row.size, "nominal": 512, "flip": True, "lighting": lighting}
    if row.task == "jig":  # the whole scale of 256 pixels: of the area, (255 / 256) ** 2
        return {
            "kind": "resized_crop",
            "size": row.size,
            "scale": [0.9922, 0.9922],
            "ratio": [1.0, 1.0],
            "flip": True,
            "lighting": lighting,
        }
    return {
        "kind": "resized_crop",
        "size": row.size,
        "scale": [0.08, 1.0],
        "ratio": [0.75, 1.3333333333333333],
        "flip": True,
        "lighting": lighting,
    }


def _arguments(row: Row) -> Values:
    cityscapes = row.data == "cityscapes"
    files: Values = (
        {"source": "segmentation", "shape": [1024, 2048]} if cityscapes else {"source": "folder", "image_size": 256}
    )
    values: Values = {
        "optimize_mode": "maximize",
        "space": {
            "name": "darts",
            "channels": 16,
            "cells": 12 if cityscapes else 8,
            "stem": "imagenet",
            "reductions": 1 if row.task == "seg" else 2,
        },
        "data": {**files, "path": row.data, "augmentation": _augmentation(row)},
        "objective": OBJECTIVES[row.task],
        "training": {
            "epochs": row.epochs,
            "batch_size": row.batch,
            "learning_rate": row.rate,
            "final_learning_rate": 0.0,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": row.weight_decay,
            "gradient_clip": 5.0,
            "architecture_learning_rate": row.architecture_rate,
            "architecture_betas": [0.5, 0.999],
            "architecture_weight_decay": 0.001,
            "order": 1,
            "first": "architecture",
            "warmup_epochs": row.warmup,
            "portion": 0.5,
            "shuffle_split": True,
            "devices": row.gpus,
        },
        "search": {"option": "B", "initialisation": "torch"},
        "stand_alone": None,
        "seeds": [1],
        "found": 1,
    }
    if row.task == "seg":
        values["stand_alone"] = {
            "epochs": 2700,
            "batch_size": 64,
            "learning_rate": 0.1,
            "final_learning_rate": 0.0,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 0.0001,
        }
        values["stand_alone_objective"] = {**OBJECTIVES["seg"], "channels": 256, "rates": [6, 12, 18]}
        values["random"] = 1
    return values


def _preset(row: Row) -> Preset:
    (task, about), (images, needed) = _TASKS[row.task], _DATA[row.data]
    comment = (
        f"UnNAS-DARTS on {task} with {images} (Liu et al., ECCV 2020; values of the official search).\n{about}\n{needed}\n"
        f"{_TRAINED if row.task == 'seg' else _LISTED}\nNeeds a GPU{f': {row.gpus} of them' if row.gpus > 1 else ''}."
    )
    return Preset("UnNASDARTS", comment, _arguments(row), hours=480, example=(row.data, row.task) in EXAMPLES)


EXAMPLES = {("imagenet", "rot"), ("imagenet22k", "jig"), ("cityscapes", "seg")}
"""One file a data set stands in ``examples/``; the others are written by ``nni-plugins init``."""

PHOTOS = Preset(
    "UnNASDARTS",
    "UnNAS-DARTS on a folder of your own photographs, without any label: cells that tell which way a photograph was turned. Change data.path.\n"
    "Scaled down to minutes on two cores: some 370 images, 64 pixels, 4 cells of 8 channels, 8 epochs, larger learning rate of the architecture\n"
    "(paper: ImageNet, 224 pixels, 8 cells of 16 channels). Replace `rotation` by `colorization`, or by `jigsaw, grid: 2` with size: 96, for a\n"
    "tile must have 32 pixels.",
    {
        "optimize_mode": "maximize",
        "space": {"name": "darts", "channels": 8, "cells": 4, "stem": "imagenet", "reductions": 2},
        "data": {
            "source": "folder",
            "path": "photos",
            "image_size": 160,
            "augmentation": {
                "kind": "resized_crop",
                "size": 64,
                "scale": [0.2, 1.0],
                "ratio": [0.75, 1.3333],
                "flip": True,
                "lighting": 0.1,
            },
        },
        "objective": {"name": "rotation"},
        "training": {
            "epochs": 8,
            "batch_size": 8,
            "learning_rate": 0.05,
            "final_learning_rate": 0.0,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.00003,
            "gradient_clip": 5.0,
            "architecture_learning_rate": 0.003,
            "architecture_betas": [0.5, 0.999],
            "architecture_weight_decay": 0.001,
            "order": 1,
            "first": "architecture",
            "warmup_epochs": 2,
            "portion": 0.5,
            "shuffle_split": True,
            "accelerator": "cpu",
        },
        "search": {"option": "B", "initialisation": "torch"},
        "stand_alone": None,
        "seeds": [1],
        "found": 5,
        "threads": 1,
    },
)

UNNAS = {"unnas_photos": PHOTOS, **{f"unnas_{row.data}_{row.task}": _preset(row) for row in TABLE}}
