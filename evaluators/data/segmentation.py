"""Images with an image of labels each, in the layouts of CamVid, Cityscapes and Pascal VOC."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .augmentation import IGNORED, Augmentation
from .colours import FORMS, ColourTable, LabelsError, called_so, colour_file, read_colours
from .decoding import MapReader, Table, image_mode, image_size
from .images import ImageData, ImageSet
from .names import SPLITS, Split, few, folders_in, images_below, part_of, parts_in
from .reading import held
from .report import UNREADABLE, DataReport, LeftOut, PartReport
from .streaming import Files
from .voc import CLASSES, Devkit, devkit

Size = tuple[int, int]

MAX_LINE = 200
"""A class of a longer line is no name."""
LAYOUT = (
    "Expected CamVid's layout (train/, trainannot/, and the same for val and test), images/{train,val,test}/ with "
    "labels/{train,val,test}/ (or annotations/ or masks/) and classes.txt, or Cityscapes' "
    "(leftImg8bit/{train,val}/<city>/, gtFine/{train,val}/<city>/), or Pascal VOC's (JPEGImages/, SegmentationClass/, "
    "ImageSets/Segmentation/{train,val}.txt); see nni-plugins docs data."
)
LABELS = r"(?:annot(?:ation)?s?|labels?|masks?|segmentations?|gt|ground truth)"
"""Words of a folder of label images, as in ``trainannot`` and ``val_masks``."""
IMAGE_FOLDERS = ("images", "image", "imgs")
SEGMENTATION = "SegmentationClass"
PAINTED = ("RGB", "RGBA")
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
    """``maps``: the label file of each image, whether it exists or not; None if there is no folder of them. ``spare``:
    label files without an image.
    """

    files: list[str]
    maps: list[str] | None
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """``parts``: those that there are; ``table``: the class of each number or colour in a label file, see :class:`MapReader`;
    ``listed``: the classes are those of a list that came with the images; ``left_out``: of all parts.
    """

    root: Path
    kind: Literal["camvid", "paired", "cityscapes", "voc"]
    parts: Mapping[Split, Part]
    classes: tuple[str, ...]
    table: Table
    listed: bool
    left_out: tuple[LeftOut, ...] = ()


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
        DataError: no such folder, none of the layouts, no images, or too many unreadable ones.
    """
    root = Path(os.path.expanduser(path))
    found = layout(root)
    parts, left_out = {"train": found.parts["train"]}, list(found.left_out)
    for split, part in found.parts.items():
        if split == (test_split or "val"):
            parts["test"] = part
        elif split != "train":
            left_out.append(LeftOut(len(part.files), "images", f"{split} is not used here (data.test_split)"))
    if "test" not in parts and test_split is not None:
        raise DataError(
            f"{root}: has no folder {'leftImg8bit/' if found.kind == 'cityscapes' else ''}{test_split}.", LAYOUT
        )
    height, width = _size(parts["train"].files, size)
    read = held(root, {name: part.files for name, part in parts.items()}, (3, height, width), resident)
    augmentation = Augmentation(padding=max(1, min(height, width) // 8), flip=True)

    def built(name: str) -> ImageSet:
        (images, kept), part = read[name], parts[name]
        maps = None if part.maps is None else [part.maps[i] for i in kept]
        reader = (
            None
            if maps is None
            else MapReader(found.table, dict(zip(maps, (part.files[i] for i in kept), strict=True)))
        )
        files = None if maps is None or reader is None else Files(os.fspath(root), maps, (height, width), reader)
        return ImageSet(f"{root.absolute().name}/{name}", images, None, found.classes, augmentation, files)

    kept = {name: set(index.tolist()) for name, (_, index) in read.items()}
    lost = [file for name, part in parts.items() for i, file in enumerate(part.files) if i not in kept[name]]
    if lost:
        names = tuple(os.path.relpath(file, root) for file in lost)
        left_out.append(LeftOut(len(lost), "images", UNREADABLE, names))
    counted = {name: PartReport(len(index)) for name, index in kept.items()}
    report = DataReport(str(root.absolute()), counted, tuple(left_out), _numbered(found))
    return ImageData(built("train"), built("test") if "test" in parts else None, report)


def _numbered(found: Layout) -> tuple[str, ...]:
    return (f"Classes of label images: {few(found.classes, 12)}.",)


def layout(root: Path) -> Layout:
    """What lies in the folder; no image is opened.

    Raises:
        DataError: as :func:`load`.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.", LAYOUT)
    try:
        return _layout(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error}.", "Check the permissions.") from None


def _layout(root: Path) -> Layout:
    if (root / "leftImg8bit").is_dir():
        return _cityscapes(root)
    kit = devkit(root, "Segmentation", SEGMENTATION)
    if kit is not None:
        return _voc(root, kit)
    inside = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    paired = inside is not None and "train" in parts_in(folders_in(inside))
    places = parts_in(folders_in(inside if paired and inside is not None else root))
    if "train" not in places:
        found = sorted(place.name + ("/" if place.is_dir() else "") for place in root.iterdir())
        raise DataError(
            f"{root}: has neither a folder train nor leftImg8bit; found {few(found, 6) or 'nothing'}.", LAYOUT
        )
    if paired and not (root / "classes.txt").is_file() and colour_file(root) is None:
        raise DataError(
            f"{root}: has no classes.txt.", "Its lines are like '0 Sky', and '11 Void (ignore)' for what is no class."
        )
    labels = _paired_labels(root) if paired else _labels_beside(root)
    parts = {split: _part(places[split], labels.get(split)) for split in SPLITS if split in places}
    spare = [os.path.relpath(file, root) for part in parts.values() for file in part.spare]
    left_out = (LeftOut(len(spare), "label images", "without an image", tuple(spare)),) if spare else ()
    return Layout(root, "paired" if paired else "camvid", parts, *_classes(root, parts), left_out)


def _classes(root: Path, parts: Mapping[Split, Part]) -> tuple[tuple[str, ...], Table, bool]:
    """Classes, table and whether they are listed. Where there are two lists, a label image says which one counts."""
    numbers, colours = root / "classes.txt", colour_file(root)
    if colours is not None and (not numbers.is_file() or _mode(parts["train"])[1] in PAINTED):
        return *read_colours(colours), True
    return *class_list(numbers), numbers.is_file()


def _mode(part: Part) -> tuple[str, str | None]:
    """The first label image that there is, and what a pixel of it is."""
    first = next((file for file in part.maps or () if os.path.isfile(file)), None)
    return ("", None) if first is None else (first, image_mode(first))


def check_painted(found: Layout) -> None:
    """Refuse label images in colours that nothing explains.

    Raises:
        LabelsError: there are some.
    """
    file, mode = _mode(found.parts["train"])
    if mode in PAINTED and not isinstance(found.table, ColourTable):
        for table in called_so(found.root):
            if table.name != "classes.txt":
                read_colours(table)  # says what is wrong with it
        raise LabelsError(
            f"{file}: is painted in colours (mode {mode}), and no table in {found.root} says what they mean.",
            f"Add label_colors.txt. {FORMS}",
        )


def _voc(root: Path, kit: Devkit) -> Layout:
    """Label images are palette PNGs with the numbers of the challenge's classes, unless a list says others."""
    labels = {Path(file).stem: file for file in images_below(kit.root / SEGMENTATION)}
    parts = {
        split: Part(
            [str(kit.images[stem]) for stem in stems],
            [labels.get(stem, str(kit.root / SEGMENTATION / f"{stem}.png")) for stem in stems]
            if split == "train" or labels.keys() & set(stems)
            else None,
        )
        for split, stems in kit.parts.items()
    }
    left_out = (LeftOut(len(kit.unlisted), "images", "in no list of a part", kit.unlisted),) if kit.unlisted else ()
    for place in dict.fromkeys((kit.root, root)):
        if (place / "classes.txt").is_file() or colour_file(place) is not None:
            return Layout(root, "voc", parts, *_classes(place, parts), left_out)
    table = np.full(256, -1, dtype=np.int16)
    table[: len(CLASSES) + 1] = range(len(CLASSES) + 1)
    table[IGNORED] = IGNORED
    return Layout(root, "voc", parts, ("background", *CLASSES), table, False, left_out)


def _words(name: str) -> str:
    return re.sub(r"[\s_.\-]+", " ", name.lower()).strip()


def _labels_beside(root: Path) -> dict[Split, Path]:
    """Folders of label images beside those of the images: called after the part, and after what they hold."""
    found: dict[Split, Path] = {}
    for place in folders_in(root):
        bare = re.sub(rf"^{LABELS} ?| ?{LABELS}$", "", _words(place.name))
        split = part_of(bare) if bare != _words(place.name) else None
        if split is not None and split in found:
            raise DataError(f"{root}: {found[split].name} and {place.name} are both labels of {split}.", "Remove one.")
        if split is not None:
            found[split] = place
    return found


def _paired_labels(root: Path) -> dict[Split, Path]:
    """Folders of the parts in a folder ``labels``, ``annotations`` or ``masks``."""
    for place in folders_in(root):
        if re.fullmatch(LABELS, _words(place.name)):
            inner = parts_in(folders_in(place))
            if "train" in inner:
                return inner
    return {}


def _part(folder: Path, labels: Path | None) -> Part:
    """Labels have the image's name and place, and are PNG, or any other image without loss."""
    files = images_below(folder)
    if not files:
        raise DataError(f"{folder}: holds no images.", LAYOUT)
    if labels is None:
        return Part(files, None)
    there: dict[str, str] = {}
    for file in images_below(labels):
        stem = os.path.splitext(os.path.relpath(file, labels))[0]
        if stem not in there or file.lower().endswith(".png"):
            there[stem] = file
    stems = [os.path.splitext(os.path.relpath(file, folder))[0] for file in files]
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        raise DataError(
            f"{folder}: several images are called {few(twice)}, so they would share a label image.",
            "Rename or remove them.",
        )
    maps = [there.get(stem, str(labels / f"{stem}.png")) for stem in stems]
    return Part(files, maps, tuple(file for stem, file in there.items() if stem not in set(stems)))


def _size(files: Sequence[str], size: int | Size | None) -> Size:
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    found = next((known for file in files[:100] if (known := image_size(file)) is not None), None)
    if found is None:
        raise DataError(f"{files[0]}: this image, like those after it, cannot be read.", "Repair or remove them.")
    return found


def class_list(file: Path) -> tuple[tuple[str, ...], npt.NDArray[np.int16]]:
    """From lines of ``number name``; a name that ends in ``(ignore)`` is none. Without the file, the 11 classes that
    CamVid is used with.

    Raises:
        DataError: a line is something else, or the numbers do not count from 0.
    """
    if not file.is_file():
        names, ignored = dict(enumerate(CAMVID)), {len(CAMVID)}
    else:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
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


def _cityscapes(root: Path) -> Layout:
    """Every image of every city. Labels are ``labelTrainIds`` where the first image has them, otherwise ``labelIds``."""
    images = root / "leftImg8bit"
    if not (images / "train").is_dir():
        raise DataError(f"{root}: has no folder leftImg8bit/train.", LAYOUT)
    places = {split: images / split for split in SPLITS if (images / split).is_dir()}
    parts: dict[Split, Part] = {}
    others: list[str] = []
    for split, place in places.items():
        found = [file for city in folders_in(place) for file in images_below(city)]
        files = [file for file in found if file.endswith("_leftImg8bit.png")]
        others += [os.path.relpath(file, root) for file in found if not file.endswith("_leftImg8bit.png")]
        if not files:
            raise DataError(f"{place}: holds no folder of a city with *_leftImg8bit.png in it.", LAYOUT)
        parts[split] = _cityscapes_part(root, split, files)
    left_out = (LeftOut(len(others), "images", "not called *_leftImg8bit.png", tuple(others)),) if others else ()
    return Layout(root, "cityscapes", parts, *_cityscapes_classes(parts["train"]), False, left_out)


def _cityscapes_part(root: Path, split: str, files: list[str]) -> Part:
    labels = root / "gtFine" / split
    if not labels.is_dir():
        return Part(files, None)
    stems = [
        str(labels / os.path.relpath(file, root / "leftImg8bit" / split).removesuffix("_leftImg8bit.png"))
        for file in files
    ]
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
