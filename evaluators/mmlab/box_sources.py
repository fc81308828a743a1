"""Boxes as Pascal VOC and YOLO write them, turned into COCO's form. Free of torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

from nni_plugins.spaces.errors import shown

from ..data.names import SPLITS, Split, counts, few, folders_in, images_below, parts_in, readable
from ..data.reading import headers
from ..data.report import LeftOut
from ..data.voc import IMAGES, Devkit, devkit
from ..errors import DataError
from ..files import parse_yaml

ENCODED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
MOST_BYTES = 2**24
"""A longer file of boxes is none of anybody's."""
ANNOTATIONS = ("Annotations", "annotations")
YOLO_LINE = "Expected lines of 'class x y width height', x and y of the centre, all in shares of the image."
VOC_FILE = (
    "Expected <annotation> with <object>s that have a <name> and a <bndbox> of xmin, ymin, xmax and ymax in pixels."
)
SLACK = 0.01
"""So far a share may lie beyond 1: tools round."""


@dataclass(frozen=True)
class Source:
    """Of one part. ``file``: what is named in messages; ``content``: in COCO's form, its file names below ``images``."""

    file: Path
    content: dict[str, Any]
    images: Path
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Image:
    """``boxes``: (name, [x, y, width, height] in pixels, whether it is hard)."""

    file: Path
    size: tuple[int, int]
    boxes: Sequence[tuple[str, list[float], bool]]


def other_sources(root: Path) -> dict[Split, Source] | None:
    """Of Pascal VOC's or YOLO's layouts in ``root``; None: neither.

    Raises:
        DataError: there is one, and something in it is not as it must be.
    """
    return _voc(root) or _yolo(root)


@dataclass(frozen=True)
class _Part:
    """``file``: what is named in messages; ``folder``: of all its images."""

    file: Path
    folder: Path
    images: Sequence[_Image]
    left_out: list[LeftOut]
    remarks: list[str]


def _sources(parts: Mapping[Split, _Part], names: Sequence[str]) -> dict[Split, Source]:
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    numbers = {name: number for number, name in enumerate(names, start=1)}
    found: dict[Split, Source] = {}
    for split, part in parts.items():
        listed: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for i, image in enumerate(part.images):
            name = os.path.relpath(image.file, part.folder)
            width, height = image.size
            listed.append({"id": i, "file_name": name, "width": width, "height": height})
            for name_of, box, hard in image.boxes:
                entry = {"image_id": i, "category_id": numbers[name_of], "bbox": box, "area": box[2] * box[3]}
                boxes.append({"id": len(boxes) + 1, **entry, "iscrowd": int(hard)})
        content = {"images": listed, "annotations": boxes, "categories": categories}
        found[split] = Source(part.file, content, part.folder, part.left_out, part.remarks)
    return found


def _sizes(files: Sequence[Path]) -> list[tuple[int, int]]:
    """(width, height) of upright images by their headers.

    Raises:
        DataError: some cannot be read.
    """
    seen = headers([str(file) for file in files])
    broken = [f"{file} ({one.problem})" for file, one in zip(files, seen, strict=True) if one.problem is not None]
    if broken:
        raise DataError(
            f"{len(broken):,} of {len(files):,} images cannot be read: {few(broken)}.", "Repair or remove them."
        )
    return [(one.size[1], one.size[0]) for one in seen]


# -- Pascal VOC --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Annotation:
    """``size``: (width, height) as the file says, None if it does not; ``boxes``: (name, corners, difficult)."""

    file: Path
    size: tuple[int, int] | None
    boxes: Sequence[tuple[str, list[float], bool]]


