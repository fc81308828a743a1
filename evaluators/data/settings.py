"""Settings of images and their augmentation. Free of torch, so that NNI's tuner process can read them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ..settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]


Strength = Annotated[float, Field(ge=0, le=1)]


class PaddedCropSettings(Settings):
    """A random crop of the same size after zero padding, and a flip (CIFAR)."""

    kind: Literal["padded_crop"] = "padded_crop"
    padding: int | None = Field(None, ge=0, description="pixels on each side; default: what suits the source")
    flip: bool | None = Field(None, description="random horizontal flips; default: what suits the source")
    cutout: int = Field(0, ge=0, multiple_of=2, description="side of a square that gets the mean colour; 0: none")
    cutout_ramp: int = Field(
        0, ge=0, description="epochs over which the probability of cutout grows linearly from 0 to 1; 0: it is always 1"
    )

    @model_validator(mode="after")
    def _cut(self) -> Self:
        if self.cutout_ramp and not self.cutout:
            raise ValueError("cutout_ramp needs cutout (R-DARTS: 16)")
        return self


class ColourSettings(Settings):
    """Changes of colour that crops with scaling can make."""

    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: float = Field(0.0, ge=0, le=0.5, description="largest turn, as a part of the full circle")
    lighting: float = Field(
        0.1, ge=0, description="standard deviation of noise along the principal components of ImageNet's colours"
    )


class ResizedCropSettings(ColourSettings):
    """A part of the image, random in area and ratio, resized to a square. The defaults are UnNAS' and most others' for
    ImageNet.
    """

    kind: Literal["resized_crop"] = "resized_crop"
    size: int = Field(224, ge=4, description="side of the result in pixels")
    scale: tuple[Share, Share] = Field((0.08, 1.0), description="least and greatest part of the area")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="least and greatest ratio of width to height")
    flip: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers above 0, the smaller one first, but got {low} and {high}")
        return self


class ScaledCropSettings(ColourSettings):
    """A random crop of the image at a random scale. The defaults are UnNAS' search on Cityscapes (official code; the
    paper says 312).
    """

    kind: Literal["scaled_crop"] = "scaled_crop"
    size: int = Field(321, ge=4, description="side of the crop in pixels")
    nominal: int = Field(512, ge=1, description="the shorter side is this times 2 ** U(-1, 1), but at least size")
    flip: bool = True


class DataSettings(Settings):
    """Where images come from.

    ``digits`` needs no path; ``folder`` is a folder of images with or without one sub-folder a class, and with or
    without ``train`` and ``test`` (or ``val``) above them; ``segmentation`` has an image of labels for each image, in
    the layout of CamVid or of Cityscapes; ``cifar10``, ``cifar100`` and ``svhn`` are as torchvision stores
    them;
    ``imagenet16_120`` is the folder of downsampled ImageNet's files; ``npz`` holds arrays ``images`` (N, H, W) or (N,
    H, W, 3) uint8, ``labels`` (N,) where there are any, and ``test_images``/``test_labels``.
    """

    source: Literal["digits", "folder", "segmentation", "cifar10", "cifar100", "svhn", "imagenet16_120", "npz"] = (
        "digits"
    )
    path: str | None = None
    image_size: int | None = Field(
        None, ge=4, description="side of the square that files are resized to; default of folder: 32"
    )
    shape: tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]] | None = Field(
        None,
        description="(height, width) that files are resized to, instead of a square; default of segmentation: that of its first image",
    )
    resident: bool | None = Field(
        None,
        description="hold the pixels of files in memory; default: up to 8 GB; otherwise files are decoded as needed",
    )
    test_split: Literal["val", "test"] | None = Field(
        None, description="segmentation: what accuracies are measured on; default val"
    )
    held_out: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="set this share of the images aside as test part where the source has none, a fixed draw: images "
        "without labels can then be measured by a pretext task",
    )
    limit: int | None = Field(None, ge=2, description="use at most this many training images, a seeded uniform draw")
    limit_seed: int = Field(0, ge=0, description="of limit, per_class and split_per_class")
    per_class: Share | None = Field(
        None, description="use this share of the training images of every class, a seeded draw"
    )
    split_per_class: bool = Field(
        False, description="order the training images so that the first images, however many, are of all classes alike"
    )
    padding: int | None = Field(None, ge=0, description="random crops after padding; default: what suits the source")
    flip: bool | None = Field(None, description="random horizontal flips; default: what suits the source")
    augmentation: PaddedCropSettings | ResizedCropSettings | ScaledCropSettings | None = Field(
        None,
        discriminator="kind",
        description="what happens to training images; default: padded_crop as suits the source",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        files, problems = self.source in ("folder", "segmentation"), []
        if (self.path is None) != (self.source == "digits"):
            problems.append("path must be given, except for digits" if self.path is None else "digits takes no path")
        if self.image_size is not None and not files:
            problems.append(
                f"image_size only goes with source: folder or segmentation; {self.source} images keep their size"
            )
        if self.shape is not None and not files:
            problems.append(
                f"shape only goes with source: folder or segmentation; {self.source} images keep their size"
            )
        if self.shape is not None and self.image_size is not None:
            problems.append("image_size and shape both say how large images become; give one")
        if self.resident is not None and not files:
            problems.append(
                f"resident only goes with source: folder or segmentation; {self.source} images are always held in memory"
            )
        if self.test_split is not None and self.source != "segmentation":
            problems.append("test_split only goes with source: segmentation")
        if self.limit is not None and self.per_class is not None:
            problems.append("limit and per_class both say how many images are used; give one")
        if self.source == "segmentation" and (self.per_class is not None or self.split_per_class):
            problems.append(
                "per_class and split_per_class need images with one class each; source segmentation has none"
            )
        if self.augmentation is not None and (self.padding is not None or self.flip is not None):
            problems.append("padding and flip are part of augmentation where that is given")
        if problems:
            raise ValueError("; ".join(problems))
        return self
