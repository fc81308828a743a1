"""The trainings of the package that are compared, each from the same weights, images and draws wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from nni_plugins.evaluators.data import Augmentation, ImageSet
from nni_plugins.evaluators.objectives import (
    Colorization,
    Crops,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    Supervised,
    fitted,
)
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.loop import Retraining
from nni_plugins.evaluators.retraining.network import build
from nni_plugins.evaluators.retraining.pictures import open_pictures
from nni_plugins.evaluators.retraining.settings import PictureSettings, Recipe
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.text import Corpus, LanguageModelSettings
from nni_plugins.evaluators.text.batched import BatchedTraining
from nni_plugins.evaluators.text.batched_model import BatchedCells
from nni_plugins.evaluators.text.loop import TextTraining
from nni_plugins.evaluators.text.training import LanguageTraining
from nni_plugins.evaluators.training import BilevelTraining, Training
from nni_plugins.evaluators.training.base import Loop, Trained
from nni_plugins.evaluators.training.checkpoint import CheckpointStore
from nni_plugins.evaluators.training.settings import BilevelSettings, StandAloneSettings, SupernetSettings
from nni_plugins.spaces import DARTS, ImageSpace, NASBench201
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet
from nni_plugins.spaces.recurrent import RecurrentCell

CLASSES = 10
NEVER = 1e9
"""Seconds between checkpoints of a run that keeps none."""


@dataclass(frozen=True)
class Way:
    """How a training is computed. ``folder``: it saves at every step, and resumes. ``run``: tells the same apart."""

    accelerator: str
    precision: str = "32-true"
    channels_last: bool = False
    compile: bool = False
    folder: Path | None = None
    run: int = 0

    def layout(self, kind: Any) -> dict[str, Any]:
        """What says it in settings of ``kind``; nothing where they do not know of it."""
        if "memory_format" in kind.model_fields:
            return {"memory_format": "channels_last" if self.channels_last else "contiguous"}
        return {"channels_last": self.channels_last} if "channels_last" in kind.model_fields else {}

    def settings(self, kind: Any, **values: Any) -> Any:
        """Of ``kind``, computed this way."""
        values |= self.layout(kind)
        if "compile" in kind.model_fields:
            values["compile"] = self.compile
        every = NEVER if self.folder is None else 0
        return kind(accelerator=self.accelerator, precision=self.precision, checkpoint_seconds=every, **values)

    def laid(self, model: Any, kind: Any) -> Any:
        """``model`` in the layout, where the settings do not see to it."""
        if self.channels_last and not self.layout(kind):
            model.to(memory_format=torch.channels_last)
        return model


@dataclass(frozen=True)
class Sizes:
    """Of the trainings: ``steps`` an epoch, of two epochs; ``side`` of images in pixels."""

    batch: int
    steps: int
    side: int
    nasbench201: NASBench201
    darts: DARTS
    retraining: dict[str, Any]
    hidden: int
    words: int

    @classmethod
    def of(cls, quick: bool) -> Sizes:
        if quick:
            cells = {"darts": {"stem": "cifar", "channels": 4, "cells": 3}}
            return cls(4, 3, 12, NASBench201(3, 4, 1), DARTS(channels=4, cells=3), cells, 8, 40)
        cells = {"darts": {"stem": "cifar", "channels": 16, "cells": 8}}
        return cls(16, 4, 32, NASBench201(), DARTS(), cells, 64, 1000)


def noise(count: int, side: int, *, labels: bool = False, maps: bool = False, padding: int = 2) -> ImageSet:
    """Images of coarse noise, cropped and flipped."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=random) * 255
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bilinear", align_corners=False)
    pixels = (smooth + 16 * torch.randn(smooth.shape, generator=random)).clamp(0, 255).to(torch.uint8)
    classes = torch.randint(0, 3, (count, side, side), generator=random, dtype=torch.uint8) if maps else None
    given = torch.arange(count) % CLASSES if labels else None
    names = tuple(map(str, range(CLASSES))) if labels else ()
    return ImageSet("noise", pixels, given, names, Augmentation(padding, True), classes)


def objectives() -> dict[str, Objective]:
    """Each of ours."""
    return {
        "random_labels": RandomLabels(CLASSES),
        "supervised": Supervised(),
        "rotation": Rotation(),
        "jigsaw": Jigsaw(2, 12),
        "colorization": Colorization(),
        "segmentation": Segmentation(channels=8, rates=[1]),
    }


