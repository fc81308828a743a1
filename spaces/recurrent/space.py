"""The space of recurrent cells without weights. Facts: Yu et al., "Evaluating the Search Phase of NAS", ICLR 2020."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import CostTable, Decision, GraphEdge, ImageSize, Indices, SearchSpace
from ..errors import SpaceError, closest, shown
from ..images import at_least
from . import codec

if TYPE_CHECKING:
    from .network import RecurrentNetwork
    from .supernet import RecurrentSupernet

SHARINGS = ("node", "edge", "edge_op")
MOST_NODES = 32
"""A node of a larger cell would have more (input, operation) pairs than an int8 can number."""


class RecurrentCell(SearchSpace):
    """Cells whose node j applies one of four activations to one earlier state; the output is the mean of all nodes. n!
    4^n cells.

    With ``[c, g] = W_j s`` for the state s that node j reads, ``s_j = s + sigmoid(c) (f(g) - s)``; the state 0 is made
    in the same way from the word and the previous output, with f = tanh. The defaults are those of DARTS' Penn-Treebank
    experiments. Decisions are ``op_1, input_2, op_2, ...``; the first node has no other input than 0.

    Args:
        nodes: 1 to 32. 2 give 32 cells (26 functions), 8 give 2,642,411,520.
        hidden: size of a state.
        embedding: size of a word's vector, that of a state by default. Where they differ, a linear layer precedes the
            decoder.
        classes: words of the vocabulary.
        sharing: what has a weight matrix of its own in the supernet: ``node`` (DARTS), ``edge``, the node and its input
            (ENAS-PyTorch), or ``edge_op``, the node, its input and its operation (ENAS and NAO-WS).
    """

    name: ClassVar[str] = "recurrent"
    takes_images: ClassVar[bool] = False

    def __init__(
        self,
        nodes: int = 8,
        hidden: int = 850,
        embedding: int | None = None,
        classes: int = 10_000,
        sharing: str = "node",
    ) -> None:
        at_least(
            nodes=(nodes, 1),
            hidden=(hidden, 1),
            embedding=(hidden if embedding is None else embedding, 1),
            classes=(classes, 1),
        )
        if nodes > MOST_NODES:
            raise SpaceError(f"nodes <= {MOST_NODES} must hold, but got nodes={shown(nodes)}.")
        if sharing not in SHARINGS:
            raise SpaceError(f"sharing: unknown granularity {shown(sharing)}; {closest(str(sharing), SHARINGS)}")
        self.nodes, self.hidden, self.classes, self.sharing = nodes, hidden, classes, sharing
        self.embedding = hidden if embedding is None else embedding
        decisions = [Decision("op_1", codec.OPERATIONS)]
        for j in range(2, nodes + 1):
            decisions += [Decision(f"input_{j}", tuple(map(str, range(j)))), Decision(f"op_{j}", codec.OPERATIONS)]
        super().__init__(decisions)

    def config(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "hidden": self.hidden,
            "embedding": self.embedding,
            "classes": self.classes,
            "sharing": self.sharing,
        }

    # -- codecs --------------------------------------------------------------------------------------------------------
    def cell(self, architecture: Architecture) -> list[codec.Node]:
        """(operation, input) of each node."""
        choices = self.check(architecture).as_dict()
        return [(choices[f"op_{j}"], int(choices.get(f"input_{j}", 0))) for j in range(1, self.nodes + 1)]

    def _of(self, cell: Sequence[codec.Node]) -> Architecture:
        choices = {"op_1": cell[0][0]}
        for j, (operation, source) in enumerate(cell[1:], start=2):
            choices |= {f"input_{j}": str(source), f"op_{j}": operation}
        return self.architecture(choices)

    def to_string(self, architecture: Architecture) -> str:
        return codec.to_string(self.cell(architecture))

    def from_string(self, text: str) -> Architecture:
        """DARTS' ``Genotype(recurrent=[('tanh', 0), ...], concat=range(1, 9))``, or NAO's integers as
        :meth:`from_integers` reads them.
        """
        return self._of(codec.from_string(text, self.nodes))

    def from_integers(self, text: str, code: str = "nao-ws") -> Architecture:
        """NAO's ``input activation`` integers. Its two public codes number activations differently, so name the one
        that wrote them: ``nao-ws`` (tanh, relu, sigmoid, identity; the order of this space) or ``nao`` (tanh, relu,
        identity, sigmoid).
        """
        return self._of(codec.from_integers(text, self.nodes, code))

    def canonical(self, architecture: Architecture) -> str:
        return codec.canonical(self.cell(architecture))

    def identifier(self, architecture: Architecture) -> int:
        """The row of :meth:`enumerate`. Of two-node cells it is eval-nas' number, ``8 op_1 + 4 input_2 + op_2``."""
        number = 0
        for decision, index in zip(self.decisions, self.encode([architecture])[0].tolist(), strict=True):
            number = number * len(decision.values) + index
        return number

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        edges = []
        for j, (operation, source) in enumerate(self.cell(architecture), start=1):
            edges += [GraphEdge(str(source) if source else "input", str(j), operation), GraphEdge(str(j), "output", "")]
        return {"cell": edges}

    # -- structure and cost --------------------------------------------------------------------------------------------
    @cached_property
    def _parts(self) -> tuple[Decision, ...]:
        def values(j: int) -> tuple[str, ...]:
            return (
                tuple(str(i) for i in range(j))
                if self.sharing == "edge"
                else tuple(f"{o}@{i}" for i in range(j) for o in codec.OPERATIONS)
            )

        return tuple(Decision(f"node_{j}", values(j)) for j in self._numbers)

    @property
    def parts(self) -> tuple[Decision, ...]:
        """One a node: its operation and input together, or its input alone where that alone says which matrix it has."""
        return self._parts

    @property
    def _numbers(self) -> range:
        return range(1, self.nodes + 1)

    def _sources(self, indices: Indices) -> Indices:
        """The state that each node reads: (n, nodes) int8."""
        sources = np.zeros((len(indices), self.nodes), dtype=np.int8)
        sources[:, 1:] = np.asarray(indices)[:, 1::2]
        return sources

    def structure(self, indices: Indices) -> Indices:
        sources = self._sources(indices)
        if self.sharing == "edge":
            return sources
        parts: Indices = (sources * len(codec.OPERATIONS) + np.asarray(indices)[:, 0::2]).astype(np.int8)
        return parts

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """One path leads to each node, and from node j to the output lead one of its own and those of its readers."""
        sources, rows = self._sources(indices), np.arange(len(indices))
        out = np.ones((len(indices), self.nodes + 1), dtype=np.int64)
        for j in reversed(self._numbers):
            out[rows, sources[:, j - 1]] += out[:, j]
        counts: npt.NDArray[np.int64] = out[:, 1:]
        return counts

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        """As many as nodes: each is reached in one way and read by the output."""
        counts: npt.NDArray[np.int64] = np.full(len(indices), self.nodes, dtype=np.int64)
        return counts

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        """Multiply-adds of matrix products for ONE TOKEN; ``image_size`` means nothing here. All cells cost the same.

        Parameters at 8 nodes and the default sizes: 8,510,000 of the embedding, which is also the decoder, and its
        bias, 2,890,000 of W_0 and 8 x 1,445,000 of the nodes, 22,960,000 in all.
        """
        cell = 2 * self.hidden * (self.embedding + self.hidden) + self.nodes * 2 * self.hidden**2
        projection = self.hidden * self.embedding if self.embedding != self.hidden else 0
        decoder = self.classes * self.embedding
        nothing = np.zeros((self.nodes, max(len(part.values) for part in self.parts)), dtype=np.int64)
        return CostTable(
            self, cell + projection + decoder + self.classes, cell + projection + decoder, nothing, nothing
        )

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self, **dropouts: float) -> RecurrentSupernet:
        """The weight-sharing language model, an NNI ``ModelSpace``; ``dropouts`` as in :meth:`network`.

        Two architectures with equal :meth:`canonical` forms have different weights here, unless they are renamed
        consistently.
        """
        from .supernet import RecurrentSupernet

        return RecurrentSupernet(dropouts=dropouts, **self.config())

    def network(self, architecture: Architecture, **dropouts: float) -> RecurrentNetwork:
        """A language model: tokens (T, B) int64 give logits (T, B, classes).

        ``dropouts``: the rates ``dropout``, ``dropouth``, ``dropoutx``, ``dropouti`` and ``dropoute``, all 0 by
        default; see :class:`nni_plugins.spaces.recurrent.network.Dropouts`.
        """
        from .network import Dropouts, RecurrentNetwork

        return RecurrentNetwork(self, self.cell(architecture), Dropouts.of(dropouts))
