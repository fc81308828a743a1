"""From the trainings of a sample study to its comparison. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nni_plugins.evaluators.errors import TableError
from nni_plugins.evaluators.reports.sample_study.measurements import Measurements
from nni_plugins.evaluators.reports.sample_study.report import Figure, Study
from nni_plugins.evaluators.tables.table import Table
from nni_plugins.spaces.architecture import Architecture

from ...experiment.jobs import Plan
from ...experiment.result import versions
from ...experiment.truth import truth_table
from .settings import TABLE, SampleStudySettings

STRATEGY = "SampleStudy"
"""As ``study.json`` says it, and experiment files: ``tuner.name``."""


def measurements(settings: SampleStudySettings, drawn: Sequence[Architecture], plan: Plan) -> Measurements:
    """For every objective (n,) percent: the metric that ``settings.measure`` says, mean over the seeds; NaN where one
    of them is missing.

    The metric of ``settings.truth`` stands beside them as ``table METRIC``.
    """
    space, sums = settings.search_space, {name: np.zeros(len(drawn)) for name in settings.objectives}
    for job in plan.jobs.values():
        value = job.value[settings.measure] if job.status == "done" else np.nan
        sums[job.variant][job.rank - 1] += value
    values = {name: total / len(settings.seeds) for name, total in sums.items()}
    table = truth_table(settings.truth, space, settings.data)
    if table is not None and settings.truth is not None:
        metric = settings.truth.metric
        values[f"table {metric}"] = np.array([_known(table, architecture, metric) for architecture in drawn])
    return Measurements(tuple(space.to_string(architecture) for architecture in drawn), values)


def _known(table: Table, architecture: Architecture, metric: str) -> float:
    try:
        return float(table.value(architecture, metric))
    except TableError:
        return float("nan")


def study_of(settings: SampleStudySettings, drawn: Sequence[Architecture], plan: Plan) -> Study:
    """The figures of the settings; without any every objective against the reference, and all of them against the table,
    where one is given.
    """
    table = "" if settings.truth is None else f"table {settings.truth.metric}"
    figures = {
        name: Figure(table if one.truth == TABLE else one.truth, one.scores) for name, one in settings.figures.items()
    }
    if not figures:
        others = [name for name in settings.objectives if name != settings.reference]
        figures["accuracies"] = Figure(settings.reference, tuple(others))
        if table:
            figures[TABLE] = Figure(table, (*others, settings.reference))
    about = {
        "strategy": STRATEGY,
        "settings": settings.model_dump(mode="json"),
        "trainings": [
            {
                "job": job.name,
                "objective": job.variant,
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
    title = f"Sample study: {len(drawn)} architectures of {settings.search_space.name}, accuracies {measure}"
    analysis = settings.analysis
    return Study(title, measurements(settings, drawn, plan), figures, about, analysis.resamples, analysis.seed)
