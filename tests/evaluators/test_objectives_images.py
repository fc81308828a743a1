"""Rotation, segmentation, and what all objectives have in common: heads that fit, the loss of a batch by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import Augmentation, ImageSet
from nni_plugins.evaluators.errors import ConfigError, DataError, LabelError
from nni_plugins.evaluators.objectives import (
    Colorization,
    Crops,
    Head,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    Supervised,
    fitted,
)
from nni_plugins.spaces import DARTS, NASBench201, RecurrentCell, heads

from .objectives_job import coloured
from .tiny import images

ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


def crops(pixels: torch.Tensor, maps: torch.Tensor | None = None) -> Crops:
    return Crops(pixels, None, maps, torch.zeros(len(pixels), 0), ZERO, ONE)


# Rotation


def test_rotations_are_counter_clockwise_and_lie_image_by_image() -> None:
    pixels = images(3, size=5).images
    x, targets = Rotation().prepare(crops(pixels))
    assert x.shape == (12, 3, 5, 5) and targets.tolist() == [0, 1, 2, 3] * 3
    for row, (image, turns) in enumerate((i, t) for i in range(3) for t in range(4)):
        assert np.array_equal((x[row] * 255).round().numpy(), np.rot90(pixels[image].numpy(), turns, (1, 2))), row
    assert Rotation().head(images(2)) == Head(4) and int(Rotation().count(targets)) == 12


def test_rotation_needs_squares() -> None:
    wide = ImageSet("wide", torch.zeros(2, 3, 6, 8, dtype=torch.uint8), None)
    with pytest.raises(
        ConfigError,
        match=r"wide: rotation needs square images, but these are 6 x 8 pixels\.\nCrop or resize them, such as to 6 x 6",
    ):
        Rotation().check(wide)


# Segmentation


def test_segmentation_by_hand() -> None:
    objective = Segmentation(ignore=11)
    maps = torch.tensor([[[0, 1], [11, 255]], [[1, 1], [255, 255]]], dtype=torch.uint8)
    x, targets = objective.prepare(crops(images(2, size=2).images, maps))
    assert (
        x.shape == (2, 3, 2, 2)
        and targets.tolist() == [[[0, 1], [11, 11]], [[1, 1], [11, 11]]]
        and int(objective.count(targets)) == 4
    )
    outputs = torch.zeros(2, 2, 2, 2)
    outputs[:, 1] = math.log(3)  # class 1 everywhere, with probability 3 / 4
    assert float(objective.loss(outputs, targets)) == pytest.approx((math.log(4) + 3 * math.log(4 / 3)) / 4)
    assert int(objective.correct(outputs, targets)) == 3
    summary = objective.summary(objective.tally(outputs, targets))
    assert summary["accuracy"] == pytest.approx(75) and summary["miou"] == pytest.approx(100 * (0 / 1 + 3 / 4) / 2)


def test_miou_adds_up_over_batches_and_skips_classes_that_never_occur() -> None:
    objective, random = Segmentation(), torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(4, 5, 6, 6, generator=random), torch.randint(0, 3, (4, 6, 6), generator=random)
    outputs[:, 3:] = -99
    targets[0, 0] = 255
    parts = torch.stack([objective.tally(outputs[i : i + 1], targets[i : i + 1]) for i in range(4)]).sum(0)
    expected = []
    for c in range(3):
        said, true = (outputs.argmax(1) == c) & (targets != 255), targets == c
        expected.append(float((said & true).sum() / (said | true).sum()))
    assert objective.summary(parts)["miou"] == pytest.approx(100 * np.mean(expected))


def test_a_batch_without_any_label_has_loss_zero() -> None:
    outputs = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = Segmentation().loss(outputs, torch.full((1, 2, 2), 255))
    loss.backward()
    assert float(loss.detach()) == 0 and outputs.grad is not None and not outputs.grad.any()


def test_segmentation_needs_maps_and_classes_that_fit() -> None:
    with pytest.raises(LabelError, match="noise: these images have no label maps"):
        Segmentation().check(coloured(4))
    labelled = coloured(4, maps=True)
    assert Segmentation(channels=8, rates=[2]).head(labelled) == Head(3, heads.Head("aspp", channels=8, rates=(2,)))
    with pytest.raises(DataError, match="noise: there are 2 classes, but label maps hold 2"):
        Segmentation().check(ImageSet("noise", labelled.images, None, ("a", "b"), maps=labelled.maps))
    for arguments in ({"ignore": 300}, {"rates": []}, {"rates": [0]}, {"channels": 0}, {"rates": "6"}):
        with pytest.raises(ConfigError):
            Segmentation(**arguments)  # type: ignore[arg-type]


# All of them

ALL: list[Objective] = [
    Supervised(),
    RandomLabels(3),
    Rotation(),
    Colorization(),
    Jigsaw(2, 6),
    Segmentation(255, 8, (2,)),
]


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: type(objective).__name__)
def test_attributes_are_the_constructors_arguments(objective: Objective) -> None:
    """They identify a run, and rebuild the objective in another process."""
    again = type(objective)(**json.loads(json.dumps(vars(objective))))
    assert vars(again) == vars(objective) and again.form == objective.form


def test_the_space_gets_the_head() -> None:
    data = coloured(6, labels=torch.tensor([0, 1, 2, 0, 1, 2]), maps=True)
    expected: list[tuple[str | dict[str, Any], int, int]] = [
        ("linear", 3, 3), ("linear", 3, 3), ("linear", 4, 3), ("pixels", 313, 1), ({"kind": "jigsaw", "tiles": 4}, 6, 3),
        ({"kind": "aspp", "channels": 8, "rates": [2]}, 3, 3),
    ]  # fmt: skip
    for objective, (head, classes, channels) in zip(ALL, expected, strict=True):
        for space in (NASBench201(nodes=3, channels=4, cells_per_stage=1), DARTS(channels=4, cells=3)):
            config = fitted(space, objective, data).config()
            assert (config["head"], config["classes"], config["input_channels"]) == (head, classes, channels)
            assert {**config, **space.config()} == space.config() | {
                k: config[k] for k in config if k not in space.config()
            }


def test_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"networks of recurrent take no images, which Rotation needs"):
        fitted(RecurrentCell(), Rotation(), images(4))
    with pytest.raises(ConfigError, match="a jigsaw of 3 x 3 tiles needs images of at least 9 x 9"):
        fitted(NASBench201(), Jigsaw(3), images(4))
    with pytest.raises(LabelError, match="these images have no labels"):
        fitted(NASBench201(), Supervised(), images(4))


def test_colours_of_the_augmentation_are_used_where_they_do_not_matter_to_the_target() -> None:
    pixels, drawn = images(2, size=12).images, torch.ones(2, 1)

    def darker(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert len(rows) == len(x)
        return x / 2

    plain, changed = (Crops(pixels, None, None, torch.zeros(2, 0), ZERO, ONE, *more) for more in ((), (darker, drawn)))
    assert torch.allclose(Rotation().prepare(changed)[0], Rotation().prepare(plain)[0] / 2)
    assert torch.equal(Colorization().prepare(changed)[0], Colorization().prepare(plain)[0])


def test_an_objective_without_targets_says_so() -> None:
    class Nothing(Objective):
        label_free = True

        def head(self, images: ImageSet) -> Head:
            return Head(2)

    with pytest.raises(ConfigError, match="Nothing gives no targets"):
        Nothing().prepare(crops(images(2).images))
    assert Nothing().draw(0, 0, 3).shape == (3, 0) and Augmentation().output_size((4, 4)) == (4, 4)
