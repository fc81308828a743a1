"""Random search with weight sharing: a supernet trained on random architectures ranks random architectures (Li & Talwalkar, UAI 2019).

As AutoDL-Projects runs it on NAS-Bench-201: one part of the images trains the shared weights, the other evaluates the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification
from nni.nas.space import RawFormatModelSpace
from torch import nn

from evaluators.data import ImageSet
from evaluators.errors import ConfigError
from evaluators.objectives import Objective, check_fitted
from evaluators.randomness import generator, torch_fork
from evaluators.settings import BilevelSettings, SupernetSettings, read
from evaluators.supernets import SupernetTraining
from evaluators.training import Trained
from evaluators.training.bilevel import halves
from spaces.base import Indices, SearchSpace
from spaces.supernet import Supernet

from .differentiable_evaluators import from_classification
from .nni_base import RankedStrategy
from .one_shot_ranking import OneShotScore, check_objective, draw_distinct
from .ranking import Ranked, best
from .sampling_settings import RandomNASSettings, RandomNASTraining, check_candidates


@dataclass(frozen=True)
class RandomNASResult:
    """``ranked``: best first, scores are one-shot accuracies in percent. ``indices: (n, D)`` and ``accuracies: (n,)``: all candidates, in the
    order of their draw; ``score`` evaluates others."""

    ranked: list[Ranked]
    indices: Indices
    accuracies: npt.NDArray[np.float64]
    trained: Trained
    score: OneShotScore


def parts(images: ImageSet, settings: RandomNASSettings, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images that train the shared weights, and those that evaluate the candidates.

    Raises:
        ConfigError: one of them has fewer than two.
    """
    split = BilevelSettings(portion=settings.portion, shuffle_split=settings.shuffle_split)
    training, held_out = halves(len(images), split, seed)
    if min(len(training), len(held_out)) < 2:
        raise ConfigError(
            f"{images.name}: portion={settings.portion} splits {len(images)} images into {len(training)} for the weights and {len(held_out)} for "
            "the evaluation, but each part needs at least 2.",
            "Use more images, or a portion nearer to 0.5.",
        )
    return images.subset(training, f"{images.name}, the weights' part"), images.subset(held_out, f"{images.name}, held out")


def one_shot_score(supernet: nn.Module, images: ImageSet, objective: Objective, settings: RandomNASSettings, seed: int) -> OneShotScore:
    """Of a trained supernet; ``images`` are all of them, of which it has seen one part."""
    training, held_out = parts(images, settings, seed)
    return OneShotScore(supernet, held_out, objective, settings, training.statistics(), seed)


def search(supernet: nn.Module, training: SupernetTraining, settings: RandomNASSettings, top_k: int) -> RandomNASResult:
    """Train ``supernet`` on one part of ``training.images`` and rank random architectures by their accuracy on the other.

    Raises:
        ConfigError: random labels, more results than candidates, too few images, or a supernet for another objective.
        TrainingError, CheckpointError: as :class:`evaluators.supernets.SupernetTraining`.
    """
    space = cast(Supernet, supernet).search_space
    check_objective("RandomNAS", training.objective)
    check_candidates(settings.candidates, top_k, "top_k")
    check_fitted(space, training.objective, training.images)
    of_weights, _ = parts(training.images, settings, training.seed)
    part = SupernetTraining(of_weights, training.objective, training.settings, seed=training.seed, folder=training.folder, report=training.report)
    trained = part.evaluate(supernet)
    score = one_shot_score(supernet, training.images, training.objective, settings, training.seed)
    indices = draw_distinct(space, settings.candidates, generator(training.seed, "candidates"))
    accuracies = score(indices)
    return RandomNASResult(best(space, indices, accuracies, top_k), indices, accuracies, trained, score)


class RandomNAS(RankedStrategy):
    """``NasExperiment(space.supernet(), evaluator, RandomNAS()).run()``, on every space of image networks.

    ``evaluator`` is a :class:`evaluators.SupernetTraining`, all of whose images are given, with an objective that can be evaluated on held-out
    images; or NNI's own ``Classification``: its training images train the weights, its validation images evaluate (without them the
    training images are halved), and batch size, epochs, learning rate and weight decay are taken over.

    Args:
        settings: how candidates are drawn and evaluated.
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        reinitialise: draw the supernet's initial weights from the seed; False keeps those that it comes with.
    """

    def __init__(self, settings: RandomNASSettings | None = None, *, top_k: int = 10, seed: int = 0, reinitialise: bool = True) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError(f"top_k >= 1 must hold, but got top_k={top_k}.")
        self.settings, self.top_k, self.seed = settings or RandomNASSettings(), top_k, seed
        check_candidates(self.settings.candidates, top_k, "top_k")
        self.reinitialise = reinitialise
        self.result: RandomNASResult | None = None

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        space = getattr(getattr(model_space, "model_space", None), "search_space", None)
        if not isinstance(model_space, RawFormatModelSpace) or not isinstance(space, SearchSpace):
            raise ConfigError(
                f"RandomNAS needs a supernet of this package, but got {type(getattr(model_space, 'model_space', model_space)).__name__}.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        self.training, self.used = self._training(model_space.evaluator)
        check_objective("RandomNAS", self.training.objective)
        check_fitted(space, self.training.objective, self.training.images)
        return model_space

    def _training(self, evaluator: Evaluator | None) -> tuple[SupernetTraining, RandomNASSettings]:
        """How the supernet is trained, and the settings with the split that ``evaluator`` asks for."""
        if isinstance(evaluator, SupernetTraining):
            return evaluator, self.settings
        if not isinstance(evaluator, Classification):
            raise ConfigError(
                f"RandomNAS trains with SupernetTraining or NNI's Classification, but got {type(evaluator).__name__}.",
                "Pass evaluators.SupernetTraining(images, Supervised(), strategies.RandomNASTraining()).",
            )
        defaults = RandomNASTraining()
        shared = set(BilevelSettings.model_fields) & set(RandomNASTraining.model_fields)
        bilevel = BilevelSettings(**defaults.model_dump(include=shared), portion=self.settings.portion)
        taken = from_classification(evaluator, "RandomNAS", bilevel, self.seed)
        assert taken.settings is not None
        values = {**defaults.model_dump(), **taken.settings.model_dump(include=shared)}
        given = evaluator.val_dataloaders is not None  # then the two parts are given, one behind the other
        split = {"portion": taken.settings.portion, "shuffle_split": self.settings.shuffle_split and not given}
        training = SupernetTraining(taken.images, taken.objective, read(SupernetSettings, values), seed=self.seed)
        return training, self.settings.model_copy(update=split)

    def _run(self) -> None:
        supernet = cast(nn.Module, self.model_space.model_space)
        if self.reinitialise:
            with torch_fork(self.training.seed, "initialisation"):
                fresh = cast(nn.Module, cast(Supernet, supernet).fresh())
            supernet.load_state_dict(fresh.state_dict())
        self.result = search(supernet, self.training, self.used, self.top_k)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked
