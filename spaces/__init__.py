"""What can be searched: architectures and search spaces. Importing this package imports no torch."""

from .architecture import Architecture
from .base import CostModel, Costs, CostTable, Decision, GraphEdge, Indices, SearchSpace
from .cells import DARTS, NAO, NASNet, RobustDARTS
from .errors import NNIPluginsError, SpaceError
from .heads import Head
from .images import ImageSpace
from .mobilenet import MobileNetLike
from .nasbench101 import NASBench101
from .nasbench201 import NASBench201
from .nni_space import NNISpace
from .recurrent import RecurrentCell

__all__ = [
    "DARTS",
    "NAO",
    "Architecture",
    "CostModel",
    "CostTable",
    "Costs",
    "Decision",
    "GraphEdge",
    "Head",
    "ImageSpace",
    "Indices",
    "MobileNetLike",
    "NASBench101",
    "NASBench201",
    "NASNet",
    "NNIPluginsError",
    "NNISpace",
    "RecurrentCell",
    "RobustDARTS",
    "SearchSpace",
    "SpaceError",
]
