"""How each experiment searches, and what its search trial reports beyond what all of them do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.differentiable.gdas import search as gdas
from nni_plugins.strategies.differentiable.search import DifferentiableResult
from nni_plugins.strategies.differentiable.search import search as differentiable
from nni_plugins.strategies.differentiable.setn import SETNResult
from nni_plugins.strategies.differentiable.setn import search as setn
from nni_plugins.strategies.enas.search import ENASResult
from nni_plugins.strategies.enas.search import search as enas
from nni_plugins.strategies.naov2.search import NAOV2Result
from nni_plugins.strategies.naov2.search import search as naov2
from nni_plugins.strategies.random.random_nas import RandomNASResult
from nni_plugins.strategies.random.random_nas import search as random_nas
from nni_plugins.strategies.rlnas.search import SearchResult, initialise, search

from .settings import (
    DifferentiableExperiment,
    ENASExperiment,
    GDASExperiment,
    NAOV2Experiment,
    RandomNASExperiment,
    RLNASExperiment,
    SearchExperiment,
    SETNExperiment,
)

Result = SearchResult | DifferentiableResult | RandomNASResult | NAOV2Result | ENASResult


@dataclass(frozen=True)
class Searched:
    """A search, whatever its method: ``score`` of index rows (n, D), and what its trial reports besides what all
    report.

    ``scorable``: which of (n, D) have trained weights, (n,) bool; None: all of them.
    """

    result: Result
    history: list[dict[str, float]]
    score: Callable[[Indices], npt.NDArray[np.float64]]
    numbers: dict[str, float]
    details: dict[str, Any]
    initial_sha256: str | None = None
    scorable: Callable[[Indices], npt.NDArray[np.bool_]] | None = None

    def scores(self, indices: Indices) -> list[float | None]:
        """Of ``indices: (n, D)``; None for those whose weights were never trained."""
        if not len(indices):
            return []
        known = np.ones(len(indices), dtype=bool) if self.scorable is None else self.scorable(indices)
        values = iter(self.score(indices[known]).tolist() if known.any() else [])
        return [next(values) if one else None for one in known]


def _rlnas(
    settings: RLNASExperiment,
    images: ImageSet,
    objective: Objective,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Searched:
    supernet = initialise(fitted(settings.search_space, objective, images), seed)
    training = SupernetTraining(images, objective, settings.training, seed=seed, folder=folder, report=report)
    result = search(supernet, training, settings.search, settings.found)
    return Searched(
        result, result.trained.history, result.table, {}, {"scored": len(result.angles)}, result.trained.initial_sha256
    )


def _differentiable(
    settings: DifferentiableExperiment,
    images: ImageSet,
    objective: Objective,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Searched:
    space = settings.search_space
    run: Any = {GDASExperiment: gdas, SETNExperiment: setn}.get(type(settings), differentiable)
    result = run(
        space, images, objective, settings.search, settings.training, seed, settings.found, folder=folder, report=report
    )
    score = result.score if isinstance(result, SETNResult) else partial(result.mixture.score, space)
    accuracy = result.supernet_accuracy
    details = {
        "operations": result.mixture.operations,
        "shares": result.mixture.shares,
        "genotypes": result.genotypes,
        "skips": result.skips,
    }
    if settings.training.hessian_every:
        details["eigenvalues"] = result.eigenvalues
        details["stopped_epoch"] = result.trained.stopped_epoch
        details["rollbacks"] = result.trained.rollbacks
    if isinstance(result, SETNResult):
        details["scored"] = len(result.candidates)
    numbers = {} if accuracy is None else {"supernet_accuracy": accuracy}
    return Searched(result, result.trained.history, score, numbers, details, result.trained.initial_sha256)


def _random_nas(
    settings: RandomNASExperiment,
    images: ImageSet,
    objective: Objective,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Searched:
    supernet = initialise(fitted(settings.search_space, objective, images), seed)
    training = SupernetTraining(images, objective, settings.training, seed=seed, folder=folder, report=report)
    result = random_nas(supernet, training, settings.search, settings.found)
    return Searched(
        result, result.trained.history, result.score, {}, {"scored": len(result.indices)}, result.trained.initial_sha256
    )


def _enas(
    settings: ENASExperiment,
    images: ImageSet,
    objective: Objective,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Searched:
    result = enas(
        settings.search_space,
        images,
        objective,
        settings.search,
        settings.training,
        seed,
        settings.found,
        folder=folder,
        report=report,
    )
    numbers: dict[str, float] = {
        key: result.history[-1][key] for key in ("reward", "entropy") if key in result.history[-1]
    }
    return Searched(result, result.history, result.score, numbers, {"scored": len(result.scores)})


def _naov2(
    settings: NAOV2Experiment,
    images: ImageSet,
    objective: Objective,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Searched:
    space = settings.search_space
    result = naov2(
        space, images, objective, settings.search, settings.training, seed, settings.found, folder=folder, report=report
    )
    pool = {space.canonical(a) for a in space.decode(result.pool.indices)}
    details = {
        "scored": len(result.pool.rows),
        "iterations": [{k: v for k, v in asdict(iteration).items() if k != "curve"} for iteration in result.iterations],
        "final": [{"choices": ranked.architecture.as_dict(), "accuracy": ranked.score} for ranked in result.final],
        "exhausted": result.exhausted,
    }

    def scorable(indices: Indices) -> npt.NDArray[np.bool_]:
        known: npt.NDArray[np.bool_] = np.array([space.canonical(a) in pool for a in space.decode(indices)], dtype=bool)
        return known

    return Searched(result, result.history, result.score, {}, details, scorable=scorable)


METHODS: dict[type[SearchExperiment], Callable[..., Searched]] = {
    RLNASExperiment: _rlnas,
    DifferentiableExperiment: _differentiable,
    RandomNASExperiment: _random_nas,
    ENASExperiment: _enas,
    NAOV2Experiment: _naov2,
}
"""How an experiment searches, by its class or the nearest one above it."""


def method(settings: SearchExperiment) -> Callable[..., Searched]:
    return next(METHODS[model] for model in type(settings).__mro__ if model in METHODS)
