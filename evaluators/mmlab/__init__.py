"""Detection and segmentation with OpenMMLab's mmdet and mmseg. Importing this package imports none of them."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "backbone": ["Backbone", "feature_channels"],
        "installation": ["MissingOperators", "WrongBuild", "check"],
        "unnas": ["unnas_segmentor"],
    },
)
