"""Images with an image of labels each, in the layouts of CamVid and of Cityscapes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .augmentation import IGNORED, Augmentation
from .decoding import MapReader, image_size, is_image
from .images import ImageData, ImageSet
from .reading import held
from .streaming import Files

Table = npt.NDArray[np.int16]
Size = tuple[int, int]

MAX_LINE = 200
"""A class of a longer line is no name."""
LAYOUT = (
    "Expected CamVid's layout (train/, trainannot/, and the same for val and test) or that of Cityscapes "
    "(leftImg8bit/{train,val}/<city>/, gtFine/{train,val}/<city>/); see docs/data.md."
)
CAMVID = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
CITYSCAPES = (
    *(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
    ),
    *("sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Of the 19 classes in ``labelIds`` files, as the data set's authors map them; all others count as no label."""


@dataclass(frozen=True)
class Part:
    """``maps``: the label file of each image, whether it exists or not; None if there is no folder of them."""

    files: list[str]
    maps: list[str] | None


def load(
    path: str,
    size: int | Size | None = None,
    resident: bool | None = None,
    test_split: Literal["val", "test"] | None = None,
) -> ImageData:
    """Training images and those of ``test_split``, with label maps that are read when they are first asked for.

    No label file is looked at before that, so label-free objectives need none. Images that cannot be read are left out,
    as in a folder.

    Args:
        size: side of a square, or (height, width), that the centre of images (bilinear) and labels (nearest) is resized
            to; default: the size of the first training image.
        resident: see :func:`reading.held`.
        test_split: default ``val``. Without such a folder there is no test part, unless it was asked for.

    Raises:
        DataError: no such folder, none of the two layouts, no images, or too many unreadable ones.
    """
    root = Path(os.path.expanduser(path))
    parts, classes, table = layout(root, test_split)
    height, width = _size(parts["train"].files, size)
    read = held(root, {name: part.files for name, part in parts.items()}, (3, height, width), resident)
    augmentation = Augmentation(padding=max(1, min(height, width) // 8), flip=True)

    def built(name: str) -> ImageSet:
        (images, kept), part = read[name], parts[name]
        maps = None if part.maps is None else [part.maps[i] for i in kept]
        reader = None if maps is None else MapReader(table, dict(zip(maps, (part.files[i] for i in kept), strict=True)))
        files = None if maps is None or reader is None else Files(os.fspath(root), maps, (height, width), reader)
        return ImageSet(f"{root.absolute().name}/{name}", images, None, classes, augmentation, files)

    return ImageData(built("train"), built("test") if "test" in parts else None)


def layout(
    root: Path, test_split: Literal["val", "test"] | None = None
) -> tuple[dict[str, Part], tuple[str, ...], Table]:
    """The files of the parts ``train`` and, if there are any, ``test``; the classes; and the class of each number in a
    label file.

    Raises:
        DataError: as :func:`load`, but no image is looked at.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.", LAYOUT)
    cityscapes = (root / "leftImg8bit").is_dir()
    if not cityscapes and not (root / "train").is_dir():
        found = sorted(place.name + ("/" if place.is_dir() else "") for place in root.iterdir())
        shown = ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "") if found else "nothing"
        raise DataError(f"{root}: has neither a folder train nor leftImg8bit; found {shown}.", LAYOUT)
    parts, wanted = {}, test_split or "val"
    for name, split in (("train", "train"), ("test", wanted)):
        if (root / "leftImg8bit" / split if cityscapes else root / split).is_dir():
            parts[name] = _cityscapes(root, split) if cityscapes else _camvid(root, split)
        elif name == "train" or test_split is not None:
            raise DataError(f"{root}: has no folder {'leftImg8bit/' if cityscapes else ''}{split}.", LAYOUT)
    classes, table = _cityscapes_classes(parts["train"]) if cityscapes else class_list(root / "classes.txt")
    return parts, classes, table


def _size(files: Sequence[str], size: int | Size | None) -> Size:
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    found = next((known for file in files[:100] if (known := image_size(file)) is not None), None)
    if found is None:
        raise DataError(f"{files[0]}: this image, like those after it, cannot be read.", "Repair or remove them.")
    return found


def _images(folder: Path) -> list[str]:
    files = [str(file) for file in sorted(folder.iterdir()) if is_image(file.name) and not file.is_dir()]
    if not files:
        raise DataError(f"{folder}: holds no images.", LAYOUT)
    return files


def _camvid(root: Path, split: str) -> Part:
    """Labels have the image's name, and are PNG whatever the image is."""
    files, labels = _images(root / split), root / f"{split}annot"
    return Part(files, [str(labels / f"{Path(file).stem}.png") for file in files] if labels.is_dir() else None)


def class_list(file: Path) -> tuple[tuple[str, ...], Table]:
    """From lines of ``number name``; a name that ends in ``(ignore)`` is none. Without the file, the 11 classes that
    CamVid is used with.

    Raises:
        DataError: a line is something else, or the numbers do not count from 0.
    """
    if not file.is_file():
        names, ignored = dict(enumerate(CAMVID)), {len(CAMVID)}
    else:
        lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
        found = [re.fullmatch(r"(\d{1,4})\s+(.+?)\s*(\(ignore\))?", line[:MAX_LINE]) for line in lines]
        wrong = [
            line
            for line, match in zip(lines, found, strict=True)
            if match is None or int(match[1]) > IGNORED or len(line) > MAX_LINE
        ]
        if wrong or not lines:
            raise DataError(
                f"{file}: {wrong[0][:40]!r} is no class." if wrong else f"{file}: is empty.",
                "Expected lines like '0 Sky' and '11 Void (ignore)'.",
            )
        names = {int(match[1]): match[2] for match in found if match is not None and match[3] is None}
        ignored = {int(match[1]) for match in found if match is not None and match[3] is not None}
        if len(names) + len(ignored) != len(lines) or sorted(names) != list(range(len(names))):
            raise DataError(
                f"{file}: classes must be numbered 0, 1, 2, ..., each once, but are {sorted(names)}.",
                "The ignored ones come last.",
            )
    table = np.full(256, -1, dtype=np.int16)
    table[list(names)] = list(names)
    table[[*ignored, IGNORED]] = IGNORED
    return tuple(names[i] for i in sorted(names)), table


def _cityscapes(root: Path, split: str) -> Part:
    """Every image of every city. Labels are ``labelTrainIds`` where the first image has them, otherwise ``labelIds``."""
    cities = sorted(place for place in (root / "leftImg8bit" / split).iterdir() if place.is_dir())
    files = [file for city in cities for file in _images(city) if file.endswith("_leftImg8bit.png")]
    if not files:
        raise DataError(
            f"{root / 'leftImg8bit' / split}: holds no folder of a city with *_leftImg8bit.png in it.", LAYOUT
        )
    labels = root / "gtFine" / split
    if not labels.is_dir():
        return Part(files, None)
    stems = [str(labels / Path(file).parent.name / Path(file).name.removesuffix("_leftImg8bit.png")) for file in files]
    kind = next(
        (kind for kind in ("labelTrainIds", "labelIds") if os.path.exists(f"{stems[0]}_gtFine_{kind}.png")),
        "labelTrainIds",
    )
    return Part(files, [f"{stem}_gtFine_{kind}.png" for stem in stems])


def _cityscapes_classes(train: Part) -> tuple[tuple[str, ...], Table]:
    if train.maps is not None and train.maps[0].endswith("_labelIds.png"):
        table = np.full(256, IGNORED, dtype=np.int16)
        table[list(CITYSCAPES_IDS)] = range(len(CITYSCAPES))
        return CITYSCAPES, table
    table = np.full(256, -1, dtype=np.int16)
    table[: len(CITYSCAPES)] = range(len(CITYSCAPES))
    table[IGNORED] = IGNORED
    return CITYSCAPES, table
