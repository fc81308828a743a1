"""Images from every source, and every way in which a source can be wrong."""

from __future__ import annotations

import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nni_plugins.evaluators.data import cifar, digits, folder, npz, sources
from nni_plugins.evaluators.data.augmentation import Augmentation, Cutout
from nni_plugins.evaluators.data.colour import Colour
from nni_plugins.evaluators.data.crops import ResizedCrop, ScaledCrop
from nni_plugins.evaluators.data.images import ImageData, ImageSet, hold_out
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, DataError, LabelError
from nni_plugins.evaluators.settings import read

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))


def pixels(count: int, height: int = 4, width: int = 4, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def image_set(count: int, labels: Any = None) -> ImageSet:
    return ImageSet("some/train", torch.from_numpy(pixels(count)).permute(0, 3, 1, 2), labels)


# Augmentation and sets of images


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), Augmentation(flip=True), Augmentation(2), Augmentation(3, True)]
)
def test_augmentation_equals_crop_then_flip_image_by_image(augmentation: Augmentation) -> None:
    images = pixels(40, 5, 7).transpose(0, 3, 1, 2)
    drawn = augmentation.draw(1, 2, len(images))
    p = augmentation.padding
    expected = []
    for image, (row, column, flip) in zip(images, drawn, strict=True):
        crop = np.pad(image, ((0, 0), (p, p), (p, p)))[:, row : row + 5, column : column + 7]
        expected.append(crop[:, :, ::-1] if flip else crop)
    assert np.array_equal(augmentation.apply(torch.from_numpy(images), torch.from_numpy(drawn)).numpy(), expected)
    assert (
        drawn[:, :2].min() == 0
        and drawn[:, :2].max() == 2 * p
        and set(drawn[:, 2]) == ({0, 1} if augmentation.flip else {0})
    )


def test_augmentation_is_a_function_of_seed_and_epoch() -> None:
    augmentation = Augmentation(4, True)
    assert np.array_equal(augmentation.draw(1, 2, 50), augmentation.draw(1, 2, 50))
    assert not np.array_equal(augmentation.draw(1, 2, 50), augmentation.draw(1, 3, 50))
    assert not np.array_equal(augmentation.draw(1, 2, 50), augmentation.draw(2, 2, 50))


def test_labels_are_fetched_when_asked_for_and_once() -> None:
    calls = []

    def labels() -> torch.Tensor:
        calls.append(1)
        return torch.arange(6)

    whole = image_set(6, labels)
    part = whole.subset(np.array([4, 1]))
    assert len(whole) == 6 and whole.size == (4, 4) and len(part) == 2 and not calls
    assert part.labels.tolist() == [4, 1] and whole.labels.tolist() == list(range(6)) and part.labels.tolist() == [4, 1]
    assert len(calls) == 1


def test_images_without_labels_and_with_wrong_ones() -> None:
    for unlabelled in (image_set(3), image_set(3).subset(np.array([0]))):
        with pytest.raises(LabelError, match=r"some/train: these images have no labels[\s\S]*random_labels"):
            _ = unlabelled.labels
    with pytest.raises(DataError, match=r"3 images need as many labels, but got \(2,\)"):
        _ = image_set(3, torch.zeros(2, dtype=torch.int64)).labels
    with pytest.raises(DataError, match=r"\(N, 3, H, W\) uint8, but got \(2, 3, 4, 4\) torch.float32"):
        ImageSet("x", torch.zeros(2, 3, 4, 4), None)
    with pytest.raises(DataError, match=r"but got \(2, 1, 4, 4\)"):
        ImageSet("x", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), None)
    with pytest.raises(DataError, match="there are no images"):
        ImageSet("x", torch.zeros(0, 3, 4, 4, dtype=torch.uint8), None)


def test_statistics_by_hand() -> None:
    images = torch.zeros(2, 3, 1, 2, dtype=torch.uint8)
    images[:, 0] = torch.tensor([[[0, 255]], [[0, 255]]])
    images[:, 1] = 51
    mean, deviation = ImageSet("x", images, None).statistics()
    assert mean.tolist() == pytest.approx([0.5, 0.2, 0]) and deviation.tolist() == pytest.approx([0.5, 1e-3, 1e-3])


def test_limit_is_a_seeded_draw_that_leaves_the_test_part_alone() -> None:
    data = ImageData(image_set(50, torch.arange(50)), image_set(5, torch.arange(5)))
    first, again, other = data.limited(10, 1), data.limited(10, 1), data.limited(10, 2)
    assert first.train.labels.tolist() == again.train.labels.tolist() != other.train.labels.tolist()
    assert len(set(first.train.labels.tolist())) == 10 and first.test is data.test
    assert torch.equal(first.train.images, data.train.images[first.train.labels])
    assert data.limited(None, 0) is data and data.limited(50, 0) is data


