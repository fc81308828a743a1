"""The mixed supernet: a network of mixed cells with its architecture parameters (DARTS, PC-DARTS, RF-DARTS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import nn

from .. import head_modules, stem_modules
from ..base import SearchSpace
from ..cells.darts import EDGES, EdgeSpace, RobustDARTS
from ..cells.network import CellStem, calibration
from ..cells.space import CELLS
from ..errors import SpaceError
from ..nasbench201 import NASBench201, codec
from ..nasbench201.network import ResidualReduction, last_activation
from ..operations import FactorizedReduce
from ..staged import check_images
from .cell import MixedCell
from .derivation import describe
from .functional import convolve, norm, relu
from .options import MixedOptions

INITIAL_SCALE = 1e-3
"""Standard deviation of initial architecture parameters (DARTS)."""


def mixed_operations(space: SearchSpace) -> dict[str, list[tuple[str, ...]]]:
    """Kind of cell -> for each edge the operations that are mixed: the space's own, and ``none`` where the search has
    it.
    """
    if isinstance(space, EdgeSpace):
        none = ("none",) if not isinstance(space, RobustDARTS) or space.variant == "S3" else ()
        return {cell: [(*none, *space.sets[cell][edge]) for edge in EDGES] for cell in CELLS}
    if isinstance(space, NASBench201):
        return {"cell": [codec.OPERATIONS for _ in space.edges]}
    raise SpaceError(
        f"{space.name} has no mixture over edges.", "Differentiable search works on darts, robustdarts and nasbench201."
    )


class MixedSupernet(nn.Module):
    """Every operation on every edge, weighted by ``softmax(alphas)``; ``forward`` takes images (B, C, H, W) and returns
    the head's output.

    Parameters named ``alphas.<kind>`` (edges, operations) and ``betas.<kind>`` (edges,) are the architecture's; they
    are float32 or wider and shared by all cells of a kind. Others learn as the options say; what does not learn has
    ``requires_grad=False``.
    """

    cell_type: ClassVar[type[MixedCell]] = MixedCell

    def __init__(self, space: SearchSpace, options: MixedOptions | None = None) -> None:
        super().__init__()
        self.options = options or MixedOptions()
        self.names = mixed_operations(space)
        self.search_space = space
        self.edge_list = list(EDGES) if isinstance(space, EdgeSpace) else list(cast(NASBench201, space).edges)
        self._build(space)
        self.alphas = nn.ParameterDict(
            {kind: INITIAL_SCALE * torch.randn(len(n), len(n[0])) for kind, n in self.names.items()}
        )
        normalized = self.names if self.options.edge_normalization else {}
        self.betas = nn.ParameterDict({kind: INITIAL_SCALE * torch.randn(len(n)) for kind, n in normalized.items()})
        self._prepare()

    # -- building ------------------------------------------------------------------------------------------------------
    def _build(self, space: SearchSpace) -> None:
        options = self.options
        self.cells, self.kinds = nn.ModuleList(), list[str]()
        if isinstance(space, EdgeSpace):
            macro, nodes = space.macro, space.nodes
            self._divides(macro.width)
            shapes = macro.shapes()
            self.smallest, self.input_channels = macro.strides()[-1], macro.input_channels
            self.stem: nn.Module = CellStem(macro.stem, macro.input_channels)
            self.calibrations = nn.ModuleList()
            for shape in shapes:
                self.kinds.append(CELLS[shape.reduction])
                inputs = [macro.source_channels(shapes, shape, p, (nodes, nodes)) for p in (0, 1)]
                self.calibrations.append(
                    nn.ModuleList(calibration(macro, shape, p, inputs[p], options.affine) for p in (0, 1))
                )
                self.cells.append(
                    self.cell_type(EDGES, self.names[self.kinds[-1]], shape.channels, shape.reduction, options, 2)
                )
            outputs = macro.output_channels(shapes[-1], (nodes, nodes))
        else:
            assert isinstance(space, NASBench201)
            outputs = width = space.channels
            self._divides(width)
            self.smallest, self.input_channels = 4 * space.stem.stride, space.input_channels
            self.stem = stem_modules.build(space.stem, space.input_channels)
            for stage in range(3):
                if stage:
                    self.cells.append(ResidualReduction(outputs, 2 * outputs))
                    self.kinds.append("reduction")
                    outputs *= 2
                for _ in range(space.cells_per_stage):
                    self.cells.append(
                        self.cell_type(space.edges, self.names["cell"], outputs, False, options, 1, pool_norms=False)
                    )
                    self.kinds.append("cell")
            self.lastact = last_activation(outputs)
        self.classifier = head_modules.build(space.head, outputs, space.classes)

    def _divides(self, width: int) -> None:
        if width % self.options.partial_channels:
            raise SpaceError(
                f"partial_channels={self.options.partial_channels} must divide the width of the first cells, {width}."
            )

    def _prepare(self) -> None:
        """Initial weights, what learns, and running statistics."""
        options = self.options
        stem = options.convolutions if options.train_stem is None else options.train_stem
        in_stem, in_head = set(self.stem.modules()), set(self.classifier.modules())
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in in_head:
                if options.initialisation == "kaiming":
                    nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                elif options.initialisation == "xavier":
                    nn.init.xavier_normal_(module.weight)
                module.weight.requires_grad_(stem if module in in_stem else options.convolutions)
        for parameter in self.classifier.parameters():
            parameter.requires_grad_(options.train_classifier)
        if not options.track_statistics:
            for cell in self.cells:
                for module in cell.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.track_running_stats = False
                        module.running_mean = module.running_var = module.num_batches_tracked = None

    # -- architecture --------------------------------------------------------------------------------------------------
    def architecture_parameters(self) -> dict[str, nn.Parameter]:
        """By name, in order."""
        return {name: p for name, p in self.named_parameters() if name.startswith(("alphas.", "betas."))}

    def probabilities(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """``softmax(alphas)`` (edges, operations) and, with edge normalization, ``softmax(betas)`` over each node's
        incoming edges (edges,).
        """
        operations = {kind: alpha.softmax(-1) for kind, alpha in self.alphas.items()}
        edges = {}
        for kind, beta in self.betas.items():
            edges[kind] = torch.cat(
                [beta[self._incoming(j)].softmax(0) for j in sorted({j for _, j in self.edge_list})]
            )
        return operations, edges

    def _incoming(self, node: int) -> list[int]:
        return [e for e, (_, j) in enumerate(self.edge_list) if j == node]

    def genotype(self) -> str:
        """The architecture that would be derived now, in the space's native text."""
        return describe(self.search_space, *self.numbers(), self.options.bar_none)

    def numbers(self) -> tuple[dict[str, list[list[float]]], dict[str, list[float]]]:
        """:meth:`probabilities` as lists."""
        with torch.no_grad():
            operations, edges = self.probabilities()
        return {k: v.double().tolist() for k, v in operations.items()}, {
            k: v.double().tolist() for k, v in edges.items()
        }

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Drop-path grows linearly to its value at the last epoch, auxiliary skip connections fall from theirs."""
        for cell in self.cells:
            if isinstance(cell, MixedCell):
                cell.drop_path = self.options.drop_path * epoch / max(epochs - 1, 1)
                cell.beta = self.options.auxiliary_skip * (epochs - epoch) / epochs

    # -- forward -------------------------------------------------------------------------------------------------------
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        operations, edges = self.probabilities()
        return self.forward_weights(x, {k: v.unbind() for k, v in operations.items()}, edges)

    def forward_weights(
        self, x: torch.Tensor, weights: dict[str, Sequence[torch.Tensor]], shares: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """With given weights: kind -> for each edge (operations,), and kind -> (edges,)."""
        if x.ndim == 5:  # the tiles of a jigsaw
            x = x.flatten(0, 1)
        check_images(x, self.input_channels, self.smallest)
        size = (x.shape[2], x.shape[3])
        if isinstance(self.search_space, EdgeSpace):
            s0, s1 = self.stem(x)
            for kind, calibrate, cell in zip(self.kinds, self.calibrations, self.cells, strict=True):
                given = [self._calibrated(c, s) for c, s in zip(cast(nn.ModuleList, calibrate), (s0, s1), strict=True)]
                s0, s1 = s1, torch.cat(cast(MixedCell, cell).states(given, weights[kind], shares.get(kind))[2:], 1)
            return cast(torch.Tensor, self.classifier(s1, size))
        x = self.stem(x)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            x = (
                cell.states([x], weights[kind], shares.get(kind))[-1]
                if isinstance(cell, MixedCell)
                else self._reduced(cell, x)
            )
        return cast(torch.Tensor, self.classifier(self.lastact(x), size))

    def _calibrated(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        frozen = not self.options.convolutions
        if not frozen or not self.options.shared or isinstance(module, nn.Identity):
            return cast(torch.Tensor, module(x))
        positive = relu(x, True)
        if isinstance(module, FactorizedReduce):
            halves = convolve(positive, module.conv_1), convolve(module.shifted(positive), module.conv_2)
            return norm(torch.cat(halves, 1), module.bn)
        layers = list(cast(nn.Sequential, module))
        return norm(convolve(positive, cast(nn.Conv2d, layers[1])), cast(nn.BatchNorm2d, layers[2]))

    def _reduced(self, cell: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if self.options.convolutions or not self.options.shared:
            return cast(torch.Tensor, cell(x))
        block = cast(ResidualReduction, cell)
        y = x
        for branch in (block.conv_a, block.conv_b):
            y = norm(convolve(relu(y, True), cast(nn.Conv2d, branch[1])), cast(nn.BatchNorm2d, branch[2]))
        return convolve(block.downsample[0](x), cast(nn.Conv2d, block.downsample[1])) + y
