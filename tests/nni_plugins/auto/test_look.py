"""What a folder is taken for, and what people are told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from nni_plugins.auto.look import LEAST, look
from nni_plugins.evaluators.errors import DataError

from .folders import write_boxes, write_classes, write_images, write_masks


def test_images_alone(tmp_path: Path) -> None:
    found = look(write_images(tmp_path, LEAST))
    assert (found.judge, found.parts, found.training_images) == ("nothing", {"train": LEAST}, LEAST)
    assert (found.smallest, found.median, found.largest) == ((40, 40),) * 3
    assert found.sentences() == [f"{LEAST} images, 40 x 40 pixels.", "They have no labels."]


def test_class_folders(tmp_path: Path) -> None:
    found = look(write_classes(tmp_path, 30))
    assert (found.judge, found.parts) == ("labels", {"train": 72, "test": 18})
    assert found.classes == ("class0", "class1", "class2")
    assert found.sentences()[-1] == "They have labels: 3 classes (class0, class1, class2)."


def test_one_class_says_nothing(tmp_path: Path) -> None:
    found = look(write_classes(tmp_path, 80, classes=1))
    assert found.judge == "nothing"
    assert found.sentences()[-1] == "class0 is their only class, which tells no network from another."


def test_boxes(tmp_path: Path) -> None:
    found = look(write_boxes(tmp_path, 50))
    assert (found.judge, found.parts, found.boxes, found.classes) == (
        "boxes",
        {"train": 50, "val": 50},
        100,
        ("thing",),
    )
    assert found.folder == tmp_path / "images"
    assert "All parts share one folder" in found.remark


def test_masks(tmp_path: Path) -> None:
    found = look(write_masks(tmp_path, 50))
    assert (found.judge, found.parts, found.classes) == ("masks", {"train": 50, "test": 50}, ("ground", "line"))


def test_masks_of_some_images(tmp_path: Path) -> None:
    write_masks(tmp_path, 50)
    (tmp_path / "trainannot" / "0007.png").unlink()
    with pytest.raises(DataError, match=r"1 of 50 images in train have no image of labels, such as .*0007\.png"):
        look(tmp_path)


def test_frames_of_a_masked_folder_without_masks(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_images(tmp_path / part, 50)
    assert (look(tmp_path).judge, look(tmp_path).parts) == ("nothing", {"train": 50, "test": 50})


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_and_deep_images(tmp_path: Path, mode: str) -> None:
    assert look(write_images(tmp_path, LEAST, mode=mode)).images == LEAST


def test_all_sizes_differ(tmp_path: Path) -> None:
    for i in range(LEAST):
        Image.new("RGB", (40 + i, 30 + i)).save(tmp_path / f"{i}.png")
    found = look(tmp_path)
    assert (found.smallest, found.largest) == ((30, 40), (30 + LEAST - 1, 40 + LEAST - 1))
    assert found.sentences()[0].startswith(f"{LEAST} images, 40 x 30 to 87 x 77 pixels, 64 x 54 in the middle")


@pytest.mark.parametrize(("count", "named"), [(12, "12 images"), (0, "holds no images")])
def test_too_few(tmp_path: Path, count: int, named: str) -> None:
    with pytest.raises(DataError, match=named):
        look(write_images(tmp_path, count))


def test_half_of_them_unreadable(tmp_path: Path) -> None:
    write_images(tmp_path, 60)
    for i in range(60):
        (tmp_path / f"broken{i}.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match="60 of 120 images cannot be read"):
        look(tmp_path)


def test_one_unreadable_is_named(tmp_path: Path) -> None:
    (write_images(tmp_path, LEAST) / "bad.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        found = look(tmp_path)
    assert found.left_out == ("bad.jpg",)
    assert "1 cannot be read and are left out: bad.jpg." in found.sentences()


@pytest.mark.parametrize("name", ["missing", "file.txt"])
def test_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match=r"no such folder|is a file"):
        look(tmp_path / name)


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    """Parts by the names in use; what else lies there is counted."""
    (
        write_classes(tmp_path / "Training", 30),
        write_classes(tmp_path / "Testing", 5),
        write_images(tmp_path / "@eaDir", 3),
    )
    write_images(tmp_path / "more", 2)
    found = look(tmp_path)
    assert (found.judge, found.parts) == ("labels", {"train": 90, "test": 15})
    assert found.sentences()[-1] == (
        "Left out: 2 images, outside of the folders that are read: more/0000.png, more/0001.png."
    )