@pytest.mark.parametrize("count", [2, 4, 5, 100])
def test_hold_out_splits(count: int) -> None:
    train, test = hold_out(count)
    assert len(test) == max(1, count // 5) and sorted([*train, *test]) == list(range(count))
    assert np.array_equal(hold_out(count)[1], test) and np.array_equal(np.sort(train), train)


def test_hold_out_needs_two_images() -> None:
    with pytest.raises(DataError, match=r"1 image\(s\) cannot be split"):
        hold_out(1)


def test_digits() -> None:
    data = digits.load()
    assert data.test is not None
    assert data.train.images.shape == (600, 3, 8, 8) and data.test.images.shape == (1197, 3, 8, 8)
    assert torch.equal(data.train.labels.unique(), torch.arange(10)) and torch.equal(
        data.test.labels.unique(), torch.arange(10)
    )
    train, test = ({image.numpy().tobytes() for image in part.images} for part in (data.train, data.test))
    assert len(train) == 600 and len(test) == 1197 and not train & test
    assert torch.equal(digits.load().test.images, data.test.images)  # type: ignore[union-attr]


# Folders


def save(path: Path, image: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def fill(place: Path, count: int, seed: int = 0) -> np.ndarray:
    images = pixels(count, seed=seed)
    for i, image in enumerate(images):
        save(place / f"{i:03}.png", image)
    return images.transpose(0, 3, 1, 2)


def test_flat_folder_has_no_labels_and_no_test_part(tmp_path: Path) -> None:
    images = fill(tmp_path, 6)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("neither")
    (tmp_path / "boxes").mkdir()
    data = folder.load(str(tmp_path), 4)
    assert (
        data.test is None
        and np.array_equal(data.train.images, images)
        and data.train.augmentation == Augmentation(1, True)
    )
    with pytest.raises(LabelError):
        _ = data.train.labels


def test_class_folders_are_searched_below_and_give_up_a_fifth(tmp_path: Path) -> None:
    images = {"ant": fill(tmp_path / "ant/deep/er", 10, 1), "bee": fill(tmp_path / "bee", 15, 2)}
    (tmp_path / "empty").mkdir()
    data, again = folder.load(str(tmp_path), 4), folder.load(str(tmp_path), 4)
    assert data.test is not None and again.test is not None
    assert len(data.train) == 20 and len(data.test) == 5 and torch.equal(data.test.images, again.test.images)
    found: dict[bytes, str] = {}
    for part in (data.train, data.test):
        assert part.classes == ("ant", "bee") and part.labels.dtype == torch.int64
        found |= {
            image.numpy().tobytes(): part.classes[label] for image, label in zip(part.images, part.labels, strict=True)
        }
    assert found == {image.tobytes(): name for name, all_of_it in images.items() for image in all_of_it}


@pytest.mark.parametrize("held_out", ["test", "val", "Validation"])
def test_train_and_test_folders(tmp_path: Path, held_out: str) -> None:
    train = [fill(tmp_path / "train" / name, 3, seed) for seed, name in enumerate(("ant", "bee"))]
    test = [fill(tmp_path / held_out / name, 2, 5 + seed) for seed, name in enumerate(("ant", "bee"))]
    data = folder.load(str(tmp_path), 4)
    assert data.test is not None
    assert np.array_equal(data.train.images, np.concatenate(train)) and data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(data.test.images, np.concatenate(test)) and data.test.labels.tolist() == [0, 0, 1, 1]


def test_flat_train_and_test_folders(tmp_path: Path) -> None:
    train, test = fill(tmp_path / "train", 3), fill(tmp_path / "test", 2, 1)
    data = folder.load(str(tmp_path), 4)
    assert data.test is not None and np.array_equal(data.train.images, train) and np.array_equal(data.test.images, test)


def test_train_alone_is_the_whole_but_a_class_among_others(tmp_path: Path) -> None:
    fill(tmp_path / "train/ant", 5)
    fill(tmp_path / "train/bee", 5)
    assert folder.load(str(tmp_path), 4).train.classes == ("ant", "bee")
    fill(tmp_path / "plane", 2)
    assert folder.load(str(tmp_path), 4).train.classes == ("plane", "train")


def test_resize_and_centre_crop(tmp_path: Path) -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = pixels(1)[0]
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", wide.transpose(1, 0, 2))
    save(tmp_path / "c.png", np.kron(np.full((4, 4), 77, dtype=np.uint8), np.ones((3, 3), dtype=np.uint8)))
    data = folder.load(str(tmp_path), 4).train.images
    assert np.array_equal(data[0], wide[:, 4:8].transpose(2, 0, 1)) and np.array_equal(
        data[1], wide[:, 4:8].transpose(2, 1, 0)
    )
    assert (data[2] == 77).all()


def test_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    large = np.zeros((256, 512, 3), dtype=np.uint8)
    large[:, :, 0] = np.linspace(0, 255, 512)[None]
    large[:, :, 1] = np.linspace(0, 255, 256)[:, None]
    save(tmp_path / "a.JPG", large, quality=95)
    got = folder.load(str(tmp_path), 8).train.images[0].numpy().astype(int)
    expected = large[:, 128:384].reshape(8, 32, 8, 32, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(got - expected).max() < 6


def test_modes_of_pixels(tmp_path: Path) -> None:
    save(tmp_path / "0_sixteen_bit.png", np.full((4, 4), 40_000, dtype=np.uint16))
    Image.new("RGBA", (4, 4), (1, 2, 3, 0)).save(tmp_path / "1_alpha.png")
    Image.new("RGB", (4, 4), (0, 51, 102)).convert("P").save(tmp_path / "2_palette.gif")
    data = folder.load(str(tmp_path), 4).train.images
    assert data[:, :, 0, 0].tolist() == [[40_000 >> 8] * 3, [1, 2, 3], [0, 51, 102]]


def test_a_few_unreadable_files_are_left_out_with_a_warning(tmp_path: Path) -> None:
    images = fill(tmp_path / "train/ant", 200)
    fill(tmp_path / "train/bee", 1)
    fill(tmp_path / "test/ant", 1)
    fill(tmp_path / "test/bee", 1)
    (tmp_path / "train/ant/007.png").write_bytes((tmp_path / "train/ant/007.png").read_bytes()[:50])
    (tmp_path / "train/ant/100.png").unlink()
    (tmp_path / "train/ant/100.png").symlink_to("nowhere")
    with pytest.warns(
        UserWarning,
        match=r"2 of 203 images cannot be read and are left out: .*007.png \(.*\), .*100.png \(No such file",
    ) as caught:
        data = folder.load(str(tmp_path), 4)
    assert len([w for w in caught if "cannot be read" in str(w.message)]) == 1
    assert np.array_equal(
        data.train.images[:198], np.delete(images, [7, 100], axis=0)
    ) and data.train.labels.tolist() == [0] * 198 + [1]


def test_labels_stay_with_their_images_when_files_are_left_out(tmp_path: Path) -> None:
    for name, value in (("ant", 10), ("bee", 200)):
        for i in range(5):
            save(tmp_path / "train" / name / f"{i}.png", np.full((4, 4), value, dtype=np.uint8))
            save(tmp_path / "val" / name / f"{i}.png", np.full((4, 4), value, dtype=np.uint8))
    (tmp_path / "train/ant/2.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 20 .*2.png \(the file is empty\)"):
        data = folder.load(str(tmp_path), 4)
    assert (
        data.train.labels.tolist() == [0] * 4 + [1] * 5
        and data.train.images[:, 0, 0, 0].tolist() == [10] * 4 + [200] * 5
    )


def test_too_many_unreadable_files(tmp_path: Path) -> None:
    fill(tmp_path, 6)
    for i in range(4):
        (tmp_path / f"{i:03}.png").write_text("not an image")
    with pytest.raises(
        DataError,
        match=r"4 of 6 images cannot be read \(at most 1 may be\): .*000.png \(.*\) and 1 more\.\nRepair or remove",
    ):
        folder.load(str(tmp_path), 4)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="5 of 7"):
        folder.load(str(tmp_path), 4)


def test_the_only_image_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        folder.load(str(tmp_path), 4)


def test_a_picture_without_a_range_is_not_guessed_at(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "x.tif")
    with pytest.warns(UserWarning, match=r"x.tif \(mode F has no fixed range\)"):
        assert len(folder.load(str(tmp_path), 4).train) == 2


def test_postscript_under_another_name_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "EPS"
    with pytest.warns(UserWarning, match="no image format that we know"):
        folder.load(str(tmp_path), 4)


@pytest.mark.parametrize("target", [".", "..", "../bee", "loop"])
def test_links_in_circles_end(tmp_path: Path, target: str) -> None:
    fill(tmp_path / "data/ant", 5)
    fill(tmp_path / "data/bee", 5, 1)
    (tmp_path / "data/ant/loop").symlink_to(target)
    (tmp_path / "data/bee/back").symlink_to("../ant")
    (tmp_path / "data/root").symlink_to(".")
    data = folder.load(str(tmp_path / "data"), 4)
    assert data.train.classes == ("ant", "bee") and data.test is not None and len(data.train) + len(data.test) == 10


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere/a", 5)
    fill(tmp_path / "data/bee", 5)
    (tmp_path / "data/ant").symlink_to("../elsewhere/a")
    assert folder.load(str(tmp_path / "data"), 4).train.classes == ("ant", "bee")


def nothing(place: Path) -> None:
    pass


def text_only(place: Path) -> None:
    (place / "a.txt").write_text("a")
    (place / "b").mkdir()
    (place / "b/c.json").write_text("{}")


def mixed(place: Path) -> None:
    fill(place, 1)
    fill(place / "ant", 1)


def different(place: Path) -> None:
    for name in ("train/ant", "train/bee", "test/ant", "test/cow"):
        fill(place / name, 1)


def one_class_more(place: Path) -> None:
    for name in ("train/ant", "train/bee", "val/cow", "val/bee"):
        fill(place / name, 1)


def no_train(place: Path) -> None:
    fill(place / "test/ant", 1)


def empty_test(place: Path) -> None:
    fill(place / "train", 1)
    (place / "test").mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, r"holds no images \(it is empty\)\.\nExpected image files"),
        (text_only, r"holds no images \(found: 1 .txt, 1 .json\)"),
        (mixed, r"holds 1 images directly \(such as 000.png\) and image folders as well \(ant\)"),
        (different, r"train and test have different class folders \(only in train: bee; only in test: cow\)"),
        (one_class_more, r"different class folders \(only in train: ant; only in val: cow\)"),
        (no_train, "has a folder test, but no folder train"),
        (empty_test, r"test: holds no images \(it is empty\)"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        folder.load(str(tmp_path), 4)


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder\.\nExpected"):
        folder.load(str(tmp_path / "nowhere"), 4)
    fill(tmp_path, 1)
    with pytest.raises(DataError, match=r"000.png: is a file, not a folder"):
        folder.load(str(tmp_path / "000.png"), 4)


def test_more_pixels_than_are_held_by_default_are_streamed(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    data = folder.load(str(tmp_path), 40_000)
    assert data.train.streamed and len(data.train) == 3 and data.train.pixel_bytes == 3 * 3 * 40_000**2
    assert not folder.load(str(tmp_path), 4_000).train.streamed


def test_a_rectangle_is_the_largest_centred_part_of_its_shape(tmp_path: Path) -> None:
    wide = np.zeros((6, 20, 3), dtype=np.uint8)
    wide[:, 4:16] = pixels(1, 6, 12)[0]
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", np.ascontiguousarray(wide[:, 4:16]))
    data = folder.load(str(tmp_path), (6, 12)).train
    assert data.size == (6, 12) and all(
        np.array_equal(image, wide[:, 4:16].transpose(2, 0, 1)) for image in data.images
    )
    half = folder.load(str(tmp_path), (3, 6)).train.images[1]
    expected = np.asarray(
        Image.fromarray(np.ascontiguousarray(wide[:, 4:16])).resize((6, 3), Image.Resampling.BILINEAR)
    )
    assert np.array_equal(half, expected.transpose(2, 0, 1))


# Shares of classes, and the order that splits them


def classes_of(counts: list[int]) -> ImageData:
    """So many images of each class, in which every image's first pixel is its number."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = torch.arange(len(labels)).to(torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)
    return ImageData(ImageSet("some/train", images, torch.from_numpy(labels)), None)


def test_a_share_of_every_class() -> None:
    data = classes_of([1, 16, 4, 20])
    chosen, again, other = data.per_class(0.125, 3), data.per_class(0.125, 3), data.per_class(0.125, 4)
    assert torch.bincount(chosen.train.labels).tolist() == [1, 2, 1, 3], "rounded, 2.5 upwards, and at least one"
    numbers = chosen.train.images[:, 0, 0, 0]
    assert torch.equal(data.train.labels[numbers.long()], chosen.train.labels) and numbers.diff().min() > 0
    assert torch.equal(again.train.images, chosen.train.images) and not torch.equal(
        other.train.images, chosen.train.images
    )
    assert len(data.per_class(1.0, 0).train) == 41


@pytest.mark.parametrize("portion", [0.1, 0.29, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("counts", [[40, 40, 40], [100, 3, 17, 1, 60], [1] * 30 + [200], [7] * 20])
def test_any_first_images_hold_the_same_share_of_every_class(counts: list[int], portion: float) -> None:
    data = classes_of(counts).stratified(5)
    first = math.floor(portion * sum(counts))
    found = np.bincount(data.train.labels[:first].numpy(), minlength=len(counts))
    assert np.abs(found - first / sum(counts) * np.array(counts)).max() <= 1.5
    assert sorted(data.train.images[:, 0, 0, 0].tolist()) == list(range(sum(counts)))


def test_equal_classes_are_split_exactly() -> None:
    """PC-DARTS' split of ImageNet: an eighth of each class, four fifths of it for the weights."""
    data = classes_of([80] * 3).per_class(0.125, 0).stratified(0)
    assert len(data.train) == 30 and torch.bincount(data.train.labels[:24]).tolist() == [8, 8, 8]
    order = [classes_of([80] * 3).stratified(seed).train.images[:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert order[0] == order[1] != order[2] and order[0] != sorted(order[0])


def test_shares_of_classes_need_classes() -> None:
    data = ImageData(image_set(4), None)
    with pytest.raises(
        DataError,
        match=r"some/train: per_class needs to know the images' classes[\s\S]*one folder a class, or use limit",
    ):
        data.per_class(0.5, 0)
    with pytest.raises(DataError, match="split_per_class needs to know"):
        data.stratified(0)


def test_a_single_class_is_unwise(tmp_path: Path) -> None:
    fill(tmp_path / "images", 5)
    with pytest.warns(UserWarning, match="images is taken for a class, the only one"):
        assert folder.load(str(tmp_path), 4).train.classes == ("images",)


def test_real_photographs() -> None:
    place = REAL_DATA / "bccd_detection/images"
    if not place.is_dir():
        pytest.skip(f"needs {place}, which is not part of this project (set NNI_PLUGINS_DATA)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = folder.load(str(place), 32)
    assert data.train.images.shape == (364, 3, 32, 32) and data.test is None
    assert 0.3 < float(data.train.statistics()[0].mean()) < 0.95


# CIFAR


def write_cifar(
    root: Path,
    source: str,
    encode: Callable[[str], Any] = str,
    meta: bool = True,
    arrays: bool = False,
    per_file: int = 3,
) -> np.ndarray:
    """Fake files; all images (N, 3072) in the order of the files."""
    kind, everything = cifar.FORMATS[source], []
    place = root / kind.folder
    place.mkdir(parents=True)
    for seed, name in enumerate((*kind.train, kind.test)):
        data = np.random.default_rng(seed).integers(0, 256, (per_file, 3072)).astype(np.uint8)
        labels: Any = np.arange(per_file) if arrays else list(range(per_file))
        (place / name).write_bytes(
            pickle.dumps(
                {encode("data"): data, encode(kind.labels): labels, encode("filenames"): ["x"] * per_file}, protocol=2
            )
        )
        everything.append(data)
    if meta:
        (place / kind.meta).write_bytes(
            pickle.dumps({encode(kind.names): [encode(f"name{i}") for i in range(kind.classes)]}, protocol=2)
        )
    return np.concatenate(everything)


@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
@pytest.mark.parametrize("inside", [False, True])
def test_cifar(tmp_path: Path, source: str, encode: Callable[[str], Any], inside: bool) -> None:
    expected = write_cifar(tmp_path, source, encode, arrays=inside)
    data = cifar.load(str(tmp_path / cifar.FORMATS[source].folder if inside else tmp_path), source)
    assert data.test is not None and data.train.augmentation == Augmentation(4, True)
    assert np.array_equal(torch.cat([data.train.images, data.test.images]).reshape(-1, 3072), expected)
    assert data.train.images.shape[1:] == (3, 32, 32) and data.train.labels.dtype == torch.int64
    assert data.train.labels.tolist() == [0, 1, 2] * (
        5 if source == "cifar10" else 1
    ) and data.test.labels.tolist() == [0, 1, 2]
    assert len(data.train.classes) == cifar.FORMATS[source].classes and data.train.classes[1] == "name1"


def test_cifar_as_python_2_and_old_numpy_wrote_it(tmp_path: Path) -> None:
    """The official files: byte strings for text and pixels, and NumPy under its old name."""
    raw = bytes(range(256)) * 12
    old = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T\x00\x0c\x00\x00" + raw + b"tbU\x0bfine_labelsq\x08]q\x09K\x07au."
    )
    place = tmp_path / "cifar-100-python"
    place.mkdir()
    for name in ("train", "test"):
        (place / name).write_bytes(old)
    data = cifar.load(str(tmp_path), "cifar100")
    assert data.train.images.numpy().tobytes() == raw and data.train.labels.tolist() == [7]
    assert data.train.classes == tuple(str(i) for i in range(100))


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["train", "meta"])
def test_a_hostile_pickle_is_refused(tmp_path: Path, name: str) -> None:
    write_cifar(tmp_path, "cifar100")
    marker, file = tmp_path / "marker", tmp_path / "cifar-100-python" / name
    file.write_bytes(pickle.dumps({"data": Hostile(marker)}, protocol=2))
    pickle.loads(file.read_bytes())
    assert marker.exists(), "the attack must work on an ordinary reader"
    marker.unlink()
    with pytest.raises(DataError, match=rf"{name}: refused, because it wants to import (posix|nt|os)\.system\."):
        cifar.load(str(tmp_path), "cifar100")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Path("x"), protocol=2), r"wants to import pathlib"),
        (b"cbuiltins\neval\n(S'1'\ntR.", r"wants to import builtins\.eval"),
        (b"cnumpy.core.multiarray\nscalar\n.", r"wants to import numpy\.core\.multiarray\.scalar"),
        (
            pickle.dumps({"data": np.array([{}], dtype=object), "fine_labels": [0]}, protocol=2),
            "arrays of object have no place here",
        ),
        (pickle.dumps([1], protocol=2), "a dictionary was expected, not list"),
        (pickle.dumps({"a": 1}, protocol=2), "has no data and no fine_labels; it has a"),
        (pickle.dumps({"data": [1], "fine_labels": [0]}, protocol=2), r"data must be \(N, 3072\) uint8, but is list"),
        (
            pickle.dumps({"data": np.zeros((2, 99), np.uint8), "fine_labels": [0, 0]}, protocol=2),
            r"but is \(2, 99\) uint8",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.int16), "fine_labels": [0, 0]}, protocol=2),
            r"but is \(2, 3072\) int16",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]}, protocol=2),
            "2 images need as many fine_labels",
        ),
        (
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100]}, protocol=2),
            r"integers in \[0, 99\], but are .* \[100, 100\]",
        ),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [-1]}, protocol=2), r"in \[-1, -1\]"),
        (
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": "0"}, protocol=2),
            "must be a list of integers",
        ),
        (
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [0]}, protocol=2)[:-99],
            "truncated or damaged",
        ),
        (b"", r"truncated or damaged \(Ran out of input\)"),
        (b"\x00\xff nonsense", "truncated or damaged"),
    ],
)
def test_cifar_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_cifar(tmp_path, "cifar100")
    (tmp_path / "cifar-100-python/train").write_bytes(content)
    with pytest.raises(DataError, match=rf"cifar-100-python/train: .*{message}"):
        cifar.load(str(tmp_path), "cifar100")


