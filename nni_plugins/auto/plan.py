"""Which space, search, trainings and sizes suit a folder of images and the minutes that are given, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.processes import cores
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.largest import largest
from nni_plugins.strategies.limits import Limits

from .look import Found, Judge

SMALL = 48
"""Up to this many pixels on the shorter side, networks for small images are searched."""
SHARE = 0.8
"""Of the minutes, for trainings; the rest is for the search, for starting processes and for what is written."""
REPEATS = 3
"""Trainings of the found and of the largest network, each from another seed."""
RANDOM = 4
SLOWER = 1.25
"""How much longer a step takes while another process trains beside it."""
ENOUGH_EPOCHS, ENOUGH_IMAGES = 20, 40_000
"""A size of network is taken if each training can see every image so often, or so many images in all. Where a task makes
several inputs of an image, each of them counts.
"""
LEAST_EPOCHS, LEAST_IMAGES = 5, 1_500
"""With less than that nothing is learnt that would be worth comparing."""
MOST_EPOCHS = 60
DETECTION = 2.6
"""Of a detector's training step, how many times that of its backbone (measured: RetinaNet of retinanet_small)."""
WRITTEN_SECONDS, STARTED_SECONDS = 30.0, 15.0
"""What the end takes, and the start of each training of OpenMMLab's."""

Arguments = dict[str, Any]
Pretext = Literal["rotation", "colorization", "jigsaw"]
SPEED = Callable[[ImageSpace, Architecture, tuple[int, int], int, Arguments], float]


class Request(Settings):
    """What a person asks for."""

    path: Path
    minutes: float = Field(15.0, gt=0)
    max_parameters: int | None = Field(None, ge=1)
    max_macs: int | None = Field(None, ge=1, description="multiply-adds for one image as it is trained on")
    max_latency: float | None = Field(
        None, gt=0, description="milliseconds for one image on one thread of this machine"
    )
    beside: tuple[str, ...] = Field((), description="networks by name, such as resnet18, trained alike")
    pretext: Pretext = Field("rotation", description="what networks are judged by where the folder has nothing for it")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Size:
    """One size of networks. ``space``: name and arguments; ``image``: (height, width) in pixels; ``batch``: images a step;
    ``crop``: the side of what is cut out of them for training, if anything is.
    """

    space: Arguments
    image: tuple[int, int]
    batch: int
    crop: int | None = None

    @property
    def trained(self) -> tuple[int, int]:
        """(height, width) of what networks are trained on."""
        return self.image if self.crop is None else (self.crop, self.crop)


@dataclass(frozen=True)
class Proposal:
    """``arguments``: of the experiment (``tuner.classArgs``) of ``tuner``; ``reasons``: why it is so, and how long it will
    take, one sentence each; ``judged``: what networks are measured by, in words; ``harder``: what to do where that turns out too
    easy to tell networks apart.
    """

    tuner: str
    arguments: Arguments
    reasons: tuple[str, ...]
    judged: str
    harder: str


JUDGED: dict[Judge, str] = {
    "labels": "accuracy on labelled images that no network was trained on",
    "masks": "mean intersection over union on images that no network was trained on",
    "boxes": "average precision of boxes on images that no network was trained on",
}
PRETEXTS: dict[Pretext, str] = {
    "rotation": "how often networks tell which way an image was turned, on images that they were not trained on",
    "colorization": "how often networks tell a pixel's colour from the grey image, of images that they were not trained on",
    "jigsaw": "how often networks tell the order of an image's four parts, of images that they were not trained on",
}

OBJECTIVES: dict[Judge, Arguments] = {
    "labels": {"name": "supervised"},
    "masks": {"name": "segmentation", "channels": 32, "rates": [3, 6]},
    "boxes": {"name": "supervised"},
}
"""What networks are trained for; a detector's step is reckoned from that of its backbone."""
VIEWS = {"rotation": 4}
"""How many inputs an objective makes of an image, where it is more than one."""


def objective(found: Found, request: Request) -> Arguments:
    """What networks are trained for: name and arguments."""
    if found.judge != "nothing":
        return OBJECTIVES[found.judge]
    return {"name": request.pretext, **({"grid": 2} if request.pretext == "jigsaw" else {})}


