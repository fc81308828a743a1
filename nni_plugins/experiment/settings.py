"""The configuration of an experiment: what stands in ``tuner.classArgs`` of the YAML file. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.settings import BilevelSettings, StandAloneSettings, SupernetSettings
from nni_plugins.strategies.differentiable.sampled_settings import (
    GDASSettings,
    SampledTraining,
    SETNSettings,
    SETNTraining,
    check_training,
)
from nni_plugins.strategies.differentiable.settings import (
    DifferentiableSettings,
    PCDARTSSettings,
    PCDARTSTraining,
    RFDARTSSettings,
    RFPCDARTSSettings,
    check_space,
)
from nni_plugins.strategies.differentiable.unnas_settings import UnNASTraining
from nni_plugins.strategies.enas.settings import ENASSettings, ENASTraining
from nni_plugins.strategies.naov2.settings import (
    NAOV2Settings,
    NAOV2Training,
    NAOWSSettings,
    NAOWSTraining,
    check_found,
)
from nni_plugins.strategies.random.settings import RandomNASSettings, RandomNASTraining, check_candidates
from nni_plugins.strategies.rlnas.settings import RLNASSettings

from ..studies.sample.settings import SampleStudyFields
from .scores import LOG_PROBABILITY, ONE_SHOT
from .study_settings import SearchExperiment as SearchExperiment
from .study_settings import StudySettings as StudySettings
from .study_settings import TruthSettings as TruthSettings
from .study_settings import build_space as build_space
from .study_settings import checked, predictable


class RLNASExperiment(SearchExperiment):
    """RLNAS: a supernet on random labels, ranked by angle."""

    strategy = "RLNAS"
    objective: dict[str, Any] = Field(
        default={"name": "random_labels", "classes": 10},
        description="name of a registered objective, and its arguments",
    )
    training: SupernetSettings = SupernetSettings.model_validate({})
    search: RLNASSettings = RLNASSettings.model_validate({})


class DifferentiableExperiment(SearchExperiment):
    """Differentiable search: a mixed supernet, ranked by the probabilities that its architecture parameters give. Base
    of the four methods.
    """

    score = LOG_PROBABILITY
    objective: dict[str, Any] = Field(
        default={"name": "supervised"}, description="name of a registered objective, and its arguments"
    )
    training: BilevelSettings = BilevelSettings.model_validate({})
    search: DifferentiableSettings = DifferentiableSettings.model_validate({})

    @model_validator(mode="after")
    def _mixed(self) -> Self:
        try:
            check_space(self.search_space, self.search)
        except ConfigError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        return self

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: percent of the architecture's half, or during the warm-up, which has no such half, of the
        weights' half.

        The portal only ever offers the keys of the first epoch, so those of the architecture's half are there from the
        beginning, as 0.
        """
        absent = {"architecture_loss": 0.0, "architecture_accuracy": 0.0}
        numbers = {key: value for key, value in row.items() if not isinstance(value, str)}
        return {"default": row.get("architecture_accuracy", row["accuracy"]), **absent, **numbers}


class DARTSExperiment(DifferentiableExperiment):
    """DARTS with its settings for CIFAR-10."""

    strategy = "DARTS"


class PCDARTSExperiment(DifferentiableExperiment):
    """PC-DARTS with its settings for CIFAR-10."""

    strategy = "PCDARTS"
    training: PCDARTSTraining = PCDARTSTraining.model_validate({})
    search: PCDARTSSettings = PCDARTSSettings.model_validate({})


class RFDARTSExperiment(DifferentiableExperiment):
    """RF-DARTS: DARTS' settings, random convolutions."""

    strategy = "RFDARTS"
    search: RFDARTSSettings = RFDARTSSettings.model_validate({})


class RFPCDARTSExperiment(DifferentiableExperiment):
    """RF-PCDARTS: PC-DARTS' settings, random convolutions."""

    strategy = "RFPCDARTS"
    training: PCDARTSTraining = PCDARTSTraining.model_validate({})
    search: RFPCDARTSSettings = RFPCDARTSSettings.model_validate({})


class GDASExperiment(DifferentiableExperiment):
    """GDAS with AutoDL-Projects' settings for NAS-Bench-201."""

    strategy = "GDAS"
    training: SampledTraining = SampledTraining.model_validate({})
    search: GDASSettings = GDASSettings.model_validate({})

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        checked(check_training, self.strategy, self.training)
        return self


