"""``result.json``: what an experiment found, beside random architectures. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.statistics.ranking import kendall_tau, true_ranks
from nni_plugins.evaluators.tables.table import Table, digits_table, read_table
from nni_plugins.evaluators.versions import versions as of
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace

from .follow_up_settings import METRICS as FOLLOW_UP_METRICS
from .plan import Job, Plan
from .scores import ANGLE
from .settings import SampleStudyExperiment, SearchExperiment, StudySettings

SCHEMA_VERSION = 1


def truth_table(settings: StudySettings) -> Table | None:
    """The table that ``settings.truth`` names, or None.

    Raises:
        TableError: it cannot be read, or lacks the metric.
        ConfigError: it is of another space.
    """
    if settings.truth is None:
        return None
    name, space = settings.truth.table, settings.search_space
    table = digits_table() if name == "digits" else read_table(Path(name).expanduser(), space)
    if (table.space.name, table.space.decisions) != (space.name, space.decisions):
        raise ConfigError(
            f"truth.table: {table.name} is of {table.space!r}, but the experiment searches {space!r}.",
            "Leave truth out.",
        )
    table.metric(settings.truth.metric)
    return table


def versions() -> dict[str, str]:
    """Of what a result depends on."""
    return of("nni-plugins", "nni", "torch", "pytorch-lightning", "numpy")


def summary(settings: StudySettings, plan: Plan) -> dict[str, Any]:
    """The content of ``result.json``: one entry an architecture, found and random ones together, best ``metric`` first,
    then largest score.

    ``metric``: which key of an entry says how good the trained network is: ``accuracy``, or for segmentation ``miou``,
    beside which ``accuracy`` is that of the pixels; both in percent.

    ``score``: what ``score_name`` says, the angle in radians (which RLNAS also calls ``angle``) or a log-probability;
    ``accuracy`` and ``true_accuracy``: percent; ``true_rank``: 1 is best, of ``architectures_in_table``; ``status``:
    ``listed`` is what a search found with ``stand_alone: null``, so that nothing was trained. ``kendall_tau``: tau-b of
    score against accuracy over the architectures trained here (``trained``), and over the whole table (``table``).
    """
    space, table = settings.search_space, truth_table(settings)
    searches = [job for job in plan.jobs.values() if job.phase == "search"]
    random = iter(searches[0].value.get("result", {}).get("random", []) if searches else [])
    searched: dict[str, Any] = next((search.value["result"] for search in searches if "result" in search.value), {})
    size = searched.get("image_size")
    sized = _headed(space, searched.get("head"))
    rows = []
    for job in plan.jobs.values():
        if job.phase in ("search", "follow_up"):
            continue
        score = job.score if job.phase == "found" else next(random, None)
        rows.append(_row(sized, table, settings, job, score, size))
    metric = settings.metric
    rows.sort(key=lambda row: (-_or(row[metric], -1), -_or(row["score"], -np.inf), row["job"]))
    scored = [(row["score"], row[metric]) for row in rows if row["score"] is not None and row[metric] is not None]
    tau = kendall_tau(*zip(*scored, strict=True)) if len(scored) > 1 else None
    return {
        "schema": SCHEMA_VERSION,
        "strategy": settings.strategy,
        "settings": settings.model_dump(mode="json"),
        "searches": [{"seed": job.seed, "status": job.status, **job.value} for job in searches],
        "architectures": rows,
        "follow_ups": follow_ups(settings, plan),
        "metric": metric,
        **{
            f"mean_{name}": {
                source: _mean([r[name] for r in rows if r["source"] == source]) for source in ("found", "random")
            }
            for name in dict.fromkeys(("accuracy", metric))
        },
        "kendall_tau": {"trained": _finite(tau), "table": [job.value.get("tau") for job in searches]},
        "architectures_in_table": None if table is None else len(table.architectures),
        "failed": [job.name for job in plan.jobs.values() if job.status == "failed"],
        "versions": versions(),
    }


def follow_ups(settings: StudySettings, plan: Plan) -> dict[str, Any]:
    """By the name of each follow-up: ``task``, ``metric`` (a key of the rows' ``measured``) and ``rows``, best first;
    empty without any.
    """
    if not isinstance(settings, SearchExperiment):
        return {}
    entries: dict[str, Any] = {}
    for name, follow in settings.follow_ups.items():
        jobs = [job for job in plan.jobs.values() if job.follow_up == name]
        rows: list[dict[str, Any]] = [
            {
                "job": job.name,
                "source": job.of,
                "seed": job.seed,
                "architecture": settings.search_space.to_string(settings.search_space.architecture(job.choices or {})),
                "choices": job.choices,
                "score": job.score,
                "measured": {key: value for key, value in job.value.items() if key != "default"},
                "value": job.value.get("default"),
                "status": job.status,
            }
            for job in jobs
        ]
        rows.sort(key=lambda row: (-_or(row["value"], -1), row["job"]))
        entries[name] = {
            "task": follow.task,
            "metric": FOLLOW_UP_METRICS[follow.task],
            "recipe": follow.recipe,
            "data": follow.data,
            "rows": rows,
        }
    return entries


def _headed(space: SearchSpace, head: list[Any] | None) -> SearchSpace:
    """``space`` with the head whose parameters and multiply-adds are counted: that of the stand-alone networks, or of
    the search.
    """
    return space.with_head(*head) if head is not None and isinstance(space, ImageSpace) else space


def _row(
    space: SearchSpace,
    table: Table | None,
    settings: StudySettings,
    job: Job,
    score: float | None,
    size: list[int] | None,
) -> dict[str, Any]:
    architecture = space.architecture(job.choices or {})
    costs = {"parameters": job.value.get("parameters"), "macs": job.value.get("macs")}
    if size is not None:  # also of architectures that were not trained, or whose training failed
        counted = space.cost_table((size[0], size[1]))(space.encode([architecture]))
        costs = {"parameters": int(counted.parameters[0]), "macs": int(counted.macs[0])}
    known: dict[str, float | None] = {"true_accuracy": None, "true_rank": None}
    if table is not None and settings.truth is not None:
        known = judge(table, settings.truth.metric, architecture)
    return {
        "job": job.name,
        "source": job.phase,
        "seed": job.seed,
        "architecture": space.to_string(architecture),
        "choices": architecture.as_dict(),
        "score": score,
        "score_name": settings.score.name,
        **({"angle": score} if settings.score is ANGLE else {}),
        "accuracy": job.value.get("accuracy"),
        **({} if settings.metric == "accuracy" else {settings.metric: job.value.get(settings.metric)}),
        **known,
        **costs,
        "status": job.status,
    }


def judge(table: Table, metric: str, architecture: Architecture) -> dict[str, float | None]:
    """``true_accuracy`` and ``true_rank`` of an architecture in a table, None where it has none."""
    values = table.metric(metric)
    try:
        value = table.value(architecture, metric)
    except TableError:
        return {"true_accuracy": None, "true_rank": None}
    return {"true_accuracy": value, "true_rank": float(true_ranks(values)[np.flatnonzero(values == value)[0]])}


def _or(value: float | None, absent: float) -> float:
    return absent if value is None else value


def _mean(values: list[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def write_result(settings: StudySettings, plan: Plan, folder: Path) -> Path:
    """Write ``result.json`` (``study.json`` of a sample study) into ``folder`` and return its path."""
    if isinstance(settings, SampleStudyExperiment):
        from ..studies.sample.result import write_study

        return write_study(settings, plan, folder)
    path = folder / "result.json"
    write_json(path, summary(settings, plan))
    return path
