"""From settings to images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import digits
from .augmentation import Augmentation, Cutout, ImageAugmentation
from .colour import Colour
from .crops import ResizedCrop, ScaledCrop
from .images import ImageData, ImageSet
from .names import few
from .reading import settled
from .report import DataReport, LeftOut, PartReport
from .settings import ColourSettings, DataSettings, PaddedCropSettings, ResizedCropSettings, ScaledCropSettings


def load(settings: DataSettings) -> ImageData:
    """The images that ``settings`` name.

    Raises:
        DataError: the path is missing, holds no images, or holds something else.
    """
    data = whole = _load(settings)
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
    data = replace(data, report=_reported(settings, whole, data))
    return settled(data, settings.resident)


def _reported(settings: DataSettings, whole: ImageData, used: ImageData) -> DataReport:
    """What there was, and the images of each part that are used; of classes only where folders tell them, for labels are
    not looked at before something asks for them.
    """
    known = whole.report or DataReport(settings.path or settings.source, {})

    def part(name: str, images: ImageSet) -> PartReport:
        told = known.parts.get(name, PartReport(0))
        if not told.classes or len(images) == told.images:
            return PartReport(len(images), told.classes)
        counted = np.bincount(images.labels.numpy(), minlength=len(images.classes)).tolist()
        return PartReport(len(images), dict(zip(images.classes, counted, strict=True)))

    sets = {"train": used.train, **({} if used.test is None else {"test": used.test})}
    parts = {name: part(name, images) for name, images in sets.items()}
    drawn = len(whole.train) + (0 if whole.test is None else len(whole.test)) - sum(map(len, sets.values()))
    unseen = [name for name, count in parts["train"].classes.items() if not count]
    remarks = (f"No image to train on of {few(unseen)}.",) if unseen else ()
    report = DataReport(known.path, parts, known.left_out, (*known.remarks, *remarks))
    return report.without(LeftOut(drawn, "images", "not drawn (limit, per_class)"))


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
