"""The NAS-Bench-201 space described without weights. Facts and numbers: Dong & Yang, "NAS-Bench-201", ICLR 2020,
section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import CostTable, Decision, GraphEdge, ImageSize, Indices
from ..errors import SpaceError, shown
from ..heads import Head
from ..images import ImageSpace, at_least, sides
from ..stems import Stem
from . import codec

if TYPE_CHECKING:
    from .network import NASBench201Network
    from .supernet import NASBench201Supernet

_NONE = codec.OPERATIONS.index("none")


class NASBench201(ImageSpace):
    """Cells in which every earlier node feeds every later one through one of five operations:
    ``5 ** (nodes * (nodes - 1) / 2)`` of them.

    The network is a stem, three stages of ``cells_per_stage`` equal cells with ``channels``, ``2 * channels`` and
    ``4 * channels`` channels, a residual block of stride 2 between stages, and a head. The defaults are the
    benchmark's.

    Args:
        nodes: nodes of a cell, at least 3 (125 cells; 4 nodes: 15,625).
        channels: width of the first stage.
        cells_per_stage: depth of each of the three stages.
        classes: outputs of the head.
        stem: ``cifar``, the benchmark's 3x3 convolution; ``imagenet``, three of stride 2.
        head: see :class:`nni_plugins.spaces.heads.Head`.
        input_channels: channels of an image.
    """

    name: ClassVar[str] = "nasbench201"
    shares_paths: ClassVar[bool] = False

    def __init__(
        self,
        nodes: int = 4,
        channels: int = 16,
        cells_per_stage: int = 5,
        classes: int = 10,
        stem: str = "cifar",
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        at_least(nodes=(nodes, 3), channels=(channels, 1), cells_per_stage=(cells_per_stage, 1))
        self.nodes, self.channels, self.cells_per_stage = nodes, channels, cells_per_stage
        self.stem = Stem.of(stem, self.name, channels)
        self.edges = codec.edges(nodes)
        super().__init__(
            [Decision(codec.label(edge), codec.OPERATIONS) for edge in self.edges], classes, head, input_channels
        )

    def config(self) -> dict[str, Any]:
        macro = {
            "nodes": self.nodes,
            "channels": self.channels,
            "cells_per_stage": self.cells_per_stage,
            "stem": self.stem.kind,
        }
        return {**macro, **self._head_config()}

    @property
    def repeats(self) -> int:
        return 3 * self.cells_per_stage

    # -- codecs --------------------------------------------------------------------------------------------------------
    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Also accepts NNI hub's sample dictionary (``{"cell/0_1": "conv_3x3", ...}``)."""
        if not all(isinstance(label, str) for label in choices):
            raise SpaceError(f"labels must be strings such as 'e_0_1', but got {shown(list(choices))}.")
        ours = {f"e_{label[5:]}" if label.startswith("cell/") else label: value for label, value in choices.items()}
        names = {
            label: codec.NNI_NAMES.get(value, value) if isinstance(value, str) else value
            for label, value in ours.items()
        }
        return super().architecture(names)

    def to_nni_hub(self, architecture: Architecture) -> dict[str, str]:
        """The sample dictionary of ``nni.nas.hub.pytorch.NasBench201`` (four nodes there)."""
        names = {ours: theirs for theirs, ours in codec.NNI_NAMES.items()}
        return {f"cell/{label[2:]}": names.get(value, value) for label, value in self.check(architecture).choices}

    def _operations(self, architecture: Architecture) -> dict[codec.Edge, str]:
        return dict(zip(self.edges, (value for _, value in self.check(architecture).choices), strict=True))

    def to_string(self, architecture: Architecture) -> str:
        return codec.to_string(self._operations(architecture), self.nodes)

    def from_string(self, text: str) -> Architecture:
        operations = codec.from_string(text, self.nodes)
        return self.architecture({codec.label(edge): operations[edge] for edge in self.edges})

    def canonical(self, architecture: Architecture) -> str:
        return codec.canonical(self._operations(architecture), self.nodes)

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        names = ["input", *(str(i) for i in range(1, self.nodes - 1)), "output"]
        alive = self.path_counts(self.encode([architecture]))[0] > 0
        operations = self._operations(architecture).items()
        drawn = zip(operations, alive, strict=True)
        return {
            "cell": [
                GraphEdge(names[i], names[j], value, bool(live)) for ((i, j), value), live in drawn if value != "none"
            ]
        }

    # -- drawing at random ---------------------------------------------------------------------------------------------
    def sample_paths(self, rng: np.random.Generator, n: int, shared: bool) -> npt.NDArray[np.int8]:
        """As the official supernets train (RLNAS, after GDAS' "uniform random sampling"): no node has only ``none``
        in-edges.

        With ``shared=False``, the official behaviour, every cell has a path of its own.
        """
        drawn = self.sample(rng, n if shared else n * self.repeats)
        for node in range(1, self.nodes):
            columns = [e for e, (_, j) in enumerate(self.edges) if j == node]
            while (dead := np.flatnonzero((drawn[:, columns] == _NONE).all(axis=1))).size:
                drawn[dead[:, None], columns] = rng.integers(
                    0, len(codec.OPERATIONS), size=(dead.size, len(columns)), dtype=np.int8
                )
        drawn = drawn.reshape(n, -1, len(self.edges))
        return np.broadcast_to(drawn, (n, self.repeats, len(self.edges)))

    # -- structure and cost --------------------------------------------------------------------------------------------
    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Edge (i, j) lies on ``in(i) * out(j)`` paths: paths from the input to i, times paths from j to the output."""
        alive = np.asarray(indices) != _NONE
        into = np.zeros((len(alive), self.nodes), dtype=np.int64)
        out = np.zeros_like(into)
        into[:, 0] = out[:, -1] = 1
        for e, (i, j) in enumerate(self.edges):
            into[:, j] += into[:, i] * alive[:, e]
        for e, (i, j) in reversed(list(enumerate(self.edges))):
            out[:, i] += out[:, j] * alive[:, e]
        sources, targets = np.array(self.edges).T
        counts: npt.NDArray[np.int64] = into[:, sources] * out[:, targets] * alive
        return counts

    def simplified(self, indices: Indices) -> Indices:
        """``none`` on every edge without a path: 9,445 of the 15,625 four-node cells are left."""
        return np.where(self.path_counts(indices) > 0, indices, _NONE).astype(np.int8)

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        into_output = [e for e, (_, j) in enumerate(self.edges) if j == self.nodes - 1]
        counts: npt.NDArray[np.int64] = self.path_counts(indices)[:, into_output].sum(axis=1)
        return counts

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        """Convolutions carry no bias; batch norms have two parameters a channel and are not counted as multiply-adds.

        At the benchmark's size (4 nodes, 16 channels, 5 cells, 10 classes): 73,306 parameters, 28,000 for each 1x1 and
        243,040 for each 3x3 convolution.
        """
        widths = [self.channels * 2**s for s in range(3)]
        pixels = [height * width for height, width in self.stem.reduced(sides(image_size), stages=3)]
        parameters = np.zeros((len(self.edges), len(codec.OPERATIONS)), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for name, kernel in (("nor_conv_1x1", 1), ("nor_conv_3x3", 9)):
            column = codec.OPERATIONS.index(name)
            parameters[:, column] = self.cells_per_stage * sum(kernel * c * c + 2 * c for c in widths)
            macs[:, column] = self.cells_per_stage * sum(
                kernel * c * c * p for c, p in zip(widths, pixels, strict=True)
            )
        fixed_parameters = (
            self.stem.parameters(self.input_channels) + 2 * widths[-1] + self.head.parameters(widths[-1], self.classes)
        )
        fixed_macs = self.stem.macs(self.input_channels, sides(image_size))
        for before, after, p in zip(widths, widths[1:], pixels[1:], strict=False):
            weights = 9 * before * after + 9 * after * after + before * after
            fixed_parameters += weights + 4 * after
            fixed_macs += weights * p
        fixed_macs = self.head.images * fixed_macs + self.head.macs(widths[-1], self.classes, pixels[-1])
        return CostTable(self, fixed_parameters, fixed_macs, parameters, self.head.images * macs)

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self, affine: bool = False) -> NASBench201Supernet:
        """The weight-sharing network, an NNI ``ModelSpace``.

        ``affine``: whether the batch norms inside searched cells learn scale and shift; off in RLNAS' supernet, on in
        the benchmark's networks.
        """
        from .supernet import NASBench201Supernet

        return NASBench201Supernet(**self.config(), affine=affine)

    def network(self, architecture: Architecture) -> NASBench201Network:
        from .network import NASBench201Network

        return NASBench201Network(self, self._operations(architecture))
