"""Boxes and label images as people have them: what is mended and said, what is refused, and that the rest is right."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.report import LeftOut, PartReport
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, DataError, TrainingError
from nni_plugins.evaluators.mmlab.config import BackboneChoice, config
from nni_plugins.evaluators.mmlab.detection_data import DetectionData, detection_data
from nni_plugins.evaluators.mmlab.recipes import changed, recipe
from nni_plugins.evaluators.mmlab.run import _in_words
from nni_plugins.evaluators.mmlab.segmentation_data import read_labels, segmentation_data

from .transfer_data import camvid, coco

Content = dict[str, Any]


def spoilt(root: Path, spoil: Callable[[Content], Any], split: str = "train") -> DetectionData:
    """The data set whose annotation file of ``split`` was changed."""
    content = coco(root)[split]
    spoil(content)
    (root / f"{split}.json").write_text(json.dumps(content))
    return detection_data(str(root))


def reread(data: DetectionData, folder: Path, split: str = "train") -> Content:
    return dict(json.loads(data.written(folder).parts[split].annotations.read_text()))


# Boxes


def test_what_is_in_order_is_read_as_it_is(tmp_path: Path) -> None:
    coco(tmp_path)
    data = detection_data(str(tmp_path))
    assert data.written(tmp_path / "out") == data and not (tmp_path / "out").exists()
    assert data.report.parts == {
        "train": PartReport(8, {"disc": 8, "bar": 8}, "boxes"),
        "val": PartReport(3, {"disc": 3, "bar": 3}, "boxes"),
    }
    assert data.report.left_out == () and data.report.remarks == () and data.report.images == 11


def test_a_byte_order_mark_and_another_encoding(tmp_path: Path) -> None:
    coco(tmp_path)
    for name, encoded in (("train", codecs.BOM_UTF8 + (tmp_path / "train.json").read_bytes()),
                          ("val", (tmp_path / "val.json").read_text().encode("utf-16"))):  # fmt: skip
        (tmp_path / f"{name}.json").write_bytes(encoded)
    data = detection_data(str(tmp_path))
    for name in ("train", "val"):
        file = data.written(tmp_path / "out").parts[name].annotations
        assert file == tmp_path / f"out/{name}.json" and len(json.loads(file.read_bytes().decode("ascii"))["images"])


def perfect(content: Content) -> float:
    """Mean average precision of detections that are the truth."""
    api = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = api.COCO()
    truth.dataset = {"info": {}, **content}
    truth.createIndex()
    found = [
        {"image_id": box["image_id"], "category_id": box["category_id"], "bbox": box["bbox"], "score": 0.9}
        for box in content["annotations"]
        if not box["iscrowd"]
    ]
    measured = evaluation.COCOeval(truth, truth.loadRes(found), "bbox")
    measured.evaluate(), measured.accumulate(), measured.summarize()
    return float(measured.stats[0])


def numbered_from_0(content: Content) -> None:
    for key in ("images", "annotations", "categories"):
        for i, entry in enumerate(content[key]):
            entry["id"] = i
    for box in content["annotations"]:
        box["image_id"], box["category_id"] = box["image_id"] - 1, box["category_id"] - 1


def test_annotations_numbered_from_0(tmp_path: Path) -> None:
    """pycocotools takes the number 0 for no box, so a perfect detector would lose one."""
    given = coco(tmp_path)
    for split, raw in given.items():
        numbered_from_0(raw)
        (tmp_path / f"{split}.json").write_text(json.dumps(raw))
    data = detection_data(str(tmp_path))
    assert any("numbered anew" in remark for remark in data.report.remarks)
    for split, raw in given.items():
        mended = reread(data, tmp_path / "out", split)
        assert min(box["id"] for box in mended["annotations"]) == 1
        assert [box["bbox"] for box in mended["annotations"]] == [box["bbox"] for box in raw["annotations"]]
        assert perfect(raw) < 1 == perfect(mended)


def test_boxes_without_an_area_are_learnt(tmp_path: Path) -> None:
    data = spoilt(tmp_path, lambda content: [box.update(area=0) for box in content["annotations"][:6]])
    assert data.parts["train"].boxes == 16 and "6 boxes have the area 0" in data.report.remarks[0]
    assert all(box["area"] == box["bbox"][2] * box["bbox"][3] for box in reread(data, tmp_path / "out")["annotations"])


def test_crowds_are_said(tmp_path: Path) -> None:
    data = spoilt(tmp_path, lambda content: [box.update(iscrowd=1) for box in content["annotations"][:2]])
    assert data.parts["train"].boxes == 14 and data.parts["train"].classes == {"disc": 7, "bar": 7}
    assert data.report.remarks == (
        "train: 2 boxes are crowds (iscrowd): they are not learnt, and found or not does not count.",
    )
    assert data.report.left_out == (LeftOut(1, "images", "without a box to train on", ("train0.png",)),)
    assert data.report.images == 11 and data.trained == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][3].update(bbox=[500, 5, 20, 20]), r"1 of 16 boxes lie outside .*\[500, 5, 20, 20\] of train1.png, which has 96x64"),
        (lambda c: c["annotations"][3].update(bbox=[-30, -30, 20, 20]), "1 of 16 boxes lie outside of their images"),
        (lambda c: [b.update(bbox=[b["bbox"][0], b["bbox"][1], 90, 60]) for b in c["annotations"]], "boxes stick out of their images"),
        (lambda c: [b.update(bbox=[0.1, 0.2, 0.5, 0.5]) for b in c["annotations"]], "not in shares of the image"),
        (lambda c: c["images"][2].update(width=64, height=96), r"1 of 8 images have another size .*train2.png has 96x64 pixels, but 64x96 in the file"),
        (lambda c: [i.update(width=192, height=128) for i in c["images"]], "8 of 8 images have another size"),
        (lambda c: c.update(annotations=[b for b in c["annotations"] if b["category_id"] == 1]), "no box to train on of bar, which has boxes elsewhere"),
        (lambda c: [b.update(iscrowd=1) for b in c["annotations"] if b["category_id"] == 2], r"no box to train on of bar.*crowds are not learnt"),
        (lambda c: [b.update(iscrowd=1) for b in c["annotations"]], "all 16 are crowds"),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_right(tmp_path: Path, change: Callable[[Content], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        spoilt(tmp_path, change)


def test_a_box_that_sticks_out_is_cut(tmp_path: Path) -> None:
    data = spoilt(tmp_path, lambda c: c["annotations"][0].update(bbox=[-10, 40, 20, 40], area=800))
    box = reread(data, tmp_path / "out")["annotations"][0]
    assert box["bbox"] == [0, 40, 10, 24] and box["area"] == 240
    assert data.report.remarks == ("train: 1 boxes stick out of their images, and are cut at the border.",)


def test_boxes_of_less_than_a_pixel_are_left_out(tmp_path: Path) -> None:
    data = spoilt(tmp_path, lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 3]))
    assert data.parts["train"].boxes == 15 == len(reread(data, tmp_path / "out")["annotations"])
    assert data.report.left_out == (LeftOut(1, "boxes", "of less than a pixel within their images"),)


def test_a_category_without_boxes_is_no_class(tmp_path: Path) -> None:
    """Roboflow's files begin with one."""
    for split, content in coco(tmp_path).items():
        content["categories"] = [{"id": 0, "name": "cells"}, *content["categories"]]
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    data = detection_data(str(tmp_path))
    assert data.classes == ("disc", "bar") and data.report.remarks == (
        "No class, for they have no box anywhere: cells.",
    )


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_images_that_cannot_be_read_are_named(tmp_path: Path, content: bytes) -> None:
    coco(tmp_path)
    (tmp_path / "images/train3.png").write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 8 images in .* cannot be read: train3\.png \("):
        detection_data(str(tmp_path))


def test_images_that_no_file_lists_and_images_in_two_parts(tmp_path: Path) -> None:
    coco(tmp_path)
    Image.new("RGB", (5, 5)).save(tmp_path / "images/more.jpg")
    content = json.loads((tmp_path / "val.json").read_text())
    content["images"][0]["file_name"] = "train1.png"
    (tmp_path / "val.json").write_text(json.dumps(content))
    report = detection_data(str(tmp_path)).report
    assert report.left_out == (LeftOut(2, "images", "in no annotation file", ("images/more.jpg", "images/val0.png")),)
    assert report.remarks == ("1 images are in more than one part, so the test is no test: images/train1.png.",)


@pytest.mark.parametrize(
    ("layout", "names"),
    [("annotations/instances_{}.json", ("training", "dev")), ("{}.json", ("Train", "validation_set")),
     ("{}/_annotations.coco.json", ("train_set", "valid"))],
)  # fmt: skip
def test_parts_of_boxes_by_the_names_in_use(tmp_path: Path, layout: str, names: tuple[str, str]) -> None:
    coco(tmp_path, {names[0]: 4, names[1]: 2}, layout=layout)
    parts = detection_data(str(tmp_path)).parts
    assert {name: part.count for name, part in parts.items()} == {"train": 4, "val": 2}


MARKED = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180, 8: Image.Transpose.ROTATE_270}


