"""Published results of sample-based experiments: UnNAS' ``sweep_summary.json`` files (official ``figs/fig234.py`` and
``fig5.py``).

The folder has ``DATASET/TASK/RUN/sweep_summary.json``, or ``SPACE/DATASET/TASK/RUN/...``. A file has ``job_summaries``,
a list with ``job_id``, ``net.genotype`` and ``min_test_top1``: the least error over all epochs in percent, a number or
a list whose last one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.files import parse_json
from nni_plugins.evaluators.reports.sample_study.measurements import Measurements
from nni_plugins.evaluators.reports.sample_study.report import Figure, Study, write_study

from .comparison import STRATEGY
from .settings import AnalysisSettings

FILE = "sweep_summary.json"
REFERENCE = "cls"
"""The task with labels."""
Column = tuple[str, str]
"""(data set, task)."""


def read_summary(path: Path) -> dict[str, float]:
    """Architecture -> accuracy in percent (100 - ``min_test_top1``). An architecture is known by its genotype, or where
    it has none by ``job_id``.

    Raises:
        DataError: the file cannot be read, lacks something, or has an architecture twice.
    """
    try:
        content = parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.", "Check the path.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {str(error)[:100]}.", "Download it again.") from None
    jobs = content.get("job_summaries") if isinstance(content, dict) else None
    if not isinstance(jobs, list) or not jobs:
        raise DataError(f"{path}: 'job_summaries' must be a list of results.", f"Pass a folder of UnNAS' {FILE} files.")
    known: dict[str, float] = {}
    for number, job in enumerate(jobs):
        name, accuracy = _job(job, f"{path}: job_summaries[{number}]")
        if name in known:
            raise DataError(
                f"{path}: job_summaries[{number}] has an architecture that stands there already.",
                "Keep one result of each.",
            )
        known[name] = accuracy
    return known


def _job(job: Any, where: str) -> tuple[str, float]:
    if not isinstance(job, dict):
        raise DataError(f"{where} must be an object, but is {type(job).__name__}.")
    net = job.get("net")
    genotype = net.get("genotype") if isinstance(net, dict) else None
    if not genotype and "job_id" not in job:
        raise DataError(f"{where} has neither net.genotype nor job_id, so its architecture is unknown.")
    name = json.dumps(genotype, sort_keys=True) if genotype else str(job["job_id"])
    error = job.get("min_test_top1")
    error = error[-1] if isinstance(error, list) and error else error
    if isinstance(error, bool) or not isinstance(error, int | float) or not 0 <= error <= 100:
        raise DataError(
            f"{where}.min_test_top1 must be an error in percent, or a list that ends in one, but is "
            f"{str(error)[:60]!r}."
        )
    return name, 100.0 - float(error)


def read_summaries(folder: Path) -> dict[str, dict[Column, list[dict[str, float]]]]:
    """Space (``""`` where the folder is that of one) -> (data set, task) -> the accuracies of each run.

    Raises:
        DataError: no such file in the folder, or one lies elsewhere than the format has it.
    """
    files = sorted(folder.glob(f"**/{FILE}"))
    if not files:
        raise DataError(
            f"{folder} holds no {FILE}.",
            "Pass the folder that has DATASET/TASK/RUN/ or SPACE/DATASET/TASK/RUN/ below it.",
        )
    spaces: dict[str, dict[Column, list[dict[str, float]]]] = {}
    for file in files:
        parts = file.relative_to(folder).parts[:-1]
        if len(parts) not in (3, 4):
            raise DataError(
                f"{file} lies {len(parts)} folders below {folder}.",
                "It must be DATASET/TASK/RUN/ or SPACE/DATASET/TASK/RUN/.",
            )
        space, (data, task) = parts[0] if len(parts) == 4 else "", parts[-3:-1]
        spaces.setdefault(space, {}).setdefault((data, task), []).append(read_summary(file))
    return spaces


def measurements(columns: dict[Column, list[dict[str, float]]]) -> Measurements:
    """Mean over the runs of each column; NaN for an architecture that is missing in one of them."""
    names = sorted({name for several in columns.values() for run in several for name in run})
    values = {
        _name(c): np.array([np.mean([run.get(n, np.nan) for run in several]) for n in names])
        for c, several in columns.items()
    }
    return Measurements(tuple(names), values)


def _name(column: Column) -> str:
    return "/".join(column)


def _figures(columns: Iterable[Column]) -> dict[str, Figure]:
    """Pretext tasks against the labels of their own data set, called after it (figures 2 and 3), and all tasks of one
    data set against the labels of another (figure 4, whose random experiments are figure 5).
    """
    known, figures = list(columns), dict[str, Figure]()
    sets = list(dict.fromkeys(data for data, _ in known))
    labelled = [data for data in sets if (data, REFERENCE) in known]
    for other in labelled:
        for data in (other, *(one for one in sets if one != other)):
            tasks = [_name(c) for c in known if c[0] == data and c != (other, REFERENCE)]
            if tasks:
                name = other if data == other else f"{data}_to_{other}"
                figures[re.sub(r"\W", "_", name)] = Figure(_name((other, REFERENCE)), tuple(tasks))
    return figures


def analyse(folder: Path, output: Path, settings: AnalysisSettings) -> dict[str, dict[str, Any]]:
    """Compare published results; returns for each space the content of its ``study.json``, which lies in
    ``output / SPACE``.

    Raises:
        DataError: nothing can be compared with: there is no task ``cls``, or no other one.
    """
    studies = {}
    for space, columns in read_summaries(folder).items():
        figures = _figures(columns)
        if not figures:
            names = ", ".join(map(_name, columns))
            raise DataError(
                f"{folder / space}: a comparison needs the task {REFERENCE!r} and another one, but there are: {names}."
            )
        about = {
            "strategy": STRATEGY,
            "summaries": {
                _name(column): {"runs": len(runs), "architectures": [len(run) for run in runs]}
                for column, runs in columns.items()
            },
            "failed": [],
        }
        title = f"Published sample study{f': {space}' if space else ''}, best accuracies over epochs"
        measured = measurements(columns)
        study = Study(title, measured, figures, about, settings.resamples, settings.seed)
        studies[space] = write_study(study, output / space)
    return studies
