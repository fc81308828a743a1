"""Small data sets of drawn shapes for the tests of detection and segmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("disc", "bar")


def coco(
    root: Path, counts: dict[str, int] | None = None, size: tuple[int, int] = (96, 64), layout: str = "{}.json"
) -> dict[str, dict[str, Any]]:
    """Photographs of one bright disc and one dark bar each; returns the content of every annotation file."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    width, height = size
    written = {}
    for k, (split, count) in enumerate((counts or {"train": 8, "val": 3}).items()):
        images, boxes = [], []
        for i in range(count):
            draws = np.random.default_rng(100 * k + i)
            pixels = draws.integers(90, 130, (height, width, 3)).astype(np.uint8)
            x, y = int(draws.integers(0, width // 2 - 24)), int(draws.integers(0, height - 24))
            rows, columns = np.mgrid[:height, :width]
            pixels[(rows - y - 12) ** 2 + (columns - x - 12) ** 2 <= 144] = (240, 200, 40)
            left = int(draws.integers(width // 2, width - 32))
            pixels[8:24, left : left + 32] = (20, 20, 160)
            Image.fromarray(pixels).save(root / "images" / f"{split}{i}.png")
            images.append({"id": i + 1, "file_name": f"{split}{i}.png", "width": width, "height": height})
            for label, box in ((1, [x, y, 25, 25]), (2, [left, 8, 32, 16])):
                area = box[2] * box[3]
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": i + 1,
                        "category_id": label,
                        "bbox": box,
                        "area": area,
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
        written[split] = {"info": {}, "images": images, "annotations": boxes, "categories": categories}
        file = root / layout.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(written[split]))
    return written


def camvid(root: Path, counts: dict[str, int] | None = None, size: tuple[int, int] = (64, 48)) -> None:
    """Photographs with a bright upper and a dark lower half (classes 0 and 1) and a stripe of no class (2) between
    them.
    """
    width, height = size
    for k, (split, count) in enumerate((counts or {"train": 8, "val": 3}).items()):
        for i in range(count):
            draws = np.random.default_rng(100 * k + i)
            horizon = int(draws.integers(height // 3, 2 * height // 3))
            pixels, labels = draws.integers(0, 60, (height, width, 3)), np.ones((height, width), np.uint8)
            pixels[:horizon] += 150
            labels[:horizon], labels[horizon - 1 : horizon + 1] = 0, 2
            for folder, content, suffix in ((split, pixels.astype(np.uint8), "jpg"), (f"{split}annot", labels, "png")):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / folder / f"{i}.{suffix}")
    (root / "classes.txt").write_text("0 Sky\n1 Ground\n2 Void (ignore)\n")
