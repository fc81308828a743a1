"""What can be searched: architectures and search spaces. Importing this package imports no torch."""

from .architecture import Architecture
from .base import Costs, CostTable, Decision, Indices, SearchSpace
from .errors import NNIPluginsError, SpaceError
from .nasbench201 import NASBench201

__all__ = ["Architecture", "CostTable", "Costs", "Decision", "Indices", "NASBench201", "NNIPluginsError", "SearchSpace", "SpaceError"]
