"""ENAS: a controller learns by REINFORCE which architectures to sample from a supernet, and the supernet is trained on
its samples.

Pham et al., "Efficient neural architecture search via parameter sharing", ICML 2018, section 2.2: epochs of shared
weights and updates of the controller alternate; at the end architectures are sampled from the controller and the one
that evaluates best is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from nni.nas.evaluator import Evaluator
from torch import nn
from typing_extensions import Self

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.supernets.shared_weights import Cycle, SharedWeights
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.supernet import Supernet

from ..limits import Limits
from ..naov2.pool import check_scores
from ..one_shot_ranking import check_objective
from ..random.settings import RandomNASSettings, check_candidates
from ..ranking import Ranked, best
from ..single_path import SinglePathStrategy, training_of
from .candidates import Candidates, candidates
from .controller import Policy
from .reinforce import ControllerTraining, Values
from .settings import ENASSettings, ENASTraining, PolicySettings, check_search


@dataclass(frozen=True)
class ENASCycle(Cycle):
    """The one cycle of ENAS. Its learning rate follows a cosine of ``first`` epochs, then one ``factor`` times as long,
    and so on (Loshchilov and Hutter, "SGDR", ICLR 2017); with ``first`` None one cosine through all epochs.

    ``controller`` and ``limits``: the settings that the training depends on, so that a search is not resumed with
    others.
    """

    first: int | None = None
    factor: int = 1
    controller: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)

    def schedule(self, epoch: int) -> tuple[int, int]:
        if self.first is None:
            return super().schedule(epoch)
        position, period = epoch, self.first
        while position >= period:
            position, period = position - period, period * self.factor
        return position, period

    @classmethod
    def of(
        cls,
        settings: PolicySettings,
        epochs: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> Self:
        """As ``settings`` have it."""
        controller = settings.model_dump(include=set(PolicySettings.model_fields) - {"candidates"})
        first, factor = settings.restart_epochs, settings.restart_factor
        return cls(epochs=epochs, first=first, factor=factor, controller=controller, limits=limits.identity())


@dataclass(frozen=True)
class ENASResult:
    """``ranked``: the best candidates by their score with the shared weights, best first; ``scores: (n,)``, those of
    all ``candidates``.

    ``history``: the supernet's curve, with the controller's ``reward``, ``entropy`` and ``baseline``. ``policy``: as it
    is at the end. ``score`` evaluates other architectures as the candidates were.
    """

    ranked: list[Ranked]
    candidates: Candidates
    scores: Values
    history: list[dict[str, float]]
    policy: Policy
    score: Callable[[Indices], Values]


def enas(
    shared: SharedWeights,
    settings: PolicySettings,
    *,
    epochs: int,
    top_k: int = 10,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> ENASResult:
    """One search with a supernet that trains for ``epochs``. All that is sampled, to be trained, rewarded or found, meets
    ``limits``. Warns where the last restart's cosine is cut off.

    Raises:
        ConfigError: see :func:`check_search`; or a space whose decisions exclude one another, other than NAS-Bench-101;
            or nothing is within the limits.
        TrainingError: a reward, a loss or a weight is not finite.
        CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
    """
    check_search(shared.space, settings, epochs, top_k, "top_k")
    controller, cycle = ControllerTraining(shared, settings, limits), ENASCycle.of(settings, epochs, limits)
    position, period = cycle.schedule(epochs - 1)
    if position + 1 < period:
        warnings.warn(
            f"the last cosine of the learning rate is cut off after {position + 1} of its {period} epochs, so training ends with a high one; "
            f"{epochs - position - 1 or period} or {epochs - position - 1 + period} epochs end with a whole one, or set restart_epochs: null.",
            stacklevel=2,
        )
    history = shared.train(controller.draw, cycle, controller)
    drawn = candidates(controller.policy, shared.space, settings.candidates, shared.seed, limits)
    scores = shared.scores(drawn.indices)
    check_scores(scores, lambda i: shared.space.to_string(shared.space.decode(drawn.indices[i : i + 1])[0]))
    return ENASResult(
        best(shared.space, drawn.indices, scores, top_k), drawn, scores, history, controller.policy, shared.scores
    )


def shared_images(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: ENASSettings,
    training: SupernetSettings,
    seed: int,
    **more: Any,
) -> SharedImages:
    """The shared weights that these settings describe; ``more``: as of
    :class:`nni_plugins.evaluators.supernets.shared_images.SharedImages`.
    """
    evaluation = settings.model_dump(include=set(RandomNASSettings.model_fields) - {"candidates"})
    return SharedImages(space, images, objective, training, seed=seed, **evaluation, **more)


def search(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: ENASSettings,
    training: SupernetSettings,
    seed: int,
    top_k: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    supernet: nn.Module | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> ENASResult:
    """One search on images, ``training.epochs`` long: the ``top_k`` candidates that evaluate best, within ``limits``.

    Args:
        folder: gets ``cycle-0`` with checkpoints and the curve; None keeps everything in memory.
        report: called with the row of every epoch.
        supernet: as of :class:`nni_plugins.evaluators.supernets.shared_images.SharedImages`.

    Raises: as :func:`enas`, and ConfigError for random labels or too few images.
    """
    check_search(space, settings, training.epochs, top_k, "top_k")
    check_objective("ENAS", objective)
    shared = shared_images(
        space, images, objective, settings, training, seed, folder=folder, report=report, supernet=supernet
    )
    return enas(shared, settings, epochs=training.epochs, top_k=top_k, limits=limits)


class ENAS(SinglePathStrategy):
    """``NasExperiment(space.supernet(), evaluator, ENAS()).run()``, on every space of image networks.

    ``evaluator`` is a :class:`nni_plugins.evaluators.SupernetTraining`, all of whose images are given, with an
    objective that can be evaluated on held-out images, and :class:`ENASTraining` as its settings for those of the
    paper's code; or NNI's own ``Classification``: its training images train the weights, its validation images train
    the controller (without them the images are split), and batch size, epochs, learning rate and weight decay are taken
    over.

    Args:
        settings: of the controller and of the evaluation.
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        limits: what every sampled architecture meets.
    """

    method: ClassVar[str] = "ENAS"

    def __init__(
        self,
        settings: ENASSettings | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(top_k, seed, limits)
        self.settings = settings or ENASSettings()
        check_candidates(self.settings.candidates, top_k, "top_k")
        self.result: ENASResult | None = None

    def _take(self, evaluator: Evaluator | None) -> SupernetTraining:
        training, self.used = training_of(evaluator, self.method, self.settings, ENASTraining(), self.seed)
        return training

    def _run(self) -> None:
        t, space = self.training, cast(Supernet, self.supernet).search_space
        more: dict[str, Any] = {"folder": t.folder, "report": t.report, "supernet": self.supernet}
        more["limits"] = self.limits
        self.result = search(space, t.images, t.objective, self.used, t.settings, t.seed, self.top_k, **more)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked
