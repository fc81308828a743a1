"""The weight-sharing language model of the recurrent cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from numpy import int8
from torch import nn

from ..path_supernet import PathSupernet
from ..supernet import Role, WeightBlock, WeightBlocks
from .codec import OPERATIONS
from .network import ACTIVATIONS, INITIAL_RANGE, Dropouts, LanguageModel, Step, fixed_cell, gated
from .space import RecurrentCell


class RecurrentSupernet(PathSupernet):
    """See :meth:`nni_plugins.spaces.recurrent.RecurrentCell.supernet`. Tokens (T, B) int64 give logits (T, B, V); T, B,
    H, V as in ``network.py``.
    """

    search_space: RecurrentCell

    def __init__(self, dropouts: Mapping[str, float] | None = None, **space_config: Any) -> None:
        super().__init__()
        self.search_space = space = RecurrentCell(**space_config)
        self.dropouts = dict(dropouts or {})
        self.body = LanguageModel(space, Dropouts.of(self.dropouts))
        self.matrices = nn.ParameterDict()
        for j in range(1, space.nodes + 1):
            for key in dict.fromkeys(self.key(j, i, operation) for i in range(j) for operation in OPERATIONS):
                matrix = torch.empty(2 * space.hidden, space.hidden)
                self.matrices[key] = nn.Parameter(matrix.uniform_(-INITIAL_RANGE, INITIAL_RANGE))
        self.add_selectors(space)

    @classmethod
    def space_of(cls, dropouts: Mapping[str, float] | None = None, **space_config: Any) -> RecurrentCell:
        return RecurrentCell(**space_config)

    def fresh(self) -> RecurrentSupernet:
        return RecurrentSupernet(dropouts=self.dropouts, **self.search_space.config())

    def key(self, node: int, source: int, operation: str) -> str:
        """The name of the matrix that ``node`` multiplies with."""
        return {"node": f"{node}", "edge": f"{node}_{source}", "edge_op": f"{node}_{source}_{operation}"}[
            self.search_space.sharing
        ]

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[int8]) -> torch.Tensor:
        """``x``: tokens (T, B); ``path``: (1, D)."""
        return self.body.logits(self.hidden_of_path(x, path))

    def hidden_of_path(
        self, tokens: torch.Tensor, path: npt.NDArray[int8], state: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Outputs of the cell (T, B, H), the last of which is the state for the next piece of text; ``body.logits``
        decodes them.
        """
        (architecture,) = self.search_space.decode(path[:1])
        cell = self.search_space.cell(architecture)
        matrices = [
            self.matrices[self.key(j, source, operation)] for j, (operation, source) in enumerate(cell, start=1)
        ]
        return self.body.hidden_states(tokens, state, fixed_cell(cell, matrices))

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """A node is the mean of what it would be for each input and operation, weighted by the product of their
        weights.
        """
        return self.body.logits(
            self.body.hidden_states(x, None, self._mixed_cell([w.to(self.body.w0) for w in weights]))
        )

    def _mixed_cell(self, weights: Sequence[torch.Tensor]) -> Step:
        n, variants = self.search_space.nodes, len(OPERATIONS) if self.search_space.sharing == "edge_op" else 1
        operations, inputs = weights[0::2], [weights[0].new_ones(1), *weights[1::2]]
        # Of each state: the matrices of all nodes that may read it, and the products of their weights (nodes,
        # operations).
        stacked = []
        for i in range(n):
            keys = [self.key(j, i, operation) for j in range(i + 1, n + 1) for operation in OPERATIONS[:variants]]
            shares = torch.stack([inputs[j][i] * operations[j] for j in range(i, n)])
            stacked.append((torch.cat([self.matrices[key] for key in keys]), shares))

        def step(state: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            states: list[torch.Tensor | float] = [state, *[0.0] * n]
            for i, (matrices, shares) in enumerate(stacked):
                s = torch.as_tensor(states[i])
                y = F.linear(s if mask is None else s * mask, matrices).view(len(s), n - i, variants, 2, -1)
                c, g = y.expand(-1, -1, len(OPERATIONS), -1, -1).unbind(3)
                values = torch.stack(
                    [ACTIVATIONS[operation](value) for operation, value in zip(OPERATIONS, g.unbind(2), strict=True)], 2
                )
                mixed = torch.einsum("bnoh,no->nbh", gated(s[:, None, None], values, torch.sigmoid(c)), shares)
                for j in range(i + 1, n + 1):
                    states[j] = states[j] + mixed[j - i - 1]
            return torch.stack([torch.as_tensor(s) for s in states[1:]]).mean(0)

        return step

    def weight_blocks(self) -> WeightBlocks:
        """With ``sharing="node"`` all matrices are part of every architecture. The embedding counts as the classifier
        that it also is.
        """
        roles: dict[str, Role] = {"embedding.weight": "classifier_weight", "bias": "classifier_bias"}
        fixed: list[tuple[str, Role]] = [
            (f"body.{name}", roles.get(name, "conv")) for name, _ in self.body.named_parameters()
        ]
        choices = []
        for j, part in enumerate(self.search_space.parts, start=1):
            if self.search_space.sharing == "node":
                fixed.append((f"matrices.{j}", "conv"))
                choices.append((WeightBlock(),) * len(part.values))
            else:
                keys = dict.fromkeys(self.key(j, i, operation) for i in range(j) for operation in OPERATIONS)
                choices.append(tuple(WeightBlock(((f"matrices.{key}", "conv"),)) for key in keys))
        return WeightBlocks(WeightBlock(tuple(fixed)), tuple(choices))
