"""The smallest comparisons: strategies and an evaluator of another package, on the table of digits, which trains
nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from nni_plugins.evaluators.base import EvaluatorPlugin, Measured, Metric, Network, Report
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.settings import Settings
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.spaces import registry
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.base import Problem, SearchResult, StrategyPlugin
from nni_plugins.strategies.drawing import draw
from nni_plugins.strategies.ranking import Ranked
from nni_plugins.strategies.score import VALIDATION, Score
from nni_plugins.studies.compare.experiment import CompareExperiment

FEW = {"strategy": "BestOfFew", "search": {"queries": 4}}
MORE = {"strategy": "bestoffew", "search": {"queries": 6}}
FIRST = {"strategy": "FirstOnes"}
TABLE = {"evaluator": "table", "metric": "accuracy_seed0", "test_metric": "accuracy"}
SIZE = {"evaluator": "size"}


class BestOfFewSettings(Settings):
    """``queries``: how many are asked about."""

    queries: int = Field(ge=1)


class BestOfFew(StrategyPlugin):
    """Asks about a few random ones."""

    name = "BestOfFew"
    about = "the best of a few"
    data = "none"
    objective = None
    asks = True
    search_settings = BestOfFewSettings
    score = VALIDATION

    def search(self, problem: Problem) -> SearchResult:
        assert problem.ask is not None
        drawn = draw(problem.space, problem.search.queries, generator(problem.seed, "few"), limits=problem.limits)
        ranked: list[Ranked] = []
        curve: list[dict[str, float]] = []
        for number, architecture in enumerate(drawn, start=1):
            ranked.append(Ranked(architecture, problem.ask(architecture)))
            best = max(one.score for one in ranked)
            curve.append({"epoch": float(number), "value": ranked[-1].score, "best": best, "loss": -best})
            if problem.report is not None:
                problem.report(curve[-1])
        ranked.sort(key=lambda one: -one.score)
        cost = {"queries": float(len(curve)), "search_epochs": 0.0}
        return SearchResult(ranked[: problem.found], curve, cost=cost)


class FirstOnes(StrategyPlugin):
    """The first architectures of the space from the one that the seed says, whatever they are worth."""

    name = "FirstOnes"
    about = "the first ones"
    data = "none"
    objective = None
    score = Score("place", "place")

    def search(self, problem: Problem) -> SearchResult:
        rows = problem.space.enumerate()[problem.seed : problem.seed + problem.found]
        return SearchResult([Ranked(a, float(-i)) for i, a in enumerate(problem.space.decode(rows))])


class Size(EvaluatorPlugin):
    """Kilo-parameters, of which fewer are better; of names, the letters."""

    name = "size"
    about = "parameters"
    takes_names = True
    looks_up = True
    curve_file = None

    @property
    def metric(self) -> Metric:
        return Metric("size", "k", larger_is_better=False)

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        if isinstance(network, str):
            return Measured(float(len(network)))
        costs = self.space.cost_table()(self.space.encode([network]))
        cost = {"parameters": float(costs.parameters[0]), "macs": float(costs.macs[0])}
        return Measured(cost["parameters"] / 1000, {"odd": float("inf")}, cost=cost)

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        return -self.evaluate(architecture, seed, folder, None).value


class Noisy(Size):
    """The same with noise of the seed, which differs between what is reported and what is held out."""

    name = "noisy"

    @property
    def holds_out(self) -> bool:
        return True

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        measured = super().evaluate(network, seed, folder, report)
        noise = generator(seed, "noise", int(measured.value)).normal(size=2) * 20
        return replace(measured, value=measured.value + noise[0], validation=measured.value + noise[1])


@pytest.fixture(scope="module", autouse=True)
def plugins() -> Iterator[None]:
    """Those above are registered, as if their package were installed."""
    given = {
        "strategies": {"bestoffew": "BestOfFew", "firstones": "FirstOnes"},
        "evaluators": {"size": "Size", "noisy": "Noisy"},
    }
    with pytest.MonkeyPatch.context() as patch:
        for kind, entries in given.items():
            for name, value in entries.items():
                entry = EntryPoint(name, f"{__name__}:{value}", f"nni_plugins.{kind}")
                patch.setitem(registry.found(kind), name, entry)
        yield


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take most of the time."""
    monkeypatch.setattr("nni_plugins.evaluators.reports.comparison.report.figures", lambda analysis: {})
    monkeypatch.setattr("nni_plugins.evaluators.reports.comparison.overview.svg", lambda figure: b"")


def arguments(**changes: Any) -> dict[str, Any]:
    """Two policies and two seeds on a table."""
    return {
        "space": {"name": "nasbench201", "nodes": 3},
        "seeds": [0, 1],
        "evaluations": {"table": TABLE},
        "baselines": [],
        "policies": {"more": MORE, "few": FEW},
        "report": {"resamples": 1000},
        **changes,
    }


def comparison(**changes: Any) -> CompareExperiment:
    """The experiment that :func:`arguments` describe."""
    experiment = load_experiment("Compare", arguments(**changes), "")
    assert isinstance(experiment, CompareExperiment)
    return experiment


def finish(plan: Plan, job: Job) -> None:
    """Do one job of a plan, or take its value over."""
    assert isinstance(plan.experiment, CompareExperiment)
    value = plan.known(job) or plan.experiment.run(job, None, None)
    plan.done(job.name, json.loads(json.dumps(value)))


def rows_of(folder: Path, evaluation: str = "table") -> list[dict[str, str]]:
    """The rows of ``runs.csv``."""
    with (folder / "report" / evaluation / "runs.csv").open() as file:
        return list(csv.DictReader(file))


def stable(folder: Path, evaluation: str = "table") -> dict[str, Any]:
    """The comparison without the seconds that everything took."""
    value = json.loads((folder / "report" / evaluation / "comparison.json").read_text())
    for one in value["runs"]:
        one["measures"] = {name: number for name, number in one["measures"].items() if "seconds" not in name}
    return {key: entry for key, entry in value.items() if key != "setting"}
