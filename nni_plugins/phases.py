"""What a trial does in each phase; the same functions serve ``nni-plugins search`` in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluators.data import ImageData, load
from evaluators.errors import ConfigError, LabelError
from evaluators.ranking import kendall_tau
from evaluators.stand_alone import StandAlone
from evaluators.supernets import SupernetTraining
from evaluators.training.loop import Report
from spaces.base import SearchSpace
from strategies.ranking import Ranked, best
from strategies.rlnas import SearchResult, initialise, search

from .objectives import build_objective
from .plan import random_architectures
from .result import truth_table
from .settings import RLNASExperiment, StudySettings


def use_threads(settings: StudySettings) -> None:
    """Apply ``settings.threads``."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def require_labels(images: ImageData) -> None:
    """Stand-alone trainings that follow a search must not fail after it.

    Raises:
        LabelError: they would, for want of labels.
    """
    try:
        labelled = images.test is not None and all(len(part.labels) for part in (images.train, images.test))
    except LabelError:
        labelled = False
    if not labelled:
        raise LabelError(
            f"{images.train.name}: these images have no labels, which the stand-alone trainings after the search need.",
            "Set tuner.classArgs.stand_alone to null (then what is found is listed, not trained), or put the images into one folder a class.",
        )


COUNTED = 100_000
"""In spaces of at most this many architectures those that meet the limits are counted before the training, otherwise only after it."""


def require_found(settings: RLNASExperiment, space: SearchSpace) -> None:
    """The search must be able to find as many architectures as are wanted.

    Raises:
        ConfigError: it cannot.
    """
    if settings.search.evolution is None and space.size <= COUNTED:
        indices = space.enumerate()
        indices = indices[settings.search.limits.mask(space, indices)]
        _enough(settings, len(best(space, indices, np.zeros(len(indices)), settings.found)) if len(indices) else 0)


def _enough(settings: RLNASExperiment, distinct: int) -> None:
    if distinct < settings.found:
        raise ConfigError(
            f"found: {settings.found} architectures are wanted, but only {distinct} distinct ones meet the limits.",
            "Lower tuner.classArgs.found, or raise tuner.classArgs.search.limits.",
        )


def run_search(settings: RLNASExperiment, seed: int, folder: Path | None, report: Report | None) -> tuple[SearchResult, dict[str, Any]]:
    """One RLNAS search; returns it and what its trial reports: ``default`` (largest angle), ``loss``, ``tau``, ``result``.

    Whatever would make the experiment fail after the training is looked for before it.
    """
    objective = build_objective(settings.objective)
    data = load(settings.data)
    if settings.stand_alone is not None:
        require_labels(data)
    table, images = truth_table(settings), data.train
    require_found(settings, settings.search_space)
    space = settings.search_space.with_classes(objective.head(images).classes)
    supernet = initialise(space, seed)
    training = SupernetTraining(images, objective, settings.training, seed=seed, folder=folder, report=report)
    result = search(supernet, training, settings.search, settings.found)
    _enough(settings, len(result.ranked))
    angles, trained = result.table, result.trained
    random = random_architectures(settings)
    value: dict[str, Any] = {
        "default": result.ranked[0].score,
        "angle": result.ranked[0].score,
        "loss": trained.history[-1]["loss"],
        # One key for everything that is not a number: the portal draws an axis for each key.
        "result": {
            "found": [_found(ranked) for ranked in result.ranked],
            "random": angles(space.encode(random)).tolist() if random else [],
            "scored": len(result.angles),
            "image_size": list(images.size),
            "initial_sha256": trained.initial_sha256,
        },
    }
    if table is not None and settings.truth is not None:
        value["tau"] = kendall_tau(angles(space.encode(table.architectures)), table.metric(settings.truth.metric))
    return result, value


def _found(ranked: Ranked) -> dict[str, Any]:
    return {"choices": ranked.architecture.as_dict(), "angle": ranked.score}


def run_stand_alone(settings: StudySettings, choices: dict[str, str], folder: Path | None, report: Report | None) -> dict[str, Any]:
    """One stand-alone training; returns what its trial reports: ``default`` and ``accuracy`` (percent of the test images), costs, ``loss``."""
    space = settings.search_space
    architecture = space.architecture(choices)
    evaluator = StandAlone(load(settings.data), settings.stand_alone, space=space, seed=settings.stand_alone_seed, folder=folder, report=report)
    result = evaluator.train(architecture)
    costs = space.cost_table(evaluator.data.train.size)(space.encode([architecture]))
    return {
        "default": result.accuracy,
        "accuracy": result.accuracy,
        "loss": result.history[-1]["loss"],
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
    }
