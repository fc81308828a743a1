"""Weight sharing and the ranking of recurrent cells: every cell alone, and all of them together. Free of torch until it
runs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.evaluators.base import Report, lasting
from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.reports.sharing_study.cells import Cells
from nni_plugins.evaluators.reports.sharing_study.measures import Study
from nni_plugins.evaluators.reports.sharing_study.report import write_sharing_study
from nni_plugins.evaluators.text.corpus import read_corpus, text_files

from ...experiment.base import HARMLESS, Axes, Experiment, choice
from ...experiment.jobs import Job, Plan, Value
from ...experiment.result import versions
from .settings import SharingStudySettings

if TYPE_CHECKING:
    from .training import Trainings

ALONE, SHARED = "stand_alone", "shared"


class SharingStudyExperiment(Experiment):
    """``tuner.name: SharingStudy``. A job trains all cells with one seed: alone, or with what its ``variant``, a key of
    ``sharing``, says that they share.
    """

    name = "SharingStudy"
    about = "what weight sharing does to the ranking of recurrent cells"
    command = "sharing-study"
    settings_class = SharingStudySettings
    paths = ("text.path",)
    harmless = HARMLESS | {"analysis", "chunk"}
    keeps_weights = False
    settings: SharingStudySettings

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @property
    def phases(self) -> tuple[str, ...]:
        """The longest first, so that processes end at about the same time."""
        return (ALONE, SHARED)

    @cached_property
    def cells(self) -> Cells:
        """What is trained."""
        return self.settings.cells()

    def first_jobs(self) -> Iterable[Job]:
        """One for each seed alone, and for each seed of each key together."""
        for seed in self.settings.stand_alone_seeds:
            yield Job(f"{ALONE}-{seed}", ALONE, seed, variant=ALONE)
        for key in self.settings.sharing:
            for seed in self.settings.shared_seeds:
                yield Job(f"{key}-{seed}", SHARED, seed, variant=key)

    def is_essential(self, job: Job) -> bool:
        """Without the truth there is nothing to compare runs with."""
        return job.phase == ALONE

    @property
    def counted(self) -> str:
        """What the trials are."""
        return "stand-alone seeds, and sharing x its seeds"

    def identity(self, job: Job) -> dict[str, Any]:
        """The cells, the text by its settings and contents, and all that trains them."""
        settings, alone = self.settings, job.phase == ALONE
        training = settings.stand_alone if alone else settings.shared
        return {
            "text": settings.text.model_dump(mode="json"),
            "content": self._content,
            "space": settings.space("node" if alone else job.variant).config(),
            "cells": list(self.cells.names),
            "training": lasting(training.model_dump(mode="json")),
            "rank_every": None if alone else settings.rank_every,
            "seed": job.seed,
        }

    @cached_property
    def _content(self) -> dict[str, int]:
        """Checksum of each file of the text."""
        return {part: zlib.crc32(file.read_bytes()) for part, file in text_files(self.settings.text)[1].items()}

    # -- work ----------------------------------------------------------------------------------------------------------
    def check(self) -> None:
        """The text is there."""
        text_files(self.settings.text)

    def prepare(self) -> None:
        """The text is read, and must be long enough."""
        _ = self._trainings

    @cached_property
    def _trainings(self) -> Trainings:
        from .training import Trainings

        return Trainings(self.settings)

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """Train; ``default`` is the mean validation perplexity of the cells."""
        if job.phase == ALONE:
            alone = self._trainings.stand_alone(job.seed, folder, report)
            return {"default": float(np.mean(alone["valid"])), "result": alone}
        together = self._trainings.shared(job.variant, job.seed, folder, report)
        return {"default": float(np.mean(together["perplexities"])), "result": together}

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``study.json``, ``cells.csv``, ``runs.csv`` and the report."""
        results = {(job.variant, job.seed): job.value["result"] for job in plan.jobs.values() if job.status == "done"}
        failed = [job.name for job in plan.jobs.values() if job.status == "failed"]
        settings = self.settings
        alone = [results[ALONE, seed] for seed in settings.stand_alone_seeds if (ALONE, seed) in results]
        seeds = [seed for seed in settings.shared_seeds if all((key, seed) in results for key in settings.sharing)]
        if not alone or not seeds:
            raise TrainingError(
                "there is nothing to compare: no training of the cells alone, or no seed of the runs, has finished.",
                f"Run the study again; {', '.join(failed) or 'its trainings'} must finish.",
            )
        runs: dict[str, list[dict[str, Any]]] = {
            key: [results[key, seed] for seed in seeds] for key in settings.sharing
        }
        study = Study(
            self.cells,
            np.array([one["valid"] for one in alone], dtype=np.float64).T,
            {key: np.array([run["perplexities"] for run in several]) for key, several in runs.items()},
            {key: np.array([run["curve"] for run in several]) for key, several in runs.items()},
            tuple(runs[settings.sharing[0]][0]["epochs"]),
            tuple(seeds),
        )
        about = {**self._about(alone, runs), "failed": failed, "versions": versions()}
        analysis = settings.analysis
        return write_sharing_study(study, folder, about, analysis.resamples, analysis.permutations, analysis.seed)

    def _about(self, alone: list[dict[str, Any]], runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        settings, space, corpus = self.settings, self.settings.space("node"), read_corpus(self.settings.text)
        what = f"{space.nodes} nodes of {space.hidden} units"
        if settings.study == "amount":
            what += ", of which one is searched"
        return {
            "title": f"Weight sharing and the ranking of recurrent cells: {what}, text {corpus.name}",
            "settings": settings.model_dump(mode="json"),
            "text": {
                "name": corpus.name,
                "words": len(corpus.words),
                "tokens": [len(corpus.train), len(corpus.valid), len(corpus.test)],
                "unknown": corpus.unknown_share("valid"),
            },
            "stand_alone": {name: [one[name] for one in alone] for name in ("test", "best_epoch", "averaged_from")},
            "shared_losses": {
                key: [[row["loss"] for row in run["history"]] for run in several] for key, several in runs.items()
            },
        }

    # -- what people see -----------------------------------------------------------------------------------------------
    @property
    def optimize_mode(self) -> str:
        """Of perplexities."""
        return "minimize"

    def axes(self) -> Axes:
        """One for how cells are trained, and one for the seed."""
        settings = self.settings
        seeds = sorted({*settings.stand_alone_seeds, *settings.shared_seeds})
        return {"training": choice([ALONE, *settings.sharing]), "seed": choice(map(str, seeds))}

    def parameters(self, job: Job) -> dict[str, Any]:
        """The job's place on them."""
        return {"training": job.variant, "seed": str(job.seed)}

    def curve_file(self, job: Job) -> str | None:
        """Cells that are trained alone keep a curve each, which is no curve of the job."""
        return None if job.phase == ALONE else "cycle-0/metrics.jsonl"

    def outcome(self, job: Job) -> str:
        """A perplexity."""
        return f"mean perplexity {job.value['default']:.2f}"
