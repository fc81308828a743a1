"""What a network is trained to do: objectives turn images into inputs, targets, loss and metric; see
:mod:`nni_plugins.evaluators.objectives.base`. Importing this package imports no torch; its names do when they are first used.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "base": ["Crops", "Head", "Objective", "check_fitted", "check_targets", "fitted"],
        "colorization": ["Colorization"],
        "jigsaw": ["Jigsaw"],
        "labels": ["RandomLabels", "Supervised"],
        "rotation": ["Rotation"],
        "segmentation": ["Segmentation"],
    },
)
