"""The conformance suite of search spaces; it stands beside them, for it needs nothing else."""

from nni_plugins.spaces.testing import SpaceContract

__all__ = ["SpaceContract"]
