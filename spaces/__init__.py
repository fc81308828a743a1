"""What can be searched: architectures and search spaces. Importing this package imports no torch."""

from .architecture import Architecture
from .base import CostModel, Costs, CostTable, Decision, GraphEdge, Indices, SearchSpace
from .errors import NNIPluginsError, SpaceError
from .heads import Head
from .images import ImageSpace
from .nasbench201 import NASBench201

__all__ = [
    "Architecture",
    "CostModel",
    "CostTable",
    "Costs",
    "Decision",
    "GraphEdge",
    "Head",
    "ImageSpace",
    "Indices",
    "NASBench201",
    "NNIPluginsError",
    "SearchSpace",
    "SpaceError",
]
