"""``result.json`` of an experiment with searches: what they found, beside random architectures and baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.files import write_csv, write_shareable
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.versions import versions as versions_of
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace

from .evaluations import Evaluations
from .jobs import Job, Plan
from .search_settings import SearchSettings
from .truth import judge, truth_table

SCHEMA_VERSION = 2
RESULT, TABLE = "result.json", "architectures.csv"
Row = dict[str, Any]


def versions() -> dict[str, str]:
    """Of what a result depends on."""
    return versions_of("nni-plugins", "nni", "torch", "pytorch-lightning", "numpy")


UNKNOWN: dict[str, Any] = {"true_accuracy": None, "true_rank": None, "true_values": {}}
"""Of an architecture that no table of truth knows."""
Choices = dict[str, str]


def write_result(
    settings: SearchSettings, evaluations: Evaluations, random: list[Choices], plan: Plan, folder: Path
) -> dict[str, Any]:
    """Write ``result.json``, ``architectures.csv`` and the report into ``folder``; returns the content of the first."""
    from .report import write_search_report

    value = summary(settings, evaluations, random, plan)
    write_shareable(folder / RESULT, value)
    write_csv(folder / TABLE, [_flat(row) for row in value["architectures"]])
    write_search_report(value, settings.search_space, folder / "report")
    return value


def summary(settings: SearchSettings, evaluations: Evaluations, random: list[Choices], plan: Plan) -> dict[str, Any]:
    """The content of ``result.json``; ``random``: the experiment's random architectures.

    ``architectures``: one entry a found, random or baseline architecture, the best by the first evaluation's validation
    first, then the largest score. Of an entry, ``source`` is ``found``, ``random`` or a baseline's name; ``score`` is in
    the unit of ``score``; ``evaluations`` has ``value``, ``validation`` (None: the evaluation holds nothing out),
    ``status``, ``job`` and ``metrics`` by the name of each evaluation;
    ``true_accuracy`` is in percent, ``true_values`` has the other metrics of the table by name, and ``true_rank`` 1 the best of ``architectures_in_table``.

    ``evaluations``: by name, ``metric``, ``unit``, ``larger_is_better``, ``validated`` (whether anything was held out),
    ``mean`` over found and over random ones, the ``baselines``' values, and ``kendall_tau``, tau-b of score against value
    over the architectures evaluated.
    """
    searches = plan.of_phase("search")
    rows = _rows(settings, evaluations, random, plan, searches)
    primary = next(iter(evaluations.evaluators.items()), None)
    rows.sort(key=lambda row: _place(row, primary))
    score = settings.strategy.score
    table = truth_table(settings.truth, settings.search_space, settings.data)
    return {
        "schema": SCHEMA_VERSION,
        "strategy": settings.strategy.name,
        "settings": settings.model_dump(mode="json"),
        "score": {"key": score.key, "name": score.name, "unit": score.unit},
        "searches": [{"seed": job.seed, "status": job.status, **job.value} for job in searches],
        "architectures": rows,
        "evaluations": {name: _evaluation(name, evaluator, rows) for name, evaluator in evaluations.evaluators.items()},
        "kendall_tau": [job.value.get("tau") for job in searches],
        "architectures_in_table": None if table is None else len(table.architectures),
        "failed": [job.name for job in plan.jobs.values() if job.status == "failed"],
        "versions": versions(),
    }


def _rows(
    settings: SearchSettings, evaluations: Evaluations, random: list[Choices], plan: Plan, searches: list[Job]
) -> list[Row]:
    """One for each architecture of each source; architectures that no evaluation took are listed too."""
    space, table = settings.search_space, truth_table(settings.truth, settings.search_space, settings.data)
    results = [search.value["result"] for search in searches if "result" in search.value]
    random_scores = results[0]["random"] if results else []
    counted = _costs(space, results[0] if results else {})
    keyed: dict[tuple[str, int, int], Row] = {}

    def row(
        source: str, seed: int, rank: int, choices: Mapping[str, str] | None, score: float | None, name: str
    ) -> None:
        entry: Row = {"source": source, "seed": seed, "rank": rank, "network": name or None}
        if choices is None:
            entry |= {"architecture": name, "choices": None, "score": None}
            entry |= {**UNKNOWN, "parameters": None, "macs": None}
        else:
            architecture = space.architecture(choices)
            entry |= {"architecture": space.to_string(architecture), "choices": architecture.as_dict(), "score": score}
            known = UNKNOWN
            if table is not None and settings.truth is not None:
                known = judge(table, settings.truth, architecture)
            entry |= {**known, **counted(choices)}
        keyed[source, seed, rank] = {**entry, "evaluations": {}}

    for search in searches:
        for rank, found in enumerate(search.value.get("result", {}).get("found", []), start=1):
            row("found", search.seed, rank, found["choices"], found["score"], "")
    for rank, choices in enumerate(random, start=1):
        score = random_scores[rank - 1] if rank <= len(random_scores) else None
        row("random", settings.random_seed, rank, choices, score, "")
    for job in evaluations.baseline_jobs():
        row(job.source, job.seed, job.rank, job.choices, None, job.network or "")
    for job in plan.jobs.values():
        if job.phase == "search":
            continue
        entry = keyed[job.source, job.seed, job.rank]
        value, result = job.value, job.value.get("result", {})
        metrics = {key: number for key, number in value.items() if key not in ("default", "result")}
        entry["evaluations"][job.phase] = {
            "job": job.name,
            "status": job.status,
            "value": result.get("value"),
            "validation": result.get("validation"),
            "metrics": metrics,
            "reused": bool(result.get("reused", False)),
        }
        for key in ("parameters", "macs"):
            entry[key] = entry[key] if entry[key] is not None else _whole(value.get(key))
    return list(keyed.values())


def _costs(space: SearchSpace, searched: Mapping[str, Any]) -> Any:
    """Choices -> parameters and multiply-adds, with the head and the image size of the first search."""
    head, size = searched.get("head"), searched.get("image_size")
    sized = space.with_head(*head) if head is not None and isinstance(space, ImageSpace) else space
    if size is None:
        return lambda choices: {"parameters": None, "macs": None}
    table = sized.cost_table((size[0], size[1]))

    def costs(choices: Mapping[str, str]) -> dict[str, int]:
        counted = table(space.encode([space.architecture(choices)]))
        return {"parameters": int(counted.parameters[0]), "macs": int(counted.macs[0])}

    return costs


def _evaluation(name: str, evaluator: EvaluatorPlugin, rows: list[Row]) -> dict[str, Any]:
    """What one evaluation says in all."""
    metric = evaluator.metric
    values = [(row, row["evaluations"][name]["value"]) for row in rows if name in row["evaluations"]]
    scored = [(row["score"], metric.oriented(v)) for row, v in values if row["score"] is not None and v is not None]
    tau = kendall_tau(*zip(*scored, strict=True)) if len(scored) > 1 else None
    return {
        "evaluator": evaluator.name,
        "metric": metric.name,
        "unit": metric.unit,
        "larger_is_better": metric.larger_is_better,
        "validated": evaluator.holds_out,
        "mean": {source: _mean(v for row, v in values if row["source"] == source) for source in ("found", "random")},
        "baselines": {row["source"]: v for row, v in values if row["source"] not in ("found", "random")},
        "kendall_tau": tau if tau is not None and np.isfinite(tau) else None,
    }


def _place(row: Row, primary: tuple[str, EvaluatorPlugin] | None) -> tuple[float, float, str, int, int]:
    """For sorting: the best by the first evaluation's validation, then the largest score; never by what is reported."""
    value = None if primary is None else row["evaluations"].get(primary[0], {}).get("validation")
    oriented = np.inf if value is None or primary is None else -primary[1].metric.oriented(value)
    score = np.inf if row["score"] is None else -row["score"]
    return float(oriented), float(score), row["source"], row["seed"], row["rank"]


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _flat(row: Row) -> Row:
    """A row of the table: one column a number."""
    flat = {key: value for key, value in row.items() if key not in ("choices", "evaluations", "true_values")}
    flat |= {f"true_{name}": number for name, number in row["true_values"].items()}
    for name, one in row["evaluations"].items():
        flat |= {name: one["value"], **{f"{name}_{key}": number for key, number in one["metrics"].items()}}
    return flat
