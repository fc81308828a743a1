"""Spaces of stacked normal and reduction cells: DARTS, RobustDARTS, NASNet and NAO."""

from .darts import DARTS, RobustDARTS
from .genotype import CellGenotype, Genotype
from .nasnet import NAO, NASNet

__all__ = ["DARTS", "NAO", "CellGenotype", "Genotype", "NASNet", "RobustDARTS"]
