"""An example of a search space in a package of its own: four convolutions in two stages, each choosing its kernel.

The entry point in ``pyproject.toml`` is all that makes it known: ``pip install`` this folder, then ``nni-plugins list``
shows it, experiment files may name it, and NNI's own strategies search it. This file imports no torch: NNI gives a
tuner ten seconds to connect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces import Architecture, CostTable, Decision, GraphEdge, Head, ImageSpace, Indices, SpaceError
from nni_plugins.spaces.base import ImageSize
from nni_plugins.spaces.images import at_least, sides

if TYPE_CHECKING:
    from .network import KernelNetwork, KernelSupernet

KERNELS = ("1x1", "3x3", "5x5")


class KernelNet(ImageSpace):
    """81 networks. Args: ``channels`` of the first stage, twice as many in the second; ``classes``; ``head``;
    ``input_channels``.
    """

    name: ClassVar[str] = "kernelnet"

    def __init__(
        self,
        channels: int = 8,
        classes: int = 10,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        at_least(channels=(channels, 1))
        self.channels = channels
        super().__init__([Decision(f"conv_{i}", KERNELS) for i in range(4)], classes, head, input_channels)

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, **self._head_config()}

    def layers(self) -> list[tuple[int, int, int]]:
        """(input channels, output channels, stride) of each convolution."""
        c = self.channels
        return [(self.input_channels, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1)]

    def to_string(self, architecture: Architecture) -> str:
        return "-".join(kernel for _, kernel in self.check(architecture).choices)

    def from_string(self, text: str) -> Architecture:
        kernels = text[:1000].split("-")
        if len(kernels) != 4:
            raise SpaceError(f"four kernels are needed, such as 1x1-3x3-5x5-3x3, but got {len(kernels)}.")
        return self.architecture(dict(zip(self.labels, kernels, strict=True)))

    def canonical(self, architecture: Architecture) -> str:
        return self.to_string(architecture)

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        nodes = ["input", "0", "1", "2", "output"]
        return {
            "network": [
                GraphEdge(nodes[i], nodes[i + 1], k) for i, (_, k) in enumerate(self.check(architecture).choices)
            ]
        }

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        return np.ones(indices.shape, dtype=np.int64)

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        height, width = sides(image_size)
        parameters = np.zeros((4, 3), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for i, (inputs, outputs, stride) in enumerate(self.layers()):
            height, width = -(-height // stride), -(-width // stride)
            for v, kernel in enumerate((1, 3, 5)):
                parameters[i, v] = kernel**2 * inputs * outputs + 2 * outputs
                macs[i, v] = kernel**2 * inputs * outputs * height * width * self.head.images
        last = 2 * self.channels
        head = self.head.macs(last, self.classes, height * width)
        return CostTable(self, self.head.parameters(last, self.classes), head, parameters, macs)

    def supernet(self) -> KernelSupernet:
        from .network import KernelSupernet

        return KernelSupernet(**self.config())

    def network(self, architecture: Architecture) -> KernelNetwork:
        from .network import KernelNetwork

        return KernelNetwork(self, [kernel for _, kernel in self.check(architecture).choices])
