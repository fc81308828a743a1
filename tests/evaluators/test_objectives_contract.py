"""The objectives of this package pass the conformance suite, and the suite notices objectives that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import (
    Colorization,
    Crops,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    Supervised,
)
from nni_plugins.testing import ObjectiveContract

from .objectives_job import coloured


class TestRotation(ObjectiveContract):
    def objective(self) -> Objective:
        return Rotation()

    def images(self) -> ImageSet:
        return coloured(6)


class TestJigsaw(TestRotation):
    def objective(self) -> Objective:
        return Jigsaw(2, 6)


class TestColorization(TestRotation):
    def objective(self) -> Objective:
        return Colorization()


class TestRandomLabels(TestRotation):
    def objective(self) -> Objective:
        return RandomLabels(4)


class TestSupervised(TestRotation):
    def objective(self) -> Objective:
        return Supervised()

    def images(self) -> ImageSet:
        return ImageSet("noise", coloured(6).images, torch.arange(6) % 3, ("a", "b", "c"))


class TestSegmentation(TestRotation):
    def objective(self) -> Objective:
        return Segmentation(channels=4, rates=[1])

    def images(self) -> ImageSet:
        return coloured(6, maps=True)


# -- wrong ones ----------------------------------------------------------------------------------------------------------
class KeepsMoreThanItsArguments(Rotation):
    def __init__(self) -> None:
        self.turns = 4


class DrawsFromTheGlobalGenerator(Jigsaw):
    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[np.int32]:
        return np.random.randint(0, 5, size=(uses, 9)).astype(np.int32)


class DrawsOnce(Jigsaw):
    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[np.int32]:
        return super().draw(seed, 0, uses)


class LooksAtItsNeighbours(Rotation):
    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        x, targets = super().prepare(crops)
        return x - x.mean(), targets


class CountsOnlyHalf(Rotation):
    def count(self, targets: torch.Tensor) -> torch.Tensor:
        return super().count(targets) // 2


class ForgetsTheTargets(Rotation):
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.square().mean()


class SaysItHasAnotherMetric(Rotation):
    metric = "miou"


class ReadsLabels(Rotation):
    def check(self, images: ImageSet) -> None:
        _ = images.labels


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (KeepsMoreThanItsArguments(), "test_its_attributes_are_its_arguments"),
        (LooksAtItsNeighbours(), "test_it_is_registered"),
        (DrawsFromTheGlobalGenerator(2, 6), "test_what_it_draws_is_a_function_of_the_arguments"),
        (DrawsOnce(2, 6), "test_what_it_draws_is_a_function_of_the_arguments"),
        (LooksAtItsNeighbours(), "test_an_image_has_the_same_targets_in_any_batch"),
        (CountsOnlyHalf(), "test_perfect_and_wrong_outputs"),
        (ForgetsTheTargets(), "test_perfect_and_wrong_outputs"),
        (SaysItHasAnotherMetric(), "test_numbers_of_an_evaluation"),
        (ReadsLabels(), "test_labels_are_asked_for_only_if_it_needs_them"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_suite_notices(wrong: Any, test: str) -> None:
    class Contract(ObjectiveContract):
        def objective(self) -> Objective:
            return wrong  # type: ignore[no-any-return]

        def images(self) -> ImageSet:
            return coloured(6)

    with pytest.raises((AssertionError, TypeError)):
        getattr(Contract(), test)()
