"""Recipes of detection and segmentation, as data. Free of torch and of OpenMMLab's packages.

A recipe is a YAML file in ``evaluators/mmlab/recipes``, with the source of its values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ..data.settings import Strength
from ..settings import Settings

Positive = Annotated[int, Field(ge=1)]
Three = tuple[float, float, float]


class BackboneSettings(Settings):
    """What becomes of an architecture.

    ``sizes``: arguments of a space by its registered name, such as ``{"darts": {"stem": "imagenet", "cells": 14}}``. A
    space that is not listed keeps the arguments that the architecture comes with. With a checkpoint the sizes are the
    checkpoint's.
    """

    sizes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    published: str | None = Field(
        None,
        description="a paper, as sources of published architectures begin; those that it trained on images of this size have "
        "the number of channels from there instead of that of sizes",
    )
    pretrained: bool = Field(False, description="starts from a checkpoint of a retraining, which must then be given")
    frozen_stages: int = Field(
        -1, ge=-1, description="so many stages, the stem with the first, are not trained; -1: all are"
    )
    norm_eval: bool = Field(False, description="batch norms keep their statistics")
    output_stride: int | None = Field(None, ge=2, description="of the last feature map; default: the network's own")
    by: Literal["dilation", "fewer_reductions"] = Field("dilation", description="how the output stride is reached")


class OptimizerSettings(Settings):
    """torch's SGD or AdamW."""

    name: Literal["SGD", "AdamW"] = "SGD"
    learning_rate: float = Field(gt=0, description="of a whole batch of batch_size images")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")


class ScheduleSettings(Settings):
    """The learning rate. ``step``: times ``factor`` at each of ``steps`` (epochs); ``cosine`` and ``poly`` fall to
    ``final``.
    """

    name: Literal["constant", "step", "cosine", "poly"] = "step"
    per: Literal["epoch", "iteration"] = "iteration"
    steps: tuple[Positive, ...] = ()
    factor: float = Field(0.1, gt=0, lt=1)
    final: float = Field(0.0, ge=0)
    power: float = Field(0.9, gt=0, description="of poly")
    warmup_iterations: int = Field(0, ge=0)
    warmup_from: float = Field(
        0.001, gt=0, le=1, description="factor of the learning rate at the beginning of the warm-up"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.name == "step") != bool(self.steps):
            raise ValueError("step needs steps" if self.name == "step" else f"{self.name} takes no steps")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("steps must ascend")
        return self


class DetectorSettings(Settings):
    """RetinaNet or Faster R-CNN with a feature pyramid, as mmdet's ``_base_/models`` have them."""

    kind: Literal["retinanet", "faster_rcnn"]
    channels: int = Field(256, ge=8, description="of the pyramid and of RetinaNet's and the proposal network's heads")
    convolutions: int = Field(4, ge=1, description="stacked in RetinaNet's head")
    fully_connected: int = Field(1024, ge=8, description="channels of Faster R-CNN's head")
    norm: Literal["none", "group"] = Field(
        "none", description="group: group norm of 32 groups in pyramid and heads, for training from scratch"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if (
            self.norm == "group" and self.channels % 64
        ):  # 32 groups of two, or a feature map of one pixel has no variance
            raise ValueError(f"channels must be a multiple of 64 for norm: group, but got {self.channels}")
        return self


class SegmenterSettings(Settings):
    """Atrous spatial pyramid pooling on the last feature map.

    ``deeplabv3``: mmseg's ``ASPPHead``, with a 3x3 convolution behind it; ``unnas``: UnNAS', whose 1x1 convolution
    classifies at once.
    """

    kind: Literal["deeplabv3", "unnas"] = "deeplabv3"
    channels: int = Field(512, ge=8)
    rates: tuple[Positive, ...] = Field((12, 24, 36), min_length=1, description="dilations of its 3x3 convolutions")
    dropout: float = Field(0.1, ge=0, lt=1)
    auxiliary: bool = Field(False, description="an FCN head on the map before the last, with 0.4 of the loss")


class DetectionImages(Settings):
    """What a detector sees."""

    size: tuple[Positive, Positive] = Field(
        description="width and height that images are shrunk or enlarged into, keeping their shape"
    )
    flip: Strength = 0.5
    mean: Three | None = Field(None, description="of R, G, B in [0, 1]; default: the checkpoint's, or ImageNet's")
    std: Three | None = None


class SegmentationImages(Settings):
    """What a segmentation network sees. Tests use whole images at their own size."""

    test_size: tuple[Positive, Positive] | None = Field(
        None, description="height and width that test images are padded to; default: multiples of 32"
    )
    crop: tuple[Positive, Positive] = Field(description="height and width of training images; smaller ones are padded")
    short_side: int | None = Field(
        None,
        ge=1,
        description="training images are resized so that the shorter side is this times the scale; default: own size",
    )
    scale: tuple[float, float] = Field((1.0, 1.0), description="range of the random factor")
    scale_draw: Literal["uniform", "log_uniform"] = "uniform"
    at_least_crop: bool = Field(False, description="the shorter side is at least the crop's")
    largest_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="crops in which one class has more than this share are drawn again, ten times at most",
    )
    flip: Strength = 0.5
    photometric: bool = Field(False, description="mmseg's random brightness, contrast, saturation and hue")
    lighting: float = Field(
        0.0, ge=0, description="standard deviation of noise along the principal components of ImageNet's colours"
    )
    mean: Three | None = Field(None, description="of R, G, B in [0, 1]; default: the checkpoint's, or ImageNet's")
    std: Three | None = None


