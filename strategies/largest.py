"""The largest architecture of a space within limits: what every search has to beat. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .drawing import sample_within
from .limits import Limits, cost_model
from .ranking import order

LARGEST = ("largest_parameters", "largest_macs")
"""By what an architecture is the largest; names of baselines."""
ENUMERATED = 1_000_000
"""Spaces of at most this many architectures are looked at whole; in others one climbs from random ones."""
STARTS, KEPT, CHILDREN = 4096, 8, 1024
"""Of the climb: random architectures it begins with, the largest that are kept, and their mutants in a round."""
CHANGED = (1, 2, 4)
"""Decisions that a mutant changes on average, in turns."""
PATIENCE = 24
"""So many rounds without a larger one end it."""
Sizes = npt.NDArray[np.float64]
"""(n,); -1 of what is beyond the limits."""


def largest(space: SearchSpace, by: str, limits: Limits) -> Architecture:
    """The architecture with the most parameters or multiply-adds (for one image of ``limits.image_size`` pixels a side)
    that meets ``limits``; of equal ones that with the most complete paths, then the first index row.

    Exact where the space is enumerated; in larger ones the end of a climb by mutation, a function of space and limits.

    Raises:
        ConfigError: none meets the limits, as far as random draws tell.
    """
    return _largest(space, by, limits, *limits.contents().values())


@lru_cache(maxsize=32)
def _largest(space: SearchSpace, by: str, limits: Limits, *contents: int) -> Architecture:
    """Experiments ask again and again; ``contents``: of the files that the limits name."""
    table = cost_model(space, limits.image_size)

    def size(indices: Indices) -> Sizes:
        costs = table(indices)
        values = costs.parameters if by == "largest_parameters" else costs.macs
        return np.where(limits.mask(space, indices), values, -1).astype(np.float64)

    rows = space.enumerate() if space.size <= ENUMERATED else _climbed(space, size, limits)
    sizes = size(rows)
    if not len(rows) or sizes.max() < 0:
        raise limits.unmet(space)
    rows = rows[sizes == sizes.max()]
    first = order(np.zeros(len(rows)), rows, space.complete_paths(rows))[0]
    (found,) = space.decode(rows[first : first + 1])
    return found


def _climbed(space: SearchSpace, size: Callable[[Indices], Sizes], limits: Limits) -> Indices:
    """From the largest of random rows upwards, until no change makes it larger. Of about one decision where there is
    nothing in the way, of more in turns: below a limit one must give way that another can grow.
    """
    rng, idle, rounds = generator(0, "largest network"), 0, 0
    rows = space.sample(rng, STARTS)
    if not limits.mask(space, rows).any():
        rows = sample_within(space, rng, KEPT, limits)
    best, sizes = _largest_of(rows, size(rows))
    while idle < PATIENCE and len(best):
        probability = CHANGED[rounds % len(CHANGED)] / len(space.decisions)
        children = space.mutate(rng, best[rng.integers(0, len(best), CHILDREN)], min(probability, 1.0))
        rows, at = np.unique(np.concatenate([best, children]), axis=0, return_index=True)
        reached = sizes[0]
        best, sizes = _largest_of(rows, np.concatenate([sizes, size(children)])[at])
        idle, rounds = 0 if sizes[0] > reached else idle + 1, rounds + 1
    return best


def _largest_of(rows: Indices, sizes: Sizes) -> tuple[Indices, Sizes]:
    chosen = np.argsort(-sizes, kind="stable")[:KEPT]
    return rows[chosen], sizes[chosen]