def images_for(objective: Objective, sizes: Sizes, halves: int = 1) -> ImageSet:
    """As many as an epoch needs; ``halves``: 2 where half of them train something else."""
    labels = isinstance(objective, Supervised)
    return noise(halves * sizes.batch * sizes.steps, sizes.side, labels=labels, maps=objective.wants_maps)


def some(space: Any) -> Any:
    """An architecture of ``space``."""
    return space.decode(space.sample(generator(0, "gpu benchmark"), 1))[0]


# -- the trainings -----------------------------------------------------------------------------------------------------
def single_path(way: Way, sizes: Sizes, objective: Objective | None = None) -> Trained:
    """RLNAS' supernet of NAS-Bench-201."""
    target = objective or RandomLabels(CLASSES)
    images = images_for(target, sizes)
    settings = way.settings(SupernetSettings, epochs=2, batch_size=sizes.batch)
    with torch_fork(0, "initialisation"):
        model = way.laid(fitted(sizes.nasbench201, target, images).supernet(), SupernetSettings)
    return SupernetTraining(images, target, settings, folder=way.folder).evaluate(model)


def mixed(way: Way, sizes: Sizes, space: ImageSpace, option: str, changes: dict[str, Any] | None = None) -> Trained:
    """The mixture of all operations: DARTS is option B, RF-DARTS option C."""
    target = RandomLabels(CLASSES)
    images = images_for(target, sizes, 2)
    settings = way.settings(BilevelSettings, **{"epochs": 2, "batch_size": sizes.batch, **(changes or {})})
    with torch_fork(0, "initialisation"):
        model = MixedSupernet(fitted(space, target, images), MixedOptions(option))
    return BilevelTraining(model, target, images, settings, 0, folder=way.folder).run()


def stand_alone(way: Way, sizes: Sizes) -> Trained:
    """One network of NAS-Bench-201 with labels."""
    target = Supervised()
    images = images_for(target, sizes)
    settings = way.settings(StandAloneSettings, epochs=2, batch_size=sizes.batch)
    space = fitted(sizes.nasbench201, target, images)
    with torch_fork(0, "initialisation"):
        model = way.laid(space.network(some(space)), StandAloneSettings)
    return Training(model, target, images, settings, 0, folder=way.folder).run()


def retraining(way: Way, sizes: Sizes) -> Trained:
    """DARTS' second cell by the recipe for digits, with auxiliary head; no path is dropped, as each device draws its
    own.
    """
    changes = {
        "epochs": 2,
        "schedule.warmup_epochs": 0,
        "batch_size": sizes.batch,
        "network.sizes": sizes.retraining,
        "network.drop_path": 0.0,
        "precision": way.precision,
        **way.layout(Recipe),
        "accelerator": way.accelerator,
        "checkpoint_seconds": NEVER if way.folder is None else 0,
    }
    recipe = recipes.changed(recipes.recipe("digits"), changes)
    pictures = open_pictures(PictureSettings(path="digits", limit=sizes.batch * sizes.steps, test_limit=sizes.batch))
    network = build(image_subject("darts_v2"), recipe, CLASSES, 0)
    store = None if way.folder is None else CheckpointStore(way.folder, {})
    return Retraining(network, pictures, recipe, 0, store=store).run()