class SETNExperiment(DifferentiableExperiment):
    """SETN with AutoDL-Projects' settings for NAS-Bench-201; its candidates are ranked by their accuracy with the
    shared weights.
    """

    strategy = "SETN"
    score = ONE_SHOT
    training: SETNTraining = SETNTraining.model_validate({})
    search: SETNSettings = SETNSettings.model_validate({})

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        checked(check_training, self.strategy, self.training)
        checked(check_candidates, self.search.candidates, self.found, "found")
        predictable(self)
        return self


class OneShotExperiment(SearchExperiment):
    """A search that ends by evaluating candidates with the weights of a single-path supernet. Base of the methods
    below.
    """

    score = ONE_SHOT
    objective: dict[str, Any] = Field(
        default={"name": "supervised"}, description="name of a registered objective, and its arguments"
    )

    @model_validator(mode="after")
    def _held_out(self) -> Self:
        predictable(self)
        return self

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: percent of the images that the paths of the epoch got right while they were trained."""
        return {"default": row["accuracy"], **row}


class RandomNASExperiment(OneShotExperiment):
    """Random search with weight sharing: random architectures, ranked by their accuracy with the weights of a
    single-path supernet.
    """

    strategy = "RandomNAS"
    training: RandomNASTraining = RandomNASTraining.model_validate({})
    search: RandomNASSettings = RandomNASSettings.model_validate({})

    @model_validator(mode="after")
    def _candidates(self) -> Self:
        checked(check_candidates, self.search.candidates, self.found, "found")
        return self


class ENASExperiment(OneShotExperiment):
    """ENAS: a controller learns by REINFORCE which architectures to train and, at the end, to evaluate."""

    strategy = "ENAS"
    training: ENASTraining = ENASTraining.model_validate({})
    search: ENASSettings = ENASSettings.model_validate({})

    @model_validator(mode="after")
    def _candidates(self) -> Self:
        checked(check_candidates, self.search.candidates, self.found, "found")
        return self


class NAOV2Experiment(OneShotExperiment):
    """NAO-V2 with its settings for CIFAR-10: a fresh supernet for every pool, larger architectures trained more often."""

    strategy = "NAOV2"
    training: NAOV2Training = NAOV2Training.model_validate({})
    search: NAOV2Settings = NAOV2Settings.model_validate({})

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        checked(check_found, self.search, self.found, "found")
        return self


class NAOWSExperiment(NAOV2Experiment):
    """NAO-WS, the baseline: one supernet through all rounds, architectures drawn evenly."""

    strategy = "NAOWS"
    training: NAOWSTraining = NAOWSTraining.model_validate({})
    search: NAOWSSettings = NAOWSSettings.model_validate({})


class UnNASDARTSExperiment(DifferentiableExperiment):
    """UnNAS-DARTS with its settings for ImageNet-1K: first-order DARTS on a pretext task, rotation unless another one
    is given.
    """

    strategy = "UnNASDARTS"
    objective: dict[str, Any] = Field(
        default={"name": "rotation"}, description="name of a registered objective, and its arguments"
    )
    training: UnNASTraining = UnNASTraining.model_validate({})


class RandomSearchExperiment(StudySettings):
    """Random search: ``random`` architectures, each trained stand-alone."""

    strategy = "RandomSearch"
    stand_alone: StandAloneSettings = StandAloneSettings.model_validate({})
    random: int = Field(10, ge=1)


class SampleStudyExperiment(SampleStudyFields, StudySettings):
    """UnNAS' sample-based experiment: ``random`` architectures, each trained on every one of ``objectives``, whose
    accuracies are compared.
    """

    strategy = "SampleStudy"
    may_change = frozenset({"measure", "analysis", "truth"})

    @property
    def trials(self) -> int:
        """Trainings of the study."""
        return self.random * len(self.objectives) * len(self.seeds)


EXPERIMENTS: dict[str, type[StudySettings]] = {
    model.strategy.lower(): model
    for model in (
        RLNASExperiment,
        RandomSearchExperiment,
        DARTSExperiment,
        PCDARTSExperiment,
        RFDARTSExperiment,
        RFPCDARTSExperiment,
        GDASExperiment,
        SETNExperiment,
        RandomNASExperiment,
        ENASExperiment,
        NAOV2Experiment,
        NAOWSExperiment,
        UnNASDARTSExperiment,
        SampleStudyExperiment,
    )
}
"""By the tuner's name in lower case, as NNI compares names."""


def experiment_name(model: type[StudySettings]) -> str:
    """The key of ``model`` in :data:`EXPERIMENTS`."""
    return next(name for name, known in EXPERIMENTS.items() if known is model)


S = TypeVar("S", bound=StudySettings)


def check(model: type[S], arguments: Mapping[str, Any], where: str = "tuner.classArgs.") -> S:
    """``arguments`` as settings, every problem in one :class:`ConfigError`."""
    return read(model, arguments, where)
