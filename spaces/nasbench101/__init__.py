"""The cell space of NAS-Bench-101 (Ying et al., ICML 2019), for one to five operations in a cell."""

from .codec import Cell
from .space import NASBench101

__all__ = ["Cell", "NASBench101"]
