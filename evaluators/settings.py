"""Settings of data and training, checked by pydantic. Free of torch, so that NNI's tuner process can read them.

The defaults are the papers' values for NAS-Bench-201 on CIFAR-10; an example that is smaller says so in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from spaces.errors import closest

from .errors import ConfigError

T = TypeVar("T", bound=BaseModel)
Beta = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Settings):
    """Where images come from.

    ``digits`` needs no path; ``folder`` is a folder of images with or without one sub-folder a class, and with or without
    ``train`` and ``test`` (or ``val``) above them; ``cifar10`` and ``cifar100`` are as torchvision stores them; ``npz`` holds arrays
    ``images`` (N, H, W) or (N, H, W, 3) uint8, ``labels`` (N,) where there are any, and ``test_images``/``test_labels``.
    """

    source: Literal["digits", "folder", "cifar10", "cifar100", "npz"] = "digits"
    path: str | None = None
    image_size: int | None = Field(None, ge=4, description="folder: resize the shorter side to this and crop the centre; default 32")
    limit: int | None = Field(None, ge=2, description="use at most this many training images, a seeded uniform draw")
    limit_seed: int = Field(0, ge=0)
    padding: int | None = Field(None, ge=0, description="random crops after padding; default: what suits the source")
    flip: bool | None = Field(None, description="random horizontal flips; default: what suits the source")

    @model_validator(mode="after")
    def _path(self) -> Self:
        if (self.path is None) != (self.source == "digits"):
            raise ValueError("path must be given, except for digits" if self.path is None else "digits takes no path")
        if self.image_size is not None and self.source != "folder":
            raise ValueError(f"image_size only goes with source: folder; {self.source} images keep their size")
        return self


MAY_CHANGE = frozenset({"checkpoint_seconds", "accelerator"})
"""Settings of a training that a resumed run may change: where it runs, and how often it saves."""


class TrainingSettings(Settings):
    """One training by SGD. The defaults train RLNAS' NAS-Bench-201 supernet (official ``SPOS.config``; fact sheet section 3)."""

    epochs: int = Field(250, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.025, gt=0)
    final_learning_rate: float = Field(0.001, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near")
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

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.order == 2 and self.precision.endswith("mixed"):
            problems.append(f"order 2 takes differences that {self.precision} rounds away; use precision 32-true or 64-true, or order 1")
        if self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs < epochs must hold, or the architecture is never trained, but got {self.warmup_epochs} and {self.epochs}")
        if not 0 < self.portion < 1:
            problems.append(f"portion must lie between 0 and 1, for both halves need images (DARTS: 0.5), but got {self.portion}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read(model: type[T], values: Any, where: str = "") -> T:
    """``model(**values)``, with every problem in one :class:`ConfigError` and close matches for unknown keys.

    Args:
        where: what stands before each key in the message, such as ``"tuner.classArgs."``.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where.rstrip('.') or 'configuration'}: must be a mapping, but got {type(values).__name__}.")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(model, where, e) for e in error.errors()), "Correct the keys named above.") from None


def _sentence(model: type[BaseModel], where: str, error: Any) -> str:
    place = where + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{place}: no such key; {closest(str(error['loc'][-1]), _fields(model, error['loc'][:-1]))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = "" if error["type"] == "missing" or isinstance(given, Mapping) else f", but got {given!r}"
    return f"{place.rstrip('.') or 'configuration'}: {message[0].lower()}{message[1:]}{shown}"


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Known keys at ``path`` below ``model``."""
    current: Any = model
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        current = None if field is None else field.annotation
        if get_origin(current) in (Union, UnionType):  # such as ``EvolutionSettings | None``
            current = next((option for option in get_args(current) if hasattr(option, "model_fields")), None)
    return list(getattr(current, "model_fields", {}) or {"(none)": None})
