"""What a trial does in each phase; the same functions serve ``nni-plugins search`` in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators.data import ImageData, load
from nni_plugins.evaluators.errors import ConfigError, LabelError
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.strategies.ranking import Ranked, best

from .follow_ups import require_follow_ups
from .methods import Result, method
from .objectives import build_objective
from .plan import random_architectures
from .result import truth_table
from .scores import ANGLE, Score
from .settings import RLNASExperiment, SearchExperiment, StudySettings


def use_threads(settings: StudySettings) -> None:
    """Apply ``settings.threads``."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def require_labels(images: ImageData, target: Objective) -> None:
    """Stand-alone trainings on ``target`` that follow a search must not fail after it.

    Raises:
        LabelError: they would, for want of labels.
        ConfigError, DataError: they would for another reason; see ``Objective.check``.
    """
    unless = "Set tuner.classArgs.stand_alone to null (then what is found is listed, not trained), or "
    try:
        for part in (images.train, images.test):
            if part is not None:
                target.check(part)
    except LabelError as error:
        raise LabelError(
            f"{error.problem.removesuffix('.')}, which the stand-alone trainings after the search need.",
            unless
            + (
                "add an image of labels for each image (docs/data.md)."
                if target.wants_maps
                else "put the images into one folder a class."
            ),
        ) from None
    if images.test is None:
        raise LabelError(
            f"{images.train.name}: there are no images that the stand-alone trainings after the search could be measured on.",
            unless + "add a test part with labels (docs/data.md).",
        )


COUNTED = 100_000
"""In spaces of at most this many architectures those that meet the limits are counted before the training, otherwise
only after it.
"""


def require_found(settings: SearchExperiment, space: SearchSpace) -> None:
    """The search must be able to find as many architectures as are wanted.

    Raises:
        ConfigError: it cannot.
    """
    if space.size > COUNTED or (isinstance(settings, RLNASExperiment) and settings.search.evolution is not None):
        return
    indices = space.enumerate()
    if isinstance(settings, RLNASExperiment):
        indices = indices[settings.search.limits.mask(space, indices)]
    _enough(settings, len(best(space, indices, np.zeros(len(indices)), settings.found)) if len(indices) else 0)


def _enough(settings: SearchExperiment, distinct: int) -> None:
    if distinct < settings.found:
        limited = isinstance(settings, RLNASExperiment)
        raise ConfigError(
            f"found: {settings.found} architectures are wanted, but only {distinct} distinct ones {'meet the limits' if limited else 'exist'}.",
            f"Lower tuner.classArgs.found{', or raise tuner.classArgs.search.limits' if limited else ''}.",
        )


def run_search(
    settings: SearchExperiment, seed: int, folder: Path | None, report: Report | None
) -> tuple[Result, dict[str, Any]]:
    """One search; returns it and what its trial reports: ``default`` (the largest score), the same by its name,
    ``loss``, ``tau``, ``result``.

    Whatever would make the experiment fail after the training is looked for before it.
    """
    objective = build_objective(settings.objective)
    data = load(settings.data)
    if settings.stand_alone is not None:
        require_labels(data, build_objective(settings.target))
    table, images = truth_table(settings), data.train
    require_found(settings, settings.search_space)
    require_follow_ups(settings)
    searched = method(settings)(settings, images, objective, seed, folder, report)
    result, space = searched.result, settings.search_space
    _enough(settings, len(result.ranked))
    random = random_architectures(settings)
    counted = fitted(space, objective if settings.stand_alone is None else build_objective(settings.target), images)
    value: dict[str, Any] = {
        "default": result.ranked[0].score,
        settings.score.key: result.ranked[0].score,
        "loss": searched.history[-1]["loss"],
        **searched.numbers,
        # One key for everything that is not a number: the portal draws an axis for each key.
        "result": {
            "found": [_found(ranked, settings.score) for ranked in result.ranked],
            "random": searched.scores(space.encode(random)),
            "image_size": list(images.input_size),
            **(
                {"head": [counted.head.config(), counted.classes, counted.input_channels]}
                if isinstance(counted, ImageSpace)
                else {}
            ),
            "initial_sha256": searched.initial_sha256,
            **searched.details,
        },
    }
    if table is not None and settings.truth is not None:
        scores = searched.scores(space.encode(table.architectures))
        known = [score is not None for score in scores]
        if sum(known) > 1:
            value["tau"] = kendall_tau([s for s in scores if s is not None], table.metric(settings.truth.metric)[known])
            value["result"]["scored_in_table"] = sum(known)
    return result, value


def _found(ranked: Ranked, score: Score) -> dict[str, Any]:
    """``angle`` besides ``score`` in RLNAS, as it was before there were other scores."""
    return {
        "choices": ranked.architecture.as_dict(),
        "score": ranked.score,
        **({"angle": ranked.score} if score is ANGLE else {}),
    }


def run_stand_alone(
    settings: StudySettings, choices: dict[str, str], folder: Path | None, report: Report | None
) -> dict[str, Any]:
    """One stand-alone training; returns what its trial reports: ``default`` (what the objective calls its metric,
    percent), ``accuracy`` (percent of the test images or pixels), for segmentation ``miou`` (percent), costs, and
    ``loss`` of the last epoch (nats).
    """
    target, data = build_objective(settings.target), load(settings.data)
    architecture = settings.search_space.architecture(choices)
    evaluator = StandAlone(
        data,
        settings.stand_alone,
        space=settings.search_space,
        seed=settings.stand_alone_seed,
        folder=folder,
        report=report,
        objective=target,
    )
    result = evaluator.train(architecture)
    space = fitted(settings.search_space, target, data.train)
    costs = space.cost_table(data.train.input_size)(space.encode([architecture]))
    measured = {name: number for name, number in result.metrics.items() if name != "loss"}
    return {
        "default": result.metrics[target.metric],
        **measured,
        "loss": result.history[-1]["loss"],
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
    }
