"""Evolution over a search space with a vectorised score: for spaces that are too large to rank exhaustively.

The loop of RLNAS' official ``search.py``, with its defects mended: it ends for certain, offspring stay valid, limits are
met by every candidate, and equal scores have a fixed order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import Indices, SearchSpace

from .drawing import sample_within
from .limits import Limits
from .ranking import order

Score = Callable[[Indices], npt.NDArray[np.float64]]
Fitness = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Scores of all so far, (n, ...) -> (n,): what the best of them are told by."""


@dataclass(frozen=True)
class Sizes:
    """How many architectures a generation has, come from the best of all so far, and are bred from them."""

    population: int
    parents: int
    mutations: int
    crossovers: int


SIZES = {"nasbench201": Sizes(100, 30, 50, 50)}
"""RLNAS' official sizes by space."""
OTHERS = Sizes(50, 10, 25, 25)
"""Those of its DARTS and MobileNet-like searches, which other spaces get, too."""


class EvolutionSettings(Settings):
    """The defaults are RLNAS' for the space: on NAS-Bench-201 100 architectures in each of 20 generations, 30 parents, 50
    mutations and 50 crossovers; elsewhere 50, 10, 25 and 25.
    """

    population: int | None = Field(None, ge=2)
    generations: int = Field(20, ge=1)
    parents: int | None = Field(None, ge=2)
    mutations: int | None = Field(None, ge=0)
    crossovers: int | None = Field(None, ge=0)
    probability: float = Field(0.1, gt=0, le=1, description="of a decision to change in a mutation")

    def sizes(self, space: SearchSpace) -> Sizes:
        """What is given, and the official sizes for ``space`` of the rest."""
        official = SIZES.get(space.name, OTHERS)

        def of(name: str) -> int:
            given = getattr(self, name)
            return int(getattr(official, name) if given is None else given)

        return Sizes(of("population"), of("parents"), of("mutations"), of("crossovers"))


ATTEMPTS = 100
"""How many batches of offspring are proposed, and how many of random architectures within the limits may all be known,
before a generation makes do with fewer.
"""


def evolve(
    space: SearchSpace,
    score: Score,
    settings: EvolutionSettings,
    limits: Limits,
    rng: np.random.Generator,
    fitness: Fitness | None = None,
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """All architectures that were scored, each once: indices (n, D) and scores (n,). Where one scores them by several
    numbers, (n, k), ``fitness`` says what those of all so far are worth.

    Every generation is filled up with random architectures within the limits. Where few draws meet them it takes many
    draws; a first generation that stays smaller all the same is said by a warning.

    Raises:
        ConfigError: no architecture meets the limits, as far as random draws tell.
    """
    decisions, sizes = len(space.decisions), settings.sizes(space)
    known: set[bytes] = set()
    indices: Indices = np.empty((0, decisions), dtype=np.int8)
    scores: npt.NDArray[np.float64] = np.empty(0)

    def admitted(proposed: Indices, wanted: int) -> list[npt.NDArray[np.int8]]:
        """Up to ``wanted`` new, distinct rows of ``proposed`` within the limits."""
        rows: list[npt.NDArray[np.int8]] = []
        for row in proposed[limits.mask(space, proposed)]:
            if len(rows) < wanted and row.tobytes() not in known:
                known.add(row.tobytes())
                rows.append(row)
        return rows

    def bred(propose: Callable[[int], Indices], wanted: int) -> list[npt.NDArray[np.int8]]:
        """Up to ``wanted`` rows out of a bounded number of proposals."""
        rows: list[npt.NDArray[np.int8]] = []
        for _ in range(ATTEMPTS):
            if len(rows) >= wanted:
                break
            rows += admitted(propose(max(2 * (wanted - len(rows)), 16)), wanted - len(rows))
        return rows

    def drawn(wanted: int) -> list[npt.NDArray[np.int8]]:
        """``wanted`` random rows; fewer only where many draws give none that is new."""
        rows: list[npt.NDArray[np.int8]] = []
        barren = 0
        while len(rows) < wanted and barren < ATTEMPTS:
            within = sample_within(space, rng, max(2 * (wanted - len(rows)), 16), limits)
            new = admitted(within, wanted - len(rows))
            rows, barren = rows + new, 0 if new else barren + 1 if len(within) else ATTEMPTS
        return rows

    for generation in range(settings.generations):
        children: list[npt.NDArray[np.int8]] = []
        if generation:
            worth = scores if fitness is None else fitness(scores)
            elite = indices[order(worth, indices)[: sizes.parents]]

            def pick(n: int, elite: Indices = elite) -> Indices:
                return elite[rng.integers(0, len(elite), size=n)]

            children += bred(lambda n: space.mutate(rng, pick(n), settings.probability), sizes.mutations)
            children += bred(lambda n: space.crossover(rng, pick(n), pick(n)), sizes.crossovers)
        children += drawn(sizes.population - len(children))
        new = np.array(children, dtype=np.int8).reshape(-1, decisions)
        if len(new) == 0 and generation == 0:
            raise limits.unmet(space)
        if len(new) < sizes.population and generation == 0:
            warnings.warn(
                f"evolution begins with {len(new)} architectures instead of {sizes.population}, for random draws from "
                f"{space.name} give no more within the limits.",
                UserWarning,
                stacklevel=2,
            )
        if len(new) == 0:
            break  # everything is known, as far as random draws tell
        found = score(new)
        indices, scores = np.concatenate([indices, new]), np.concatenate([scores, found]) if generation else found
    return indices, scores