def _voc(root: Path) -> dict[Split, Source] | None:
    kits = {name: kit for name in ANNOTATIONS if (kit := devkit(root, "Main", name)) is not None}
    name, kit = next(iter(kits.items()), ("", None))
    pairs = _beside(root) if kit is None else _of_devkit(kit, kit.root / name)
    if not pairs:
        return None
    read = {split: [(image, _annotation(file)) for image, file in some] for split, some in pairs.items()}
    every = [one for some in read.values() for _, one in some]
    first = 0 if any(min(box[:2]) < 1 for one in every for _, box, _ in one.boxes) else 1
    parts = {}
    for split, some in read.items():
        sizes = _sizes([image for image, _ in some])
        images = [
            _Image(image, one.size or size, [(name, _corners(box, first), hard) for name, box, hard in one.boxes])
            for (image, one), size in zip(some, sizes, strict=True)
        ]
        hard = sum(hard for one in images for _, _, hard in one.boxes)
        remarks = [f"{hard:,} boxes are marked as difficult; they count as crowds."] if hard else []
        if first == 0:
            remarks.append("corners of boxes count pixels from 0, for some are 0; Pascal VOC's own count from 1.")
        if kit is not None and kit.tested and split == "val":
            remarks.append("these are the images of test.txt, for there is no val.txt.")
        folder = _common([image for image, _ in some]) if kit is None else kit.root / IMAGES
        parts[split] = _Part(some[0][1].file.parent, folder, images, [], remarks)
    return _sources(parts, sorted({name for one in every for name, _, _ in one.boxes}))


def _common(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


Pairs = dict[Split, list[tuple[Path, Path]]]
"""Images and their annotation files; what has none is in no annotation file."""


def _of_devkit(kit: Devkit, folder: Path) -> Pairs:
    pairs = Pairs()
    for split, stems in kit.parts.items():
        some = [(kit.images[stem], file) for stem in stems if (file := folder / f"{stem}.xml").is_file()]
        if some:
            pairs[split] = some
        elif split != "test":
            raise DataError(f"{folder}: has no annotation file of the {len(stems):,} images in {split}.", VOC_FILE)
    return pairs


def _beside(root: Path) -> Pairs:
    """Parts with XML files beside their images, or in a folder of their own."""
    pairs = Pairs()
    for split, place in parts_in(folders_in(root)).items():
        files = {file.stem: file for file in sorted(place.rglob("*.xml")) if counts(file.name)}
        images = [Path(file) for file in images_below(place)] if files else []
        twice = [stem for stem, count in Counter(image.stem for image in images).items() if count > 1 and stem in files]
        if twice:
            raise DataError(f"{place}: several images are called {few(twice)}.", "Rename or remove them.")
        some = [(image, files[image.stem]) for image in images if image.stem in files]
        if some:
            pairs[split] = some
    return pairs


def _corners(box: list[float], first: int) -> list[float]:
    """[x, y, width, height]. Where pixels count from 1, the last one belongs to the box."""
    left, top, right, bottom = box
    return [left - first, top - first, right - left + first, bottom - top + first]


def _annotation(file: Path) -> _Annotation:
    try:
        tree = _xml(file.read_bytes())
        size, objects = tree.find("size"), tree.findall("object")
        boxes = [
            (
                _text(one, "name"),
                [_number(one.find("bndbox"), corner) for corner in ("xmin", "ymin", "xmax", "ymax")],
                one.findtext("difficult", "0").strip() == "1",
            )
            for one in objects
        ]
        told = None if size is None else (int(_number(size, "width")), int(_number(size, "height")))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}.") from None
    except (ParseError, ValueError, expat.ExpatError) as error:
        raise DataError(f"{file} is not in Pascal VOC's format: {str(error)[:100]}.", VOC_FILE) from None
    for name, box, _ in boxes:
        if box[2] < box[0] or box[3] < box[1]:
            raise DataError(f"{file}: the box {box} of {shown(name)} has its corners exchanged.", VOC_FILE)
    return _Annotation(file, told if told is not None and min(told) > 0 else None, boxes)


