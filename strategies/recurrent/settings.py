"""Settings of searches of recurrent cells. Free of torch.

Facts: Yu et al., ICLR 2020, section 4, and the code that it cites. DARTS' are
:class:`nni_plugins.evaluators.text.settings.LanguageSearchSettings`.
"""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings

from ..nao.settings import ControllerSettings
from ..naov2.settings import FinalTraining, NAOWSSettings


class RecurrentNAOSettings(NAOWSSettings):
    """NAO-WS on Penn Treebank: a pool of 1,000, five evaluations; a controller of its own size. ``reset: all`` and the
    rest make it NAO-V2.
    """

    initial: int = Field(
        1000, ge=2, description="random cells of the first pool, twins left out; fewer where a space has no more"
    )
    controller: ControllerSettings = ControllerSettings(
        embedding=48, hidden=96, predictor=(200, 200, 200, 200), weight_decay=1e-4
    )
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
    """ENAS' own numbers, where the class above has them (epochs, batch; its learning rate and clip are
    NAO's, too).
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(20, ge=2, description="sequences that are read side by side")
    weight_decay: float = Field(1e-7, ge=0)


class CandidateSettings(Settings):
    """Which cells are ranked by the shared weights."""

    candidates: int = Field(
        100, ge=1, description="different random cells, twins left out; fewer where a space has no more"
    )
