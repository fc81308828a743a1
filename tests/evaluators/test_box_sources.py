"""Boxes as Pascal VOC and YOLO write them: the same as in COCO's form, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.mmlab.detection_data import DetectionData, detection_data, has_boxes

SIZE = (64, 48)
"""(width, height)."""
PARTS = {"train": ["a", "b c"], "val": ["d"], "test": ["e"]}
BOXES = {
    "a": [("dog", (4, 4, 20, 10)), ("cat", (0, 0, 64, 48))],
    "b c": [("cat", (30, 20, 8, 9)), ("dog", (2, 3, 9, 9))],
    "d": [("dog", (1, 2, 3, 4)), ("cat", (5, 6, 7, 8))],
    "e": [("dog", (10, 10, 10, 10))],
}
"""(x, y, width, height) in pixels from 0."""
NAMES = ["dog", "cat"]
Xml = Callable[[str], str]


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)).save(file)


def xml(stem: str, first: int = 1, size: bool = True, more: str = "") -> str:
    """Corners count pixels from ``first``; from 1 the last one belongs to the box."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x + first}</xmin><ymin>{y + first}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for name, (x, y, w, h) in BOXES[stem]
    )
    told = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>" if size else ""
    return f"<?xml version='1.0'?><annotation><filename>{stem}.jpg</filename>{told}{objects}{more}</annotation>"


def line(name: str, box: tuple[int, int, int, int]) -> str:
    x, y, w, h = box
    return f"{NAMES.index(name)} {(x + w / 2) / SIZE[0]:.9f} {(y + h / 2) / SIZE[1]:.9f} {w / SIZE[0]:.9f} {h / SIZE[1]:.9f}\n"


