"""Trainings with each objective: supernets of every image space, the bilevel loop and stand-alone networks, all without
a label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import ImageData, ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import (
    Colorization,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    fitted,
)
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import evaluate
from nni_plugins.evaluators.training.settings import BilevelSettings, StandAloneSettings, SupernetSettings
from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201, NASNet, RobustDARTS, SearchSpace
from nni_plugins.strategies.differentiable.search import search
from nni_plugins.strategies.differentiable.settings import RFDARTSSettings

from .objectives_job import coloured
from .tiny import Interrupted, at

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
FREE: dict[str, Objective] = {"rotation": Rotation(), "colorization": Colorization(), "jigsaw": Jigsaw(2, 6)}
SETTINGS = SupernetSettings(epochs=1, batch_size=6, accelerator="cpu", checkpoint_seconds=0)


def forbidden() -> torch.Tensor:
    raise AssertionError("labels were asked for")


class Unlabelled(ImageSet):
    """Images whose labels and label maps raise."""

    @property
    def maps(self) -> torch.Tensor:
        raise AssertionError("label maps were asked for")


def data(count: int = 12, size: int = 16) -> ImageSet:
    return Unlabelled("noise", coloured(count, size).images, forbidden)


@pytest.mark.parametrize("name", list(FREE))
def test_a_supernet_trains_without_labels(name: str) -> None:
    images = data()
    supernet = fitted(SPACE, FREE[name], images).supernet()
    trained = SupernetTraining(images, FREE[name], SETTINGS).evaluate(supernet)
    assert np.isfinite(trained.history[0]["loss"]) and 0 <= trained.history[0]["accuracy"] <= 100
    moved = [
        key for key in trained.final if "weight" in key and not torch.equal(trained.final[key], trained.initial[key])
    ]
    assert "classifier.weight" in moved and len(moved) > 3


@pytest.mark.parametrize("name", list(FREE))
def test_a_differentiable_search_without_labels(name: str) -> None:
    training = read(
        BilevelSettings, {"epochs": 1, "batch_size": 6, "accelerator": "cpu", "memory_format": "channels_last"}
    )
    result = search(SPACE, data(), FREE[name], RFDARTSSettings(), training, 0, 3)
    assert len(result.ranked) == 3 and np.isfinite(result.trained.history[0]["architecture_loss"])
    alphas = [key for key in result.trained.final if key.startswith("alphas.")]
    assert alphas and all(not torch.equal(result.trained.final[key], result.trained.initial[key]) for key in alphas)


SPACES: list[SearchSpace] = [
    DARTS(channels=4, cells=3), RobustDARTS(channels=4, cells=3), NAO(channels=4, cells=3), NASNet(nodes=2, channels=4, cells=3),
    NASBench101(channels=8, stacks=2, cells_per_stack=1), MobileNetLike(4, 4, ((8, 1, 2), (8, 1, 2)), 16), SPACE,
]  # fmt: skip


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_space_takes_every_objective(space: SearchSpace) -> None:
    images = coloured(4, 32, maps=True)
    for objective in (*FREE.values(), Segmentation(channels=4, rates=[1])):
        shaped = fitted(space, objective, images)
        path = shaped.sample_paths(np.random.default_rng(0), 1, False)[0]
        x, targets = prepared(objective, images)
        outputs = shaped.supernet().forward_path(x, path)  # type: ignore[attr-defined]
        assert outputs.shape == (len(targets), objective.head(images).classes, *targets.shape[1:])
        objective.loss(outputs, targets).backward()


def prepared(objective: Objective, images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    from nni_plugins.evaluators.objectives import Crops

    drawn = torch.from_numpy(objective.draw(0, 0, len(images)))
    maps = images.maps if objective.wants_maps else None
    return objective.prepare(Crops(images.images, None, maps, drawn, *(s[:, None, None] for s in images.statistics())))


def test_segmentation_trains_and_is_evaluated_by_miou() -> None:
    part = coloured(10, maps=True)
    evaluator = StandAlone(
        ImageData(part, part),
        StandAloneSettings(epochs=1, batch_size=5, accelerator="cpu"),
        space=SPACE,
        objective=Segmentation(channels=4, rates=[1]),
    )
    result = evaluator.train(SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"))
    assert set(result.metrics) == {"loss", "accuracy", "miou"} and 0 < result.metrics["miou"] <= result.accuracy <= 100


@pytest.mark.parametrize("name", list(FREE))
def test_sample_based_ranking_without_labels(name: str, tmp_path: Path) -> None:
    images = data(10)
    settings = StandAloneSettings(epochs=1, batch_size=5, accelerator="cpu")
    evaluator = StandAlone(ImageData(images, images), settings, space=SPACE, objective=FREE[name], folder=tmp_path)
    cell = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|")
    result = evaluator.train(cell)
    assert evaluator.train(cell) == result, "a finished training is measured again, with the same draws"


def test_evaluation_is_a_function_of_its_seed_and_takes_the_centre() -> None:
    images = data(40, 12)
    network = fitted(SPACE, FREE["jigsaw"], images).network(
        SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|")
    )  # type: ignore[attr-defined]
    first, again, other = (evaluate(network, images, FREE["jigsaw"], images.statistics(), seed) for seed in (0, 0, 1))
    assert first == again and first["loss"] != other["loss"]
    assert evaluate(network, images, FREE["jigsaw"], images.statistics(), batch_size=7)["loss"] == pytest.approx(
        first["loss"], rel=1e-5
    )


def test_an_interrupted_jigsaw_training_ends_like_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it draws depends on seed and epoch alone."""
    images, objective, plain = data(), FREE["jigsaw"], Jigsaw.loss
    settings = SupernetSettings(**{**SETTINGS.model_dump(), "epochs": 2})

    def run(folder: Path) -> Any:
        torch.manual_seed(0)
        return SupernetTraining(images, objective, settings, folder=folder).evaluate(
            fitted(SPACE, objective, images).supernet()
        )

    whole, calls = run(tmp_path / "whole"), 0

    def interrupting(self: Jigsaw, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        at(4)(calls)
        return plain(self, outputs, targets)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Jigsaw, "loss", interrupting)
        run(tmp_path / "torn")
    torn = run(tmp_path / "torn")
    assert torn.history == whole.history and all(torch.equal(torn.final[key], whole.final[key]) for key in whole.final)