@pytest.mark.parametrize("stored", [True, False])
def test_boxes_of_photographs_that_a_camera_marked_as_turned(tmp_path: Path, stored: bool) -> None:
    """The sizes in the file say whether boxes are of stored or of upright pixels; either way what is in a box is what was
    drawn there, the bright disc.
    """
    reading = pytest.importorskip("nni_plugins.evaluators.mmlab.reading", reason="needs mmcv")
    content = coco(tmp_path)["train"]
    for entry, mark in zip(content["images"], (6, 3, 8, 1, 6, 3, 1, 1), strict=True):
        file = tmp_path / "images" / entry["file_name"]
        with Image.open(file) as opened:
            drawn = opened.convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = mark
        pixels = drawn if stored or mark == 1 else drawn.transpose(MARKED[mark])
        pixels.save(file, exif=exif)
    data = detection_data(str(tmp_path))
    as_ = "as they are stored" if stored else "upright"
    assert data.parts["train"].stored is stored
    assert data.report.remarks == (
        f"train: 5 photographs have a camera's rotation mark; by their sizes boxes are of the pixels {as_}.",
    )
    reader = reading.ReadImage(stored=stored)
    for entry in content["images"]:
        path = str(tmp_path / "images" / entry["file_name"])
        read = reader.transform({"img_path": path, "height": entry["height"], "width": entry["width"]})
        assert read["img_shape"] == (64, 96)
        (box,) = (b["bbox"] for b in content["annotations"] if b["image_id"] == entry["id"] and b["category_id"] == 1)
        assert read["img"][box[1] + 12, box[0] + 12].tolist() == [40, 200, 240]


