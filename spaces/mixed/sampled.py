"""Mixed supernets that run one operation of each edge: drawn by Gumbel noise (GDAS), or uniformly with a whole
architecture (SETN).

Dong & Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019; the same, "One-shot neural
architecture search via self-evaluated template network", ICCV 2019. Modules and parameters are those of
:class:`MixedSupernet`, by the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from ..base import SearchSpace
from ..cells.darts import EDGES, EdgeSpace
from ..cells.space import CELLS
from ..errors import SpaceError
from .cell import MixedCell
from .edge import MixedEdge, is_pool, pooled
from .functional import relu
from .network import MixedSupernet
from .sampled_options import GumbelOptions, SampledOptions

Step = Literal["weights", "architecture"]
ABSENT = -1
"""In the place of an operation: the edge is not part of the architecture."""


def gumbel_softmax(alphas: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one operation for each edge from ``softmax(alphas)``, ``alphas: (E, O)``.

    Returns one-hot rows (E, O) and their positions (E,). The value of a row is exactly one-hot; its gradient is that of
    ``softmax((log softmax(alphas) + g) / temperature)`` with g the Gumbel noise of the draw (CVPR 2019, section 3.2).
    The noise comes from torch's global generator.
    """
    noise = -torch.empty_like(alphas).exponential_().clamp_min(torch.finfo(alphas.dtype).tiny).log()
    soft = ((alphas.log_softmax(-1) + noise) / temperature).softmax(-1)
    chosen = soft.detach().argmax(-1)
    hard = F.one_hot(chosen, alphas.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach()), chosen


