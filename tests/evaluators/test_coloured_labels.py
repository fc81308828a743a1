"""Label images that are painted in colours, tables of colours, and Pascal VOC's folders of label images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nni_plugins.auto.look import look
from nni_plugins.evaluators.data import segmentation
from nni_plugins.evaluators.data.colours import colour_file, read_colours
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.mmlab.segmentation_data import read_labels, segmentation_data

COLOURS = {"Sky": (128, 128, 128), "Road, wet": (128, 64, 128), "Void": (0, 0, 0)}
NUMBERS = np.arange(48 * 64).reshape(48, 64) % 3
"""Of each pixel: sky, road, or void."""
PAINTED = np.array(list(COLOURS.values()), dtype=np.uint8)[NUMBERS]
EXPECTED = np.where(NUMBERS == 2, 255, NUMBERS)
FORMS = {
    "label_colors.txt": "".join(f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in COLOURS.items()),
    "class_dict.csv": "name,r,g,b\n" + "".join(f'"{name}",{r},{g},{b}\n' for name, (r, g, b) in COLOURS.items()),
    "colours.csv": "".join(f"{r};{g};{b};{name}\n" for name, (r, g, b) in COLOURS.items()),
    "class_dict_bgr.csv": "id;Blue;Green;Red;class\n"
    + "".join(f"{i};{b};{g};{r};{n}\n" for i, (n, (r, g, b)) in enumerate(COLOURS.items())),
    "labelmap.txt": "# label:color_rgb:parts:actions\n"
    + "".join(f"{n}:{r},{g},{b}::\n" for n, (r, g, b) in COLOURS.items()),
    "classes.json": json.dumps({name: list(colour) for name, colour in COLOURS.items()}),
    "color_map.json": json.dumps([{"name": name, "color": colour} for name, colour in COLOURS.items()]),
}


def write(file: Path, pixels: npt.NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def camvid(root: Path, labels: npt.NDArray[np.uint8] = PAINTED, images: int = 3) -> Path:
    """CamVid's layout, all label images alike."""
    for part in ("train", "val"):
        for i in range(images):
            write(root / part / f"{i}.png", np.full((48, 64, 3), 40 * i, dtype=np.uint8))
            write(root / f"{part}_labels" / f"{i}.png", labels)
    return root


@pytest.mark.parametrize("name", FORMS)
def test_tables_of_colours_as_people_have_them(tmp_path: Path, name: str) -> None:
    camvid(tmp_path)
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8-sig")
    found = segmentation_data(str(tmp_path))
    assert found.classes == ("Sky", "Road, wet")
    label = next(iter(found.parts["train"]))[1]
    assert np.array_equal(read_labels(label, found.table), EXPECTED)
    counted = {name: 3 * np.count_nonzero(i == EXPECTED) for i, name in enumerate(found.classes)}
    assert found.report.parts["train"].classes == counted
    data = segmentation.load(str(tmp_path)).train  # as a search reads them
    assert data.classes == found.classes and data.maps is not None
    assert np.array_equal(data.maps.numpy(), np.stack([EXPECTED] * 3))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_other_modes_of_painted_images(tmp_path: Path, mode: str) -> None:
    camvid(tmp_path)
    for file in (*tmp_path.glob("*_labels/*.png"),):
        image = Image.open(file).convert("RGB")
        (image.convert("RGBA") if mode == "RGBA" else image.quantize(8)).save(file)
    (tmp_path / "label_colors.txt").write_text(FORMS["label_colors.txt"])
    found = segmentation_data(str(tmp_path))
    assert np.array_equal(read_labels(found.parts["val"][0][1], found.table), EXPECTED)


def test_numbers_count_where_label_images_have_them(tmp_path: Path) -> None:
    camvid(tmp_path, (NUMBERS % 2).astype(np.uint8))
    (tmp_path / "label_colors.txt").write_text(FORMS["label_colors.txt"])
    (tmp_path / "classes.txt").write_text("0 a\n1 b\n")
    assert segmentation_data(str(tmp_path)).classes == ("a", "b")


def test_colours_without_a_table(tmp_path: Path) -> None:
    camvid(tmp_path)
    with pytest.raises(
        DataError, match=r"train_labels/0\.png: is painted in colours \(mode RGB\), and no table"
    ) as error:
        segmentation_data(str(tmp_path))
    assert "label_colors.txt" in str(error.value.remedy)
    with pytest.raises(DataError, match="is painted in colours"):
        look(tmp_path)
    assert len(segmentation.load(str(tmp_path)).train) == 3  # label-free searches need no labels