def test_the_reader_names_what_it_cannot_read(tmp_path: Path) -> None:
    reading = pytest.importorskip("nni_plugins.evaluators.mmlab.reading", reason="needs mmcv")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read \(the file is empty\)"):
        reading.ReadImage().transform({"img_path": str(tmp_path / "a.jpg")})


# Label images


def test_masks_of_0_and_255(tmp_path: Path) -> None:
    camvid(tmp_path)
    (tmp_path / "classes.txt").write_text("0 background\n1 road\n")
    for file in tmp_path.glob("*annot/*.png"):
        Image.fromarray(np.where(np.asarray(Image.open(file)) > 0, 255, 0).astype(np.uint8)).save(file)
    with pytest.raises(
        DataError, match=r"hold 0 and 255, which is no label, so no pixel is of road\.\nSave the number"
    ):
        segmentation_data(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 road\n1 x (ignore)\n2 y (ignore)\n", "there is one class only, road"),
        ("0 Sky\n1 Ground\n2 Car\n", None),
        ("0 Sky\n1 Ground\n2 Void\n3 Car\n", "no pixel to train on of Car"),
        ("\ufeff0 Sky\n1 Ground\n2 Void (ignore)\n", None),
    ],
)
def test_classes_of_label_images(tmp_path: Path, text: str, message: str | None) -> None:
    camvid(tmp_path)
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    if message is None:
        assert segmentation_data(str(tmp_path)).classes[:2] == ("Sky", "Ground")
    else:
        with pytest.raises(DataError, match=message):
            segmentation_data(str(tmp_path))


