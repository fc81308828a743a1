"""What RLNAS' official training on ImageNet needs besides, each against a number by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import ConfigError, ImageSet, RandomLabels, Supervised, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.supernets.loop import SinglePathTraining, decayed_parameters
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.schedule import line
from nni_plugins.evaluators.training.settings import SinglePathSettings
from nni_plugins.spaces import DARTS, MobileNetLike, NASBench201
from nni_plugins.strategies.rlnas.search import initialise

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
OBJECTIVE = RandomLabels(10)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load(DataSettings(limit=48)).train


def trained(images: ImageSet, **settings: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], nn.Module]:
    supernet = initialise(SPACE, 0)
    given = {"epochs": 1, "batch_size": 48, "momentum": 0.0, "nesterov": False, "accelerator": "cpu", **settings}
    result = SupernetTraining(images, OBJECTIVE, read(SinglePathSettings, given)).evaluate(supernet)
    return result.initial, result.final, supernet


def test_the_line_is_the_official_one() -> None:
    """``lr (1 - t / D)`` with ``D = T / (1 - min / lr)``, official ``get_optimizer_schedule``."""
    settings, steps = SinglePathSettings(learning_rate=0.1, final_learning_rate=5e-4, schedule="linear"), 125_100
    lengthened = steps / (1 - 5e-4 / 0.1)
    for t in (0, 1, 50_000, steps):
        assert line(settings, t, steps) == pytest.approx(0.1 * (1 - t / lengthened), rel=1e-12)
    assert line(settings, steps, steps) == pytest.approx(5e-4)


def test_the_rate_of_every_step(images: ImageSet) -> None:
    seen: list[float] = []

    class Listening(SinglePathTraining):
        def _before_step(self, epoch: int, step: int) -> None:
            super()._before_step(epoch, step)
            seen.append(self.optimizer.param_groups[-1]["lr"])

    settings = SinglePathSettings(
        epochs=2, batch_size=12, learning_rate=0.1, final_learning_rate=0.02, schedule="linear", accelerator="cpu"
    )
    draws = SupernetTraining(images, OBJECTIVE, settings)
    training = Listening(
        initialise(SPACE, 0),
        OBJECTIVE,
        images,
        settings,
        0,
        paths=lambda epoch, steps: draws.paths(SPACE, epoch, steps),
    )
    history = training.run().history
    assert seen == pytest.approx([0.1 - 0.01 * t for t in range(8)])
    assert [row["learning_rate"] for row in history] == pytest.approx([0.1, 0.06])


def test_every_gradient_is_bounded_for_itself(images: ImageSet) -> None:
    before, after, supernet = trained(images, learning_rate=1.0, weight_decay=0.0, clip_value=1e-3)
    moved = torch.cat([(after[name] - before[name]).flatten().abs() for name, _ in supernet.named_parameters()])
    assert moved.max() <= 1e-3 * (1 + 1e-3) and (moved > 0.99e-3).sum() > 100, "many stand at the bound, none above"


@pytest.mark.parametrize(
    ("which", "classifier", "norms"),
    [("all", True, True), ("convolutions", False, False), ("convolutions_and_classifier", True, False)],
)
def test_what_decays(images: ImageSet, which: str, classifier: bool, norms: bool) -> None:
    """With next to no gradient a step of rate 0.1 and decay 0.5 leaves 0.95 of a weight that decays."""
    before, after, supernet = trained(images, learning_rate=0.1, weight_decay=0.5, clip_value=1e-30, decayed=which)
    for name, p in supernet.named_parameters():
        decays = p.ndim == 4 or (classifier if name.startswith("classifier.") else norms)
        assert torch.allclose(after[name], (0.95 if decays else 1.0) * before[name], rtol=1e-6, atol=1e-29), name


def test_the_official_groups_of_weights() -> None:
    """Convolutions have four dimensions; the MobileNet-like classifier decays with its bias, DARTS' does not decay."""
    supernet = MobileNetLike(stem_channels=4, first_channels=4, stages=[[4, 1, 2]], last_channels=8).supernet()
    names = {id(p): name for name, p in supernet.named_parameters()}
    convolutions = {names[id(p)] for p in decayed_parameters(supernet, "convolutions")}
    both = {names[id(p)] for p in decayed_parameters(supernet, "convolutions_and_classifier")}
    assert both - convolutions == {"classifier.weight", "classifier.bias"}
    assert convolutions == {name for name, p in supernet.named_parameters() if p.ndim == 4}
    assert len(decayed_parameters(supernet, "all")) == len(names)


@pytest.mark.parametrize("normalise", [True, False])
def test_what_the_network_sees(images: ImageSet, normalise: bool) -> None:
    seen: list[torch.Tensor] = []
    supernet = initialise(SPACE, 0)
    supernet.stem.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone()))  # type: ignore[union-attr]
    settings = SinglePathSettings(epochs=1, batch_size=48, accelerator="cpu", normalise=normalise)
    SupernetTraining(images, OBJECTIVE, settings).evaluate(supernet)
    (batch,) = seen
    if normalise:
        assert abs(float(batch.mean())) < 0.2 and float(batch.min()) < 0
    else:
        assert float(batch.min()) == 0 and float(batch.max()) <= 1 and set(batch.mul(255).round().unique()) != {0.0}


def test_the_official_initial_weights_of_darts_on_imagenet() -> None:
    """Squared norm of an output channel 2 in the mean (PyTorch's default has 1/3), 768 * 0.01^2 = 0.077 of an output of
    the classifier.
    """
    space = DARTS(channels=48, cells=3, classes=100, stem="imagenet")
    for initialisation, channel in (("kaiming", 2.0), ("space", 1 / 3)):
        supernet = initialise(space, 0, initialisation)  # type: ignore[arg-type]
        weights = [m.weight.detach() for m in supernet.modules() if isinstance(m, nn.Conv2d)]
        norms = torch.cat([w.flatten(1).square().sum(1) for w in weights])
        assert float(norms.mean()) == pytest.approx(channel, rel=0.01)
    linear = initialise(space, 0, "kaiming").get_parameter("classifier.weight").detach()
    assert linear.shape == (100, 768) and float(linear.square().sum(1).mean()) == pytest.approx(0.0768, rel=0.02)
    again = [initialise(space, seed, "kaiming").get_parameter("classifier.weight") for seed in (0, 1)]
    assert torch.equal(again[0], linear) and not torch.equal(again[1], linear)


def test_smoothed_labels_by_hand() -> None:
    """Two classes, logits (ln 3, 0): probabilities 3/4 and 1/4; targets 0.95 and 0.05 at smoothing 0.1."""
    outputs, targets = torch.tensor([[np.log(3.0), 0.0]]), torch.tensor([0])
    wanted = -(0.95 * np.log(3 / 4) + 0.05 * np.log(1 / 4))
    for objective in (RandomLabels(2, smoothing=0.1), Supervised(smoothing=0.1)):
        assert float(objective.loss(outputs, targets)) == pytest.approx(wanted, rel=1e-6)
        assert int(objective.correct(outputs, targets)) == 1
    assert float(RandomLabels(2).loss(outputs, targets)) == pytest.approx(-np.log(3 / 4), rel=1e-6)
    with pytest.raises(ConfigError, match=r"0 <= smoothing < 1 must hold, but got smoothing=1"):
        RandomLabels(2, smoothing=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clip_value": 5, "gradient_clip": 5}, "clip_value and gradient_clip both bound"),
        ({"schedule": "linear", "learning_rate_warmup": 5}, "a line has none"),
        ({"decayed": "biases"}, "decayed"),
    ],
)
def test_settings_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(SinglePathSettings, given)
