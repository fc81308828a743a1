"""SETN: weights learn on architectures drawn uniformly, the architecture on the whole mixture (Dong & Yang, ICCV 2019).

At the end the most probable architectures are evaluated with the shared weights, and the one that evaluates best is
taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.data.split import halves
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.mixed import UniformSupernet

from ..limits import Limits
from ..one_shot_ranking import OneShotScore, check_objective
from ..random.settings import check_candidates
from ..ranking import Ranked
from .evaluators import DifferentiableTraining
from .sampled_settings import SETNSettings, SETNTraining, check_training
from .search import DifferentiableResult, Mixture, SearchedSupernet, train
from .settings import check_space
from .strategies import Differentiable


class SearchedUniform(UniformSupernet, SearchedSupernet):
    """It also counts skip connections for the curve."""


def initialise(space: SearchSpace, settings: SETNSettings, seed: int) -> SearchedUniform:
    """SETN's supernet of ``space``; initial weights and architecture parameters are those of a mixed supernet of the
    same seed.

    Raises:
        ConfigError: it cannot be mixed so.
    """
    check_space(space, settings)
    with torch_fork(seed, "initialisation"):
        return SearchedUniform(space, settings.options)


@dataclass(frozen=True)
class SETNResult(DifferentiableResult):
    """``ranked``: the best candidates by their one-shot accuracy in percent, best first. ``candidates``: all of them
    with their log-probabilities, most probable first, and ``accuracies: (n,)`` in the same order. ``score`` evaluates
    others."""

    candidates: list[Ranked]
    accuracies: npt.NDArray[np.float64]
    score: OneShotScore


def one_shot_score(
    supernet: SearchedUniform,
    images: ImageSet,
    objective: Objective,
    settings: SETNSettings,
    training: BilevelSettings,
    seed: int,
) -> OneShotScore:
    """Of a trained supernet, on images of the architecture's half, which the weights have not seen."""
    held_out = images.subset(halves(len(images), training, seed)[1], f"{images.name}, the architecture's half")
    return OneShotScore(supernet, held_out, objective, settings, images.statistics(), seed)


def search(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: SETNSettings,
    training: BilevelSettings,
    seed: int,
    top_k: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> SETNResult:
    """One search: the ``settings.candidates`` most probable architectures within ``limits``, those with the best
    one-shot accuracy first.

    Equally accurate ones stay in the order of their probability.

    Raises: as :func:`nni_plugins.strategies.differentiable.search.search`, and ConfigError for random labels, second
    order or torch.compile.
    """
    check_training("SETN", training)
    check_objective("SETN", objective)
    check_candidates(settings.candidates, top_k, "top_k")
    supernet = initialise(fitted(space, objective, images), settings, seed)
    trained = train(supernet, images, objective, training, seed, folder=folder, report=report)
    mixture = Mixture.of(supernet)
    candidates = mixture.best(supernet.search_space, settings.candidates, limits)
    score = one_shot_score(supernet, images, objective, settings, training, seed)
    accuracies = score(supernet.search_space.encode([candidate.architecture for candidate in candidates]))
    order = np.argsort(-accuracies, kind="stable")[:top_k]
    ranked = [Ranked(candidates[i].architecture, float(accuracies[i])) for i in order]
    return SETNResult(ranked, mixture, trained, candidates, accuracies, score)


class SETN(Differentiable):
    """SETN as an NNI strategy: ``NasExperiment(space.supernet(), evaluator, SETN()).run()``, on darts, robustdarts and
    nasbench201.

    ``evaluator`` is as for :class:`nni_plugins.strategies.DARTS`; without settings of its own it trains 250 epochs as
    AutoDL-Projects does on NAS-Bench-201. Several architectures can be exported, the one with the best one-shot
    accuracy first.

    Args:
        settings: of the supernet and of the evaluation; None: the paper's.
        top_k: how many architectures are kept.
        seed: used with NNI's ``Classification``; a ``DifferentiableTraining`` brings its own.
        limits: what every candidate meets.
    """

    training_defaults = SETNTraining()

    def __init__(
        self,
        settings: SETNSettings | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(None, top_k, seed, limits=limits)
        self.settings: SETNSettings = settings or SETNSettings()
        check_candidates(self.settings.candidates, top_k, "top_k")

    def _training(self, evaluator: Evaluator | None) -> DifferentiableTraining:
        training = super()._training(evaluator)
        assert training.settings is not None
        check_training("SETN", training.settings)
        check_objective("SETN", training.objective)
        return training

    def _run(self) -> None:
        t: Any = self.training
        assert self.space is not None
        self.result = search(
            self.space,
            t.images,
            t.objective,
            self.settings,
            t.settings,
            t.seed,
            self.top_k,
            folder=t.folder,
            report=t.report,
            limits=self.limits,
        )
