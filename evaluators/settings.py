"""Settings of data and training, checked by pydantic. Free of torch, so that NNI's tuner process can read them.

The defaults are the papers' values for NAS-Bench-201 on CIFAR-10; an example that is smaller says so in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from spaces.errors import closest, shown

from .errors import ConfigError

T = TypeVar("T", bound=BaseModel)
LARGEST = 2**63 - 1
Beta = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Share = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]


class PaddedCropSettings(Settings):
    """A random crop of the same size after zero padding, and a flip (CIFAR)."""

    kind: Literal["padded_crop"] = "padded_crop"
    padding: int | None = Field(None, ge=0, description="pixels on each side; default: what suits the source")
    flip: bool | None = Field(None, description="random horizontal flips; default: what suits the source")


class ColourSettings(Settings):
    """Changes of colour that crops with scaling can make."""

    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: float = Field(0.0, ge=0, le=0.5, description="largest turn, as a part of the full circle")
    lighting: float = Field(0.1, ge=0, description="standard deviation of noise along the principal components of ImageNet's colours")


class ResizedCropSettings(ColourSettings):
    """A part of the image, random in area and ratio, resized to a square. The defaults are UnNAS' and most others' for ImageNet."""

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
    """A random crop of the image at a random scale. The defaults are UnNAS' search on Cityscapes (official code; the paper says 312)."""

    kind: Literal["scaled_crop"] = "scaled_crop"
    size: int = Field(321, ge=4, description="side of the crop in pixels")
    nominal: int = Field(512, ge=1, description="the shorter side is this times 2 ** U(-1, 1), but at least size")
    flip: bool = True


class DataSettings(Settings):
    """Where images come from.

    ``digits`` needs no path; ``folder`` is a folder of images with or without one sub-folder a class, and with or without
    ``train`` and ``test`` (or ``val``) above them; ``segmentation`` has an image of labels for each image, in the layout of CamVid or of
    Cityscapes; ``cifar10`` and ``cifar100`` are as torchvision stores them; ``npz`` holds arrays
    ``images`` (N, H, W) or (N, H, W, 3) uint8, ``labels`` (N,) where there are any, and ``test_images``/``test_labels``.
    """

    source: Literal["digits", "folder", "segmentation", "cifar10", "cifar100", "npz"] = "digits"
    path: str | None = None
    image_size: int | None = Field(None, ge=4, description="side of the square that files are resized to; default of folder: 32")
    shape: tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]] | None = Field(
        None, description="(height, width) that files are resized to, instead of a square; default of segmentation: that of its first image"
    )
    resident: bool | None = Field(None, description="hold the pixels of files in memory; default: up to 8 GB; otherwise files are decoded as needed")
    test_split: Literal["val", "test"] | None = Field(None, description="segmentation: what accuracies are measured on; default val")
    limit: int | None = Field(None, ge=2, description="use at most this many training images, a seeded uniform draw")
    limit_seed: int = Field(0, ge=0, description="of limit, per_class and split_per_class")
    per_class: Share | None = Field(None, description="use this share of the training images of every class, a seeded draw")
    split_per_class: bool = Field(False, description="order the training images so that the first images, however many, are of all classes alike")
    padding: int | None = Field(None, ge=0, description="random crops after padding; default: what suits the source")
    flip: bool | None = Field(None, description="random horizontal flips; default: what suits the source")
    augmentation: PaddedCropSettings | ResizedCropSettings | ScaledCropSettings | None = Field(
        None, discriminator="kind", description="what happens to training images; default: padded_crop as suits the source"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        files, problems = self.source in ("folder", "segmentation"), []
        if (self.path is None) != (self.source == "digits"):
            problems.append("path must be given, except for digits" if self.path is None else "digits takes no path")
        if self.image_size is not None and not files:
            problems.append(f"image_size only goes with source: folder or segmentation; {self.source} images keep their size")
        if self.shape is not None and not files:
            problems.append(f"shape only goes with source: folder or segmentation; {self.source} images keep their size")
        if self.shape is not None and self.image_size is not None:
            problems.append("image_size and shape both say how large images become; give one")
        if self.resident is not None and not files:
            problems.append(f"resident only goes with source: folder or segmentation; {self.source} images are always held in memory")
        if self.test_split is not None and self.source != "segmentation":
            problems.append("test_split only goes with source: segmentation")
        if self.limit is not None and self.per_class is not None:
            problems.append("limit and per_class both say how many images are used; give one")
        if self.source == "segmentation" and (self.per_class is not None or self.split_per_class):
            problems.append("per_class and split_per_class need images with one class each; source segmentation has none")
        if self.augmentation is not None and (self.padding is not None or self.flip is not None):
            problems.append("padding and flip are part of augmentation where that is given")
        if problems:
            raise ValueError("; ".join(problems))
        return self


MAY_CHANGE = frozenset({"checkpoint_seconds", "accelerator"})
"""Settings of a training that a resumed run may change: where it runs, and how often it saves."""


class TrainingSettings(Settings):
    """One training by SGD. The defaults train RLNAS' NAS-Bench-201 supernet (official ``SPOS.config``; fact sheet section 3)."""

    epochs: int = Field(250, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.025, gt=0)
    final_learning_rate: float = Field(0.001, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near")
    learning_rate_warmup: int = Field(0, ge=0, description="the learning rate rises linearly over the first so many epochs")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0)
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1)
    checkpoint_seconds: float = Field(60, ge=0, description="at most this much work is lost when the run is killed")


