"""A folder of image files, with or without one sub-folder a class, and with or without ``train`` and ``test`` above
them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError
from .augmentation import Augmentation
from .images import ImageData, ImageSet, hold_out
from .names import (
    Split,
    above,
    by_suffix,
    counts,
    few,
    folders_in,
    identity,
    is_image,
    is_unread,
    part_of,
    parts_in,
    readable,
    walk,
)
from .reading import held
from .report import UNREADABLE, DataReport, LeftOut, PartReport

DEFAULT_SIZE = 32
LAYOUT = "Expected image files, or one folder of image files a class, or folders train and test (or val) with either of them inside; see nni-plugins docs data."


@dataclass(frozen=True)
class Part:
    """Files in a fixed order, and labels (N,) int64 where there are class folders."""

    files: list[str]
    labels: npt.NDArray[Any] | None
    classes: tuple[str, ...]

    def take(self, index: npt.NDArray[Any]) -> Part:
        return Part([self.files[i] for i in index], None if self.labels is None else self.labels[index], self.classes)


@dataclass
class Listing:
    """``parts``: ``train`` and perhaps ``test`` and ``validation``; ``left_out`` and ``remarks``: see
    :class:`DataReport`.
    """

    root: Path
    parts: dict[str, Part] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    """Folders of parts that are not used, of which ``left_out`` tells."""

    def report(self, kept: dict[str, npt.NDArray[Any]]) -> DataReport:
        """Of the images at ``kept`` of each part; the others could not be read.

        Raises:
            DataError: a class has no image left to train on.
        """
        parts: dict[str, PartReport] = {}
        lost: list[str] = []
        for name, part in self.parts.items():
            index = kept[name]
            lost += [part.files[i] for i in sorted(set(range(len(part.files))) - set(index.tolist()))]
            counted = {}
            if part.labels is not None:
                numbers = np.bincount(part.labels[index], minlength=len(part.classes)).tolist()
                counted = dict(zip(part.classes, numbers, strict=True))
            parts[name] = PartReport(len(index), counted)
        empty = [name for name, count in parts["train"].classes.items() if not count]
        if empty:
            raise DataError(
                f"{self.root}: no image to train on of {few(empty)}: none there can be read.", "Repair or remove them."
            )
        for name, told in parts.items():
            untested = [one for one, count in told.classes.items() if not count]
            if untested:
                self.remarks.append(f"No image of {few(untested)} in {name}.")
        names = tuple(os.path.relpath(file, self.root) for file in lost)
        unread = [LeftOut(len(lost), "images", UNREADABLE, names)] if lost else []
        return DataReport(str(self.root.absolute()), parts, (*self.left_out, *unread), tuple(self.remarks))


def load(path: str, size: int | tuple[int, int], resident: bool | None = None) -> ImageData:
    """Every image below ``path``, upright: its largest centred part with the shape of ``size``, resized to it.

    Without a test part, class folders give up a seeded uniform 20 % of their images for it, but never the last one of a
    class; a flat folder has ``test=None``. Images that cannot be read are left out with a warning, as long as they are
    at most 1 % of all, or a single one.

    Args:
        size: side of a square, or (height, width), in pixels.
        resident: see :func:`reading.held`.

    Raises:
        DataError: no such folder, no images, a layout that is none of ours, or too many unreadable images.
    """
    listing = listed(path)
    root, parts = listing.root, listing.parts
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

    report = listing.report({name: kept for name, (_, kept) in read.items()})
    return ImageData(built("train"), built("test") if "test" in parts else None, report)


def listed(path: str, validation: bool = False) -> Listing:
    """The folder's files by part: ``train`` and perhaps ``test``. No image is opened.

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
        listing = Listing(root)
        _split(listing, validation)
        _others(listing)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error}.", "Check the permissions.") from None
    return listing


def _split(listing: Listing, validation: bool) -> None:
    """``train`` and, unless the images have no labels and no test part of their own, ``test``; perhaps ``validation``."""
    root, places = listing.root, folders_in(listing.root)
    named = parts_in(places)
    if validation and set(named) != {"train", "val", "test"}:
        found = few([place.name for place in places], 6) or "none"
        raise DataError(
            f"{root}: there are no folders train, val and test, so it has no validation part of its own; found: {found}.",
            "Hold out a share of the training images, such as 0.1.",
        )
    if "train" in named and len(named) > 1:
        _own_parts(listing, named, validation)
        return
    filled = [place for place in places if any(walk(place, above(root)))]
    if named and "train" not in named and all(part_of(place.name) for place in filled):
        raise DataError(f"{root}: has a folder {next(iter(named.values())).name}, but no folder train.", LAYOUT)
    alone = filled == [named.get("train")]
    whole = _part(named["train"] if alone else root, listing)
    if len(whole.classes) == 1 and not alone and "train" in parts_in(folders_in(filled[0])):
        raise DataError(f"{root}: its only folder of images, {filled[0].name}, holds the parts.", f"Give {filled[0]}.")
    _held_out(listing, whole)