class TransferRecipe(Settings):
    """What detection and segmentation have in common."""

    source: str = Field(min_length=1, description="where the values come from")
    epochs: int | None = Field(None, ge=1)
    iterations: int | None = Field(None, ge=1, description="instead of epochs")
    batch_size: int = Field(ge=1, description="images an update, over all devices and accumulated parts together")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in, one after the other")
    drop_last: bool = Field(False, description="leave out the images that do not fill a batch")
    optimizer: OptimizerSettings
    schedule: ScheduleSettings = ScheduleSettings(name="constant")
    backbone: BackboneSettings = BackboneSettings()
    sync_batchnorm: bool = Field(
        False, description="batch statistics over all devices; plain batch norm on one device and on CPUs"
    )
    validate_every: int = Field(1, ge=1, description="epochs, or iterations where the length is in iterations")
    checkpoint_every: int = Field(1, ge=1, description="in the same unit; so much is lost when the run is killed")
    workers: int = Field(
        2, ge=0, description="processes of each device that read and augment images; 0: none but itself"
    )

    @model_validator(mode="after")
    def _length(self) -> Self:
        problems = []
        if (self.epochs is None) == (self.iterations is None):
            problems.append("epochs or iterations must be given, and not both")
        if self.batch_size % self.accumulate:
            problems.append(
                f"batch_size must be a multiple of accumulate, but got {self.batch_size} and {self.accumulate}"
            )
        if self.epochs is None and (self.schedule.per == "epoch" or self.schedule.name == "step"):
            problems.append("a schedule by epochs needs the length in epochs")
        if self.epochs is not None and self.schedule.steps and self.schedule.steps[-1] >= self.epochs:
            problems.append(
                f"the last of schedule.steps must lie before the last epoch, but got {self.schedule.steps[-1]} and epochs: {self.epochs}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def length(self) -> int:
        """Epochs or iterations."""
        return self.epochs or self.iterations or 0

    @property
    def tested_size(self) -> tuple[int, int]:
        """(height, width) for which the width of a published backbone is looked up: where a recipe does not say what it
        tests on, that of a training on ImageNet.
        """
        return (224, 224)


class DetectionRecipe(TransferRecipe):
    """One training of a detector."""

    task: Literal["detection"] = "detection"
    images: DetectionImages
    detector: DetectorSettings


class SegmentationRecipe(TransferRecipe):
    """One training of a segmentation network."""

    task: Literal["segmentation"] = "segmentation"
    images: SegmentationImages
    segmenter: SegmenterSettings = SegmenterSettings()

    @property
    def tested_size(self) -> tuple[int, int]:
        """That of test images, or of crops where it is not said."""
        return self.images.test_size or self.images.crop
