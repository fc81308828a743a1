"""How the architectures that policies chose stand against baselines: networks that nobody searched or drew.

A baseline is one network, trained once. How much its value would vary is not known, so seeds are counted, and nothing
is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .record import Comparison
from .sentences import amount


@dataclass(frozen=True)
class Standing:
    """Of ``seeds`` first choices of ``policy``, ``better`` are better than ``baseline``, whose value is ``value``, and
    ``equal`` have just that value. ``improvement``: of their mean over it, positive where it is better.
    """

    policy: str
    baseline: str
    value: float
    seeds: int
    better: int
    equal: int
    improvement: float


def standings(comparison: Comparison) -> tuple[Standing, ...]:
    """One for each policy, that all are compared with last, and each baseline."""
    sign = 1.0 if comparison.larger_is_better else -1.0
    found = []
    for policy in comparison.policies:
        values = [run.value for run in comparison.first_choices(policy)]
        for baseline in comparison.baselines:
            gains = [sign * (value - baseline.value) for value in values]
            better, equal = sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains)
            mean = sum(gains) / len(gains)
            found.append(Standing(policy, baseline.name, baseline.value, len(values), better, equal, mean))
    return tuple(found)


def standing_sentences(found: Sequence[Standing], unit: str = "", decimals: int = 2) -> tuple[str, ...]:
    """One a policy, such as ``RLNAS: 4 of 5 seeds better than largest_parameters (96.14 %), on average 0.35 percentage
    points better.``
    """
    policies = dict.fromkeys(one.policy for one in found)
    parts = {policy: [_part(one, unit, decimals) for one in found if one.policy == policy] for policy in policies}
    return tuple(f"{policy}: {'; '.join(said)}." for policy, said in parts.items())


def _part(one: Standing, unit: str, decimals: int) -> str:
    value = f"{one.value:.{decimals}f} {unit}".rstrip()
    equal = f", {one.equal} equal to it" if one.equal else ""
    size = abs(one.improvement)
    mean = (
        f"equal to {decimals} decimals"
        if size < 0.5 * 10**-decimals
        else f"{amount(size, unit, decimals)} {'better' if one.improvement > 0 else 'worse'}"
    )
    return f"{one.better} of {one.seeds} seeds better than {one.baseline} ({value}){equal}, on average {mean}"