def corpus(words: int, tokens: int) -> Corpus:
    """Words as unevenly frequent as in a language, in no order."""
    shares = 1 / np.arange(2, words + 2)
    drawn = generator(0, "gpu benchmark text").choice(words, size=tokens + 2 * (tokens // 5), p=shares / shares.sum())
    train, valid, test = np.split(drawn.astype(np.int64), [tokens, tokens + tokens // 5])
    return Corpus("noise", tuple(f"w{i}" for i in range(words)), train, valid, test)


def language_settings(way: Way, **values: Any) -> LanguageModelSettings:
    """Without dropout, which each device draws for itself."""
    rates = dict.fromkeys(("dropout", "dropouth", "dropoutx", "dropouti", "dropoute"), 0.0)
    given = {"epochs": 2, "batch_size": 4, "learning_rate": 5.0, "evaluation_batch": 4, "test_batch": 4, **rates}
    return way.settings(LanguageModelSettings, **{**given, **values})  # type: ignore[no-any-return]


def cell_space(sizes: Sizes, nodes: int = 2) -> RecurrentCell:
    return RecurrentCell(nodes=nodes, hidden=sizes.hidden, classes=sizes.words)


def text_of(sizes: Sizes) -> Corpus:
    return corpus(sizes.words, 4 * 36 * sizes.steps)


def single_cell(way: Way, sizes: Sizes) -> Trained:
    """A recurrent cell of two nodes."""
    space = cell_space(sizes)
    with torch_fork(0, "initialisation"):
        settings = language_settings(way)
        model = space.network(space.decode(space.enumerate())[1], **settings.dropouts)
    return LanguageTraining(model, text_of(sizes), settings, 0, folder=way.folder).run()


def batched_cells(way: Way, sizes: Sizes) -> Trained:
    """All 32 cells of two nodes as one computation; ``final`` are their best weights."""
    space = cell_space(sizes)
    cells = space.decode(space.enumerate())
    with torch_fork(0, "initialisation"):
        model = BatchedCells(space, cells, space.network(cells[0]).state_dict())
    training = BatchedTraining(model, text_of(sizes), language_settings(way), 0, folder=way.folder)
    trained = training.run()
    return replace(trained, final={"weights": training.best_weights, "valid": torch.tensor(training.best_nats)})


@dataclass(frozen=True)
class Subject:
    """A training that every way of computing is tried on. ``mixes``: it has mixed precision and layouts."""

    name: str
    about: str
    train: Callable[[Way, Sizes], Trained]
    mixes: bool = True


def _mixed(space: str, option: str) -> Callable[[Way, Sizes], Trained]:
    return lambda way, sizes: mixed(way, sizes, getattr(sizes, space), option)


SUBJECTS = (
    Subject("single_path", "RLNAS' supernet of NAS-Bench-201", single_path),
    Subject("darts", "DARTS' bilevel steps in its own space", _mixed("darts", "B")),
    Subject("rfdarts", "RF-DARTS' bilevel steps in DARTS' space", _mixed("darts", "C")),
    Subject("stand_alone", "a network of NAS-Bench-201 with labels", stand_alone),
    Subject("retraining", "DARTS' second cell by the recipe for digits", retraining),
    Subject("recurrent", "a recurrent cell of two nodes", single_cell, mixes=False),
    Subject("batched_recurrent", "32 recurrent cells as one computation", batched_cells, mixes=False),
)


# -- looking on --------------------------------------------------------------------------------------------------------
class Stopped(Exception):
    """Stands for whatever ends a process."""


@contextmanager
def watched(stop_after: int | None = None) -> Iterator[list[list[float]]]:
    """Inside, every step of every loop adds its mean losses to the list: one of a network, two of a bilevel step, one
    of each batched cell. After ``stop_after`` steps, checkpoints included, the loop is stopped.
    """
    rows: list[list[float]] = []
    own, before = Loop._after_step, dict[str, Any]()

    def after(loop: Loop, epoch: int, step: int) -> None:
        meters = loop.meters.detach().to("cpu", torch.float64, copy=True)
        new = meters - before["meters"] if before.get("of") == (id(loop), epoch) else meters
        before.update(of=(id(loop), epoch), meters=meters)
        rows.append(_losses(loop, new))
        own(loop, epoch, step)
        if stop_after is not None and len(rows) == stop_after:
            raise Stopped

    with mock.patch.object(Loop, "_after_step", after):
        yield rows


def _losses(loop: Loop, meters: torch.Tensor) -> list[float]:
    if isinstance(loop, TextTraining):
        return (meters[:-1] / meters[-1]).tolist()
    pairs: Sequence[tuple[int, int]] = ((0, 2), (3, 5)) if isinstance(loop, BilevelTraining) else ((0, 2),)
    return [float(meters[a] / meters[b]) for a, b in pairs]


@contextmanager
def inputs_of_the_cpu() -> Iterator[None]:
    """Inside, images become numbers on the CPU, whatever device they are on: a GPU divides float32 by 255 otherwise
    than a CPU, which comparisons in float64 would see.
    """
    own = Crops.standardised

    def standardised(crops: Crops, images: torch.Tensor | None = None) -> torch.Tensor:
        device = crops.images.device
        here = replace(crops, images=crops.images.cpu(), mean=crops.mean.cpu(), std=crops.std.cpu(), augmented=None)
        return own(here, None if images is None else images.cpu()).to(device)

    with mock.patch.object(Crops, "standardised", standardised):
        yield


def losses(subject: Subject, way: Way, sizes: Sizes) -> torch.Tensor:
    """(steps, losses a step) float64."""
    with watched() as rows:
        subject.train(way, sizes)
    return torch.tensor(rows, dtype=torch.float64)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest relative one, of ``b``."""
    return float(((a - b).abs() / b.abs().clamp_min(1e-12)).max())
