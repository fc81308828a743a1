"""The mixed recurrent cell of DARTS' search on Penn Treebank, and what is derived from it (Liu et al., ICLR 2019).

Letters as in ``network.py``, and N nodes. Edge (i, j) leads from state i to node j > i; edges are numbered node by
node, so there are N (N + 1) / 2. With p = softmax(alphas) over none and the four activations, node j is the sum over i
< j and over the activations f of p_f (s_i + sigmoid(c) (f(g) - s_i)), where [c, g] = W s_i; none adds nothing. State 0
and every node are then normalised over the batch, without scale and shift, and the output is the mean of the nodes.

Normalisation always takes the statistics of the batch at hand: a search runs in training mode alone. (The official code
shares one set of running statistics among all states and steps; it serves only its perplexity of the mixture, not the
search.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from ..architecture import Architecture
from ..base import Indices
from ..errors import SpaceError
from .codec import OPERATIONS
from .network import ACTIVATIONS, INITIAL_RANGE, Dropouts, LanguageModel, Step, gated
from .space import RecurrentCell

MIXED = ("none", *OPERATIONS)
"""What an edge mixes, in the order of the columns of ``alphas``."""

INITIAL_SCALE = 1e-3
"""Standard deviation of initial architecture parameters (DARTS)."""

Floats = npt.NDArray[np.float64]


def edge(source: int, node: int) -> int:
    """Row of ``alphas`` for the edge from state ``source`` to ``node`` (from 1)."""
    return node * (node - 1) // 2 + source


class MixedRecurrent(LanguageModel):
    """Every activation on every edge. ``forward`` takes tokens (T, B) int64 and gives logits (T, B, V).

    Parameter ``alphas``: (edges, 5), float32 or wider. The matrices are shared as ``space.sharing`` says, by node in
    DARTS.

    Args:
        batch_norm: normalise the states, which needs at least two sequences; without it, a mixture of one architecture
            is its network.
        dropouts: as :meth:`nni_plugins.spaces.recurrent.RecurrentCell.network` takes them.
    """

    def __init__(self, space: RecurrentCell, batch_norm: bool = True, **dropouts: float) -> None:
        super().__init__(space, Dropouts.of(dropouts))
        self.search_space, self.batch_norm = space, batch_norm
        variants = len(OPERATIONS) if space.sharing == "edge_op" else 1
        self.matrices = nn.ParameterList()  # of node j: (inputs or 1, activations or 1, 2 H, H)
        for j in range(1, space.nodes + 1):
            matrix = torch.empty(1 if space.sharing == "node" else j, variants, 2 * space.hidden, space.hidden)
            self.matrices.append(matrix.uniform_(-INITIAL_RANGE, INITIAL_RANGE))
        self.alphas = nn.Parameter(INITIAL_SCALE * torch.randn(edge(0, space.nodes + 1), len(MIXED)))

    def forward(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (T, B, V) of tokens (T, B); ``state``: (B, H), zeros where it is None."""
        return self.logits(self.hidden_of(tokens, state))

    def hidden_of(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of the cell (T, B, H), the last of which is the state for the next piece of text."""
        if self.batch_norm and tokens.ndim == 2 and tokens.shape[1] < 2:
            raise SpaceError(
                "normalisation over the batch needs at least 2 sequences, but got 1.",
                "Use MixedRecurrent(batch_norm=False).",
            )
        return self.hidden_states(tokens, state, self._cell())

    # -- architecture --------------------------------------------------------------------------------------------------
    def architecture_parameters(self) -> dict[str, nn.Parameter]:
        """By name, as in ``named_parameters()``."""
        return {"alphas": self.alphas}

    def numbers(self) -> list[list[float]]:
        """Probabilities (edges, 5) as plain numbers, columns as :data:`MIXED`."""
        rows: list[list[float]] = torch.softmax(self.alphas.detach().double(), 1).tolist()
        return rows

    def genotype(self) -> str:
        """What would be derived now, in DARTS' text."""
        return self.search_space.to_string(derived(self.search_space, self.numbers()))

    # -- the cell ------------------------------------------------------------------------------------------------------
    def _norm(self, state: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(state, None, None, training=True) if self.batch_norm else state

    def _cell(self) -> Step:
        n, shares = self.search_space.nodes, torch.softmax(self.alphas, 1)[:, 1:].to(self.w0)
        variants, of_edge, of_source = self.matrices[0].shape[1], shares.unbind(), []
        for i in range(n):  # a state is multiplied at once for all nodes that read it
            readers = range(i + 1, n + 1)
            weights = torch.cat([self.matrices[j - 1][i % len(self.matrices[j - 1])].flatten(0, 1) for j in readers])
            # a list as an index would be copied to the device, which waits for it
            of_source.append((weights, torch.stack([of_edge[edge(i, j)] for j in readers])))

        def step(state: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            states, sums = [self._norm(state)], state.new_zeros(())
            for i, (weights, share) in enumerate(of_source):
                s = states[i]
                y = F.linear(s if mask is None else s * mask, weights).view(len(s), n - i, variants, 2, -1)
                new = _mixed(s, y, share)
                sums = sums[:, 1:] + new if i else new  # sums so far of the nodes from i + 1 on: the first is complete
                states.append(self._norm(sums[:, 0]))
            return torch.stack(states[1:]).mean(0)

        return step


def _mixed(s: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """What state ``s: (B, H)`` adds to m nodes: (B, m, H), from ``y: (B, m, variants, 2, H)`` and ``share: (m, 4)``.

    Where all activations see the same c and g, the gate is applied to their sum: with P = sum_f p_f the sum over f of
    p_f (s + sigmoid(c) (f(g) - s)) is P s + sigmoid(c) (sum_f p_f f(g) - P s), a third of the products.
    """
    c, g = y.unbind(3)
    if y.shape[2] == 1:
        activated = torch.stack([ACTIVATIONS[name](g[:, :, 0]) for name in OPERATIONS])
        values = (share.t()[:, None, :, None] * activated).sum(0)
        return gated(share.sum(1)[:, None] * s[:, None], values, torch.sigmoid(c[:, :, 0]))
    activated = torch.stack([ACTIVATIONS[name](g[:, :, k]) for k, name in enumerate(OPERATIONS)], 2)
    return torch.einsum("bmoh,mo->bmh", gated(s[:, None, None], activated, torch.sigmoid(c)), share)


def ranked(space: RecurrentCell, probabilities: Sequence[Sequence[float]], k: int) -> tuple[Indices, Floats]:
    """The ``k`` most probable architectures, best first: rows (k, D) and log-probabilities (k,).

    The probability is the product over nodes of that of the one activation and edge that each takes; the best
    architecture is what DARTS derives: of each node's incoming edges that with the strongest activation other than
    none, ties to the earlier edge, then to the earlier activation.
    """
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(np.asarray(probabilities, dtype=np.float64))[:, 1:]
    sums, rows = np.zeros(1), np.zeros((1, 0), dtype=np.int8)
    for j in range(1, space.nodes + 1):
        options = logs[edge(0, j) : edge(0, j + 1)].ravel()
        columns = np.stack(np.divmod(np.arange(len(options)), len(OPERATIONS)), 1).astype(np.int8)[:, j == 1 :]
        order = np.argsort(-options, kind="stable")[:k]
        joint = (sums[:, None] + options[order]).ravel()
        best = np.argsort(-joint, kind="stable")[:k]
        rows = np.concatenate([rows[best // len(order)], columns[order[best % len(order)]]], axis=1)
        sums = joint[best]
    return rows, sums


def derived(space: RecurrentCell, probabilities: Sequence[Sequence[float]]) -> Architecture:
    """The architecture that DARTS' rule derives."""
    return space.decode(ranked(space, probabilities, 1)[0])[0]
