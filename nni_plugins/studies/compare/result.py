"""From finished jobs to reports: what ran, what is missing, and what :mod:`nni_plugins.evaluators.reports.comparison`
says of each evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import write_shareable
from nni_plugins.evaluators.reports.comparison.record import Baseline, Comparison, RealBest, Run
from nni_plugins.strategies.base import search_cost

from ...experiment.evaluations import Evaluations
from ...experiment.jobs import Job, Plan
from ...experiment.names import EVERY, REAL_BEST
from ...experiment.result import versions
from .settings import RANDOM, CompareSettings

if TYPE_CHECKING:
    from nni_plugins.evaluators.reports.comparison.analysis import Analysis

SCHEMA_VERSION = 2
REPORT, RESULT = "report", "result.json"
NO_SEARCH = search_cost()
NOT_AS_SUGGESTED = ("refused_suggestions", "replaced_suggestions", "repeated_questions")
"""Of strategies that ask: how often something else was asked for than the method suggested, or the same again."""


def write_result(settings: CompareSettings, evaluations: Evaluations, plan: Plan, folder: Path) -> dict[str, Any]:
    """Write ``result.json`` and ``report/`` for what is finished; returns the content of the former.

    ``report``: the page to begin with, and ``files`` and ``statistics`` of each evaluation; None and empty where too
    little is finished. ``missing``: jobs that are not done, ``failed``: those that were given up. ``measured``:
    evaluations that were done, ``reused``: those that took the value of an equal network over.

    Raises:
        ConfigError: all is finished, and the values cannot be compared.
    """
    from nni_plugins.evaluators.reports.comparison.overview import write_overview
    from nni_plugins.evaluators.reports.comparison.report import statistics, write_analysis

    jobs, below = list(plan.jobs.values()), folder / REPORT
    analyses = _analyses(settings, evaluations, plan)
    files = {name: write_analysis(analysis, below / name) for name, analysis in analyses.items()}
    first = next((of_one["report.html"] for of_one in files.values()), None)
    value = {
        "schema": SCHEMA_VERSION,
        "folder": str(folder),
        "report": str(write_overview(settings.title, analyses, below) if len(analyses) > 1 else first or "") or None,
        "files": {name: {file: str(path) for file, path in of_one.items()} for name, of_one in files.items()},
        "statistics": {name: statistics(analysis) for name, analysis in analyses.items()},
        **_counted(job for job in jobs if job.phase != "search"),
        **_unfinished(jobs),
        "versions": versions(),
    }
    write_shareable(folder / RESULT, value)
    return value


def _analyses(settings: CompareSettings, evaluations: Evaluations, plan: Plan) -> dict[str, Analysis]:
    """Of the evaluations of which enough is finished."""
    from nni_plugins.evaluators.reports.comparison.analysis import analyse

    analyses, judged = {}, settings.report
    for name in settings.evaluations:
        concerned = [job for job in plan.jobs.values() if job.phase in ("search", name)]
        unfinished = _unfinished(concerned)
        try:
            comparison = comparison_of(settings, evaluations, plan, name)
        except ConfigError:
            if not any(unfinished.values()):  # everything is there, so it is the values that cannot be compared
                raise
        else:
            analyses[name] = analyse(comparison, judged.paired, judged.seed, judged.resamples)
    return analyses


def _counted(jobs: Iterable[Job]) -> dict[str, int]:
    done = [bool(job.value["result"]["reused"]) for job in jobs if job.status == "done"]
    return {"measured": done.count(False), "reused": done.count(True)}


def _unfinished(jobs: Iterable[Job]) -> dict[str, list[str]]:
    listed = list(jobs)
    return {
        "missing": [job.name for job in listed if job.status in ("waiting", "running")],
        "failed": [job.name for job in listed if job.status == "failed"],
    }


def comparison_of(settings: CompareSettings, evaluations: Evaluations, plan: Plan, name: str) -> Comparison:
    """The finished runs of the evaluation ``name``; policies with fewer than two finished seeds are left out, and of
    pairs the seeds that another policy lacks.

    Raises:
        ConfigError: nothing is left to compare.
    """
    jobs = plan.of_phase(name)
    done = [job for job in jobs if job.status == "done"]
    runs: list[Run] = []
    for policy in (*settings.policies, RANDOM):
        names = settings.runs(policy) if policy in settings.policies else (policy,)
        counting = _counting(settings, evaluations, plan, names)
        mine = [_run(evaluations, plan, job, policy, names) for job in done if counting.get(job.seed) == job.policy]
        firsts = {run.seed for run in mine if run.rank == 0}
        if len(firsts) >= 2:
            runs += sorted((run for run in mine if run.seed in firsts), key=lambda run: (run.seed, run.rank))
    if settings.report.paired:
        seeds = [{run.seed for run in runs if run.policy == policy} for policy in {run.policy for run in runs}]
        common = set.intersection(*seeds) if seeds else set()
        runs = [run for run in runs if run.seed in common]
    metric = evaluations.evaluators[name].metric
    baseline, *also = settings.report.baseline
    searches = plan.of_phase("search")
    finished = {**_counted(jobs), **_unfinished([*searches, *jobs])}
    return Comparison(
        settings.title if len(settings.evaluations) == 1 else f"{settings.title}: {name}",
        metric.name,
        metric.unit,
        metric.larger_is_better,
        baseline,
        tuple(runs),
        {**settings.model_dump(mode="json", exclude={"report", "retries", "run_folder"}), "finished": finished},
        tuple(_baseline(evaluations, job) for job in done if not job.policy),
        tuple(name for name in also if any(run.policy == name for run in runs)),
        _real_best(settings, evaluations, [job for job in done if job.source == EVERY]),
    )


def _real_best(settings: CompareSettings, evaluations: Evaluations, done: list[Job]) -> RealBest | None:
    """Of the architectures that are finished with every training seed, the one whose mean validation is best."""
    by_rank: dict[int, dict[int, Job]] = {}
    for job in done:
        by_rank.setdefault(job.rank, {})[job.seed] = job
    whole = [
        [jobs[seed] for seed in settings.real_best] for jobs in by_rank.values() if set(jobs) >= set(settings.real_best)
    ]
    if not whole or not settings.real_best:
        return None

    def oriented_mean(jobs: list[Job]) -> float:
        metric = evaluations.evaluators[jobs[0].phase].metric
        return sum(metric.oriented(float(job.value["result"]["validation"])) for job in jobs) / len(jobs)

    best = max(whole, key=oriented_mean)
    return RealBest(tuple(_single(evaluations, job, REAL_BEST) for job in best), len(whole))


def _counting(
    settings: CompareSettings, evaluations: Evaluations, plan: Plan, names: tuple[str, ...]
) -> dict[int, str]:
    """By seed, the name of the searches that count: of several runs the one whose first architecture has the best
    validation, once all of them are evaluated.
    """
    if len(names) == 1:
        return dict.fromkeys(settings.seeds, names[0])
    first, evaluator = next(iter(evaluations.evaluators.items()))
    found = dict[int, dict[str, float]]()
    for job in plan.of_phase(first):
        if job.policy in names and job.rank == 1 and job.status == "done":
            validation = float(job.value["result"]["validation"])
            found.setdefault(job.seed, {})[job.policy] = evaluator.metric.oriented(validation)
    return {seed: max(names, key=one.__getitem__) for seed, one in found.items() if len(one) == len(names)}


def _run(evaluations: Evaluations, plan: Plan, job: Job, policy: str, names: tuple[str, ...]) -> Run:
    """``names``: all searches that were run for it, which cost what they cost."""
    assert job.choices is not None
    result, space = job.value["result"], evaluations.space
    searches = [plan.jobs[name] for run in names if (name := f"search-{run}-{job.seed}") in plan.jobs]
    measures, cost, curve = _measures(result), NO_SEARCH, []
    if searches:
        costs = [search.value["result"]["cost"] for search in searches]
        cost = {key: sum(one.get(key, 0.0) for one in costs) for key in {key: None for one in costs for key in one}}
        curve = plan.jobs[f"search-{job.policy}-{job.seed}"].value["result"]["curve"]
        measures["search_seconds"] = sum(float(search.value["seconds"]) for search in searches)
        counts = [{n: count for n, count in s.value["result"].items() if n in NOT_AS_SUGGESTED} for s in searches]
        measures.update({n: sum(one[n] for one in counts) for n in counts[0]})
    if not result["reused"] and result["curve"]:
        measures["train_seconds"] = float(job.value["seconds"])
    if job.score is not None:
        measures["search_score"] = job.score
    label, value = space.to_string(space.architecture(job.choices)), float(result["value"])
    finite, rank = _finite(measures), job.rank - 1
    return Run(policy, job.seed, job.choices, label, value, finite, result["curve"], curve, cost, rank)


def _single(evaluations: Evaluations, job: Job, policy: str) -> Run:
    """A training that no search asked for, by its own seed."""
    assert job.choices is not None
    result, label = job.value["result"], evaluations.space.to_string(evaluations.space.architecture(job.choices))
    return Run(
        policy, job.seed, job.choices, label, float(result["value"]), _finite(_measures(result)), result["curve"]
    )


def _baseline(evaluations: Evaluations, job: Job) -> Baseline:
    network = evaluations.network(job)
    label = network if isinstance(network, str) else evaluations.space.to_string(network)
    result = job.value["result"]
    return Baseline(job.source, label, float(result["value"]), _finite(_measures(result)))


def _measures(result: Mapping[str, Any]) -> dict[str, float]:
    return {**result["metrics"], **result["cost"]}


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items() if math.isfinite(number)}
