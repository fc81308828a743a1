"""A folder of image files, with or without one sub-folder a class, and with or without ``train`` and ``test`` above
them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError
from .augmentation import Augmentation
from .decoding import is_image
from .images import ImageData, ImageSet, hold_out
from .reading import few, held

DEFAULT_SIZE = 32
VALIDATION = ("val", "valid", "validation")
HELD_OUT = ("test", *VALIDATION)
LAYOUT = "Expected image files, or one folder of image files a class, or folders train and test (or val) with either of them inside; see docs/data.md."


@dataclass(frozen=True)
class Part:
    """Files in a fixed order, and labels (N,) int64 where there are class folders."""

    files: list[str]
    labels: npt.NDArray[Any] | None
    classes: tuple[str, ...]

    def take(self, index: npt.NDArray[Any]) -> Part:
        return Part([self.files[i] for i in index], None if self.labels is None else self.labels[index], self.classes)


def load(path: str, size: int | tuple[int, int], resident: bool | None = None) -> ImageData:
    """Every image below ``path``: its largest centred part with the shape of ``size``, resized to it.

    Without a test part, class folders give up a seeded uniform 20 % of their images for it; a flat folder has
    ``test=None``. Images that cannot be read are left out with a warning, as long as they are at most 1 % of all, or a
    single one.

    Args:
        size: side of a square, or (height, width), in pixels.
        resident: see :func:`reading.held`.

    Raises:
        DataError: no such folder, no images, a layout that is none of ours, or too many unreadable images.
    """
    root, parts = listed(path)
    if len(parts["train"].classes) == 1:
        only = parts["train"].classes[0]
        warnings.warn(
            f"{root}: {only} is taken for a class, the only one. If it is none, move its images up by one folder.",
            stacklevel=2,
        )
    height, width = (size, size) if isinstance(size, int) else size
    read = held(root, {name: part.files for name, part in parts.items()}, (3, height, width), resident)
    augmentation = Augmentation(padding=max(1, min(height, width) // 8), flip=True)

    def built(name: str) -> ImageSet:
        (images, kept), part = read[name], parts[name]
        labels = None if part.labels is None else torch.from_numpy(part.labels[kept])
        return ImageSet(f"{root.absolute().name}/{name}", images, labels, part.classes, augmentation)

    return ImageData(built("train"), built("test") if "test" in parts else None)


def listed(path: str, validation: bool = False) -> tuple[Path, dict[str, Part]]:
    """The folder, and its files by part: ``train`` and perhaps ``test``. No file is opened.

    Args:
        validation: also ``validation``, the folder val that lies beside train and test.

    Raises:
        DataError: as :func:`load`; there are not all three folders, but ``validation`` is asked for.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {found}.", LAYOUT)
    try:
        return root, _parts(root, validation)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error}.", "Check the permissions.") from None


def _parts(root: Path, validation: bool) -> dict[str, Part]:
    """``train`` and, unless the images have no labels and no test part of their own, ``test``; perhaps ``validation``."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    held_out = next((folders[name] for name in HELD_OUT if name in folders), None)
    between = next((folders[name] for name in VALIDATION if name in folders and "test" in folders), None)
    if validation and ("train" not in folders or between is None):
        found = ", ".join(place.name for place in _folders(root)) or "none"
        raise DataError(
            f"{root}: there are no folders train, val and test, so it has no validation part of its own; found: {found}.",
            "Hold out a share of the training images, such as 0.1.",
        )
    if held_out is not None:
        if "train" not in folders:
            raise DataError(f"{root}: has a folder {held_out.name}, but no folder train.", LAYOUT)
        parts = {"train": _part(folders["train"]), "test": _part(held_out)}
        _check_classes(root, parts["train"], held_out.name, parts["test"])
        if validation and between is not None:
            parts["validation"] = _part(between)
            _check_classes(root, parts["train"], between.name, parts["validation"])
        return parts
    alone = "train" in folders and [f for f in _folders(root) if any(_walk(f, _above(root)))] == [folders["train"]]
    whole = _part(folders["train"] if alone else root)
    if whole.labels is None:
        return {"train": whole}
    train_index, test_index = hold_out(len(whole.files))
    return {"train": whole.take(train_index), "test": whole.take(test_index)}


def _check_classes(root: Path, trained: Part, name: str, other: Part) -> None:
    """Raises DataError unless the part in the folder ``name`` has the classes of ``trained``."""
    train, found = set(trained.classes), set(other.classes)
    sides = [
        f"only in {place}: {few(sorted(only))}"
        for place, only in (("train", train - found), (name, found - train))
        if only
    ]
    if sides:
        raise DataError(
            f"{root}: train and {name} have different class folders ({'; '.join(sides)}).", "Make them the same."
        )


def _part(folder: Path) -> Part:
    """The images of a flat folder, or of class folders. A sub-folder without images is no class."""
    seen = _above(folder) | {_identity(place) for place in _folders(folder)}
    classes = {place.name: files for place in _folders(folder) if (files := list(_walk(place, set(seen))))}
    flat = [str(file) for file in sorted(folder.iterdir()) if is_image(file.name) and not file.is_dir()]
    if flat and classes:
        raise DataError(
            f"{folder}: holds {len(flat)} images directly (such as {Path(flat[0]).name}) and image folders as well ({few(sorted(classes))}).",
            "Move one of the two elsewhere: an image has either a class folder around it, or none of them has.",
        )
    if flat:
        return Part(flat, None, ())
    if not classes:
        kinds = Counter(Path(file).suffix.lower() or "no suffix" for _, _, files in os.walk(folder) for file in files)
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
        raise DataError(f"{folder}: holds no images ({'found: ' + others if others else 'it is empty'}).", LAYOUT)
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    return Part([file for files in classes.values() for file in files], labels.astype(np.int64), tuple(classes))


def _folders(folder: Path) -> list[Path]:
    """Sub-folders, sorted, without hidden ones and links back to where we come from."""
    above = _above(folder)
    return sorted(
        place
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith(".") and _identity(place) not in above
    )


def _above(folder: Path) -> set[tuple[int, int]]:
    real = Path(os.path.realpath(folder))
    return {_identity(place) for place in (real, *real.parents)}


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Image files in ``folder`` and below, in a fixed order. Folders in ``seen``, which grows, are not entered: that
    ends loops of links.
    """

    def stop(error: OSError) -> None:
        raise error

    def enter(place: str) -> bool:
        identity = _identity(place)
        if identity in seen:
            return False
        seen.add(identity)
        return True

    for current, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        folders[:] = [f for f in sorted(folders) if not f.startswith(".") and enter(os.path.join(current, f))]
        yield from (os.path.join(current, file) for file in sorted(files) if is_image(file))


def _identity(place: str | Path) -> tuple[int, int]:
    status = os.stat(place)
    return status.st_dev, status.st_ino
