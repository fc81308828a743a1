"""Folders of images, boxes and label images: what goes in is used, or counted and named, or all of it is refused."""

from __future__ import annotations

import copy
import io
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nni_plugins.auto.look import Found, look
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.augmentation import IGNORED
from nni_plugins.evaluators.data.images import ImageData
from nni_plugins.evaluators.data.names import counts, is_image, is_unread
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.mmlab.detection_data import DetectionData, detection_data
from nni_plugins.evaluators.mmlab.segmentation_data import SegmentationData, segmentation_data
from nni_plugins.spaces.errors import NNIPluginsError

from .trying import fuzz, tried

FOLDERS = (
    *(
        "cat",
        "dog",
        "ä",
        "Cat",
        "train",
        "Training",
        "test_set",
        "valid",
        "dev",
        "images",
        "labels",
        "masks",
        "archive",
    ),
    *(".hidden", "@eaDir", "__MACOSX", "2019", "a b", "new\nline", "x" * 40),
)
FILES = (
    *(
        "a.png",
        "b.jpg",
        "c.JPEG",
        "d.jfif",
        "e.webp",
        "f",
        "g.tif",
        "h.gif",
        "0.png",
        "0.jpg",
        "Thumbs.db",
        ".DS_Store",
        "i.HEIC",
    ),
    *("notes.txt", "a.xml", "j.svg", "k.PNG", "l.png.png", "classes.txt", "data.json"),
)


@cache
def content(kind: str) -> bytes:
    """Of a file; ``kind`` is a mode and a size, or something broken."""
    if kind in ("empty", "garbage"):
        return b"" if kind == "empty" else b"no image at all"
    mode, side = kind.removesuffix("cut").split()
    pixels = np.arange(int(side) ** 2 * 3).reshape(int(side), int(side), 3).astype(np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG" if mode == "CMYK" else "PNG")
    return stream.getvalue()[: 40 if kind.endswith("cut") else None]


KINDS = st.sampled_from(
    [
        "RGB 20",
        "RGB 20",
        "RGB 33",
        "L 20",
        "RGBA 20",
        "P 20",
        "I;16 20",
        "1 20",
        "LA 20",
        "CMYK 20",
        "RGB 1",
        "RGB 20cut",
        "empty",
        "garbage",
    ]
)
TREES = st.dictionaries(
    st.lists(st.sampled_from(FOLDERS), max_size=3).flatmap(
        lambda folders: st.sampled_from(FILES).map(lambda file: "/".join([*folders, file]))
    ),
    KINDS,
    max_size=14,
)


def write(root: Path, tree: dict[str, str]) -> int:
    """How many images a person would count in the folder: readable or not, hidden and systems' files left out."""
    for name, kind in tree.items():
        file = root / name
        if any(parent.is_file() for parent in file.parents) or file.is_dir():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(kind))
    count = 0
    for place, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if counts(folder)]
        count += sum(is_image(os.path.join(place, file)) or is_unread(file) for file in files)
    return count