class SupernetSettings(TrainingSettings):
    """Training of a single-path supernet."""

    share_cells: bool = Field(False, description="one path for all cells of a step; the official code draws one for each cell")
    update: Literal["all", "active"] = Field(
        "all", description="all: decay and momentum move every weight at every step, as in the official code; active: only the step's path"
    )


class StandAloneSettings(TrainingSettings):
    """Stand-alone training of one architecture: NAS-Bench-201's 200-epoch recipe (ICLR 2020, table 1)."""

    epochs: int = Field(200, ge=1)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    final_learning_rate: float = Field(0.0, ge=0)


class StabilitySettings(Settings):
    """When a search is stopped, or rolled back and decayed more; see :mod:`evaluators.training.stability`.

    The defaults are RobustDARTS' (ICLR 2020; official ``DARTS-ADA_search.sh``), which go with ``hessian_every: 2``.
    """

    method: Literal["early_stop", "adaptive"] = Field(description="early_stop: the search ends with the stop epoch (DARTS-ES); adaptive: DARTS-ADA")
    window: int = Field(5, ge=1, description="eigenvalues in a local average; odd, so that it has a centre")
    start_epoch: int = Field(10, ge=0, description="the first epoch, from 0, that can be the stop epoch")
    delta: int = Field(4, ge=1, description="how many eigenvalues lie between the two averages that are compared")
    factor: float = Field(1.3, gt=1, description="the later average must be more than this times the earlier one")
    max_weight_decay: float = Field(0.03, gt=0, description="adaptive: where the weights' decay is not raised any more")
    multiplier: float = Field(10.0, gt=1, description="adaptive: of the weights' decay at every roll-back")

    @model_validator(mode="after")
    def _centred(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, but got {self.window}")
        return self

    def lag(self, every: int) -> int:
        """How many epochs back the stop epoch lies, with an eigenvalue every ``every`` epochs."""
        return every * (self.window // 2 + self.delta)


class BilevelSettings(TrainingSettings):
    """Differentiable search: weights by SGD on one half of the images, architecture parameters by Adam on the other.

    The defaults are DARTS' search on CIFAR-10 (ICLR 2019, official code; fact sheet section 1.4).
    """

    epochs: int = Field(50, ge=1)
    nesterov: bool = False
    weight_decay: float = Field(3e-4, ge=0)
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of the weights' gradients together")
    architecture_learning_rate: float = Field(3e-4, gt=0, description="of Adam, the same in all epochs")
    architecture_betas: tuple[Beta, Beta] = (0.5, 0.999)
    architecture_weight_decay: float = Field(1e-3, ge=0)
    architecture_clip: float | None = Field(None, gt=0, description="largest norm of the architecture parameters' gradients together")
    order: Literal[1, 2] = Field(1, description="2: the architecture gradient is taken through one step of the weights")
    first: Literal["architecture", "weights"] = Field("architecture", description="which step comes first in an iteration")
    warmup_epochs: int = Field(0, ge=0, description="the architecture parameters are not trained in the first so many epochs")
    portion: float = Field(0.5, description="share of the images that train the weights; the rest trains the architecture parameters")
    shuffle_split: bool = Field(False, description="draw the two halves by the seed; otherwise the first images train the weights, as in DARTS")
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compile: bool = Field(False, description="compile the network by torch.compile; for mixtures, whose graph is the same at every step")
    hessian_every: int = Field(0, ge=0, description="compute the Hessian's dominant eigenvalue every so many epochs (R-DARTS: 2); 0: never")
    stability: StabilitySettings | None = Field(None, description="what follows from the eigenvalues; nothing by default")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.order == 2 and self.precision.endswith("mixed"):
            problems.append(f"order 2 takes differences that {self.precision} rounds away; use precision 32-true or 64-true, or order 1")
        if self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs < epochs must hold, or the architecture is never trained, but got {self.warmup_epochs} and {self.epochs}")
        if self.hessian_every and self.precision.endswith("mixed"):
            problems.append(f"hessian_every needs second derivatives, which {self.precision} rounds away; use precision 32-true or 64-true")
        if self.stability is not None:
            problems += self._watched(self.stability)
        if not 0 < self.portion < 1:
            problems.append(f"portion must lie between 0 and 1, for both halves need images (DARTS: 0.5), but got {self.portion}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _watched(self, rule: StabilitySettings) -> list[str]:
        """Why ``rule`` could never do anything."""
        problems, every = [], self.hessian_every
        if not every:
            return ["stability needs eigenvalues; set hessian_every (R-DARTS: 2)"]
        first = -(-rule.start_epoch // every) * every + rule.lag(every)
        if first >= self.epochs - 1:
            problems.append(f"stability first compares averages in epoch {first + 1} and not in the last one, but epochs is {self.epochs}")
        if rule.method == "adaptive" and not 0 < self.weight_decay < rule.max_weight_decay:
            problems.append(
                f"0 < weight_decay < stability.max_weight_decay must hold, or nothing can be raised, but got {self.weight_decay:g} and "
                f"{rule.max_weight_decay:g}"
            )
        return problems


def read(model: type[T], values: Any, where: str = "") -> T:
    """``model(**values)``, with every problem in one :class:`ConfigError` and close matches for unknown keys.

    Args:
        where: what stands before each key in the message, such as ``"tuner.classArgs."``.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where.rstrip('.') or 'configuration'}: must be a mapping, but got {type(values).__name__}.")
    try:
        _bounded(values, where.rstrip("."))
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = error.errors()
        places = [e["loc"] for e in problems]
        # a list whose only entry is wrong is "too short", too
        problems = [e for e in problems if e["type"] != "too_short" or all(at == e["loc"] or at[: len(e["loc"])] != e["loc"] for at in places)]
        raise ConfigError("; ".join(_sentence(model, where, e) for e in problems), "Correct the keys named above.") from None


def _bounded(value: Any, place: str) -> None:
    """Raises ConfigError for a whole number that no library below us can hold; ``place`` is its key."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ConfigError(f"{place}: whole numbers must lie between -2^63 and 2^63, but got one of {value.bit_length()} bits.")
    if isinstance(value, Mapping):
        for key, part in value.items():
            _bounded(part, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _bounded(part, f"{place}.{i}".removeprefix("."))


def _sentence(model: type[BaseModel], where: str, error: Any) -> str:
    keys, known = _keys(model, error["loc"])
    place = where + ".".join(keys)
    if error["type"] == "extra_forbidden":
        return f"{place}: no such key; {closest(keys[-1], known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    got = "" if error["type"] == "missing" or isinstance(given, Mapping) else f", but got {shown(given)}"
    return f"{place.rstrip('.') or 'configuration'}: {message[0].lower()}{message[1:]}{got}"


def _keys(model: type[BaseModel], place: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """``place`` as it is written in a file, that is without the tags of unions; and the known keys beside its last one."""
    models: list[Any] = [model]
    keys, known = [], ["(none)"]
    for part in place:
        tagged = [m for m in models if part in get_args(getattr(m.model_fields.get("kind"), "annotation", None))]
        if len(models) > 1 and tagged:  # such as ``resized_crop`` in ``augmentation.resized_crop.size``
            models = tagged
            continue
        known = list(models[0].model_fields) if models else ["(none)"]
        keys.append(str(part))
        field = models[0].model_fields.get(part) if models else None
        annotation = None if field is None else field.annotation
        union = get_origin(annotation) in (Union, UnionType)  # such as ``EvolutionSettings | None``
        models = [option for option in (get_args(annotation) if union else [annotation]) if hasattr(option, "model_fields")]
    return keys, known
