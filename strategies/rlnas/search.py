"""RLNAS: train a supernet on random labels, take the architectures whose weights turned most (Zhang et al., CVPR 2021)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator
from nni.nas.space import RawFormatModelSpace
from torch import nn

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import Trained
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.spaces.base import ENUMERATION_LIMIT, Indices, SearchSpace
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.supernet import Supernet

from ..base import Problem, Scorer
from ..degenerate import warn_if_degenerate
from ..evolution import EvolutionSettings, evolve
from ..limits import Limits
from ..nni_base import RankedStrategy
from ..ranking import Ranked, best
from .angle import VARIANTS, AngleTable
from .settings import RLNASSettings

Initialisation = Literal["space", "kaiming"]


@dataclass(frozen=True)
class RLNASResult:
    """``ranked``: best first. ``indices: (n, D)`` and ``angles: (n,)`` are everything that was scored, in that order;
    ``table`` scores others.
    """

    ranked: list[Ranked]
    indices: Indices
    angles: npt.NDArray[np.float64]
    trained: Trained
    table: AngleTable


def rank(
    table: AngleTable, settings: RLNASSettings, seed: int, limits: Limits
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """Score every architecture of an enumerable space that meets the limits, or evolve; returns indices (n, D) and
    angles (n,).
    """
    space = table.space
    if settings.evolution is None and space.size <= ENUMERATION_LIMIT:
        indices = space.enumerate()
        indices = indices[limits.mask(space, indices)]
        if len(indices) == 0:
            raise limits.unmet(space)
        return indices, np.concatenate([table(part) for part in np.array_split(indices, -(-len(indices) // 1_000_000))])
    return evolve(space, table, settings.evolution or EvolutionSettings(), limits, generator(seed, "evolution"))


def initialise(space: SearchSpace, seed: int, initialisation: Initialisation = "space") -> nn.Module:
    """The supernet of ``space`` with initial weights drawn from ``seed``, as
    :class:`nni_plugins.evaluators.training.settings.SinglePathSettings` has it.
    """
    with torch_fork(seed, "initialisation"):
        supernet = space.supernet()
        if initialisation == "kaiming":
            kaiming(supernet)
    return supernet


def kaiming(supernet: nn.Module) -> None:
    """Draw the weights of RLNAS' DARTS supernet on ImageNet (official ``NetworkImageNet``): convolutions uniform with
    variance 2 / fan-in, so that an output channel has squared norm 2 in the mean; batch norms 1 and 0; linear layers
    N(0, 0.01^2), biases 0.
    """
    for module in supernet.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


def search(
    supernet: nn.Module,
    training: SupernetTraining,
    settings: RLNASSettings,
    top_k: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> RLNASResult:
    """Train ``supernet`` and rank its architectures within ``limits``; the ``top_k`` best, symmetric twins left out."""
    space = cast(Supernet, supernet).search_space
    variant = VARIANTS[settings.variant(space)]
    if training.settings.epochs * len(training.images) < 1000:
        warnings.warn(
            f"the supernet sees only {training.settings.epochs * len(training.images)} images; angles of a barely trained supernet say little "
            "(warnings.filterwarnings('ignore', category=UserWarning) silences this).",
            UserWarning,
            stacklevel=2,
        )
    trained = training.evaluate(supernet)
    table = AngleTable.build(space, cast(Supernet, supernet).weight_blocks(), trained.initial, trained.final, variant)
    indices, angles = rank(table, settings, training.seed, limits)
    ranked = best(space, indices, angles, top_k)
    warn_if_degenerate(space, [one.architecture for one in ranked])
    return RLNASResult(ranked, indices, angles, trained, table)


def restored_angles(problem: Problem) -> Scorer:
    """Angles between the initial and the last weights that a search left in ``problem.folder``, in radians.

    Raises:
        CheckpointError: there are none, or they are of another space.
    """
    assert problem.folder is not None
    weights = stored_weights(problem.folder)
    space = problem.space
    if isinstance(
        space, ImageSpace
    ):  # the names of the head's weights depend on its kind, not on the number of classes
        space = space.with_head(problem.task.form, space.classes)
    blocks = cast(Supernet, space.supernet()).weight_blocks()
    wanted = (name for block in (blocks.fixed, *(b for row in blocks.choices for b in row)) for name in block.names)
    weights.require(wanted)
    variant = VARIANTS[problem.search.variant(space)]
    return AngleTable.build(space, blocks, weights.initial, weights.final, variant)


class RLNAS(RankedStrategy):
    """RLNAS as an NNI strategy: ``NasExperiment(space.supernet(), evaluator, RLNAS()).run()``.

    ``evaluator`` is a :class:`nni_plugins.evaluators.SupernetTraining`, or NNI's own ``Classification``, whose training
    images, batch size, epochs, learning rate and weight decay are then taken over (its labels are never used). Several
    architectures can be exported.

    Args:
        settings: how the trained supernet is searched.
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        reinitialise: draw the supernet's initial weights from the seed, so that one seed gives one result however the
            supernet was built; False keeps the weights that it comes with.
        limits: what every found architecture meets.
    """

    def __init__(
        self,
        settings: RLNASSettings | None = None,
        *,
        top_k: int = 10,
        seed: int = 0,
        reinitialise: bool = True,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError(f"top_k >= 1 must hold, but got top_k={top_k}.")
        self.settings, self.top_k, self.seed = settings or RLNASSettings(), top_k, seed
        self.reinitialise, self.limits = reinitialise, limits or Limits()
        self.result: RLNASResult | None = None

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        if not isinstance(model_space, RawFormatModelSpace) or not hasattr(model_space.model_space, "forward_path"):
            raise ConfigError(
                f"RLNAS needs a supernet of this package, but got {type(getattr(model_space, 'model_space', model_space)).__name__}.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        self.training = self._training(model_space.evaluator, cast(SearchSpace, model_space.model_space.search_space))
        return model_space

    def _training(self, evaluator: Evaluator | None, space: SearchSpace) -> SupernetTraining:
        if isinstance(evaluator, SupernetTraining):
            return evaluator
        from ..nni_evaluators import from_classification

        return from_classification(evaluator, int(getattr(space, "classes", 10)), self.seed)

    def _run(self) -> None:
        supernet = cast(nn.Module, self.model_space.model_space)
        if self.reinitialise:
            with torch_fork(self.training.seed, "initialisation"):
                fresh = cast(nn.Module, cast(Supernet, supernet).fresh())
                if getattr(self.training.settings, "initialisation", "space") == "kaiming":
                    kaiming(fresh)
            supernet.load_state_dict(fresh.state_dict())
        self.result = search(supernet, self.training, self.settings, self.top_k, self.limits)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked
