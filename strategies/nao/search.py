"""NAO without weight sharing: every architecture is evaluated for itself, by training or from a table.

"Neural Architecture Optimization", algorithm 1; the rounds of NAO-V2. The original used 600 random
architectures and the best 100 as seeds, moved by lambda = 10, 20, 30; for tables all sizes can be smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.statistics import ranking_metrics
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from ..ranking import Ranked
from .codecs import Codec, SpaceCodec
from .proposals import Proposals, propose, random_rows, without_direction
from .settings import ControllerSettings, NAOSettings, ProposalSettings
from .tokens import Rows
from .training import NoDirection, Trained, Values, predicted, train

Evaluate = Callable[[list[Architecture]], Sequence[float]]
"""Values of a batch of architectures, larger is better."""


@dataclass(frozen=True)
class Round:
    """A controller and what it proposed. ``controller`` is None where all values were equal; then nothing came from the
    gradient.

    ``pairwise``: share of the pairs of new architectures with different values that the predictor ordered as their
    values do; None where there was no predictor or no such pair.
    """

    proposals: Proposals
    epochs: int
    loss: float | None
    pairwise: float | None


@dataclass(frozen=True)
class NAOResult:
    """``architectures`` in the order of their evaluation and their ``values: (n,)``; ``ranked``, the same, best first;
    ``rounds``.
    """

    architectures: list[Architecture]
    values: Values
    ranked: list[Ranked]
    rounds: list[Round]


def best_rows(rows: Rows, values: Values, k: int) -> Rows:
    """The ``k`` best of ``rows: (n, D)``, earlier ones first where values are equal.

    Raises:
        ConfigError: there are fewer.
    """
    if k > len(rows):
        raise ConfigError(
            f"the {k} best are wanted as seeds, but there are only {len(rows)} architectures.", "Lower proposals.seeds."
        )
    return rows[np.argsort(-values, kind="stable")[:k]]


def next_rows(
    codec: Codec,
    rows: Rows,
    values: Values,
    known: Sequence[str],
    controller: ControllerSettings,
    proposals: ProposalSettings,
    seed: int,
    step: int,
) -> tuple[Proposals, Trained | None]:
    """One round: train a fresh controller on the pool, and move its best ``proposals.seeds`` architectures uphill.

    A function of the arguments alone, so that a search which was interrupted repeats it. ``known``: keys that are not
    proposed.

    Raises:
        ConfigError: a pool with fewer architectures than seeds.
        TrainingError: a value that is not finite.
    """
    seeds = best_rows(rows, values, proposals.seeds)
    try:
        trained = train(codec, rows, values, controller, seed, step)
    except NoDirection:
        return without_direction(codec, seeds, known, proposals, seed, step), None
    return propose(codec, trained.controller, seeds, known, proposals, seed, step), trained


def pairwise_accuracy(guesses: Values, values: Values) -> float | None:
    """Share of the pairs with different ``values: (n,)`` that ``guesses: (n,)`` order alike, a tie counting half; None
    without such pairs.
    """
    share = ranking_metrics.pairwise_accuracy(guesses, values, "untied") if len(values) > 1 else math.nan
    return None if math.isnan(share) else share


def nao(
    space: SearchSpace,
    evaluate: Evaluate,
    settings: NAOSettings,
    seed: int,
    initial: Sequence[Architecture] | None = None,
) -> NAOResult:
    """Evaluate ``settings.initial`` random architectures, or those given, then ``settings.rounds`` times what a new
    controller proposes.

    Raises:
        ConfigError: a pool smaller than ``settings.proposals.seeds``.
        TrainingError: ``evaluate`` returned a value that is not finite.
    """
    codec = SpaceCodec(space)
    rows = (
        random_rows(codec, (), settings.initial, generator(seed, "nao initial")).rows
        if initial is None
        else codec.rows(initial)
    )
    if settings.rounds and len(rows) < settings.proposals.seeds:
        raise ConfigError(
            f"{settings.proposals.seeds} seeds are wanted, but the first pool has {len(rows)} architectures.",
            "Lower proposals.seeds.",
        )
    values = np.array(list(evaluate(codec.architectures(rows))), dtype=np.float64)
    rounds: list[Round] = []
    for step in range(settings.rounds):
        found, trained = next_rows(
            codec, rows, values, codec.keys(rows), settings.controller, settings.proposals, seed, step
        )
        new = (
            np.array(list(evaluate(codec.architectures(found.rows))), dtype=np.float64)
            if len(found.rows)
            else np.empty(0)
        )
        if trained is None:
            rounds.append(Round(found, 0, None, None))
        else:
            pairwise = pairwise_accuracy(predicted(codec, trained.controller, found.rows), new) if len(new) else None
            rounds.append(Round(found, len(trained.history), trained.history[-1]["loss"], pairwise))
        rows, values = np.concatenate([rows, found.rows]), np.concatenate([values, new])
        if len(found.rows) == 0:
            break  # nothing is left that is not known, and the next round would find nothing either
    architectures = codec.architectures(rows)
    ranked = [Ranked(architectures[i], float(values[i])) for i in np.argsort(-values, kind="stable")]
    return NAOResult(architectures, values, ranked, rounds)
