"""The rounds of NAO-V2: pools of architectures, their training and evaluation, and what the controller proposes next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.supernets.shared_weights import Cycle, SharedWeights
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from ..limits import Limits
from ..nao.codecs import SpaceCodec
from ..nao.proposals import Proposals, random_rows
from ..nao.search import best_rows, next_rows, pairwise_accuracy
from ..nao.tokens import Rows
from ..nao.training import Trained, predicted
from .pool import Pool, PoolFiles, check_scores, pool_draw, proportional_probabilities, read_pool
from .settings import NAOV2Settings

Initial = Sequence[Architecture] | Path
"""A first pool: architectures, or the file of a pool, whatever it was the pool of."""


@dataclass(frozen=True)
class Iteration:
    """One cycle. ``best`` and ``mean`` are of the scores of all ``evaluated`` architectures, of which ``trained`` were
    trained in the cycle.

    ``origins``: how many of the evaluated came from where. ``controller``: see
    :class:`nni_plugins.strategies.naov2.pool.Pool`. ``pairwise``: share of the pairs of new architectures with
    different scores that the controller ordered as their scores do; None without one or without such pairs.
    """

    number: int
    trained: int
    evaluated: int
    best: float
    mean: float
    origins: dict[str, int]
    controller: dict[str, float]
    pairwise: float | None
    curve: list[dict[str, float]]

    @classmethod
    def of(cls, pool: Pool) -> Iteration:
        """Of a pool with scores."""
        scores = np.array(pool.scores, dtype=np.float64)
        new = [i for i, guess in enumerate(pool.predictions) if guess is not None]
        guesses = np.array([pool.predictions[i] for i in new], dtype=np.float64)
        pairwise = pairwise_accuracy(guesses, scores[new]) if new else None
        origins = {origin: pool.origins.count(origin) for origin in dict.fromkeys(pool.origins)}
        trained, best, mean = int(pool.trained.sum()), float(scores.max()), float(scores.mean())
        return cls(pool.number, trained, len(scores), best, mean, origins, pool.controller, pairwise, pool.curve)


def given_pool(space: SearchSpace, initial: Initial | None) -> list[Architecture] | None:
    if isinstance(initial, Path):
        return space.decode(read_pool(initial, space)[0].indices)
    return None if initial is None else [space.check(architecture) for architecture in initial]


def identity(
    shared: SharedWeights,
    settings: NAOV2Settings,
    epochs: int,
    given: list[Architecture] | None,
    limits: Limits,
    config: dict[str, Any] | None,
) -> dict[str, Any]:
    """What the pools follow from."""
    return {
        "space": [shared.space.name, shared.space.config()],
        "seed": shared.seed,
        "epochs": epochs,
        "settings": settings.model_dump(mode="json", exclude={"final", "final_candidates"}),
        "limits": limits.identity(),
        "initial_pool": None if given is None else hashlib.sha256(shared.space.encode(given).tobytes()).hexdigest(),
        **(config or {}),
    }


class Rounds:
    """The pools of one search: which architectures each cycle trains and what is known of them."""

    def __init__(
        self,
        shared: SharedWeights,
        settings: NAOV2Settings,
        epochs: int,
        files: PoolFiles,
        given: list[Architecture] | None,
        limits: Limits,
    ) -> None:
        self.shared, self.settings, self.epochs, self.files, self.given = shared, settings, epochs, files, given
        self.codec, self.known = SpaceCodec(shared.space, limits), dict[str, None]()
        self.loaded: int | None = None  # the cycle whose weights the supernet has

    def pool(
        self,
        number: int,
        rows: Rows,
        origins: Sequence[str],
        trained: int,
        guesses: Sequence[float | None],
        facts: dict[str, float],
    ) -> Pool:
        """Written; of ``rows: (n, D)`` the first ``trained`` are trained."""
        drawn = rows[:trained].astype(np.int8)
        shares = (
            proportional_probabilities(self.shared.space, drawn)
            if self.settings.sampling == "proportional"
            else np.full(trained, 1 / trained)
        )
        names = [self.shared.space.to_string(a) for a in self.codec.architectures(rows)]
        probabilities = [*shares.tolist(), *[0.0] * (len(rows) - trained)]
        pool = Pool(number, rows.tolist(), names, list(origins), probabilities, list(guesses), controller=facts)
        self.files.save(pool)
        return pool

    def first(self) -> Pool:
        """Random or given; large enough for all that follows.

        Raises:
            ConfigError: it is not, or an architecture stands in it twice or is beyond the limits.
        """
        s = self.settings
        if self.given is None:
            rows, origin = (
                random_rows(self.codec, (), s.initial, generator(self.shared.seed, "nao initial")).rows,
                "random",
            )
        else:
            rows, origin = self.codec.rows(self.given), "given"
            if len(set(self.codec.keys(rows))) < len(rows):
                raise ConfigError(
                    f"the first pool has {len(rows)} architectures, but some are the same up to symmetry.",
                    "Give each one once.",
                )
            beyond = int((~self.codec.valid(rows)).sum())
            if beyond:
                raise ConfigError(
                    f"{beyond} of the {len(rows)} architectures of the first pool do not meet the limits "
                    f"{self.codec.limits!r}.",
                    "Leave them out, or raise the limits.",
                )
        needs = {"proposals.seeds": s.proposals.seeds, "kept": s.carried} if s.iterations > 1 else {}
        if s.final is not None and (s.iterations == 1 or s.evaluates_all):
            needs["final_candidates"] = s.final_candidates
        short = [f"{name}={count}" for name, count in needs.items() if count > len(rows)]
        if short or not len(rows):
            wanted = ", ".join(short) or "a search"
            raise ConfigError(
                f"the first pool has {len(rows)} architectures, which is too few for {wanted}.",
                f"Lower that{', or raise the limits' if self.codec.limits.given else ', or give more'}.",
            )
        return self.pool(0, rows, [origin] * len(rows), len(rows), [None] * len(rows), {})

    def next(self, pool: Pool) -> Pool | None:
        """What follows ``pool``, or None where the space has nothing new."""
        s, rows = self.settings, pool.indices.astype(np.int64)
        scores = np.array(pool.scores, dtype=np.float64)
        proposals = s.proposals.model_copy(
            update={"seeds": min(s.proposals.seeds, len(rows))}
        )  # where the space is nearly used up
        found, trained = next_rows(
            self.codec, rows, scores, list(self.known), s.controller, proposals, self.shared.seed, pool.number
        )
        if not len(found.rows):
            return None
        known = {*self.known, *self.codec.keys(found.rows)}
        rng = generator(self.shared.seed, "nao random", pool.number)
        random = random_rows(self.codec, known, s.random, rng).rows if s.random else found.rows[:0]
        kept = best_rows(rows, scores, min(s.carried, len(rows)))
        rest = rows[:0]
        if s.evaluates_all:
            carried = set(self.codec.keys(kept))
            rest = rows[[key not in carried for key in self.codec.keys(rows)]]
        old, others = len(kept) + len(rest), len(random)
        guesses: list[float | None] = (
            [None] * len(found.rows)
            if trained is None
            else predicted(self.codec, trained.controller, found.rows).tolist()
        )
        return self.pool(
            pool.number + 1,
            np.concatenate([found.rows, random, kept, rest]),
            [*found.origins, *["random"] * others, *["kept"] * old],
            len(found.rows) + others + len(kept),
            [*guesses, *[None] * (others + old)],
            _facts(found, trained, proposals.seeds),
        )

    def load(self, pool: Pool) -> list[dict[str, float]]:
        """Give the supernet the weights of the cycle of ``pool``, by training unless it is finished on disk; returns
        its curve.
        """
        trained = pool.trained
        draw = pool_draw(pool.indices[trained], np.array(pool.probabilities)[trained], self.shared.seed)
        curve = self.shared.train(draw, Cycle(pool.number, self.settings.iterations, self.epochs, self.settings.reset))
        self.loaded = pool.number
        return curve

    def evaluated(self, pool: Pool) -> Pool:
        """``pool`` with scores, from its file where they are known. Weights that the next cycle goes on with are loaded
        all the same.
        """
        if pool.scores is not None:
            if self.settings.reset != "all":
                self.load(pool)
            return pool
        curve = self.load(pool)
        pool = replace(
            pool, scores=check_scores(self.shared.scores(pool.indices), lambda i: pool.architectures[i]), curve=curve
        )
        self.files.save(pool)
        return pool


def _facts(found: Proposals, trained: Trained | None, seeds: int) -> dict[str, float]:
    numbers = {"seeds": seeds, "largest_step": found.largest_step, "decoded": found.decoded}
    numbers |= {"duplicates": found.duplicates, "invalid": found.invalid}
    return (
        numbers if trained is None else {**numbers, "epochs": len(trained.history), "loss": trained.history[-1]["loss"]}
    )
