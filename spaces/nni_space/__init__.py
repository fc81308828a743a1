"""Any NNI model space as a search space."""

from .space import NNISpace

__all__ = ["NNISpace"]
