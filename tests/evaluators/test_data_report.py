"""What people's folders hold: which part a name stands for, which files are images, how they are turned, and that what is
used and what is left out are all that there is.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nni_plugins.evaluators.data import load as load_settings
from nni_plugins.evaluators.data.decoding import header, open_rgb, read_image
from nni_plugins.evaluators.data.folder import listed, load
from nni_plugins.evaluators.data.images import hold_out
from nni_plugins.evaluators.data.names import is_image, part_of, readable
from nni_plugins.evaluators.data.report import DataReport, LeftOut, PartReport, tell
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.retraining.pictures import open_pictures
from nni_plugins.evaluators.retraining.settings import PictureSettings

LEFT_OVER = (
    "@eaDir",
    "__MACOSX",
    "lost+found",
    "#recycle",
    "$RECYCLE.BIN",
    ".Trash-1000",
    ".ipynb_checkpoints",
    "@Recycle",
)


def fill(place: Path, count: int, first: int = 0) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.new("RGB", (8, 8), (i, 100, 200)).save(place / f"{i}.png")
    return place


def classes(place: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        fill(place / name, count)
    return place


def parts_of(root: Path) -> dict[str, int]:
    return {name: len(part.files) for name, part in listed(str(root)).parts.items()}


# Names of parts


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ("train Training TRAIN training_set train-set trainset train2017 train_images images.train traindata", "train"),
        ("val valid Validation validation_set val2017 dev dev-set devset eval", "val"),
        ("test Testing test_set testset test2017 test_images Test-Data", "test"),
        ("trainer trains contest testament value values device cat images set data 2017 trainannot train_labels", None),
    ],
)
def test_which_part_a_name_stands_for(names: str, part: str | None) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)
    assert part_of("Test photos") == "test" and part_of("training data set") == "train" and part_of("test tube") is None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("images_train", "dev"),
        ("TRAIN", "Validation images"),
    ],
)
def test_parts_by_the_names_in_use(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / train, {"cat": 4, "dog": 3}), classes(tmp_path / test, {"cat": 2, "dog": 1})
    data = load(str(tmp_path), 8)
    assert data.train.classes == ("cat", "dog") and data.test is not None and data.report is not None
    assert data.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1] and data.test.labels.tolist() == [0, 0, 1]
    assert data.report.parts == {
        "train": PartReport(7, {"cat": 4, "dog": 3}),
        "test": PartReport(3, {"cat": 2, "dog": 1}),
    }
    pictures = open_pictures(PictureSettings(path=str(tmp_path)))
    assert (len(pictures.train), len(pictures.test)) == (7, 3) and pictures.report is not None
    assert pictures.report.parts == data.report.parts


@pytest.mark.parametrize("outer", [("seg_one", "seg_two"), ("left", "right", "middle"), ("part a", "part b")])
def test_equal_class_folders_are_no_classes(tmp_path: Path, outer: tuple[str, ...]) -> None:
    for name in outer:
        classes(tmp_path / name, {"cat": 2, "dog": 2})
    with pytest.raises(DataError, match=r"each hold the folders cat, dog, so they are no classes\.\nCall parts train"):
        listed(str(tmp_path))


def test_parts_inside_of_classes_are_no_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        classes(tmp_path / name, {"train": 3, "test": 1})
    with pytest.raises(DataError, match=r"cat, dog each hold the folders test, train, so they are no classes"):
        listed(str(tmp_path))


def test_one_folder_in_each_class_is_no_part(tmp_path: Path) -> None:
    """As in TinyImageNet."""
    fill(tmp_path / "n01/images", 5), fill(tmp_path / "n02/images", 5)
    assert listed(str(tmp_path)).parts["train"].classes == ("n01", "n02")


def test_parts_a_folder_too_deep(tmp_path: Path) -> None:
    classes(tmp_path / "archive/train", {"cat": 2, "dog": 2}), classes(tmp_path / "archive/test", {"cat": 2, "dog": 2})
    with pytest.raises(DataError, match=r"its only folder of images, archive, holds the parts\.\nGive .*archive\."):
        listed(str(tmp_path))


def test_two_folders_of_one_part(tmp_path: Path) -> None:
    for name in ("train", "Training", "test"):
        classes(tmp_path / name, {"cat": 2, "dog": 2})
    with pytest.raises(DataError, match="Training and train are both names of the part train"):
        listed(str(tmp_path))


def test_names_of_parts_may_be_classes_where_nothing_is_called_train(tmp_path: Path) -> None:
    classes(tmp_path, {"valid": 5, "invalid": 5})
    assert listed(str(tmp_path)).parts["train"].classes == ("invalid", "valid")


@pytest.mark.parametrize("val", [True, False])
def test_flat_test_images_beside_class_folders(tmp_path: Path, val: bool) -> None:
    """As in ImageNet, and in contests, which have no val either."""
    classes(tmp_path / "train", {"cat": 10, "dog": 10}), fill(tmp_path / "test", 6)
    if val:
        classes(tmp_path / "val", {"cat": 2, "dog": 3})
    data = load_settings(DataSettings(source="folder", path=str(tmp_path), image_size=8))
    assert data.test is not None and data.report is not None
    assert (len(data.train), len(data.test)) == ((20, 5) if val else (16, 4))
    assert [(one.count, one.why) for one in data.report.left_out] == [
        (6, "test has no class folders, the training images have")
    ]
    assert data.report.images == 31 - (0 if val else 5)


def test_what_lies_beside_the_parts_is_named(tmp_path: Path) -> None:
    classes(tmp_path / "train", {"cat": 3, "dog": 3}), classes(tmp_path / "test", {"cat": 1, "dog": 1})
    classes(tmp_path / "val", {"cat": 2, "dog": 2}), fill(tmp_path / "extra/deep", 7), fill(tmp_path, 1)
    report = load(str(tmp_path), 8).report
    assert report is not None and report.images == 20
    assert [(one.count, one.what, one.why) for one in report.left_out] == [
        (4, "images", "val is used only where a validation part is asked for"),
        (8, "images", "outside of the folders that are read"),
    ]


# Which files are images


def test_images_by_content_and_unusual_suffixes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(buffer, "JPEG")
    for i, name in enumerate(("a.jfif", "b.JPE", "c", "d.image", "e.jpg_large")):
        (tmp_path / name).write_bytes(buffer.getvalue())
        assert is_image(tmp_path / name), (i, name)
    for name in ("notes.txt", "labels.json", "BMW", "clip.mp4"):
        (tmp_path / name).write_bytes(b"BM not an image")
        assert not is_image(tmp_path / name), name
    assert parts_of(tmp_path) == {"train": 5}


def test_formats_that_are_not_read_are_counted(tmp_path: Path) -> None:
    classes(tmp_path, {"cat": 5, "dog": 5})
    for i in range(3):
        (tmp_path / f"cat/{i}.HEIC").write_bytes(b"x")
    report = load(str(tmp_path), 8).report
    assert report is not None and report.images == 13
    assert (
        report.left_out[0]
        .sentence()
        .startswith("Left out: 3 images, in formats that are not read (3 .heic); save them as JPEG or PNG: cat/0.HEIC")
    )
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl/a.avif").write_bytes(b"x")
    with pytest.raises(DataError, match=r"the class owl holds no image that can be read \(1 \.avif\)"):
        load(str(tmp_path), 8)


def test_folders_without_images_are_said_to_be_no_classes(tmp_path: Path) -> None:
    classes(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "notes").mkdir()
    report = load(str(tmp_path), 8).report
    assert report is not None and report.remarks == ("No class, for they hold no images: notes.",)


def test_what_systems_leave_behind_is_nothing(tmp_path: Path) -> None:
    classes(tmp_path, {"cat": 5, "dog": 5})
    for place in (tmp_path, tmp_path / "cat"):
        for name in LEFT_OVER:
            fill(place / name, 2)
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._0.png"):
            (place / name).write_bytes(b"x")
    data = load(str(tmp_path), 8)
    assert data.train.classes == ("cat", "dog") and data.report is not None and data.report.images == 10
    assert data.report.left_out == () and data.report.remarks == ()


# Classes


@pytest.mark.parametrize("single", ["aa", "mm", "zz"])
def test_a_class_of_one_image_is_trained_on(tmp_path: Path, single: str) -> None:
    """Whatever the draw: without care one of five lies in the test part."""
    for i in range(8):
        root = classes(tmp_path / str(i), {"bb": 3 + i, single: 1, "nn": 3})
        data = load(str(root), 8)
        assert set(data.train.labels.tolist()) == {0, 1, 2} and data.test is not None and len(data.test) >= 1
        assert len(data.train) + len(data.test) == 7 + i


def test_no_class_is_lost_when_images_are_held_out() -> None:
    draws = np.random.default_rng(0)
    for _ in range(200):
        counts = draws.integers(1, 6, draws.integers(2, 9))
        labels = draws.permutation(np.repeat(np.arange(len(counts)), counts))
        if counts.max() == 1:
            continue
        train, test = hold_out(len(labels), labels=labels)
        assert set(labels[train]) == set(labels) and len(test) and sorted([*train, *test]) == list(range(len(labels)))
    with pytest.raises(DataError, match="every class has one"):
        hold_out(9, labels=np.arange(9))


def test_every_class_of_one_image(tmp_path: Path) -> None:
    classes(tmp_path, {"cat": 1, "dog": 1, "owl": 1})
    data = load(str(tmp_path), 8)
    assert len(data.train) == 3 and data.test is None
    with pytest.raises(DataError, match="of 3 images none can be held out: every class has one"):
        open_pictures(PictureSettings(path=str(tmp_path)))


def test_a_class_whose_only_image_is_broken(tmp_path: Path) -> None:
    classes(tmp_path / "train", {"cat": 5, "dog": 1}), classes(tmp_path / "test", {"cat": 2, "dog": 2})
    (tmp_path / "train/dog/0.png").write_bytes(b"")
    for read in (lambda: load(str(tmp_path), 8), lambda: open_pictures(PictureSettings(path=str(tmp_path)))):
        with pytest.raises(DataError, match="no image to train on of dog"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()


def test_names_in_other_encodings(tmp_path: Path) -> None:
    """A Latin-1 name from an old disk in one part, a decomposed one from a Mac in the other, are the same class."""
    for part, raw in (("train", b"caf\xe9"), ("test", "cafe\u0301".encode())):
        fill(tmp_path / part / "tea", 2)
        fill(tmp_path / part / os.fsdecode(raw), 3)
    data = load(str(tmp_path), 8)
    assert data.train.classes == ("café", "tea") and data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.report is not None
    tell(data.report, tmp_path / "run")
    assert json.loads((tmp_path / "run/data.json").read_text())["parts"]["test"]["images"] == {"café": 3, "tea": 2}
    assert readable(os.fsdecode(b"caf\xe9")) == "café" and open_pictures(
        PictureSettings(path=str(tmp_path))
    ).train.image(0)
    fill(tmp_path / "train" / "café", 1)
    with pytest.raises(DataError, match="two class folders have the same name in two encodings"):
        load(str(tmp_path), 8)


# Photographs that a camera marked as turned


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("mark", range(1, 9))
def test_photographs_are_read_upright(tmp_path: Path, suffix: str, mark: int) -> None:
    """The upright image has red above and blue on the right below; it is stored as each mark says."""
    upright = np.zeros((40, 24, 3), np.uint8)
    upright[:20], upright[20:, 12:] = (250, 0, 0), (0, 0, 250)
    steps: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = mark
    file = str(tmp_path / f"a.{suffix}")
    Image.fromarray(np.ascontiguousarray(steps[mark](upright))).save(file, exif=exif, quality=100)
    opened = open_rgb(file)
    assert not isinstance(opened, str)
    assert np.abs(np.asarray(opened).astype(int) - upright).mean() < 12 and header(file).size == (40, 24)
    row = np.empty((3, 20, 12), np.uint8)
    assert read_image(file, row) is None
    assert np.abs(row.astype(int) - upright[::2, ::2].transpose(2, 0, 1)).mean() < 15
    if suffix != "tif":
        stored = open_rgb(file, upright=False)
        assert not isinstance(stored, str) and stored.size == header(file).stored[::-1]


def test_damaged_marks_leave_the_image_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    assert header(str(tmp_path / "a.jpg")).size == (6, 8)


# Everything is counted


def tree(root: Path, draws: np.random.Generator) -> int:
    """Files of all kinds in folders of all names; how many of them are images, readable or not."""
    expected = 0
    for number in range(draws.integers(1, 9)):
        part = draws.choice(["train", "train", "Testing", "dev", "other", "@eaDir"])
        kind = draws.choice(["png", "png", "jfif", "heic", "txt", "broken"])
        place = root / part / draws.choice(["a", "b", "."]) / draws.choice([".", "deep", "deep/er"])
        place.mkdir(parents=True, exist_ok=True)
        for i in range(draws.integers(1, 4)):
            if kind in ("png", "jfif"):
                Image.new("RGB", (4, 4)).save(place / f"{number}-{i}.{kind}", "PNG")
            else:
                (place / f"{number}-{i}.{'png' if kind == 'broken' else kind}").write_bytes(b"x")
            expected += part != "@eaDir" and kind != "txt"
    return expected


@pytest.mark.filterwarnings("ignore")
def test_used_and_left_out_are_all_that_there_is(tmp_path: Path) -> None:
    """Of any folder: either a sentence why not, or every image is accounted for, by name if it is not used."""
    draws, read_ones = np.random.default_rng(0), 0
    for number in range(120):
        root = tmp_path / str(number)
        expected = tree(root, draws)
        readers: list[Callable[[], DataReport | None]] = [
            lambda root=root: load(str(root), 4).report,  # type: ignore[misc]
            lambda root=root: open_pictures(PictureSettings(path=str(root))).report,  # type: ignore[misc]
        ]
        for read in readers:
            try:
                report = read()
            except DataError as error:
                assert error.problem
                continue
            read_ones += 1
            assert report is not None and report.images == expected
            assert all(one.count == len(one.names) for one in report.left_out)
    assert read_ones > 25


def test_draws_are_counted(tmp_path: Path) -> None:
    classes(tmp_path / "train", {"cat": 20, "dog": 10}), classes(tmp_path / "test", {"cat": 2, "dog": 2})
    report = load_settings(DataSettings(source="folder", path=str(tmp_path), image_size=8, limit=12)).report
    assert report is not None and report.images == 34 and report.parts["train"].images == 12
    assert sum(report.parts["train"].classes.values()) == 12
    assert report.left_out == (LeftOut(18, "images", "not drawn (limit, per_class)"),)
    fewer = report.limited("train", 5, "not drawn (search_limit)")
    assert fewer.images == 34 and fewer.parts["train"] == PartReport(5)
    data = open_pictures(PictureSettings(path=str(tmp_path), limit=12, test_limit=3, validation=0.25))
    assert data.report is not None and data.report.images == 34
    assert {name: part.images for name, part in data.report.parts.items()} == {"train": 9, "validation": 3, "test": 3}


def test_a_report_in_words_and_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "train": PartReport(3, {"cat": 2, "dog": 1}),
        "test": PartReport(1, {f"c{i}": i for i in range(1, 12)}, "boxes"),
    }
    report = DataReport("/home/ada/pets", parts, (LeftOut(1, "images", "cannot be read", ("a.jpg",)),), ("A remark.",))
    assert report.sentences() == [
        "Data: pets, 5 images.",
        "  train: 3 images; images of 2 classes: cat 2, dog 1.",
        "  test: 1 image; boxes of 11 classes, from 1 (c1) to 11 (c11).",
        "  Left out: 1 image, cannot be read: a.jpg.",
        "  A remark.",
    ]
    for _ in range(2):
        tell(report, tmp_path)
    assert capsys.readouterr().err.count("Data: pets") == 1
    stored = (tmp_path / "data.json").read_text()
    assert "ada" not in stored and json.loads(stored)["left_out"] == [
        {"count": 1, "what": "images", "why": "cannot be read", "names": ["a.jpg"]}
    ]


def test_a_training_that_has_begun_keeps_its_report(tmp_path: Path) -> None:
    first, second = (DataReport("a", {"train": PartReport(count)}) for count in (1, 2))
    for report, begun, images in ((first, False, 1), (second, False, 2), (first, True, 2)):
        if begun:
            (tmp_path / "run.json").write_text("{}")
        tell(report, tmp_path)
        assert json.loads((tmp_path / "data.json").read_text())["images"] == images


@pytest.mark.parametrize("source", ["digits", "npz"])
def test_every_source_has_a_report(tmp_path: Path, source: str) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((6, 4, 4), np.uint8))
    data = load_settings(DataSettings(source=source, path=None if source == "digits" else str(tmp_path / "a.npz")))  # type: ignore[arg-type]
    assert data.report is not None
    assert data.report.images == len(data.train) + (0 if data.test is None else len(data.test))
    assert isinstance(data.train.images, torch.Tensor)