def test_a_colour_that_the_table_does_not_name(tmp_path: Path) -> None:
    other = PAINTED.copy()
    other[5, 6] = (1, 2, 3)
    camvid(tmp_path, other)
    (tmp_path / "label_colors.txt").write_text(FORMS["label_colors.txt"])
    with pytest.raises(DataError, match=r"holds the colour \(1, 2, 3\), which the table of colours does not name"):
        segmentation_data(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 2 3 a\n1 2 3 b\n", r"the colour \(1, 2, 3\) stands there twice"),
        ("1 2 3 a\n3 2 1 a\n", "the name 'a' stands there twice"),
        ("1 2 3 a\nsky\n", "'sky' is no class with its colour"),
        ("1 2 3 a\n1 2 300 b\n", "'1 2 300 b' is no class with its colour"),
        ("0 0 0 Void\n", "holds 0 classes"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "label_colors.txt").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_colours(tmp_path / "label_colors.txt")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("label_colors.txt", b"128 128 300 Sky\n", "'128 128 300 Sky' is no class with its colour"),
        ("label_colors.txt", b"128 128 128 Stra\xdfe\n", r"cannot read .*label_colors\.txt"),
        ("class_dict.csv", b'name,r,g,b\n"' + b"a" * 200_000 + b'",1,2,3\n', r"cannot read .*class_dict\.csv"),
        ("class_dict.csv", b"name,r,g,b\nSky,128,128\n", "'Sky,128,128' is no class"),
        ("colors.json", b'{"Sky": [128, 128, 128], "Sky": [1, 2, 3]}', "'Sky' stands there twice"),
        ("colors.json", b'{"Sky": [128.5, 128, 128]}', "is no class with its colour"),
        ("colors.json", b'{"Sky": [true, 128, 128]}', "is no class with its colour"),
        ("colors.json", b'{"S\\u0000": [1, 128, 128]}', "is no class with its colour"),
    ],
)
def test_a_damaged_table_is_said_to_be_one(tmp_path: Path, name: str, text: bytes, problem: str) -> None:
    """Not that there is none."""
    camvid(tmp_path)
    (tmp_path / name).write_bytes(text)
    for read in (lambda: segmentation_data(str(tmp_path)), lambda: look(tmp_path)):
        with pytest.raises(DataError, match=problem) as error:
            read()
        assert name in str(error.value)


def test_which_file_is_the_table(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("0 Sky\n1 Road\n")
    (tmp_path / "colors.json").write_text("[1, 2")
    assert colour_file(tmp_path) is None
    for name in ("label_colors.txt", "class_dict.csv"):
        (tmp_path / name).write_text(FORMS[name])
    with pytest.raises(DataError, match=r"class_dict\.csv and label_colors\.txt are both tables of colours"):
        colour_file(tmp_path)


def voc(root: Path, parts: dict[str, list[str]], numbers: npt.NDArray[np.uint8]) -> Path:
    """Pascal VOC's folders with palette label images."""
    place = root / "VOCdevkit" / "VOC2012"
    for stem in (*dict.fromkeys(stem for stems in parts.values() for stem in stems), "spare"):
        write(place / "JPEGImages" / f"{stem}.jpg", np.full((48, 64, 3), 90, dtype=np.uint8))
    for part, stems in parts.items():
        (place / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (place / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for stem in stems if part != "test" else ():
            image = Image.fromarray(numbers)
            image.putpalette(
                [value for colour in COLOURS.values() for value in colour] + list(range(3, 253)) * 3 + [9] * 9
            )
            (place / "SegmentationClass").mkdir(exist_ok=True)
            image.save(place / "SegmentationClass" / f"{stem}.png")
    return root


def test_pascal_voc(tmp_path: Path) -> None:
    numbers = np.where(NUMBERS == 2, 255, NUMBERS * 15).astype(np.uint8)  # background and person
    voc(tmp_path, {"train": ["a", "b"], "val": ["c"], "test": ["d"]}, numbers)
    found = segmentation_data(str(tmp_path))
    assert len(found.classes) == 21 and found.classes[15] == "person" and set(found.parts) == {"train", "val"}
    assert [Path(image).stem for image, _ in found.parts["train"]] == ["a", "b"]
    assert np.array_equal(read_labels(found.parts["val"][0][1], found.table), numbers)
    report = found.report
    assert report.images == 5 and [(one.count, one.why) for one in report.left_out] == [
        (1, "in no list of a part"),
        (1, "test has no labels"),
    ]
    assert report.parts["train"].classes["person"] == 2 * int((NUMBERS == 1).sum())


def test_pascal_voc_with_a_table_of_colours(tmp_path: Path) -> None:
    """As CVAT exports it."""
    place = voc(tmp_path, {"train": ["a"], "val": ["c"]}, NUMBERS.astype(np.uint8)) / "VOCdevkit" / "VOC2012"
    (place / "labelmap.txt").write_text(FORMS["labelmap.txt"])
    found = segmentation_data(str(tmp_path))
    assert found.classes == ("Sky", "Road, wet")
    assert np.array_equal(read_labels(found.parts["train"][0][1], found.table), EXPECTED)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"train": ["a"]}, r"needs train\.txt and val\.txt, but has train\.txt"),
        ({"train": ["a"], "val": []}, r"val\.txt lists no images"),
    ],
)
def test_lists_that_lack_something(tmp_path: Path, parts: dict[str, list[str]], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        segmentation_data(str(voc(tmp_path, parts, NUMBERS.astype(np.uint8))))


def test_a_list_that_names_what_is_not_there(tmp_path: Path) -> None:
    voc(tmp_path, {"train": ["a"], "val": ["b"]}, NUMBERS.astype(np.uint8))
    (tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"val\.txt names 1 of 1 images that are not in JPEGImages, such as 'b'"):
        segmentation_data(str(tmp_path))
