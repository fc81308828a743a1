"""Cells whose nodes read any two earlier states, the same one twice if they like: NASNet, AmoebaNet, PNAS and NAO.

Facts: Zoph et al., CVPR 2018; Real et al., AAAI 2019; Liu et al., ECCV 2018; Luo et al., "Understanding and Improving
One-shot Neural Architecture Optimization", 2019 (NAO-V2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import CostTable, Decision, ImageSize, Indices
from ..errors import SpaceError, closest, shown
from ..heads import Head
from ..images import at_least, sides
from ..operation_costs import parse as parse_operation
from .genotype import CellGenotype, Genotype, Pair
from .space import CELLS, DEAD, MACRO, CellSpace

if TYPE_CHECKING:
    from .slot_supernet import SlotSupernet

Bools = npt.NDArray[np.bool_]


class SlotSpace(CellSpace):
    """Each node adds two operations, on two earlier states that may be the same.

    Decisions of a node, in this order: ``<cell>_<node>_input_0``, ``_op_0``, ``_input_1``, ``_op_1``; every combination
    is valid. Parts are the slots, each with its input and operation together, then for each state whether it is joined
    into the output, then how many are.
    """

    as_nao: ClassVar[bool] = False
    """Calibrations and skip connections of stride 2 are NAO's instead of DARTS'; see
    :class:`nni_plugins.spaces.cells.macro.Macro`.
    """

    def __init__(self, nodes: int, operations: Sequence[str], concat: str, **macro: Any) -> None:
        at_least(nodes=(nodes, 1))
        if nodes > 10:
            raise SpaceError(f"nodes <= 10 must hold, but got nodes={nodes}.")
        if concat not in ("all", "loose_ends"):
            raise SpaceError(f"concat: must be 'all' or 'loose_ends', but got {shown(concat)}.")
        for name in operations:
            parse_operation(name)
        if not operations or len(set(operations)) != len(operations) or len(operations) * (nodes + 1) > 127:
            raise SpaceError(
                f"operations: 1 to {127 // (nodes + 1)} different ones are needed, but got {shown(list(operations))}."
            )
        self.operations, self.concat = tuple(operations), concat
        self.slots = [(cell, node, k) for cell in CELLS for node in range(2, nodes + 2) for k in (0, 1)]
        decisions = []
        for cell, node, k in self.slots:
            decisions.append(Decision(f"{cell}_{node}_input_{k}", tuple(str(i) for i in range(node))))
            decisions.append(Decision(f"{cell}_{node}_op_{k}", self.operations))
        calibrate = "when_needed" if self.as_nao else "always"
        super().__init__(decisions, nodes, calibrate=calibrate, skip_relu=not self.as_nao, **macro)

    # -- codecs --------------------------------------------------------------------------------------------------------
    def genotype(self, architecture: Architecture) -> Genotype:
        row = self.encode([architecture])[0].tolist()
        cells = []
        for c in range(len(CELLS)):
            nodes: list[tuple[Pair, ...]] = []
            for node in range(self.nodes):
                at = 4 * (c * self.nodes + node)
                nodes.append(tuple((self.operations[row[at + 2 * k + 1]], row[at + 2 * k]) for k in (0, 1)))
            cell = CellGenotype(tuple(nodes), tuple(range(2, self.nodes + 2)))
            cells.append(cell if self.concat == "all" else CellGenotype(cell.nodes, cell.loose_ends))
        return Genotype(*cells)

    def from_genotype(self, genotype: Genotype) -> Architecture:
        choices: dict[str, str] = {}
        for cell, built in zip(CELLS, (genotype.normal, genotype.reduce), strict=True):
            expected = tuple(range(2, self.nodes + 2)) if self.concat == "all" else built.loose_ends
            if built.concat != expected:
                rule = "all nodes" if self.concat == "all" else "the states that no node reads"
                raise SpaceError(
                    f"{cell}_concat: {self.name} joins {rule}, here {list(expected)}, but got {list(built.concat)}."
                )
            for i, (name, source) in enumerate(built.edges()):
                if name not in self.operations:
                    raise SpaceError(
                        f"{cell}.edges[{i}].operation: {name!r} is not one of this space; {closest(name, self.operations)}"
                    )
                choices[f"{cell}_{i // 2 + 2}_input_{i % 2}"], choices[f"{cell}_{i // 2 + 2}_op_{i % 2}"] = (
                    str(source),
                    name,
                )
        return self.architecture(choices)

    # -- structure and cost --------------------------------------------------------------------------------------------
    @cached_property
    def parts(self) -> tuple[Decision, ...]:  # type: ignore[override]
        parts = []
        for cell, node, k in self.slots:
            parts.append(
                Decision(f"{cell}_{node}_{k}", tuple(f"{name}@{i}" for i in range(node) for name in self.operations))
            )
        if self.concat == "loose_ends":
            parts += [Decision(f"{cell}_joins_{s}", ("no", "yes")) for cell in CELLS for s in range(self.nodes + 2)]
            counts = range(1, self.nodes + 2)
            parts.append(Decision("joined", tuple(f"{a}_{b}" for a in counts for b in counts)))
        return tuple(parts)

    def _loose(self, indices: Indices) -> Bools:
        """(n, 2, nodes + 2): whether each state is joined into the output."""
        states = np.ones((len(indices), len(CELLS), self.nodes + 2), dtype=np.bool_)
        if self.concat == "all":
            states[:, :, :2] = False
            return states
        rows = np.arange(len(indices))
        for s, (cell, _, _) in enumerate(self.slots):
            states[rows, CELLS.index(cell), indices[:, 2 * s]] = False
        return states

    def structure(self, indices: Indices) -> Indices:
        slots = indices[:, ::2].astype(np.int64) * len(self.operations) + indices[:, 1::2]
        if self.concat == "all":
            return slots.astype(np.int8)
        loose = self._loose(indices)
        counts = loose.sum(axis=2)
        joined = (counts[:, :1] - 1) * (self.nodes + 1) + counts[:, 1:] - 1
        return np.concatenate([slots, loose.reshape(len(indices), -1), joined], axis=1).astype(np.int8)

    def _flows(self, indices: Indices) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Paths through each slot (n, slots), through each joined state (n, 2 (nodes + 2)), and complete paths (n,)."""
        dead = np.array([name in DEAD for name in self.operations])
        alive = ~dead[indices[:, 1::2]]
        sources = indices[:, ::2].astype(np.int64)
        loose = self._loose(indices)
        rows = np.arange(len(indices))
        into = np.zeros((len(indices), len(CELLS), self.nodes + 2), dtype=np.int64)
        reach = np.zeros((len(indices), 2, len(CELLS), self.nodes + 2), dtype=np.bool_)
        into[:, :, :2] = 1
        reach[:, 0, :, 0] = reach[:, 1, :, 1] = True
        for s, (cell, node, _) in enumerate(self.slots):
            c = CELLS.index(cell)
            into[:, c, node] += into[rows, c, sources[:, s]] * alive[:, s]
            for p in (0, 1):
                reach[:, p, c, node] |= reach[rows, p, c, sources[:, s]] & alive[:, s]
        out = loose.astype(np.int64)
        for s, (cell, node, _) in reversed(list(enumerate(self.slots))):
            c = CELLS.index(cell)
            out[rows, c, sources[:, s]] += out[:, c, node] * alive[:, s]
        reads: Bools = np.asarray((reach & loose[:, None]).any(axis=3))
        depends = self.depends([[reads[:, p, c] for p in (0, 1)] for c in (0, 1)])
        through = np.zeros((len(indices), len(self.slots)), dtype=np.int64)
        for s, (cell, node, _) in enumerate(self.slots):
            c = CELLS.index(cell)
            through[:, s] = into[rows, c, sources[:, s]] * out[:, c, node] * alive[:, s] * depends
        ends = (into * loose * depends[:, None, None]).reshape(len(indices), -1)
        return through, ends, ends.sum(axis=1)

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Slots: paths to their input times paths from their node; joined states: paths that end there; their number:
        all paths.
        """
        through, ends, paths = self._flows(indices)
        return through if self.concat == "all" else np.concatenate([through, ends, paths[:, None]], axis=1)

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Of both cells together."""
        return self._flows(indices)[2]

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        """How many states a cell joins changes what the next cells and the head read: that is the last part's share."""
        image = sides(image_size)
        parameters = np.zeros((len(self.parts), max(len(p.values) for p in self.parts)), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for s, (cell, node, _) in enumerate(self.slots):
            for i in range(node):
                for o, name in enumerate(self.operations):
                    v = i * len(self.operations) + o
                    parameters[s, v], macs[s, v] = self.edge_costs(cell == "reduce", name, i, image)
        if self.concat == "all":
            return CostTable(self, *self.frame_costs((self.nodes, self.nodes), image), parameters, macs)
        for state in (0, 1):  # an input that no node reads is joined through a factorized reduction
            s = len(self.slots) + self.nodes + 2 + state
            parameters[s, 1], macs[s, 1] = self.edge_costs(True, "skip_connect", state, image)
        for a in range(1, self.nodes + 2):
            for b in range(1, self.nodes + 2):
                v = (a - 1) * (self.nodes + 1) + b - 1
                parameters[-1, v], macs[-1, v] = self.frame_costs((a, b), image)
        return CostTable(self, 0, 0, parameters, macs)

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self, affine: bool = True) -> SlotSupernet:
        """The weight-sharing network of NAO: weights of their own for each cell, node, slot, operation and input; batch
        norms learn scale and shift for each input but share running statistics. Where loose ends are joined, a 1x1
        convolution with one block of weights a state makes them one cell's width; the stand-alone network joins them as
        they are.
        """
        from .slot_supernet import SlotSupernet

        return SlotSupernet(self.name, affine, **self.config())


