"""Paths as chains of pieces, so that paths that begin alike share what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from .base import Indices


class Piece(NamedTuple):
    """A step of a supernet along a path. Where two paths have equal keys in all pieces up to one, they have the same
    state after it.
    """

    key: Any
    run: Callable[[Any], Any]


def run_pieces(pieces: Sequence[Piece], state: Any) -> Any:
    """The state after all ``pieces``."""
    for piece in pieces:
        state = piece.run(state)
    return state


def outputs_of_paths(supernet: Any, x: torch.Tensor, rows: Indices) -> Iterator[tuple[int, torch.Tensor]]:
    """(i, output of ``rows[i]``) for all of ``rows: (n, D)``, in lexicographic order: what a path has in common with
    the one before it is not run again. Outputs equal those of ``supernet.forward_path`` to the bit.

    For a supernet without chance in its forward pass, as all are in evaluation mode, whose ``pieces(path, size)`` make a
    path's output of ``x: (B, C, H, W)``. At any time only those states are kept that a later path goes on from.
    """
    size = (x.shape[-2], x.shape[-1])
    order = np.lexsort(rows.T[::-1]) if len(rows) else np.arange(0)
    repeats = supernet.search_space.repeats

    def chain_of(i: int) -> Sequence[Piece]:
        pieces: Sequence[Piece] = supernet.pieces(np.broadcast_to(rows[i], (repeats, rows.shape[1])), size)
        return pieces

    common = [_common(first, second) for first, second in pairwise(map(chain_of, order))]
    states: dict[int, Any] = {0: x}
    for number, i in enumerate(order.tolist()):
        chain = chain_of(i)
        start = max(states)
        wanted = _wanted(common[number:], start)
        state = states[start]
        for depth in range(start, len(chain)):
            state = chain[depth].run(state)
            if depth + 1 in wanted:
                states[depth + 1] = state
        yield i, state
        least = common[number] if number < len(common) else 0
        states = {depth: kept for depth, kept in states.items() if depth <= least}


def _common(first: Sequence[Piece], second: Sequence[Piece]) -> int:
    """How many pieces two paths begin with alike."""
    for depth, (a, b) in enumerate(zip(first, second, strict=True)):
        if a.key != b.key:
            return depth
    return len(first)


def _wanted(common: Sequence[int], start: int) -> set[int]:
    """The depths beyond ``start`` at which later paths leave this one, where ``common[k]`` is what the k-th path from
    here has in common with the next one.
    """
    wanted, least = set(), None
    for depth in common:
        least = depth if least is None else min(least, depth)
        if least <= start:
            break
        wanted.add(least)
    return wanted
