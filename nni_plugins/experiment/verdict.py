"""What the trainings of a search allow to say, one sentence an evaluation: is what was found better than random networks,
and than each baseline?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nni_plugins.evaluators.statistics.differences import TTest, pooled_t, welch

FOUND, RANDOM, LARGEST = "found", "random", "largest_parameters"
"""Sources of architectures."""
CALLED = {
    RANDOM: "random networks",
    LARGEST: "the largest network within the limit",
    "largest_macs": "the network with the most multiply-adds within the limit",
}


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """Of the content of ``result.json``: one sentence for each evaluation of something that was found.

    A search counts once, by the best of what it found, as held-out data or else the score order them; searches that found
    one network are one measurement.
    """
    return [said for name, one in result["evaluations"].items() if (said := _verdict(result, name, one))]


def _verdict(result: Mapping[str, Any], name: str, evaluation: Mapping[str, Any]) -> str:
    rows = [row for row in result["architectures"] if _value(row, name) is not None]
    first = {row["seed"]: row for row in reversed(rows) if row["source"] == FOUND}
    if not first:
        return ""
    networks = {row["architecture"] for row in first.values()}
    found = [_value(row, name) for row in first.values()]
    values = sorted(set(found)) if len(networks) == 1 else found
    others: dict[str, list[float]] = {}
    for row in rows:
        if row["source"] != FOUND:
            others.setdefault(row["source"], []).append(_value(row, name))
    if not others:
        return f"{name}: nothing was trained beside what was found, so nothing says whether it is better than chance."
    unit, larger = evaluation["unit"], evaluation["larger_is_better"]
    clauses = []
    for source in sorted(others, key=lambda source: source != RANDOM):
        same = networks == {row["architecture"] for row in rows if row["source"] == source}
        clauses.append(
            f"is {called(source)} itself" if same else clause(values, others[source], called(source), unit, larger)
        )
    return f"{name}: {_subject(len(first), len(networks), len(values))} {joined(clauses)}."


def _value(row: Mapping[str, Any], name: str) -> Any:
    return row["evaluations"].get(name, {}).get("value")


def _subject(searches: int, networks: int, measurements: int) -> str:
    if searches == 1:
        return "what the search found"
    if networks == 1:
        told = "one measurement" if measurements == 1 else "which varies by its training alone"
        return f"the one network that all {searches} searches found ({told})"
    return f"what {searches} searches found"


def called(source: str) -> str:
    """The networks of ``source`` in words."""
    return CALLED.get(source, source)


def joined(clauses: Sequence[str]) -> str:
    """``a, b and c``."""
    return f"{', '.join(clauses[:-1])} and {clauses[-1]}" if len(clauses) > 1 else clauses[0]


def difference_test(x: Sequence[float], y: Sequence[float]) -> TTest | None:
    """Of the means of two groups: Welch's; where one is a single value Student's, which takes its deviation from the other;
    None for two single values, which say nothing.
    """
    if len(x) > 1 and len(y) > 1:
        return welch(x, y)
    return pooled_t(x, y) if len(x) + len(y) > 2 else None


def separated(test: TTest | None) -> bool:
    """Whether the 95 % interval of the difference leaves 0 out."""
    return test is not None and bool(test.interval.low > 0 or test.interval.high < 0)


def clause(x: Sequence[float], y: Sequence[float], other: str, unit: str = "%", larger_is_better: bool = True) -> str:
    """``is better than OTHER (+0.40 points, 95 % interval ...; 3 and 5 trained)``; the difference is x - y."""
    test = difference_test(x, y)
    counted = f"{len(x)} and {len(y)} trained"
    if test is None:
        difference = _points(x[0] - y[0], unit)
        return f"cannot be told from {other} by one training of each ({difference})"
    better = (test.difference > 0) == larger_is_better
    verb = f"is {'better' if better else 'worse'} than" if separated(test) else "is not told from"
    return f"{verb} {other} ({'; '.join([difference_text(test, unit), counted])})"


def difference_text(test: TTest, unit: str = "%") -> str:
    """``+0.40 points, 95 % interval -1.90 to +2.70``."""
    low, high = test.interval.low, test.interval.high
    if not np.isfinite([low, high]).all():
        return f"{_points(test.difference, unit)}, without an interval, for nothing varies"
    if unit == "%":  # no two percentages differ by more
        low, high = max(low, -100.0), min(high, 100.0)
    return f"{_points(test.difference, unit)}, 95 % interval {low:+.2f} to {high:+.2f}"


def _points(difference: float, unit: str) -> str:
    return " ".join(filter(None, [f"{difference:+.2f}", "points" if unit == "%" else unit]))


def warnings_of(result: Mapping[str, Any]) -> Iterator[str]:
    """What its searches warned of."""
    for search in result["searches"]:
        for sentence in search.get("result", {}).get("warnings", []):
            yield f"search with seed {search['seed']}: {sentence}"
