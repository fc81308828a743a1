"""One-shot evaluation equals a plain loop over paths, and leaves the supernet as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import (
    ConfigError,
    ImageSet,
    LabelError,
    RandomLabels,
    Rotation,
    Supervised,
    load,
    one_shot_accuracy,
)
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.objectives import fitted
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.supernets.one_shot import one_shot_measures
from nni_plugins.spaces import MobileNetLike, NASBench201, RobustDARTS, SearchSpace
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet, SampledOptions, UniformSupernet

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """120 real digits."""
    return load(DataSettings(limit=120)).train


def supernet(space: SearchSpace = SPACE, affine: bool = False) -> Any:
    """With running statistics that are not the initial ones."""
    torch.manual_seed(0)
    built: Any = space.supernet()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return built


def rows(space: SearchSpace, n: int) -> Any:
    return space.sample(np.random.default_rng(3), n)


def standardised(images: ImageSet, of: ImageSet | None = None) -> torch.Tensor:
    mean, std = (s[:, None, None] for s in (of or images).statistics())
    return (images.images.float() / 255 - mean) / std


def path(space: SearchSpace, row: Any) -> Any:
    return np.broadcast_to(row, (space.repeats, len(row)))


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        RobustDARTS("S2", channels=4, cells=3),
        MobileNetLike(stem_channels=4, first_channels=4, last_channels=8, stages=((4, 2, 1), (8, 2, 2))),
    ],
    ids=lambda s: s.name,
)
def test_it_equals_a_loop_over_paths(images: ImageSet, space: SearchSpace, statistics: Any) -> None:
    space = space.with_classes(10)
    model, indices = supernet(space), rows(space, 6)
    found = one_shot_measures(model, indices, images, Supervised(), statistics, count=None)
    x, labels = standardised(images), images.labels
    model.train(statistics == "batch")
    with torch.no_grad():
        outputs = [model.forward_path(x, path(space, row)) for row in indices]
    accuracy = [100 * float((y.argmax(1) == labels).double().mean()) for y in outputs]
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-9) and len(set(accuracy)) > 1
    assert found["loss"] == pytest.approx([float(nn.functional.cross_entropy(y, labels)) for y in outputs], rel=1e-5)


def test_several_batches_of_nearly_equal_size(images: ImageSet) -> None:
    """120 images in batches of at most 50 are three of 40; each has its own statistics."""
    model, indices = supernet(), rows(SPACE, 5)
    found = one_shot_accuracy(model, indices, images, Supervised(), count=None, batch_size=50)
    x, labels = standardised(images), images.labels
    model.train()
    with torch.no_grad():
        correct = [
            sum(
                int((model.forward_path(x[s : s + 40], path(SPACE, row)).argmax(1) == labels[s : s + 40]).sum())
                for s in (0, 40, 80)
            )
            for row in indices
        ]
    assert found == pytest.approx([100 * c / 120 for c in correct], abs=1e-9)


def test_the_images_are_a_seeded_draw(images: ImageSet) -> None:
    model, indices, part = supernet(), rows(SPACE, 8), load(DataSettings(limit=60)).train
    found = one_shot_accuracy(model, indices, images, Supervised(), seed=4, count=30, moments=part.statistics())
    chosen = np.sort(generator(4, "one-shot images").permutation(120)[:30])
    subset = images.subset(chosen)
    x = standardised(subset, part)
    model.train()
    with torch.no_grad():
        expected = [
            100 * float((model.forward_path(x, path(SPACE, row)).argmax(1) == subset.labels).double().mean())
            for row in indices
        ]
    assert found == pytest.approx(expected, abs=1e-9)
    again = one_shot_accuracy(model, indices[5:], images, Supervised(), seed=4, count=30, moments=part.statistics())
    assert np.array_equal(again, found[5:]), "whatever else is evaluated"
    other = one_shot_measures(model, indices, images, Supervised(), seed=5, count=30)["loss"]
    assert not np.array_equal(other, one_shot_measures(model, indices, images, Supervised(), seed=4, count=30)["loss"])
    many = [one_shot_accuracy(model, indices, images, Supervised(), count=n) for n in (120, 512, None)]
    assert np.array_equal(many[0], many[1]) and np.array_equal(many[0], many[2])
    assert one_shot_accuracy(model, indices[:0], images, Supervised()).shape == (0,)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_the_supernet_and_the_global_generator_are_as_before(images: ImageSet, statistics: Any) -> None:
    model = supernet().train()
    model.cells[0].eval()
    modes, state = (
        [m.training for m in model.modules()],
        {name: value.clone() for name, value in model.state_dict().items()},
    )
    drawn = torch.get_rng_state()
    one_shot_accuracy(model, rows(SPACE, 3), images, Supervised(), statistics)
    assert [m.training for m in model.modules()] == modes and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="x"):
        one_shot_accuracy(model, rows(SPACE, 1), images, Failing())
    assert [m.training for m in model.modules()] == modes and all(
        torch.equal(v, state[n]) for n, v in model.state_dict().items()
    )


class Failing(Supervised):
    """Fails after the forward pass."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise ValueError("x")


