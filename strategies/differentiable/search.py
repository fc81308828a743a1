"""Differentiable search: one training of the mixed supernet, then the most probable architectures (Liu et al., "DARTS",
ICLR 2019).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.data.split import halves
from nni_plugins.evaluators.objectives import Objective, check_fitted, fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.training.bilevel import Bilevel, BilevelTraining
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.schedule import rate_sum, steps
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.cells.darts import EDGES, EdgeSpace
from nni_plugins.spaces.mixed import MixedSupernet
from nni_plugins.spaces.mixed.derivation import log_tables, ranked

from ..limits import Limits
from ..ranking import Ranked
from .limited import most_probable
from .settings import DifferentiableSettings, check_space

PAPER_RATES, LEAST_RATES = 254, 100
"""The learning rates of all steps of RF-DARTS' search on CIFAR-10 added up (50 epochs of 391 steps from 0.025 to 0.001),
and what a search with random convolutions needs at least (measured, nni-plugins docs differentiable).
"""
MOST_RATE = 0.5
"""Larger learning rates were not tried."""
SMALLEST = 1e-45
"""The smallest positive float32: a probability that was rounded to zero counts as this much, so that its logarithm is a
number.
"""


@dataclass(frozen=True)
class Mixture:
    """What the architecture parameters say: kind of cell -> probabilities (edges, operations), and -> share of each
    edge (edges,), if any. ``bar_none``: see :class:`nni_plugins.spaces.mixed.MixedOptions`.
    """

    operations: dict[str, list[list[float]]]
    shares: dict[str, list[float]]
    bar_none: bool = False

    @classmethod
    def of(cls, supernet: MixedSupernet) -> Mixture:
        """As ``supernet`` has them now."""
        operations, shares = supernet.numbers()
        floored = {kind: [[max(p, SMALLEST) for p in row] for row in rows] for kind, rows in operations.items()}
        floored_shares = {kind: [max(p, SMALLEST) for p in row] for kind, row in shares.items()}
        return cls(floored, floored_shares, supernet.options.bar_none)

    def score(self, space: SearchSpace, indices: Indices) -> npt.NDArray[np.float64]:
        """Log-probability of ``indices: (n, D)``: (n,), the sum over the operations that an architecture takes.

        Edges that a DARTS cell leaves out add nothing, so there it is one up to a constant.
        """
        structure = space.structure(indices)
        logs = [
            np.log(row) + np.log(share)
            for kind in self.operations
            for row, share in zip(self.operations[kind], self._shares(kind), strict=True)
        ]
        table = np.zeros((len(space.parts), max(len(part.values) for part in space.parts)))
        for s, (part, row) in enumerate(zip(space.parts, logs, strict=True)):
            first = int(
                isinstance(space, EdgeSpace)
            )  # there ``none`` is an edge that is not taken, whether or not it was mixed
            taken = len(part.values) - first
            table[s, first : first + taken] = row[len(row) - taken :]
        scores: npt.NDArray[np.float64] = table[np.arange(structure.shape[1]), structure].sum(axis=1)
        return scores

    def _shares(self, kind: str) -> list[float]:
        return self.shares.get(kind, [1.0] * len(self.operations[kind]))

    def best(self, space: SearchSpace, k: int, limits: Limits = Limits()) -> list[Ranked]:  # noqa: B008 - frozen
        """The derived architecture, then the next most probable ones, symmetric twins left out; fewer than ``k`` if
        there are no more. All of them meet ``limits``.

        Raises:
            ConfigError: none does, or as :func:`most_probable`.
        """
        chosen: dict[str, Ranked] = {}
        for row, score in self._in_order(space, k, limits):
            (architecture,) = space.decode(row[None])
            chosen.setdefault(space.canonical(architecture), Ranked(architecture, score))
            if len(chosen) == k:
                break
        if not chosen:
            raise limits.unmet(space)
        return list(chosen.values())

    def _in_order(self, space: SearchSpace, k: int, limits: Limits) -> Iterator[tuple[npt.NDArray[np.int8], float]]:
        """Rows (D,) and scores, best first; about ``k`` will be asked for."""
        if limits.given:
            yield from most_probable(space, log_tables(self.operations, self.shares), limits, self.bar_none)
            return
        known, wanted = 0, 4 * k
        while True:
            indices, scores = ranked(space, self.operations, self.shares, wanted, self.bar_none)
            yield from zip(indices[known:], scores[known:].tolist(), strict=True)
            if len(indices) < wanted:
                return
            known, wanted = wanted, 8 * wanted


def skip_connections(space: SearchSpace, architecture: Architecture, normal: bool = False) -> int:
    """How many operations of the cells, or of the ``normal`` cell, are skip connections: DARTS' collapse is that nearly
    all of them become one. NAS-Bench-201 has no other cell.
    """
    row, parts = space.structure(space.encode([architecture]))[0].tolist(), space.parts
    counted = len(EDGES) if normal and isinstance(space, EdgeSpace) else len(parts)
    return sum(part.values[value] == "skip_connect" for part, value in zip(parts[:counted], row[:counted], strict=True))


class SearchedSupernet(MixedSupernet):
    """A mixed supernet that counts the skip connections of what would be derived now, for the curve."""

    def skips(self) -> int:
        """See :func:`skip_connections`."""
        return skip_connections(self.search_space, self.search_space.from_string(self.genotype()))

    def normal_skips(self) -> int:
        """The same of the normal cell."""
        return skip_connections(self.search_space, self.search_space.from_string(self.genotype()), normal=True)


def initialise(space: SearchSpace, settings: DifferentiableSettings, seed: int) -> SearchedSupernet:
    """The mixed supernet of ``space`` with initial weights and architecture parameters drawn from ``seed``.

    Raises:
        ConfigError: it cannot be mixed so.
    """
    check_space(space, settings)
    with torch_fork(seed, "initialisation"):
        return SearchedSupernet(space, settings.options)


def restored(space: SearchSpace, settings: DifferentiableSettings, folder: Path | None) -> Mixture:
    """The mixture that a search left in ``folder``.

    Raises:
        CheckpointError: there is none, or it is of another space.
    """
    supernet = initialise(space, settings, 0)
    stored_weights(folder).copy_into(supernet.architecture_parameters())
    return Mixture.of(supernet)


@dataclass(frozen=True)
class DifferentiableResult:
    """``ranked``: what the papers derive, then the next best; scores are log-probabilities. ``mixture`` scores others."""

    ranked: list[Ranked]
    mixture: Mixture
    trained: Bilevel

    @property
    def genotypes(self) -> list[str]:
        """What would have been derived after each epoch, in the space's native text."""
        return self.trained.genotypes

    @property
    def skips(self) -> list[int]:
        """Number of skip connections in each of :attr:`genotypes`."""
        return [int(row["skips"]) for row in self.trained.history]

    @property
    def eigenvalues(self) -> list[dict[str, float]]:
        """``epoch`` (from 1) and ``eigenvalue`` of the Hessian, of those epochs in which it was computed and that led
        to the result.
        """
        return [{"epoch": epoch, "eigenvalue": value} for epoch, value in self.trained.eigenvalues.items()]

    @property
    def supernet_accuracy(self) -> float | None:
        """Percent of the architecture's half that the mixture got right in the last epoch, batch norms in training
        mode.
        """
        return self.trained.history[-1].get("architecture_accuracy")


