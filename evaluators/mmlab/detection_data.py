"""Folders of photographs with boxes in COCO's JSON format, checked before anything is trained. Free of torch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from nni_plugins.spaces.errors import printable, shown

from ..errors import DataError

LAYOUT = (
    "Expected annotation files in COCO's format (annotations/instances_{train,val}2017.json with train2017/ and val2017/; "
    "instances_{train,val,test}.json or {train,val,test}.json with images/; or {train,valid,test}/_annotations.coco.json); see docs/transfer.md."
)
SPLITS = {
    "train": ("train", "train2017"),
    "val": ("val", "val2017", "valid", "validation"),
    "test": ("test", "test2017"),
}
IMAGE_KEYS, BOX_KEYS = (
    ("id", "file_name", "width", "height"),
    ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
)


@dataclass(frozen=True)
class DetectionPart:
    """``annotations``: the JSON file; ``images``: the folder that its file names start from."""

    annotations: Path
    images: Path
    count: int
    boxes: int


@dataclass(frozen=True)
class DetectionData:
    """``parts``: ``train``, ``val`` and, where it has boxes, ``test``. ``classes``: in the order of the files'
    categories.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, DetectionPart]

    @property
    def tested(self) -> str:
        """The part of the final evaluation."""
        return "test" if "test" in self.parts else "val"


def detection_data(path: str) -> DetectionData:
    """The data set in the folder ``path``.

    Raises:
        DataError: no such folder or layout; a file that is not in COCO's format; images that do not exist; categories
            that differ between the files; a part without images or boxes.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.", LAYOUT)
    files = {split: file for split in SPLITS if (file := annotation_file(root, split)) is not None}
    missing = [split for split in ("train", "val") if split not in files]
    if missing:
        found = sorted(place.name + ("/" if place.is_dir() else "") for place in root.iterdir())
        what = ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "") if found else "nothing"
        raise DataError(f"{root}: no annotation file of {' and '.join(missing)}; found {what}.", LAYOUT)
    parts, categories = {}, {}
    for split, file in files.items():
        content = _content(file)
        categories[split] = [(entry["id"], entry["name"]) for entry in content["categories"]]
        parts[split] = _part(root, split, file, content)
    for split, listed in categories.items():
        if listed != categories["train"]:
            raise DataError(
                _difference(files["train"], categories["train"], files[split], listed),
                "All files need the same categories in the same order.",
            )
    return DetectionData(root, tuple(name for _, name in categories["train"]), parts)


def annotation_file(root: Path, split: str) -> Path | None:
    for name in SPLITS[split]:
        for place in (
            f"annotations/instances_{name}.json",
            f"instances_{name}.json",
            f"annotations/{name}.json",
            f"{name}.json",
        ):
            if (root / place).is_file():
                return root / place
        if (root / name / "_annotations.coco.json").is_file():
            return root / name / "_annotations.coco.json"
    return None


def _content(file: Path) -> dict[str, Any]:
    """The file's content, with the keys and values that mmdet and pycocotools read."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        reason = (error.strerror or "unreadable") if isinstance(error, OSError) else "it is no JSON, or damaged"
        raise DataError(f"cannot read {file}: {reason}.") from None
    problem = next(_problems(content), None)
    if problem is not None:
        raise DataError(
            f"{file} is not in COCO's format: {problem}.", "See https://cocodataset.org/#format-data, object detection."
        )
    return content  # type: ignore[no-any-return]


