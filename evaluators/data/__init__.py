"""Images for searches and trainings."""

from spaces.lazy import lazy

__getattr__, __dir__ = lazy(__name__, {"images": ["Augmentation", "ImageData", "ImageSet"], "sources": ["load"]})
