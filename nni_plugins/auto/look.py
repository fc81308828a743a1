"""What lies in a folder: images, and what they could be judged by. Headers are read, nothing is decoded, no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nni_plugins.evaluators.data import folder as folders
from nni_plugins.evaluators.data import names, segmentation
from nni_plugins.evaluators.data.colours import LabelsError
from nni_plugins.evaluators.data.names import few, images_below
from nni_plugins.evaluators.data.reading import Measured, measured
from nni_plugins.evaluators.data.report import UNREADABLE, DataReport
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.mmlab import detection_data

NAMES: dict[str, names.Split] = {"train": "train", "test": "val"}
"""Of the parts of images with label images, as a search reads them."""
Judge = Literal["boxes", "masks", "labels", "nothing"]
LEAST = 48
"""So many images are needed at least: of fewer no part can be held out that says anything."""


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    ``path``: what trainings are told; ``folder``: where the images lie that a search looks at; ``judge``: what networks
    can be measured by; ``parts``: images by part, ``train`` first; ``left_out``: files that cannot be read; ``smallest``,
    ``median`` and ``largest``: (height, width) in pixels by area; ``classes``: their names; ``remark``: what else must be
    said, "" if nothing; ``report``: the data report's sentences of what else was left out, and of what to know.
    """

    path: Path
    folder: Path
    judge: Judge
    parts: dict[str, int]
    left_out: tuple[str, ...]
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    classes: tuple[str, ...] = ()
    boxes: int = 0
    remark: str = ""
    report: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())

    @property
    def training_images(self) -> int:
        """Of the part that is trained on."""
        return self.parts["train"]

    def sentences(self) -> list[str]:
        """What a person is told of the folder, one sentence each."""
        parts = " and ".join(f"{count:,} in {name}" for name, count in self.parts.items())
        lines = [f"{self.images:,} images{f' ({parts})' if len(self.parts) > 1 else ''}, {self._sizes()}."]
        if self.left_out:
            lines.append(f"{len(self.left_out)} cannot be read and are left out: {few(list(self.left_out))}.")
        lines.append(
            {
                "boxes": f"They have {self.boxes:,} boxes of {len(self.classes)} classes.",
                "masks": f"Each has an image of labels, of {len(self.classes)} classes.",
                "labels": f"They have labels: {len(self.classes)} classes ({few(list(self.classes))}).",
                "nothing": "They have no labels.",
            }[self.judge]
        )
        return [*lines, *([self.remark] if self.remark else []), *self.report]

    def _sizes(self) -> str:
        small, large = (f"{size[1]} x {size[0]}" for size in (self.smallest, self.largest))
        middle = f"{self.median[1]} x {self.median[0]}"
        return f"{middle} pixels" if small == large else f"{small} to {large} pixels, {middle} in the middle"


def look(path: Path | str) -> Found:
    """What lies in ``path``: a folder of boxes, one with images of labels, class folders, or images alone.

    Raises:
        DataError: no such folder; a layout that none of our readers knows; fewer than :data:`LEAST` images that can be
            read; more than 1 % that cannot.
    """
    root = Path(os.path.expanduser(path)).resolve()
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.", folders.LAYOUT)
    found = _with_boxes(root) or _with_masks(root) or _plain(root)
    if found.training_images < LEAST:
        left = f" ({len(found.left_out)} more cannot be read)" if found.left_out else ""
        raise DataError(
            f"{root}: {found.training_images} images to train on{left}, but at least {LEAST} are needed: with fewer no "
            "network can be told from another by images that it was not trained on.",
            "Add images. A network for so few is better taken trained, such as one of timm's.",
        )
    return found


def _with_boxes(root: Path) -> Found | None:
    """None: there are no boxes in a format that is read."""
    if not detection_data.has_boxes(root):
        return None
    data = detection_data.detection_data(str(root))
    shared = len({part.images for part in data.parts.values()}) < len(data.parts)
    folder = data.parts["train"].images
    headers = _headers(root, {"train": images_below(folder)})
    remark = (
        "All parts share one folder, so the search looks at images of all of them; at boxes it never looks."
        if shared
        else ""
    )
    return _found(
        root,
        "boxes",
        headers,
        folder=folder,
        parts={name: part.count for name, part in data.parts.items()},
        classes=data.classes,
        boxes=sum(part.boxes for part in data.parts.values()),
        remark=remark,
        report=_said(data.report),
    )


def _with_masks(root: Path) -> Found | None:
    """None: no layout with images of labels, or no such images in it."""
    try:
        laid_out = segmentation.layout(root)
        segmentation.check_painted(laid_out)
    except LabelsError:
        raise
    except DataError:
        return None
    parts = {name: laid_out.parts[split] for name, split in NAMES.items() if split in laid_out.parts}
    if parts["train"].maps is None or not any(map(os.path.isfile, parts["train"].maps)):
        return None
    for name, part in parts.items():
        missing = [file for file in part.maps or () if not os.path.isfile(file)]
        if missing:
            raise DataError(
                f"{root}: {len(missing)} of {len(part.files)} images in {name} have no image of labels, such as {missing[0]}.",
                "Add them, or move the images elsewhere.",
            )
    headers = _headers(root, {name: part.files for name, part in parts.items()})
    return _found(
        root, "masks", headers, classes=laid_out.classes, report=tuple(one.sentence() for one in laid_out.left_out)
    )


def _plain(root: Path) -> Found:
    """Class folders, or images alone."""
    listing = folders.listed(str(root))
    parts = listing.parts
    read = measured(root, {name: part.files for name, part in parts.items()})
    report = listing.report({name: kept for name, (kept, _, _) in read.items()})
    headers = _headers(root, {name: part.files for name, part in parts.items()}, read)
    classes, remark = parts["train"].classes, ""
    if len(classes) == 1:
        remark = f"{classes[0]} is their only class, which tells no network from another."
    judge: Judge = "labels" if len(classes) > 1 else "nothing"
    return _found(root, judge, headers, classes=classes, remark=remark, report=_said(report))


def _said(report: DataReport) -> tuple[str, ...]:
    """Files that cannot be read are named elsewhere."""
    return (*(one.sentence() for one in report.left_out if one.why != UNREADABLE), *report.remarks)


@dataclass(frozen=True)
class _Headers:
    """``counts``: readable images by part; the others as of :class:`Found`."""

    counts: dict[str, int]
    left_out: tuple[str, ...]
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


def _headers(root: Path, parts: Mapping[str, Sequence[str]], read: Mapping[str, Measured] | None = None) -> _Headers:
    read = measured(root, parts) if read is None else read
    left_out = tuple(
        os.path.relpath(parts[name][i], root)
        for name, (kept, _, _) in read.items()
        for i in sorted(set(range(len(parts[name]))) - set(kept.tolist()))
    )
    sizes = np.concatenate([sizes for _, _, sizes in read.values()])
    by_area = sizes[np.argsort(sizes.prod(axis=1), kind="stable")]
    least, middle, most = ((int(by_area[i][0]), int(by_area[i][1])) for i in (0, len(by_area) // 2, -1))
    return _Headers({name: len(kept) for name, (kept, _, _) in read.items()}, left_out, least, middle, most)


def _found(root: Path, judge: Judge, headers: _Headers, **more: Any) -> Found:
    given = {"path": root, "folder": root, "judge": judge, "parts": headers.counts, **more}
    return Found(
        left_out=headers.left_out, smallest=headers.smallest, median=headers.median, largest=headers.largest, **given
    )
