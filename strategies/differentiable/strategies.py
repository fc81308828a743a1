"""DARTS, PC-DARTS, RF-DARTS and RF-PCDARTS as NNI strategies:
``NasExperiment(space.supernet(), evaluator, RFDARTS()).run()``.

Liu et al., "DARTS", ICLR 2019; Xu et al., "PC-DARTS", ICLR 2020; Zhang et al., "Differentiable Architecture Search with
Random Features".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from nni.nas.evaluator import Evaluator
from nni.nas.space import RawFormatModelSpace

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.recurrent import RecurrentCell

from ..limits import Limits
from ..nni_base import RankedStrategy
from ..ranking import Ranked
from ..recurrent.darts import RecurrentDifferentiable, RecurrentResult, recurrent_training
from ..recurrent.darts import search as recurrent_search
from .evaluators import DifferentiableTraining, from_classification
from .search import DifferentiableResult, search
from .settings import (
    DifferentiableSettings,
    PCDARTSSettings,
    PCDARTSTraining,
    RFDARTSSettings,
    RFPCDARTSSettings,
    check_space,
)


def _changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {key: value for key, value in values.items() if value is not None}


class Differentiable(RankedStrategy):
    """Base of the four. The supernet given to ``NasExperiment`` only says which space is searched: the mixed supernet
    is built anew.

    ``evaluator`` is a :class:`DifferentiableTraining`, or NNI's own ``Classification``, whose images, batch size,
    epochs, learning rate and weight decay are then taken over. Several architectures can be exported: what the paper
    derives, then the next most probable.

    Args:
        settings: of the mixed supernet; None: the paper's.
        top_k: how many architectures are kept.
        seed: used with NNI's ``Classification``; a ``DifferentiableTraining`` brings its own.
        mixture, training: changes to the settings of supernet and training, None where there is none.
        limits: what every found architecture meets.
    """

    defaults: ClassVar[DifferentiableSettings] = DifferentiableSettings()
    training_defaults: ClassVar[BilevelSettings] = BilevelSettings()
    takes_recurrent: ClassVar[bool] = False

    def __init__(
        self,
        settings: DifferentiableSettings | None,
        top_k: int,
        seed: int,
        mixture: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError(f"top_k >= 1 must hold, but got top_k={top_k}.")
        given = settings or self.defaults
        self.settings = read(DifferentiableSettings, {**given.model_dump(), **_changed(mixture or {})})
        self.top_k, self.seed, self._changes = top_k, seed, _changed(training or {})
        read(type(self.training_defaults), self._changes)
        self.limits = limits or Limits()
        self.result: DifferentiableResult | RecurrentResult | None = None
        self.training: DifferentiableTraining | RecurrentDifferentiable

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        self.space = getattr(getattr(model_space, "model_space", None), "search_space", None)
        if not isinstance(model_space, RawFormatModelSpace) or not isinstance(self.space, SearchSpace):
            raise ConfigError(
                f"{type(self).__name__} needs a supernet of this package, but got {type(getattr(model_space, 'model_space', model_space)).__name__}.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        if isinstance(self.space, RecurrentCell):
            name, works = type(self).__name__, self.takes_recurrent
            self.training = recurrent_training(name, works, self.settings, self._changes, model_space.evaluator)
            return model_space
        check_space(self.space, self.settings)
        self.training = self._training(model_space.evaluator)
        return model_space

    def _training(self, evaluator: Evaluator | None) -> DifferentiableTraining:
        defaults = read(BilevelSettings, {**self.training_defaults.model_dump(), **self._changes})
        if not isinstance(evaluator, DifferentiableTraining):
            return from_classification(evaluator, type(self).__name__, defaults, self.seed)
        given = evaluator.settings
        settings = defaults if given is None else read(BilevelSettings, {**given.model_dump(), **self._changes})
        return DifferentiableTraining(
            evaluator.images,
            evaluator.objective,
            settings,
            seed=evaluator.seed,
            folder=evaluator.folder,
            report=evaluator.report,
        )

    def _run(self) -> None:
        t = self.training
        assert self.space is not None and t.settings is not None
        if isinstance(t, RecurrentDifferentiable):
            self.result = recurrent_search(
                self.space,
                t.corpus,
                t.settings,
                t.seed,
                self.top_k,
                folder=t.folder,
                report=t.report,
                limits=self.limits,
            )
            return
        self.result = search(
            self.space,
            t.images,
            t.objective,
            self.settings,
            t.settings,
            t.seed,
            self.top_k,
            folder=t.folder,
            report=t.report,
            limits=self.limits,
        )

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked


class DARTS(Differentiable):
    """DARTS. ``order``: 1, or 2 for the gradient through one step of the weights; None: as the evaluator's settings
    have it, or else 1.

    The only one of the four that takes :class:`nni_plugins.spaces.recurrent.RecurrentCell`, with a
    :class:`RecurrentDifferentiable` as evaluator.
    """

    takes_recurrent = True

    def __init__(
        self,
        settings: DifferentiableSettings | None = None,
        *,
        order: Literal[1, 2] | None = None,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings, top_k, seed, training={"order": order}, limits=limits)


class PCDARTS(Differentiable):
    """PC-DARTS. Arguments that are None stay as in ``settings`` (4 and True) and in the evaluator's settings (15).

    ``partial_channels``: k, of whose parts one is mixed. ``edge_normalization``: weights of edges too.
    ``warmup_epochs``: without training the architecture.
    """

    defaults = PCDARTSSettings()
    training_defaults = PCDARTSTraining()

    def __init__(
        self,
        settings: DifferentiableSettings | None = None,
        *,
        partial_channels: int | None = None,
        edge_normalization: bool | None = None,
        warmup_epochs: int | None = None,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        mixture = {"partial_channels": partial_channels, "edge_normalization": edge_normalization}
        super().__init__(settings, top_k, seed, mixture, {"warmup_epochs": warmup_epochs}, limits)


class RFDARTS(Differentiable):
    """RF-DARTS: convolutions stay random, batch norms and the architecture learn. ``option`` A to D: see
    :class:`nni_plugins.spaces.mixed.MixedOptions`.
    """

    defaults = RFDARTSSettings()

    def __init__(
        self,
        settings: DifferentiableSettings | None = None,
        *,
        option: Literal["A", "B", "C", "D"] | None = None,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings, top_k, seed, {"option": option}, limits=limits)


class RFPCDARTS(PCDARTS):
    """RF-PCDARTS: PC-DARTS with random convolutions and learning batch norms."""

    defaults = RFPCDARTSSettings()
