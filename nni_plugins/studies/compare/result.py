"""From finished jobs to the report: what ran, what is missing, and :mod:`nni_plugins.evaluators.reports.comparison`'s
judgement.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.reports.comparison.record import Comparison, Run

from ...experiment.result import versions
from .plan import CompareJob, ComparePlan
from .settings import CompareSettings

REPORT = "report"
NO_SEARCH = {"search_epochs": 0.0, "queries": 0.0}


@dataclass(frozen=True)
class Outcome:
    """``files``: of the report, by name, and ``statistics`` their numbers; both empty where too little is finished.
    ``missing``: jobs that are not done; ``reused``: measurements taken over from an equal architecture; ``failed``:
    jobs that NNI gave up."""

    folder: Path
    files: dict[str, Path]
    statistics: dict[str, Any]
    missing: list[str]
    failed: list[str]
    measured: int
    reused: int

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and ``result.json``."""
        return {
            "folder": str(self.folder),
            "files": {name: str(path) for name, path in self.files.items()},
            "statistics": self.statistics or None,
            "missing": self.missing,
            "failed": self.failed,
            "measured": self.measured,
            "reused": self.reused,
            "versions": versions(),
        }


def comparison_of(settings: CompareSettings, plan: ComparePlan, about: dict[str, Any]) -> Comparison:
    """The finished runs; policies with fewer than two finished seeds are left out, and of pairs the seeds that another
    policy lacks.

    Raises:
        ConfigError: nothing is left to compare.
    """
    runs: list[Run] = []
    for policy in (*settings.policies, settings.baseline):
        mine = [_run(settings, plan, job) for job in plan.of_policy(policy) if job.status == "done"]
        if len({run.seed for run in mine if run.rank == 0}) >= 2:
            firsts = {run.seed for run in mine if run.rank == 0}
            runs += [run for run in mine if run.seed in firsts]
    if settings.report.paired:
        common = (
            set.intersection(*({r.seed for r in runs if r.policy == name} for name in {r.policy for r in runs}))
            if runs
            else set()
        )
        runs = [run for run in runs if run.seed in common]
    evaluation = settings.evaluation
    setting = {**settings.model_dump(mode="json", exclude={"report", "retries", "run_folder"}), "finished": about}
    return Comparison(
        settings.title,
        evaluation.metric_name,
        evaluation.unit,
        evaluation.larger_is_better,
        settings.baseline,
        tuple(runs),
        setting,
    )


def _run(settings: CompareSettings, plan: ComparePlan, job: CompareJob) -> Run:
    assert job.choices is not None
    space, result = settings.search_space, job.value["result"]
    search = plan.jobs.get(f"search-{job.policy}-{job.seed}")
    measures, cost, curve = dict(result["measures"]), dict[str, float](), list[dict[str, float]]()
    if search is not None:
        cost, curve = search.value["result"]["cost"], search.value["result"]["curve"]
        measures["search_seconds"] = float(search.value["seconds"])
    elif job.policy == settings.baseline:
        cost = NO_SEARCH
    if not result["reused"] and result["curve"]:
        measures["train_seconds"] = float(job.value["seconds"])
    if job.score is not None:
        measures["search_score"] = job.score
    finite = {name: float(number) for name, number in measures.items() if math.isfinite(number)}
    label, value = space.to_string(space.architecture(job.choices)), float(job.value["default"])
    return Run(job.policy, job.seed, job.choices, label, value, finite, result["curve"], curve, cost, job.rank)


def conclude(settings: CompareSettings, plan: ComparePlan, folder: Path) -> Outcome:
    """Write ``report/`` and ``result.json`` for what is finished. A report of fewer runs than planned says so in its
    setting.
    """
    jobs = list(plan.jobs.values())
    missing = [job.name for job in jobs if job.status in ("waiting", "running")]
    failed = [job.name for job in jobs if job.status == "failed"]
    done = [job for job in jobs if job.status == "done" and job.phase != "search"]
    reused = sum(bool(job.value["result"]["reused"]) for job in done)
    about = {"measured": len(done) - reused, "reused": reused, "missing": missing, "failed": failed}
    files: dict[str, Path] = {}
    statistics: dict[str, Any] = {}
    try:
        comparison = comparison_of(settings, plan, about)
    except ConfigError:
        if not missing and not failed:  # everything is there, so it is the values that cannot be compared
            raise
    else:
        from nni_plugins.evaluators.reports.comparison.report import write_report

        judged = settings.report
        files = write_report(comparison, folder / REPORT, judged.paired, judged.seed, judged.resamples)
        statistics = json.loads(files["statistics.json"].read_text())
    outcome = Outcome(folder, files, statistics, missing, failed, len(done) - reused, reused)
    write_json(folder / "result.json", outcome.to_json())
    return outcome