NASNET_OPERATIONS = (
    "skip_connect", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7",
    "conv_1x1", "conv_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7",
)  # fmt: skip
"""The thirteen of Zoph et al., section 3.1."""


class NASNet(SlotSpace):
    __doc__ = f"""NASNet's space in DARTS' network, so that its cells compare with others: also AmoebaNet's, PNAS' and UnNAS' samples.

    Args:
        nodes: of a cell.
        operations: names, see :func:`nni_plugins.spaces.operation_costs.names`; ``none`` is allowed.
        concat: the output joins ``loose_ends``, the states that no node reads (NASNet, AmoebaNet), or ``all`` nodes (PNAS, DARTS).{MACRO}
    """

    name: ClassVar[str] = "nasnet"

    def __init__(
        self,
        nodes: int = 5,
        operations: Sequence[str] = NASNET_OPERATIONS,
        concat: str = "loose_ends",
        channels: int = 16,
        cells: int = 8,
        classes: int = 10,
        stem: str = "cifar",
        reductions: int = 2,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        macro = {"channels": channels, "cells": cells, "classes": classes, "stem": stem, "reductions": reductions}
        super().__init__(nodes, operations, concat, **macro, head=head, input_channels=input_channels)

    def config(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "operations": list(self.operations), "concat": self.concat, **self._macro_config()}


NAO_OPERATIONS = {
    "small": ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect"),
    "middle": (
        "none", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "dil_conv_7x7", "avg_pool_3x3",
        "max_pool_3x3",
    ),
}  # fmt: skip
"""In the order of NAO-V2's operation numbers."""


class NAO(SlotSpace):
    __doc__ = f"""NAO's space: five nodes, two inputs each, loose ends; 40 integers an architecture, ``input operation input operation`` a node,
    the normal cell's twenty first. Index rows are those integers.

    Unlike in DARTS' network, an input of a cell that already has the right shape is used as it is, and a skip connection of stride 2, or
    an unread input that a reduction cell joins, is reduced without a ReLU. Depth is ``cells = 3 N + 2``: 11 in the search, 20 on CIFAR,
    14 on ImageNet.

    Args:
        operations: ``small``, five, or ``middle``, ten.{MACRO}
    """

    name: ClassVar[str] = "nao"
    as_nao = True

    def __init__(
        self,
        operations: str = "small",
        channels: int = 20,
        cells: int = 11,
        classes: int = 10,
        stem: str = "cifar",
        reductions: int = 2,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        if operations not in NAO_OPERATIONS:
            raise SpaceError(f"operations: unknown set {shown(operations)}; {closest(str(operations), NAO_OPERATIONS)}")
        self.operation_set = operations
        macro = {"channels": channels, "cells": cells, "classes": classes, "stem": stem, "reductions": reductions}
        chosen = NAO_OPERATIONS[operations]
        super().__init__(5, chosen, "loose_ends", **macro, head=head, input_channels=input_channels)

    def config(self) -> dict[str, Any]:
        return {"operations": self.operation_set, **self._macro_config()}

    def to_string(self, architecture: Architecture) -> str:
        """40 integers."""
        return " ".join(str(n) for n in self.encode([architecture])[0].tolist())

    def from_string(self, text: str) -> Architecture:
        """40 integers, separated by spaces or commas; a ``Genotype(...)`` is read too."""
        if "(" in text or "normal" in text:
            return super().from_string(text)
        if len(text) > 1000:
            raise SpaceError(f"40 integers are needed, but got {len(text):,} characters.")
        words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
        if len(words) != len(self.decisions):
            raise SpaceError(f"{len(self.decisions)} integers are needed, but got {len(words)} in {shown(text)}.")
        choices = {}
        for word, decision in zip(words, self.decisions, strict=True):
            if not word.isdecimal() or int(word) >= len(decision.values):
                raise SpaceError(f"{decision.label}: must be 0 to {len(decision.values) - 1}, but got {shown(word)}.")
            choices[decision.label] = decision.values[int(word)]
        return self.architecture(choices)

    def canonical(self, architecture: Architecture) -> str:
        """The integers with the two halves of every node sorted: swapped twins are equal."""
        nodes = self.encode([architecture])[0].reshape(-1, 2, 2).tolist()
        return " ".join(str(n) for node in nodes for half in sorted(node) for n in half)
