"""From scores to a ranked list, the same list on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace


@dataclass(frozen=True)
class Ranked:
    """An architecture and its score (larger is better)."""

    architecture: Architecture
    score: float


TIE = 12
"""Scores that agree to this many decimals are tied: they differ by rounding alone."""


def order(
    scores: npt.NDArray[np.float64], indices: Indices, paths: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Positions from best to worst.

    Tie policy: of equal scores the one with more ``paths: (n,)`` comes first, where they are given, then the smaller
    index row. The angle needs such a policy: a skip connection adds nothing to RLNAS' weight vector, so it ties with
    ``none`` beside other paths. The connection that lets gradients through is preferred.
    """
    keys = indices[:, ::-1].T.astype(np.float64)
    if paths is not None:
        keys = np.concatenate([keys, -paths[None].astype(np.float64)])
    positions: npt.NDArray[np.int64] = np.lexsort(np.concatenate([keys, -np.round(scores, TIE)[None]]))
    return positions


def best(
    space: SearchSpace, indices: Indices, scores: npt.NDArray[np.float64], k: int, distinct: bool = True
) -> list[Ranked]:
    """The ``k`` best rows as architectures, ties as :func:`order` has them with all complete paths counted.

    ``distinct`` keeps only the first of every class of symmetric twins.
    """
    wanted = 64 * max(k, 1)
    while True:
        positions = _at_least(scores, wanted)
        chosen = _first(space, indices[positions], scores[positions], k, distinct)
        if len(chosen) == k or len(positions) == len(scores):
            return chosen
        wanted *= 16


def _at_least(scores: npt.NDArray[np.float64], wanted: int) -> npt.NDArray[np.int64]:
    """Positions of the ``wanted`` largest scores and of all that tie with the last of them."""
    if wanted >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    return np.flatnonzero(scores >= threshold - 10.0**-TIE)


def _first(
    space: SearchSpace, indices: Indices, scores: npt.NDArray[np.float64], k: int, distinct: bool
) -> list[Ranked]:
    chosen: list[Ranked] = []
    seen: set[str] = set()
    for position in order(scores, indices, space.complete_paths(indices)):
        if len(chosen) == k:
            break
        (architecture,) = space.decode(indices[position : position + 1])
        form = space.canonical(architecture) if distinct else ""
        if not distinct or form not in seen:
            seen.add(form)
            chosen.append(Ranked(architecture, float(scores[position])))
    return chosen