def devkit(root: Path, write: Xml = xml, below: str = "VOCdevkit/VOC2007") -> Path:
    place = root / below
    for part, stems in PARTS.items():
        for stem in stems:
            picture(place / "JPEGImages" / f"{stem}.jpg")
            (place / "Annotations").mkdir(exist_ok=True)
            (place / "Annotations" / f"{stem}.xml").write_text(write(stem))
        (place / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (place / "ImageSets" / "Main" / f"{part}.txt").write_text(
            "".join(f"{stem}\n" for stem in stems).replace("b c", "b c.jpg")
        )
    return root


def beside(root: Path) -> Path:
    """As Roboflow exports it."""
    for part, stems in PARTS.items():
        for stem in stems:
            picture(root / part.replace("val", "valid") / f"{stem}.jpg")
            (root / part.replace("val", "valid") / f"{stem}.xml").write_text(xml(stem))
    return root


def yolo(root: Path, images: str = "images/{part}", described: bool = True, names: Any = None) -> Path:
    for part, stems in PARTS.items():
        for stem in stems:
            file = root / images.format(part=part) / f"{stem}.jpg"
            picture(file)
            text = root / images.replace("images", "labels").format(part=part) / f"{stem}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("".join(line(*box) for box in BOXES[stem]))
    if described:
        content = {part: f"../{images.format(part=part)}" for part in PARTS}
        (root / "data.yaml").write_text(yaml.safe_dump({**content, "nc": 2, "names": names or NAMES}))
    return root


def by_image(found: DetectionData, part: str) -> dict[str, list[tuple[str, list[float]]]]:
    content = found.parts[part].mended
    assert content is not None
    names = {one["id"]: one["name"] for one in content["categories"]}
    return {
        Path(image["file_name"]).stem: [
            (names[box["category_id"]], box["bbox"]) for box in content["annotations"] if box["image_id"] == image["id"]
        ]
        for image in content["images"]
    }


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "devkit": devkit,
    "devkit itself": lambda root: devkit(root, below="."),
    "xml beside": beside,
    "without sizes": lambda root: devkit(root, lambda stem: xml(stem, size=False)),
    "from zero": lambda root: devkit(root, lambda stem: xml(stem, first=0)),
    "yolo": yolo,
    "yolo, parts outside": lambda root: yolo(root, "{part}/images"),
    "yolo, numbered names": lambda root: yolo(root, names=dict(enumerate(NAMES))),
    "yolo, undescribed": lambda root: (yolo(root, described=False), (root / "classes.txt").write_text("dog\ncat\n"))[0],
    "yolo, beside": lambda root: yolo(root, "{part}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_boxes(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    assert has_boxes(tmp_path)
    found = detection_data(str(tmp_path))
    assert sorted(found.classes) == sorted(NAMES) and set(found.parts) == set(PARTS)
    for part, stems in PARTS.items():
        read = by_image(found, part)
        assert set(read) == set(stems)
        for stem in stems:
            assert [name for name, _ in read[stem]] == [name for name, _ in BOXES[stem]]
            for (_, box), (_, given) in zip(read[stem], BOXES[stem], strict=True):
                assert box == pytest.approx(given, abs=1e-6)
        place = found.parts[part].images
        content = found.parts[part].mended
        assert content is not None and all((place / image["file_name"]).is_file() for image in content["images"])
    assert found.report.images == 4 and found.report.left_out == ()
    placed = found.written(tmp_path / "work")
    assert json.loads(placed.parts["train"].annotations.read_text()) == found.parts["train"].mended


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    place = devkit(tmp_path) / "VOCdevkit" / "VOC2007"
    picture(place / "JPEGImages" / "spare.jpg")
    (place / "Annotations" / "e.xml").unlink()
    found = detection_data(str(tmp_path))
    (left,) = found.report.left_out
    assert (
        found.report.images == 5
        and left.count == 2
        and left.why == "in no annotation file"
        and "test" not in found.parts
    )
    (tmp_path / "yolo").mkdir()
    other = yolo(tmp_path / "yolo")
    (other / "labels" / "train" / "nobody.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (other / "labels" / "train" / "a.txt").unlink()
    report = detection_data(str(other)).report
    assert [(one.count, one.what) for one in report.left_out] == [(1, "images"), (1, "texts of boxes")]
    assert "nobody.txt" in report.left_out[1].names[0] and report.images == 4


def test_difficult_boxes_count_as_crowds(tmp_path: Path) -> None:
    devkit(tmp_path, lambda stem: xml(stem).replace("<difficult>0", "<difficult>1", 1) if stem == "a" else xml(stem))
    found = detection_data(str(tmp_path))
    assert found.parts["train"].crowds == 1 and found.parts["train"].boxes == 3
    assert any("1 boxes are marked as difficult" in remark for remark in found.report.remarks)


def test_polygons_confidences_and_missing_names(tmp_path: Path) -> None:
    yolo(tmp_path, described=False)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.25 0.5 0.75 0.5 0.5 1.0\n1 0.5 0.5 0.5 0.5 0.93\n")
    found = detection_data(str(tmp_path))
    assert found.classes == ("0", "1")
    assert by_image(found, "train")["a"] == [("0", [16.0, 24.0, 32.0, 24.0]), ("1", [16.0, 12.0, 32.0, 24.0])]
    said = " ".join(found.report.remarks)
    assert "1 polygons count as the boxes around them" in said and "called by their numbers" in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("<name>dog</name>", "<name> </name>"), r"an <object> has no <name>"),
        (lambda text: text.replace("<xmax>", "<xmaxx>").replace("</xmax>", "</xmaxx>"), r"<xmax> is missing"),
        (lambda text: text.replace("<xmin>5", "<xmin>left"), r"could not convert"),
        (lambda text: text.replace("<xmin>5", "<xmin>nan"), r"<xmin> is nan"),
        (lambda text: text.replace("<xmin>5", "<xmin>50"), r"has its corners exchanged"),
        (lambda text: text.replace("<xmax>24", "<xmax>240"), r"stick out of their images"),
        (lambda text: text.replace("<width>64", "<width>640"), r"have another size than the file says"),
        (lambda text: text[:-20], r"is not in Pascal VOC's format"),
        (lambda text: "", r"is not in Pascal VOC's format: no element found"),
        (lambda text: "<a>" * 100_000, r"it is too deep"),
        (lambda text: text.replace("?>", "?><!DOCTYPE a [<!ENTITY b 'bb'>]>").replace(">dog<", ">&b;<"), "declares a document type"),
        (lambda text: text.replace("?>", "?><!DOCTYPE a SYSTEM 'file:///etc/passwd'>"), "declares a document type"),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong(tmp_path: Path, change: Callable[[str], str], problem: str) -> None:
    devkit(tmp_path, lambda stem: change(xml(stem)) if stem == "a" else xml(stem))
    with pytest.raises(DataError, match=problem) as error:
        detection_data(str(tmp_path))
    assert "a.xml" in str(error.value) or "a.jpg" in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 0.5 0.5 0.1\n", r"a\.txt, line 1: '0 0\.5 0\.5 0\.1' is no box"),
        ("0 0.5 0.5 0.1 0.1\ndog 1 2 3 4\n", r"a\.txt, line 2: 'dog 1 2 3 4' is no box"),
        ("0 320 240 32 24\n", r"line 1: 320 is no share of the image"),
        ("-1 0.5 0.5 0.1 0.1\n", "is no box"),
        ("0.5 0.5 0.5 0.1 0.1\n", "is no box"),
        ("0 nan 0.5 0.1 0.1\n", "is no share"),
        ("7 0.5 0.5 0.1 0.1\n", r"names 2 classes, but there are boxes of the class 7"),
    ],
)
def test_texts_that_are_wrong(tmp_path: Path, text: str, problem: str) -> None:
    yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text(text)
    with pytest.raises(DataError, match=problem):
        detection_data(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["dog", "dog"], "names must be a list of texts, each once"),
        ({0: "dog", 2: "cat"}, "names must be numbered 0, 1, 2"),
        ("dog", "names must be a list"),
    ],
)
def test_names_that_are_wrong(tmp_path: Path, names: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        detection_data(str(yolo(tmp_path, names=names)))


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: ['cats & dogs', fish]\nnc: 2\n", ("cats & dogs", "fish")),
        ("names: &all [dog, cat]\nnc: 2\n", ("dog", "cat")),
        ("names: {'0': dog, '1': cat}\n", ("dog", "cat")),
        ("names: [7, 8]\n", ("7", "8")),
        ("\ufeffnames: [dog, cät]\n", ("dog", "cät")),
    ],
)
@pytest.mark.parametrize("parts", ["", "train: images/train\nval: images/val\ntest: images/test\n"])
def test_descriptions(tmp_path: Path, text: str, classes: tuple[str, ...], parts: str) -> None:
    yolo(tmp_path, described=False)
    (tmp_path / "data.yaml").write_text(f"{text}{parts}", encoding="utf-8")
    found = detection_data(str(tmp_path))
    assert found.classes == classes and found.report.images == 4 and not found.report.remarks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"names: [dog, cat\n", r"data\.yaml is not YAML"),
        (b"names: [dog, cat]\nnames: [cat, dog]\n", r"data\.yaml is not YAML: line 2: the key 'names' stands twice"),
        (b"names: [d\xe9g, cat]\n", r"data\.yaml is not YAML"),
        (b"names: [yes, no]\n", r"names must be a list of texts, each once, but is \[True, False\]"),
        (b"names: [null, 1.0]\n", r"names must be a list of texts"),
        (b"names: [dog, cat]\nnc: 3\n", r"data\.yaml: nc is 3, but names are 2"),
    ],
)
def test_descriptions_that_are_wrong(tmp_path: Path, text: bytes, problem: str) -> None:
    yolo(tmp_path, described=False)
    (tmp_path / "data.yaml").write_bytes(text)
    with pytest.raises(DataError, match=problem):
        detection_data(str(tmp_path))


