"""The one training loop, for supernets and stand-alone networks."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bilevel": ["Bilevel", "BilevelTraining"],
        "checkpoint": ["CheckpointStore", "load_weights"],
        "evaluation": ["accuracy", "evaluate"],
        "loop": ["Paths", "Trained", "Training"],
    },
)
