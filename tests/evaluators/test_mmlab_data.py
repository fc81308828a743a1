"""Data sets of detection and segmentation: layouts that are read, and everything that is refused before a training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.mmlab.detection_data import detection_data
from nni_plugins.evaluators.mmlab.segmentation_data import read_labels, segmentation_data

from .transfer_data import NAMES, camvid, coco

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).parents[2] / "../shared/data"))


@pytest.mark.parametrize(
    "layout",
    [
        "{}.json",
        "instances_{}.json",
        "annotations/instances_{}.json",
        "annotations/instances_{}2017.json",
        "{}/_annotations.coco.json",
    ],
)
def test_layouts_of_boxes(tmp_path: Path, layout: str) -> None:
    coco(tmp_path, layout=layout)
    found = detection_data(str(tmp_path))
    assert found.classes == NAMES and set(found.parts) == {"train", "val"} and found.tested == "val"
    assert (found.parts["train"].count, found.parts["train"].boxes, found.parts["val"].count) == (8, 16, 3)
    assert found.parts["train"].images == tmp_path / "images" and found.parts["val"].annotations.is_file()


def test_images_in_a_folder_of_each_part(tmp_path: Path) -> None:
    """COCO's own folders."""
    coco(tmp_path, {"train": 2, "val": 2, "test": 1}, layout="annotations/instances_{}2017.json")
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}2017").mkdir()
        for file in (tmp_path / "images").glob(f"{split}*"):
            file.rename(tmp_path / f"{split}2017" / file.name)
    found = detection_data(str(tmp_path))
    assert (
        found.parts["val"].images == tmp_path / "val2017" and found.tested == "test" and found.parts["test"].count == 1
    )


Content = dict[str, Any]


def without(key: str, entry: str) -> Callable[[Content], None]:
    return lambda content: content[key][0].pop(entry)


def setting(key: str, entry: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content[key][0].update({entry: value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content.pop("images"), "'images' must be a list of objects"),
        (without("images", "width"), r"images\[0\] has no 'width'"),
        (without("annotations", "area"), r"annotations\[0\] has no 'area'"),
        (without("annotations", "iscrowd"), r"annotations\[0\] has no 'iscrowd'"),
        (setting("images", "id", "a"), "ids of images must be whole numbers"),
        (setting("images", "width", 0), r"images\[0\]: file_name must be a text"),
        (setting("annotations", "id", 2), "ids of annotations are not unique"),
        (setting("annotations", "image_id", 77), r"annotations\[0\] is of image 77, which is not listed"),
        (setting("annotations", "category_id", 77), r"annotations\[0\] is of category 77, which is not listed"),
        (setting("annotations", "bbox", [1, 2, 3]), r"bbox must be \[x, y, width, height\]"),
        (setting("annotations", "area", None), "area must be a number"),
        (setting("categories", "name", "bar"), "names of categories must be texts, each once"),
        (lambda content: content.update(images=[], annotations=[]), "lists no images"),
        (lambda content: content.update(annotations=[]), "holds no box"),
    ],
)
def test_annotations_that_are_refused(tmp_path: Path, spoil: Callable[[Content], Any], message: str) -> None:
    content = coco(tmp_path)["train"]
    spoil(content)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"train.json .*{message}"):
        detection_data(str(tmp_path))


def test_missing_images_are_named(tmp_path: Path) -> None:
    coco(tmp_path)
    for i in range(4):
        (tmp_path / f"images/train{i}.png").unlink()
    with pytest.raises(
        DataError,
        match=r"train.json points to 4 of 8 images that are not in .*images: train0.png, train1.png, train2.png, \.\.\.",
    ):
        detection_data(str(tmp_path))


@pytest.mark.parametrize("change", [{"name": "ring"}, {"id": 9}])
def test_categories_that_do_not_match(tmp_path: Path, change: dict[str, Any]) -> None:
    content = coco(tmp_path)["val"]
    content["categories"][1].update(change)
    content["annotations"] = [box for box in content["annotations"] if box["category_id"] == 1]
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"categories do not match: at place 2, train.json has .*bar.* and val.json has"
    ):
        detection_data(str(tmp_path))


