"""The weight-sharing network of :class:`nni_plugins.spaces.cells.nasnet.SlotSpace` (NAO-V2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from .. import head_modules
from ..operations import FactorizedReduce, State, candidate
from ..path_supernet import PathSupernet, fixed_parameters, parameters_of, skip_parameters
from ..prefixes import Piece, run_pieces
from ..supernet import Role, WeightBlock, WeightBlocks
from .macro import CellShape
from .nasnet import NAO, NASNet, SlotSpace
from .network import CellStem, calibration, chain_of_cells, drop_path
from .space import CELLS

SPACES: dict[str, type[SlotSpace]] = {"nasnet": NASNet, "nao": NAO}


class SharedStatisticsNorm(nn.BatchNorm2d):
    """A batch norm with its own scale and shift that keeps its running statistics in ``statistics``, which others
    share.
    """

    def __init__(self, statistics: nn.BatchNorm2d, affine: bool) -> None:
        super().__init__(statistics.num_features, affine=affine, track_running_stats=False)
        self.statistics = statistics

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.statistics
        return F.batch_norm(
            x, shared.running_mean, shared.running_var, self.weight, self.bias, self.training, 0.1, self.eps
        )


def share_statistics(modules: Sequence[nn.Module], affine: bool) -> nn.ModuleList:
    """Let the n-th batch norms of all ``modules``, one operation for several inputs, share their running statistics."""
    norms = [
        [
            (parent, name)
            for parent in m.modules()
            for name, child in parent.named_children()
            if isinstance(child, nn.BatchNorm2d)
        ]
        for m in modules
    ]
    for same in zip(*norms, strict=True):
        features = cast(nn.BatchNorm2d, getattr(*same[0])).num_features
        statistics = nn.BatchNorm2d(features, affine=False)
        for parent, name in same:
            setattr(parent, name, SharedStatisticsNorm(statistics, affine))
    return nn.ModuleList(modules)


class SlotCell(nn.Module):
    """All operations of one cell: for each slot and operation one module an input.

    In training each result is dropped, sample by sample, with probability ``drop_path``; those of skip connections if
    ``drop_identity``.
    """

    drop_path: float = 0.0
    drop_identity: bool = True

    def __init__(self, space: SlotSpace, shape: CellShape, inputs: tuple[int, int], affine: bool) -> None:
        super().__init__()
        self.kind, self.channels, self.nodes = int(shape.reduction), shape.channels, space.nodes
        self.names = space.operations
        self.calibrations = nn.ModuleList(calibration(space.macro, shape, p, inputs[p], affine) for p in (0, 1))
        relu = space.macro.skip_relu
        self.slots = nn.ModuleList()
        for node in range(2, space.nodes + 2):
            for _ in (0, 1):
                slot = nn.ModuleList()
                for name in space.operations:
                    built = [
                        candidate(name, shape.channels, 2 if shape.reduction and i < 2 else 1, affine, skip_relu=relu)
                        for i in range(node)
                    ]
                    reducing = (
                        name == "skip_connect" and shape.reduction
                    )  # only inputs 0 and 1 have weights, of another kind
                    slot.append(nn.ModuleList(built) if reducing else share_statistics(built, affine))
                self.slots.append(slot)
        self.joins = self.reduces = None
        if space.concat == "loose_ends":
            self.joins = nn.ModuleList(
                nn.Conv2d(shape.channels, shape.channels, 1, bias=False) for _ in range(space.nodes + 2)
            )
            self.norm = nn.BatchNorm2d(shape.channels, affine=affine)
            if shape.reduction:
                self.reduces = nn.ModuleList(
                    FactorizedReduce(shape.channels, shape.channels, affine, relu) for _ in (0, 1)
                )

    def run(
        self, s0: torch.Tensor, s1: torch.Tensor, slots: Sequence[Sequence[Sequence[Any]]], joined: Sequence[Any]
    ) -> torch.Tensor:
        """``slots[slot][input][operation]`` and ``joined[state]``: numbers or 0-d tensors; what has the number 0 is not
        run.
        """
        states = [State(calibrate(s)) for calibrate, s in zip(self.calibrations, (s0, s1), strict=True)]
        for node in range(2, self.nodes + 2):
            total: torch.Tensor | None = None
            for k in (0, 1):
                slot = cast(nn.ModuleList, self.slots[2 * (node - 2) + k])
                for i, row in enumerate(slots[2 * (node - 2) + k]):
                    for o, weight in enumerate(row):
                        if isinstance(weight, torch.Tensor) or weight:
                            y = states[i].through(cast(nn.ModuleList, slot[o])[i])
                            if (
                                self.training
                                and self.drop_path > 0
                                and (self.drop_identity or self.names[o] != "skip_connect")
                            ):
                                y = drop_path(y, self.drop_path)
                            y = y * weight if isinstance(weight, torch.Tensor) else y
                            total = y if total is None else total + y
            states.append(State(cast(torch.Tensor, total)))
        if self.joins is None:
            return torch.cat([state.x for state in states[2:]], 1)
        output: torch.Tensor | None = None
        for s, weight in enumerate(joined):
            if isinstance(weight, torch.Tensor) or weight:
                reduced = self.reduces is not None and s < 2
                state = State(states[s].through(cast(nn.ModuleList, self.reduces)[s])) if reduced else states[s]
                y = self.joins[s](state.positive)
                y = y * weight if isinstance(weight, torch.Tensor) else y
                output = y if output is None else output + y
        return cast(torch.Tensor, self.norm(output))


class SlotSupernet(PathSupernet):
    """See :meth:`nni_plugins.spaces.cells.nasnet.SlotSpace.supernet`."""

    search_space: SlotSpace

    def __init__(self, space_name: str, affine: bool, **space_config: Any) -> None:
        super().__init__()
        self.affine = affine
        self.search_space = space = SPACES[space_name](**space_config)
        macro = space.macro
        shapes = macro.shapes()
        joined = space.nodes if space.concat == "all" else 1
        self.stem = CellStem(macro.stem, macro.input_channels)
        self.cells = nn.ModuleList()
        for shape in shapes:
            inputs = [macro.source_channels(shapes, shape, p, (joined, joined)) for p in (0, 1)]
            self.cells.append(SlotCell(space, shape, (inputs[0], inputs[1]), affine))
        self.classifier = head_modules.build(
            space.head, macro.output_channels(shapes[-1], (joined, joined)), space.classes
        )
        self.add_selectors(space)

    @classmethod
    def space_of(cls, space_name: str, affine: bool, **space_config: Any) -> SlotSpace:
        return SPACES[space_name](**space_config)

    def fresh(self) -> SlotSupernet:
        return SlotSupernet(self.search_space.name, self.affine, **self.search_space.config())

    def set_drop_path(self, probability: float, identity: bool = True) -> None:
        """Of operations in training: ``probability`` in the last cell, growing linearly from the first (NAO-V2).
        ``identity``: also of skip connections, as NAO-V2's code has it since March 2020."""
        for k, module in enumerate(self.cells):
            cell = cast(SlotCell, module)
            cell.drop_path, cell.drop_identity = probability * (k + 1) / len(self.cells), identity

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        return cast(torch.Tensor, run_pieces(self.pieces(path, (x.shape[-2], x.shape[-1])), x))

    def pieces(self, path: npt.NDArray[np.int8], size: tuple[int, int]) -> list[Piece]:
        """``path: (cells, D)`` as a chain from images of ``size`` (H, W) to what the head says."""
        space = self.search_space
        same = path.strides[0] == 0  # one architecture, broadcast to all cells
        rows = path[:1] if same else path
        loose = space._loose(rows).tolist()
        per = 2 * space.nodes
        weights: list[tuple[list[Any], list[Any]]] = []
        for k, module in enumerate(self.cells):
            cell, r = cast(SlotCell, module), 0 if same else k
            chosen = rows[r].reshape(len(CELLS), per, 2)[cell.kind].tolist()
            slots = []
            for s, (i, o) in enumerate(chosen):
                empty = [0] * len(cell.names)
                slots.append(
                    [empty if j != i else [int(q == o) for q in range(len(cell.names))] for j in range(s // 2 + 2)]
                )
            weights.append((slots, [int(w) for w in loose[r][cell.kind]]))
        return chain_of_cells(self, weights, size)

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """A slot's operation o on input i weighs (weight of i) x (weight of o); a state is joined with the product,
        over all slots, of what they do not give to it: the probability that none reads it, if the weights are
        independent probabilities.
        """
        space, kinds = self.search_space, []
        for c in range(len(CELLS)):
            slots, free = [], [torch.ones((), dtype=x.dtype, device=x.device) for _ in range(space.nodes + 2)]
            for s in range(2 * space.nodes):
                inputs, operations = weights[2 * (c * 2 * space.nodes + s)], weights[2 * (c * 2 * space.nodes + s) + 1]
                slots.append([list(row) for row in torch.outer(inputs, operations)])
                for i, share in enumerate(inputs):
                    free[i] = free[i] * (1 - share)
            kinds.append((slots, free))
        weights_of_cells = [kinds[cast(SlotCell, cell).kind] for cell in self.cells]
        return cast(torch.Tensor, run_pieces(chain_of_cells(self, weights_of_cells, (x.shape[-2], x.shape[-1])), x))

    def weight_blocks(self) -> WeightBlocks:
        """Each slot's weights by input and operation; each state's block of the joining convolution with the reduction
        of an unread input.
        """
        space = self.search_space
        choices: list[tuple[WeightBlock, ...]] = []
        searched: set[str] = set()

        def block(entries: list[tuple[str, Role]], constants: list[tuple[Role, float]]) -> WeightBlock:
            searched.update(name for name, _ in entries)
            return WeightBlock(tuple(entries), tuple(constants))

        for kind in range(len(CELLS)):
            cells = [(k, cast(SlotCell, c)) for k, c in enumerate(self.cells) if cast(SlotCell, c).kind == kind]
            for s in range(2 * space.nodes):
                values = []
                for i in range(s // 2 + 2):
                    for o, name in enumerate(space.operations):
                        entries: list[tuple[str, Role]] = []
                        constants: list[tuple[Role, float]] = []
                        described = skip_parameters if name == "skip_connect" else parameters_of
                        for k, cell in cells:
                            module = cast(nn.ModuleList, cast(nn.ModuleList, cell.slots[s])[o])[i]
                            entries += described(module, f"cells.{k}.slots.{s}.{o}.{i}.")
                            if "pool" in name:  # C kernels of k^2 weights 1 / k^2
                                constants.append(("pool", cell.channels / int(name[-1]) ** 2))
                            elif name == "skip_connect" and not (kind and i < 2):
                                constants.append(("identity", float(cell.channels)))
                        values.append(block(entries, constants))
                choices.append(tuple(values))
        if space.concat == "loose_ends":
            for kind in range(len(CELLS)):
                cells = [(k, cast(SlotCell, c)) for k, c in enumerate(self.cells) if cast(SlotCell, c).kind == kind]
                for state in range(space.nodes + 2):
                    entries = []
                    for k, cell in cells:
                        entries += parameters_of(cast(nn.ModuleList, cell.joins)[state], f"cells.{k}.joins.{state}.")
                        if kind and state < 2:
                            entries += parameters_of(
                                cast(nn.ModuleList, cell.reduces)[state], f"cells.{k}.reduces.{state}."
                            )
                    choices.append((WeightBlock(), block(entries, [])))
            choices.append(tuple(WeightBlock() for _ in space.parts[-1].values))
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), tuple(choices))
