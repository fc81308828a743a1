"""A search by training-free scores: draw candidates or evolve, score them, rank them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.base import Report, lasting
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.base import ENUMERATION_LIMIT, Indices, SearchSpace

from ..base import Problem
from ..degenerate import warn_if_degenerate
from ..drawing import draw_distinct
from ..evolution import EvolutionSettings, evolve
from ..largest import largest
from ..limits import Limits
from ..ranking import Ranked, best
from .aggregation import Aggregation, Rule, aggregated
from .measures import Measure, Values
from .stored import StoredScores

ROWS = 50
"""At most this many rows of a curve for the candidates that are scored at once."""
Floats = npt.NDArray[np.float64]


class Scoring:
    """The columns of several measures side by side; keeps what was computed and reports how far it is.

    Args:
        rule: how several columns become one; None where there is one.
        stored: where the values are kept.
        report: called with every row of :attr:`curve`: ``epoch``, ``scored`` and, where there is one column, ``best``.
    """

    def __init__(
        self, measures: Sequence[Measure], rule: Rule | None, stored: StoredScores, report: Report | None
    ) -> None:
        self.measures, self.rule, self.stored, self.report = measures, rule, stored, report
        self.curve: list[dict[str, float]] = []
        self._scored, self._best = 0, -np.inf
        for one in measures:
            one.remember(stored.values.get(one.name, {}))

    def __call__(self, indices: Indices) -> Values:
        """(n, K) of ``indices: (n, D)``."""
        parts = np.array_split(indices, min(len(indices), ROWS)) if len(indices) else []
        return np.concatenate([np.empty((0, self.width)), *map(self._part, parts)])

    @property
    def width(self) -> int:
        """K."""
        return sum(len(one.columns) for one in self.measures)

    def values(self, indices: Indices) -> Values:
        """The same, of any architectures, without a word."""
        return np.concatenate([one(indices) for one in self.measures], axis=1)

    @property
    def groups(self) -> tuple[int, ...] | None:
        """Columns of each measure, where there are several measures."""
        return tuple(len(one.columns) for one in self.measures) if len(self.measures) > 1 else None

    def worth(self, values: Values) -> Floats:
        """(n, K) of all candidates -> (n,): what they are ranked by."""
        return values[:, 0] if self.rule is None else aggregated(values, self.rule, self.groups)

    def told(self, row: dict[str, float]) -> None:
        """One row more."""
        self.curve.append({"epoch": float(len(self.curve) + 1), **row})
        if self.report is not None:
            self.report(self.curve[-1])

    def _part(self, indices: Indices) -> Values:
        values = self.values(indices)
        self._scored += len(indices)
        self.stored.values = {one.name: one.remembered for one in self.measures}
        self.stored.save()
        if self.rule is not None:
            self.told({"scored": float(self._scored)})
            return values
        self._best = max(self._best, float(values[:, 0].max()))
        if np.isfinite(self._best):
            self.told({"scored": float(self._scored), "best": self._best})
        return values


def candidates(space: SearchSpace, settings: Any, limits: Limits, seed: int) -> Indices:
    """The distinct architectures that a search scores without evolution, within ``limits``: (n, D)."""
    wanted = space.size if settings.candidates == "all" else settings.candidates
    return draw_distinct(space, min(wanted, space.size), generator(seed, "candidates"), limits)


def first_candidate(problem: Problem) -> npt.NDArray[np.int8]:
    """An architecture within the limits, (D,), for a look at the space's networks.

    Raises:
        ConfigError: nothing meets the limits.
    """
    p = problem
    row: npt.NDArray[np.int8] = draw_distinct(p.space, 1, generator(p.seed, "candidates"), p.limits)[0]
    return row


def scored(space: SearchSpace, settings: Any, limits: Limits, seed: int, scoring: Scoring) -> tuple[Indices, Values]:
    """All candidates and their values: (n, D) and (n, K).

    Raises:
        ConfigError: nothing meets the limits.
    """
    if settings.evolution is not None:
        rng = generator(seed, "evolution")
        return evolve(space, scoring, settings.evolution, limits, rng, scoring.worth)
    indices = candidates(space, settings, limits, seed)
    for one in scoring.measures:  # before anything is computed
        one.require(indices[0])
    return indices, scoring(indices)


def scored_by_cost(
    space: SearchSpace, settings: Any, limits: Limits, seed: int, scoring: Scoring
) -> tuple[Indices, Values]:
    """The same by a cost: all architectures where they can be enumerated, else those of an evolution and the largest."""
    if settings.evolution is None and space.size <= ENUMERATION_LIMIT:
        indices = space.enumerate()
        indices = indices[limits.mask(space, indices)]
        if not len(indices):
            raise limits.unmet(space)
        return indices, scoring(indices)
    chosen = settings.evolution or EvolutionSettings()
    indices, values = evolve(space, scoring, chosen, limits, generator(seed, "evolution"), scoring.worth)
    (column,) = scoring.measures[0].columns
    top = space.encode([largest(space, f"largest_{column}", limits)])
    return np.concatenate([indices, top]), np.concatenate([values, scoring.values(top)])


def ranked(space: SearchSpace, indices: Indices, worth: Floats, found: int, name: str) -> list[Ranked]:
    """The ``found`` best, symmetric twins left out, among those that ``name`` is defined for.

    Raises:
        ConfigError: it is defined for too few.
    """
    defined = np.isfinite(worth)
    listed = best(space, indices[defined], worth[defined], found)
    if len(listed) < found and not defined.all():
        raise ConfigError(
            f"{name} is undefined for the networks of {np.sum(~defined)} of {len(defined)} candidates, which leaves "
            f"{len(listed)} of the {found} architectures that are wanted.",
            "Score more candidates, ask for fewer, or choose another score.",
        )
    warn_if_degenerate(space, [one.architecture for one in listed])
    return listed


def finished(scoring: Scoring, indices: Indices, values: Values) -> Callable[[Indices], Floats]:
    """Keep the candidates, and return what scores others as they were."""
    scoring.stored.pool = (indices.tolist(), values.tolist()) if scoring.rule is not None else ([], [])
    scoring.stored.save()
    return scorer_among(scoring, values)


def scorer_among(scoring: Scoring, pool: Values) -> Callable[[Indices], Floats]:
    """(n, D) -> (n,): by ``scoring``'s column, or by its rank among the candidates' values ``pool: (m, K)``."""
    if scoring.rule is None:
        return lambda indices: scoring.values(indices)[:, 0]
    among = Aggregation(pool, scoring.rule, scoring.groups)
    return lambda indices: among(scoring.values(indices))


def identity(problem: Problem) -> dict[str, Any]:
    """All that scores of ``problem`` depend on, as JSON."""
    task = problem.task
    return {
        "space": [problem.space.name, problem.space.config()],
        "images": {k: list(v) if isinstance(v, tuple) else v for k, v in problem.data.identity().items()},
        "objective": [type(task).__name__, vars(task)],
        "search": lasting(problem.search.model_dump(mode="json")),
        "limits": problem.limits.identity(),
        "seed": problem.seed,
    }
