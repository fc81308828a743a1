"""Images a second of every training step, beside the plain forms of the same."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import Spread, TimmStep, seconds, synchronise
from mixed import Iteration

from nni_plugins.evaluators.objectives import RandomLabels, Supervised, fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.batches import Part, TrainingBatches
from nni_plugins.evaluators.retraining.evaluator import TimmRetrain
from nni_plugins.evaluators.retraining.network import build
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.text import StandAloneText
from nni_plugins.evaluators.text.batched import train_cells
from nni_plugins.evaluators.training import Training
from nni_plugins.evaluators.training.settings import StandAloneSettings, SupernetSettings
from nni_plugins.spaces import DARTS, NASBench201, SearchSpace

from .record import Bar, Found, Given, NotRun, Section
from .subjects import CLASSES, Sizes, Way, cell_space, corpus, language_settings, noise, some

ABOUT = (
    "Images a second, 32 x 32, median of epochs or runs that wait for the device. Ours are whole training loops: "
    "crops, flips and normalisation on the device, meters, checkpoints' clock; the retraining's batches are ready on "
    "the device. timm's are the steps of its training script on the same network and a batch that is ready on the "
    "device. Ratios are of times, ours to the plain form's: below 1 is faster. The bars of 1.1 are ours: not "
    "noticeably slower than timm's loop, which does less; 0.15 is the goal of the project's issue 17."
)
NOT_SLOWER, LIKE_TIMM, CELLS = Bar("<=", 1.0), Bar("<=", 1.1), Bar("<=", 0.15, "issue 17")
HALF = {"bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Mode:
    """How steps are computed."""

    batch: int
    precision: str
    tf32: bool
    channels_last: bool

    @property
    def name(self) -> str:
        kind = "bf16" if self.precision == "bf16-mixed" else "tf32" if self.tf32 else "float32"
        return f"{self.batch}.{kind}.{'channels_last' if self.channels_last else 'contiguous'}"

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def way(self, given: Given) -> Way:
        return Way(torch.device(given.device).type, self.precision, self.channels_last)

    @contextmanager
    def set(self) -> Iterator[None]:
        """TF32 inside is as this says."""
        backends = torch.backends.cuda.matmul, torch.backends.cudnn
        before = [backend.allow_tf32 for backend in backends]
        for backend in backends:
            backend.allow_tf32 = self.tf32
        try:
            yield
        finally:
            for backend, value in zip(backends, before, strict=True):
                backend.allow_tf32 = value


def modes(given: Given, batch: int) -> list[Mode]:
    """Those of a CPU lack TF32."""
    kinds = [("32-true", False), ("32-true", True), ("bf16-mixed", False)]
    if not given.cuda:
        kinds.remove(("32-true", True))
    return [Mode(batch, p, tf32, last) for (p, tf32), last in itertools.product(kinds, (False, True))]


def speed(section: Section) -> None:
    given = section.given
    small, *larger = (4,) if given.quick else (64, 256)
    _steps(section, small)
    section.check("recurrent", "32 recurrent cells at once, to one after the other", partial(_cells, given))
    section.check("files", "retraining with JPEG files read by timm's loader and ours", partial(_files, given))
    for batch in larger:
        _steps(section, batch)


def _steps(section: Section, batch: int) -> None:
    """Of every training."""
    given = section.given
    measures: dict[str, tuple[str, Callable[[Mode, Given], Found]]] = {
        "single_path": ("single-path step, NAS-Bench-201", _single_path),
        "stand_alone": ("stand-alone step, NAS-Bench-201, to timm's", _stand_alone),
        "retraining": ("retraining step, DARTS' second cell, to timm's", _retraining),
    }
    spaces: dict[str, SearchSpace] = {"nasbench201": NASBench201(), "darts": DARTS()}
    if given.quick:
        spaces = {"nasbench201": NASBench201(3, 4, 1)}
    for (name, space), (option, method) in itertools.product(spaces.items(), (("B", "DARTS"), ("C", "RF-DARTS"))):
        about = f"mixed iteration of {method} on {name}, to the plain form's"
        measures[f"mixed.{name}.{method.replace('-', '').lower()}"] = about, partial(_mixed, space, option)
    for (name, (about, measure)), mode in itertools.product(measures.items(), modes(given, batch)):
        section.check(f"{name}.{mode.name}", about, partial(_in, mode, measure, given))


def _in(mode: Mode, measure: Callable[[Mode, Given], Found], given: Given) -> Found:
    if given.cuda and mode.precision == "bf16-mixed" and not torch.cuda.is_bf16_supported():
        raise NotRun("this GPU has no bfloat16")
    with mode.set():
        return measure(mode, given)


def _counts(mode: Mode, given: Given) -> tuple[int, int]:
    """Steps an epoch, and epochs that count."""
    return (2, 2) if given.quick else (8 if mode.batch > 64 else 16, 5)


class Clock:
    """Called at the end of every epoch. The first one warms up."""

    def __init__(self, device: str) -> None:
        self.device, self.ends = device, list[float]()

    def __call__(self, row: dict[str, Any]) -> None:
        synchronise(self.device)
        self.ends.append(time.perf_counter())

    def rates(self, images: int) -> Spread:
        """Images a second of ``images`` an epoch."""
        return Spread.of([images / (b - a) for a, b in itertools.pairwise(self.ends)])


def _compared(ours: Spread, plain: Spread, bar: Bar | None, name: str) -> Found:
    numbers = {"ours": asdict(ours), name: asdict(plain)}
    return Found(plain.median / ours.median, "", bar, "images a second", numbers)


def _single_path(mode: Mode, given: Given) -> Found:
    steps, epochs = _counts(mode, given)
    images, clock = noise(mode.batch * steps, 32), Clock(given.device)
    settings = mode.way(given).settings(SupernetSettings, epochs=epochs + 1, batch_size=mode.batch)
    space = NASBench201(3, 4, 1) if given.quick else NASBench201()
    model = mode.way(given).laid(space.supernet(), SupernetSettings)
    SupernetTraining(images, RandomLabels(CLASSES), settings, report=clock).evaluate(model)
    rates = clock.rates(len(images))
    return Found(rates.median, "images/s", None, "", {"images a second": asdict(rates)})


def _stand_alone(mode: Mode, given: Given) -> Found:
    steps, epochs = _counts(mode, given)
    images, clock, way = noise(mode.batch * steps, 32, labels=True), Clock(given.device), mode.way(given)
    space = fitted(NASBench201(3, 4, 1) if given.quick else NASBench201(), Supervised(), images)
    settings = way.settings(StandAloneSettings, epochs=epochs + 1, batch_size=mode.batch)
    with torch_fork(0, "initialisation"):
        networks = [space.network(some(space)) for _ in ("ours", "timm's")]
    Training(way.laid(networks[0], StandAloneSettings), Supervised(), images, settings, 0, report=clock).run()
    rule = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "momentum": settings.momentum}
    network: Any = networks[1].to(given.device, memory_format=mode.layout).train()
    step = TimmStep(network, torch.nn.CrossEntropyLoss(), {"opt": "sgd", **rule}, half=HALF.get(mode.precision))
    plain = _plain(step, mode, given, steps * epochs)
    return _compared(clock.rates(len(images)), plain, given.bar(LIKE_TIMM), "timm's")


def _plain(step: TimmStep, mode: Mode, given: Given, runs: int) -> Spread:
    """Images a second of ``step`` on a batch that is there."""
    x = torch.randn(mode.batch, 3, 32, 32, device=given.device).to(memory_format=mode.layout)
    targets = torch.arange(mode.batch, device=given.device) % CLASSES
    block = max(1, runs // 5)  # as many steps between two waits as ours have

    def several() -> None:
        for _ in range(block):
            step(x, targets)

    return Spread.of([block * mode.batch / s for s in seconds(several, 5, given.device)])


def _recipe(mode: Mode, given: Given, epochs: int, **more: Any) -> Recipe:
    size = {"channels": 4, "cells": 3} if given.quick else {"channels": 16, "cells": 8}
    changes = {
        "epochs": epochs,
        "batch_size": mode.batch,
        "precision": mode.precision,
        **mode.way(given).layout(Recipe),
        "accelerator": torch.device(given.device).type,
        "network.sizes": {"darts": {"stem": "cifar", **size}},
        "network.drop_path": 0.0,
    }
    return recipes.changed(recipes.recipe("darts_cifar10"), {**changes, **more})


def _retraining(mode: Mode, given: Given) -> Found:
    from retraining import images as write_images

    steps, epochs = _counts(mode, given)
    recipe = _recipe(mode, given, epochs + 1)
    folder = given.scratch / f"pictures-{mode.batch}"
    if not folder.exists():
        write_images(folder, max(CLASSES, mode.batch * steps), 32)  # every class has some
    x = torch.randn(mode.batch, 3, 32, 32, device=given.device).to(memory_format=mode.layout)
    labels = torch.arange(mode.batch, device=given.device) % CLASSES

    def ready(batches: TrainingBatches, epoch: int, first: int = 0) -> Iterator[list[Part]]:
        for _ in range(first, batches.updates):
            yield [Part(x, labels, labels, 1.0)]

    rows: list[dict[str, Any]] = []
    with mock.patch.object(TrainingBatches, "epoch", ready):
        TimmRetrain({"path": str(folder), "test_limit": 2}, recipe, report=rows.append).train("darts_v2")
    ours = Spread.of([row["images_per_second"] for row in rows[1:]])
    network: Any = build(image_subject("darts_v2"), recipe, CLASSES, 0).to(given.device, memory_format=mode.layout)
    rule = recipe.optimizer
    step = TimmStep(
        network.train(),
        torch.nn.CrossEntropyLoss(),
        {"opt": "momentum", "lr": rule.learning_rate, "weight_decay": rule.weight_decay, "momentum": rule.momentum},
        half=HALF.get(mode.precision),
        clip=rule.gradient_clip,
        auxiliary=recipe.loss.auxiliary_weight,
    )
    return _compared(ours, _plain(step, mode, given, steps * epochs), given.bar(LIKE_TIMM), "timm's")


def _files(given: Given) -> Found:
    """With reading, decoding and augmentation: what a retraining from files really does."""
    import retraining

    mode = Mode(given.sized(256, 4), "bf16-mixed", False, True)
    workers = 0 if given.quick else min(8, len(os.sched_getaffinity(0)))
    recipe = _recipe(mode, given, 1, **{"schedule.warmup_epochs": 0, "workers": workers})
    count = max(CLASSES, mode.batch * given.sized(20, 2))
    folder = retraining.images(given.scratch / "files", count, 32)
    pairs = [
        (
            retraining.ours("darts_v2", recipe, folder, count),
            retraining.plain("darts_v2", recipe, folder, count, CLASSES),
        )
        for _ in range(given.sized(3, 1) + 1)
    ][1:]
    ours, plain = (Spread.of(rates) for rates in zip(*pairs, strict=True))
    found = _compared(ours, plain, None, "timm's")
    return replace(
        found, note=f"images a second; bf16, channels_last, {workers} workers; timm's loader has no padded crop"
    )


def _mixed(space: SearchSpace, option: str, mode: Mode, given: Given) -> Found:
    rates = []
    for plain in (False, True):
        iteration = Iteration(space, option, plain, mode.batch, given.device, mode.layout, HALF.get(mode.precision))
        times = seconds(iteration, given.sized(7, 2), given.device, warm=given.sized(3, 1))
        rates.append(Spread.of([mode.batch / s for s in times]))
        del iteration
    return _compared(rates[0], rates[1], given.bar(NOT_SLOWER), "plain")


def _cells(given: Given) -> Found:
    sizes = Sizes.of(given.quick)
    way = Way(torch.device(given.device).type)
    text = corpus(sizes.words, given.sized(14_000, 400))
    settings = language_settings(way, epochs=1, batch_size=given.sized(20, 4), evaluation_batch=given.sized(20, 4))
    space = cell_space(sizes)
    cells = space.decode(space.enumerate())
    some_of_them = cells[:: len(cells) // given.sized(4, 2)]
    single: list[float] = []

    def one_by_one() -> None:
        single[:] = [StandAloneText(text, settings, space=space).train(cell).valid for cell in some_of_them]

    alone = Spread.of([s / len(some_of_them) for s in seconds(one_by_one, given.sized(3, 1), given.device)])
    result: list[Any] = []
    batched = seconds(lambda: result.append(train_cells(text, cells, space, settings)), given.sized(3, 1), given.device)
    together = Spread.of([s / len(cells) for s in batched])
    rows = [cells.index(cell) for cell in some_of_them]
    if not np.allclose(result[-1].valid[rows, 0], single, rtol=1e-3):
        raise AssertionError(f"batched cells have perplexities {result[-1].valid[rows, 0]}, single ones {single}")
    numbers = {"together": asdict(together), "one by one": asdict(alone)}
    return Found(
        together.median / alone.median, "", given.bar(CELLS), "seconds a cell; perplexities agree to 1e-3", numbers
    )