def test_a_broken_description_of_something_else_is_let_be(tmp_path: Path) -> None:
    for stem in ("dog", "cat"):
        picture(tmp_path / stem / "a.jpg")
    (tmp_path / "notes.yaml").write_text("a: [b")
    (tmp_path / "data.yaml").write_text("names: [dog, cat]\n")
    assert not has_boxes(tmp_path)


def flat(root: Path) -> Path:
    """All images in one folder, and texts that list those of a part."""
    yolo(root, "images")
    (root / "data.yaml").write_text(yaml.safe_dump({part: f"{part}.txt" for part in PARTS} | {"names": NAMES}))
    for part, stems in PARTS.items():
        (root / f"{part}.txt").write_text("".join(f"/elsewhere/set/images/{stem}.jpg\n" for stem in stems))
    return root


def test_lists_of_images(tmp_path: Path) -> None:
    found = detection_data(str(flat(tmp_path)))
    assert found.report.images == 4 and found.report.left_out == ()
    assert {part: set(by_image(found, part)) for part in PARTS} == {part: set(stems) for part, stems in PARTS.items()}
    picture(tmp_path / "images" / "unlisted.jpg")
    for stem in ("unlisted", "nobody"):
        (tmp_path / "labels" / f"{stem}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    left = detection_data(str(tmp_path)).report.left_out
    assert {(one.what, one.names) for one in left} == {
        ("texts of boxes", (os.path.join("labels", "nobody.txt"),)),
        ("images", (os.path.join("images", "unlisted.jpg"),)),
    }
    (tmp_path / "train.txt").write_text("images/gone.jpg\n")
    with pytest.raises(DataError, match=r"train\.txt names 1 of 1 images that are not in .*: images/gone\.jpg"):
        detection_data(str(tmp_path))


@pytest.mark.parametrize("place", ["x.png", "below/x.jpg"])
def test_images_of_one_name(tmp_path: Path, place: str) -> None:
    """Whose boxes they are is not known."""
    (tmp_path / "yolo").mkdir()
    other = devkit(tmp_path / "voc") / "VOCdevkit" / "VOC2007" / "JPEGImages"
    picture(other / place.replace("x", "a"))
    with pytest.raises(DataError, match=r"JPEGImages: several images are called a\."):
        detection_data(str(tmp_path / "voc"))
    picture(yolo(tmp_path / "yolo") / "images" / "train" / "a.png")
    with pytest.raises(DataError, match=r"several images of train share a text of boxes: .*a\.txt \(2\)"):
        detection_data(str(tmp_path / "yolo"))


def test_images_of_parts_that_are_not_read_are_counted(tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": NAMES}))
    report = detection_data(str(tmp_path)).report
    assert report.images == 4
    assert [one.names for one in report.left_out] == [(os.path.join("images", "test", "e.jpg"),)]


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "utf-16", "latin-1"])
def test_encodings_of_xml(tmp_path: Path, encoding: str) -> None:
    name = "chien é" if encoding == "latin-1" else "犬" if encoding != "utf-16" else "狗"
    devkit(tmp_path)
    for file in tmp_path.rglob("*.xml"):
        text = file.read_text().replace(">dog<", f">{name}<")
        file.write_bytes(text.replace("?>", f" encoding='{encoding}'?>", 1).encode(encoding))
    assert set(detection_data(str(tmp_path)).classes) == {"cat", name}
    for file in tmp_path.rglob("*.xml"):
        file.write_bytes(b"<?xml version='1.0' encoding='none-such'?><annotation/>")
    with pytest.raises(DataError, match=r"is not in Pascal VOC's format: it is in an unknown encoding, none-such"):
        detection_data(str(tmp_path))


