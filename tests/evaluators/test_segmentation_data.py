"""Images with label images: the layouts of CamVid and of Cityscapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nni_plugins.evaluators.data import folder, segmentation, sources
from nni_plugins.evaluators.data.segmentation import CITYSCAPES_IDS
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import DataError, LabelError
from nni_plugins.evaluators.settings import read

from .test_data import REAL_DATA

CLASSES = "0 Sky\n1 Road\n2 Car\n3 Void (ignore)\n"


def save(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def numbers(seed: int, top: int, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape).astype(np.uint8)


def camvid(
    root: Path, splits: tuple[str, ...] = ("train", "val"), labels: bool = True, top: int = 4
) -> dict[str, np.ndarray]:
    """Three images a split; returns the label images of each split."""
    found = {}
    for seed, split in enumerate(splits):
        for i in range(3):
            save(root / split / f"{i}.png", numbers(10 * seed + i, 256, (4, 6, 3)))
        if labels:
            found[split] = np.stack(
                [save(root / f"{split}annot" / f"{i}.png", numbers(100 + 10 * seed + i, top)) for i in range(3)]
            )
    (root / "classes.txt").write_text(CLASSES)
    return found


def cityscapes(root: Path, kind: str = "labelTrainIds", top: int = 19) -> np.ndarray:
    """Two cities with one and two images; returns the training label images."""
    found = []
    for split in ("train", "val"):
        for i, (city, name) in enumerate((("aachen", "a_0_0"), ("bonn", "b_0_0"), ("bonn", "b_0_1"))):
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", numbers(i, 256, (4, 8, 3)))
            found.append(
                save(root / "gtFine" / split / city / f"{name}_gtFine_{kind}.png", numbers(50 + i, top, (4, 8)))
            )
    return np.stack(found[:3])


# CamVid


def test_camvid(tmp_path: Path) -> None:
    labels = camvid(tmp_path, ("train", "val", "test"))
    data = segmentation.load(str(tmp_path))
    assert data.test is not None and data.train.size == (4, 6) and data.train.classes == ("Sky", "Road", "Car")
    for part, split in ((data.train, "train"), (data.test, "val")):
        expected = np.where(labels[split] == 3, 255, labels[split])
        assert part.maps.dtype == torch.uint8 and np.array_equal(part.maps, expected) and (expected == 255).any()
        assert torch.equal(part.on("cpu").gather_maps(torch.tensor([2, 0])), part.maps[[2, 0]])
    other = segmentation.load(str(tmp_path), test_split="test").test
    assert other is not None and np.array_equal(other.maps == 255, labels["test"] == 3)
    assert np.array_equal(
        data.train.subset(np.array([1])).maps, np.where(labels["train"] == 3, 255, labels["train"])[1:2]
    )


def test_maps_are_read_once_and_only_when_they_are_asked_for(tmp_path: Path) -> None:
    camvid(tmp_path)
    data = segmentation.load(str(tmp_path)).train
    maps = data.maps
    for file in (tmp_path / "trainannot").iterdir():
        file.unlink()
    assert data.maps is maps
    with pytest.raises(LabelError, match=r"trainannot/0.png: this label image is missing\.[\s\S]*label-free"):
        _ = segmentation.load(str(tmp_path)).train.maps


@pytest.mark.parametrize("resident", [None, False])
def test_images_without_labels_serve_label_free_objectives(tmp_path: Path, resident: bool | None) -> None:
    camvid(tmp_path, labels=False)
    data = segmentation.load(str(tmp_path), resident=resident).train
    pixels = data.on("cpu")
    assert pixels.gather(torch.tensor([2])).shape == (1, 3, 4, 6)
    with pytest.raises(LabelError, match=r"have no label maps\.[\s\S]*source: segmentation"):
        _ = data.maps
    with pytest.raises(LabelError, match="no label maps"):
        pixels.gather_maps(torch.tensor([0]))
    with pytest.raises(LabelError, match="these images have no labels"):
        _ = data.labels


def test_labels_are_resized_with_their_images(tmp_path: Path) -> None:
    """A label image that equals its image shows the same part of it."""
    for split in ("train", "val"):
        grey = np.repeat(np.repeat(numbers(1, 3, (4, 9)), 4, 0), 4, 1)  # blocks of 4 x 4
        save(tmp_path / split / "0.png", grey)
        save(tmp_path / f"{split}annot" / "0.png", grey)
    (tmp_path / "classes.txt").write_text(CLASSES)
    square = segmentation.load(str(tmp_path), 16).train
    assert square.size == (16, 16) and torch.equal(square.maps[0], square.images[0, 0])
    small = segmentation.load(str(tmp_path), (2, 4)).train
    whole = segmentation.load(str(tmp_path)).train.maps[0]
    assert torch.equal(small.maps[0], whole[4::8, 6::8][:2, :4]), "centres of the 8 x 8 parts of the central 16 x 32"


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
def test_without_validation_images_there_is_no_test_part_unless_it_was_asked_for(
    tmp_path: Path, splits: tuple[str, ...]
) -> None:
    camvid(tmp_path, splits)
    assert segmentation.load(str(tmp_path)).test is None
    with pytest.raises(DataError, match="has no folder val"):
        segmentation.load(str(tmp_path), test_split="val")


def test_camvids_own_classes_need_no_list(tmp_path: Path) -> None:
    labels = camvid(tmp_path, top=12)
    (tmp_path / "classes.txt").unlink()
    data = segmentation.load(str(tmp_path)).train
    assert (
        len(data.classes) == 11 and data.classes[0] == "Sky" and np.array_equal(data.maps == 255, labels["train"] == 11)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 Sky\nRoad\n", "'Road' is no class"),
        ("", "is empty"),
        ("0 Sky\n2 Road\n", r"must be numbered 0, 1, 2, \.\.\., each once, but are \[0, 2\]"),
        ("0 Sky\n0 Road\n", "each once"),
        ("0 Sky\n999 Road\n", "'999 Road' is no class"),
    ],
)
def test_lists_of_classes_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    camvid(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=rf"classes.txt: .*{message}"):
        segmentation.load(str(tmp_path))


def out_of_range(file: Path) -> None:
    save(file, np.full((4, 6), 7, dtype=np.uint8))


def colourful(file: Path) -> None:
    save(file, np.zeros((4, 6, 3), dtype=np.uint8))


def of_another_size(file: Path) -> None:
    save(file, np.zeros((6, 4), dtype=np.uint8))


def broken(file: Path) -> None:
    file.write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (out_of_range, "holds the label 7, but labels go from 0 to 3, and 255 is no label"),
        (colourful, "has mode RGB; a label image has one number a pixel"),
        (of_another_size, "has 4x6 pixels, but its image has 6x4"),
        (broken, "no image format that we know"),
    ],
)
def test_label_images_that_are_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    camvid(tmp_path)
    spoil(tmp_path / "trainannot/1.png")
    data = segmentation.load(str(tmp_path)).train
    with pytest.raises(DataError, match=rf"trainannot/1.png: cannot be read \({message}\)"):
        _ = data.maps
    streamed = segmentation.load(str(tmp_path), resident=False).train.on("cpu")
    assert streamed.gather_maps(torch.tensor([0])).shape == (1, 4, 6)
    with pytest.raises(DataError, match=r"trainannot/1.png: cannot be read"):
        streamed.gather_maps(torch.tensor([1]))


def test_labels_stay_with_their_images_when_files_are_left_out(tmp_path: Path) -> None:
    labels = camvid(tmp_path)
    (tmp_path / "train/1.png").write_bytes(b"nothing")
    for resident in (None, False):
        with pytest.warns(UserWarning, match="1 of 6 images cannot be read"):
            data = segmentation.load(str(tmp_path), resident=resident).train
        assert np.array_equal(data.maps, np.where(labels["train"] == 3, 255, labels["train"])[[0, 2]])


# Cityscapes


@pytest.mark.parametrize("resident", [None, False])
def test_cityscapes(tmp_path: Path, resident: bool | None) -> None:
    labels = cityscapes(tmp_path)
    labels[0, 0, 0] = 255
    save(tmp_path / "gtFine/train/aachen/a_0_0_gtFine_labelTrainIds.png", labels[0])
    data = segmentation.load(str(tmp_path), resident=resident)
    assert (
        data.test is not None
        and len(data.train) == 3
        and len(data.train.classes) == 19
        and data.train.classes[18] == "bicycle"
    )
    assert np.array_equal(data.train.on("cpu").gather_maps(torch.arange(3)), labels) and data.train.size == (4, 8)


def test_cityscapes_as_it_is_downloaded(tmp_path: Path) -> None:
    """``labelIds`` go to the 19 classes that are evaluated; all others are no label."""
    ids = cityscapes(tmp_path, "labelIds", 34)
    maps = segmentation.load(str(tmp_path)).train.maps.numpy()
    assert all((maps[ids == number] == place).all() for place, number in enumerate(CITYSCAPES_IDS))
    assert (maps[~np.isin(ids, CITYSCAPES_IDS)] == 255).all() and len(CITYSCAPES_IDS) == 19


def test_cityscapes_without_labels(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    (tmp_path / "gtFine").rename(tmp_path / "elsewhere")
    data = segmentation.load(str(tmp_path)).train
    assert data.images.shape == (3, 3, 4, 8)
    with pytest.raises(LabelError, match="no label maps"):
        _ = data.maps


# What is refused, and what settings say


def test_layouts_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder\.\nExpected CamVid's layout"):
        segmentation.load(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"has neither a folder train nor leftImg8bit; found nothing\."):
        segmentation.load(str(tmp_path))
    (tmp_path / "images").mkdir()
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"found a.txt, images/\.\nExpected CamVid's layout \(train/, trainannot/"):
        segmentation.load(str(tmp_path))
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: holds no images"):
        segmentation.load(str(tmp_path))
    (tmp_path / "leftImg8bit/train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"leftImg8bit/train: holds no folder of a city"):
        segmentation.load(str(tmp_path))


def test_settings_reach_the_source(tmp_path: Path) -> None:
    camvid(tmp_path, ("train", "val", "test"))
    settings = {"source": "segmentation", "path": str(tmp_path), "shape": [8, 12], "limit": 2, "test_split": "test"}
    data = sources.load(
        read(DataSettings, {**settings, "augmentation": {"kind": "scaled_crop", "size": 6, "nominal": 8}})
    )
    assert (
        data.test is not None
        and data.train.size == (8, 12)
        and data.train.input_size == (6, 6)
        and data.train.maps.shape == (2, 8, 12)
    )
    assert sources.load(read(DataSettings, {**settings, "padding": 3, "resident": False})).train.streamed


def test_real_camvid() -> None:
    place = REAL_DATA / "camvid_half"
    if not place.is_dir():
        pytest.skip(f"needs {place}, which is not part of this project (set NNI_PLUGINS_DATA)")
    data = segmentation.load(str(place), resident=False, test_split="test")
    assert data.test is not None and (len(data.train), len(data.test)) == (367, 233) and data.train.size == (180, 240)
    pixels, index = data.train.on("cpu"), torch.arange(0, 367, 20)
    pixels.plan(index)
    images, maps = pixels.gather(index), pixels.gather_maps(index)
    assert maps.unique().tolist() == [*range(11), 255] and data.train.classes[8] == "Car"
    files = [sorted(path.name for path in (place / "train").iterdir())[i] for i in index]
    for image, labels, name in zip(images, maps, files, strict=True):
        with (
            Image.open(place / "train" / name) as photo,
            Image.open(place / "trainannot" / f"{Path(name).stem}.png") as annotation,
        ):
            assert np.array_equal(image, np.asarray(photo).transpose(2, 0, 1)), "stored as they are"
            assert np.array_equal(labels, np.where(np.asarray(annotation) == 11, 255, annotation))
    rows = torch.arange(180.0)[None, :, None].expand(len(index), 180, 240)
    heights = [float(rows[maps == data.train.classes.index(name)].mean()) for name in ("Sky", "Road")]
    assert heights[0] < 80 < heights[1], "the sky is above the road"


def test_real_camvid_frames_are_plain_images_too() -> None:
    place = REAL_DATA / "camvid_half/val"  # nothing but images
    if not place.is_dir():
        pytest.skip(f"needs {place}, which is not part of this project (set NNI_PLUGINS_DATA)")
    data = folder.load(str(place), (90, 120))
    assert data.test is None and data.train.images.shape == (101, 3, 90, 120)
