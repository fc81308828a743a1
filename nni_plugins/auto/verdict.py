"""What the trainings say: is what was found better than random networks, and than the largest of its size?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nni_plugins.evaluators.statistics.differences import TTest, welch

FOUND, RANDOM, LARGEST = "found", "random", "largest_parameters"


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
        return self.test is not None and bool(self.test.interval.low > 0 or self.test.interval.high < 0)


@dataclass(frozen=True)
class Verdict:
    """``comparisons``: with random networks first, then the largest one, then networks by name."""

    metric: str
    comparisons: tuple[Comparison, ...]

    @property
    def taken(self) -> str:
        """The source of the network whose weights are worth handing on: what was found, unless the largest is better."""
        largest = next(one for one in self.comparisons if one.other == LARGEST)
        return LARGEST if largest.separated and largest.test is not None and largest.test.difference < 0 else FOUND

    @property
    def sentence(self) -> str:
        """The one with which the page begins."""
        clauses = [_clause(one) for one in self.comparisons]
        said = f"{', '.join(clauses[:-1])} and {clauses[-1]}" if len(clauses) > 1 else clauses[0]
        return f"The network that was found {said}."

    @property
    def details(self) -> list[str]:
        """One sentence a comparison: means, numbers of trainings, and how sure it is."""
        lines = []
        for one in self.comparisons:
            mean, n = np.mean(one.found), len(one.found)
            if one.test is None:
                lines.append(
                    f"The search chose {_called(one.other)}: {mean:.2f} % (mean of {n} trainings). Taking the largest would "
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
                f"Against {_called(one.other)}: {mean:.2f} % (mean of {n} trainings) and {np.mean(one.values):.2f} % "
                f"({len(one.values)}), p = {one.test.p:.2g}.{finer}"
            )
        if self.taken == LARGEST:
            lines.append("So the weights are those of the largest network within the limit: take that one.")
        return lines


def verdict(result: Mapping[str, Any], metric: str, beside: tuple[str, ...] = ()) -> Verdict:
    """Of the content of ``result.json``, with evaluations that differ in their seed alone.

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
    )


def _values(result: Mapping[str, Any], source: str) -> tuple[float, ...]:
    rows = [row for row in result["architectures"] if row["source"] == source]
    values = [one["value"] for row in rows for one in row["evaluations"].values() if one["value"] is not None]
    return tuple(map(float, values))


def _choices(result: Mapping[str, Any], source: str) -> Any:
    return next((row["choices"] for row in result["architectures"] if row["source"] == source), None)


def _called(source: str) -> str:
    return {RANDOM: "random networks", LARGEST: "the largest network within the limit"}.get(source, source)


def _clause(one: Comparison) -> str:
    if one.test is None:
        return f"is {_called(one.other)} itself"
    better = "is better than" if one.test.difference > 0 else "is worse than"
    verb = better if one.separated else "is not told from"
    return f"{verb} {_called(one.other)} ({_difference(one.test)})"


def _difference(test: TTest) -> str:
    low, high = test.interval.low, test.interval.high
    if not np.isfinite([low, high]).all():
        return f"{test.difference:+.2f} points, without an interval, for nothing varies"
    return f"{test.difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