def _problems(content: Any) -> Iterator[str]:
    if not isinstance(content, dict):
        yield f"it holds a {type(content).__name__}, not an object"
        return
    for key, wanted in (("images", IMAGE_KEYS), ("annotations", BOX_KEYS), ("categories", ("id", "name"))):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            yield f"{key!r} must be a list of objects"
            return
        for index, entry in enumerate(entries):
            lacking = [name for name in wanted if name not in entry]
            if lacking:
                yield f"{key}[{index}] has no {lacking[0]!r}"
                return
        ids = [entry["id"] for entry in entries]
        if not all(isinstance(one, int) for one in ids):
            yield f"ids of {key} must be whole numbers"
            return
        if len(set(ids)) != len(ids):
            yield f"ids of {key} are not unique"
            return
    names = [entry["name"] for entry in content["categories"]]
    if not all(_is_text(name) for name in names) or len(set(names)) != len(names):
        yield "names of categories must be texts, each once"
    images, categories = ({entry["id"] for entry in content[key]} for key in ("images", "categories"))
    for index, image in enumerate(content["images"]):
        if not isinstance(image["file_name"], str) or not all(
            isinstance(image[key], int) and image[key] > 0 for key in ("width", "height")
        ):
            yield f"images[{index}]: file_name must be a text, width and height whole numbers above 0"
        elif not _is_inside(image["file_name"]):
            yield f"images[{index}]: file_name must be a path within the folder of the images, but is {shown(image['file_name'])}"
    for index, entry in enumerate(content["annotations"]):
        if not isinstance(entry["image_id"], int) or entry["image_id"] not in images:
            yield f"annotations[{index}] is of image {shown(entry['image_id'])}, which is not listed"
        if not isinstance(entry["category_id"], int) or entry["category_id"] not in categories:
            yield f"annotations[{index}] is of category {shown(entry['category_id'])}, which is not listed"
        box = entry["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(number) for number in box):
            yield f"annotations[{index}]: bbox must be [x, y, width, height], but is {shown(box)}"
        if not _is_finite(entry["area"]):
            yield f"annotations[{index}]: area must be a number, but is {shown(entry['area'])}"


def _is_text(value: object) -> bool:
    """Whether it can be written to a file: halves of surrogate pairs, which JSON may hold, cannot."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold; JSON has infinities and numbers of any length."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _is_inside(name: str) -> bool:
    """Whether ``name`` is the path of a file below a folder, and nothing that mmengine takes for an address."""
    parts = PurePath(name).parts
    return (
        _is_text(name)
        and bool(parts)
        and not PurePath(name).is_absolute()
        and ".." not in parts
        and "\0" not in name
        and "://" not in name
        and max(map(len, map(os.fsencode, parts))) <= 255
        and len(os.fsencode(name)) <= 2000
    )


def _part(root: Path, split: str, file: Path, content: Mapping[str, Any]) -> DetectionPart:
    names = [entry["file_name"] for entry in content["images"]]
    usable = [entry for entry in content["annotations"] if min(entry["bbox"][2:]) >= 1 and entry["area"] > 0]
    if not names:
        raise DataError(f"{file} lists no images.")
    if not usable:
        raise DataError(
            f"{file} holds no box of at least 1x1 pixels.", "There is nothing to learn or to measure without boxes."
        )
    folder = _images(root, split, file, names)
    missing = [printable(name) for name in names if not (folder / name).is_file()]
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{file} points to {len(missing):,} of {len(names):,} images that are not in {folder}: {listed}.",
            "Put them there, or leave them out of the file.",
        )
    return DetectionPart(file, folder, len(names), len(usable))


def _images(root: Path, split: str, file: Path, names: Sequence[str]) -> Path:
    """The folder of those tried that has most of the first hundred images."""
    places = [
        *(root / name for name in SPLITS[split]),
        *(root / "images" / name for name in SPLITS[split]),
        root / "images",
        file.parent,
        root,
    ]
    return max(places, key=lambda place: sum((place / name).is_file() for name in names[:100]))


def _difference(first: Path, wanted: Sequence[Any], second: Path, got: Sequence[Any]) -> str:
    for i in range(max(len(wanted), len(got))):
        ours, theirs = (
            shown(dict(zip(("id", "name"), entries[i], strict=True))) if i < len(entries) else "nothing"
            for entries in (wanted, got)
        )
        if ours != theirs:
            return f"categories do not match: at place {i + 1}, {first.name} has {ours} and {second.name} has {theirs}."
    return f"categories of {first.name} and {second.name} do not match."
