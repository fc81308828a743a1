"""Settings of searches of recurrent cells, by method. Free of torch.

``DARTS`` takes those of :class:`nni_plugins.evaluators.text.settings.LanguageSearchSettings`; the others train shared
weights, so they have two parts: ``training`` of the weights and ``search``. Facts: Yu et al., ICLR 2020, section 4, and
the code that it cites (fact sheet B4).
"""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.evaluators.text.settings import LanguageSearchSettings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings
from nni_plugins.spaces.errors import closest
from nni_plugins.strategies.enas.settings import RecurrentENASSettings
from nni_plugins.strategies.nao.settings import ControllerSettings
from nni_plugins.strategies.naov2.settings import FinalTraining, NAOWSSettings

from .policy_settings import RecurrentPolicy


class RecurrentNAOSearch(NAOWSSettings):
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


class RecurrentNAO(Settings):
    """NAO with shared weights on text."""

    training: NAOTextTraining = NAOTextTraining.model_validate({})
    search: RecurrentNAOSearch = RecurrentNAOSearch.model_validate({})


class ENASTextTraining(SharedTextSettings):
    """ENAS' own numbers, where the class above has them (fact sheet B4: epochs, batch; its learning rate and clip are
    NAO's, too).
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(20, ge=2, description="sequences that are read side by side")
    weight_decay: float = Field(1e-7, ge=0)


class RecurrentENAS(Settings):
    """ENAS on text."""

    training: ENASTextTraining = ENASTextTraining.model_validate({})
    search: RecurrentENASSettings = RecurrentENASSettings.model_validate({})

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if self.search.warmup_epochs >= self.training.epochs:
            raise ValueError(
                f"search.warmup_epochs < training.epochs must hold, or the controller is never trained, but got {self.search.warmup_epochs} "
                f"and {self.training.epochs}"
            )
        return self


class RandomCandidates(Settings):
    """Which cells are ranked by the shared weights."""

    candidates: int = Field(
        100, ge=1, description="different random cells, twins left out; fewer where a space has no more"
    )


class RecurrentRandomNAS(Settings):
    """Random search with weight sharing on text: uniform draws train the weights, random cells are ranked by them."""

    training: SharedTextSettings = SharedTextSettings.model_validate({})
    search: RandomCandidates = RandomCandidates.model_validate({})


METHODS: dict[str, type[Settings]] = {
    "DARTS": LanguageSearchSettings,
    "NAO": RecurrentNAO,
    "ENAS": RecurrentENAS,
    "RandomNAS": RecurrentRandomNAS,
}
"""What ``settings`` of a recurrent policy are."""


def read_recurrent(policy: RecurrentPolicy) -> Settings:
    """The settings of a recurrent policy.

    Raises:
        ConfigError: an unknown method, or settings that do not suit it.
    """
    if policy.method not in METHODS:
        raise ConfigError(f"method: unknown {policy.method!r}; {closest(policy.method, METHODS)}")
    return read(METHODS[policy.method], policy.settings, "settings.")
