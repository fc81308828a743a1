"""What a network is trained to do: objectives turn images into inputs, targets, loss and metric; see
:mod:`nni_plugins.evaluators.objectives.base`.
"""

from .base import Crops, Head, Objective, check_fitted, check_targets, fitted
from .colorization import Colorization
from .jigsaw import Jigsaw
from .labels import RandomLabels, Supervised
from .rotation import Rotation
from .segmentation import Segmentation

__all__ = [
    "Colorization",
    "Crops",
    "Head",
    "Jigsaw",
    "Objective",
    "RandomLabels",
    "Rotation",
    "Segmentation",
    "Supervised",
    "check_fitted",
    "check_targets",
    "fitted",
]
