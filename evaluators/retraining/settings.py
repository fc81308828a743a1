"""Recipes: how a network is trained to the end, as data. Free of torch and timm.

A recipe is a YAML file in ``evaluators/retraining/recipes``; every value that a paper or its official code gives stands
there with its source. Nothing here has a paper's value as default: the defaults are the plain case, in which an
ingredient is left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ..data.settings import Share, Strength
from ..settings import Settings

Three = tuple[float, float, float]
Range = tuple[float, float]


class OptimizerSettings(Settings):
    """One of timm's optimizers."""

    name: str = Field(
        "sgd", description="as timm.optim.list_optimizers() has it; 'sgd' with nesterov: false is timm's 'momentum'"
    )
    learning_rate: float = Field(gt=0, description="of a whole batch of batch_size images")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = Field(False, description="of sgd")
    weight_decay: float = Field(0.0, ge=0)
    decay: Literal["all", "matrices", "convolutions"] = Field(
        "all",
        description="what decays: all parameters; all but biases and norms (timm's default); only the weights of convolutions",
    )
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="factor of the learning rate from each layer to the one before it"
    )
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="more of the optimizer's own, such as betas or eps"
    )


class ScheduleSettings(Settings):
    """The learning rate as a function of time t in [0, T): of epochs, or of updates; T is without ``cooldown_epochs``.

    ``constant``; ``cosine``: ``final + (lr - final) (1 + cos(pi t / T)) / 2``; ``exponential``: ``lr * rate ** epoch``;
    ``linear``: ``final + (lr - final) (1 - t / T)``; ``linear_tail`` (PC-DARTS on ImageNet):
    ``lr (T - 5 - t) / (T - 5)`` while T - t > 5, then ``lr (T - t) / (5 (T - 5))``.
    """

    name: Literal["constant", "cosine", "exponential", "linear", "linear_tail"] = "cosine"
    per: Literal["epoch", "update"] = "epoch"
    final: float = Field(0.0, ge=0, description="learning rate that cosine and linear end near")
    rate: float = Field(0.97, gt=0, lt=1, description="of exponential, an epoch")
    warmup_epochs: int = Field(0, ge=0)
    warmup_from: float = Field(
        0.0, ge=0, le=1, description="factor of the learning rate at the beginning of the warm-up"
    )
    warmup: Literal["replace", "multiply", "step_replace", "step_multiply"] = Field(
        "replace",
        description="in the first n = warmup_epochs epochs, with f = from + (1 - from) e / n: replace: the rate is f * lr (timm); multiply: f times "
        "what the schedule says (pycls); step_replace, step_multiply: the same with (e + 1) / n for f, e whole epochs (PC-DARTS; RLNAS)",
    )
    cooldown_epochs: int = Field(0, ge=0, description="epochs at the final rate, part of the recipe's epochs")

    @property
    def stands_still(self) -> bool:
        """Whether nothing is learnt in the first epoch."""
        return (
            self.per == "epoch"
            and self.warmup_epochs > 0
            and self.warmup_from == 0
            and not self.warmup.startswith("step")
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.name == "linear_tail" and self.per != "epoch":
            problems.append("linear_tail goes by epochs, so per must be 'epoch'")
        if self.cooldown_epochs and self.name not in ("cosine", "linear"):
            problems.append(
                f"cooldown_epochs goes with cosine and linear, which have a final rate, but the schedule is {self.name}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class InputSettings(Settings):
    """What a network sees."""

    size: int = Field(ge=4, description="pixels a side")
    mean: Three | None = Field(None, description="of each channel in [0, 1]; default: the training images' own")
    std: Three | None = Field(None, description="of each channel in [0, 1]; default: the training images' own")
    crop_pct: Share = Field(
        1.0, description="tests: the centre of this share of the side; the shorter side is resized to size / crop_pct"
    )
    interpolation: Literal["bilinear", "bicubic", "random"] = Field(
        "bilinear", description="random: of training images only; tests are bicubic"
    )


class CropSettings(Settings):
    """A random crop after zero padding, a flip, cutout (CIFAR)."""

    kind: Literal["padded_crop"] = "padded_crop"
    padding: int = Field(4, ge=0, description="pixels on each side")
    flip: Strength = Field(0.5, description="probability of a horizontal flip")
    cutout: int = Field(
        0, ge=0, description="side of a square of zeros (after normalisation) around a uniform place, cut at the border"
    )
    auto_augment: str | None = Field(None, description="timm's text, such as 'rand-m9-mstd0.5'")
    erase: Strength = Field(0.0, description="probability of timm's random erasing")


class TimmAugmentationSettings(Settings):
    """timm's augmentation of photographs: ``timm.data.create_transform``."""

    kind: Literal["timm"] = "timm"
    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: Strength = 0.5
    colour_jitter: tuple[float, ...] = Field(
        (), description="() for none; (brightness, contrast, saturation) or also hue"
    )
    lighting: float = Field(
        0.0, ge=0, description="standard deviation of noise along the principal components of ImageNet's colours"
    )
    auto_augment: str | None = Field(None, description="timm's text, such as 'rand-m9-mstd0.5'")
    erase: Strength = Field(0.0, description="probability of timm's random erasing")
    erase_mode: Literal["const", "rand", "pixel"] = "const"
    erase_count: int = Field(1, ge=1)


class MixSettings(Settings):
    """timm's mixup and cutmix, one draw a batch."""

    mixup: float = Field(0.0, ge=0, description="alpha; 0: none")
    cutmix: float = Field(0.0, ge=0, description="alpha; 0: none")
    probability: Strength = 1.0
    switch: Strength = Field(0.5, description="probability of cutmix where both are on")
    epochs: int | None = Field(None, ge=1, description="only in the first N epochs; default: all")

    @model_validator(mode="after")
    def _mixes(self) -> Self:
        if not self.mixup and not self.cutmix:
            raise ValueError("mixup, cutmix or both must be above 0; leave mix out (null) to mix nothing")
        return self


class LossSettings(Settings):
    """Cross-entropy, or binary cross-entropy of each class."""

    name: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing's epsilon")
    smoothing_over: Literal["classes", "others"] = Field(
        "classes",
        description="epsilon is spread over all K classes (1 - eps + eps / K for the true one), or over the K - 1 others (1 - eps)",
    )
    auxiliary_weight: float = Field(0.4, ge=0, description="of the auxiliary head's loss, where there is one")


class WidthSettings(Settings):
    """A search for the width: the channels with which the network's size lies in the ranges given."""

    macs: Range | None = Field(None, description="multiply-adds of one image, least and most")
    parameters: Range | None = Field(None, description="least and most; without the auxiliary head")
    choose: Literal["largest", "smallest"] = Field("largest", description="of the widths that meet the limits")
    multiple: int = Field(2, ge=1, description="only widths that it divides; 2: even ones")

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.macs is None and self.parameters is None:
            raise ValueError("macs, parameters or both must be given")
        for name, given in (("macs", self.macs), ("parameters", self.parameters)):
            if given is not None and not 0 < given[0] <= given[1]:
                raise ValueError(
                    f"{name} must be two numbers above 0, the smaller one first, but got {given[0]:g} and {given[1]:g}"
                )
        return self


class NetworkSettings(Settings):
    """What becomes of an architecture.

    ``sizes``: arguments of a space by its registered name, such as
    ``{"darts": {"stem": "cifar", "channels": 36, "cells": 20}}``; ``"robustdarts:s1"`` is only for that of RobustDARTS'
    spaces, and precedes ``"robustdarts"``. A space that is not listed keeps the arguments that the architecture comes
    with.
    """

    sizes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    auxiliary: bool = Field(False, description="train with the auxiliary head; spaces of cells only")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="probability of dropping an edge's output at the end of the ramp"
    )
    drop_path_ramp: Literal["constant", "epochs", "depth_and_steps"] = Field(
        "epochs",
        description="epochs: times e / E in epoch e of E (DARTS); depth_and_steps: times (l + 1) / L in cell l of L "
        "and (s + 1) / S in update s of S (NAO)",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="of the pooled features")
    width: WidthSettings | None = None
    published: str | None = Field(
        None,
        description="a paper, as sources of published architectures begin; those that it trained on images of this size have "
        "the number of channels from there instead of that of sizes",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="of timm.create_model, for timm's own models")


class EMASettings(Settings):
    """timm's moving average of the weights (ModelEmaV3)."""

    decay: float = Field(0.9998, gt=0, lt=1)
    warmup: bool = Field(False, description="timm's rise of the decay over the first updates")


class PictureSettings(Settings):
    """Labelled images, as they are: resizing is the recipe's affair."""

    path: str = Field(min_length=1, description="a folder or file, or 'digits'")
    source: Literal["auto", "digits", "folder", "cifar10", "cifar100", "imagenet16_120", "svhn", "npz"] = Field(
        "auto", description="auto: by what lies there"
    )
    limit: int | None = Field(None, ge=2, description="use at most this many training images, a seeded uniform draw")
    validation: Annotated[float, Field(ge=0, lt=1)] | Literal["own"] = Field(
        0.0,
        description="share of the training images that is held out, a seeded uniform draw, or own: the folder val beside "
        "train and test; the best epoch is chosen by it. 0: none, and the last epoch counts",
    )
    limit_seed: int = Field(0, ge=0, description="of limit, test_limit and validation")
    test_limit: int | None = Field(None, ge=1, description="the same for test images")

    @property
    def holds_out(self) -> bool:
        """Whether there is a part that the best epoch is chosen by."""
        return self.validation != 0


MAY_CHANGE_IN_RETRAINING = frozenset({"checkpoint_seconds", "accelerator", "workers"})
"""Settings that a resumed run may change: none of them changes what is drawn."""

Augmentation = Annotated[CropSettings | TimmAugmentationSettings, Field(discriminator="kind")]


class Recipe(Settings):
    """One training, from fresh weights to the last epoch."""

    source: str = Field(min_length=1, description="where the values come from")
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2, description="images an update, over all devices and accumulated parts together")
    accumulate: int = Field(
        1, ge=1, description="parts that a batch is computed in, one after the other; batch norm sees one part"
    )
    drop_last: bool = Field(
        False,
        description="leave out the images that do not fill a batch; otherwise a last batch of one image is left out",
    )
    optimizer: OptimizerSettings
    schedule: ScheduleSettings = ScheduleSettings()
    input: InputSettings
    augmentation: Augmentation = CropSettings()
    mix: MixSettings | None = None
    loss: LossSettings = LossSettings()
    network: NetworkSettings = NetworkSettings()
    ema: EMASettings | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="of images and feature maps; auto: channels_last on a CPU, and on a GPU in mixed precision"
    )
    compile: bool = Field(False, description="torch.compile")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1, description="of this machine; under torchrun: as many as it starts processes")
    sync_batchnorm: bool = Field(False, description="batch statistics over all devices; on CUDA only")
    workers: int = Field(0, ge=0, description="processes that read and augment images; 0: this one")
    checkpoint_seconds: float = Field(60, ge=0, description="at most this much work is lost when the run is killed")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.batch_size % (self.devices * self.accumulate):
            problems.append(
                f"batch_size must be a multiple of devices * accumulate, but got {self.batch_size}, {self.devices} and {self.accumulate}"
            )
        if self.schedule.warmup_epochs + self.schedule.cooldown_epochs >= self.epochs and self.epochs > 1:
            problems.append(f"warmup_epochs + cooldown_epochs < epochs must hold, but epochs is {self.epochs}")
        if self.schedule.stands_still:
            problems.append("the first epoch's learning rate would be 0: give schedule.warmup_from, or per: update")
        if self.schedule.name == "linear_tail" and self.epochs - self.schedule.cooldown_epochs <= 5:
            problems.append(
                f"linear_tail needs more than 5 epochs, but got {self.epochs - self.schedule.cooldown_epochs}"
            )
        if self.mix is not None and (self.batch_size // (self.devices * self.accumulate)) % 2:
            problems.append("mix pairs images, so batch_size / (devices * accumulate) must be even")
        if (self.input.mean is None) != (self.input.std is None):
            problems.append("input.mean and input.std go together")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def part_size(self) -> int:
        """Images that one device computes at once."""
        return self.batch_size // (self.devices * self.accumulate)
