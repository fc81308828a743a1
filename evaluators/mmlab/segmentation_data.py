"""Folders of images with label images, checked before anything is trained. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..data.augmentation import IGNORED
from ..data.decoding import FORMATS, image_size, is_image
from ..data.segmentation import Part, class_list, layout
from ..errors import DataError

LABEL_FOLDERS = ("labels", "annotations", "masks")
CHECKED = 20
"""Pairs of each part that are opened before training; the rest is checked as it is read."""
LAYOUT = "Or images/{train,val,test}/ with labels/{train,val,test}/ (or annotations/ or masks/) and classes.txt; see docs/transfer.md."
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SegmentationData:
    """``parts``: files of images and of labels, of ``train``, ``val`` and, where it has labels, ``test``.

    ``table``: (256,) int16, the class of each number in a label file, 255 where it is ignored, negative where it may
    not occur.
    """

    root: Path
    classes: tuple[str, ...]
    table: npt.NDArray[np.int16]
    parts: Mapping[str, Pairs]

    @property
    def tested(self) -> str:
        """The part of the final evaluation."""
        return "test" if "test" in self.parts else "val"


def segmentation_data(path: str, check: bool = True) -> SegmentationData:
    """The data set in the folder ``path``.

    Args:
        check: open the first pairs of every part.

    Raises:
        DataError: no such folder or layout, label images that do not exist or do not fit their images or the classes.
    """
    root = Path(os.path.expanduser(path))
    if (root / "images" / "train").is_dir() and not (root / "leftImg8bit").is_dir():
        found, classes, table = _paired(root)
    else:
        try:
            parts, classes, table = layout(root, "val")
        except DataError as error:
            raise DataError(error.problem, f"{error.remedy} {LAYOUT}") from None
        found = {"train": parts["train"], "val": parts["test"]}
        if (root / "test").is_dir() and (root / "testannot").is_dir():
            found["test"] = layout(root, "test")[0]["test"]
    data = SegmentationData(root, classes, table, {split: _pairs(root, split, part) for split, part in found.items()})
    for pairs in data.parts.values() if check else ():
        for image, label in pairs[:CHECKED]:
            size = image_size(image)
            if size is None:
                raise DataError(f"{image}: cannot be read (no image that we know).", "Repair or remove it.")
            if read_labels(label, table).shape != size:
                raise DataError(f"{label}: its size is not that of {image}, which has {size[1]}x{size[0]} pixels.")
    return data


def read_labels(file: str, table: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """The classes of a label image: (H, W).

    Raises:
        DataError: unreadable, not one number a pixel, or a number that is no class.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            mode, numbers = image.mode, np.asarray(image)
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # Pillow's errors of damaged and of oversized images have no common type
        raise DataError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'no image'}).") from None
    if mode not in ("L", "P", "1") and not mode.startswith("I"):
        raise DataError(
            f"{file}: has mode {mode}; a label image has one number a pixel.", "Save it as a grey or palette PNG."
        )
    values = numbers.astype(np.int64)
    wrong = values if values.min() < 0 or values.max() > IGNORED else values[table[values] < 0]
    if values.min() < 0 or values.max() > IGNORED or wrong.size:
        known = int((table[:IGNORED] >= 0).nonzero()[0].max())
        raise DataError(
            f"{file}: holds the label {int(wrong.max())}, but labels go from 0 to {known}, and 255 is no label.",
            "Do the classes belong to these labels?",
        )
    classes: npt.NDArray[np.uint8] = table[values].astype(np.uint8)
    return classes


def _paired(root: Path) -> tuple[dict[str, Part], tuple[str, ...], npt.NDArray[np.int16]]:
    """``images/SPLIT/`` with labels of the same names in a folder beside ``images``."""
    if not (root / "classes.txt").is_file():
        raise DataError(
            f"{root}: has no classes.txt.", "Its lines are like '0 Sky', and '11 Void (ignore)' for what is no class."
        )
    folder = next((root / name for name in LABEL_FOLDERS if (root / name / "train").is_dir()), None)
    if folder is None:
        raise DataError(f"{root}: has images/train, but no labels.", LAYOUT)
    found = {}
    for split in ("train", "val", "test"):
        images = root / "images" / split
        if images.is_dir() and (split != "test" or (folder / split).is_dir()):
            files = [str(file) for file in sorted(images.iterdir()) if is_image(file.name)]
            found[split] = Part(files, [str(folder / split / f"{Path(file).stem}.png") for file in files])
    if "val" not in found:
        raise DataError(f"{root}: has no folder images/val.", LAYOUT)
    return found, *class_list(root / "classes.txt")


def _pairs(root: Path, split: str, part: Part) -> Pairs:
    if not part.files:
        raise DataError(f"{root}: the part {split} holds no images.")
    if part.maps is None:
        raise DataError(
            f"{root}: the part {split} has no labels.", "Transfer is supervised: every image needs a label image."
        )
    missing = [label for label in part.maps if not os.path.isfile(label)]
    if missing:
        listed = ", ".join(os.path.relpath(label, root) for label in missing[:3]) + (
            ", ..." if len(missing) > 3 else ""
        )
        raise DataError(
            f"{root}: {len(missing):,} of {len(part.maps):,} label images of {split} are missing: {listed}."
        )
    return tuple(zip(part.files, part.maps, strict=True))
