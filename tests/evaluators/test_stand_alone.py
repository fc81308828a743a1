"""Stand-alone training of one architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import ImageData, ImageSet, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, DataError, LabelError
from nni_plugins.evaluators.objectives import Supervised
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201, NASNet, RobustDARTS
from nni_plugins.spaces.images import ImageSpace

from .tiny import Interrupted, images

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELL = SPACE.from_string("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|")
SETTINGS = StandAloneSettings(epochs=2, batch_size=64, accelerator="cpu", checkpoint_seconds=0)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load(DataSettings(limit=400))


def without_labels(data: ImageSet) -> ImageSet:
    return ImageSet(data.name, data.images, None, data.classes)


def test_training_is_reproducible_and_learns(digits: ImageData) -> None:
    first, again, other = (StandAlone(digits, SETTINGS, space=SPACE, seed=seed).train(CELL) for seed in (0, 0, 1))
    assert first == again != other
    assert [row["epoch"] for row in first.history] == [1, 2] and first.history[1]["loss"] < first.history[0]["loss"]
    assert first.accuracy > 15
    assert digits.test is not None and (first.accuracy * len(digits.test) / 100) % 1 == pytest.approx(0, abs=1e-6), (
        "a number of images"
    )


def test_resume_from_a_folder(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StandAlone(digits, SETTINGS, space=SPACE).train(CELL)
    loss, calls = Supervised.loss, 0

    def interrupting(self: Supervised, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad  # evaluations do not count
        if calls == 10:
            raise Interrupted
        return loss(self, outputs, targets)

    evaluator = StandAlone(digits, SETTINGS, space=SPACE, folder=tmp_path)
    monkeypatch.setattr(Supervised, "loss", interrupting)
    with pytest.raises(Interrupted):
        evaluator.train(CELL)
    assert evaluator.train(CELL) == whole and calls == 15, "14 steps, one of them twice"
    assert evaluator.train(CELL) == whole and calls == 15, "a finished training is only measured again"
    with pytest.raises(ConfigChanged, match=r"architecture.e_0_1: 'nor_conv_3x3' -> 'none'"):
        evaluator.train(SPACE.from_string("|none~0|+|nor_conv_1x1~0|skip_connect~1|"))


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        NASBench101(nodes=2, channels=4, stacks=2, cells_per_stack=1),
        DARTS(channels=4, cells=3),
        RobustDARTS("S4", channels=4, cells=3),
        NASNet(nodes=2, channels=4, cells=3),
        NAO(channels=4, cells=3),
        MobileNetLike(dropout=0.5),
    ],
    ids=lambda space: space.name,
)
def test_what_a_network_draws_is_a_function_of_the_seed(space: ImageSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as an operation, and dropout: whatever torch's generators hold when the training begins, or goes on."""
    data = ImageData(
        images(12, size=32, seed=0, labels=torch.arange(12) % 3), images(6, size=32, labels=torch.arange(6) % 3)
    )
    settings = StandAloneSettings(epochs=2, batch_size=6, accelerator="cpu")
    (first,) = space.decode(space.sample(np.random.default_rng(3), 1))
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(StandAlone(data, settings, space=space).train(first))
        assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]


def test_noise_goes_on_where_it_stopped(tmp_path: Path) -> None:
    space = RobustDARTS("S4", channels=4, cells=3)
    data = ImageData(
        images(12, size=16, seed=0, labels=torch.arange(12) % 3), images(6, size=16, labels=torch.arange(6) % 3)
    )
    (cell,) = space.decode(np.zeros((1, len(space.decisions)), dtype=np.int8))  # noise on every edge

    def stop(row: dict[str, float]) -> None:
        raise Interrupted

    settings = StandAloneSettings(epochs=3, batch_size=6, accelerator="cpu", checkpoint_seconds=0)
    with pytest.raises(Interrupted):
        StandAlone(data, settings, space=space, folder=tmp_path, report=stop).train(cell)
    assert StandAlone(data, settings, space=space, folder=tmp_path).train(cell) == StandAlone(
        data, settings, space=space
    ).train(cell)


def test_a_network_needs_no_space(digits: ImageData) -> None:
    rows: list[dict[str, float]] = []
    result = StandAlone(digits, SETTINGS, report=rows.append).train(SPACE.network(CELL))
    assert rows == result.history
    with pytest.raises(ConfigError, match=r"StandAlone needs its space[\s\S]*Pass space="):
        StandAlone(digits, SETTINGS).train(CELL)


def test_an_identity_tells_networks_apart(digits: ImageData, tmp_path: Path) -> None:
    evaluator = StandAlone(digits, SETTINGS, folder=tmp_path)
    evaluator.train(SPACE.network(CELL), {"network": "mine"})
    with pytest.raises(ConfigChanged, match=r"network: 'mine' -> 'yours'"):
        evaluator.train(SPACE.network(CELL), {"network": "yours"})


def test_classes_come_from_the_data() -> None:
    def part(seed: int) -> ImageSet:
        return images(20, size=8, seed=seed, labels=torch.arange(20) % 3)

    result = StandAlone(ImageData(part(0), part(1)), SETTINGS, space=SPACE).train(CELL)
    assert 0 <= result.accuracy <= 100


def test_what_is_missing_is_noticed_before_the_training(digits: ImageData) -> None:
    assert digits.test is not None
    rows: list[dict[str, float]] = []
    for data, error, message in (
        (
            ImageData(digits.train, None),
            DataError,
            r"digits/train: stand-alone training needs labelled test images[\s\S]*Add a test folder",
        ),
        (ImageData(without_labels(digits.train), digits.test), LabelError, "digits/train: these images have no labels"),
        (ImageData(digits.train, without_labels(digits.test)), LabelError, "digits/test: these images have no labels"),
        (ImageData(images(9), images(9)), LabelError, "noise: these images have no labels"),
    ):
        with pytest.raises(error, match=message):
            StandAlone(data, SETTINGS, space=SPACE, report=rows.append).train(CELL)
    assert not rows


def test_dictionaries_for_data_and_settings() -> None:
    evaluator = StandAlone({"limit": 64}, {"epochs": 1, "accelerator": "cpu"}, space=SPACE)
    assert len(evaluator.data.train) == 64 and evaluator.settings == StandAloneSettings(epochs=1, accelerator="cpu")
    assert evaluator.data is evaluator.data and StandAlone({}).settings == StandAloneSettings()
    with pytest.raises(ConfigError, match=r"settings.epoch: no such key; did you mean 'epochs'\?"):
        StandAlone({}, {"epoch": 1})
    with pytest.raises(ConfigError, match=r"data.limits: no such key; did you mean 'limit'"):
        _ = StandAlone({"limits": 64}).data
