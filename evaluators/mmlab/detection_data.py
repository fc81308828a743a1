"""Folders of photographs with boxes, in COCO's, Pascal VOC's or YOLO's format, checked before anything is trained. Free of
torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from nni_plugins.spaces.errors import printable, shown

from ..data.names import SPLITS, Split, counts, few, folders_in, images_below, part_of, parts_in
from ..data.report import DataReport, LeftOut, PartReport
from ..errors import DataError
from ..files import atomic_write
from .box_sources import other_sources
from .boxes import Checked

LAYOUT = (
    "Expected annotation files in COCO's format (annotations/instances_{train,val}2017.json with train2017/ and val2017/; "
    "instances_{train,val,test}.json or {train,val,test}.json with images/; or {train,valid,test}/_annotations.coco.json), Pascal VOC's (Annotations/, "
    "JPEGImages/, ImageSets/Main/{train,val}.txt; or XML files beside the images of train/ and val/), or YOLO's (images/{train,val}/ with "
    "labels/{train,val}/, or data.yaml); see nni-plugins docs transfer."
)
IMAGE_KEYS, BOX_KEYS = (
    ("id", "file_name", "width", "height"),
    ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
)


@dataclass(frozen=True)
class DetectionPart:
    """``annotations``: the JSON file; ``images``: the folder that its file names start from; ``count``: of images;
    ``boxes``: those that count, ``classes``: of each class; ``crowds``: boxes around many things (``iscrowd``);
    ``stored``: boxes are of pixels as they are stored, not of upright photographs; ``mended``: what is read instead of
    the file, None where that is in order.
    """

    annotations: Path
    images: Path
    count: int
    boxes: int
    classes: Mapping[str, int]
    crowds: int = 0
    stored: bool = False
    mended: dict[str, Any] | None = None


@dataclass(frozen=True)
class DetectionData:
    """``parts``: ``train``, ``val`` and, where it has boxes, ``test``. ``classes``: in the order of the files'
    categories, those that have boxes.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, DetectionPart]
    report: DataReport

    @property
    def tested(self) -> str:
        """The part of the final evaluation."""
        return "test" if "test" in self.parts else "val"

    @property
    def trained(self) -> int:
        """Images that are trained on: those with boxes."""
        return self.report.parts["train"].images

    def placed(self, folder: Path) -> DetectionData:
        """The same, where what had to be mended is read from files in ``folder``; see :meth:`written`."""
        parts = {
            name: part if part.mended is None else replace(part, annotations=folder / f"{name}.json")
            for name, part in self.parts.items()
        }
        return replace(self, parts=parts)

    def written(self, folder: Path) -> DetectionData:
        """Write these files."""
        placed = self.placed(folder)
        for part in placed.parts.values():
            if part.mended is not None:
                folder.mkdir(parents=True, exist_ok=True)
                atomic_write(part.annotations, json.dumps(part.mended).encode())
        return placed


