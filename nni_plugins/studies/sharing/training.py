"""The trainings of a weight-sharing study: all cells alone with one seed, and all cells together in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.reports.sharing_study.training import shared_run
from nni_plugins.evaluators.text.batched import train_cells
from nni_plugins.evaluators.text.corpus import read_corpus
from nni_plugins.evaluators.text.shared import SharedText
from nni_plugins.evaluators.text.streams import batchify
from nni_plugins.evaluators.text.training import check_held_out

from .settings import SharingStudySettings


class Trainings:
    """The text of a study, checked before anything is trained.

    Raises:
        ConfigError, DataError: the settings do not fit the text.
    """

    def __init__(self, settings: SharingStudySettings) -> None:
        self.settings, self.cells = settings, settings.cells()
        self.corpus = read_corpus(settings.text)
        name = f"{self.corpus.name}, training text"
        batchify(self.corpus.train, settings.stand_alone.batch_size, name)  # refuses a text that is too short
        check_held_out(self.corpus, settings.stand_alone)
        SharedText(settings.space(settings.sharing[0]), self.corpus, settings.shared)  # refuses one, too

    def stand_alone(self, seed: int, folder: Path | None, report: Report | None) -> dict[str, list[float]]:
        """Train every cell by itself: a number a cell by the names of
        :class:`nni_plugins.evaluators.text.batched.CellsResult`.

        Raises:
            TrainingError, CheckpointError: as :func:`nni_plugins.evaluators.text.batched.train_cells`.
        """
        settings, space = self.settings, self.settings.space("node")
        trained = train_cells(
            self.corpus,
            space.decode(self.cells.indices),
            space,
            settings.stand_alone,
            (seed,),
            folder=folder,
            report=report,
            chunk=settings.chunk,
        )
        names = ("valid", "test", "best_epoch", "averaged_from")
        return {name: getattr(trained, name)[:, 0].tolist() for name in names}

    def shared(self, sharing: str, seed: int, folder: Path | None, report: Report | None) -> dict[str, Any]:
        """Train all cells together; as lists what
        :class:`nni_plugins.evaluators.reports.sharing_study.training.SharedRun` has.

        Raises:
            TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.text.loop.TextTraining`.
        """
        settings = self.settings
        space = settings.space(sharing)
        weights = SharedText(space, self.corpus, settings.shared, seed=seed, folder=folder, report=report)
        run = shared_run(weights, self.cells.indices, every=settings.rank_every)
        return {
            "perplexities": run.perplexities.tolist(),
            "epochs": list(run.epochs),
            "curve": run.curve.tolist(),
            "history": run.history,
        }
