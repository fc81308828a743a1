"""GDAS: a mixed supernet that runs one operation of each edge, drawn anew at every step (Dong & Yang, CVPR 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni.nas.evaluator import Evaluator

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.mixed import GumbelSupernet

from ..limits import Limits
from .evaluators import DifferentiableTraining
from .sampled_settings import GDASSettings, SampledTraining, check_training
from .search import DifferentiableResult, Mixture, SearchedSupernet, train
from .settings import check_space
from .strategies import Differentiable


class SearchedGumbel(GumbelSupernet, SearchedSupernet):
    """It also counts skip connections for the curve."""


def initialise(space: SearchSpace, settings: GDASSettings, seed: int) -> SearchedGumbel:
    """GDAS' supernet of ``space``; initial weights and architecture parameters are those of a mixed supernet of the
    same seed.

    Raises:
        ConfigError: it cannot be mixed so.
    """
    check_space(space, settings)
    with torch_fork(seed, "initialisation"):
        return SearchedGumbel(space, settings.options)


def search(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: GDASSettings,
    training: BilevelSettings,
    seed: int,
    top_k: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> DifferentiableResult:
    """One search: the most probable operation of each edge, then the next most probable architectures. All of them meet
    ``limits``.

    Raises: as :func:`nni_plugins.strategies.differentiable.search.search`, and ConfigError for second order or
    torch.compile.
    """
    check_training("GDAS", training)
    supernet = initialise(fitted(space, objective, images), settings, seed)
    trained = train(supernet, images, objective, training, seed, folder=folder, report=report)
    mixture = Mixture.of(supernet)
    return DifferentiableResult(mixture.best(supernet.search_space, top_k, limits), mixture, trained)


class GDAS(Differentiable):
    """GDAS as an NNI strategy: ``NasExperiment(space.supernet(), evaluator, GDAS()).run()``, on darts, robustdarts and
    nasbench201.

    ``evaluator`` is as for :class:`nni_plugins.strategies.DARTS`; without settings of its own it trains 250 epochs as
    AutoDL-Projects does on NAS-Bench-201. Several architectures can be exported.

    Args:
        settings: of the supernet; None: the paper's.
        top_k: how many architectures are kept.
        seed: used with NNI's ``Classification``; a ``DifferentiableTraining`` brings its own.
        limits: what every found architecture meets.
    """

    training_defaults = SampledTraining()

    def __init__(
        self,
        settings: GDASSettings | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(None, top_k, seed, limits=limits)
        self.settings: GDASSettings = settings or GDASSettings()

    def _training(self, evaluator: Evaluator | None) -> DifferentiableTraining:
        training = super()._training(evaluator)
        assert training.settings is not None
        check_training("GDAS", training.settings)
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