def test_pixels_are_counted(tmp_path: Path) -> None:
    camvid(tmp_path, {"train": 3, "val": 2})
    data = segmentation_data(str(tmp_path))
    for split, count in (("train", 3), ("val", 2)):
        part, seen = data.report.parts[split], [np.asarray(Image.open(label)) for _, label in data.parts[split]]
        assert part == PartReport(count, {"Sky": sum((x == 0).sum() for x in seen), "Ground": sum((x == 1).sum() for x in seen)}, "pixels")  # fmt: skip
        assert sum(part.classes.values()) == count * 48 * 64 - 2 * 64 * count
    assert data.report.remarks == ("train: 4.2% of the pixels have no label.", "val: 4.2% of the pixels have no label.")
    assert segmentation_data(str(tmp_path), check=False).report.parts["train"] == PartReport(3)


def test_every_pair_is_opened(tmp_path: Path) -> None:
    """Not the first twenty alone."""
    camvid(tmp_path, {"train": 25, "val": 1})
    Image.new("L", (64, 48), 77).save(tmp_path / "trainannot/24.png")
    with pytest.raises(DataError, match=r"24\.png: holds the label 77, but labels go from 0 to 2"):
        segmentation_data(str(tmp_path))
    Image.new("L", (64, 48), 0).save(tmp_path / "trainannot/24.png")
    (tmp_path / "train/23.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"23\.jpg: cannot be read \(the file is empty\)"):
        segmentation_data(str(tmp_path))


def nested(root: Path, images: str, labels: str, suffix: str = "png") -> None:
    """Two towns in each part, of two images each."""
    for split in ("train", "val"):
        for k, name in enumerate(("north/0", "north/1", "south/0", "south/1")):
            for place, size, content in ((images, "jpg", 200), (labels, suffix, k % 2)):
                file = root / place.format(split) / f"{name}.{size}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new(
                    "RGB" if size == "jpg" else "L", (16, 12), content if size != "jpg" else (content, 0, 0)
                ).save(file)
    (root / "classes.txt").write_text("0 a\n1 b\n")


@pytest.mark.parametrize(
    ("images", "labels", "suffix"),
    [("images/{}", "labels/{}", "png"), ("{}", "{}annot", "png"), ("{}", "{}_masks", "tif"), ("imgs/{}", "Annotations/{}", "bmp")],
)  # fmt: skip
def test_label_images_in_folders_below(tmp_path: Path, images: str, labels: str, suffix: str) -> None:
    nested(tmp_path, images, labels, suffix)
    (tmp_path / labels.format("train") / "left.png").write_bytes(
        (tmp_path / labels.format("train") / f"north/0.{suffix}").read_bytes()
    )
    (tmp_path / "train/@eaDir").mkdir(parents=True, exist_ok=True)
    data = segmentation_data(str(tmp_path))
    assert [Path(label).parts[-2:] for _, label in data.parts["train"]] == [
        (town, f"{i}.{suffix}") for town in ("north", "south") for i in (0, 1)
    ]
    assert data.report.left_out[0].sentence().startswith("Left out: 1 label images, without an image: ")
    searched = load(DataSettings(source="segmentation", path=str(tmp_path), image_size=8))
    assert searched.train.maps[:, 0, 0].tolist() == [0, 1, 0, 1] and searched.report is not None
    assert searched.report.images == 8


def test_two_images_that_would_share_a_label_image(tmp_path: Path) -> None:
    camvid(tmp_path)
    Image.new("RGB", (64, 48)).save(tmp_path / "train/0.png")
    with pytest.raises(DataError, match="several images are called 0, so they would share a label image"):
        segmentation_data(str(tmp_path))