def propose(found: Found, request: Request, speed: SPEED, table: Path) -> Proposal:
    """The experiment for what was ``found``.

    Args:
        speed: as :func:`nni_plugins.auto.speed.seconds_per_image`.
        table: where latencies are measured to, if there is a limit of them.

    Raises:
        ConfigError: limits that nothing meets; a time that is too short, with the shortest that is not.
    """
    budgets: list[tuple[Size, Limits, _Budget]] = []
    for size in _sizes(found):
        space = build_space(size.space)
        assert isinstance(space, ImageSpace)
        limits = _limits(space, size, request, table)
        most = largest(space, "largest_parameters", limits)
        per_image = speed(space, most, size.trained, size.batch, objective(found, request))
        budgets.append((size, limits, _Budget(found, request, per_image)))
        if not budgets[-1][2].suffices:  # nor does a larger one
            break
    fitting = [one for one in budgets if one[2].suffices][-1:] or [one for one in budgets if one[2].possible]
    if not fitting:
        least = math.ceil(budgets[0][2].least_minutes)
        raise ConfigError(
            f"{request.minutes:g} minutes are too short for {found.images:,} images on this machine: nothing would be learnt "
            "that could be compared.",
            f"Give at least --minutes {least}.",
        )
    return _proposal(found, request, *fitting[0])


