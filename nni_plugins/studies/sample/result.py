"""From the trials of a sample study to its comparison. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import TableError
from nni_plugins.evaluators.reports.sample_study.measurements import Measurements

from ...experiment.plan import Plan
from ...experiment.settings import SampleStudyExperiment
from .report import Study, write


def measurements(settings: SampleStudyExperiment, plan: Plan) -> Measurements:
    """For every objective (n,) percent: the metric that ``settings.measure`` says, mean over the seeds; NaN where one
    of them is missing.

    The metric of ``settings.truth`` stands beside them as ``table METRIC``.
    """
    from ...experiment.result import truth_table

    space, jobs = settings.search_space, [job for job in plan.jobs.values() if job.phase == "sample"]
    drawn = {space.to_string(space.architecture(job.choices or {})): job.choices or {} for job in jobs}
    row = {name: i for i, name in enumerate(drawn)}
    sums = {name: np.zeros(len(drawn)) for name in settings.objectives}
    for job in jobs:
        value = job.value.get(settings.measure, np.nan) if job.status == "done" else np.nan
        sums[str(job.objective)][row[space.to_string(space.architecture(job.choices or {}))]] += value
    values = {name: total / len(settings.seeds) for name, total in sums.items()}
    table = truth_table(settings)
    if table is not None and settings.truth is not None:
        values[_truth_name(settings)] = np.array(
            [_known(table, space.architecture(choices), settings.truth.metric) for choices in drawn.values()]
        )
    return Measurements(tuple(drawn), values)


def _known(table: Any, architecture: Any, metric: str) -> float:
    try:
        return float(table.value(architecture, metric))
    except TableError:
        return float("nan")


def _truth_name(settings: SampleStudyExperiment) -> str:
    return f"table {settings.truth.metric}" if settings.truth is not None else ""


def study_of(settings: SampleStudyExperiment, plan: Plan) -> Study:
    """Every objective against the reference, and all of them against the table, where one is given."""
    from ...experiment.result import versions

    others = [name for name in settings.objectives if name != settings.reference]
    pairs, curves = (
        [(name, settings.reference) for name in others],
        [(name, settings.reference) for name in (*others, settings.reference)],
    )
    if settings.truth is not None:
        against = [(name, _truth_name(settings)) for name in (*others, settings.reference)]
        pairs, curves = [*pairs, *against], [*curves, *against]
    about = {
        "strategy": settings.strategy,
        "settings": settings.model_dump(mode="json"),
        "trainings": [
            {
                "job": job.name,
                "objective": job.objective,
                "seed": job.seed,
                "choices": job.choices,
                "status": job.status,
                **job.value,
            }
            for job in plan.jobs.values()
        ],
        "failed": [job.name for job in plan.jobs.values() if job.status == "failed"],
        "versions": versions(),
    }
    measure = "after the last epoch" if settings.measure == "last" else "of the best epoch"
    title = f"Sample study: {settings.random} architectures of {settings.search_space.name}, accuracies {measure}"
    analysis = settings.analysis
    return Study(
        title, measurements(settings, plan), pairs, curves, about, analysis.resamples, analysis.seed, analysis.pictures
    )


def write_study(settings: SampleStudyExperiment, plan: Plan, folder: Path) -> Path:
    """Write ``study.json`` and what goes with it into ``folder``; returns its path."""
    return write(study_of(settings, plan), folder)