def _own_parts(listing: Listing, named: dict[Split, Path], validation: bool) -> None:
    """Parts that are folders of their own. One without class folders, beside training images that have them, is not
    used: so lie the test images of ImageNet and of many a contest.
    """
    root, train = listing.root, _part(named["train"], listing)
    parts: dict[Split, Part] = {}
    for split in ("test", "val"):
        if split not in named:
            continue
        part = _part(named[split], listing)
        if train.labels is not None and part.labels is None:
            why = f"{named[split].name} has no class folders, the training images have"
            _skip(listing, named[split], part, why)
            continue
        parts[split] = part
        if split == "test" or validation or "test" not in parts:
            _check_classes(root, train, named[split].name, part)
    if validation and len(parts) < 2:
        raise DataError(f"{root}: val and test need one folder a class, as train has.", "Hold out a share instead.")
    if not parts:
        listing.remarks.append(
            "A fifth of the training images was held out, as no part that they could be tested on has labels."
        )
        _held_out(listing, train)
        return
    listing.parts = {"train": train, "test": parts.get("test", parts.get("val"))}  # type: ignore[dict-item]
    if validation:
        listing.parts["validation"] = parts["val"]
    elif len(parts) > 1:
        name = named["val"].name
        _skip(listing, named["val"], parts["val"], f"{name} is used only where a validation part is asked for")


def _held_out(listing: Listing, whole: Part) -> None:
    """A fifth of ``whole`` becomes the test part, if it has labels."""
    if whole.labels is None:
        listing.parts = {"train": whole}
        return
    if len(whole.files) > 1 and len(set(whole.labels.tolist())) == len(whole.files):
        listing.parts = {"train": whole}
        listing.remarks.append("No test part: every class has one image.")
        return
    train_index, test_index = hold_out(len(whole.files), labels=whole.labels)
    listing.parts = {"train": whole.take(train_index), "test": whole.take(test_index)}


def _skip(listing: Listing, place: Path, part: Part, why: str) -> None:
    names = tuple(os.path.relpath(file, listing.root) for file in part.files)
    listing.left_out.append(LeftOut(len(part.files), "images", why, names))
    listing.skipped.add(str(place))


def _others(listing: Listing) -> None:
    """What lies in the folder beside the images of the parts."""
    root, known = str(listing.root), {file for part in listing.parts.values() for file in part.files}
    unread, loose, linked = [], [], False
    for current, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if counts(one) and os.path.join(current, one) not in listing.skipped)
        linked = linked or any(os.path.islink(os.path.join(current, one)) for one in folders)
        for name in sorted(files):
            place = os.path.join(current, name)
            if is_unread(name):
                unread.append(place)
            elif place not in known and is_image(place):
                loose.append(place)
    if loose and linked:  # they may be used under the name of a link
        reached = {identity(file) for file in known if os.path.exists(file)}
        loose = [file for file in loose if not os.path.exists(file) or identity(file) not in reached]
    kinds = by_suffix(Counter(os.path.splitext(file)[1].lower() for file in unread))
    for files, why in (
        (unread, f"in formats that are not read ({kinds}); save them as JPEG or PNG"),
        (loose, "outside of the folders that are read"),
    ):
        if files:
            names = tuple(os.path.relpath(file, root) for file in files)
            listing.left_out.append(LeftOut(len(files), "images", why, names))


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


def _part(folder: Path, listing: Listing) -> Part:
    """The images of a flat folder, or of class folders. A sub-folder without images is no class."""
    places = folders_in(folder)
    seen = above(folder) | {identity(place) for place in places}
    found = {place: files for place in places if (files := list(walk(place, set(seen))))}
    flat = [str(file) for file in sorted(folder.iterdir()) if is_image(file) and not file.is_dir()]
    if flat and found:
        named = few([place.name for place in found])
        raise DataError(
            f"{folder}: holds {len(flat)} images directly (such as {few([Path(flat[0]).name])}) and image folders as well ({named}).",
            "Move one of the two elsewhere: an image has either a class folder around it, or none of them has.",
        )
    if not flat and not found:
        kinds = Counter(Path(file).suffix.lower() or "no suffix" for _, _, files in os.walk(folder) for file in files)
        raise DataError(
            f"{folder}: holds no images ({f'found: {by_suffix(kinds)}' if kinds else 'it is empty'}).", LAYOUT
        )
    if flat:
        return Part(flat, None, ())
    _check_kind(folder, found)
    _without_images(folder, [place for place in places if place not in found], listing)
    names = {readable(place.name): place for place in found}
    if len(names) < len(found):
        raise DataError(
            f"{folder}: two class folders have the same name in two encodings: {few(names)}.", "Merge them."
        )
    classes = sorted(names)
    sorted_files = [found[names[name]] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in sorted_files])
    return Part([one for of_class in sorted_files for one in of_class], labels.astype(np.int64), tuple(classes))


def _check_kind(folder: Path, found: dict[Path, list[str]]) -> None:
    """Raises DataError if what lies in ``folder`` are no classes, but parts or sources that each hold the same classes."""
    if len(found) < 2 or any(os.path.dirname(files[0]) == str(place) for place, files in found.items()):
        return
    inner = [{os.path.relpath(file, place).split(os.sep)[0] for file in files} for place, files in found.items()]
    common = sorted(set.intersection(*inner))
    if len(common) > 1:
        outer = few([place.name for place in found])
        raise DataError(
            f"{folder}: {outer} each hold the folders {few(common)}, so they are no classes.",
            "Call parts train and test (or val); otherwise give one of them, or put the images of each class into one folder.",
        )


def _without_images(folder: Path, places: list[Path], listing: Listing) -> None:
    """Say which sub-folders are no classes.

    Raises:
        DataError: one holds nothing but images that are not read.
    """
    for place in places:
        unread = Counter(
            os.path.splitext(file)[1].lower() for _, _, files in os.walk(place) for file in files if is_unread(file)
        )
        if unread:
            raise DataError(
                f"{folder}: the class {few([place.name])} holds no image that can be read ({by_suffix(unread)}).",
                "Save them as JPEG or PNG.",
            )
    if places:
        listing.remarks.append(f"No class, for they hold no images: {few([place.name for place in places])}.")
