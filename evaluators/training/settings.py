"""Settings of trainings. Free of torch. The defaults are the papers' values for NAS-Bench-201 on CIFAR-10; a smaller
example says so in its own file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ..settings import Settings

Beta = Annotated[float, Field(ge=0, lt=1)]


MAY_CHANGE = frozenset({"checkpoint_seconds", "accelerator"})
"""Settings of a training that a resumed run may change: where it runs, and how often it saves."""


class TrainingSettings(Settings):
    """One training by SGD. The defaults train RLNAS' NAS-Bench-201 supernet (official ``SPOS.config``)."""

    epochs: int = Field(250, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.025, gt=0)
    final_learning_rate: float = Field(
        0.001, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near"
    )
    learning_rate_warmup: int = Field(0, ge=0, description="the learning rate rises linearly over the first N epochs")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0)
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1)
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="of images and feature maps; auto: channels_last on a CPU, and on a GPU in mixed precision"
    )
    checkpoint_seconds: float = Field(60, ge=0, description="at most this much work is lost when the run is killed")


class SupernetSettings(TrainingSettings):
    """Training of a single-path supernet."""

    share_cells: bool | None = Field(
        None,
        description="one path for all cells of a step (of each kind, where there are normal and reduction cells), or one for "
        "each cell; None: as the official code for the space, which draws one for each cell only on NAS-Bench-201",
    )
    update: Literal["all", "active"] = Field(
        "all",
        description="all: decay and momentum move every weight at every step, as in the official code; active: only the step's path",
    )


class SinglePathSettings(SupernetSettings):
    """Training of a single-path supernet that is judged by its weights, with what RLNAS' official training on ImageNet
    needs besides.
    """

    schedule: Literal["cosine", "linear"] = Field(
        "cosine",
        description="of the learning rate: half a cosine by epochs, or a line by iterations, to final_learning_rate",
    )
    clip_value: float | None = Field(None, gt=0, description="largest absolute value of every single gradient")
    decayed: Literal["all", "convolutions", "convolutions_and_classifier"] = Field(
        "all", description="what weight decay is for"
    )
    normalise: bool = Field(
        True, description="the images' mean is subtracted and their deviation divided by; false: pixels lie in [0, 1]"
    )
    initialisation: Literal["space", "kaiming"] = Field(
        "space",
        description="initial weights: the space's own (PyTorch's; RLNAS' in the MobileNet-like space), or those of RLNAS' "
        "DARTS supernet on ImageNet: He et al.'s uniform ones, and N(0, 0.01) in the classifier",
    )

    @model_validator(mode="after")
    def _one_clip(self) -> Self:
        if self.clip_value is not None and self.gradient_clip is not None:
            raise ValueError("clip_value and gradient_clip both bound the gradients; give one")
        if self.schedule == "linear" and self.learning_rate_warmup:
            raise ValueError("learning_rate_warmup goes with schedule: cosine; a line has none")
        return self


class StandAloneSettings(TrainingSettings):
    """Stand-alone training of one architecture: NAS-Bench-201's 200-epoch recipe (ICLR 2020, table 1)."""

    epochs: int = Field(200, ge=1)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    final_learning_rate: float = Field(0.0, ge=0)


class StabilitySettings(Settings):
    """When a search is stopped, or rolled back and decayed more; see :mod:`nni_plugins.evaluators.training.stability`.

    The defaults are RobustDARTS' (ICLR 2020; official ``DARTS-ADA_search.sh``), which go with ``hessian_every: 2``.
    """

    method: Literal["early_stop", "adaptive"] = Field(
        description="early_stop: the search ends with the stop epoch (DARTS-ES); adaptive: DARTS-ADA"
    )
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

    The defaults are DARTS' search on CIFAR-10 (ICLR 2019, official code).
    """

    epochs: int = Field(50, ge=1)
    nesterov: bool = False
    weight_decay: float = Field(3e-4, ge=0)
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of the weights' gradients together")
    architecture_learning_rate: float = Field(3e-4, gt=0, description="of Adam, the same in all epochs")
    architecture_betas: tuple[Beta, Beta] = (0.5, 0.999)
    architecture_weight_decay: float = Field(1e-3, ge=0)
    architecture_clip: float | None = Field(
        None, gt=0, description="largest norm of the architecture parameters' gradients together"
    )
    order: Literal[1, 2] = Field(1, description="2: the architecture gradient is taken through one step of the weights")
    first: Literal["architecture", "weights"] = Field(
        "architecture", description="which step comes first in an iteration"
    )
    warmup_epochs: int = Field(0, ge=0, description="the architecture parameters are not trained in the first N epochs")
    portion: float = Field(
        0.5, description="share of the images that train the weights; the rest trains the architecture parameters"
    )
    shuffle_split: bool = Field(
        False, description="draw the two halves by the seed; otherwise the first images train the weights, as in DARTS"
    )
    compile: bool = Field(
        False, description="compile the network by torch.compile; for mixtures, whose graph is the same at every step"
    )
    hessian_every: int = Field(
        0, ge=0, description="compute the Hessian's dominant eigenvalue every N epochs (R-DARTS: 2); 0: never"
    )
    stability: StabilitySettings | None = Field(
        None, description="what follows from the eigenvalues; nothing by default"
    )
    most_skips: int | None = Field(
        None,
        ge=1,
        description="DARTS+: end the search after the first epoch whose derived normal cell has so many skip connections "
        "(paper: 2)",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.order == 2 and self.precision.endswith("mixed"):
            problems.append(
                f"order 2 takes differences that {self.precision} rounds away; use precision 32-true or 64-true, or order 1"
            )
        if self.warmup_epochs >= self.epochs:
            problems.append(
                f"warmup_epochs < epochs must hold, or the architecture is never trained, but got {self.warmup_epochs} and {self.epochs}"
            )
        if self.hessian_every and self.precision.endswith("mixed"):
            problems.append(
                f"hessian_every needs second derivatives, which {self.precision} rounds away; use precision 32-true or 64-true"
            )
        if self.stability is not None:
            problems += self._watched(self.stability)
        if not 0 < self.portion < 1:
            problems.append(
                f"portion must lie between 0 and 1, for both halves need images (DARTS: 0.5), but got {self.portion}"
            )
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
            problems.append(
                f"stability first compares averages in epoch {first + 1} and not in the last one, but epochs is {self.epochs}"
            )
        if rule.method == "adaptive" and not 0 < self.weight_decay < rule.max_weight_decay:
            problems.append(
                f"0 < weight_decay < stability.max_weight_decay must hold, or nothing can be raised, but got {self.weight_decay:g} and "
                f"{rule.max_weight_decay:g}"
            )
        return problems
