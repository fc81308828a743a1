"""From settings to images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import digits
from .augmentation import Augmentation, Cutout, ImageAugmentation
from .colour import Colour
from .crops import ResizedCrop, ScaledCrop
from .images import ImageData, ImageSet
from .reading import settled
from .settings import ColourSettings, DataSettings, PaddedCropSettings, ResizedCropSettings, ScaledCropSettings


def load(settings: DataSettings) -> ImageData:
    """The images that ``settings`` name.

    Raises:
        DataError: the path is missing, holds no images, or holds something else.
    """
    data = _load(settings)
    if settings.held_out is not None:
        data = data.with_test_part(settings.held_out)
    for images in (data.train, data.test):
        if images is not None:
            images.augmentation = _augmentation(settings, images.augmentation, data.train)
    data = data.limited(settings.limit, settings.limit_seed)
    if settings.per_class is not None:
        data = data.per_class(settings.per_class, settings.limit_seed)
    if settings.split_per_class:
        data = data.stratified(settings.limit_seed)
    return settled(data, settings.resident)


def _load(settings: DataSettings) -> ImageData:
    path, size = str(settings.path), settings.shape or settings.image_size
    if settings.source == "digits":
        return digits.load()
    if settings.source == "folder":
        from . import folder

        return folder.load(path, size or folder.DEFAULT_SIZE, settings.resident)
    if settings.source == "segmentation":
        from . import segmentation

        return segmentation.load(path, size, settings.resident, settings.test_split)
    if settings.source == "npz":
        from . import npz

        return npz.load(path)
    if settings.source == "imagenet16_120":
        from . import imagenet16

        return imagenet16.load(path)
    if settings.source == "svhn":
        from . import svhn

        return svhn.load(path)
    from . import cifar

    return cifar.load(path, settings.source)


def _augmentation(settings: DataSettings, default: ImageAugmentation, train: ImageSet) -> ImageAugmentation:
    """``default``, which suits the source, as ``settings`` change it; ``train`` has the mean colour."""
    chosen = settings.augmentation
    if isinstance(chosen, ColourSettings):
        colours = Colour(chosen.brightness, chosen.contrast, chosen.saturation, chosen.hue, chosen.lighting)
        if isinstance(chosen, ResizedCropSettings):
            return ResizedCrop(chosen.size, chosen.flip, colours, chosen.scale, chosen.ratio)
        if isinstance(chosen, ScaledCropSettings):
            return ScaledCrop(chosen.size, chosen.flip, colours, chosen.nominal)
    padded = chosen or settings
    changes = {key: getattr(padded, key) for key in ("padding", "flip") if getattr(padded, key) is not None}
    if not isinstance(default, Augmentation):
        return default
    if isinstance(chosen, PaddedCropSettings) and chosen.cutout:
        red, green, blue = train.statistics()[0].tolist()
        square: dict[str, Any] = {"cutout": chosen.cutout, "ramp": chosen.cutout_ramp, "fill": (red, green, blue)}
        return Cutout(**{"padding": default.padding, "flip": default.flip, **changes, **square})
    return replace(default, **changes)
