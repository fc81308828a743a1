"""The difference between a policy and the one it is compared with: the numbers, and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...statistics.differences import Effect, Permutation, TTest

Verdict = Literal["better", "worse", "not separated", "not after correction", "unconfirmed"]


@dataclass(frozen=True)
class Difference:
    """Between ``policy`` and ``baseline``, positive where the policy is better, whichever way the metric points.

    ``p``: of the t test, or of the permutation test where neither policy varies; ``p_holm``: corrected for
    ``comparisons`` policies. ``verdict``: "better" or "worse" if p_holm < 0.05 and the permutation test's own p < 0.05;
    "unconfirmed" if only the former holds; "not after correction" if p < 0.05 <= p_holm; else "not separated".
    """

    policy: str
    baseline: str
    seeds: int
    baseline_seeds: int
    paired: bool
    t_test: TTest
    permutation: Permutation
    effect: Effect
    p: float
    p_holm: float
    comparisons: int
    constant: tuple[str, ...]
    verdict: Verdict = "not separated"

    @property
    def improvement(self) -> float:
        """Mean of the policy minus that of the baseline, or the reverse where smaller is better."""
        return self.t_test.difference