def test_folders_without_boxes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        detection_data(str(tmp_path / "nowhere"))
    with pytest.raises(
        DataError,
        match=r"no annotation file of train and val; found nothing\.\nExpected annotation files in COCO's format",
    ):
        detection_data(str(tmp_path))
    coco(tmp_path, {"train": 1})
    with pytest.raises(DataError, match=r"no annotation file of val; found images/, train\.json"):
        detection_data(str(tmp_path))
    (tmp_path / "val.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*val.json: it is no JSON"):
        detection_data(str(tmp_path))


# Segmentation


def test_images_with_labels(tmp_path: Path) -> None:
    camvid(tmp_path, {"train": 3, "val": 2, "test": 2})
    found = segmentation_data(str(tmp_path))
    assert (
        found.classes == ("Sky", "Ground")
        and found.tested == "test"
        and {key: len(part) for key, part in found.parts.items()}
        == {
            "train": 3,
            "val": 2,
            "test": 2,
        }
    )
    labels = read_labels(found.parts["train"][0][1], found.table)
    assert (
        labels.shape == (48, 64)
        and np.unique(labels).tolist() == [0, 1, 255]
        and labels[0, 0] == 0
        and labels[-1, -1] == 1
    )


def test_images_and_labels_in_two_folders(tmp_path: Path) -> None:
    camvid(tmp_path)
    for split in ("train", "val"):
        for kind, name in (("images", split), ("masks", f"{split}annot")):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / name).rename(tmp_path / kind / split)
    found = segmentation_data(str(tmp_path))
    assert (
        len(found.parts["train"]) == 8
        and found.parts["val"][1][1] == str(tmp_path / "masks/val/1.png")
        and found.tested == "val"
    )
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"has no classes\.txt"):
        segmentation_data(str(tmp_path))


def test_labels_that_are_refused(tmp_path: Path) -> None:
    camvid(tmp_path)
    label = tmp_path / "trainannot/0.png"
    with pytest.raises(DataError, match=r"Expected CamVid's layout[\s\S]*images/\{train"):
        segmentation_data(str(tmp_path / "train"))
    for pixels, message in (
        (np.full((48, 64), 9, np.uint8), "holds the label 9, but labels go from 0 to 2, and 255 is no label"),
        (np.zeros((48, 64, 3), np.uint8), r"is painted in colours \(mode RGB\), and no table"),
        (np.zeros((10, 10), np.uint8), "has 10x10 pixels, but its image has 64x48"),
    ):
        Image.fromarray(pixels).save(label)
        with pytest.raises(DataError, match=f"0.png: {message}"):
            segmentation_data(str(tmp_path))
    label.unlink()
    with pytest.raises(DataError, match=r"1 of 8 label images of train are missing: trainannot/0.png\."):
        segmentation_data(str(tmp_path))
    for file in (tmp_path / "trainannot").iterdir():
        file.unlink()
    (tmp_path / "trainannot").rmdir()
    with pytest.raises(DataError, match="the part train has no labels"):
        segmentation_data(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "read", "classes", "images"),
    [("bccd_detection", detection_data, 3, [205, 87, 72]), ("camvid_half", segmentation_data, 11, [367, 101, 233])],
)
def test_real_data(name: str, read: Callable[[str], Any], classes: int, images: list[int]) -> None:
    place = REAL_DATA / name
    if not place.is_dir():
        pytest.skip(f"needs {place}, which is not part of this project (set NNI_PLUGINS_DATA)")
    found = read(str(place))
    assert len(found.classes) == classes and found.tested == "test"
    assert [
        getattr(part, "count", 0) if name == "bccd_detection" else len(part) for part in found.parts.values()
    ] == images
