"""What a strategy asks: each question counted, with the answers and the best of them. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import SpaceError

from ..base import Problem
from ..drawing import draw
from ..ranking import Ranked

PATIENCE = 20
"""After so many refused suggestions in a row a random architecture takes the place of the next one."""


class Questions:
    """Asks ``problem.ask``.

    A suggestion that is no architecture of the space (decisions may exclude one another) or is beyond the limits is
    refused: it is never asked for and costs no query. One that was asked for before costs a query as any other, for a
    method may come back to it, and is answered from memory; only the last queries are kept for new ones, where fewer
    different architectures than ``problem.found`` would have been asked for otherwise.

    Args:
        queries: how many may be asked.
    """

    def __init__(self, problem: Problem, queries: int) -> None:
        if problem.ask is None:
            raise ConfigError("a strategy that asks needs somebody who answers: Problem.ask is None.")
        self.problem, self.queries, self._ask = problem, queries, problem.ask
        self.answers: dict[Architecture, float] = {}
        self.curve: list[dict[str, float]] = []
        self.refused = self.replaced = self.repeated = 0
        """Suggestions that were refused, those that random architectures took the place of, and questions that were
        answered from memory."""
        self._refused_in_a_row = 0
        self._exhausted = False

    @property
    def open(self) -> bool:
        """Whether another question may be asked."""
        return len(self.curve) < self.queries and not self._exhausted

    @property
    def worst(self) -> float | None:
        """The smallest answer; None before the first."""
        return min(self.answers.values(), default=None)

    @property
    def counts(self) -> dict[str, int]:
        """How often something else happened than that a suggestion was asked for, for the result."""
        return {
            "refused_suggestions": self.refused,
            "replaced_suggestions": self.replaced,
            "repeated_questions": self.repeated,
        }

    def admitted(self, choices: Mapping[str, Any]) -> Architecture | None:
        """The architecture to ask for: that of the suggestion, or after :data:`PATIENCE` refused ones, and where no query
        is left for a repeated one, a random one that was not asked for. None where it is refused, or nothing is left.
        """
        architecture = self._architecture(choices)
        if architecture is None:
            self.refused += 1
            self._refused_in_a_row += 1
            if self._refused_in_a_row <= PATIENCE:
                return None
            architecture = self._replacement()
        elif architecture in self.answers and self.queries - len(self.curve) <= self.problem.found - len(self.answers):
            architecture = self._replacement() or architecture
        self._refused_in_a_row = 0
        return architecture

    def _architecture(self, choices: Mapping[str, Any]) -> Architecture | None:
        """None: there is no such architecture, or it is beyond the limits."""
        space = self.problem.space
        try:
            architecture = space.architecture(choices)
        except SpaceError:
            return None
        within = self.problem.limits.mask(space, space.encode([architecture]))
        return architecture if within[0] else None

    def _replacement(self) -> Architecture | None:
        architecture = self.drawn(generator(self.problem.seed, "replaced suggestion", self.replaced))
        if architecture is None:
            self._exhausted = True
        else:
            self.replaced += 1
        return architecture

    def drawn(self, rng: np.random.Generator) -> Architecture | None:
        """A uniformly drawn architecture within the limits that was not asked for; None where none is left, as far as draws
        tell."""
        try:
            return draw(self.problem.space, 1, rng, self.answers, self.problem.limits)[0]
        except ConfigError:
            return None

    def ask(self, architecture: Architecture) -> float:
        """The value of an admitted architecture; larger is better."""
        if architecture in self.answers:
            self.repeated += 1
        else:
            self.answers[architecture] = self._ask(architecture)
        value, best = self.answers[architecture], max(self.answers.values())
        query = float(len(self.curve) + 1)
        self.curve.append({"query": query, "value": value, "best": best})
        if self.problem.report is not None:  # in the words of trainings, which a progress bar understands
            self.problem.report({"epoch": query, "value": value, "best": best, "loss": -best})
        return value

    def ranked(self) -> list[Ranked]:
        """At most ``problem.found`` of the asked architectures with the largest values, the first asked of equal ones
        first. Of symmetric twins only the best one is listed, unless there would be too few without the others.

        Raises:
            ConfigError: nothing was asked, as nothing meets the limits.
        """
        space, limits, found = self.problem.space, self.problem.limits, self.problem.found
        if not self.answers:
            raise limits.unmet(space)
        order = sorted(self.answers, key=lambda architecture: -self.answers[architecture])
        firsts: dict[str, Architecture] = {}
        for architecture in order:
            if len(firsts) < found:
                firsts.setdefault(space.canonical(architecture), architecture)
        listed = set(firsts.values())
        listed.update([architecture for architecture in order if architecture not in listed][: found - len(listed)])
        return [Ranked(architecture, self.answers[architecture]) for architecture in order if architecture in listed]
