"""From settings to images."""

from __future__ import annotations

from dataclasses import replace

from ..settings import DataSettings
from . import digits
from .images import ImageData


def load(settings: DataSettings) -> ImageData:
    """The images that ``settings`` name.

    Raises:
        DataError: the path is missing, holds no images, or holds something else.
    """
    if settings.source == "digits":
        data = digits.load()
    elif settings.source == "folder":
        from . import folder

        data = folder.load(str(settings.path), settings.image_size or folder.DEFAULT_SIZE)
    elif settings.source == "npz":
        from . import npz

        data = npz.load(str(settings.path))
    else:
        from . import cifar

        data = cifar.load(str(settings.path), settings.source)
    changes = {key: getattr(settings, key) for key in ("padding", "flip") if getattr(settings, key) is not None}
    for images in (data.train, data.test):
        if images is not None and changes:
            images.augmentation = replace(images.augmentation, **changes)
    return data.limited(settings.limit, settings.limit_seed)