def test_noise_is_the_same_for_every_architecture(images: ImageSet) -> None:
    space = RobustDARTS("S4", channels=4, cells=3).with_classes(10)
    model, indices = supernet(space), rows(space, 3)
    twice = one_shot_measures(model, np.concatenate([indices, indices]), images, Supervised())["loss"]
    assert np.array_equal(twice[:3], twice[3:]) and len(set(twice)) == 3


def test_another_objective(images: ImageSet) -> None:
    """Rotation without labels: four inputs an image, and a head of four classes."""
    unlabelled = ImageSet("digits without labels", images.images, None)
    space = fitted(SPACE, Rotation(), unlabelled)
    model, indices = supernet(space), rows(space, 4)
    found = one_shot_accuracy(model, indices, unlabelled, Rotation(), count=None)
    x = standardised(unlabelled)
    turned = torch.cat([torch.rot90(x, k, (2, 3)) for k in range(4)])
    model.train()
    with torch.no_grad():
        outputs = [model.forward_path(turned, path(space, row)).argmax(1).view(4, -1) for row in indices]
    either = [
        [100 * float((y == torch.tensor(order)[:, None]).double().mean()) for y in outputs]
        for order in ([0, 1, 2, 3], [0, 3, 2, 1])
    ]
    assert any(found == pytest.approx(e, abs=1e-9) for e in either), "clockwise or not is the objective's affair"


def test_mixed_supernets_that_run_paths(images: ImageSet) -> None:
    torch.manual_seed(0)
    model = UniformSupernet(SPACE, SampledOptions(track_statistics=False))
    found = one_shot_accuracy(model, rows(SPACE, 5), images, Supervised())
    assert found.shape == (5,) and found.dtype == np.float64 and (found >= 0).all() and (found <= 100).all()
    with pytest.raises(ConfigError, match="keeps no running statistics"):
        one_shot_accuracy(model, rows(SPACE, 1), images, Supervised(), "running")


def test_what_is_refused(images: ImageSet) -> None:
    model: Any = supernet()
    one = images.subset(np.array([0]))
    for arguments, options, message in (
        ((nn.Conv2d(3, 3, 1), rows(SPACE, 1), images, Supervised()), {}, "Conv2d is not a single-path supernet"),
        (
            (MixedSupernet(SPACE, MixedOptions()), rows(SPACE, 1), images, Supervised()),
            {},
            "MixedSupernet is not a single-path supernet",
        ),
        (
            (model, rows(SPACE, 1), images, Supervised(), "mean"),
            {},
            "statistics: must be batch or running, but got 'mean'",
        ),
        ((model, rows(SPACE, 1), one, Supervised()), {}, "at least 2 images"),
        ((model, rows(SPACE, 1), images, Supervised()), {"count": 1}, "count >= 2"),
        ((model, rows(SPACE, 1), images, Supervised()), {"batch_size": 1}, "batch_size >= 2"),
        ((model, rows(SPACE, 1), images, RandomLabels(7)), {}, "has 10 classes, but the objective needs 7"),
    ):
        with pytest.raises(ConfigError, match=message):
            one_shot_accuracy(*arguments, **options)  # type: ignore[arg-type]
    with pytest.raises(LabelError):
        one_shot_accuracy(model, rows(SPACE, 1), ImageSet("bare", images.images, None), Supervised())
