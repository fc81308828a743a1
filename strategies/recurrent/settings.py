"""Settings of searches of recurrent cells. Free of torch.

Facts: Yu et al., ICLR 2020, section 4, and the code that it cites: NAO's ``NAO-WS/rnn/train_search.sh`` and
``train_search.py``, ENAS' ``scripts/ptb_search.sh``. DARTS' are
:class:`nni_plugins.evaluators.text.settings.LanguageSearchSettings`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings

from ..nao.settings import ControllerSettings, ProposalSettings
from ..naov2.settings import FinalTraining, NAOWSSettings


class RecurrentNAOSettings(NAOWSSettings):
    """NAO-WS on Penn Treebank: a pool of 1,000, five evaluations, between which 650 are kept, 300 new and 50 random; a
    controller of its own size that learns losses, lambda up to 30. ``reset: all`` and the rest make it NAO-V2.
    """

    initial: int = Field(
        1000, ge=2, description="random cells of the first pool, twins left out; fewer where a space has no more"
    )
    kept: int | None = Field(650, ge=0, description="best ones that join each next pool")
    random: int = Field(50, ge=0, description="new random architectures that join each next pool")
    controller: ControllerSettings = ControllerSettings(
        embedding=48, hidden=96, predictor=(200, 200, 200, 200), weight_decay=1e-4, targets="loss"
    )
    proposals: ProposalSettings = ProposalSettings(last_step=30.0)
    final: FinalTraining | None = Field(None, description="images only; the order is that of the shared weights")

    @model_validator(mode="after")
    def _text(self) -> Self:
        if self.final is not None:
            raise ValueError("final: short stand-alone trainings are for images; leave it out")
        return self


class NAOTextTraining(SharedTextSettings):
    """``epochs`` are those of one cycle, of which there are ``search.iterations``."""

    epochs: int = Field(200, ge=1, description="of a cycle, between two evaluations")


class ENASTextTraining(SharedTextSettings):
    """ENAS' own numbers, where the class above has them: epochs, batch, decay of weights and of the learning rate; its
    learning rate and clip are NAO's, too.
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(20, ge=2, description="sequences that are read side by side")
    weight_decay: float = Field(1e-7, ge=0)
    schedule: Literal["constant", "cosine", "decay"] = Field(
        "decay", description="of the learning rate, by epoch; ENAS' code: times 0.95 an epoch after the first twelve"
    )


class CandidateSettings(Settings):
    """Which cells are ranked by the shared weights."""

    candidates: int = Field(
        100, ge=1, description="different random cells, twins left out; fewer where a space has no more"
    )
