"""Language models of recurrent cells, and the parts that they share with the supernet.

Letters: T steps, B sequences, E = embedding, H = hidden, V = words. The model is that of DARTS (Liu et al., ICLR 2019),
whose regularisation is AWD-LSTM's (Merity et al., ICLR 2018): masks of dropout are drawn once a sequence, not a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import SpaceError, closest, shown

if TYPE_CHECKING:
    from .codec import Node
    from .space import RecurrentCell

Step = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""The nodes of a cell: (state 0 (B, H), mask of states (B, H) or None) -> output (B, H)."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}

INITIAL_RANGE = 0.04
"""All matrices begin uniformly within plus and minus this."""


@dataclass(frozen=True)
class Dropouts:
    """Rates, each in [0, 1), of what is set to zero in training; what is left is scaled up.

    ``dropoute``: whole words. ``dropouti``: elements of the embedded words. ``dropoutx``: the same once more, where
    they enter the cell. ``dropouth``: elements of the states, wherever a matrix of the cell reads them. ``dropout``:
    elements of the output.
    """

    dropout: float = 0.0
    dropouth: float = 0.0
    dropoutx: float = 0.0
    dropouti: float = 0.0
    dropoute: float = 0.0

    @classmethod
    def of(cls, rates: Mapping[str, float]) -> Dropouts:
        """Checked: a :class:`SpaceError` names an unknown rate or one out of range."""
        known = [field.name for field in fields(cls)]
        for name, rate in rates.items():
            if name not in known:
                raise SpaceError(f"{shown(name)}: no such dropout; {closest(name, known)}")
            if not isinstance(rate, int | float) or not 0 <= rate < 1:
                raise SpaceError(f"0 <= {name} < 1 must hold, but got {name}={shown(rate)}.")
        return cls(**rates)


def gated(s: torch.Tensor, value: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """The state that replaces ``s`` where ``gate`` is 1; ``torch.lerp`` would save kernels here, but cost more in the
    backward pass.
    """
    return s + gate * (value - s)


def fixed_cell(cell: Sequence[Node], matrices: Sequence[torch.Tensor]) -> Step:
    """The step of one architecture. ``matrices``: (2 H, H) of each node; those that read the same state are multiplied
    at once.
    """
    readers: dict[int, list[int]] = {}
    for j, (_, source) in enumerate(cell):
        readers.setdefault(source, []).append(j)
    groups = []
    for source, nodes in sorted(readers.items()):  # ascending, so that the state that is read is known by then
        halves = zip(
            *(matrices[j].chunk(2) for j in nodes), strict=True
        )  # all rows of c, so that there is one sigmoid, then all of g
        groups.append((source, nodes, torch.cat([rows for half in halves for rows in half])))

    def step(state: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        states = {0: state}
        for source, nodes, weights in groups:
            s = states[source]
            width, count = s.shape[1], len(nodes)
            c, *values = torch.split(
                F.linear(s if mask is None else s * mask, weights), [count * width, *[width] * count], 1
            )
            gates = torch.sigmoid(c)
            for j, gate, value in zip(nodes, gates.chunk(count, 1) if count > 1 else [gates], values, strict=True):
                states[j + 1] = gated(s, ACTIVATIONS[cell[j][0]](value), gate)
        return torch.stack([states[j + 1] for j in range(len(cell))]).mean(0)

    return step


class LanguageModel(nn.Module):
    """All but the nodes: embedding, W_0, and the decoder, whose matrix is that of the embedding."""

    def __init__(self, space: RecurrentCell, dropouts: Dropouts) -> None:
        super().__init__()
        self.hidden, self.rates = space.hidden, dropouts
        self.embedding = nn.Embedding(space.classes, space.embedding)
        self.w0 = nn.Parameter(torch.empty(2 * space.hidden, space.embedding + space.hidden))
        self.projection = (
            nn.Linear(space.hidden, space.embedding, bias=False) if space.embedding != space.hidden else nn.Identity()
        )
        for weight in self.parameters():
            nn.init.uniform_(weight, -INITIAL_RANGE, INITIAL_RANGE)
        self.bias = nn.Parameter(torch.zeros(space.classes))

    def hidden_states(self, tokens: torch.Tensor, state: torch.Tensor | None, step: Step) -> torch.Tensor:
        """Outputs of the cell, before any dropout: tokens (T, B) and the state before them (B, H), or None for zeros,
        give (T, B, H).
        """
        self._check(tokens, state)
        x = self.embedding(tokens)
        words = self._mask(x, self.rates.dropoute, (self.embedding.num_embeddings, 1))
        x = x if words is None else x * F.embedding(tokens, words)
        of_sequence = (tokens.shape[1], x.shape[2])
        x = self._drop(self._drop(x, self.rates.dropouti, of_sequence), self.rates.dropoutx, of_sequence)
        of_words = F.linear(x, self.w0[:, : x.shape[2]])  # words do not depend on states: one product for all steps
        of_state = self.w0[:, x.shape[2] :].t()
        h = x.new_zeros(tokens.shape[1], self.hidden) if state is None else state
        mask = self._mask(h, self.rates.dropouth, tuple(h.shape))
        outputs = []
        for y in of_words.unbind():
            c, g = torch.addmm(y, h if mask is None else h * mask, of_state).chunk(2, 1)
            h = step(gated(h, torch.tanh(g), torch.sigmoid(c)), mask)
            outputs.append(h)
        return torch.stack(outputs)

    def dropped(self, hidden: torch.Tensor) -> torch.Tensor:
        """Outputs of the cell (T, B, H) after their dropout, whose mean square AWD-LSTM penalises."""
        return self._drop(hidden, self.rates.dropout, tuple(hidden.shape[1:]))

    def decode(self, dropped: torch.Tensor) -> torch.Tensor:
        """Logits (T, B, V) of what :meth:`dropped` gave."""
        return F.linear(self.projection(dropped), self.embedding.weight, self.bias)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(T, B, H) -> (T, B, V)."""
        return self.decode(self.dropped(hidden))

    def _mask(self, x: torch.Tensor, rate: float, shape: tuple[int, ...]) -> torch.Tensor | None:
        return x.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate) if self.training and rate else None

    def _drop(self, x: torch.Tensor, rate: float, shape: tuple[int, ...]) -> torch.Tensor:
        mask = self._mask(x, rate, shape)
        return x if mask is None else x * mask

    def _check(self, tokens: torch.Tensor, state: torch.Tensor | None) -> None:
        if tokens.ndim != 2 or tokens.dtype != torch.int64 or not tokens.numel():
            raise SpaceError(
                f"tokens of shape (T, B) and type int64 are needed, but got {tuple(tokens.shape)} of {tokens.dtype}."
            )
        wanted = (tokens.shape[1], self.hidden)
        if state is not None and state.shape != wanted:
            raise SpaceError(f"a state of shape (B, hidden) = {wanted} is needed, but got {tuple(state.shape)}.")


class RecurrentNetwork(LanguageModel):
    """The language model of one cell."""

    def __init__(self, space: RecurrentCell, cell: Sequence[Node], dropouts: Dropouts) -> None:
        super().__init__(space, dropouts)
        self.cell = tuple(cell)
        self.nodes = nn.Parameter(
            torch.empty(space.nodes, 2 * space.hidden, space.hidden).uniform_(-INITIAL_RANGE, INITIAL_RANGE)
        )

    def forward(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (T, B, V) of tokens (T, B); ``state``: (B, H), zeros where it is None."""
        return self.forward_with_state(tokens, state)[0]

    def forward_with_state(
        self, tokens: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Also the state (B, H) after the last token; detach it before the next piece of the text."""
        hidden = self.hidden_of(tokens, state)
        return self.logits(hidden), hidden[-1]

    def hidden_of(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of the cell (T, B, H): what penalties on activations need, and :meth:`logits`."""
        return self.hidden_states(tokens, state, fixed_cell(self.cell, self.nodes.unbind()))
