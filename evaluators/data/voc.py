"""Pascal VOC's folders: images, annotations beside them, and lists of which image is in which part. Free of torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nni_plugins.spaces.errors import shown

from ..errors import DataError
from .names import Split, few, folders_in, images_below

IMAGES, LISTS = "JPEGImages", "ImageSets"
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Of the challenge, in the order of its label images, where 0 is the background."""
LAYOUT = (
    "Expected Annotations/, JPEGImages/ and ImageSets/Main/ with train.txt and val.txt; see nni-plugins docs transfer."
)


@dataclass(frozen=True)
class Devkit:
    """``root`` holds :data:`IMAGES`; ``parts``: stems of its images by part, in the lists' order; ``unlisted``: image
    files of no part; ``tested``: the part ``val`` is the list ``test``, for there is no other.
    """

    root: Path
    images: Mapping[str, Path]
    parts: Mapping[Split, list[str]]
    unlisted: tuple[str, ...]
    tested: bool = False


def devkit(root: Path, lists: str, annotations: str) -> Devkit | None:
    """What lies in ``root``, or in its one folder ``VOCdevkit/VOC2012`` or ``VOC2012``; None: no VOC.

    Args:
        lists: the folder of lists, ``Main`` or ``Segmentation``.
        annotations: the folder that must stand beside the images.

    Raises:
        DataError: several years; no lists; a list that names an image which is not there, or several of one name.
    """
    outer = [root, *folders_in(root)]
    places = [place for one in outer for place in (one, *(folders_in(one) if one != root else ()))]
    found = [place for place in dict.fromkeys(places) if (place / IMAGES).is_dir() and (place / annotations).is_dir()]
    if len(found) > 1:
        names = " and ".join(os.path.relpath(place, root) for place in found)
        raise DataError(f"{root}: holds several data sets, {names}.", "Pass one of these folders.")
    if not found:
        return None
    place, folder = found[0], found[0] / LISTS / lists
    files = {
        name: folder / f"{name}.txt"
        for name in ("train", "val", "test", "trainval")
        if (folder / f"{name}.txt").is_file()
    }
    tested = "trainval" in files and "val" not in files and "test" in files
    chosen: dict[Split, str] = {"train": "trainval", "val": "test"} if tested else {}
    chosen |= {split: split for split in ("train", "val", "test") if split in files and not tested}
    if not {"train", "val"} <= set(chosen):
        there = ", ".join(f"{name}.txt" for name in files) or "nothing of that name"
        raise DataError(f"{place}: {LISTS}/{lists} needs train.txt and val.txt, but has {there}.", LAYOUT)
    files_there = [Path(file) for file in images_below(place / IMAGES)]
    images = {file.stem: file for file in files_there}
    parts = {split: _listed(files[name], images) for split, name in chosen.items()}
    used = {stem for stems in parts.values() for stem in stems}
    twice = [stem for stem, count in Counter(file.stem for file in files_there).items() if count > 1 and stem in used]
    if twice:
        raise DataError(f"{place / IMAGES}: several images are called {few(twice)}.", "Rename or remove them.")
    unlisted = tuple(os.path.relpath(file, root) for file in files_there if file.stem not in used)
    return Devkit(place, images, parts, unlisted, tested)


def _listed(file: Path, images: Mapping[str, Path]) -> list[str]:
    """A stem or a file name a line; a number after it, in lists of one class, must be 1."""
    stems: list[str] = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise DataError(f"cannot read {file}: it is no text.", LAYOUT) from None
    for text in map(str.strip, lines):
        counted = re.fullmatch(r"(.*\S)\s+(-1|0|1)", text)
        whole = next((stem for stem in (text, Path(text).stem) if stem in images), None)
        if whole is None and counted is not None:
            if counted[2] == "1":
                stems.append(counted[1])
        elif text:
            stems.append(whole or text)
    missing = [stem for stem in stems if stem not in images]
    if missing:
        raise DataError(
            f"{file} names {len(missing):,} of {len(stems):,} images that are not in {IMAGES}, such as {shown(missing[0])}.",
            "Put them there, or take them out of the list.",
        )
    if not stems:
        raise DataError(f"{file} lists no images.", LAYOUT)
    return list(dict.fromkeys(stems))