def _xml(raw: bytes) -> Element:
    """The root element; a document that declares entities is refused, for they could be bombs.

    Raises:
        ValueError, expat.ExpatError: it is none.
    """
    if len(raw) > MOST_BYTES:
        raise ValueError(f"it is more than {MOST_BYTES:,} bytes long")
    encoding = ENCODED.match(raw)
    if encoding is not None:  # expat knows few of them
        try:
            raw = raw.decode(encoding[1].decode()).encode()
        except LookupError:
            raise ValueError(f"it is in an unknown encoding, {encoding[1].decode()}") from None
    builder, parser = TreeBuilder(), expat.ParserCreate(None if encoding is None else "utf-8")
    depth = [0]

    def start(name: str, attributes: dict[str, str]) -> None:
        depth[0] += 1
        if depth[0] > 50:
            raise ValueError("it is too deep")
        builder.start(name, attributes)

    def end(name: str) -> None:
        depth[0] -= 1
        builder.end(name)

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(raw, True)
    return builder.close()


def _text(one: Element, key: str) -> str:
    text = (one.findtext(key) or "").strip()
    if not text:
        raise ValueError(f"an <object> has no <{key}>")
    return text


def _number(one: Element | None, key: str) -> float:
    text = None if one is None else one.findtext(key)
    if text is None:
        raise ValueError(f"<{key}> is missing")
    number = float(text)
    if not abs(number) < 1e9:
        raise ValueError(f"<{key}> is {text.strip()[:20]}")
    return int(number) if number == int(number) else number


# -- YOLO --------------------------------------------------------------------------------------------------------------
def _yolo(root: Path) -> dict[Split, Source] | None:
    """Texts with a line a box beside the images, or below ``labels`` where those are below ``images``."""
    described, broken = _described(root)
    places = _listed_parts(root, described[1]) if described is not None else {}
    places = places or _usual_parts(root)
    parts = {split: [file for one in some for file in _images(root, one)] for split, some in places.items()}
    texts = {split: [_label_file(file) for file in files] for split, files in parts.items()}
    there = [text for some in texts.values() for text in some if text.is_file()]
    if described is not None and "train" in described[1]:
        if not there:
            raise DataError(f"{described[0]}: none of the images has a text of boxes.", YOLO_LINE)
    elif not (there and _looks_like_boxes(there[:20])):
        return None
    if described is None and broken is not None:
        raise DataError(broken, "Mend or remove it.")
    for split, some in texts.items():
        counted = Counter(some)
        shared = [f"{text} ({counted[text]})" for text in counted if counted[text] > 1 and text.is_file()]
        if shared:
            raise DataError(
                f"several images of {split} share a text of boxes: {few(shared)}.", "Rename or remove them."
            )
    lines = {text: list(_lines(text)) for text in there}
    highest = max((number for some in lines.values() for number, _ in some), default=0)
    names, named = _names(root, described, highest)
    found: dict[Split, _Part] = {}
    seen = {text for some in texts.values() for text in some}
    for split, files in parts.items():
        if not any(text in lines for text in texts[split]):
            continue
        images, polygons = [], 0
        for file, text, size in zip(files, texts[split], _sizes(files), strict=True):
            own = lines.get(text, [])
            polygons += sum(len(numbers) > 4 for _, numbers in own)
            boxes = [(names[number], _pixels(numbers, size), False) for number, numbers in own]
            images.append(_Image(file, size, boxes))
        seen |= {_label_file(Path(file)) for file in images_below(_common(files))}
        spare = _spare(root, texts[split], seen)
        seen |= {root / text for text in spare}
        left_out = [LeftOut(len(spare), "texts of boxes", "without an image", tuple(spare))] if spare else []
        remarks = [f"{polygons:,} polygons count as the boxes around them."] if polygons else []
        if not named and split == "train":
            remarks.append("nothing names the classes (data.yaml, classes.txt), so they are called by their numbers.")
        found[split] = _Part(_common(texts[split]), _common(files), images, left_out, remarks)
    return _sources(found, names)


def _looks_like_boxes(files: Sequence[Path]) -> bool:
    """Whether most of them begin with a class and four numbers or more: texts beside images may be anything."""
    lines = [_first_line(file).split() for file in files]
    known = [words for words in lines if words]
    boxes = [
        words for words in known if len(words) >= 5 and all(re.fullmatch(r"-?[\d.]+(?:e-?\d+)?", one) for one in words)
    ]
    return len(boxes) > len(known) / 2 or (not known and bool(files))


