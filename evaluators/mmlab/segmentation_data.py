"""Folders of images with label images, checked before anything is trained. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.augmentation import IGNORED
from ..data.decoding import Table, read_label_classes
from ..data.names import few
from ..data.reading import headers
from ..data.report import DataReport, LeftOut, PartReport
from ..data.segmentation import LAYOUT, Layout, Part, check_painted, layout
from ..data.streaming import CHUNK, each
from ..errors import DataError

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SegmentationData:
    """``parts``: files of images and of labels, of ``train``, ``val`` and, where it has labels, ``test``.

    ``table``: (256,) int16, the class of each number in a label file, 255 where it is ignored, negative where it may
    not occur; or of each colour.
    """

    root: Path
    classes: tuple[str, ...]
    table: Table
    parts: Mapping[str, Pairs]
    report: DataReport

    @property
    def tested(self) -> str:
        """The part of the final evaluation."""
        return "test" if "test" in self.parts else "val"

    @property
    def trained(self) -> int:
        """Images that are trained on."""
        return len(self.parts["train"])


def segmentation_data(path: str, check: bool = True) -> SegmentationData:
    """The data set in the folder ``path``.

    Args:
        check: open every image and every label image, and count the pixels of each class.

    Raises:
        DataError: no such folder or layout; label images that do not exist or do not fit their images or the classes;
            fewer than two classes, or one without a pixel to train on.
    """
    root = Path(os.path.expanduser(path))
    found = layout(root)
    check_painted(found)
    if "val" not in found.parts:
        raise DataError(f"{root}: has no folder val.", LAYOUT)
    tested = found.kind != "cityscapes" and "test" in found.parts and found.parts["test"].maps is not None
    used = ("train", "val", "test") if tested else ("train", "val")
    parts = {split: _pairs(root, split, found.parts[split]) for split in used}  # type: ignore[index]
    if len(found.classes) < 2:
        raise DataError(
            f"{root}: there is one class only, {few(found.classes)}; a segmentation network tells classes apart.",
            "List what is around it in classes.txt as a class, too, such as '0 background'.",
        )
    counted = {split: PartReport(len(pairs)) for split, pairs in parts.items()}
    remarks = []
    if check:
        pixels = {split: _pixels(pairs, found.table) for split, pairs in parts.items()}
        remarks = _check_pixels(root, found, pixels["train"])
        for split, numbers in pixels.items():
            of_class = dict(zip(found.classes, numbers[: len(found.classes)].tolist(), strict=True))
            counted[split] = PartReport(len(parts[split]), of_class, "pixels")
            share = numbers[IGNORED] / max(1, numbers.sum())
            remarks += [f"{split}: {share:.1%} of the pixels have no label."] if share else []
    unused = [
        LeftOut(len(part.files), "images", f"{split} has no labels")
        for split, part in found.parts.items()
        if split not in used
    ]
    report = DataReport(str(root.absolute()), counted, (*found.left_out, *unused), tuple(remarks))
    return SegmentationData(root, found.classes, found.table, parts, report)


def read_labels(file: str, table: Table, image: str | None = None) -> npt.NDArray[np.uint8]:
    """The classes of a label image: (H, W), as upright as the ``image`` that it is of is read.

    Raises:
        DataError: unreadable, not one number a pixel, a number that is no class, or another size than the image's.
    """
    read = read_label_classes(file, table, image)
    if isinstance(read, str):
        raise DataError(
            f"{file}: {read}.",
            "A label image is a PNG of its image's size, with a number or a colour of the table at each pixel.",
        )
    return read


def _pixels(pairs: Pairs, table: Table) -> npt.NDArray[np.int64]:
    """(256,): how many pixels of each class there are; 255: those without one.

    Raises:
        DataError: an image or a label image that cannot be read; sizes that differ.
    """
    for (image, _), one in zip(pairs, headers([image for image, _ in pairs]), strict=True):
        if one.problem is not None:
            raise DataError(f"{image}: cannot be read ({one.problem}).", "Repair or remove it.")

    def count(start: int) -> npt.NDArray[np.int64]:
        found = np.zeros(256, dtype=np.int64)
        for image, label in pairs[start : start + CHUNK]:
            found += np.bincount(read_labels(label, table, image).ravel(), minlength=256)
        return found

    return sum(each(count, range(0, len(pairs), CHUNK)), np.zeros(256, dtype=np.int64))


def _check_pixels(root: Path, found: Layout, pixels: npt.NDArray[np.int64]) -> list[str]:
    """What there is to say of the training pixels.

    Raises:
        DataError: there are none of a class.
    """
    absent = [name for i, name in enumerate(found.classes) if not pixels[i]]
    if not absent:
        return []
    if pixels[IGNORED] and not pixels[1 : len(found.classes)].any():
        raise DataError(
            f"{root}: label images hold 0 and {IGNORED}, which is no label, so no pixel is of {few(absent)}.",
            "Save the number of the class (1) where the masks have 255.",
        )
    if found.listed or len(absent) == len(found.classes):
        raise DataError(
            f"{root}: no pixel to train on of {few(absent)}.",
            "Label some, take the class out of classes.txt, or mark it there with (ignore).",
        )
    return [f"No pixel to train on of {few(absent, 12)}."]


def _pairs(root: Path, split: str, part: Part) -> Pairs:
    if part.maps is None:
        raise DataError(
            f"{root}: the part {split} has no labels.", "Transfer is supervised: every image needs a label image."
        )
    missing = [label for label in part.maps if not os.path.isfile(label)]
    if missing:
        listed = few([os.path.relpath(label, root) for label in missing])
        raise DataError(
            f"{root}: {len(missing):,} of {len(part.maps):,} label images of {split} are missing: {listed}."
        )
    return tuple(zip(part.files, part.maps, strict=True))
