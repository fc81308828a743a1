"""What all spaces of stacked cells have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from ..architecture import Architecture
from ..base import Decision, GraphEdge
from ..errors import SpaceError
from ..heads import Head
from ..images import ImageSpace, at_least, sides
from ..operation_costs import cost
from ..stems import Sides, Stem, halved
from . import genotype as genotypes
from .genotype import CellGenotype, Genotype
from .macro import Macro

if TYPE_CHECKING:
    from .network import CellNetwork

CELLS = ("normal", "reduce")

MACRO = """
        channels: C, the width of the first cells; a node has C channels.
        cells: depth; reduction cells stand at ``cells // 3`` and ``2 * cells // 3``.
        classes: outputs of the head.
        stem: ``cifar``, one 3x3 convolution to 3 C channels; ``imagenet``, three of stride 2 (also for Cityscapes).
        reductions: 2, or fewer to end at a smaller output stride (UnNAS on Cityscapes: 1).
        head: see :class:`nni_plugins.spaces.heads.Head`.
        input_channels: channels of an image."""


class CellSpace(ImageSpace):
    """Cells of ``nodes`` nodes, stacked as :class:`nni_plugins.spaces.cells.macro.Macro` says. Subclasses say which
    cells there are.
    """

    drops_paths: ClassVar[bool] = True

    def __init__(
        self,
        decisions: Sequence[Decision],
        nodes: int,
        channels: int,
        cells: int,
        classes: int,
        stem: str,
        reductions: int,
        head: str | Mapping[str, Any] | Head,
        input_channels: int,
        calibrate: str = "always",
        skip_relu: bool = True,
    ) -> None:
        at_least(channels=(channels, 1), cells=(cells, 3), reductions=(reductions, 0))
        if reductions > 2:
            raise SpaceError(f"reductions <= 2 must hold, but got reductions={reductions!r}.")
        super().__init__(decisions, classes, head, input_channels)
        self.nodes = nodes
        self.macro = Macro(
            Stem.of(stem, "cells", channels),
            channels,
            cells,
            reductions,
            classes,
            self.head,
            input_channels,
            calibrate,
            skip_relu,
        )

    def _macro_config(self) -> dict[str, Any]:
        macro = self.macro
        return {
            "channels": macro.width,
            "cells": macro.cells,
            "stem": macro.stem.kind,
            "reductions": macro.reductions,
            **self._head_config(),
        }

    @property
    def repeats(self) -> int:
        return self.macro.cells

    def with_output_stride(self, output_stride: int) -> Self:
        strides = [self.macro.stem.stride * 2**s for s in range(3)]
        if output_stride not in strides[: self.macro.reductions + 1]:
            raise SpaceError(
                f"output_stride: must be one of {strides[: self.macro.reductions + 1]}, but got {output_stride!r}."
            )
        return type(self)(**{**self.config(), "reductions": strides.index(output_stride)})

    # -- codecs --------------------------------------------------------------------------------------------------------
    @abstractmethod
    def genotype(self, architecture: Architecture) -> Genotype:
        """Both cells as pairs (operation, input)."""

    @abstractmethod
    def from_genotype(self, genotype: Genotype) -> Architecture:
        """The architecture of a genotype; :class:`SpaceError` names the place that this space does not have."""

    def parse(self, text: str | Mapping[str, Any]) -> Architecture:
        """Also a dictionary with ``normal`` and ``reduce``, or its text."""
        if isinstance(text, Mapping) and "normal" in text and "reduce" in text:
            return self.from_genotype(genotypes.parse(text, self.nodes))
        if (
            isinstance(text, str)
            and text.lstrip()[:1] == "{"
            and any(key in text[:200] for key in ('"normal"', "'normal'"))
        ):
            return self.from_string(text)
        return super().parse(text)

    def to_string(self, architecture: Architecture) -> str:
        """``Genotype(normal=[(operation, input), ...], normal_concat=[...], reduce=..., reduce_concat=...)``."""
        return str(self.genotype(architecture))

    def from_string(self, text: str) -> Architecture:
        return self.from_genotype(genotypes.parse(text, self.nodes))

    def canonical(self, architecture: Architecture) -> str:
        """The genotype with the pairs of every node sorted, which commute."""
        cells = [self.genotype(architecture).normal, self.genotype(architecture).reduce]
        return str(
            Genotype(
                *(
                    CellGenotype(tuple(tuple(sorted(n, key=lambda p: (p[1], p[0]))) for n in c.nodes), c.concat)
                    for c in cells
                )
            )
        )

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        """``normal`` and ``reduction``; every state that is part of the output has an unlabelled arrow to it."""
        built = self.genotype(architecture)
        names = ["input_0", "input_1", *(str(s) for s in range(2, self.nodes + 2))]
        graphs = {}
        for title, cell in (("normal", built.normal), ("reduction", built.reduce)):
            reads = [(name, source, i + 2) for i, node in enumerate(cell.nodes) for name, source in node]
            into, out = {0, 1}, set(cell.concat)
            for name, source, target in reads:
                if source in into and name not in DEAD:
                    into.add(target)
            for name, source, target in reversed(reads):
                if target in out and name not in DEAD:
                    out.add(source)
            edges = [
                GraphEdge(names[s], names[t], name, s in into and t in out and name not in DEAD)
                for name, s, t in reads
                if name != "none"
            ]
            graphs[title] = [*edges, *(GraphEdge(names[s], "output", "", s in into) for s in cell.concat)]
        if not self.path_counts(self.encode([architecture])).any():
            graphs = {
                title: [GraphEdge(e.source, e.target, e.operation, False) for e in edges]
                for title, edges in graphs.items()
            }
        return graphs

    # -- structure and cost --------------------------------------------------------------------------------------------
    def edge_costs(self, reduction: bool, name: str, source: int, image: Sides) -> tuple[int, int]:
        """(parameters, multiply-adds) of operation ``name`` on state ``source``, summed over all cells of the kind."""
        parameters = macs = 0
        for shape in self.macro.shapes():
            if shape.reduction == reduction:
                inside = self.macro.input_sides(shape, image)
                stride = 2 if reduction and source < 2 else 1
                p, m = cost(name, shape.channels, stride, halved(inside) if reduction and source >= 2 else inside)
                parameters, macs = parameters + p, macs + m
        return parameters, self.head.images * macs

    def frame_costs(self, multipliers: tuple[int, int], image: Sides) -> tuple[int, int]:
        """(parameters, multiply-adds) of stem, calibrations and head, where a normal and a reduction cell join so many
        states.
        """
        macro, shapes = self.macro, self.macro.shapes()
        parameters, macs = macro.stem.parameters(self.input_channels), macro.stem.macs(self.input_channels, image)
        for shape in shapes:
            height, width = macro.input_sides(shape, image)
            for position in (0, 1):
                inputs = macro.source_channels(shapes, shape, position, multipliers)
                if macro.calibration(shape, position, inputs) is not None:
                    parameters += macro.calibration_parameters(shape, inputs)
                    macs += inputs * shape.channels * height * width
        outputs = macro.output_channels(shapes[-1], multipliers)
        last = halved(image, macro.stem.stride.bit_length() - 1 + shapes[-1].stage)
        parameters += self.head.parameters(outputs, self.classes)
        return parameters, self.head.images * macs + self.head.macs(outputs, self.classes, last[0] * last[1])

    def genotype_costs(self, genotype: Genotype, image_size: int | tuple[int, int]) -> tuple[int, int]:
        """(parameters, multiply-adds) of any genotype in this network, whether or not it is part of the space."""
        image = sides(image_size)
        parameters, macs = self.frame_costs((len(genotype.normal.concat), len(genotype.reduce.concat)), image)
        for reduction, cell in ((False, genotype.normal), (True, genotype.reduce)):
            joined = [("skip_connect", s) for s in cell.concat if s < 2]
            for name, source in [*cell.edges(), *joined]:
                p, m = self.edge_costs(reduction, name, source, image)
                parameters, macs = parameters + p, macs + m
        return parameters, macs

    def depends(self, reads: Sequence[Sequence[npt.NDArray[np.bool_]]]) -> npt.NDArray[np.bool_]:
        """(n,): whether the network's output depends on the image, where ``reads[kind][position]``: (n,) says whether
        the output of a normal (0) or reduction (1) cell depends on its input ``position``."""
        first = second = np.ones(len(reads[0][0]), dtype=np.bool_)
        for shape in self.macro.shapes():
            kind = reads[shape.reduction]
            first, second = second, (kind[0] & first) | (kind[1] & second)
        return second

    # -- networks ------------------------------------------------------------------------------------------------------
    def network(self, architecture: Architecture, auxiliary: bool = False, drop_path: float = 0.0) -> CellNetwork:
        """An ordinary network.

        Args:
            architecture: of this space.
            auxiliary: add the auxiliary head; a training-mode forward then returns (output, auxiliary logits).
            drop_path: probability of dropping an edge's output in training; ``set_drop_path`` changes it.
        """
        return self.genotype_network(self.genotype(architecture), auxiliary, drop_path)

    def genotype_network(self, genotype: Genotype, auxiliary: bool = False, drop_path: float = 0.0) -> CellNetwork:
        """The network of any genotype, whether or not it is part of the space."""
        from .network import CellNetwork

        return CellNetwork(self.macro, genotype, auxiliary, drop_path)


DEAD = ("none", "noise")
"""Operations whose output does not depend on their input."""
