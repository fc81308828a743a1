"""From scores to a ranked list, the same list on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spaces.architecture import Architecture
from spaces.base import Indices, SearchSpace


@dataclass(frozen=True)
class Ranked:
    """An architecture and its score (larger is better)."""

    architecture: Architecture
    score: float


def order(scores: npt.NDArray[np.float64], indices: Indices) -> npt.NDArray[np.int64]:
    """Positions from best to worst. Tie policy: equal scores stand in the order of their index rows, smallest first."""
    columns = indices[:, ::-1].T.astype(np.float64)
    return np.lexsort(np.concatenate([columns, -scores[None]]))


def best(space: SearchSpace, indices: Indices, scores: npt.NDArray[np.float64], k: int, distinct: bool = True) -> list[Ranked]:
    """The ``k`` best rows as architectures; ``distinct`` keeps only the first of every class of symmetric twins."""
    chosen: list[Ranked] = []
    seen: set[str] = set()
    for position in order(scores, indices):
        if len(chosen) == k:
            break
        (architecture,) = space.decode(indices[position : position + 1])
        form = space.canonical(architecture) if distinct else ""
        if not distinct or form not in seen:
            seen.add(form)
            chosen.append(Ranked(architecture, float(scores[position])))
    return chosen
