"""Networks by name in stand-alone training, and what is tried before a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.evaluators.base import digest, network_of
from nni_plugins.evaluators.data import ImageData
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, MissingBackend
from nni_plugins.evaluators.objectives import Rotation, Segmentation, Supervised
from nni_plugins.evaluators.plugins import read_evaluation
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.stand_alone.named import named_network
from nni_plugins.evaluators.stand_alone.plugin import StandAlonePlugin, load_images
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.published import published
from nni_plugins.spaces.recurrent import RecurrentCell

SPACE = NASBench201(nodes=3, channels=2, cells_per_stage=1)
TRAINING = {"epochs": 1, "batch_size": 32, "accelerator": "cpu", "checkpoint_seconds": 0}


def plugin(space: Any = SPACE, **settings: Any) -> StandAlonePlugin:
    given = {"evaluator": "stand_alone", "data": {"limit": 64}, "training": TRAINING, **settings}
    return StandAlonePlugin(read_evaluation(given, ""), space)


def images(one: StandAlonePlugin) -> ImageData:
    return load_images(one.images)


def test_one_of_timms_models_is_trained_like_any_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    one = plugin(validation=0)
    measured = one.evaluate("resnet18", 5, tmp_path, None)
    with torch_fork(5, "initialisation"):
        network = timm.create_model("resnet18", num_classes=10)
    count = sum(p.numel() for p in network.parameters())
    again = StandAlone(images(one), one.settings.training, seed=5).train(network)
    assert measured.value == again.accuracy and measured.curve == again.history
    # 8 x 8 pixels: 64 channels at 4 x 4 after the stem, at 2 x 2 after the pool, then 1 x 1
    stem, first = 7 * 7 * 3 * 64 * 16, 4 * 9 * 64 * 64 * 4
    later = sum(9 * c * c // 2 + 3 * 9 * c * c + c * c // 2 for c in (128, 256, 512))
    assert measured.cost == {"parameters": count, "macs": stem + first + later + 5120}
    with pytest.raises(ConfigChanged, match=r"network: 'resnet18' -> 'resnet10t'"):
        one.evaluate("resnet10t", 5, tmp_path, None)


def test_a_published_architecture_of_another_space_keeps_its_own_size() -> None:
    one, item = plugin(), published("nasbench201_rf_darts")
    named = named_network(item.name, Supervised(), images(one).train, 0)
    space = item.space.with_classes(10)
    costs = space.cost_table(8)(space.encode([item.architecture]))
    assert named.cost == {"parameters": costs.parameters[0], "macs": costs.macs[0]}
    assert named.cost["parameters"] == sum(p.numel() for p in named.network.parameters())
    with torch_fork(0, "initialisation"):
        network = space.network(item.architecture)
    assert all(torch.equal(a, b) for a, b in zip(named.network.parameters(), network.parameters(), strict=True))
    one.prepare([item.name])


def test_a_published_point_of_the_space_is_one_of_its_architectures() -> None:
    item = published("nasbench201_rf_darts")
    assert network_of(NASBench201(channels=4), item.name) == item.architecture
    for space in (SPACE, DARTS(channels=4, cells=3)):  # three nodes, and another family
        assert network_of(space, item.name) == item.name
    assert network_of(SPACE, "resnet18") == "resnet18" == digest("resnet18")
    assert len({digest(cell) for cell in SPACE.decode(SPACE.enumerate())}) == 125


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_18", r"unknown architecture 'resnet_18'; did you mean"),
        ("recurrent_darts", "take no images"),
        ("darts_rlnas_imagenet", r"darts_rlnas_imagenet cannot be run on digits/train, .* 8 x 8 pixels: .*>= 32"),
        ("vit_tiny_patch16_224", r"vit_tiny_patch16_224 takes no images of 8 x 8 pixels"),
    ],
)
def test_names_that_cannot_be_trained(name: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=message):
        plugin().prepare([name])


def test_names_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"] + ["timm"]:
        monkeypatch.setitem(sys.modules, module, None)
    one = plugin()
    one.prepare(["nasbench201_rf_darts"])
    with pytest.raises(MissingBackend, match=r"timm is not installed[\s\S]*pip install .*timm>="):
        one.prepare(["resnet18"])


def test_timms_models_end_in_a_linear_classifier_of_colour_images() -> None:
    pytest.importorskip("timm")
    train = images(plugin()).train
    assert named_network("resnet10t", Rotation(), train, 0).network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    maps = torch.zeros(64, 8, 8, dtype=torch.uint8)
    labelled = type(train)("maps", train.images, None, ("one", "other"), maps=maps)
    with pytest.raises(ConfigError, match=r"resnet10t: timm's models end in a linear classifier .* Segmentation needs"):
        named_network("resnet10t", Segmentation(channels=4, rates=[1]), labelled, 0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="networks of recurrent take no images; evaluate with language_model"):
        plugin(RecurrentCell(nodes=2)).check()
    with pytest.raises(ConfigError, match=r"network: chanels: no such argument of the space; did you mean 'channels'"):
        plugin(network={"chanels": 4}).check()
    with pytest.raises(ConfigError, match="network: nodes change which architectures there are; only sizes may differ"):
        plugin(network={"nodes": 4}).check()
    with pytest.raises(ConfigError, match=r"unknown objective 'supervized'; did you mean 'supervised'"):
        plugin(objective={"name": "supervized"})


def test_the_trained_networks_may_have_another_size() -> None:
    cell = SPACE.decode(SPACE.enumerate()[60:61])[0]
    small, large = (plugin(network=network).evaluate(cell, 0, None, None) for network in ({}, {"channels": 4}))
    table = NASBench201(nodes=3, channels=4, cells_per_stage=1).cost_table(8)(SPACE.encode([cell]))
    assert large.cost["parameters"] == table.parameters[0] > small.cost["parameters"]


def test_answers_come_from_a_part_of_the_training_images_that_the_seed_draws() -> None:
    one = plugin(validation=0.25)
    first, again, other = one.split(0), one.split(0), one.split(1)
    assert first.test is not None and (len(first.train), len(first.test)) == (48, 16)
    assert again.test is not None and other.test is not None
    assert torch.equal(first.test.images, again.test.images) and not torch.equal(first.test.images, other.test.images)
    pixels = {image.numpy().tobytes() for part in (first.train, first.test) for image in part.images}
    assert pixels == {image.numpy().tobytes() for image in images(one).train.images}


def test_the_test_images_choose_nothing() -> None:
    """Held-out training images give ``validation``; without any there is none, and strategies are not answered."""
    cell, one, whole = SPACE.decode(SPACE.enumerate()[60:61])[0], plugin(validation=0.25), plugin(validation=0)
    measured, parts, data = one.evaluate(cell, 2, None, None), one.split(2), images(one)
    given: dict[str, Any] = {"space": SPACE, "seed": 2, "held_out": parts.test}
    again = StandAlone(ImageData(parts.train, data.test), one.settings.training, **given).train(cell)
    assert (measured.value, measured.validation) == (again.accuracy, again.validation["accuracy"])
    assert measured.validation == measured.metrics["validation_accuracy"] == one.ask(cell, 2, None)
    alone = whole.evaluate(cell, 2, None, None)
    assert alone.validation is None and "validation_accuracy" not in alone.metrics
    assert alone.value == StandAlone(data, whole.settings.training, space=SPACE, seed=2).train(cell).accuracy
    assert whole.identity() != one.identity()
    with pytest.raises(ConfigError, match="validation: 0 holds no images out"):
        whole.ask(cell, 2, None)
