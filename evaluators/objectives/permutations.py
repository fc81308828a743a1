"""Sets of permutations that differ much (Noroozi & Favaro, ECCV 2016, algorithm 1, by the average distance as UnNAS'
released sets).
"""

from __future__ import annotations

from functools import cache
from itertools import permutations as enumerated
from math import factorial

import numpy as np
import numpy.typing as npt

from ..randomness import generator


@cache
def permutations(grid: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """``count`` permutations of ``grid * grid`` numbers: (count, grid * grid). All of them in lexicographic order,
    where so many are wanted.

    Otherwise the first is drawn from ``seed``, and each further one has the greatest average Hamming distance to those
    before it among all that are left, the lexicographically first of equals. With n[k][v] the number of chosen
    permutations that have v at place k, that is the one with the smallest sum over k of n[k][p_k]; the sums of all
    permutations are kept up to date.
    """
    tiles = grid * grid
    table = np.array(list(enumerated(range(tiles))), dtype=np.int8)
    if count == len(table):
        return table.astype(np.int64)
    columns = np.ascontiguousarray(table.T)
    shared = np.zeros(len(table), dtype=np.int32)  # places that agree with a chosen one
    chosen = [int(generator(seed, "jigsaw permutations").integers(factorial(tiles)))]
    while True:
        newest = chosen[-1]
        if len(chosen) == count:
            return table[chosen].astype(np.int64)
        for column, value in zip(columns, table[newest], strict=True):
            shared += column == value
        shared[newest] = np.iinfo(np.int32).max // 2  # never again
        chosen.append(int(shared.argmin()))
