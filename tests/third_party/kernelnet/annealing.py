"""An example of a strategy in a package of its own: simulated annealing on the answers of any evaluation.

This file and its entry point are all that it needs: experiment files may say ``tuner.name: Annealing``, and so may
comparisons. It imports no torch.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.base import Problem, SearchResult, Setup, StrategyPlugin
from nni_plugins.strategies.drawing import draw
from nni_plugins.strategies.ranking import Ranked
from nni_plugins.strategies.score import VALIDATION


class AnnealingSettings(Settings):
    """The temperature falls geometrically from the first to the last question."""

    questions: int = Field(30, ge=1, description="how many different architectures are asked about, at most")
    steps: int = Field(200, ge=1, description="after so many proposals the search ends")
    first_temperature: float = Field(5.0, gt=0, description="in units of the evaluation's metric")
    last_temperature: float = Field(0.1, gt=0)


class Annealing(StrategyPlugin):
    """``tuner.name: Annealing``."""

    name = "Annealing"
    about = "simulated annealing: worse neighbours are accepted ever more rarely"
    source = "Kirkpatrick et al., Science 1983"
    data = "none"
    objective = None
    asks = True
    search_settings = AnnealingSettings
    score = VALIDATION

    def check(self, setup: Setup) -> None:
        if setup.search.questions < setup.found:
            raise ConfigError(f"search.questions: {setup.search.questions} give no {setup.found} architectures (found)")

    def search(self, problem: Problem) -> SearchResult:
        p, s = problem, problem.search
        assert p.ask is not None
        rng = generator(p.seed, "annealing")
        (here,) = draw(p.space, 1, rng, limits=p.limits)
        values = {here: p.ask(here)}
        curve: list[dict[str, float]] = []
        for step in range(s.steps):
            temperature = s.first_temperature * (s.last_temperature / s.first_temperature) ** (step / s.steps)
            there = self._neighbour(p, here, rng)
            if there not in values:
                if len(values) == s.questions:
                    break
                values[there] = p.ask(there)
            best = max(values.values())
            curve.append({"epoch": float(step + 1), "value": values[there], "best": best, "loss": -best})
            if p.report is not None:
                p.report(curve[-1])
            if rng.random() < math.exp(min(0.0, values[there] - values[here]) / temperature):
                here = there
        ranked = sorted(values, key=lambda a: (-values[a], a))
        cost = {"queries": float(len(values)), "search_epochs": 0.0}
        return SearchResult([Ranked(a, values[a]) for a in _distinct(p, ranked)[: p.found]], curve, cost=cost)

    def _neighbour(self, problem: Problem, here: Architecture, rng: np.random.Generator) -> Architecture:
        """Another one within the limits, about one decision away."""
        parents = np.repeat(problem.space.encode([here]), 64, axis=0)
        children = problem.space.mutate(rng, parents, 1 / len(problem.space.decisions))
        allowed = [a for a in problem.space.decode(children[problem.limits.mask(problem.space, children)]) if a != here]
        return allowed[0] if allowed else here


def _distinct(problem: Problem, architectures: list[Architecture]) -> list[Architecture]:
    """The first of all that compute the same."""
    return list({problem.space.canonical(a): a for a in reversed(architectures)}.values())[::-1]
