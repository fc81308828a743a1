"""The largest architecture of a space within limits: what every search has to beat. Free of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .limits import Limits
from .ranking import order

LARGEST = ("largest_parameters", "largest_macs")
"""By what an architecture is the largest; names of baselines."""
ENUMERATED = 1_000_000
"""Spaces of at most this many architectures are looked at whole; in others one climbs from random ones."""
STARTS, KEPT, CHILDREN = 4096, 8, 1024
"""Of the climb: random architectures it begins with, the largest that are kept, and their mutants in a round."""
PATIENCE = 20
"""So many rounds without a larger one end it."""
Size = Callable[[Indices], npt.NDArray[np.float64]]


def largest(space: SearchSpace, by: str, limits: Limits) -> Architecture:
    """The architecture with the most parameters or multiply-adds (for one image of ``limits.image_size`` pixels a side)
    that meets ``limits``; of equal ones that with the most complete paths, then the first index row.

    Exact where the space is enumerated; in larger ones the end of a climb by mutation, a function of space and limits.

    Raises:
        ConfigError: none meets the limits, as far as random draws tell.
    """
    table = space.cost_table(limits.image_size)

    def size(indices: Indices) -> npt.NDArray[np.float64]:
        costs = table(indices)
        values = costs.parameters if by == "largest_parameters" else costs.macs
        return np.where(limits.mask(space, indices), values, -1).astype(np.float64)

    rng = generator(0, "largest network")
    rows = space.enumerate() if space.size <= ENUMERATED else _climbed(space, size, space.sample(rng, STARTS), rng)
    sizes = size(rows)
    if not len(rows) or sizes.max() < 0:
        raise ConfigError(
            f"no architecture of {space!r} meets the limits {limits!r}.", "Raise max_parameters or max_macs."
        )
    rows = rows[sizes == sizes.max()]
    first = order(np.zeros(len(rows)), rows, space.complete_paths(rows))[0]
    (found,) = space.decode(rows[first : first + 1])
    return found


def _climbed(space: SearchSpace, size: Size, rows: Indices, rng: np.random.Generator) -> Indices:
    """From the largest of ``rows`` upwards by changes of about one decision, until none makes it larger."""
    probability, idle = 1 / len(space.decisions), 0
    best = rows[np.argsort(-size(rows), kind="stable")[:KEPT]]
    while idle < PATIENCE:
        children = space.mutate(rng, best[rng.integers(0, len(best), CHILDREN)], probability)
        rows = np.unique(np.concatenate([best, children]), axis=0)
        chosen = rows[np.argsort(-size(rows), kind="stable")[:KEPT]]
        idle = 0 if size(chosen[:1])[0] > size(best[:1])[0] else idle + 1
        best = chosen
    return best