@pytest.mark.parametrize("as_seen", [True, False])
def test_label_images_of_photographs_that_a_camera_marked_as_turned(tmp_path: Path, as_seen: bool) -> None:
    """Whether drawn on the upright or on the stored pixels, labels end where the pixels do that they are of."""
    exif = Image.Exif()
    exif[0x0112] = 6
    labels = np.zeros((40, 24), np.uint8)
    labels[:20] = 1
    upright = Image.fromarray(np.stack([250 * labels, 0 * labels, 0 * labels], axis=-1))
    upright.transpose(MARKED[6]).save(tmp_path / "a.jpg", exif=exif, quality=100)
    drawn = Image.fromarray(labels)
    (drawn if as_seen else drawn.transpose(MARKED[6])).save(tmp_path / "a.png")
    table = np.full(256, -1, np.int16)
    table[:2], table[255] = (0, 1), 255
    assert np.array_equal(read_labels(str(tmp_path / "a.png"), table, str(tmp_path / "a.jpg")), labels)


# What a training makes of it


def written(data: Any, name: str, **changes: Any) -> str:
    choice = BackboneChoice("darts_v2", "darts_v2", None, {"channels": 8, "cells": 5, "stem": "imagenet"})
    return config(changed(recipe(name), {"backbone.sizes": {}, **changes}), choice, data, Path("out"))


@pytest.mark.parametrize(
    ("count", "changes", "message"),
    [
        (6, {}, r"6 images to train on do not fill one batch of 8\.\nLower it: --set batch_size=6"),
        (9, {"drop_last": False}, "one would be alone in a batch"),
        (6, {"batch_size": 1}, "one would be alone in a batch"),
        (6, {"batch_size": 6}, None),
        (9, {}, None),
        (6, {"drop_last": False}, None),
    ],
)
def test_batches_of_few_images(tmp_path: Path, count: int, changes: dict[str, Any], message: str | None) -> None:
    camvid(tmp_path, {"train": count, "val": 1})
    data = segmentation_data(str(tmp_path))
    if message is None:
        assert "ReadImage" in written(data, "deeplabv3_small", **changes)
    else:
        with pytest.raises(ConfigError, match=message):
            written(data, "deeplabv3_small", **changes)


def test_small_images_are_trained_on(tmp_path: Path) -> None:
    """mmdet's own files leave out what is smaller than 32 pixels: then nothing would be left."""
    content = coco(tmp_path, size=(96, 64))
    for split in ("train", "val"):
        for entry in content[split]["images"]:
            file = tmp_path / "images" / entry["file_name"]
            with Image.open(file) as opened:
                opened.resize((24, 16)).save(file)
            entry.update(width=24, height=16)
        for box in content[split]["annotations"]:
            box.update(bbox=[number / 4 for number in box["bbox"]], area=box["area"] / 16)
        (tmp_path / f"{split}.json").write_text(json.dumps(content[split]))
    text = written(detection_data(str(tmp_path)), "retinanet_small")
    assert "min_size" not in text and "filter_empty_gt" in text


def test_exceptions_of_others_become_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(TrainingError, match=r"numpy ended with .*Error: .*\nSee .*console\.log"),
        _in_words(tmp_path / "console.log"),
    ):
        np.linalg.inv(np.zeros((2, 2)))
    worker = "Caught DataError in DataLoader worker process 0.\nTraceback ...\n"
    worker += "nni_plugins.evaluators.errors.DataError: a.jpg: cannot be read (x).\nRepair it."
    with pytest.raises(DataError) as caught, _in_words(None):
        raise DataError(worker)
    assert (caught.value.problem, caught.value.remedy) == ("a.jpg: cannot be read (x).", "Repair it.")
    with pytest.raises(DataError, match=r"^b\nc$"), _in_words(None):
        raise DataError("b", "c")
    with pytest.raises(ZeroDivisionError), _in_words(None):
        _ = 1 / 0
    assert "Traceback" in capsys.readouterr().out
