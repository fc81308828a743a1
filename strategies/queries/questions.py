"""What a strategy asks: each question counted, with the answers and the best of them. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import SpaceError

from ..base import Problem
from ..ranking import Ranked

PATIENCE = 10_000
"""So many refused suggestions in a row end a search: no more architectures can be expected to meet the limits."""


class Questions:
    """Asks ``problem.ask``.

    A suggestion that is no architecture of the space (decisions may exclude one another) or is beyond the limits is
    refused: it is never asked for and costs no query. One that was asked for before costs a query as any other, for a
    method may come back to it, and is answered from memory.

    Args:
        queries: how many may be asked.
    """

    def __init__(self, problem: Problem, queries: int) -> None:
        if problem.ask is None:
            raise ConfigError("a strategy that asks needs somebody who answers: Problem.ask is None.")
        self.problem, self.queries, self._ask = problem, queries, problem.ask
        self.answers: dict[Architecture, float] = {}
        self.curve: list[dict[str, float]] = []
        self.refused = 0
        """Suggestions in all that were refused."""
        self.refused_in_a_row = 0

    @property
    def open(self) -> bool:
        """Whether another question may be asked."""
        return len(self.curve) < self.queries and self.refused_in_a_row < PATIENCE

    @property
    def worst(self) -> float | None:
        """The smallest answer; None before the first."""
        return min(self.answers.values(), default=None)

    def admitted(self, choices: Mapping[str, Any]) -> Architecture | None:
        """The architecture of a suggestion; None where it is refused."""
        space, limits = self.problem.space, self.problem.limits
        try:
            architecture = space.architecture(choices)
        except SpaceError:
            return self._refused()
        if not limits.mask(space, space.encode([architecture]))[0]:
            return self._refused()
        self.refused_in_a_row = 0
        return architecture

    def _refused(self) -> None:
        self.refused += 1
        self.refused_in_a_row += 1

    def ask(self, architecture: Architecture) -> float:
        """The value of an admitted architecture; larger is better."""
        if architecture not in self.answers:
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
