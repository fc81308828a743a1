"""The trainings of a ranking study: architectures from scratch, and supernets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.data import ImageData, ImageSet, load
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.reports.rank_study.rows import Condition, Floats
from nni_plugins.evaluators.reports.rank_study.training import one_shot_scores
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.training.paths import DropPath
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.registry import build_space

from .draw import Drawn
from .settings import RankStudySettings


class Trainings:
    """Images and objectives of a study, all checked before anything is trained.

    Raises:
        ConfigError, DataError, LabelError: the settings do not fit the images.
    """

    def __init__(self, settings: RankStudySettings) -> None:
        self.settings = settings
        self.data = load(settings.data)
        self.objective, self.target = build_objective(settings.objective), build_objective(settings.target)
        self.space = fitted(settings.search_space, self.objective, self.data.train)
        self.images = self._ordered(self.data.train)
        self._shared(0, None, None)
        if settings.stand_alone is not None:
            _check_target(self.data, self.target)
            own = build_space({**settings.space, **settings.stand_alone.space})
            self.own_space = fitted(own, self.target, self.data.train)

    def _ordered(self, images: ImageSet) -> ImageSet:
        """In a seeded order, so that the last ones, which evaluate, are the same for all supernets."""
        if not self.settings.evaluation.shuffle_split:
            return images
        return images.subset(generator(self.settings.random_seed, "rank study images").permutation(len(images)))

    def _shared(self, seed: int, folder: Path | None, report: Report | None) -> SharedImages:
        s, e = self.settings.training, self.settings.evaluation
        return SharedImages(
            self.space,
            self.images,
            self.objective,
            s,
            portion=e.portion,
            shuffle_split=False,
            evaluation_images=e.evaluation_images,
            evaluation_batch=e.evaluation_batch,
            statistics=e.statistics,
            drop_path=DropPath(s.drop_path, s.drop_identity) if s.drop_path else None,
            seed=seed,
            folder=folder,
            report=report,
        )

    def truth(self, architecture: Architecture, seed: int, folder: Path | None, report: Report | None) -> float:
        """Percent of the objective's metric after training from scratch.

        Raises:
            TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
        """
        assert self.settings.stand_alone is not None
        evaluator = StandAlone(
            self.data,
            self.settings.stand_alone.training,
            space=self.own_space,
            seed=seed,
            folder=folder,
            report=report,
            objective=self.target,
        )
        return evaluator.train(architecture).metrics[self.target.metric]

    def supernet(
        self, condition: Condition, drawn: Drawn, folder: Path | None, report: Report | None
    ) -> tuple[Floats, list[dict[str, Any]]]:
        """One-shot scores in percent of the drawn architectures, (n,), and the curve of the supernet's training.

        Raises:
            TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
        """
        shared = self._shared(condition.seed, folder, report)
        shares = self._probabilities(drawn)
        scores, curve = one_shot_scores(shared, drawn.rows, condition.epochs, condition.schedule, shares)
        return scores, list(curve)

    def _probabilities(self, drawn: Drawn) -> npt.NDArray[np.float64] | None:
        """NAO-V2, equation 1."""
        if self.settings.sampling == "uniform":
            return None
        shares: npt.NDArray[np.float64] = drawn.parameters / drawn.parameters.sum()
        return shares


def _check_target(data: ImageData, target: Objective) -> None:
    if data.test is None:
        raise DataError(
            f"{data.train.name}: stand-alone training needs {'' if target.label_free else 'labelled '}test images.",
            "Add a test folder, or labels to split off a part, or set data.held_out: 0.2 for a pretext task; or give a table as truth.",
        )
    for images in (data.train, data.test):
        target.check(images)
