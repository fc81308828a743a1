"""Random search with weight sharing: a supernet trained on random architectures ranks random architectures (Li &
Talwalkar, UAI 2019).

As AutoDL-Projects runs it on NAS-Bench-201: one part of the images trains the shared weights, the other evaluates the
candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator
from torch import nn

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective, check_fitted
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.supernets import shared_images
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import Trained
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.supernet import Supernet

from ..drawing import draw_distinct
from ..limits import Limits
from ..one_shot_ranking import OneShotScore, check_objective
from ..ranking import Ranked, best
from ..single_path import SinglePathStrategy, training_of
from .settings import RandomNASSettings, RandomNASTraining, check_candidates


@dataclass(frozen=True)
class RandomNASResult:
    """``ranked``: best first, scores are one-shot accuracies in percent. ``indices: (n, D)`` and ``accuracies: (n,)``:
    all candidates, in the order of their draw; ``score`` evaluates others."""

    ranked: list[Ranked]
    indices: Indices
    accuracies: npt.NDArray[np.float64]
    trained: Trained
    score: OneShotScore


def parts(
    images: ImageSet, settings: RandomNASSettings, seed: int, objective: Objective | None = None
) -> tuple[ImageSet, ImageSet]:
    """The images that train the shared weights, and those that evaluate the candidates.

    Raises:
        ConfigError: one of them has fewer than two.
    """
    return shared_images.parts(images, settings.portion, settings.shuffle_split, seed, objective)


def one_shot_score(
    supernet: nn.Module, images: ImageSet, objective: Objective, settings: RandomNASSettings, seed: int
) -> OneShotScore:
    """Of a trained supernet; ``images`` are all of them, of which it has seen one part."""
    training, held_out = parts(images, settings, seed, objective)
    return OneShotScore(supernet, held_out, objective, settings, training.statistics(), seed)


def search(
    supernet: nn.Module,
    training: SupernetTraining,
    settings: RandomNASSettings,
    top_k: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> RandomNASResult:
    """Train ``supernet`` on one part of ``training.images`` and rank random architectures within ``limits`` by their
    accuracy on the other.

    Raises:
        ConfigError: random labels, more results than candidates, too few images, a supernet for another objective, or
            nothing within the limits.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.supernets.training.SupernetTraining`.
    """
    space = cast(Supernet, supernet).search_space
    check_objective("RandomNAS", training.objective)
    check_candidates(settings.candidates, top_k, "top_k")
    check_fitted(space, training.objective, training.images)
    of_weights, _ = parts(training.images, settings, training.seed, training.objective)
    part = SupernetTraining(
        of_weights,
        training.objective,
        training.settings,
        seed=training.seed,
        folder=training.folder,
        report=training.report,
    )
    trained = part.evaluate(supernet)
    score = one_shot_score(supernet, training.images, training.objective, settings, training.seed)
    indices = draw_distinct(space, settings.candidates, generator(training.seed, "candidates"), limits)
    accuracies = score(indices)
    return RandomNASResult(best(space, indices, accuracies, top_k), indices, accuracies, trained, score)


class RandomNAS(SinglePathStrategy):
    """``NasExperiment(space.supernet(), evaluator, RandomNAS()).run()``, on every space of image networks.

    ``evaluator`` is a :class:`nni_plugins.evaluators.SupernetTraining`, all of whose images are given, with an
    objective that can be evaluated on held-out images; or NNI's own ``Classification``: its training images train the
    weights, its validation images evaluate (without them the training images are halved), and batch size, epochs,
    learning rate and weight decay are taken over.

    Args:
        settings: how candidates are drawn and evaluated.
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        reinitialise: draw the supernet's initial weights from the seed; False keeps those that it comes with.
        limits: what every candidate meets.
    """

    method: ClassVar[str] = "RandomNAS"

    def __init__(
        self,
        settings: RandomNASSettings | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        reinitialise: bool = True,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(top_k, seed, limits)
        self.settings, self.reinitialise = settings or RandomNASSettings(), reinitialise
        check_candidates(self.settings.candidates, top_k, "top_k")
        self.result: RandomNASResult | None = None

    def _take(self, evaluator: Evaluator | None) -> SupernetTraining:
        training, self.used = training_of(evaluator, self.method, self.settings, RandomNASTraining(), self.seed)
        return training

    def _run(self) -> None:
        supernet = self.supernet
        if self.reinitialise:
            with torch_fork(self.training.seed, "initialisation"):
                fresh = cast(nn.Module, cast(Supernet, supernet).fresh())
            supernet.load_state_dict(fresh.state_dict())
        self.result = search(supernet, self.training, self.used, self.top_k, self.limits)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked
