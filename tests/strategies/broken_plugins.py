"""A strategy that keeps its contract, and strategies that break it, each in one way. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.base import Problem, SearchResult, Setup, StrategyPlugin
from nni_plugins.strategies.drawing import draw_distinct
from nni_plugins.strategies.ranking import Ranked, best
from nni_plugins.strategies.score import Score


class Candidates(Settings):
    """What it has to set."""

    candidates: int = Field(12, ge=1)
    tilt: float = 0.5


class Right(StrategyPlugin):
    """Random architectures by a made-up score."""

    name = "Right"
    about = "random architectures, ranked by the sum of their indices"
    search_settings = Candidates
    objective = {"name": "rotation"}
    score = Score("sum", "sum of indices")

    def search(self, problem: Problem) -> SearchResult:
        """Two epochs that learn nothing, then a ranking."""
        rows = self.candidates(problem)
        curve = [{"epoch": float(epoch), "loss": 1.0 / epoch} for epoch in (1, 2)]
        for row in curve:
            self.epoch(problem)
            if problem.report is not None:
                problem.report(row)

        def score(indices: Indices) -> Any:
            return indices.sum(axis=1) + problem.search.tilt + self.drift(problem)

        ranked = self.ranked(best(problem.space, rows, score(rows), problem.found), problem)
        return SearchResult(ranked, curve, score, cost={"search_epochs": 2.0, "queries": 0.0})

    def candidates(self, problem: Problem) -> Indices:
        """What is ranked."""
        n = problem.search.candidates
        return draw_distinct(problem.space, n, generator(problem.seed, "right"), problem.limits)

    def epoch(self, problem: Problem) -> None:
        """What an epoch does."""

    def drift(self, problem: Problem) -> float:
        """What is added to all scores."""
        return 0.0

    def ranked(self, found: list[Ranked], problem: Problem) -> list[Ranked]:
        """What is listed."""
        return found


class ForgetsTheLimits(Right):
    def candidates(self, problem: Problem) -> Indices:
        return problem.space.sample(generator(problem.seed, "wrong"), 200)


class ListsTwice(Right):
    def ranked(self, found: list[Ranked], problem: Problem) -> list[Ranked]:
        return [found[0], *found[:-1]]


class ListsTheWorstFirst(Right):
    def ranked(self, found: list[Ranked], problem: Problem) -> list[Ranked]:
        return found[::-1]


class ListsTooMany(Right):
    def ranked(self, found: list[Ranked], problem: Problem) -> list[Ranked]:
        return [*found, *(Ranked(one.architecture, one.score - 100) for one in self.more(problem, found))]

    def more(self, problem: Problem, found: list[Ranked]) -> list[Ranked]:
        known = {problem.space.canonical(one.architecture) for one in found}
        rows = draw_distinct(problem.space, 12, generator(1, "more"), problem.limits)
        others = best(problem.space, rows, -np.arange(float(len(rows))), 12)
        return [one for one in others if problem.space.canonical(one.architecture) not in known]


class DrawsFromTheGlobalGenerator(Right):
    def candidates(self, problem: Problem) -> Indices:
        seed = int(np.random.randint(1000))
        return draw_distinct(problem.space, 12, np.random.default_rng(seed), problem.limits)


class SeedsTheGlobalGenerator(Right):
    def epoch(self, problem: Problem) -> None:
        np.random.seed(problem.seed)


class CountsItsStarts(Right):
    """What it finds depends on how often it was started in the folder."""

    def drift(self, problem: Problem) -> float:
        if problem.folder is None:
            return 1.0
        return float(len((problem.folder / "starts").read_text()))

    def epoch(self, problem: Problem) -> None:
        if problem.folder is not None:
            with open(problem.folder / "starts", "a") as file:
                file.write("x")


class ReadsLabels(Right):
    def epoch(self, problem: Problem) -> None:
        _ = problem.data.labels


class HidesAKey(Right):
    class Hidden(Candidates):
        """``tilt`` is left out when the settings are written down."""

        tilt: float = Field(0.5, exclude=True)

    search_settings = Hidden


class ForgetsTheTilt(Right):
    """Scores of others lack a part of its own scores."""

    def search(self, problem: Problem) -> SearchResult:
        result = super().search(problem)
        return SearchResult(result.ranked, result.curve, lambda indices: indices.sum(axis=1).astype(float))


class CountsFromZero(Right):
    def search(self, problem: Problem) -> SearchResult:
        report = problem.report

        def renumbered(row: dict[str, float]) -> None:
            if report is not None:
                report({**row, "epoch": row["epoch"] - 1})

        return super().search(Problem(**{**vars(problem), "report": renumbered}))


class HandsOutArrays(Right):
    def search(self, problem: Problem) -> SearchResult:
        result = super().search(problem)
        return SearchResult(result.ranked, result.curve, result.score, details={"rows": np.zeros(3)})


class ChecksWithTorch(Right):
    def check(self, setup: Setup) -> None:
        import torch

        assert torch.tensor(setup.found) > 0


class LosesItsPoint(Right):
    """The portal never shows keys that the first row lacks."""

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        point = super().curve_point(row)
        return {"default": point["default"]} if row["epoch"] == 1 else point
