"""Settings of NAO-V2 and of its baseline NAO-WS. Free of torch, so that NNI's tuner process can check them.

Facts: Luo et al., "Understanding and Improving One-shot Neural Architecture Optimization", 2019 (NAO-V2), and its code.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.supernets.shared_weights import Reset
from nni_plugins.evaluators.training.settings import StandAloneSettings, SupernetSettings
from nni_plugins.spaces.base import SearchSpace

from ..nao.settings import ControllerSettings, ProposalSettings


class NAOV2Training(SupernetSettings):
    """One cycle of the supernet's training: NAO-V2's on CIFAR-10, 50 epochs a cycle."""

    epochs: int = Field(50, ge=1, description="of one cycle; there are search.iterations of them")
    nesterov: bool = False
    weight_decay: float = Field(3e-4, ge=0)
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of all gradients together")
    share_cells: Literal[True] = Field(
        True, description="an architecture of the pool is the same in all cells of a kind"
    )
    update: Literal["all", "active"] = Field(
        "active",
        description="active: decay and momentum move only what the step ran, as the code does with today's PyTorch; all: as in 2019",
    )
    drop_path: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="probability in the last cell at a cycle's last step; it grows with both. 0: none; default: 0.1, or 0 "
        "where the space's supernets drop no paths",
    )
    drop_identity: bool = Field(True, description="skip connections are dropped, too, as in the code since March 2020")

    def dropped(self, space: SearchSpace) -> float:
        """``drop_path``, or its default for ``space``."""
        return (0.1 if space.drops_paths else 0.0) if self.drop_path is None else self.drop_path


class NAOWSTraining(NAOV2Training):
    """NAO-WS: 150 epochs in five parts of 30, one cosine through all."""

    epochs: int = Field(30, ge=1, description="between two evaluations; there are search.iterations of them")


class FinalTraining(StandAloneSettings):
    """The short stand-alone training that orders the best architectures: ten epochs at the size of the search.

    NAO-V2's code also drops paths and outputs there and has an auxiliary head; ours does not.
    """

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.025, gt=0)
    final_learning_rate: float = Field(0.001, ge=0)
    nesterov: bool = False
    weight_decay: float = Field(3e-4, ge=0)
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of all gradients together")


class EvaluationSettings(Settings):
    """Which images train and which evaluate, and how architectures are evaluated with the shared weights."""

    evaluation_images: int | None = Field(
        500, ge=2, description="how many held-out images, a seeded draw; null: all of them"
    )
    evaluation_batch: int = Field(500, ge=2, description="images in a batch, whose statistics batch norms use")
    statistics: Literal["batch", "running"] = Field("batch", description="of batch norms in the evaluation")
    portion: float = Field(0.9, gt=0, lt=1, description="share of the images that train the weights")
    shuffle_split: bool = Field(
        True, description="draw the two parts by the seed; otherwise the first images train the weights"
    )


class NAOV2Settings(EvaluationSettings):
    """NAO-V2: cycles of training on a pool, evaluation, and a controller that proposes the next pool."""

    iterations: int = Field(
        4, ge=1, description="cycles of training and evaluation; between them the controller proposes"
    )
    initial: int = Field(
        1000,
        ge=2,
        description="random architectures of the first pool, twins left out; fewer where a space has no more",
    )
    kept: int | None = Field(
        None, ge=0, description="best ones that join each next pool; default: 100 with reset all, otherwise none"
    )
    random: int = Field(0, ge=0, description="new random architectures that join each next pool")
    evaluated: Literal["pool", "trained"] | None = Field(
        None,
        description="what is evaluated: the pool just trained, or all ever trained; default: pool with reset all, otherwise trained",
    )
    sampling: Literal["proportional", "uniform"] = Field(
        "proportional", description="of a step's architecture: by its parameters (eq. 1), or evenly"
    )
    reset: Reset = Field(
        "all",
        description="what begins anew with a cycle: all, optimizer (momentum, learning rate), learning_rate, none",
    )
    controller: ControllerSettings = ControllerSettings.model_validate({})
    proposals: ProposalSettings = ProposalSettings.model_validate({})
    final_candidates: int = Field(5, ge=1, description="so many best ones at the end are trained alone for a while")
    final: FinalTraining | None = Field(
        FinalTraining.model_validate({}), description="how; null: the order is that of the shared weights"
    )

    @property
    def carried(self) -> int:
        """How many best ones join the next pool."""
        return self.kept if self.kept is not None else 100 if self.reset == "all" else 0

    @property
    def evaluates_all(self) -> bool:
        """Whether all that were ever trained are evaluated, rather than the last pool."""
        return self.reset != "all" if self.evaluated is None else self.evaluated == "trained"

    @property
    def ranked(self) -> int:
        """How many architectures the last evaluation ranks at most."""
        new = self.proposals.new + self.random
        if self.evaluates_all:
            return self.initial + (self.iterations - 1) * new
        return self.carried + new if self.iterations > 1 else self.initial

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = []
        if self.reset == "all" and self.evaluated == "trained":
            problems.append(
                "evaluated: trained needs weights that are kept; after reset: all, those of earlier pools are untrained"
            )
        if self.iterations > 1:
            later = self.carried + self.proposals.new + self.random
            smallest = self.initial if self.evaluates_all or self.iterations == 2 else min(self.initial, later)
            for name, wanted in (("proposals.seeds", self.proposals.seeds), ("kept", self.carried)):
                if wanted > smallest:
                    problems.append(
                        f"{name} <= {smallest}, the smallest pool that is ranked, must hold, but got {wanted}"
                    )
        if self.final is not None and self.final_candidates > self.ranked:
            problems.append(
                f"final_candidates <= {self.ranked}, the last pool, must hold, but got {self.final_candidates}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class NAOWSSettings(NAOV2Settings):
    """NAO-WS, the baseline (NAO-V1's code): one schedule, uniform draws, new architectures in place of the pool's worse
    half.
    """

    iterations: int = Field(5, ge=1, description="evaluations; between them the controller proposes")
    initial: int = Field(
        600, ge=2, description="random architectures of the first pool, twins left out; fewer where a space has no more"
    )
    kept: int | None = Field(300, ge=0, description="best ones that join each next pool")
    evaluated: Literal["pool", "trained"] | None = Field(
        "pool", description="what is evaluated: the pool just trained, or all ever trained"
    )
    sampling: Literal["proportional", "uniform"] = Field(
        "uniform", description="of a step's architecture: by its parameters (eq. 1), or evenly"
    )
    reset: Reset = Field(
        "none",
        description="what begins anew with a cycle: all, optimizer (momentum, learning rate), learning_rate, none",
    )
    controller: ControllerSettings = ControllerSettings(
        embedding=48, hidden=96, predictor=(200, 200, 200), weight_decay=1e-4
    )


def check_drop_path(space: SearchSpace, training: NAOV2Training) -> None:
    """Paths are dropped only where the space's supernet can.

    Raises:
        ConfigError: it cannot, but ``drop_path`` is above 0.
    """
    if training.drop_path and not space.drops_paths:
        raise ConfigError(
            f"training.drop_path: {training.drop_path:g}, but supernets of {space.name} drop no paths.",
            "Set it to 0, or search a space of cells such as nao or darts.",
        )


def check_found(settings: NAOV2Settings, wanted: int, key: str) -> None:
    """No more architectures can be found than the last evaluation ranks.

    Raises:
        ConfigError: ``key`` asks for more.
    """
    if wanted > settings.ranked:
        raise ConfigError(
            f"{key} <= {settings.ranked}, what the last evaluation ranks, must hold, but got {wanted}.", f"Lower {key}."
        )