def test_parts_that_lie_elsewhere_are_never_read(tmp_path: Path) -> None:
    yolo(tmp_path / "here")
    shutil.move(tmp_path / "here" / "images" / "test", tmp_path / "outside")
    (tmp_path / "here" / "data.yaml").write_text(
        yaml.safe_dump({"train": "images/train", "val": "/elsewhere/images/val", "test": "../outside", "names": NAMES})
    )
    assert set(detection_data(str(tmp_path / "here")).parts) == {"train", "val"}


def test_texts_and_xml_that_are_no_boxes_are_let_be(tmp_path: Path) -> None:
    for part in ("train", "val"):
        picture(tmp_path / part / "a.jpg")
        (tmp_path / part / "a.txt").write_text("a dog on a lawn\n")
        (tmp_path / part / "camera.xml").write_text("<camera/>")
    assert not has_boxes(tmp_path)


def test_several_years_and_missing_parts(tmp_path: Path) -> None:
    devkit(tmp_path)
    devkit(tmp_path, below="VOCdevkit/VOC2012")
    with pytest.raises(DataError, match=r"holds several data sets, VOCdevkit/VOC2007 and VOCdevkit/VOC2012"):
        detection_data(str(tmp_path))
    shutil.rmtree(tmp_path / "VOCdevkit" / "VOC2012")
    lists = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").unlink()
    found = detection_data(str(tmp_path))
    assert set(found.parts) == {"train", "val"} and set(by_image(found, "val")) == {"e"}
    assert any("images of test.txt, for there is no val.txt" in remark for remark in found.report.remarks)
    (lists / "test.txt").unlink()
    with pytest.raises(DataError, match=r"needs train\.txt and val\.txt, but has trainval\.txt"):
        detection_data(str(tmp_path))


