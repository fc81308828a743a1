"""RLNAS on the device: a small search to its end, and as much of the official supernet's training as time allows."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from common import Spread
from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators import (
    DataSettings,
    RandomLabels,
    StandAlone,
    StandAloneSettings,
    SupernetSettings,
    SupernetTraining,
    load,
)
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies import RLNAS

from .record import Bar, Found, Given, NotRun, Section
from .subjects import CLASSES, NEVER, noise

ABOUT = (
    "A search on scikit-learn's digits from supernet to trained network, by the package's public interface; then "
    "RLNAS' official supernet (NAS-Bench-201, 16 channels, 5 cells a stage, batch 64, float32) on 25,000 synthetic "
    "images, in which only the pixels are not CIFAR-10's, for as many epochs as the remaining time allows."
)
BETTER_THAN_CHANCE = Bar(">=", 50, "chance is 10")
OFFICIAL_IMAGES = 25_000
SPARE = 10.0
"""Seconds that are left at the end, for the page."""


def rlnas(section: Section) -> None:
    section.check("search", "digits: accuracy of the best architecture, trained", partial(_search, section.given))
    section.check("official", "hours that 250 epochs of 25,000 images take", partial(_official, section))


def _search(given: Given) -> Found:
    device, began = torch.device(given.device).type, time.perf_counter()
    data = load(DataSettings(source="digits"))
    space = NASBench201(nodes=3, channels=8, cells_per_stage=1)
    settings = SupernetSettings(epochs=given.sized(40, 2), accelerator=device)
    experiment = NasExperiment(space.supernet(), SupernetTraining(data.train, RandomLabels(CLASSES), settings), RLNAS())
    experiment.run()
    found = [space.architecture(choices) for choices in experiment.export_top_models(3, formatter="dict")]
    if len(set(found)) != 3:
        raise AssertionError(f"3 different architectures were asked for, but {len(set(found))} were found")
    searched = time.perf_counter() - began
    training = StandAloneSettings(epochs=given.sized(20, 3), batch_size=64, accelerator=device)
    accuracy = StandAlone(data, training, space=space).train(found[0]).accuracy
    note = f"searched in {searched:.1f} s; found {', '.join(map(space.to_string, found))}"
    return Found(accuracy, "%", BETTER_THAN_CHANCE, note, {"search_seconds": searched})


class _Enough(Exception):
    """The next epoch would not fit."""


def _official(section: Section) -> Found:
    given = section.given
    images = noise(given.sized(OFFICIAL_IMAGES, 256), 32, padding=4)
    settings = SupernetSettings(accelerator=torch.device(given.device).type, checkpoint_seconds=NEVER)
    space = NASBench201(3, 4, 1) if given.quick else NASBench201()
    ends, losses = [time.monotonic()], list[float]()

    def at_the_end_of_an_epoch(row: dict[str, Any]) -> None:
        ends.append(time.monotonic())
        losses.append(row["loss"])
        longest = max(b - a for a, b in itertools.pairwise(ends))
        if section.left < longest + SPARE or (given.quick and len(losses) == 3):
            raise _Enough

    if section.left < SPARE:
        raise NotRun("no time was left")
    with torch_fork(0, "initialisation"):
        model = space.supernet()
    training = SupernetTraining(images, RandomLabels(CLASSES), settings, report=at_the_end_of_an_epoch)
    with suppress(_Enough):
        training.evaluate(model)
    epochs = [b - a for a, b in itertools.pairwise(ends)]
    rates = Spread.of([len(images) / s for s in (epochs[1:] or epochs)])  # the first one warms up
    hours = settings.epochs * OFFICIAL_IMAGES / rates.median / 3600
    trained = f"trained for {len(epochs)} of {settings.epochs} epochs of {len(images):,} images"
    note = f"{trained}, loss {losses[0]:.4f} to {losses[-1]:.4f} nats" + ("; a tiny supernet" if given.quick else "")
    numbers = {"images a second": asdict(rates), "epoch_seconds": epochs, "losses": losses}
    return Found(hours, "hours", None, note, numbers)