class _Budget:
    """How many epochs of how many images each training gets; ``per_image``: seconds of the largest network's step, of all
    inputs that are made of an image.
    """

    def __init__(self, found: Found, request: Request, per_image: float) -> None:
        self.found, self.request = found, request
        self.repeats = REPEATS
        self.random = RANDOM if found.judge != "boxes" else REPEATS
        self.trainings = self.repeats * (2 + len(request.beside)) + self.random
        self.processes, self.views = cores(), VIEWS.get(objective(found, request)["name"], 1)
        slower = SLOWER if self.processes > 1 else 1
        self.per_image = per_image * slower * (DETECTION if found.judge == "boxes" else 1)
        self.per_input = per_image * slower / self.views
        tests = sum(count for name, count in found.parts.items() if name != "train") or 0.2 * found.images
        started = STARTED_SECONDS if found.judge == "boxes" else 2.0
        self.fixed = started + tests * self.per_image / 2  # of a training; a measured image takes no backward pass
        self.train_images = found.training_images if len(found.parts) > 1 else round(0.8 * found.images)

    @property
    def images(self) -> int:
        """That each training can see, with repetitions."""
        return int((self._seconds(self.request.minutes) - self.fixed) / self.per_image)

    def _seconds(self, minutes: float) -> float:
        """Of each training."""
        return (60 * minutes * SHARE - WRITTEN_SECONDS) * self.processes / self.trainings

    def _minutes(self, images: int) -> float:
        """Of the whole run, if each training sees so many images."""
        seconds = images * self.per_image + self.fixed
        return (seconds * self.trainings / self.processes + WRITTEN_SECONDS) / SHARE / 60

    @property
    def used(self) -> int:
        """So many of the training images, where all are too many."""
        return min(self.train_images, max(self.images * self.views // ENOUGH_EPOCHS, LEAST_IMAGES))

    @property
    def epochs(self) -> int:
        return min(MOST_EPOCHS, self.images // self.used)

    @property
    def suffices(self) -> bool:
        """Whether networks of this size learn enough."""
        return self.images * self.views >= min(ENOUGH_EPOCHS * self.train_images, ENOUGH_IMAGES)

    @property
    def least(self) -> int:
        epochs = 3 if self.found.judge == "boxes" else LEAST_EPOCHS
        return -(-epochs * min(self.train_images, LEAST_IMAGES) // self.views)

    @property
    def possible(self) -> bool:
        """Whether they learn anything."""
        return self.images >= self.least

    @property
    def least_minutes(self) -> float:
        return self._minutes(self.least + 1)

    @property
    def planned_minutes(self) -> float:
        return self._minutes(self.epochs * self.used)


def _sizes(found: Found) -> Iterator[Size]:
    """The smallest first."""
    height, width = found.median
    if found.judge == "boxes":
        yield Size({"name": "darts", "channels": 16, "cells": 8, "stem": "imagenet"}, (240, 320), 4)
    elif found.judge == "masks":
        scale = min(1.0, 128 / min(height, width))
        image = (max(32, round(height * scale)), max(32, round(width * scale)))
        for channels, cells in ((8, 4), (16, 5), (16, 8)):
            space = {"name": "darts", "channels": channels, "cells": cells, "stem": "imagenet", "reductions": 2}
            yield Size(space, image, 8, min(96, *(length // 32 * 32 for length in image)))
    elif min(height, width) <= SMALL:
        for channels, cells in ((8, 1), (16, 1), (16, 3), (16, 5)):
            yield Size({"name": "nasbench201", "channels": channels, "cells_per_stage": cells}, (32, 32), 64)
    else:
        for side, channels, cells in ((64, 8, 4), (64, 16, 8), (96, 16, 8), (128, 24, 8)):
            space = {"name": "darts", "channels": channels, "cells": cells, "stem": "imagenet", "reductions": 2}
            yield Size(space, (side, side), 32)


def _limits(space: ImageSpace, size: Size, request: Request, table: Path) -> Limits:
    """Those that are asked for; otherwise half the multiply-adds of the largest network, for the largest of a whole space
    needs no search.

    Raises:
        ConfigError: no architecture meets them.
    """
    side = round(math.sqrt(size.image[0] * size.image[1]))
    given: Arguments = {"max_parameters": request.max_parameters, "max_macs": request.max_macs, "image_size": side}
    if request.max_latency is not None:
        _measure_latencies(space, side, table)
        given |= {"max_latency": request.max_latency, "latency_table": str(table)}
    limits = Limits(**given)
    if not limits.given:
        most = space.cost_table(side)(space.encode([largest(space, "largest_macs", limits)]))
        limits = Limits(max_macs=int(most.macs[0]) // 2, image_size=side)
    largest(space, "largest_parameters", limits)  # none meets them: said now
    return limits


def _measure_latencies(space: ImageSpace, side: int, table: Path) -> None:
    from nni_plugins.evaluators.latency import Measurement, measure_latencies, write_latencies
    from nni_plugins.evaluators.randomness import generator
    from nni_plugins.strategies.drawing import draw

    networks = draw(space, 100, generator(0, "latency"))
    table.parent.mkdir(parents=True, exist_ok=True)
    write_latencies(
        table, space, networks, measure_latencies(space, networks, Measurement(image_size=side, repeats=10))
    )


def _proposal(found: Found, request: Request, size: Size, limits: Limits, budget: _Budget) -> Proposal:
    space = build_space(size.space)
    data, evaluation = _data(found, size), _evaluation(found, size, budget)
    first = {**evaluation, "seed": request.seed, "random": budget.random}
    again = {f"again_{i}": {**evaluation, "seed": request.seed + i, "random": 0} for i in range(1, budget.repeats)}
    search, searched = _search(size, budget)
    limited = limits.model_dump(mode="json", exclude_none=True)
    arguments: Arguments = {
        "optimize_mode": "maximize",
        "space": size.space,
        "limits": limited,
        "data": data,
        **search,
        "evaluations": {"measured": first, **again},
        "baselines": ["largest_parameters", *request.beside],
        "seeds": [request.seed],
        "found": 1,
        "random": budget.random,
        "random_seed": request.seed,
        "threads": 1,
    }
    judged = PRETEXTS[request.pretext] if found.judge == "nothing" else JUDGED[found.judge]
    bounds = [f"at most {limited[name]:,} {what}" for name, what in BOUNDS.items() if name in limited]
    asked = request.max_parameters or request.max_macs or request.max_latency
    reasons = (
        f"Space: {space.name}, for images of {size.image[1]} x {size.image[0]} pixels ({_size_in_words(size.space)}): of networks of "
        f"this size {budget.trainings} can be trained in {request.minutes:g} minutes.",
        f"Limit: {' and '.join(bounds)}"
        + (
            "."
            if asked
            else ", half of the space's largest network, which needs no search; --macs and --parameters change it."
        ),
        searched,
        f"Judged by: {judged}."
        + (
            " That is weaker evidence than labels of your own: it shows what networks learn from these images, not how "
            "well they do what you want of them."
            if found.judge == "nothing"
            else ""
        ),
        f"Trained alike, {budget.epochs} epochs of {budget.used:,} images each: what is found and the largest network within "
        f"the limit {budget.repeats} times from other seeds, {budget.random} random networks once.",
        f"Time: about {max(1, round(budget.planned_minutes))} minutes, by a step that was timed just now.",
    )
    others = [f"--pretext {name}" for name in PRETEXTS if name != request.pretext]
    harder = f"Another task may tell them apart: {' or '.join(others)}." if found.judge == "nothing" else ""
    return Proposal(SEARCH, arguments, reasons, judged, harder)


def _size_in_words(space: Arguments) -> str:
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in space.items() if key != "name")


BOUNDS = {"max_parameters": "parameters", "max_macs": "multiply-adds", "max_latency": "milliseconds an image"}
SEARCH = "Combine"
SCORES = {"nasbench201": ("naswot", "synflow"), "darts": ("naswot", "parameters")}
"""By space, those that together are the best of what takes seconds in nni-plugins docs choose."""
NAMED = {"naswot": "NASWOT", "synflow": "SynFlow", "parameters": "their number of parameters"}
SEARCH_SHARE = 0.1
"""Of the minutes, for the search."""
CANDIDATES = (50, 1000)
SCORED_IMAGES = 32
SEARCHED = 64
"""Pixels a side of photographs with boxes, as the search sees them."""
SCORING = 2.0
"""How many times the step of a training takes to build and score one network on so many images."""


def _search(size: Size, budget: _Budget) -> tuple[Arguments, str]:
    """The settings of the search, and what is said of it."""
    smaller = SEARCHED**2 / math.prod(size.image) if budget.found.judge == "boxes" else 1.0
    seconds = SCORING * SCORED_IMAGES * budget.per_input * smaller + 0.05
    count = int(np.clip(SEARCH_SHARE * 60 * budget.request.minutes / seconds, *CANDIDATES))
    batch, chosen = min(SCORED_IMAGES, budget.train_images), SCORES[size.space["name"]]
    said = (
        f"Search: {count:,} untrained networks are ranked by {' and '.join(NAMED[name] for name in chosen)} together, on "
        f"{batch} of the images, without labels; nni-plugins docs choose compares it with other searches."
    )
    scores = [{"score": name, **({"settings": {"batch_size": batch}} if name == "naswot" else {})} for name in chosen]
    return {"search": {"candidates": count, "scores": scores}}, said


def _data(found: Found, size: Size) -> Arguments:
    """Of the search; evaluations on images take it too."""
    path = str(found.path)
    if found.judge == "masks":
        crop = {"kind": "scaled_crop", "size": size.crop, "nominal": min(size.image), "flip": True}
        return {"source": "segmentation", "path": path, "shape": list(size.image), "augmentation": crop}
    if found.judge == "boxes":
        return {"source": "folder", "path": str(found.folder), "image_size": SEARCHED}
    side = size.image[0]
    data: Arguments = {"source": "folder", "path": path, "image_size": side}
    if len(found.parts) == 1:
        data["held_out"] = 0.2
    return data


def _evaluation(found: Found, size: Size, budget: _Budget) -> Arguments:
    """How one network is trained and measured."""
    if found.judge == "boxes":
        changes = {"epochs": budget.epochs, "validate_every": budget.epochs}
        return {
            "evaluator": "detection",
            "recipe": "retinanet_small",
            "data": str(found.path),
            "changes": changes,
            "found": 1,
        }
    batch = max(8, min(size.batch, budget.used // 10))
    training: Arguments = {
        "epochs": budget.epochs,
        "batch_size": batch,
        "learning_rate": 0.1 if batch >= 32 else 0.05,
        "weight_decay": 5.0e-4,
        "gradient_clip": 5.0,
    }
    evaluation: Arguments = {
        "evaluator": "stand_alone",
        "training": training,
        "objective": objective(found, budget.request),
        "validation": 0.0,
        "found": 1,
    }
    if budget.used < budget.train_images:
        evaluation["data"] = {**_data(found, size), "limit": budget.used}
    return evaluation