def test_a_supernet_with_another_head_is_refused() -> None:
    images = data()
    with pytest.raises(ConfigError, match=r"the supernet has 10 classes, but the objective needs 313"):
        SupernetTraining(images, Colorization(), SETTINGS).evaluate(SPACE.supernet())
    with pytest.raises(
        ConfigError,
        match=r"has head 'linear' on 3 channels, but Jigsaw needs \{'kind': 'jigsaw', 'tiles': 4\} on 3[\s\S]*evaluators\.fitted",
    ):
        SupernetTraining(images, Jigsaw(2, 10), SETTINGS).evaluate(SPACE.supernet())
    with pytest.raises(ConfigError, match="noise: a jigsaw of 3 x 3"):
        SupernetTraining(coloured(6, 8), Jigsaw(3), SETTINGS).evaluate(SPACE.supernet())


def test_objectives_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"jigsaw": Jigsaw, "random_labels": RandomLabels}
    monkeypatch.setattr("nni_plugins.evaluators.objectives.registered.registry.get", lambda kind, name: classes[name])
    assert vars(build_objective({"name": "jigsaw", "grid": 2, "permutations": 8})) == {
        "grid": 2,
        "permutations": 8,
        "seed": 0,
        "gray": 0.3,
    }
    with pytest.raises(ConfigError, match="unexpected keyword argument 'tiles'"):
        build_objective({"name": "jigsaw", "tiles": 4})
