"""Architectures drawn from ENAS' controller at the end of a search, each of them once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.evaluators.randomness import generator, torch_seed
from nni_plugins.spaces.base import Indices, SearchSpace

from ..drawing import ENUMERATED
from ..limits import Limits
from .controller import Policy
from .reinforce import Values

DRAWS, HEATINGS = 10, 10
"""A collapsed policy repeats itself: after so many rounds of draws its logits are halved, at most this many times."""


@dataclass(frozen=True)
class Candidates:
    """``indices: (n, D)``, distinct up to symmetry, in the order of their draw; ``log_prob: (n,)`` of each row, in
    nats. ``heat`` > 1: the policy repeated itself, and the last ones come from its logits divided by it."""

    indices: Indices
    log_prob: Values
    heat: float


def log_probabilities(policy: Policy, indices: Indices, batch: int = 4096) -> Values:
    """Of ``indices: (n, D)``: (n,)."""
    rows = torch.from_numpy(indices.astype(np.int64))
    with torch.no_grad():
        found: Values = (
            torch.cat([policy.evaluate(part).log_prob for part in torch.split(rows, batch)]).double().numpy()
        )
    return found


def candidates(
    policy: Policy,
    space: SearchSpace,
    n: int,
    seed: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Candidates:
    """At most ``n`` architectures within ``limits``, sampled from ``policy`` one after the other, of symmetric twins the
    first; fewer where there are fewer.

    Spaces of at most 100,000 architectures are enumerated: by the size of log-probability plus Gumbel noise they are in
    the order of such a draw without repetition, however narrow the policy is.

    Raises:
        ConfigError: nothing is within the limits.
    """
    rows: list[npt.NDArray[np.int8]] = []
    seen: set[str] = set()
    known: set[bytes] = set()

    def take(pool: Indices) -> bool:
        """Add the new ones of ``pool``; whether that is enough."""
        for row in pool:
            if row.tobytes() in known or len(rows) == n:
                continue
            known.add(row.tobytes())
            form = space.canonical(space.decode(row[None])[0])
            if form not in seen:
                seen.add(form)
                rows.append(row)
        return len(rows) == n

    heat = 1.0
    if space.size <= ENUMERATED:
        every = space.enumerate()
        every = every[limits.mask(space, every)]
        if not len(every):
            raise limits.unmet(space)
        take(
            every[
                np.argsort(
                    -(log_probabilities(policy, every) + generator(seed, "enas candidates").gumbel(size=len(every))),
                    kind="stable",
                )
            ]
        )
    else:
        for step in range(DRAWS * (HEATINGS + 1)):
            heat = 2.0 ** (step // DRAWS)
            noise = torch.Generator().manual_seed(torch_seed(seed, "enas candidates", step))
            if take(policy.sample_within(2 * n, noise, limits, heat).numpy().astype(np.int8)):
                break
    indices: Indices = np.array(rows, dtype=np.int8).reshape(-1, len(space.decisions))
    return Candidates(indices, log_probabilities(policy, indices), heat)
