"""The conformance suite on a third party's space: this file is all that its tests need."""

from kernelnet import KernelNet

from nni_plugins.spaces import SearchSpace
from nni_plugins.testing import SpaceContract


class TestKernelNet(SpaceContract):
    def space(self) -> SearchSpace:
        return KernelNet(channels=2)
