"""What tests of a retraining's images share: small images, a recipe, and the promise to leave global generators alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm")
pytest.importorskip("sklearn.datasets")  # draws from a global generator when it is first imported

from nni_plugins.evaluators.retraining.batches import Part, TrainingBatches
from nni_plugins.evaluators.retraining.pictures import Pictures
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.settings import read

HALF = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NONE = {"kind": "padded_crop", "padding": 0, "flip": 0.0}


def recipe(size: int = 8, batch: int = 8, augmentation: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    settings = {
        "source": "test",
        "epochs": 4,
        "batch_size": batch,
        "optimizer": {"learning_rate": 0.1},
        "input": {"size": size},
        "augmentation": augmentation or {"kind": "padded_crop", "padding": 1, "cutout": 2},
        **changes,
    }
    return read(Recipe, settings)


def arrays(count: int, height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def some(count: int = 30, size: int = 8, classes: int = 3) -> Pictures:
    labels = torch.arange(count) % classes
    return Pictures(
        "some/train",
        torch.from_numpy(arrays(count, size, size)).permute(0, 3, 1, 2),
        labels,
        tuple("abcdefghij"[:classes]),
    )


def write(file: Path, height: int = 8, width: int = 8, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(arrays(1, height, width, seed)[0]).save(file)


def flat(batches: TrainingBatches, epoch: int = 0, first: int = 0) -> list[Part]:
    return [part for parts in batches.epoch(epoch, first) for part in parts]


def same(ours: list[Part], theirs: list[Part]) -> bool:
    assert len(ours) == len(theirs)
    return all(
        torch.equal(a.images, b.images)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.labels, b.labels)
        and a.weight == b.weight
        for a, b in zip(ours, theirs, strict=True)
    )


def states() -> tuple[Any, ...]:
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2:],
        torch.get_rng_state().tolist(),
    )


@pytest.fixture(autouse=True)
def _generators_stay_untouched() -> Iterator[None]:
    """Nothing here may draw from the global generators, or leave them seeded."""
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    random.gauss(0, 1), np.random.standard_normal(), torch.randn(1)  # a second normal number is in store
    before = states()
    yield
    assert states() == before
