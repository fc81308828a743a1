"""Targets, loss and metric of every objective."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError, DataError, LabelError
from nni_plugins.evaluators.objectives import Head, Objective, RandomLabels, Supervised, check_targets

from .tiny import images


def forbidden() -> torch.Tensor:
    raise AssertionError("labels were asked for")


def labelled(labels: list[int], classes: tuple[str, ...] = ()) -> ImageSet:
    return images(len(labels), labels=torch.tensor(labels), classes=classes)


def test_fixed_labels_stay_and_resampled_ones_change() -> None:
    data = images(300)
    fixed, resampled = (RandomLabels(5, mode).epoch_targets for mode in ("fixed", "resample"))  # type: ignore[arg-type]
    assert torch.equal(fixed(data, 0), fixed(data, 7)) and not torch.equal(resampled(data, 0), resampled(data, 7))
    assert torch.equal(resampled(data, 7), resampled(data, 7))
    assert not torch.equal(fixed(data, 0), RandomLabels(5, seed=1).epoch_targets(data, 0))
    assert not torch.equal(resampled(data, 0), RandomLabels(5, "resample", 1).epoch_targets(data, 0))


@pytest.mark.parametrize("mode", ["fixed", "resample"])
def test_random_labels_are_uniform(mode: Any) -> None:
    targets = RandomLabels(10, mode).epoch_targets(images(20_000, size=1), 3)
    assert targets.dtype == torch.int64
    assert chisquare(torch.bincount(targets, minlength=10).numpy()).pvalue > 1e-3


def test_random_labels_never_touch_the_labels() -> None:
    data = images(6, labels=forbidden)
    objective = RandomLabels(3)
    assert objective.label_free and objective.head(data) == Head(3)
    check_targets(objective.epoch_targets(data, 0), data, 3)
    with pytest.raises(AssertionError, match="labels were asked for"):
        Supervised().epoch_targets(data, 0)


def test_supervised_hands_the_labels_on() -> None:
    objective: Objective = Supervised()
    assert not objective.label_free
    assert objective.epoch_targets(labelled([2, 0, 1]), 5).tolist() == [2, 0, 1]
    assert objective.head(labelled([0, 2])) == Head(3) and objective.head(
        labelled([0, 1], ("a", "b", "c", "d"))
    ) == Head(4)
    with pytest.raises(LabelError, match="noise: these images have no labels"):
        objective.head(images(2))


def test_loss_and_correct_by_hand() -> None:
    outputs = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(3)]])
    targets = torch.tensor([0, 1, 1])
    expected = (math.log(2) + math.log(4) + math.log(4 / 3)) / 3
    assert float(Supervised().loss(outputs, targets)) == pytest.approx(expected, rel=1e-6)
    assert int(RandomLabels(2).correct(outputs, targets)) == 2


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"must be \(3,\) int64, but got \(2,\) torch.int64"),
        (torch.zeros(3, 1, dtype=torch.int64), r"but got \(3, 1\)"),
        (torch.zeros(3), r"but got \(3,\) torch.float32"),
        (torch.tensor([0, 4, 1]), r"targets lie in \[0, 4\], but the network has 4 classes[\s\S]*classes=5"),
        (torch.tensor([0, -1, 1]), r"targets lie in \[-1, 1\]"),
    ],
)
def test_targets_that_do_not_fit(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_targets(targets, images(3), 4)


def test_bad_arguments() -> None:
    for classes in (1, 0, -3, True, 2.5, "10"):
        with pytest.raises(ConfigError, match="classes >= 2 must hold, but got classes="):
            RandomLabels(classes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mode: unknown 'resampled'; did you mean 'resample'\?"):
        RandomLabels(3, "resampled")  # type: ignore[arg-type]
