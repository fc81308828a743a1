"""Shared weights on images: what a cycle resets, its learning rate, resume, drop-path, and what scores and rewards are
measured on.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import ConfigChanged, ConfigError, ImageSet, RandomLabels, Supervised, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.supernets import shared_images as module
from nni_plugins.evaluators.supernets.one_shot import one_shot_accuracy
from nni_plugins.evaluators.supernets.shared_images import SharedImages, parts
from nni_plugins.evaluators.supernets.shared_weights import Cycle, Draw, Reset
from nni_plugins.evaluators.training import Training
from nni_plugins.evaluators.training.paths import DropPath
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import DARTS, NAO, NASBench201
from nni_plugins.spaces.base import Indices

from .tiny import Interrupted, Interrupting, TwoPaths, at, settings
from .tiny import images as noise

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
SETTINGS = SupernetSettings(
    epochs=2, batch_size=20, accelerator="cpu", checkpoint_seconds=0, update="active", nesterov=False
)
RESETS: tuple[Reset, ...] = ("all", "optimizer", "learning_rate", "none")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """60 real digits: 40 for the weights, two steps an epoch, and 20 held out."""
    return load(DataSettings(limit=60)).train


def draw(epoch: int, steps: int) -> Indices:
    return SPACE.sample(generator(3, "test", epoch), steps)


def shared(images: ImageSet, **more: Any) -> SharedImages:
    return SharedImages(SPACE, images, Supervised(), SETTINGS, **{"portion": 2 / 3, **more})


class Watched(Training):
    """Remembers what each training began with."""

    began: list[tuple[dict[str, torch.Tensor], Any]] = []

    def run(self) -> Any:
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        Watched.began.append((weights, self.given_state))
        return super().run()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def weights_of(found: SharedImages) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in found.supernet.state_dict().items()}


# -- cycles ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reset", RESETS)
def test_what_a_cycle_resets(images: ImageSet, reset: Reset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Training", Watched)
    Watched.began = []
    found, epochs, ends, momenta = shared(images), list[int](), [], []

    def counted(epoch: int, steps: int) -> Indices:
        epochs.append(epoch)
        return draw(epoch, steps)

    history = []
    for number in range(3):
        history += found.train(counted, Cycle(number, 3, 2, reset))
        ends.append(weights_of(found))
        assert found._optimizer_state is not None
        momenta.append(found._optimizer_state["momentum"])
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6] and sorted(set(epochs)) == [0, 1, 2, 3, 4, 5], (
        "no draw is repeated"
    )
    period = 6 if reset == "none" else 2
    rates = [0.001 + 0.024 * (1 + math.cos(math.pi * (e if reset == "none" else e % 2) / period)) / 2 for e in range(6)]
    assert [row["learning_rate"] for row in history] == pytest.approx(rates, rel=1e-12)
    assert rates[2] == (0.025 if reset != "none" else pytest.approx(0.019)), (
        "the maximum, unless one schedule runs through"
    )
    for number, (weights, state) in enumerate(Watched.began):
        if number == 0 or reset == "all":
            with torch_fork(0, "initialisation", number):
                assert equal(weights, SPACE.with_classes(10).supernet().state_dict()), (
                    "fresh, a function of seed and cycle"
                )
        else:
            assert equal(weights, ends[number - 1])
        kept = number > 0 and reset in ("learning_rate", "none")
        assert (state is not None) == kept and (not kept or equal(state["momentum"], momenta[number - 1]))
    assert not equal(ends[0], ends[1]) and momenta[0]


def test_cycles_without_resets_are_one_training(images: ImageSet) -> None:
    """Bit by bit: weights, momentum, data order, paths and learning rate go on."""
    whole, cut = shared(images), shared(images)
    history = whole.train(draw, Cycle(0, 1, 4, "none"))
    assert cut.train(draw, Cycle(0, 2, 2, "none")) + cut.train(draw, Cycle(1, 2, 2, "none")) == history
    assert equal(weights_of(whole), weights_of(cut))
    other = shared(images)
    other.train(draw, Cycle(0, 2, 2, "none"))
    other._optimizer_state = None
    other.train(draw, Cycle(1, 2, 2, "none"))
    assert not equal(weights_of(other), weights_of(cut)), "momentum matters"


def test_a_given_period(images: ImageSet) -> None:
    history = shared(images).train(draw, Cycle(0, 1, 3, "all", period=2))
    assert [row["learning_rate"] for row in history] == pytest.approx([0.025, 0.013, 0.001]), "then it stays"


def test_a_cycle_that_lacks_its_predecessor(images: ImageSet) -> None:
    found = shared(images)
    with pytest.raises(ConfigError, match="cycle 1 goes on with the weights of cycle 0, but 0 were trained"):
        found.train(draw, Cycle(1, 2, 1, "none"))
    found.train(draw, Cycle(1, 2, 1, "all"))


@pytest.mark.parametrize("update", ["active", "all"])
def test_what_moves_of_weights_that_are_not_drawn(images: ImageSet, update: Any) -> None:
    found = SharedImages(SPACE, images, Supervised(), SETTINGS.model_copy(update={"update": update}), portion=2 / 3)
    row = SPACE.encode([SPACE.from_string("|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|")])
    found.train(lambda epoch, steps: np.repeat(row, steps, 0), Cycle(0, 1, 1, "all"))
    with torch_fork(0, "initialisation", 0):
        fresh = SPACE.with_classes(10).supernet().state_dict()
    moved = {n for n, p in found.supernet.named_parameters() if not torch.equal(p, fresh[n])}
    names = {n for n, p in found.supernet.named_parameters()}
    kernels = {n for n in names if fresh[n].ndim == 4 and fresh[n].shape[-1] == 3 and "cells" in n and ".edges." in n}
    assert (
        kernels
        and (kernels <= moved if update == "all" else not kernels & moved)
        and any("classifier" in n for n in moved)
    )


class Count:
    """A companion whose numbers depend on all epochs before."""

    def __init__(self) -> None:
        self.total = torch.zeros(())

    def after_epoch(self, epoch: int) -> dict[str, float]:
        self.total = self.total * 2 + epoch
        return {"total": float(self.total)}

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total = state["total"].clone()


@pytest.mark.parametrize("reset", ["all", "none"])
def test_killed_and_resumed(images: ImageSet, tmp_path: Path, reset: Reset) -> None:
    """In the second epoch of the second cycle. The first one is loaded, not trained again."""

    def run(folder: Path | None, killed: bool = False) -> tuple[SharedImages, list[Any], list[Any]]:
        seen: list[dict[str, float]] = []

        def report(row: dict[str, float]) -> None:
            seen.append(row)
            if killed and row["epoch"] == 4:
                raise Interrupted

        found, companion = shared(images, folder=folder, report=report), Count()
        rows = [found.train(draw, Cycle(number, 2, 3, reset), companion) for number in range(2)]
        return found, rows, seen

    whole, rows, _ = run(None)
    assert [row["total"] for cycle in rows for row in cycle] == [0, 1, 4, 11, 26, 57]
    with pytest.raises(Interrupted):
        run(tmp_path, killed=True)
    resumed, again, seen = run(tmp_path)
    assert again == rows and [row["epoch"] for row in seen] == [5, 6] and equal(weights_of(resumed), weights_of(whole))
    assert resumed._optimizer_state is not None and whole._optimizer_state is not None
    assert equal(resumed._optimizer_state["momentum"], whole._optimizer_state["momentum"])
    finished, last, nothing = run(tmp_path)
    assert last == rows and nothing == [] and equal(weights_of(finished), weights_of(whole))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cycle-0", "cycle-1"]


def test_another_pool_is_not_resumed(images: ImageSet, tmp_path: Path) -> None:
    shared(images, folder=tmp_path).train(draw, Cycle(0, 1, 1, "all"))
    other: Draw = lambda epoch, steps: draw(epoch + 9, steps)  # noqa: E731
    for wrong, cycle, message in (
        (other, Cycle(0, 1, 1, "all"), "draw: "),
        (draw, Cycle(0, 1, 2, "all"), r"cycle\.epochs: 1 -> 2"),
    ):
        with pytest.raises(ConfigChanged, match=message):
            shared(images, folder=tmp_path).train(wrong, cycle)


# -- scores ------------------------------------------------------------------------------------------------------------
def test_scores_and_rewards(images: ImageSet) -> None:
    found = shared(images, evaluation_images=15)
    seen, held_out = parts(images, 2 / 3, True, 0)
    assert (len(seen), len(held_out)) == (40, 20) and torch.equal(found.held_out.images, held_out.images)
    indices = SPACE.sample(np.random.default_rng(0), 6)
    expected = one_shot_accuracy(
        found.supernet, indices, held_out, Supervised(), seed=0, count=15, moments=seen.statistics()
    )
    scores = found.scores(indices)
    assert np.array_equal(scores, expected) and np.array_equal(found.scores(indices[3:]), scores[3:])
    before = weights_of(found)
    pairs = shared(images)  # the training's batch is the held-out part: one batch a turn
    assert np.array_equal(pairs.reward(indices, 0), pairs.reward(indices, 0))
    small = SharedImages(SPACE, images, Supervised(), SETTINGS.model_copy(update={"batch_size": 5}), portion=2 / 3)
    asked = []
    small._measured = lambda indices, images, *rest: asked.append(images) or np.zeros(len(indices))  # type: ignore[assignment,func-returns-value]
    for step in range(8):
        small.reward(indices, step)
    turns = [torch.cat([asked[s].images for s in range(t, t + 4)]).flatten(1).double() for t in (0, 4)]
    assert all(
        len(torch.unique(turn, dim=0)) == len(torch.unique(held_out.images.flatten(1), dim=0)) for turn in turns
    ), "each image once a turn"
    assert not torch.equal(turns[0], turns[1]) and equal(before, weights_of(found))


def test_a_given_supernet(images: ImageSet) -> None:
    one, two = shared(images), shared(images, supernet=SPACE.with_classes(10).supernet())
    rows = one.train(draw, Cycle(0, 1, 1, "all"))
    assert two.train(draw, Cycle(0, 1, 1, "all")) == rows and equal(weights_of(one), weights_of(two))
    with pytest.raises(ConfigError, match="the supernet has 7 classes, but the objective needs 10"):
        shared(images, supernet=SPACE.with_classes(7).supernet())


# -- drop-path ---------------------------------------------------------------------------------------------------------
class Dropping(TwoPaths):
    """Remembers what it was told to drop, and draws."""

    def set_drop_path(self, probability: float, identity: bool) -> None:
        self.told = [*getattr(self, "told", []), (round(probability, 9), identity)]

    def forward_path(self, x: torch.Tensor, path: np.ndarray) -> torch.Tensor:
        return super().forward_path(x, path) * (1 + torch.rand(len(x), 1))


def test_drop_path_grows_through_a_cycle_and_is_resumed(tmp_path: Path) -> None:
    def run(hook: Any = lambda call: None, folder: Path | None = None) -> tuple[Dropping, dict[str, torch.Tensor]]:
        model, s = Dropping(), settings(batch_size=4)
        cycle, drop = Cycle(1, 2, 2, "all"), DropPath(0.2, identity=False)
        paths = lambda epoch, steps: np.array([epoch % 2] * steps, np.int8)  # noqa: E731
        return model, Training(
            model, Interrupting(hook), noise(8), s, 0, folder=folder, paths=paths, drop_path=drop, cycle=cycle
        ).run().final

    model, final = run()
    assert model.told == [(0.05, False), (0.1, False), (0.15, False), (0.2, False), (0.0, False)]
    with pytest.raises(Interrupted):
        run(at(4), tmp_path)
    model, resumed = run(folder=tmp_path)
    assert model.told[0] == (0.2, False) and equal(resumed, final)


@pytest.mark.parametrize("space", [NAO(channels=4, cells=3), DARTS(channels=4, cells=3)], ids=["nao", "darts"])
def test_drop_path_of_cells(space: Any) -> None:
    supernet: Any = space.with_classes(4).supernet().train()
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    skip = [0 if d.values[0] == "0" or "inputs" in d.label else d.values.index("skip_connect") for d in space.decisions]
    other = [
        0 if d.values[0] == "0" or "inputs" in d.label else d.values.index("max_pool_3x3") for d in space.decisions
    ]

    def run(row: list[int], probability: float, identity: bool) -> torch.Tensor:
        supernet.set_drop_path(probability, identity)
        with torch_fork(0, "test"):
            return supernet.forward_path(x, np.broadcast_to(np.array(row, np.int8), (space.repeats, len(row)))).detach()

    assert torch.equal(run(skip, 0.0, True), run(skip, 0.9, False)) and not torch.equal(
        run(skip, 0.0, True), run(skip, 0.9, True)
    )
    assert not torch.equal(run(other, 0.0, True), run(other, 0.9, False))
    assert [cell.drop_path for cell in supernet.cells] == pytest.approx([0.3, 0.6, 0.9])
    supernet.eval()
    assert torch.equal(run(other, 0.0, True), run(other, 0.9, True)), "in training only"


# -- what is refused ---------------------------------------------------------------------------------------------------
def test_errors(images: ImageSet) -> None:
    def made(objective: Any = None, space: Any = SPACE, **more: Any) -> SharedImages:
        return SharedImages(space, images, objective or Supervised(), SETTINGS, **more)

    for wrong, message in (
        (lambda: made(RandomLabels(4)), "cannot be predicted"),
        (lambda: made(portion=0.99), "59 for the weights and 1 for the evaluation"),
        (lambda: made(drop_path=DropPath(0.1)), "has no drop-path"),
        (
            lambda: Training(nn.Linear(1, 1), RandomLabels(2), images, SETTINGS, 0, drop_path=DropPath(0.1)),
            "Linear has no drop-path",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()
