"""NAO-V2: NAO on shared weights that are trained anew for every pool, each architecture as often as its size asks for.

Luo et al., "Understanding and Improving One-shot Neural Architecture Optimization", 2019. The three ingredients are
more updates, draws in proportion to size (eq. 1), and trainings that are independent of one another; NAO-WS, the
baseline, has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from nni.nas.evaluator import Evaluator
from torch import nn

from nni_plugins.evaluators.data import ImageData, ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.supernets.shared_weights import SharedWeights
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.paths import DropPath
from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.supernet import Supernet

from ..limits import Limits
from ..nao.codecs import SpaceCodec
from ..nao.search import Evaluate
from ..one_shot_ranking import check_objective
from ..ranking import Ranked
from ..single_path import SinglePathStrategy, training_of
from .pool import Pool, PoolFiles, Values, check_scores
from .rounds import Initial, Iteration, Rounds, given_pool, identity
from .settings import EvaluationSettings, NAOV2Settings, NAOV2Training, NAOWSSettings, NAOWSTraining, check_found


@dataclass(frozen=True)
class NAOV2Result:
    """``ranked``: all that the last iteration evaluated, with the scores of its weights; first those of ``final``, in
    its order, then by score.

    ``final``: the best ones with the values of their stand-alone training, best first; empty without it.
    ``iterations``: what each did. ``pool``: the last one. ``exhausted``: the search ended early, as the space had
    nothing new. ``shared`` evaluates others.
    """

    ranked: list[Ranked]
    final: list[Ranked]
    iterations: list[Iteration]
    pool: Pool
    exhausted: bool
    shared: SharedWeights

    @property
    def history(self) -> list[dict[str, float]]:
        """The curves of all cycles, one after the other."""
        return [row for iteration in self.iterations for row in iteration.curve]

    def score(self, indices: Indices) -> Values:
        """(n,) of ``indices: (n, D)``, with the last cycle's weights; those outside its pool have untrained weights
        after ``reset: all``.
        """
        return self.shared.scores(indices)


def naov2(
    shared: SharedWeights,
    settings: NAOV2Settings,
    *,
    epochs: int,
    folder: Path | None = None,
    report: Callable[[Iteration], None] | None = None,
    final: Evaluate | None = None,
    initial_pool: Initial | None = None,
    config: dict[str, Any] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> NAOV2Result:
    """Train ``shared`` on pools of architectures, evaluate them, propose the next ones; ``settings.iterations`` times.

    With ``reset: all`` nothing is evaluated whose weights the cycle has not trained.

    Args:
        epochs: of a cycle.
        folder: where ``pool-<iteration>.json`` are written; a search that was interrupted goes on from them.
        report: called with every iteration that ends.
        final: values, larger is better, of the ``settings.final_candidates`` best architectures, such as of short
            stand-alone trainings.
        initial_pool: in place of random architectures.
        config: what else the pools follow from, JSON-able, for the check when a search goes on.
        limits: what every architecture of every pool meets.

    Raises:
        ConfigError: a first pool too small for the settings, or beyond the limits.
        TrainingError: a score or value is not finite, or as ``shared.train``.
        CheckpointError: a file of a pool is damaged or, ``ConfigChanged``, belongs to another search; or as
            ``shared.train``.
    """
    given = given_pool(shared.space, initial_pool)
    rounds = Rounds(
        shared,
        settings,
        epochs,
        PoolFiles(folder, shared.space, identity(shared, settings, epochs, given, limits, config)),
        given,
        limits,
    )
    iterations: list[Iteration] = []
    following: Pool | None = rounds.files.load(0) or rounds.first()
    while following is not None:
        pool = following
        rounds.known |= dict.fromkeys(rounds.codec.keys(pool.indices.astype(np.int64)))
        known, pool = pool.scores is not None, rounds.evaluated(pool)
        iterations.append(Iteration.of(pool))
        if report is not None and not known:
            report(iterations[-1])
        if len(iterations) == settings.iterations:
            break
        following = rounds.files.load(len(iterations)) or rounds.next(pool)
    if rounds.loaded != pool.number:
        rounds.load(pool)
    ranked, finals = _ranked(rounds.codec, pool, settings.final_candidates, final)
    return NAOV2Result(ranked, finals, iterations, pool, following is None, shared)


def _ranked(
    codec: SpaceCodec, pool: Pool, candidates: int, final: Evaluate | None
) -> tuple[list[Ranked], list[Ranked]]:
    """All of ``pool``, and the best ones as ``final`` orders them; equal ones stay in the order of their scores."""
    scores = np.array(pool.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    ranked = [
        Ranked(a, float(s))
        for a, s in zip(codec.architectures(pool.indices[order].astype(np.int64)), scores[order], strict=True)
    ]
    if final is None:
        return ranked, []
    best = ranked[:candidates]
    values = np.array(list(final([entry.architecture for entry in best])), dtype=np.float64)
    names = [pool.architectures[i] for i in order]
    check_scores(values, lambda i: names[i])
    by_value = np.argsort(-values, kind="stable").tolist()
    finals = [Ranked(best[i].architecture, float(values[i])) for i in by_value]
    return [*(best[i] for i in by_value), *ranked[len(best) :]], finals


def shared_images(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: EvaluationSettings,
    training: NAOV2Training,
    seed: int,
    **more: Any,
) -> SharedImages:
    """The shared weights that these settings describe; ``more``: as of
    :class:`nni_plugins.evaluators.supernets.shared_images.SharedImages`.
    """
    rate = training.dropped(space)
    drop = DropPath(rate, training.drop_identity) if rate else None
    values = settings.model_dump(include=set(EvaluationSettings.model_fields))
    return SharedImages(space, images, objective, training, drop_path=drop, seed=seed, **values, **more)


def trained_alone(shared: SharedImages, settings: NAOV2Settings, folder: Path | None) -> Evaluate | None:
    """Values of architectures after a short stand-alone training on the weights' part of the images, measured on the
    other; None without it.
    """
    training = settings.final
    if training is None:
        return None

    def values(architectures: list[Architecture]) -> list[float]:
        found = []
        for k, architecture in enumerate(architectures):
            data = ImageData(shared.images, shared.held_out)
            own = None if folder is None else folder / f"final-{k}"
            alone = StandAlone(
                data, training, space=shared.space, seed=shared.seed, folder=own, objective=shared.objective
            )
            found.append(alone.train(architecture).metrics[shared.objective.metric])
        return found

    return values


def search(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: NAOV2Settings,
    training: NAOV2Training,
    seed: int,
    found: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    initial_pool: Initial | None = None,
    supernet: nn.Module | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> NAOV2Result:
    """One search on images; its ``ranked`` has at most ``found`` architectures.

    Args:
        folder: gets ``pool-<iteration>.json``, ``cycle-<iteration>`` with checkpoints, and ``final-<n>`` of the final
            trainings.
        report: called with the row of every epoch of the shared weights.
        initial_pool: as of :func:`naov2`. supernet: as of
            :class:`nni_plugins.evaluators.supernets.shared_images.SharedImages`. limits: as of :func:`naov2`.

    Raises: as :func:`naov2`, and ConfigError for random labels, more results than are ranked, or drop-path where the
    space has none.
    """
    check_objective("NAO-V2", objective)
    if initial_pool is None:
        check_found(settings, found, "found")
    shared = shared_images(
        space, images, objective, settings, training, seed, folder=folder, report=report, supernet=supernet
    )
    config = {
        "training": training.model_dump(mode="json", exclude=set(MAY_CHANGE)),
        "objective": [type(objective).__name__, vars(objective)],
        "images": images.identity(),
    }
    final = trained_alone(shared, settings, folder)
    result = naov2(
        shared,
        settings,
        epochs=training.epochs,
        folder=folder,
        final=final,
        initial_pool=initial_pool,
        config=config,
        limits=limits,
    )
    return replace(result, ranked=result.ranked[:found])


class NAOV2(SinglePathStrategy):
    """``NasExperiment(space.supernet(), evaluator, NAOV2()).run()``, on every space of image networks.

    Args:
        settings: of the search.
        training: of a cycle, where NNI's ``Classification`` says nothing of it: its epochs are those of a cycle. A
            ``SupernetTraining`` brings its own, a :class:`NAOV2Training`, and the folder to resume from.
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        initial_pool, limits: as of :func:`naov2`.
    """

    method: ClassVar[str] = "NAO-V2"
    defaults: ClassVar[tuple[NAOV2Settings, NAOV2Training]] = (NAOV2Settings(), NAOV2Training())

    def __init__(
        self,
        settings: NAOV2Settings | None = None,
        training: NAOV2Training | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        initial_pool: Initial | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(top_k, seed, limits)
        self.settings, self.of_classification, self.initial_pool = (
            settings or self.defaults[0],
            training or self.defaults[1],
            initial_pool,
        )
        if initial_pool is None:
            check_found(self.settings, top_k, "top_k")
        self.result: NAOV2Result | None = None

    def _take(self, evaluator: Evaluator | None) -> SupernetTraining:
        training, self.used = training_of(evaluator, self.method, self.settings, self.of_classification, self.seed)
        if not isinstance(training.settings, NAOV2Training):
            name = type(self.of_classification).__name__
            raise ConfigError(
                f"{self.method} trains its supernet in cycles, but the settings are {type(training.settings).__name__}.",
                f"Pass SupernetTraining(images, objective, strategies.{name}()).",
            )
        return training

    def _run(self) -> None:
        t = self.training
        space = cast(Supernet, self.supernet).search_space
        assert isinstance(t.settings, NAOV2Training)
        more: dict[str, Any] = {
            "folder": t.folder,
            "report": t.report,
            "initial_pool": self.initial_pool,
            "supernet": self.supernet,
            "limits": self.limits,
        }
        self.result = search(space, t.images, t.objective, self.used, t.settings, t.seed, self.top_k, **more)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked


class NAOWS(NAOV2):
    """NAO-WS, the baseline: :class:`NAOV2` with :class:`NAOWSSettings` and :class:`NAOWSTraining`."""

    method: ClassVar[str] = "NAO-WS"
    defaults: ClassVar[tuple[NAOV2Settings, NAOV2Training]] = (NAOWSSettings(), NAOWSTraining())
