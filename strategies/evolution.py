"""Evolution over a search space with a vectorised score: for spaces that are too large to rank exhaustively.

The loop of RLNAS' ``search.py`` (fact sheet, section 5), with its defects mended: it ends for certain, offspring stay
valid, limits are met by every candidate, and equal scores have a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import Indices, SearchSpace

from .limits import Limits
from .ranking import order

Score = Callable[[Indices], npt.NDArray[np.float64]]


class EvolutionSettings(Settings):
    """The defaults are RLNAS' for NAS-Bench-201: 100 architectures in each of 20 generations."""

    population: int = Field(100, ge=2)
    generations: int = Field(20, ge=1)
    parents: int = Field(30, ge=2)
    mutations: int = Field(50, ge=0)
    crossovers: int = Field(50, ge=0)
    probability: float = Field(0.1, gt=0, le=1, description="of a decision to change in a mutation")


ATTEMPTS = 100
"""How many batches of proposals are drawn before a generation makes do with fewer architectures."""


def evolve(
    space: SearchSpace, score: Score, settings: EvolutionSettings, limits: Limits, rng: np.random.Generator
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """All architectures that were scored, each once: indices (n, D) and scores (n,).

    Raises:
        ConfigError: no architecture meets the limits, as far as random draws tell.
    """
    decisions = len(space.decisions)
    known: set[bytes] = set()
    indices: Indices = np.empty((0, decisions), dtype=np.int8)
    scores: npt.NDArray[np.float64] = np.empty(0)

    def fresh(propose: Callable[[int], Indices], wanted: int) -> Indices:
        """Up to ``wanted`` new, distinct, admissible rows out of a bounded number of proposals."""
        rows: list[npt.NDArray[np.int8]] = []
        for _ in range(ATTEMPTS):
            if len(rows) >= wanted:
                break
            proposed = propose(max(2 * (wanted - len(rows)), 16))
            for row in proposed[limits.mask(space, proposed)]:
                if len(rows) < wanted and row.tobytes() not in known:
                    known.add(row.tobytes())
                    rows.append(row)
        return np.array(rows, dtype=np.int8).reshape(-1, decisions)

    for generation in range(settings.generations):
        children: list[Indices] = [np.empty((0, decisions), dtype=np.int8)]
        if generation:
            elite = indices[order(scores, indices)[: settings.parents]]

            def pick(n: int, elite: Indices = elite) -> Indices:
                return elite[rng.integers(0, len(elite), size=n)]

            children.append(fresh(lambda n: space.mutate(rng, pick(n), settings.probability), settings.mutations))
            children.append(fresh(lambda n: space.crossover(rng, pick(n), pick(n)), settings.crossovers))
        missing = settings.population - sum(map(len, children))
        children.append(fresh(lambda n: space.sample(rng, n), missing))
        new = np.concatenate(children)
        if len(new) == 0 and generation == 0:
            raise limits.unmet(space)
        if len(new) == 0:
            break  # everything is known, as far as random draws tell
        indices, scores = np.concatenate([indices, new]), np.concatenate([scores, score(new)])
    return indices, scores
