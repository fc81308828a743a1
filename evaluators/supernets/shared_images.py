"""A single-path supernet that a search trains on architectures of its choice and evaluates on held-out images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.supernet import Supernet

from ..data import ImageSet
from ..data.split import check_classes, halves
from ..errors import ConfigError
from ..objectives import Objective, RandomLabels, check_fitted, fitted
from ..randomness import generator, torch_fork, torch_seed
from ..training import Training
from ..training.checkpoint import State
from ..training.loop import Report, steps
from ..training.paths import DropPath
from ..training.settings import BilevelSettings, SupernetSettings
from .one_shot import Statistics, one_shot_accuracy
from .shared_weights import Companion, Cycle, Draw


def parts(
    images: ImageSet, portion: float, shuffle: bool, seed: int, objective: Objective | None = None
) -> tuple[ImageSet, ImageSet]:
    """The images that train the shared weights, a share of ``portion``, and those that evaluate architectures.

    Args:
        shuffle: draw them by ``seed``; otherwise the first images train the weights.
        objective: where it learns classes, both parts must have all of them.

    Raises:
        ConfigError: one of them has fewer than two, or lacks a class.
    """
    training, held_out = halves(len(images), BilevelSettings(portion=portion, shuffle_split=shuffle), seed)
    if min(len(training), len(held_out)) < 2:
        raise ConfigError(
            f"{images.name}: portion={portion} splits {len(images)} images into {len(training)} for the weights and {len(held_out)} for "
            "the evaluation, but each part needs at least 2.",
            "Use more images, or a portion nearer to 0.5.",
        )
    if objective is not None:
        check_classes(images, objective, (training, held_out))
    return images.subset(training, f"{images.name}, the weights' part"), images.subset(
        held_out, f"{images.name}, held out"
    )


class SharedImages:
    """:class:`nni_plugins.evaluators.supernets.shared_weights.SharedWeights` of a space of image networks.

    Every cycle's checkpoints and curve are in ``folder/cycle-<number>``; a finished cycle is loaded from there with its
    weights and momentum.

    Args:
        space: of image networks; its head becomes the one that ``objective`` needs.
        images: one part of them trains the weights, the other evaluates.
        objective: one that can be evaluated on images which it was not trained on.
        settings: of the training; ``epochs`` is read from each cycle instead, and every step's path is the same in all
            cells.
        portion, shuffle_split: how the images are divided; see :func:`parts`.
        evaluation_images: how many held-out images :meth:`scores` uses, a seeded draw, the same ones for all
            architectures; None: all.
        evaluation_batch, statistics: see :func:`nni_plugins.evaluators.supernets.one_shot.one_shot_accuracy`.
        drop_path: of the supernet in training; None: none.
        seed: of initial weights, the split, data order, augmentation, and the images that evaluate.
        folder: where the cycles' folders go; None keeps everything in memory.
        report: called with the row of every epoch.
        supernet: used in place of a new one; its space must end as the objective needs it, and its weights are
            replaced.

    Raises:
        ConfigError: random labels, too few images, a supernet that does not fit or cannot drop paths.
        DataError, LabelError: see :meth:`nni_plugins.evaluators.objectives.Objective.check`.
    """

    def __init__(
        self,
        space: SearchSpace,
        images: ImageSet,
        objective: Objective,
        settings: SupernetSettings,
        *,
        portion: float = 0.9,
        shuffle_split: bool = True,
        evaluation_images: int | None = 500,
        evaluation_batch: int = 500,
        statistics: Statistics = "batch",
        drop_path: DropPath | None = None,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
        supernet: nn.Module | None = None,
    ) -> None:
        if isinstance(objective, RandomLabels):
            raise ConfigError(
                "random labels of held-out images cannot be predicted, and shared weights are judged by that.",
                "Choose supervised, or a pretext task such as rotation.",
            )
        self.images, self.held_out = parts(images, portion, shuffle_split, seed, objective)
        self.objective, self.settings, self.drop_path, self.seed = objective, settings, drop_path, seed
        self.evaluation_images, self.evaluation_batch, self.statistics = evaluation_images, evaluation_batch, statistics
        self.folder, self.report = folder, report
        self.moments = self.images.statistics()
        self._space: SearchSpace = fitted(space, objective, images)
        if supernet is not None:
            check_fitted(cast(Supernet, supernet).search_space, objective, images)
            self._space = cast(Supernet, supernet).search_space
            self.supernet = supernet
        else:
            with torch_fork(seed, "initialisation", 0):
                self.supernet = self._space.supernet()
        if drop_path is not None:
            drop_path.check(self.supernet)
        self.trained_cycles = 0
        self._optimizer_state: State | None = None

    @property
    def space(self) -> SearchSpace:
        """With the head that the objective needs."""
        return self._space

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the weights' part."""
        return steps(len(self.images), self.settings)

    def initialise(self, number: int) -> None:
        """Fresh weights, a function of (seed, ``number``), and no momentum."""
        with torch_fork(self.seed, "initialisation", number):
            fresh = cast(nn.Module, cast(Supernet, self.supernet).fresh())
        self.supernet.load_state_dict(fresh.state_dict())
        self._optimizer_state = None

    def train(self, draw: Draw, cycle: Cycle, companion: Companion | None = None) -> list[dict[str, float]]:
        """Train through ``cycle``, or load it where it is finished on disk; returns its curve: rows of ``epoch`` (from
        1, through all cycles), ``loss``, ``accuracy`` and ``learning_rate``, and what ``companion`` adds.

        Raises:
            ConfigError: a cycle whose predecessor, the weights of which it goes on with, has not been trained.
            TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
        """
        if cycle.number == 0 or cycle.reset == "all":
            self.initialise(cycle.number)
        elif self.trained_cycles != cycle.number:
            raise ConfigError(
                f"cycle {cycle.number} goes on with the weights of cycle {cycle.number - 1}, but {self.trained_cycles} were trained."
            )
        training = Training(
            self.supernet,
            self.objective,
            self.images,
            self.settings,
            self.seed,
            folder=None if self.folder is None else self.folder / f"cycle-{cycle.number}",
            config=self._identity(draw, cycle, companion),
            paths=lambda epoch, count: self._paths(draw, epoch, count),
            update_all=self.settings.update == "all",
            drop_path=self.drop_path,
            cycle=cycle,
            optimizer_state=self._optimizer_state if cycle.reset in ("learning_rate", "none") else None,
            companion=companion,
            report=self.report,
        )
        history: list[dict[str, float]] = training.run().history
        self._optimizer_state, self.trained_cycles = training.optimizer_state(), cycle.number + 1
        return history

    def _paths(self, draw: Draw, epoch: int, count: int) -> npt.NDArray[np.int8]:
        rows = draw(epoch, count)
        return np.broadcast_to(rows[:, None], (count, self._space.repeats, rows.shape[1]))

    def _identity(self, draw: Draw, cycle: Cycle, companion: Companion | None) -> State:
        """What tells this cycle from others when it is resumed. The first epoch's draw stands for all that ``draw``
        follows from; a companion's changes with its state, which is not restored yet."""
        drawn = (
            {}
            if companion
            else {"draw": hashlib.sha256(draw(cycle.first_epoch, self.steps_per_epoch).tobytes()).hexdigest()}
        )
        return {"space": [self._space.name, self._space.config()], "images": self.images.identity(), **drawn}

    def scores(self, indices: Indices) -> npt.NDArray[np.float64]:
        """(n,): the objective's metric in percent of ``indices: (n, D)``, all on the same held-out images with the
        weights as they are.
        """
        return self._measured(indices, self.held_out, self.seed, self.evaluation_images, self.evaluation_batch)

    def reward(self, indices: Indices, step: int) -> npt.NDArray[np.float64]:
        """(n,) like :meth:`scores`, on the mini-batch of step ``step``: of the training's batch size, from a seeded
        order of all held-out images that is drawn anew when it is through."""
        size = min(self.settings.batch_size, len(self.held_out))
        turn, position = divmod(step, len(self.held_out) // size)
        index = generator(self.seed, "reward images", turn).permutation(len(self.held_out))[
            position * size : (position + 1) * size
        ]
        return self._measured(indices, self.held_out.subset(index), torch_seed(self.seed, "reward", step), None, size)

    def _measured(
        self, indices: Indices, images: ImageSet, seed: int, count: int | None, batch: int
    ) -> npt.NDArray[np.float64]:
        options: dict[str, Any] = {"count": count, "batch_size": batch, "moments": self.moments}
        return one_shot_accuracy(self.supernet, indices, images, self.objective, self.statistics, seed, **options)
