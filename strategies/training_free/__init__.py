"""Scores of networks that were never trained, the strategies that rank by one of them, and by several together.

One module a score, each with its paper and equation; :mod:`.measures` scores any architectures of a space by any of
them. Importing this package imports no torch; its names do when they are first used.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "aggregation": ["Aggregation", "aggregated"],
        "measures": ["Measure", "measure"],
        "names": ["SCORES", "score_settings"],
        "networks": ["NetworkScore", "Inputs"],
        "plugin": ["TrainingFreePlugin"],
        "settings": [
            "AZSettings",
            "CombineSettings",
            "CostSettings",
            "JacobianSettings",
            "NASWOTSettings",
            "SynFlowSettings",
            "ZenSettings",
            "ZiCoSettings",
        ],
    },
)
