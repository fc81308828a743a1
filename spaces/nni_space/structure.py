"""Which parts of a supernet an architecture has, found once by walking through the supernet.

A decision is read where its module is reached: a block beyond the depth, or within a candidate that is not chosen, reads
nothing. So every part has a *context*, conditions on decisions that must hold for it to be there, and decisions of its
own, whose values say which candidate, or which slice of shared weights, it is. All of it works on index rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..base import Decision, Indices
from ..errors import SpaceError
from ..supernet import Role

MOST_COMBINATIONS = 200_000
"""Of the decisions that one module reads together."""

Region = tuple[tuple[int, int], ...]
"""(start, stop) in each dimension of a weight."""


@dataclass(frozen=True)
class Condition:
    """Holds where ``holds[code]``, with ``code`` the mixed-radix number of the decisions ``columns``."""

    columns: tuple[int, ...]
    holds: bytes

    @classmethod
    def of(cls, columns: tuple[int, ...], holds: Sequence[bool] | npt.NDArray[np.bool_]) -> Condition:
        return cls(columns, np.asarray(holds, dtype=np.bool_).tobytes())


Context = tuple[Condition, ...]


@dataclass
class Part:
    """``table[code]``: position of the value in ``values`` for the decisions ``columns``; ``weights[v]``: (name, role, region
    or None for the whole) of what value ``v`` has.
    """

    context: Context
    columns: tuple[int, ...]
    table: npt.NDArray[np.int16]
    values: tuple[str, ...]
    weights: list[list[tuple[str, Role, Region | None]]] = field(default_factory=list)


class Structure:
    """The parts of a space with ``counts: (D,)`` values a decision, and the weights that belong to none of them."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        self.counts = np.array([len(d.values) for d in decisions], dtype=np.int64)
        self.parts: list[Part] = []
        self.fixed: list[tuple[str, Role]] = []
        self._places: dict[tuple[Context, tuple[int, ...], bytes, tuple[str, ...]], int] = {}
        self._readers: dict[tuple[Context, tuple[int, ...]], None] = {}

    # -- made by the walk ----------------------------------------------------------------------------------------------
    def combinations(self, columns: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """All positions of the decisions ``columns``, in the order of their codes: (C, len(columns)).

        Raises:
            SpaceError: there are too many.
        """
        counts = [int(self.counts[c]) for c in columns]
        if int(np.prod(counts)) > MOST_COMBINATIONS:
            names = ", ".join(self.decisions[c].label for c in columns[:4])
            raise SpaceError(
                f"one module depends on {len(columns)} decisions together ({names}, ...), {int(np.prod(counts)):,} combinations."
            )
        if not columns:
            return np.zeros((1, 0), dtype=np.int64)
        return np.indices(counts, dtype=np.int64).reshape(len(columns), -1).T

    def read(self, context: Context, columns: tuple[int, ...]) -> None:
        """Where ``context`` holds, the decisions ``columns`` matter."""
        self._readers[context, columns] = None

    def part(self, context: Context, columns: tuple[int, ...], table: Sequence[int], values: Sequence[str]) -> int:
        """The position of a part; modules that are always chosen alike share one."""
        positions = np.asarray(table, dtype=np.int16)
        key = (context, columns, positions.tobytes(), tuple(values))
        if key not in self._places:
            self._places[key] = len(self.parts)
            self.parts.append(Part(context, columns, positions, tuple(values), [[] for _ in values]))
        return self._places[key]

    # -- asked by the space --------------------------------------------------------------------------------------------
    @property
    def described(self) -> tuple[Decision, ...]:
        """The parts as decisions: the first value says that the part is not there."""
        names: list[str] = []
        for number, part in enumerate(self.parts):
            own = "+".join(self.decisions[c].label for c in part.columns) or "block"
            names.append(f"{number}:{own}")
        return tuple(Decision(n, ("absent", *p.values)) for n, p in zip(names, self.parts, strict=True))

    def of(self, indices: Indices) -> npt.NDArray[np.int16]:
        """(n, S) int16: 0 where a part is not there, otherwise 1 + its value's position."""
        known: dict[Condition, npt.NDArray[np.bool_]] = {}
        rows = np.empty((len(indices), len(self.parts)), dtype=np.int16)
        for s, part in enumerate(self.parts):
            here = self._holds(part.context, indices, known)
            rows[:, s] = np.where(here, part.table[self._codes(part.columns, indices)] + 1, 0)
        return rows

    def read_by(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """(n, D): whether each decision matters."""
        known: dict[Condition, npt.NDArray[np.bool_]] = {}
        mask = np.zeros(indices.shape, dtype=np.bool_)
        for context, columns in self._readers:
            mask[:, list(columns)] |= self._holds(context, indices, known)[:, None]
        return mask

    def _codes(self, columns: tuple[int, ...], indices: Indices) -> npt.NDArray[np.int64]:
        codes = np.zeros(len(indices), dtype=np.int64)
        for c in columns:
            codes = codes * self.counts[c] + indices[:, c]
        return codes

    def _holds(
        self, context: Context, indices: Indices, known: dict[Condition, npt.NDArray[np.bool_]]
    ) -> npt.NDArray[np.bool_]:
        here = np.ones(len(indices), dtype=np.bool_)
        for condition in context:
            if condition not in known:
                holds = np.frombuffer(condition.holds, dtype=np.bool_)
                known[condition] = holds[self._codes(condition.columns, indices)]
            here &= known[condition]
        return here
