"""Running a ranking study in this process: truths, supernets, report. What is finished on disk is not repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.data import ImageData, ImageSet, load
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.objectives import Objective, fitted
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.reports.rank_study.rows import Condition, Floats, Sizes
from nni_plugins.evaluators.reports.rank_study.training import one_shot_scores
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.tables.table import Table
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.paths import DropPath
from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from ...experiment.objectives import build_objective
from ...experiment.phases import use_threads
from ...experiment.result import truth_table, versions
from ...experiment.settings import StudySettings, build_space
from .draw import Drawn, draw
from .report import Results, write
from .settings import RankStudySettings
from .store import once

Progress = Callable[[str, "dict[str, float] | None"], None]
"""Called with the name of a training and the row of the epoch that it has just finished, or None when the training
itself is finished.
"""


def rank_study(settings: RankStudySettings, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run or resume a study in ``folder``; returns the content of ``rank_study.json``.

    Raises:
        ConfigError, DataError, LabelError, TableError: the settings do not fit the images or the table; nothing was
            trained.
        ConfigChanged: ``folder`` holds trainings with other settings.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
    """
    use_threads(cast(StudySettings, settings))
    study = _Study(settings, folder, progress)
    truths = {sizes: study.truths(drawn) for sizes, drawn in study.drawn.items()}
    finished = {condition: study.supernet(condition) for condition in settings.conditions}
    scores = {condition: np.array(value["scores"], dtype=np.float64) for condition, value in finished.items()}
    curves = {condition: value["curve"] for condition, value in finished.items()}
    return write(Results(settings, study.drawn, truths, scores, curves), folder, versions())


class _Study:
    """Images, objectives and draws of a study, all checked before anything is trained."""

    def __init__(self, settings: RankStudySettings, folder: Path, progress: Progress | None) -> None:
        self.settings, self.folder, self.progress = settings, folder, progress
        self.table: Table | None = truth_table(cast(StudySettings, settings))
        self.data, self.objective, self.target = (
            load(settings.data),
            build_objective(settings.objective),
            build_objective(settings.target),
        )
        self.space = fitted(settings.search_space, self.objective, self.data.train)
        self.images = self._ordered(self.data.train)
        self.drawn: dict[Sizes, Drawn] = {
            sizes: draw(settings, sizes, self.data.train.input_size, self.table) for sizes in settings.sizes
        }
        self._shared(0, None, None)
        if settings.stand_alone is not None:
            _check_target(self.data, self.target)
            self.own_space: SearchSpace = fitted(
                build_space({**settings.space, **settings.stand_alone.space}), self.target, self.data.train
            )

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

    def _once(
        self, name: str, folder: Path, identity: dict[str, Any], work: Callable[[Path, Report], dict[str, Any]]
    ) -> dict[str, Any]:
        def report(row: dict[str, float]) -> None:
            if self.progress is not None:
                self.progress(name, row)

        value = once(folder, identity, lambda inner: work(inner, report))
        if self.progress is not None:
            self.progress(name, None)
        return value

    # -- truth ---------------------------------------------------------------------------------------------------------
    def truths(self, drawn: Drawn) -> list[Floats]:
        """(n,) percent: the table's, or for each seed that of stand-alone trainings."""
        settings = self.settings
        if self.table is not None:
            assert settings.truth is not None
            return [self.table.values(drawn.architectures, settings.truth.metric)]
        assert settings.stand_alone is not None
        return [
            np.array([self._stand_alone(a, seed) for a in drawn.architectures], dtype=np.float64)
            for seed in settings.stand_alone.seeds
        ]

    def _stand_alone(self, architecture: Architecture, seed: int) -> float:
        settings, own = self.settings, self.settings.stand_alone
        assert own is not None
        text = self.space.to_string(architecture)
        name = f"truth-{hashlib.sha256(text.encode()).hexdigest()[:12]}-{seed}"
        identity = {
            "architecture": text,
            "seed": seed,
            "space": {**settings.space, **own.space},
            "data": settings.data.model_dump(mode="json"),
            "objective": settings.target,
            "training": own.training.model_dump(mode="json", exclude=set(MAY_CHANGE)),
        }

        def work(folder: Path, report: Report) -> dict[str, Any]:
            evaluator = StandAlone(
                self.data,
                own.training,
                space=self.own_space,
                seed=seed,
                folder=folder,
                report=report,
                objective=self.target,
            )
            return {"metric": evaluator.train(architecture).metrics[self.target.metric]}

        return float(self._once(name, self.folder / "truth" / name.removeprefix("truth-"), identity, work)["metric"])

    # -- supernets -----------------------------------------------------------------------------------------------------
    def supernet(self, condition: Condition) -> dict[str, Any]:
        """``scores`` of the condition's architectures, in percent, and the training's ``curve``."""
        settings, drawn = self.settings, self.drawn[condition.sizes]
        identity = {
            "condition": [condition.sizes, condition.epochs, condition.schedule, condition.seed],
            "architectures": [self.space.to_string(a) for a in drawn.architectures],
            "sampling": settings.sampling,
            "space": settings.space,
            "data": settings.data.model_dump(mode="json"),
            "objective": settings.objective,
            "random_seed": settings.random_seed,
            "training": settings.training.model_dump(mode="json", exclude={*MAY_CHANGE, "epochs"}),
            "evaluation": settings.evaluation.model_dump(mode="json"),
        }

        def work(folder: Path, report: Report) -> dict[str, Any]:
            shared = self._shared(condition.seed, folder, report)
            scores, curve = one_shot_scores(
                shared, drawn.rows, condition.epochs, condition.schedule, self._probabilities(drawn)
            )
            return {"scores": scores.tolist(), "curve": curve}

        return self._once(condition.name, self.folder / "supernets" / condition.name, identity, work)

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
            "Add a test folder, or labels to split off a part; or give a table as truth.",
        )
    for images in (data.train, data.test):
        target.check(images)
