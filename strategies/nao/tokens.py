"""Architectures as token sequences, the form that NAO's encoder reads and its decoder writes. Free of torch.

Index rows are integer arrays (n, D), entry d the position of the chosen value among decision d's values. A sequence has
one token a decision, L = D, or some before them. Facts: Luo et al., "Neural Architecture Optimization", NeurIPS 2018,
section 3.1; NAO-V2's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError

Rows = npt.NDArray[np.int64]
"""(n, D) int64."""

Swap = tuple[tuple[int, ...], tuple[int, ...]]
"""Two equally long lists of columns whose exchange does not change the architecture's function."""

START = 0
"""The token before the first one, for the decoder; it is never emitted."""

MOST_TOKENS = 10_000


def kinds(values: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each decision's values the longest list of values that begins with them.

    Decisions of one kind share tokens: the inputs ``0, 1`` of a first node and ``0, 1, 2`` of a second one are both
    prefixes of the last node's, and all operations are the same list.
    """
    longest = sorted(set(values), key=lambda v: (-len(v), values.index(v)))
    return [next(kind for kind in longest if kind[: len(own)] == own) for own in values]


@dataclass(frozen=True)
class Tokens:
    """The vocabulary of a space. Token 0 starts a sequence; the kinds of decisions follow in the order of their first
    appearance.

    Of NAO's space with its five operations: inputs 0 to 5 are the tokens 1 to 6, operations the tokens 7 to 11, 12 in
    all.

    Args:
        values: of each decision, in order.
        group: tokens that the encoder reads in one step; 2 in NAO's space, where an input and its operation belong
            together.
        swaps: for each cell, the exchanges that give a symmetric twin.
        lead: values of places before the decisions that are always the same, for groups to come out even: the first
            node of a recurrent cell reads state 0.

    Raises:
        ConfigError: no decisions, one without values, more than 10,000 tokens, or groups that do not come out even.
    """

    values: tuple[tuple[str, ...], ...]
    group: int = 1
    swaps: tuple[tuple[Swap, ...], ...] = ()
    lead: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or not all(self.values):
            raise ConfigError("at least one decision is needed, and each needs a value, or there is nothing to search.")
        if self.group < 1 or self.sequence % self.group:
            raise ConfigError(f"group={self.group} must divide the number of tokens, {self.sequence}.")
        if self.vocabulary > MOST_TOKENS:
            raise ConfigError(
                f"{self.vocabulary:,} different values are too many for one token each; at most {MOST_TOKENS:,} are possible."
            )

    @cached_property
    def places(self) -> tuple[tuple[str, ...], ...]:
        """The values that may stand at each place of a sequence: those of ``lead``, then the decisions'."""
        return (*((value,) for value in self.lead), *self.values)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(L,): the token of each place's first value."""
        start, known = 1, {}
        own = kinds(self.places)
        for kind in own:
            if kind not in known:
                known[kind] = start
                start += len(kind)
        offsets: npt.NDArray[np.int64] = np.array([known[kind] for kind in own], dtype=np.int64)
        return offsets

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """(D,): how many values each decision has."""
        counts: npt.NDArray[np.int64] = np.array([len(values) for values in self.values], dtype=np.int64)
        return counts

    @property
    def length(self) -> int:
        """D, the decisions."""
        return len(self.values)

    @property
    def sequence(self) -> int:
        """L, the tokens of a sequence."""
        return len(self.lead) + len(self.values)

    @cached_property
    def vocabulary(self) -> int:
        """Number of tokens, the start token among them."""
        return 1 + sum(map(len, dict.fromkeys(kinds(self.places))))

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(L, vocabulary): which tokens may stand where."""
        token, counts = np.arange(self.vocabulary), np.array([len(values) for values in self.places])
        mask: npt.NDArray[np.bool_] = (token >= self.offsets[:, None]) & (token < (self.offsets + counts)[:, None])
        return mask

    def encode(self, rows: npt.NDArray[np.integer]) -> Rows:
        """Index rows (n, D) -> tokens (n, L)."""
        tokens: Rows = np.pad(rows.astype(np.int64), ((0, 0), (len(self.lead), 0))) + self.offsets
        return tokens

    def decode(self, tokens: npt.NDArray[np.integer]) -> Rows:
        """Tokens (n, L) -> index rows (n, D).

        Raises:
            ConfigError: a token that may not stand at its place.
        """
        rows: Rows = tokens.astype(np.int64) - self.offsets
        wrong = np.argwhere((rows < 0) | (rows >= [len(values) for values in self.places]))
        if len(wrong):
            n, position = wrong[0].tolist()
            raise ConfigError(f"token {int(tokens[n, position])} may not stand at position {position} of sequence {n}.")
        return rows[:, len(self.lead) :]

    def twins(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """A symmetric twin of each row: in each cell one exchange, drawn uniformly. Without swaps the rows themselves."""
        twins = rows.copy()
        for cell in self.swaps:
            chosen = rng.integers(0, len(cell), size=len(rows))
            for s, (first, second) in enumerate(cell):
                at = np.flatnonzero(chosen == s)[:, None]
                twins[at, first], twins[at, second] = rows[at, second], rows[at, first]
        return twins