def _warn_if_short(images: ImageSet, training: BilevelSettings, seed: int) -> None:
    """Batch norms on random convolutions have far to go from where they begin."""
    count = steps(len(halves(len(images), training, seed)[0]), training)
    total = rate_sum(training, count)
    if total < LEAST_RATES:
        wanted = training.learning_rate * PAPER_RATES / max(total, 1e-9)
        remedy = (
            f"Raise learning_rate to {wanted:.2g}" if wanted <= MOST_RATE else f"Train for longer, at {MOST_RATE:g}"
        )
        warnings.warn(
            f"the learning rates of all {count * training.epochs} steps add up to {total:.3g} (RF-DARTS: {PAPER_RATES}); batch "
            f"norms on random convolutions learn little by that, and operations without any win. {remedy} "
            "(warnings.filterwarnings('ignore', category=UserWarning) silences this).",
            UserWarning,
            stacklevel=3,
        )


def train(
    supernet: MixedSupernet,
    images: ImageSet,
    objective: Objective,
    training: BilevelSettings,
    seed: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
) -> Bilevel:
    """Train a mixed supernet; see :class:`nni_plugins.evaluators.training.bilevel.BilevelTraining`."""
    space = supernet.search_space
    check_fitted(space, objective, images)
    if supernet.options.option == "C":
        _warn_if_short(images, training, seed)
    config: dict[str, Any] = {
        "space": [space.name, space.config()],
        "images": images.identity(),
        "mixture": supernet.options.config(),
    }
    return BilevelTraining(
        supernet, objective, images, training, seed, folder=folder, config=config, report=report
    ).run()


def search(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: DifferentiableSettings,
    training: BilevelSettings,
    seed: int,
    top_k: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> DifferentiableResult:
    """One search; ``space`` may have any head, the objective says which one is needed. What it finds meets ``limits``.

    Raises:
        ConfigError: the space cannot be mixed, or the objective's head does not fit, or a half of the images cannot
            fill a batch; or nothing is within the limits.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.bilevel.BilevelTraining`.
    """
    check_space(space, settings)
    supernet = initialise(fitted(space, objective, images), settings, seed)
    trained = train(supernet, images, objective, training, seed, folder=folder, report=report)
    mixture = Mixture.of(supernet)
    return DifferentiableResult(mixture.best(supernet.search_space, top_k, limits), mixture, trained)
