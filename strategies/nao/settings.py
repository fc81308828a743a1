"""Settings of NAO. Free of torch, so that NNI's tuner process can check them. Defaults are NAO-V2's (official code)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.settings import Settings


class ControllerSettings(Settings):
    """Encoder, predictor and decoder, and how they are trained. NAO-V1 and NAO-WS: embedding 48, hidden 96, predictor
    [200, 200, 200], weight_decay 1e-4."""

    embedding: int = Field(32, ge=1, description="size of a token's vector in the encoder")
    hidden: int = Field(64, ge=1, description="size of both LSTMs")
    predictor: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="sizes of the predictor's hidden layers, with ReLU; V2 has none"
    )
    targets: Literal["min_max", "rank", "loss"] = Field(
        "min_max",
        description="what the predictor learns: values scaled to 0 to 1, as in NAO, or their ranks scaled so (ours), for pools with outliers; "
        "loss: of minus perplexities the losses, as in NAO's code for text",
    )
    trade_off: float = Field(0.8, ge=0, le=1, description="weight of the predictor's error; the rest is the decoder's")
    epochs: int = Field(1000, ge=1)
    batch_size: int = Field(100, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(5.0, gt=0, description="largest norm of all gradients together")
    copies: int = Field(
        10, ge=1, description="each architecture and copies - 1 symmetric twins; 1 where a space has no twins"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop when so many epochs did not lower the smallest loss by 1 percent; default: all epochs, as in the official code",
    )


class ProposalSettings(Settings):
    """How new architectures are found from the best known ones."""

    seeds: int = Field(100, ge=1, description="so many best architectures are moved along the gradient")
    new: int = Field(300, ge=1, description="so many new ones are wanted")
    first_step: float = Field(1.0, gt=0, description="lambda of the first move; the original NAO: 10")
    step: float = Field(1.0, gt=0, description="what lambda grows by; the original NAO: 10")
    last_step: float = Field(51.0, gt=0, description="lambda does not grow beyond it")
    fill: Literal["none", "mutation", "random"] = Field(
        "mutation",
        description="where the gradient finds too few: none makes do with them, as the official code does; counted in the result",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last_step < self.first_step:
            raise ValueError(f"first_step <= last_step must hold, but got {self.first_step:g} and {self.last_step:g}")
        return self


class NAOSettings(Settings):
    """NAO without weight sharing: ``initial`` random architectures, then ``rounds`` times controller and
    ``proposals.new`` new ones.
    """

    initial: int = Field(1000, ge=2)
    rounds: int = Field(3, ge=0, description="V2: three, between its four trainings")
    controller: ControllerSettings = ControllerSettings.model_validate({})
    proposals: ProposalSettings = ProposalSettings.model_validate({})

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.rounds and self.proposals.seeds > self.initial:
            raise ValueError(f"proposals.seeds <= initial must hold, but got {self.proposals.seeds} and {self.initial}")
        return self


class TrialProposals(ProposalSettings):
    """Where every architecture costs a training, rounds are small: the controller learns from each before the next."""

    seeds: int = Field(
        25, ge=1, description="so many best architectures are moved along the gradient; fewer while there are fewer"
    )
    new: int = Field(25, ge=1, description="so many new ones in a round")


class TrialsSettings(Settings):
    """NAO on trials, each the training of one architecture. The numbers of trials are ours (NAO-V2's are for
    architectures that share weights), the controller is NAO-V2's.
    """

    initial: int = Field(50, ge=2, description="random trials before the first controller")
    controller: ControllerSettings = ControllerSettings.model_validate({})
    proposals: TrialProposals = TrialProposals.model_validate({})
