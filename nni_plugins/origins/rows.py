"""The architectures of one run with what they were measured at, and which of them is meant. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nni_plugins.evaluators.base import Metric
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.subjects.resolver import subject
from nni_plugins.evaluators.subjects.subject import Subject
from nni_plugins.spaces.errors import closest
from nni_plugins.spaces.registry import named_space


@dataclass(frozen=True)
class Row:
    """One architecture.

    ``group``: ``found``, ``random``, or the name of a baseline or a policy; ``source``: the same, but a policy's are
    ``found`` or ``random``. ``jobs``: those that evaluated it. ``choices``, or a ``network``'s name. ``value`` and
    ``validation``: by the first evaluation; ``score``: that of its search.
    """

    group: str
    source: str
    jobs: tuple[str, ...]
    choices: Mapping[str, str] | None
    network: str | None
    value: float | None
    validation: float | None
    score: float | None


@dataclass(frozen=True)
class Rows:
    """The architectures of the run whose result is ``file``. ``space``: name and arguments; ``metric``: of the first
    evaluation, None if there is none.
    """

    file: str
    space: Mapping[str, Any]
    metric: Metric | None
    rows: Sequence[Row]

    def chosen(self, rank: int, job: str | None) -> tuple[Row, int | None]:
        """The row that is meant, and its place among those that it is chosen from; None where it is named itself.

        Args:
            rank: from 1, the best by the validation of the first evaluation, then by the search's score.
            job: only those of this group, or the row that this job evaluated; by default those that were found, or where
                nothing was searched the random ones.

        Raises:
            ConfigError: no such job, or not so many rows.
        """
        groups = list(dict.fromkeys(row.group for row in self.rows))
        evaluated = {name: row for row in self.rows for name in row.jobs}
        if job is not None and job not in groups:
            if job not in evaluated:
                raise ConfigError(f"--job {job}: {self.file} has no such job; {closest(job, [*groups, *evaluated])}")
            if rank != 1:
                raise ConfigError(f"--job {job} is one architecture, but got --rank {rank}.", "Give one of them.")
            return evaluated[job], None
        among = [row for row in self.rows if row.group == job] if job is not None else self._default
        if not 1 <= rank <= len(among):
            raise ConfigError(
                f"--rank {rank}: {self.file} has {len(among)} to choose from.",
                f"Pass --rank 1 to {len(among)}, or --job NAME." if among else "Run the search to its end first.",
            )
        return sorted(among, key=self._place)[rank - 1], rank

    def subject(self, row: Row, arguments: Mapping[str, Any]) -> Subject:
        """The network of ``row`` as it was searched, but for ``arguments`` of its space."""
        if row.choices is None:
            return subject(str(row.network), None, arguments)
        own = {key: value for key, value in self.space.items() if key != "name"}
        space = named_space(str(self.space["name"]), {**own, **arguments})
        return Subject(space.name, space, space.architecture(row.choices))

    def about(self, row: Row, rank: int | None) -> dict[str, Any]:
        """Where ``row`` stands, as JSON; ``means``: of every group, found ones first, then random ones."""
        metric = None if self.metric is None else {"name": self.metric.name, "unit": self.metric.unit}
        values: dict[str, list[float]] = {}
        for one in sorted(self.rows, key=lambda one: (one.source != "found", one.source != "random")):
            values.setdefault(one.group, []).extend([] if one.value is None else [one.value])
        means = {group: {"mean": sum(v) / len(v), "count": len(v)} for group, v in values.items() if v}
        random = next((one.group for one in self.rows if one.source == "random" and one.group in means), None)
        found = {"group": row.group, "job": next(iter(row.jobs), None), "rank": rank}
        return {
            "file": self.file,
            **found,
            "metric": metric,
            "value": row.value,
            "validation": row.validation,
            "score": row.score,
            "means": means,
            "random": random,
        }

    @property
    def _default(self) -> list[Row]:
        for source in ("found", "random"):
            among = [row for row in self.rows if row.source == source]
            if among:
                return among
        return []

    def _place(self, row: Row) -> tuple[float, float]:
        """For sorting, the best first; never by what is reported."""
        known = row.validation is not None and self.metric is not None
        value = -self.metric.oriented(row.validation) if known else math.inf  # type: ignore[union-attr, arg-type]
        return value, math.inf if row.score is None else -row.score
