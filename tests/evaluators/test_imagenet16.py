"""ImageNet16-120 as its authors store it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators import DataError, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.retraining.pictures import open_pictures
from nni_plugins.evaluators.retraining.settings import PictureSettings

FILES = [*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"]


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 768), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images a file, of the first, the last and a class that is left out; a mean, as the originals have one."""
    for i, name in enumerate(FILES):
        labels = [1 + i, 120, 121 + i]
        content = {"data": pixels(3, i), "labels": labels, "mean": pixels(3, i).mean(0)}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    return tmp_path


def settings(path: Path, **more: Any) -> DataSettings:
    return DataSettings(source="imagenet16_120", path=str(path), **more)


def test_the_first_120_classes(folder: Path) -> None:
    data = load(settings(folder))
    assert data.test is not None and (len(data.train), len(data.test)) == (20, 2)
    assert data.train.labels.tolist() == [label for i in range(10) for label in (i, 119)]
    assert len(data.train.classes) == 120 and data.train.size == (16, 16)
    wanted = pixels(3, 4)[1].reshape(3, 16, 16)
    assert torch.equal(data.train.images[9], torch.from_numpy(wanted)), "channels first, as stored"
    assert (data.train.augmentation.padding, data.train.augmentation.flip) == (2, True)  # type: ignore[attr-defined]


def test_retraining_reads_it(folder: Path) -> None:
    for source in ("auto", "imagenet16_120"):
        data = open_pictures(PictureSettings(path=str(folder), source=source))  # type: ignore[arg-type]
        assert (len(data.train), len(data.test), len(data.train.classes)) == (20, 2, 120)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [1]}, r"data must be \(N, 768\) uint8, but is NoneType"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [1]}, r"data must .* but is \(1, 3072\) uint8"),
        ({"data": pixels(2, 0), "labels": [1]}, r"2 images need as many whole numbers as labels, but there are \(1,\)"),
        ({"data": pixels(1, 0), "labels": [0]}, r"labels must lie in \[1, 1000\], but lie in \[0, 0\]"),
    ],
)
def test_files_that_are_refused(folder: Path, content: dict[str, Any], message: str) -> None:
    (folder / "train_data_batch_3").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=rf"train_data_batch_3: {message}"):
        load(settings(folder))


def test_files_that_are_missing(folder: Path, tmp_path: Path) -> None:
    (folder / "val_data").unlink()
    with pytest.raises(
        DataError, match=r"val_data missing; expected train_data_batch_1 to train_data_batch_10 and val"
    ):
        load(settings(folder))
    with pytest.raises(DataError, match="no such folder"):
        load(settings(tmp_path / "nowhere"))


class Imports:
    """A pickle that would run something."""

    def __reduce__(self) -> Any:
        return print, ("never",)


def test_nothing_is_imported(folder: Path) -> None:
    (folder / "train_data_batch_1").write_bytes(pickle.dumps({"data": Imports(), "labels": [1]}))
    with pytest.raises(DataError, match=r"refused, because it wants to import builtins\.print"):
        load(settings(folder))