def _first_line(file: Path) -> str:
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as stream:
            return next((line for line in stream.read(4096).splitlines() if line.strip()), "")
    except OSError:
        return ""


def _spare(root: Path, texts: Sequence[Path], known: Set[Path]) -> list[str]:
    """Texts beside ``texts`` that are not ``known``."""
    return [
        os.path.relpath(text, root)
        for folder in sorted({text.parent for text in texts})
        for text in sorted(folder.glob("*.txt"))
        if text not in known and text.name not in NAME_FILES and counts(text.name)
    ]


NAME_FILES = ("classes.txt", "obj.names", "names.txt", "_darknet.labels")


Described = tuple[Path, dict[str, Any]]


def _described(root: Path) -> tuple[Described | None, str | None]:
    """``data.yaml`` with ``names``, or another YAML file with ``names`` and a part; else what is wrong with the first one
    that cannot be read.
    """
    broken = None
    for file in sorted(root.iterdir(), key=lambda file: (file.stem != "data", file.name)):
        if not counts(file.name) or file.suffix.lower() not in (".yaml", ".yml") or not file.is_file():
            continue
        try:
            if file.stat().st_size >= 2**20:
                continue
            content = parse_yaml(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            broken = broken or f"cannot read {file}: {error.strerror or error}."
        except ValueError as error:
            broken = broken or f"{file} is not YAML: {' '.join(str(error).split())[:200]}."
        else:
            if isinstance(content, dict) and "names" in content and ("train" in content or file.stem == "data"):
                return (file, content), None
    return None, broken


def _listed_parts(root: Path, content: Mapping[str, Any]) -> dict[Split, list[Path]]:
    """Folders of a ``data.yaml``, or lists of images, which often begin with ``../`` or another computer's place: what of
    a path lies in ``root`` counts.
    """
    found: dict[Split, list[Path]] = {}
    keys_of: dict[Split, tuple[str, ...]] = {
        "train": ("train",),
        "val": ("val", "valid", "validation"),
        "test": ("test",),
    }
    for split, keys in keys_of.items():
        given = next((content[key] for key in keys if content.get(key)), None)
        some = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        places = [place for one in some if isinstance(one, str) and (place := _within(root, one)) is not None]
        if places:
            found[split] = places
    return found


def _within(root: Path, text: str) -> Path | None:
    """The longest end of the path that is a folder or a file in ``root``."""
    parts = [
        part
        for part in PurePosixPath(text.replace("\\", "/")).parts
        if part not in ("..", ".", "/") and "\0" not in part
    ]
    for first in range(len(parts)):
        place = root.joinpath(*parts[first:])
        try:
            if place.exists():
                return place
        except OSError:
            return None
    return None


def _images(root: Path, place: Path) -> list[Path]:
    """Those in a folder, or those that a text lists, a path a line.

    Raises:
        DataError: the file is no text, or lists what is not there.
    """
    if place.is_dir():
        return [Path(file) for file in images_below(place)]
    try:
        lines = [line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError):
        raise DataError(f"cannot read {place}: it is no text.", "Expected the path of an image a line.") from None
    found = [_within(root, line) for line in lines]
    missing = [line for line, file in zip(lines, found, strict=True) if file is None or not file.is_file()]
    if missing or not lines:
        raise DataError(
            f"{place} names {len(missing):,} of {len(lines):,} images that are not in {root}: {few(missing) or 'none'}.",
            "Put them there, or take them out of the list.",
        )
    return list(dict.fromkeys(file for file in found if file is not None))


def _usual_parts(root: Path) -> dict[Split, list[Path]]:
    """``images/train`` with ``labels/train``, or ``train/images`` with ``train/labels``, or both in ``train``."""
    inner = root / "images"
    places = parts_in(folders_in(inner)) if inner.is_dir() and (root / "labels").is_dir() else {}
    if not places:
        outer = parts_in(folders_in(root))
        places = {split: place / "images" if (place / "images").is_dir() else place for split, place in outer.items()}
    return {split: [places[split]] for split in SPLITS if split in places}


def _label_file(image: Path) -> Path:
    """Where the boxes of an image stand: the last folder ``images`` becomes ``labels``."""
    parts = list(image.parent.parts)
    if "images" in parts:
        place = len(parts) - 1 - parts[::-1].index("images")
        moved = Path(*parts[:place], "labels", *parts[place + 1 :]) / f"{image.stem}.txt"
        if moved.parent.is_dir():
            return moved
    return image.with_suffix(".txt")


def _names(root: Path, described: tuple[Path, Mapping[str, Any]] | None, highest: int) -> tuple[list[str], bool]:
    """Of the classes up to ``highest``, and whether something names them.

    Raises:
        DataError: not all are named, or one twice.
    """
    file, given = _named(root) if described is None else (described[0], described[1]["names"])
    if file is None:
        return [str(number) for number in range(highest + 1)], False
    if isinstance(given, dict):
        given = {str(number): name for number, name in given.items()}
        if set(given) != set(map(str, range(len(given)))):
            raise DataError(f"{file}: names must be numbered 0, 1, 2, ..., but are {few(given)}.")
        given = [given[str(i)] for i in range(len(given))]
    sound = isinstance(given, list) and all(
        isinstance(name, str | int) and not isinstance(name, bool) for name in given
    )
    names = [str(name).strip() for name in given] if sound else []
    if not names or len(set(names)) < len(names) or not all(names):
        raise DataError(
            f"{file}: names must be a list of texts, each once, but is {shown(given)}.",
            "Names such as yes, no, null and 1.0 need quotes in YAML.",
        )
    told = None if described is None else described[1].get("nc")
    if told is not None and told != len(names):
        raise DataError(f"{file}: nc is {shown(told)}, but names are {len(names)}.", "Name each class once.")
    if highest >= len(names):
        raise DataError(
            f"{file}: names {len(names)} classes, but there are boxes of the class {highest}.", "Name all of them."
        )
    return names, True


def _named(root: Path) -> tuple[Path | None, list[str]]:
    """A list of names, a line each."""
    for place in (root, root / "labels", root / "train", root / "train" / "labels"):
        for name in NAME_FILES:
            if (place / name).is_file():
                lines = (place / name).read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
                return place / name, [readable(line.strip()) for line in lines if line.strip()]
    return None, []


def _lines(file: Path) -> Iterator[tuple[int, list[float]]]:
    """(class, [x, y, width, height]) or (class, corners of a polygon) of each line; a confidence behind is dropped.

    Raises:
        DataError: a line is something else.
    """
    try:
        text = file.read_text(encoding="utf-8-sig") if file.stat().st_size < MOST_BYTES else None
    except (OSError, ValueError):
        text = None
    if text is None:
        raise DataError(f"cannot read {file}: it is no text, or too long.", YOLO_LINE)
    for place, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            number, numbers = float(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            raise DataError(f"{file}, line {place}: {shown(line.strip())} is no box.", YOLO_LINE) from None
        numbers = numbers[:4] if len(numbers) == 5 else numbers
        whole = number == number // 1 and 0 <= number < 10_000
        if not whole or not (len(numbers) == 4 or (len(numbers) >= 6 and len(numbers) % 2 == 0)):
            raise DataError(f"{file}, line {place}: {shown(line.strip())} is no box.", YOLO_LINE)
        if not all(-SLACK <= one <= 1 + SLACK for one in numbers):
            wrong = next(one for one in numbers if not -SLACK <= one <= 1 + SLACK)
            raise DataError(
                f"{file}, line {place}: {wrong:g} is no share of the image, which goes from 0 to 1.", YOLO_LINE
            )
        yield int(number), numbers


def _pixels(numbers: Sequence[float], size: tuple[int, int]) -> list[float]:
    """[x, y, width, height] in pixels."""
    width, height = size
    if len(numbers) == 4:
        x, y, w, h = numbers
        return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    xs, ys = [x * width for x in numbers[::2]], [y * height for y in numbers[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