@fuzz(25)
@given(tree=TREES, held_out=st.sampled_from([None, 0.3]))
def test_folders_of_images(tree: dict[str, str], held_out: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        given_images = write(Path(folder), tree)
        settings = DataSettings(source="folder", path=folder, image_size=8, held_out=held_out)
        data = tried(lambda: load(settings))
        if isinstance(data, ImageData):
            report = data.report
            assert report is not None and report.images == given_images, report.sentences()
            assert len(data.train) == report.parts["train"].images > 0
            labels = data.train.labels if data.train.classes and len(data.train.classes) > 1 else None
            if labels is not None:
                seen = np.bincount(labels.numpy(), minlength=len(data.train.classes))
                assert seen.min() > 0 and seen.sum() == len(data.train)
            assert all(sentence.isprintable() for sentence in report.sentences())
        assert isinstance(tried(lambda: look(folder)), Found | NNIPluginsError)


# -- boxes -------------------------------------------------------------------------------------------------------------
NUMBERS = st.one_of(
    st.integers(-5, 70),
    st.floats(-5, 70),
    st.sampled_from([0, 1e-9, 1e308, float("nan"), float("inf"), 2**80, "3", None, True]),
)
BOX = st.one_of(
    st.lists(NUMBERS, min_size=4, max_size=4),
    st.lists(st.integers(0, 24), min_size=4, max_size=4),
    st.lists(NUMBERS, max_size=5),
    NUMBERS,
)
ANNOTATION = st.fixed_dictionaries(
    {
        "id": st.one_of(st.integers(-1, 4), NUMBERS),
        "image_id": st.one_of(st.integers(0, 2), NUMBERS),
        "category_id": st.one_of(st.integers(1, 3), NUMBERS),
        "bbox": BOX,
        "area": st.one_of(st.integers(0, 500), NUMBERS),
        "iscrowd": st.sampled_from([0, 0, 0, 1, None, "no"]),
    }
)


def sound() -> dict[str, Any]:
    """A part of three images of 50 x 40 pixels, with a box of each class on each."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 50, "height": 40} for i in range(3)]
    boxes = [
        {"id": 3 * i + c, "image_id": i, "category_id": c, "bbox": [5, 5, 10, 8], "area": 80, "iscrowd": 0}
        for i in range(3)
        for c in (1, 2, 3)
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": c, "name": f"thing{c}"} for c in (1, 2, 3)]}


@st.composite
def annotation_files(draw: st.DrawFn) -> Any:
    """A sound one with some boxes more, or others, or something missing."""
    whole = copy.deepcopy(sound())
    extra = draw(st.lists(ANNOTATION, max_size=4))
    for number, one in enumerate(extra):
        if draw(st.booleans()):
            one = {**one, "id": 100 + number, "image_id": number % 3, "category_id": 1 + number % 3}
        whole["annotations"].append(one)
    if draw(st.integers(0, 4)) == 0:
        key = draw(st.sampled_from(list(whole)))
        whole[key] = draw(st.sampled_from([[], {}, None, "x", [1], whole[key][:1], whole[key] * 2]))
    if draw(st.integers(0, 4)) == 0:
        one = draw(st.sampled_from([entry for entries in sound().values() for entry in entries]))
        changed = {**one, draw(st.sampled_from(list(one))): draw(st.one_of(NUMBERS, st.text(max_size=5)))}
        for key, entries in whole.items():
            if isinstance(entries, list):
                whole[key] = [changed if entry == one else entry for entry in entries]
    return draw(st.sampled_from([whole, whole, whole, whole, [whole], None, 3]))


@cache
def picture(size: tuple[int, int] = (50, 40)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 60, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@fuzz(80)
@given(train=annotation_files(), cut=st.integers(0, 300))
def test_annotation_files(train: Any, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images").mkdir()
        for i in range(3):
            (root / "images" / f"{i}.png").write_bytes(picture())
        text = json.dumps(train)
        (root / "train.json").write_text(text if cut < 250 else text[:cut])
        (root / "val.json").write_text(json.dumps(sound()))
        found = tried(lambda: detection_data(folder))
    if isinstance(found, DetectionData):
        part, left = found.parts["train"], sum(one.count for one in found.report.left_out if one.what == "boxes")
        assert part.boxes + part.crowds + left == len(train["annotations"])
        assert sum(part.classes.values()) == part.boxes
        mended = train if part.mended is None else part.mended
        for box in mended["annotations"]:
            x, y, w, h = box["bbox"]
            assert w >= 1 and h >= 1 and x < 50 and y < 40 and x + w > 0 and y + h > 0 and box["id"] > 0


WORD = st.one_of(
    st.floats(0, 1).map(str),
    st.integers(0, 3).map(str),
    st.sampled_from(["nan", "-0.1", "1.5", "dog", "0.5.5", "", "1e-3", "٣"]),
)
LINES = st.lists(st.one_of(st.lists(WORD, max_size=9).map(" ".join), st.text(max_size=8)), max_size=4)


@fuzz(80)
@given(lines=LINES, named=st.sampled_from([None, ["a", "b"], {0: "a", 1: "b"}, "a", [1, 2], ["a", "a"]]))
def test_texts_of_boxes(lines: list[str], named: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("train", "val"):
            for kind in ("images", "labels"):
                (root / kind / part).mkdir(parents=True)
            for stem in ("p", "q"):
                (root / "images" / part / f"{stem}.png").write_bytes(picture())
                (root / "labels" / part / f"{stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.3 0.3 0.2 0.2\n")
        (root / "labels" / "train" / "p.txt").write_text("\n".join(lines), errors="replace")
        if named is not None:
            (root / "data.yaml").write_text(json.dumps({"train": "images/train", "val": "images/val", "names": named}))
        found = tried(lambda: detection_data(folder))
    if isinstance(found, DetectionData):
        meant = [line for text in lines for line in text.splitlines() if line.split()]
        part, left = found.parts["train"], sum(one.count for one in found.report.left_out if one.what == "boxes")
        assert part.boxes + left == len(meant) + 2


PIECES = st.sampled_from(
    [
        *(
            "<object>",
            "</object>",
            "<name>a</name>",
            "<name/>",
            "<bndbox>",
            "</bndbox>",
            "<xmin>4</xmin>",
            "<xmin>x</xmin>",
        ),
        *("<size>", "&b;", "<!--", "]]>", "\0", "<difficult>1</difficult>"),
    ]
)


@fuzz(60)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 330), st.integers(0, 12), st.one_of(PIECES, st.text(max_size=3))), max_size=3
    )
)
def test_annotations_in_xml(changes: list[tuple[int, int, str]]) -> None:
    box = "<object><name>{}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>30</ymax></bndbox></object>"
    plain = (
        f"<annotation><size><width>50</width><height>40</height></size>{box.format('a')}{box.format('b')}</annotation>"
    )
    text = plain
    for place, length, new in changes:
        text = text[:place] + new + text[place + length :]
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "val"):
            (Path(folder) / part).mkdir()
            for stem in ("p", "q"):
                (Path(folder) / part / f"{stem}.png").write_bytes(picture())
                (Path(folder) / part / f"{stem}.xml").write_text(plain)
        (Path(folder) / "train" / "p.xml").write_text(text, errors="replace")
        found = tried(lambda: detection_data(folder))
    if isinstance(found, DetectionData):
        part, left = found.parts["train"], sum(one.count for one in found.report.left_out if one.what == "boxes")
        assert part.boxes + part.crowds + left == text.count("<object>") + 2 or "<!--" in text


# -- label images ------------------------------------------------------------------------------------------------------
COLOURS = ((128, 128, 128), (128, 64, 128), (0, 0, 0))
LISTS = st.sampled_from(
    [
        "0 a\n1 b\n",
        "0 a\n1 b\n2 c (ignore)\n",
        "0 a\n2 b\n",
        "",
        "a\nb\n",
        "0 a\n1 b\n2 c\n3 d\n",
        None,
        "\ufeff0 a\n1 b\n2 c\n",
    ]
)
TABLES = st.sampled_from(
    [
        "128 128 128 a\n128 64 128 b\n0 0 0 Void\n",
        "name,r,g,b\na,128,128,128\nb,128,64,128\n",
        "128 128 128 a\n128 128 128 b\n",
        "x",
        None,
    ]
)


@fuzz(60)
@given(
    numbers=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    painted=st.booleans(),
    listed=LISTS,
    table=TABLES,
    size=st.sampled_from([(12, 10), (12, 10), (12, 10), (10, 12), (1, 1)]),
    broken=st.sampled_from([None, None, None, b"", b"nothing"]),
)
def test_label_images(
    numbers: list[int],
    painted: bool,
    listed: str | None,
    table: str | None,
    size: tuple[int, int],
    broken: bytes | None,
) -> None:
    width, height = size
    labels = np.resize(np.array(numbers, dtype=np.uint8), (height, width))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("train", "val"):
            (root / part).mkdir()
            (root / f"{part}annot").mkdir()
            for i in range(2):
                (root / part / f"{i}.png").write_bytes(picture((12, 10)))
                pixels = np.array([*COLOURS, (9, 9, 9)], dtype=np.uint8)[labels] if painted else labels
                Image.fromarray(pixels).save(root / f"{part}annot" / f"{i}.png")
        if broken is not None:
            (root / "trainannot" / "1.png").write_bytes(broken)
        if listed is not None:
            (root / "classes.txt").write_text(listed)
        if table is not None:
            (root / "label_colors.txt").write_text(table)
        found = tried(lambda: segmentation_data(folder))
        searched = tried(lambda: load(DataSettings(source="segmentation", path=folder)))
    if isinstance(found, SegmentationData):
        counted = found.report.parts["train"].classes
        assert isinstance(searched, ImageData) and list(counted) == list(found.classes) == list(searched.train.classes)
        pixels_in_all = 2 * labels.size
        if painted or (table is not None and listed is None):
            ignored = 2 * int((labels == 2).sum()) if "Void" in (table or "") else 0
        else:
            ignored = 2 * sum(int((labels == n).sum()) for n in range(4) if int(found.table[n]) == IGNORED)  # type: ignore[index]
        assert sum(counted.values()) + ignored == pixels_in_all
