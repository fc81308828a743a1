"""Running a weight-sharing study: stand-alone trainings, runs with shared weights, report. What is finished on disk is
not repeated.

The trainings do not know of each other, so ``workers`` processes take one each; results do not depend on how many there
are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.reports.sharing_study.measures import Study
from nni_plugins.evaluators.reports.sharing_study.report import write
from nni_plugins.evaluators.reports.sharing_study.training import shared_run
from nni_plugins.evaluators.text.batched import check_texts, train_cells
from nni_plugins.evaluators.text.corpus import Corpus, read_corpus
from nni_plugins.evaluators.text.settings import TextSettings
from nni_plugins.evaluators.text.shared import SharedText
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import MAY_CHANGE

from ...experiment.result import versions
from ..rank.store import FINISHED, once
from .settings import SharingStudySettings

Progress = Callable[[str, "dict[str, float] | None"], None]
"""Called with the name of a training and the row of the epoch that it has just finished, or None when the training
itself is finished.
"""

ALONE = "stand-alone"


@dataclass(frozen=True)
class Task:
    """``kind``: :data:`ALONE`, all cells with one seed, or a sharing key, one run."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """For people, and the training's folder."""
        return f"{self.kind}/seed-{self.seed}"


def tasks_of(settings: SharingStudySettings) -> list[Task]:
    """The longest first, so that processes end at about the same time."""
    return [Task(ALONE, s) for s in settings.stand_alone_seeds] + [
        Task(key, s) for key in settings.sharing for s in settings.shared_seeds
    ]


def sharing_study(settings: SharingStudySettings, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run or resume a study in ``folder``; returns the content of ``study.json``. With several workers only finished
    trainings are reported.

    Raises:
        ConfigError, DataError: the settings do not fit the text; nothing was trained.
        ConfigChanged: ``folder`` holds trainings with other settings.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.text.loop.TextTraining`.
    """
    corpus = _corpus(settings.text.model_dump_json())
    check_texts(corpus, settings.stand_alone)
    SharedText(settings.space(settings.sharing[0]), corpus, settings.shared)  # refuses a text that is too short
    folder.mkdir(parents=True, exist_ok=True)
    values = {}
    for task, value in _worked(settings, folder, progress):
        values[task] = value
        if progress is not None:
            progress(task.name, None)
    return write(
        _study(settings, values),
        folder,
        _about(settings, corpus, values),
        pictures=settings.analysis.pictures,
        **_options(settings),
    )


def _options(settings: SharingStudySettings) -> dict[str, int]:
    return settings.analysis.model_dump(include={"resamples", "permutations", "seed"})


def _worked(
    settings: SharingStudySettings, folder: Path, progress: Progress | None
) -> Iterator[tuple[Task, dict[str, Any]]]:
    tasks, processes = tasks_of(settings), settings.workers
    at_once = [
        task for task in tasks if processes == 1 or (folder / task.name / FINISHED).exists()
    ]  # no process need start for those
    for task in at_once:
        yield task, _work(settings, task, folder, None if progress is None else _named(progress, task.name))
    tasks = [task for task in tasks if task not in at_once]
    if not tasks:
        return
    with ProcessPoolExecutor(min(processes, len(tasks)), multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_in_process, settings.model_dump_json(), task, folder): task for task in tasks}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool:
            raise TrainingError(
                "a process of the study was killed.", "If memory was short, lower workers or chunk; then run it again."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _named(progress: Progress, name: str) -> Report:
    return lambda row: progress(name, row)


def _in_process(dumped: str, task: Task, folder: Path) -> dict[str, Any]:
    return _work(SharingStudySettings.model_validate_json(dumped), task, folder, None)


@lru_cache(maxsize=1)
def _corpus(dumped: str) -> Corpus:
    return read_corpus(TextSettings.model_validate_json(dumped))


def _work(settings: SharingStudySettings, task: Task, folder: Path, report: Report | None) -> dict[str, Any]:
    """Train, or read what was trained: lists of plain numbers."""
    torch.set_num_threads(settings.threads)
    corpus, cells = _corpus(settings.text.model_dump_json()), settings.cells()
    space = settings.space("node" if task.kind == ALONE else task.kind)
    training = settings.stand_alone if task.kind == ALONE else settings.shared
    used = {
        "settings": training.model_dump(exclude=set(MAY_CHANGE)),
        "rank_every": None if task.kind == ALONE else settings.rank_every,
    }
    identity = {
        "text": corpus.identity(),
        "space": space.config(),
        "cells": list(cells.names),
        "seed": task.seed,
        **used,
    }

    def alone(place: Path) -> dict[str, Any]:
        found = train_cells(
            corpus,
            space.decode(cells.indices),
            space,
            settings.stand_alone,
            (task.seed,),
            folder=place,
            report=report,
            chunk=settings.chunk,
        )
        names = ("valid", "test", "best_epoch", "averaged_from")
        return {name: getattr(found, name)[:, 0].tolist() for name in names}

    def together(place: Path) -> dict[str, Any]:
        shared = SharedText(space, corpus, settings.shared, seed=task.seed, folder=place, report=report)
        found = shared_run(shared, cells.indices, every=settings.rank_every)
        return {
            "perplexities": found.perplexities.tolist(),
            "epochs": list(found.epochs),
            "curve": found.curve.tolist(),
            "history": found.history,
        }

    return once(folder / task.name, identity, alone if task.kind == ALONE else together)


# -- report ------------------------------------------------------------------------------------------------------------
def _study(settings: SharingStudySettings, values: dict[Task, dict[str, Any]]) -> Study:
    alone = np.array([values[Task(ALONE, s)]["valid"] for s in settings.stand_alone_seeds], dtype=np.float64).T
    runs: dict[str, list[dict[str, Any]]] = {
        key: [values[Task(key, s)] for s in settings.shared_seeds] for key in settings.sharing
    }
    shared = {key: np.array([run["perplexities"] for run in found], dtype=np.float64) for key, found in runs.items()}
    curves = {key: np.array([run["curve"] for run in found], dtype=np.float64) for key, found in runs.items()}
    epochs = tuple(runs[settings.sharing[0]][0]["epochs"])
    return Study(settings.cells(), alone, shared, curves, epochs, settings.shared_seeds)


def _about(settings: SharingStudySettings, corpus: Corpus, values: dict[Task, dict[str, Any]]) -> dict[str, Any]:
    space = settings.space("node")
    what = f"{space.nodes} nodes of {space.hidden} units" + (
        "" if settings.study == "whole" else ", of which one is searched"
    )
    alone = {
        name: [values[Task(ALONE, s)][name] for s in settings.stand_alone_seeds]
        for name in ("test", "best_epoch", "averaged_from")
    }
    text = {
        "words": len(corpus.words),
        "tokens": [len(corpus.train), len(corpus.valid), len(corpus.test)],
        "unknown": corpus.unknown_share("valid"),
    }
    losses = {
        key: [[row["loss"] for row in values[Task(key, s)]["history"]] for s in settings.shared_seeds]
        for key in settings.sharing
    }
    return {
        "title": f"Weight sharing and the ranking of recurrent cells: {what}, text {corpus.name}",
        "settings": settings.model_dump(mode="json"),
        "text": {"name": corpus.name, **text},
        "stand_alone": alone,
        "shared_losses": losses,
        "versions": versions(),
    }
