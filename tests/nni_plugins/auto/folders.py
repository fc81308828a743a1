"""Folders of small random images, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    folder: Path, count: int, size: tuple[int, int] = (40, 40), mode: str = "RGB", bright: int = 0, seed: int = 0
) -> Path:
    """``count`` images of ``size`` (width, height); ``bright`` is added, so that classes can be told apart."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, bright])
    for i in range(count):
        width, height = size
        if mode == "I;16":
            pixels = rng.integers(0, 2**16, (height, width)).astype(np.uint16)
        else:
            shape = (height, width, 3) if mode == "RGB" else (height, width)
            pixels = (rng.integers(0, 100, shape) + bright).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04}.png")
    return folder


def write_classes(root: Path, count: int, classes: int = 3) -> Path:
    """``count`` images of each of ``classes`` classes, in one folder a class."""
    for i in range(classes):
        write_images(root / f"class{i}", count, bright=70 * i)
    return root


def write_boxes(root: Path, count: int) -> Path:
    """In COCO's format: parts train and val of ``count`` images with a box each."""
    write_images(root / "images", 2 * count)
    for part, first in (("train", 0), ("val", count)):
        images = [{"id": i, "file_name": f"{i:04}.png", "width": 40, "height": 40} for i in range(first, first + count)]
        boxes = [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0}
            for i in range(first, first + count)
        ]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (root / f"{part}.json").write_text(json.dumps(content))
    return root


def write_masks(root: Path, count: int) -> Path:
    """In CamVid's layout, with two classes."""
    for part in ("train", "val"):
        write_images(root / part, count)
        (root / f"{part}annot").mkdir()
        for i in range(count):
            Image.fromarray(np.eye(40, dtype=np.uint8)).save(root / f"{part}annot" / f"{i:04}.png")
    (root / "classes.txt").write_text("0 ground\n1 line\n")
    return root