class SampledCell(MixedCell):
    """A mixed cell that runs one operation of each edge while :attr:`picks` says which."""

    picks: Sequence[int] | None = None
    """By edge: the position of its operation, or :data:`ABSENT`; None: the mixture of all."""
    adds_others: bool = False
    """Whether the weights of the operations that are not run are added as numbers (``gradient="authors"``)."""

    def _shared(
        self, i: int, leaving: list[int], x: torch.Tensor, weights: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        return (
            super()._shared(i, leaving, x, weights)
            if self.picks is None
            else self._picked(i, leaving, x, weights, self.picks)
        )

    def _plain(
        self, i: int, leaving: list[int], x: torch.Tensor, weights: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        return (
            super()._plain(i, leaving, x, weights)
            if self.picks is None
            else self._picked(i, leaving, x, weights, self.picks)
        )

    def _picked(
        self, i: int, leaving: list[int], x: torch.Tensor, weights: Sequence[torch.Tensor], picks: Sequence[int]
    ) -> list[torch.Tensor]:
        """What edges from state ``i`` add to their targets. ReLU and pools, which are functions of the state alone, are
        computed once.
        """
        pools, results = cast(nn.ModuleDict, self.pools[str(i)]), []
        made: dict[str, torch.Tensor] = {}
        positive: torch.Tensor | None = None
        for e in leaving:
            edge = cast(MixedEdge, self.edges[e])
            name = "none" if picks[e] == ABSENT else edge.names[picks[e]]
            weight = weights[e][picks[e]]
            if (
                name == "none"
            ):  # times its weight, or the loss of a network of nothing else would have no gradient at all
                results.append(torch.zeros_like(x[:, :, :: edge.stride, :: edge.stride]) * weight)
                continue
            if is_pool(name):
                if name not in made:
                    pool, bn = cast(nn.ModuleList, pools[name])
                    made[name] = pooled(pool, bn, x, fast=True)
                gains = cast(nn.ModuleDict, self.gains[e])
                results.append((gains[name](made[name]) if name in gains else made[name]) * weight)
                continue
            if positive is None and not isinstance(edge.operations[name], nn.Identity):
                positive = relu(x, self.frozen)
            others = [other for other in edge.operations if other != name]
            y = edge.convolved(x, x if positive is None else positive, {name: weight}, self.frozen, others)
            results.append(x * weight if y is None else y)
        if self.adds_others:
            rests = [weights[e].sum() - weights[e][picks[e]] for e in leaving]
            results = [y + rest.to(y.dtype) for y, rest in zip(results, rests, strict=True)]
        return results


class SampledSupernet(MixedSupernet):
    """Base of the two: a mixed supernet that can also run single paths, as single-path supernets do."""

    cell_type = SampledCell
    options: SampledOptions

    def __init__(self, space: SearchSpace, options: SampledOptions | None = None) -> None:
        super().__init__(space, options or SampledOptions())

    def begin_step(self, step: Step) -> None:
        """What the training loop says before each step. With ``update="all"`` weights that a weight step does not run
        decay all the same.
        """
        if step == "weights" and self.options.update == "all":
            for parameter in self.parameters():
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)

    @contextmanager
    def _picking(self, picks: Sequence[Sequence[int]], adds_others: bool = False) -> Iterator[None]:
        """Within the block each searched cell, in order, runs the operations that ``picks`` says."""
        cells = [cell for cell in self.cells if isinstance(cell, SampledCell)]
        try:
            for cell, chosen in zip(cells, picks, strict=True):
                cell.picks, cell.adds_others = chosen, adds_others
            yield
        finally:
            for cell in cells:
                cell.picks, cell.adds_others = None, False

    def picks(self, path: npt.NDArray[np.int8]) -> list[list[int]]:
        """For each searched cell the operation of each edge, of ``path: (repeats, D)``, one index row a cell."""
        same = path.strides[0] == 0  # one architecture, broadcast to all cells
        rows = self.search_space.structure(path[:1] if same else path)
        if isinstance(self.search_space, EdgeSpace):
            kinds = [CELLS.index(kind) for kind in self.kinds]
            taken = rows.reshape(-1, len(CELLS), len(EDGES)).astype(np.int64)
            first = {
                kind: self.names[kind][0][0] == "none" for kind in CELLS
            }  # 0 is an edge that is not taken, 1 the first operation
            found = []
            for n, kind in enumerate(kinds):
                row = taken[0 if same else n, kind]
                found.append(np.where(row == 0, ABSENT, row - 1 + first[CELLS[kind]]).tolist())
            return found
        cells = sum(isinstance(cell, SampledCell) for cell in self.cells)
        return [row.tolist() for row in np.broadcast_to(rows, (cells, rows.shape[1]))]

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """One path, every operation with weight one and edges without shares; ``path: (repeats, D)``, one index row a
        cell.
        """
        ones = {kind: alpha.new_ones(alpha.shape).unbind() for kind, alpha in self.alphas.items()}
        with self._picking(self.picks(path)):
            return self.forward_weights(x, ones, {})


class GumbelSupernet(SampledSupernet):
    """GDAS: every forward pass draws the operations of each kind of cell anew, and runs only those.

    As in the paper only the operation that was run sends a gradient to its weight, unless the options ask for the
    gradient of the authors' code.
    """

    options: GumbelOptions

    def __init__(self, space: SearchSpace, options: GumbelOptions | None = None) -> None:
        super().__init__(space, options or GumbelOptions())
        self.temperature = self.options.first_temperature

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """The temperature falls linearly over the epochs."""
        super().begin_epoch(epoch, epochs)
        first, last = self.options.first_temperature, self.options.last_temperature
        self.temperature = first + (last - first) * epoch / max(epochs - 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights: dict[str, Sequence[torch.Tensor]] = {}
        chosen: dict[str, list[int]] = {}
        for kind, alpha in self.alphas.items():
            hard, positions = gumbel_softmax(alpha, self.temperature)
            weights[kind], chosen[kind] = hard.unbind(), positions.tolist()
        picks = [chosen[kind] for kind in self.kinds if kind in chosen]
        with self._picking(picks, self.options.gradient == "authors"):
            return self.forward_weights(x, weights, self.probabilities()[1])


class UniformSupernet(SampledSupernet):
    """SETN: weight steps run an architecture drawn uniformly, the same in all cells; architecture steps run the whole
    mixture.
    """

    step: Step = "architecture"

    def __init__(self, space: SearchSpace, options: SampledOptions | None = None) -> None:
        super().__init__(space, options)
        if self.options.partial_channels > 1 or self.options.edge_normalization:
            raise SpaceError(
                "partial channels and edge normalization have no meaning for single architectures.",
                "Leave them out, or use GDAS.",
            )

    def begin_step(self, step: Step) -> None:
        """Say what the next forward pass is for."""
        super().begin_step(step)
        self.step = step

    def draw(self) -> npt.NDArray[np.int8]:
        """A path drawn uniformly: (repeats, D), all rows equal. Its seed comes from torch's global generator."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        row = self.search_space.sample(rng, 1)
        return np.broadcast_to(row, (self.search_space.repeats, row.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_path(x, self.draw()) if self.step == "weights" else super().forward(x)