def test_cifar_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"nowhere \(no such folder\): data_batch_1, .*test_batch missing; expected cifar-10-batches-py/ with data_batch_1",
    ):
        cifar.load(str(tmp_path / "nowhere"), "cifar10")
    write_cifar(tmp_path, "cifar10")
    (tmp_path / "cifar-10-batches-py/data_batch_3").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-py: data_batch_3 missing; [\s\S]*datasets\.CIFAR10"):
        cifar.load(str(tmp_path), "cifar10")
    with pytest.raises(DataError, match=r"train, test missing[\s\S]*looks like cifar10"):
        cifar.load(str(tmp_path), "cifar100")


def test_cifar_names(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar100", meta=False)
    assert cifar.load(str(tmp_path), "cifar100").train.classes[99] == "99"
    (tmp_path / "cifar-100-python/meta").write_bytes(pickle.dumps({"fine_label_names": ["a"]}, protocol=2))
    with pytest.raises(DataError, match="meta: fine_label_names must be a list of 100 names"):
        cifar.load(str(tmp_path), "cifar100")


# Archives


def archive(tmp_path: Path, **arrays: Any) -> str:
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    return str(tmp_path / "a.npz")


def test_npz_with_everything(tmp_path: Path) -> None:
    train, test = pixels(6, 16, 8), pixels(4, 16, 8, seed=1)
    path = archive(
        tmp_path,
        images=train,
        labels=np.arange(6, dtype=np.uint8) % 3,
        test_images=test,
        test_labels=np.array([0, 1, 2, 3]),
    )
    data = npz.load(path)
    assert data.test is not None and data.train.augmentation == Augmentation(2, True)
    assert np.array_equal(data.train.images, train.transpose(0, 3, 1, 2)) and np.array_equal(
        data.test.images, test.transpose(0, 3, 1, 2)
    )
    assert (
        data.train.labels.tolist() == [0, 1, 2] * 2
        and data.train.labels.dtype == torch.int64
        and data.test.labels.tolist() == [0, 1, 2, 3]
    )
    assert data.train.classes == data.test.classes == ("0", "1", "2", "3")


def test_npz_in_grey_without_labels(tmp_path: Path) -> None:
    grey = pixels(5)[..., 0]
    data = npz.load(archive(tmp_path, images=grey))
    assert (
        data.test is None
        and data.train.classes == ()
        and all(np.array_equal(data.train.images[:, c], grey) for c in range(3))
    )
    with pytest.raises(LabelError):
        _ = data.train.labels


def test_npz_gives_up_a_fifth_where_there_are_labels(tmp_path: Path) -> None:
    images = pixels(10)
    places = {image.tobytes(): i for i, image in enumerate(images.transpose(0, 3, 1, 2))}
    data = npz.load(archive(tmp_path, images=images, labels=np.arange(10) // 2))
    assert data.test is not None and len(data.test) == 2
    found = []
    for part in (data.train, data.test):
        index = [places[image.numpy().tobytes()] for image in part.images]
        assert part.labels.tolist() == [i // 2 for i in index] and len(part.classes) == 5
        found += index
    assert sorted(found) == list(range(10)) and set(data.train.labels.tolist()) == set(range(5))


def test_npz_warns_of_arrays_that_nothing_reads(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="nothing reads: 'label': did you mean 'labels'"):
        npz.load(archive(tmp_path, images=pixels(2), label=np.zeros(2, int)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": pixels(2)}, r"has no array 'images'; did you mean 'image'\?"),
        ({"x": pixels(2)}, "has no array 'images'; known: x"),
        ({}, "has no array 'images'; it is empty"),
        ({"images": pixels(2).astype(float)}, r"images must be .* uint8, but is \(2, 4, 4, 3\) float64"),
        ({"images": pixels(2).transpose(0, 3, 1, 2)}, r"but is \(2, 3, 4, 4\) uint8"),
        ({"images": pixels(0)}, r"but is \(0, 4, 4, 3\)"),
        ({"images": np.array([{}, 1], dtype=object)}, r"images holds Python objects \(a pickle\) and is refused"),
        ({"images": pixels(2), "labels": np.array([0, "x"], dtype=object)}, "labels holds Python objects"),
        (
            {"images": pixels(2), "labels": np.zeros(3, int)},
            r"labels must be \(2,\) integers, one for each of images, but is \(3,\) int64",
        ),
        ({"images": pixels(2), "labels": np.zeros(2)}, r"but is \(2,\) float64"),
        ({"images": pixels(2), "labels": np.array([0, -1])}, "go from -1 to 0"),
        ({"images": pixels(2), "labels": np.array([0, 2**63], dtype=np.uint64)}, "go from 0 to 9223372036854775808"),
        ({"images": pixels(1), "labels": np.array([0])}, "cannot be split"),
        ({"images": pixels(2), "test_labels": np.zeros(2, int)}, "has test_labels, but no test_images"),
        (
            {"images": pixels(2), "labels": np.zeros(2, int), "test_images": pixels(2)},
            "of labels and test_labels only labels",
        ),
        ({"images": pixels(2), "test_labels": np.zeros(2, int), "test_images": pixels(2)}, "only test_labels"),
        (
            {"images": pixels(2), "test_images": pixels(2, 8, 8)},
            r"images are \(4, 4\) pixels, but test_images \(8, 8\)",
        ),
    ],
)
def test_npz_that_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        npz.load(archive(tmp_path, **arrays))


def test_npz_that_is_no_archive(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with pytest.raises(DataError, match=r"a\.npz: no such file"):
        npz.load(str(file))
    with pytest.raises(DataError, match="is a folder, not a file"):
        npz.load(str(tmp_path))
    whole = Path(archive(tmp_path, images=pixels(50))).read_bytes()
    marker = tmp_path / "marker"
    for content in (b"", b"hello", whole[: len(whole) // 2], pickle.dumps(Hostile(marker))):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"no NumPy archive, or a truncated one\. \(A pickle is refused\.\)"):
            npz.load(str(file))
    assert not marker.exists()
    file.write_bytes(whole[:600] + bytes(20) + whole[620:])
    with pytest.raises(DataError, match="images is truncated or damaged"):
        npz.load(str(file))
    np.save(tmp_path / "b.npy", pixels(2))
    with pytest.raises(DataError, match="holds a single array"):
        npz.load(str(tmp_path / "b.npy"))
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("images", "text")
    with pytest.raises(DataError, match="images is not a NumPy array"):
        npz.load(str(file))


# From settings


def test_settings_reach_every_source(tmp_path: Path) -> None:
    fill(tmp_path / "folder", 8)
    write_cifar(tmp_path, "cifar10")
    path = archive(tmp_path, images=pixels(4))
    loaded = sources.load(
        read(
            DataSettings,
            {
                "source": "folder",
                "path": str(tmp_path / "folder"),
                "image_size": 6,
                "limit": 5,
                "padding": 3,
                "flip": False,
            },
        )
    )
    assert loaded.train.images.shape == (5, 3, 6, 6) and loaded.train.augmentation == Augmentation(3, False)
    assert sources.load(read(DataSettings, {"source": "folder", "path": str(tmp_path / "folder")})).train.size == (
        32,
        32,
    )
    assert len(sources.load(read(DataSettings, {"source": "cifar10", "path": str(tmp_path)})).train) == 15
    assert len(sources.load(read(DataSettings, {"source": "npz", "path": path})).train) == 4
    assert len(sources.load(read(DataSettings, {"limit": 100})).train) == 100


def test_settings_choose_the_augmentation() -> None:
    data = sources.load(read(DataSettings, {"limit": 50, "augmentation": {"kind": "padded_crop", "flip": True}}))
    assert data.train.augmentation == Augmentation(1, True), "digits are padded by 1 unless padding is given"
    assert data.test is not None and data.test.augmentation == Augmentation(1, True)
    resized = {"kind": "resized_crop", "size": 6, "scale": [0.5, 1], "hue": 0.2, "lighting": 0}
    chosen = sources.load(read(DataSettings, {"limit": 50, "augmentation": resized})).train
    assert (
        chosen.augmentation == ResizedCrop(6, True, Colour(hue=0.2), (0.5, 1.0))
        and chosen.size == (8, 8)
        and chosen.input_size == (6, 6)
    )
    scaled = sources.load(
        read(DataSettings, {"augmentation": {"kind": "scaled_crop", "size": 6, "nominal": 9, "flip": False}})
    ).train
    assert scaled.augmentation == ScaledCrop(6, False, Colour(lighting=0.1), 9)


def test_settings_choose_classes() -> None:
    data = sources.load(read(DataSettings, {"per_class": 0.5, "split_per_class": True, "limit_seed": 3})).train
    whole = digits.load().train
    wanted = torch.floor(0.5 * torch.bincount(whole.labels) + 0.5)
    assert torch.equal(torch.bincount(data.labels).float(), wanted)
    first = torch.bincount(data.labels[: len(data) // 2], minlength=10)
    assert (first - wanted / 2).abs().max() <= 1.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"augmentation": {"kind": "resized_crop", "sizee": 3}},
            r"^data\.augmentation\.sizee: no such key; did you mean 'size'\?",
        ),
        (
            {"augmentation": {"kind": "resized_crop", "scale": [1, 0.5]}},
            r"^data\.augmentation: scale must be two numbers above 0, the smaller one first",
        ),
        (
            {"augmentation": {"kind": "resize"}},
            r"^data\.augmentation: .*expected tags: 'padded_crop', 'resized_crop', 'scaled_crop'",
        ),
        (
            {"augmentation": {"kind": "scaled_crop", "hue": 0.7}},
            r"^data\.augmentation\.hue: .*less than or equal to 0\.5, but got 0\.7",
        ),
        (
            {"augmentation": {"kind": "padded_crop"}, "flip": True},
            "padding and flip are part of augmentation where that is given",
        ),
        ({"source": "folder", "path": "x", "shape": [180, 240], "image_size": 32}, "image_size and shape both say"),
        ({"shape": [8, 8]}, "shape only goes with source: folder or segmentation"),
        ({"resident": True}, "resident only goes with source: folder or segmentation"),
        ({"test_split": "val"}, "test_split only goes with source: segmentation"),
        ({"limit": 10, "per_class": 0.5}, "limit and per_class both say how many"),
        (
            {"source": "segmentation", "path": "x", "per_class": 0.5},
            "per_class and split_per_class need images with one class each",
        ),
        ({"per_class": 0}, r"^data\.per_class: .*greater than 0, but got 0"),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(DataSettings, values, "data.")


def test_identity_tells_images_apart() -> None:
    images = torch.from_numpy(np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4))
    same, other = ImageSet("x", images.clone(), None).identity(), images.clone()
    other[1, 2, 3, 3] += 1
    assert ImageSet("x", images, torch.zeros(2, dtype=torch.int64)).identity() == same, (
        "labels are none of its business"
    )
    assert ImageSet("x", other, None).identity() != same
    assert ImageSet("x", images, None, augmentation=Augmentation(1)).identity() != same
    assert ImageSet("x", images[:1], None).identity() != same


def test_cutout_fills_with_the_training_images_mean() -> None:
    given = {"kind": "padded_crop", "cutout": 4, "cutout_ramp": 50}
    data = sources.load(read(DataSettings, {"augmentation": given}))
    mean = data.train.statistics()[0].tolist()
    assert data.train.augmentation == Cutout(1, False, cutout=4, ramp=50, fill=tuple(mean))
    with pytest.raises(ConfigError, match="cutout_ramp needs cutout"):
        read(DataSettings, {"augmentation": {"kind": "padded_crop", "cutout_ramp": 50}})


def test_svhn_is_a_source_of_searches(tmp_path: Path) -> None:
    """As R-DARTS searches it: crops and flips, the digit 0 as class 0."""
    from .test_retraining_pictures import svhn

    data = sources.load(DataSettings(source="svhn", path=str(svhn(tmp_path))))
    assert data.test is not None and data.train.labels.tolist() == data.test.labels.tolist() == [1, 0, 9]
    assert data.train.augmentation == Augmentation(4, True) and data.train.images.shape == (3, 3, 32, 32)