def test_bccd_in_other_formats(tmp_path: Path) -> None:
    """Blood cells: converted to both formats and read back, every box is where it was."""
    place = (
        Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data")) / "bccd_detection"
    )
    if not place.is_dir():
        pytest.skip(f"needs {place}, which is not part of this project (set NNI_PLUGINS_DATA)")
    original = {part: json.loads((place / f"instances_{part}.json").read_text()) for part in PARTS}
    for part, content in original.items():
        for image in content["images"]:
            boxes = [box for box in content["annotations"] if box["image_id"] == image["id"]]
            names = {one["id"]: one["name"] for one in content["categories"]}
            order = sorted(names)
            for folder in ("voc", "yolo/images"):
                target = tmp_path / folder / part / image["file_name"]
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(place / "images" / image["file_name"], target)
            corners = [(names[b["category_id"]], *b["bbox"]) for b in boxes]
            objects = "".join(
                f"<object><name>{n}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
                for n, x, y, w, h in corners
            )
            (tmp_path / "voc" / part / image["file_name"]).with_suffix(".xml").write_text(
                f"<annotation>{objects}</annotation>"
            )
            width, height = image["width"], image["height"]
            text = tmp_path / "yolo" / "labels" / part / f"{Path(image['file_name']).stem}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(
                "".join(
                    f"{order.index(b['category_id'])} {(x + w / 2) / width!r} {(y + h / 2) / height!r} {w / width!r} {h / height!r}\n"
                    for b in boxes
                    for x, y, w, h in [b["bbox"]]
                )
            )
    (tmp_path / "yolo" / "classes.txt").write_text("\n".join(names[i] for i in order))
    wanted = detection_data(str(place))
    for folder in ("voc", "yolo"):
        found = detection_data(str(tmp_path / folder))
        assert set(found.classes) == set(wanted.classes)
        for part, content in original.items():
            assert found.parts[part].count == wanted.parts[part].count
            assert found.parts[part].classes == wanted.parts[part].classes
            read = by_image(found, part)
            for image in content["images"]:
                given = [
                    b["bbox"]
                    for b in content["annotations"]
                    if b["image_id"] == image["id"] and min(b["bbox"][2:]) >= 1
                ]
                assert np.allclose([box for _, box in read[Path(image["file_name"]).stem]], given, atol=1e-6)
