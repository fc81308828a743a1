"""What the trainings say: is what was found better than random networks, and than the largest of its size?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nni_plugins.evaluators.statistics.differences import TTest, welch

from ..experiment.verdict import FOUND, LARGEST, RANDOM, called, difference_text, joined, separated

SOLVED = 99.5
"""Percent: a task at which every network that was trained reaches that much tells none from another."""


@dataclass(frozen=True)
class Comparison:
    """Of what was found with ``other``, a source of architectures; values in percent, larger is better.

    ``test``: Welch's, of the mean difference; None where both are one network, which says nothing.
    """

    other: str
    found: tuple[float, ...]
    values: tuple[float, ...]
    test: TTest | None

    @property
    def separated(self) -> bool:
        """Whether the 95 % interval of the difference leaves 0 out."""
        return separated(self.test)


@dataclass(frozen=True)
class Verdict:
    """``comparisons``: with random networks first, then the largest one, then networks by name; ``metric``: what they are
    measured by, in words; ``harder``: what to do where that is too easy.
    """

    metric: str
    comparisons: tuple[Comparison, ...]
    harder: str = ""

    @property
    def solved(self) -> bool:
        """Whether no network can be told from another because all do what is asked of them."""
        values = [value for one in self.comparisons for value in (*one.found, *one.values)]
        return min(values) >= SOLVED and not any(one.separated for one in self.comparisons)

    @property
    def taken(self) -> str:
        """The source of the network whose weights are worth handing on: what was found, unless the largest is better."""
        largest = next(one for one in self.comparisons if one.other == LARGEST)
        return LARGEST if largest.separated and largest.test is not None and largest.test.difference < 0 else FOUND

    @property
    def sentence(self) -> str:
        """The one with which the page begins."""
        if self.solved:
            values = [value for one in self.comparisons for value in (*one.found, *one.values)]
            return (
                f"These trainings tell no network from another: all of them, random ones too, reach {min(values):.2f} to "
                f"{max(values):.2f} %, judged by {self.metric}."
            )
        return f"The network that was found {joined([_clause(one) for one in self.comparisons])}."

    @property
    def details(self) -> list[str]:
        """One sentence a comparison: means, numbers of trainings, and how sure it is."""
        lines = [self.harder] if self.solved and self.harder else []
        for one in self.comparisons:
            mean, n = np.mean(one.found), len(one.found)
            if one.test is None:
                lines.append(
                    f"The search chose {called(one.other)}: {mean:.2f} % (mean of {n} trainings). Taking the largest would "
                    "have done as well."
                )
                continue
            detectable = one.test.detectable
            finer = (
                f" A difference of {detectable:.1f} would be found four times in five; more --minutes find smaller ones."
                if not one.separated and np.isfinite(detectable)
                else ""
            )
            lines.append(
                f"Against {called(one.other)}: {mean:.2f} % (mean of {n} trainings) and {np.mean(one.values):.2f} % "
                f"({len(one.values)}){f', p = {one.test.p:.2g}' if np.isfinite(one.test.p) else ''}.{finer}"
            )
        if self.taken == LARGEST:
            lines.append("So the weights are those of the largest network within the limit: take that one.")
        return lines


def verdict(result: Mapping[str, Any], metric: str, beside: tuple[str, ...] = (), harder: str = "") -> Verdict:
    """Of the content of ``result.json``, with evaluations that differ in their seed alone; the others as of
    :class:`Verdict`.

    Raises:
        StatisticsError: a training is missing.
    """
    values = {source: _values(result, source) for source in (FOUND, RANDOM, LARGEST, *beside)}
    same = _choices(result, FOUND) == _choices(result, LARGEST)
    return Verdict(
        metric,
        tuple(
            Comparison(
                other,
                values[FOUND],
                values[other],
                None if other == LARGEST and same else welch(values[FOUND], values[other]),
            )
            for other in (RANDOM, LARGEST, *beside)
        ),
        harder,
    )


def _values(result: Mapping[str, Any], source: str) -> tuple[float, ...]:
    rows = [row for row in result["architectures"] if row["source"] == source]
    values = [one["value"] for row in rows for one in row["evaluations"].values() if one["value"] is not None]
    return tuple(map(float, values))


def _choices(result: Mapping[str, Any], source: str) -> Any:
    return next((row["choices"] for row in result["architectures"] if row["source"] == source), None)


def _clause(one: Comparison) -> str:
    if one.test is None:
        return f"is {called(one.other)} itself"
    better = "is better than" if one.test.difference > 0 else "is worse than"
    verb = better if one.separated else "is not told from"
    return f"{verb} {called(one.other)} ({difference_text(one.test)})"
