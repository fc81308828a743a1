"""Images for searches and trainings."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "augmentation": ["Augmentation", "ImageAugmentation"],
        "images": ["ImageData", "ImageSet"],
        "sources": ["load"],
        "streaming": ["Files", "Pixels"],
    },
)
