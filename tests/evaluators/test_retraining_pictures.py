"""Images of a retraining: every layout and every bad one."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

pytest.importorskip("timm")
pytest.importorskip("sklearn.datasets")  # draws from a global generator when it is first imported

from nni_plugins.evaluators.data.images import hold_out
from nni_plugins.evaluators.errors import DataError, LabelError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.retraining.batches import TrainingBatches, normalisation
from nni_plugins.evaluators.retraining.batches import test_batches as batches_of_tests
from nni_plugins.evaluators.retraining.pictures import PictureData, Pictures, open_pictures, recognised
from nni_plugins.evaluators.retraining.settings import PictureSettings

from .retraining_images import (
    HALF,
    _generators_stay_untouched,  # noqa: F401 (for every test)
    arrays,
    flat,
    recipe,
    same,
    some,
    write,
)

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))


def opened(path: Path | str, **settings: Any) -> PictureData:
    return open_pictures(PictureSettings(path=str(path), **settings))


def folders(
    root: Path, parts: tuple[str, ...] = ("train", "val"), classes: tuple[str, ...] = ("cat", "dog"), each: int = 3
) -> Path:
    for number, (part, name, i) in enumerate((p, c, i) for p in parts for c in classes for i in range(each)):
        write(root / part / name / f"{i}.png", 8 + i, 10, seed=number)
    return root


def cifar10(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {b"data": arrays(4, 32, 32, number).transpose(0, 3, 1, 2).reshape(4, 3072), b"labels": [0, 9, 3, 4]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


def cifar100(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for number, name in enumerate(["train", "test"]):
        content = {
            b"data": arrays(4, 32, 32, number).transpose(0, 3, 1, 2).reshape(4, 3072),
            b"fine_labels": [0, 99, 3, 4],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


def svhn(root: Path, **changes: Any) -> Path:
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(["train", "test"]):
        content = {
            "X": arrays(3, 32, 32, number).transpose(1, 2, 3, 0),
            "y": np.array([[1], [10], [9]], dtype=np.uint8),
            **changes,
        }
        savemat(root / f"{name}_32x32.mat", {key: value for key, value in content.items() if value is not None})
    return root


def npz(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "some.npz", images=arrays(10), labels=np.arange(10) % 2)
    return root / "some.npz"


@pytest.mark.parametrize(
    ("make", "source", "sizes", "classes"),
    [
        (lambda root: "digits", "digits", (600, 1197), tuple("0123456789")),
        (folders, "folder", (6, 6), ("cat", "dog")),
        (lambda root: folders(root, ("train", "validation")), "folder", (6, 6), ("cat", "dog")),
        (lambda root: folders(root, (".",), each=10), "folder", (16, 4), ("cat", "dog")),
        (cifar10, "cifar10", (20, 4), tuple(map(str, range(10)))),
        (lambda root: cifar10(root) / "cifar-10-batches-py", "cifar10", (20, 4), tuple(map(str, range(10)))),
        (cifar100, "cifar100", (4, 4), tuple(map(str, range(100)))),
        (lambda root: cifar100(root) / "cifar-100-python", "cifar100", (4, 4), tuple(map(str, range(100)))),
        (svhn, "svhn", (3, 3), tuple("0123456789")),
        (npz, "npz", (8, 2), ("0", "1")),
    ],
)
def test_every_layout_is_recognised(
    make: Callable[[Path], Any], source: str, sizes: tuple[int, int], classes: tuple[str, ...], tmp_path: Path
) -> None:
    path = make(tmp_path / "data")
    assert recognised(str(path)) == source
    data = opened(path)
    assert (len(data.train), len(data.test)) == sizes and data.train.classes == data.test.classes == classes
    explicit = opened(path, source=source)
    assert explicit.train.identity() == data.train.identity() != data.test.identity()
    for part in (data.train, data.test):
        image = part.image(len(part) - 1)
        assert image.mode == "RGB" and image.size == tuple(part.sizes[-1][::-1]) and part.labels.dtype == torch.int64
    smaller = opened(path, limit=2, test_limit=1, limit_seed=1)
    assert (len(smaller.train), len(smaller.test)) == (2, 1) and smaller.train.identity() != data.train.identity()


def test_files_are_opened_at_their_own_size(tmp_path: Path) -> None:
    folders(tmp_path)
    grey = Image.fromarray((np.arange(12, dtype=np.uint16).reshape(3, 4) * 256 * 20).astype(np.uint16))
    (tmp_path / "train/ant").mkdir(), (tmp_path / "val/ant").mkdir()
    for part in ("train", "val"):
        grey.save(tmp_path / part / "ant/deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.fromarray(arrays(1, 20, 30)[0]).save(tmp_path / "train/ant/turned.jpg", exif=turned)
    data = opened(tmp_path)
    assert data.train.sizes.tolist() == [[3, 4], [30, 20], [8, 10], [9, 10], [10, 10], [8, 10], [9, 10], [10, 10]]
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2] and data.train.classes == ("ant", "cat", "dog")
    assert np.asarray(data.train.image(0))[:, :, 1].tolist() == (np.arange(12).reshape(3, 4) * 20).tolist()
    assert data.train.image(1).size == (20, 30), "upright"
    assert np.array_equal(np.asarray(data.train.image(3)), arrays(1, 9, 10, 1)[0])
    part = data.train.subset(np.array([3, 0]))
    assert part.labels.tolist() == [1, 0] and part.sizes.tolist() == [[9, 10], [3, 4]] and part.image(1).size == (4, 3)


def test_split_of_class_folders_is_that_of_the_searches(tmp_path: Path) -> None:
    data = opened(folders(tmp_path, (".",), each=10))
    train, test = hold_out(20)
    assert data.train.labels.tolist() == (train // 10).tolist() and data.test.labels.tolist() == (test // 10).tolist()


def test_svhn_counts_zero_as_ten(tmp_path: Path) -> None:
    data = opened(svhn(tmp_path))
    assert data.train.labels.tolist() == [1, 0, 9] and np.array_equal(
        np.asarray(data.test.image(2)), arrays(3, 32, 32, 1)[2]
    )


def test_limits_are_seeded_draws(tmp_path: Path) -> None:
    data, drawn_ = opened("digits"), [opened("digits", limit=50, test_limit=60, limit_seed=seed) for seed in (0, 0, 1)]
    index = np.sort(generator(0, "data limit").permutation(600)[:50])
    assert (
        drawn_[0].train.labels.tolist() == data.train.labels[index].tolist()
        and drawn_[0].train.identity() == drawn_[1].train.identity()
    )
    assert drawn_[0].test.identity() == drawn_[1].test.identity() != drawn_[2].test.identity()
    assert len(opened("digits", limit=10**6).train) == 600


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", r"nowhere: no such file or folder\.[\s\S]*Expected 'digits'; a folder"),
        (
            lambda root: (root / "images.tar.gz").write_bytes(b"x") and root / "images.tar.gz",
            r"is a file, an archive\.\s*Unpack it",
        ),
        (
            lambda root: (root / "notes.txt").write_bytes(b"x") and root / "notes.txt",
            r"notes.txt: is a file\.\s*Expected",
        ),
        (lambda root: (root / "notes.txt").write_bytes(b"x") and root, r"holds no images \(found: 1 .txt\)"),
        (lambda root: root, r"holds no images \(it is empty\)"),
        (
            lambda root: cifar100(cifar10(root)),
            r"holds cifar10 and cifar100\.\s*Say which one: source cifar10 or cifar100",
        ),
        (
            lambda root: folders(root / "deep/data").parent,
            r"its only folder of images, data, holds the parts\.\s*Give .*deep/data\.",
        ),
        (lambda root: folders(root, ("val",)), "has a folder val, but no folder train"),
        (lambda root: folders(folders(root), ("val",), ("cow",)), r"different class folders \(only in val: cow\)"),
        (
            lambda root: folders(folders(root, ("train",)), ("val",), ("cow",)),
            "only in train: cat, dog; only in val: cow",
        ),
        (lambda root: write(folders(root) / "train/loose.png") or root, "holds 1 images directly"),
        (
            lambda root: (svhn(root) / "test_32x32.mat").unlink() or root,
            "test_32x32.mat missing; expected train_32x32.mat and test_32x32.mat",
        ),
        (
            lambda root: (svhn(root) / "test_32x32.mat").write_bytes(b"x" * 200) and root,
            "truncated, damaged or no MATLAB file",
        ),
        (lambda root: svhn(root, y=np.array([1, 2, 11])), r"y must lie in 1 \.\.\. 10, but lies in 1 \.\.\. 11"),
        (lambda root: svhn(root, y=np.array([1, 2])), r"y must be 3 integers, one for each image, but is \(1, 2\)"),
        (lambda root: svhn(root, y=None), "but is missing"),
        (
            lambda root: svhn(root, X=np.zeros((3, 32, 32, 3))),
            r"X must be \(32, 32, 3, N\) uint8, but is \(3, 32, 32, 3\) float64",
        ),
        (lambda root: (cifar10(root) / "cifar-10-batches-py/test_batch").unlink() or root, "test_batch missing"),
    ],
)
def test_every_bad_layout_is_explained(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        opened(make(tmp_path))


def known(pictures: Pictures) -> dict[str, object]:
    """Their number and checksums, whatever they are called."""
    return {key: value for key, value in pictures.identity().items() if key != "name"}


def test_a_share_is_held_out(tmp_path: Path) -> None:
    """A draw of its own of what the limit leaves; the test images stay as they are."""
    whole, held = opened("digits", limit=200), opened("digits", limit=200, validation=0.2)
    order = generator(0, "validation").permutation(200)
    assert held.validation is not None and (held.validation.name, len(held.validation)) == (
        "digits/train, held out",
        40,
    )
    assert known(held.validation) == known(whole.train.subset(np.sort(order[:40])))
    assert known(held.train) == known(whole.train.subset(np.sort(order[40:]))) and known(held.test) == known(whole.test)
    assert whole.validation is None and list(whole.parts) == ["train", "test"]
    other = opened("digits", limit=200, validation=0.2, limit_seed=1).validation
    assert other is not None and known(other) != known(held.validation)
    with pytest.raises(DataError, match=r"of 2 images none is left to train on\.\s*Lower data\.validation"):
        opened("digits", limit=2, validation=0.9)
    for share in (1, -0.1, "val"):
        with pytest.raises(ValidationError):
            PictureSettings(path="digits", validation=share)


def test_a_folder_has_a_validation_part_of_its_own(tmp_path: Path) -> None:
    root = folders(folders(tmp_path / "all", ("train", "test")), ("valid",), each=2)
    own, without = opened(root, validation="own"), opened(root)
    assert own.validation is not None and {name: len(part) for name, part in own.parts.items()} == {
        "train": 6, "validation": 4, "test": 6,
    }  # fmt: skip
    assert own.validation.name == "all/validation" and own.validation.image(0).size == (10, 8)
    assert without.validation is None and known(own.test) == known(without.test), (
        "unless it is asked for nothing reads it"
    )
    share = opened(root, validation=0.5)
    assert {name: len(part) for name, part in share.parts.items()} == {"train": 3, "validation": 3, "test": 6}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: folders(root, (".",)), r"no folders train, val and test, .*found: cat, dog\."),
        (folders, r"no folders train, val and test, .*found: train, val\.\s*Hold out a share"),
        (lambda root: folders(root, ("val", "test")), r"no folders train, val and test, .*found: test, val\."),
        (npz, r"images of npz have no validation part of their own\.\s*Hold out a share"),
        (
            lambda root: folders(folders(root, ("train", "test")), ("val",), ("cow",)),
            r"train and val have different class folders \(only in train: cat, dog; only in val: cow\)",
        ),
    ],
)
def test_a_validation_part_that_is_not_there(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        opened(make(tmp_path), validation="own")


def test_images_without_labels(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "flat" / f"{i}.png")
    np.savez(tmp_path / "some.npz", images=arrays(4))
    with pytest.raises(LabelError, match="holds 3 images without class folders; retraining needs labels"):
        opened(tmp_path / "flat")
    with pytest.raises(LabelError, match="have no labels"):
        opened(tmp_path / "some.npz")


def test_classes_of_both_parts_must_agree() -> None:
    whole = some()
    other = Pictures("other/test", whole._images, whole.labels, ("a", "c", "b"))
    with pytest.raises(DataError, match=r"some/train has the classes a, b, c \(3\), but other/test a, c, b \(3\)"):
        PictureData(whole, other)
    one = Pictures("one/train", whole._images, whole.labels * 0, ("a",))
    with pytest.raises(DataError, match="one/train: there is only one class, a"):
        PictureData(one, one)
    with pytest.raises(DataError, match="30 images of 2 classes need as many labels below that"):
        Pictures("bad", whole._images, whole.labels, ("a", "b"))


# Files that cannot be read, images that are too small


def test_unreadable_files(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "train/cat/1.png").write_bytes(b"no image")
    with pytest.warns(
        UserWarning,
        match=r"1 of 12 images cannot be read and are left out: .*cat/1.png \(no image format that we know\)",
    ):
        data = opened(tmp_path)
    assert (
        len(data.train) == 5
        and data.train.labels.tolist() == [0, 0, 1, 1, 1]
        and data.train.sizes[1].tolist() == [10, 10]
    )
    (tmp_path / "val/dog/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 12 images cannot be read \(at most 1 may be\)"):
        opened(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_file_that_breaks_behind_its_header(workers: int, tmp_path: Path) -> None:
    folders(tmp_path, each=4)
    file = tmp_path / "train/dog/2.png"
    file.write_bytes(file.read_bytes()[:-40])
    data = opened(tmp_path)
    with pytest.raises(DataError, match=r"^[^\n]*train/dog/2.png: cannot be read \([^\n]*\)\.\nRepair or remove it"):
        flat(TrainingBatches(data.train, recipe(workers=workers), HALF, 0))
    with pytest.raises(DataError, match=r"train/dog/2\.png"):
        normalisation(recipe(), data.train)


def test_images_that_are_too_small_are_refused_early(tmp_path: Path) -> None:
    data = opened("digits")
    for refused in (
        lambda: TrainingBatches(data.train, recipe(224), HALF, 0),
        lambda: next(batches_of_tests(data.test, recipe(224), HALF, "cpu")),
        lambda: normalisation(recipe(224), data.train),
    ):
        with pytest.raises(
            DataError,
            match=r"of less than half of input.size, which is 224; the smallest is 8x8[\s\S]*--set input.size=8",
        ):
            refused()
    data.train.check_size(16)
    with pytest.raises(DataError, match="600 of 600"):
        data.train.check_size(17)
    for i in range(40):
        write(tmp_path / f"{'ab'[i % 2]}/{i}.png", 32, 40)
    write(tmp_path / "a/small.png", 9, 50)
    folder = opened(tmp_path)
    folder.train.check_size(64), folder.test.check_size(64)  # one of 33 is less than 5 %
    with pytest.raises(
        DataError, match=r"33 of 33 images.*the smallest is 50x9 pixels \(.*small.png\)[\s\S]*input.size=32"
    ):
        folder.train.check_size(65)


# Real images


def test_cifar_jpegs(tmp_path: Path) -> None:
    archive = REAL_DATA / "cifar10_jpeg/cifar10_jpeg_full.tar.gz"
    if not archive.is_file():
        pytest.skip(f"needs {archive}, which is not part of this project (set NNI_PLUGINS_DATA)")
    with tarfile.open(archive) as packed:
        for count, member in enumerate(packed):
            if count > 2000:
                break
            if member.isfile() and count % 10 == 0:
                name = Path(member.name)
                target = tmp_path / ("train", "test")[count % 20 == 0] / name.parent.name / name.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(packed.extractfile(member), file)  # type: ignore[arg-type]
    data = opened(tmp_path)
    assert data.train.classes == ("airplane", "automobile") and (len(data.train), len(data.test)) == (100, 100)
    assert set(map(tuple, data.train.sizes.tolist())) == {(32, 32)}
    chosen = recipe(32, 32, {"kind": "padded_crop", "padding": 4, "cutout": 16})
    found = normalisation(chosen, data.train)
    every = np.stack([np.asarray(data.train.image(i)) for i in range(100)]) / 255
    assert found[0] == pytest.approx(every.mean((0, 1, 2)), abs=1e-9) and found[1] == pytest.approx(
        every.std((0, 1, 2)), abs=1e-9
    )
    ours, theirs = (
        flat(TrainingBatches(data.train, r, found, 0)) for r in (chosen, chosen.model_copy(update={"workers": 2}))
    )
    assert same(ours, theirs) and [len(part.images) for part in ours] == [32, 32, 32, 4]
    assert all(64 <= int((image == 0).all(0).sum()) <= 1024 for part in ours for image in part.images)