def detection_data(path: str) -> DetectionData:
    """The data set in the folder ``path``. All images are opened, none is decoded.

    Raises:
        DataError: no such folder or layout; a file that is not in COCO's format; images that do not exist, cannot be
            read or have another size than the file says; boxes outside of them; categories that differ between the
            files; a part without images or boxes; a class without a box to train on.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.", LAYOUT)
    files = {split: file for split in SPLITS if (file := annotation_file(root, split)) is not None}
    others = None if files else other_sources(root)
    missing = [split for split in ("train", "val") if split not in (files if others is None else others)]
    if missing:
        found = sorted(place.name + ("/" if place.is_dir() else "") for place in root.iterdir())
        what = few(found, 6) or "nothing"
        raise DataError(f"{root}: no annotation file of {' and '.join(missing)}; found {what}.", LAYOUT)
    folders: dict[Split, Path] = {}
    if others is None:
        checked = {split: Checked(file, *_content(file)) for split, file in files.items()}
    else:
        files, folders = ({split: getattr(one, key) for split, one in others.items()} for key in ("file", "images"))
        checked = {
            split: Checked(one.file, _in_order(one.file, one.content), False, one.left_out, one.remarks)
            for split, one in others.items()
        }
    categories = {split: one.categories for split, one in checked.items()}
    for split, listed in categories.items():
        if listed != categories["train"]:
            raise DataError(
                _difference(files["train"], categories["train"], files[split], listed),
                "All files need the same categories in the same order.",
            )
    parts = {split: _part(root, split, one, folders.get(split)) for split, one in checked.items()}
    classes = tuple(name for _, name in categories["train"] if any(part.classes[name] for part in parts.values()))
    untrained = [name for name in classes if not parts["train"].classes[name]]
    if untrained:
        crowds = " (crowds are not learnt)" if parts["train"].crowds else ""
        raise DataError(
            f"{files['train']}: no box to train on of {few(untrained)}, which has boxes elsewhere{crowds}.",
            "Move some of its images into the training part, or take the category out of all files.",
        )
    for split, part in parts.items():
        parts[split] = replace(part, classes={name: part.classes[name] for name in classes})
    unused = [name for _, name in categories["train"] if name not in classes]
    named: dict[str, DetectionPart] = dict(parts.items())
    return DetectionData(root, classes, named, _report(root, parts, checked, unused))


def _report(
    root: Path, parts: Mapping[Split, DetectionPart], checked: Mapping[Split, Checked], unused: Sequence[str]
) -> DataReport:
    counted, left_out, remarks = {}, [], []
    places: dict[str, list[str]] = {}
    for split, part in parts.items():
        one = checked[split]
        bare = sorted(one.names[i] for i in one.without_boxes()) if split == "train" else []
        counted[str(split)] = PartReport(part.count - len(bare), part.classes, "boxes")
        left_out += [LeftOut(len(bare), "images", "without a box to train on", tuple(bare))] if bare else []
        left_out += one.left_out
        remarks += [f"{split}: {remark}" for remark in one.remarks]
        for name in one.names.values():
            places.setdefault(os.path.realpath(part.images / name), []).append(split)
    named = [
        place for one in (root, root / "images") if one.is_dir() for place in folders_in(one) if part_of(place.name)
    ]
    for folder in dict.fromkeys([*(part.images for part in parts.values()), *named]):
        others = [file for file in images_below(folder) if os.path.realpath(file) not in places]
        if others:
            names = tuple(os.path.relpath(file, root) for file in others)
            left_out.append(LeftOut(len(others), "images", "in no annotation file", names))
            places |= {os.path.realpath(file): [] for file in others}
    shared = [os.path.relpath(file, root) for file, splits in places.items() if len(set(splits)) > 1]
    if shared:
        remarks.append(f"{len(shared):,} images are in more than one part, so the test is no test: {few(shared)}.")
    if unused:
        remarks.append(f"No class, for they have no box anywhere: {few(unused)}.")
    return DataReport(str(root.absolute()), counted, tuple(left_out), tuple(remarks))


def has_boxes(root: Path) -> bool:
    """Whether the folder is of photographs with boxes.

    Raises:
        DataError: it is, and something in it is not as it must be.
    """
    return any(annotation_file(root, split) is not None for split in SPLITS) or other_sources(root) is not None


def annotation_file(root: Path, split: Split) -> Path | None:
    """The file of a part: in COCO's or in Roboflow's places, whatever the part is called."""
    for folder in (root / "annotations", root):
        if folder.is_dir():
            files = sorted(file for file in folder.iterdir() if counts(file.name) and file.suffix.lower() == ".json")
            for prefix in ("instances_", ""):
                for file in files:
                    if (
                        file.stem.startswith(prefix)
                        and part_of(file.stem.removeprefix(prefix)) == split
                        and file.is_file()
                    ):
                        return file
    place = parts_in(folders_in(root)).get(split)
    inside = None if place is None else place / "_annotations.coco.json"
    return inside if inside is not None and inside.is_file() else None


def _content(file: Path) -> tuple[dict[str, Any], bool]:
    """The file's content, with the keys and values that mmdet and pycocotools read; and whether they could read it, too:
    they know no byte-order mark and no encoding but UTF-8.
    """
    try:
        raw = file.read_bytes()
        content = json.loads(raw)
    except (ValueError, RecursionError, OSError) as error:
        reason = (error.strerror or "unreadable") if isinstance(error, OSError) else "it is no JSON, or damaged"
        raise DataError(f"cannot read {file}: {reason}.") from None
    return _in_order(file, content), raw.lstrip()[:1] == b"{" and b"\0" not in raw[:4]


def _in_order(file: Path, content: Any) -> dict[str, Any]:
    """``content``, if it is as COCO's format says.

    Raises:
        DataError: it is not.
    """
    problem = next(_problems(content), None)
    if problem is not None:
        raise DataError(
            f"{file} is not in COCO's format: {problem}.", "See https://cocodataset.org/#format-data, object detection."
        )
    return dict(content)


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
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
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


def _part(root: Path, split: Split, one: Checked, folder: Path | None) -> DetectionPart:
    file, content = one.file, one.content
    if not content["images"]:
        raise DataError(f"{file} lists no images.")
    folder = folder or _images(root, split, file, list(one.names.values()))
    missing = [name for name in one.names.values() if not (folder / name).is_file()]
    if missing:
        listed = ", ".join(map(printable, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{file} points to {len(missing):,} of {len(one.names):,} images that are not in {folder}: {listed}.",
            "Put them there, or leave them out of the file.",
        )
    one.check_boxes()
    stored = one.check_images(folder)
    boxes = one.boxes()
    names = dict(one.categories)
    counted = Counter(names[box["category_id"]] for box in boxes)
    classes = {name: counted[name] for _, name in one.categories}
    crowds = sum(bool(box["iscrowd"]) for box in one.content["annotations"])
    return DetectionPart(file, folder, len(one.names), len(boxes), classes, crowds, stored, one.mended())


def _images(root: Path, split: Split, file: Path, names: Sequence[str]) -> Path:
    """The folder of those tried that has most of the first hundred images."""
    inner = root / "images"
    places = [
        *(place for place in folders_in(root) if part_of(place.name) == split),
        *(place for place in (folders_in(inner) if inner.is_dir() else ()) if part_of(place.name) == split),
        inner,
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
