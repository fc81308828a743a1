"""The spaces of stacked cells pass the conformance suite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces import Indices, SearchSpace
from nni_plugins.spaces.cells import DARTS, NAO, NASNet, RobustDARTS
from nni_plugins.spaces.testing import SpaceContract


class TestDARTS(SpaceContract):
    def space(self) -> SearchSpace:
        return DARTS(channels=4, cells=4)


class TestDARTSOnOddImages(SpaceContract):
    image_size = 11

    def space(self) -> SearchSpace:
        return DARTS(channels=2, cells=3, classes=3)


class TestDARTSWithAnImageNetStem(SpaceContract):
    image_size = 33

    def space(self) -> SearchSpace:
        return DARTS(channels=4, cells=5, classes=5, stem="imagenet")


class TestDARTSWithOneReduction(SpaceContract):
    image_size = 32

    def space(self) -> SearchSpace:
        return DARTS(channels=4, cells=4, stem="imagenet", reductions=1)


class TestS1(SpaceContract):
    def space(self) -> SearchSpace:
        return RobustDARTS("S1", channels=4, cells=4)


class TestS2(SpaceContract):
    def space(self) -> SearchSpace:
        return RobustDARTS("S2", channels=4, cells=4)


class TestS3(SpaceContract):
    def space(self) -> SearchSpace:
        return RobustDARTS("S3", channels=2, cells=3)


class TestNAO(SpaceContract):
    def space(self) -> SearchSpace:
        return NAO(channels=4, cells=5)


class TestNAOWithTenOperations(SpaceContract):
    def space(self) -> SearchSpace:
        return NAO("middle", channels=2, cells=3, stem="imagenet")

    image_size = 32


class TestNASNet(SpaceContract):
    def space(self) -> SearchSpace:
        return NASNet(channels=2, cells=3)


class TestCellsWithNone(SpaceContract):
    """The space that UnNAS' samples were drawn from: four nodes, the same input twice, ``none`` among the operations,
    all nodes joined.
    """

    def space(self) -> SearchSpace:
        return NASNet(
            nodes=4,
            operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
            concat="all",
            channels=4,
            cells=4,
        )

    def _has_dead_weight(self, space: SearchSpace, indices: Indices) -> npt.NDArray[np.bool_]:
        """An input that no node reads, or only through ``none``, leaves its calibration without effect."""
        assert isinstance(space, NASNet)
        dead = super()._has_dead_weight(space, indices)
        sources, operations = indices[:, ::2].reshape(-1, 2, 8), indices[:, 1::2].reshape(-1, 2, 8)
        for state in (0, 1):
            dead |= ~((sources == state) & (operations > 0)).any(axis=2).all(axis=1)
        return dead
