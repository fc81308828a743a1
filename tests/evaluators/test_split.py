"""The two parts of the training images: what is in them, and sorted folders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.data.split import check_classes, halves
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Rotation, Supervised
from nni_plugins.evaluators.training.settings import BilevelSettings


def folder(each: int, classes: int = 4) -> ImageSet:
    """Images as a folder of classes gives them: one class after the other."""
    labels = torch.arange(classes).repeat_interleave(each)
    return ImageSet("photos", torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), labels, tuple("abcd"[:classes]))


def test_sorted_images_are_refused_and_a_draw_is_not() -> None:
    images, plain = folder(100), BilevelSettings()
    with pytest.raises(ConfigError, match="2 of 4 classes have no image in the first part") as caught:
        check_classes(images, Supervised(), halves(400, plain, 0))
    assert "shuffle_split: true" in caught.value.remedy
    check_classes(images, Rotation(), halves(400, plain, 0))  # which looks at no label
    for seed in range(5):
        check_classes(images, Supervised(), halves(400, plain.model_copy(update={"shuffle_split": True}), seed))


def test_a_class_that_is_rare_may_be_missing() -> None:
    images = folder(12)
    parts = np.arange(44), np.arange(44, 48)  # one image a class on average in the second
    check_classes(images, Supervised(), parts)
    with pytest.raises(ConfigError, match="in the second part"):
        check_classes(folder(120), Supervised(), (np.arange(440), np.arange(440, 480)))


def test_both_parts_are_all_images() -> None:
    first, second = halves(100, BilevelSettings(portion=0.29, shuffle_split=True), 3)
    assert len(first) == 29 and sorted([*first, *second]) == list(range(100))
