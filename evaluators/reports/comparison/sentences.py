"""What the numbers allow to say, in words: one sentence a policy, and warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...statistics.differences import LEVEL, Summary
from .difference import Difference
from .record import Comparison, RealBest, Run

FEW = 5
"""Fewer seeds than that are warned of."""
SAME_BUDGET = 0.05
"""Budgets that differ by less than this share of the larger one count as equal."""


def amount(value: float, unit: str, decimals: int) -> str:
    """A difference with its unit: a difference of percentages is one of percentage points."""
    name = {"%": " percentage points", "": ""}.get(unit, f" {unit}")
    return f"{value:.{decimals}f}{name}"


def p_text(p: float) -> str:
    """``p = 0.081``; more digits near 0.05, so that rounding never moves it to the other side."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.4f}" if 0.045 < p < 0.055 else f"p = {p:.2g}"


def sentence(d: Difference, unit: str = "", decimals: int = 2) -> str:
    """What the runs say about ``d.policy`` against ``d.baseline``: size, uncertainty, and whether that is evidence."""
    if len(d.constant) == 2 and d.improvement == 0:
        return f"{_head(d)}, {d.policy} and {d.baseline} gave the same value every time: nothing tells them apart."
    return f"{_head(d)}, {_size(d, unit, decimals)} ({_evidence(d, decimals)}){_constant(d)}: {_verdict(d, unit, decimals)}."


def _head(d: Difference) -> str:
    if d.paired:
        return f"With {d.seeds} seeds, paired"
    if d.seeds == d.baseline_seeds:
        return f"With {d.seeds} seeds each"
    return f"With {d.seeds} seeds of {d.policy} and {d.baseline_seeds} of {d.baseline}"


def _direction(d: Difference) -> str:
    return "better" if d.improvement > 0 else "worse"


def _size(d: Difference, unit: str, decimals: int) -> str:
    if abs(d.improvement) < 0.5 * 10**-decimals:
        return f"{d.policy} and {d.baseline} are equal on average to {decimals} decimals"
    return f"{d.policy} is {amount(abs(d.improvement), unit, decimals)} {_direction(d)} than {d.baseline} on average"


def _evidence(d: Difference, decimals: int) -> str:
    """The interval counts in the direction of the sentence: a negative end of "0.59 worse" is on the better side."""
    if math.isnan(d.t_test.p):
        interval = "no interval, as the difference is the same for all seeds, permutation test "
    else:
        ends = [d.t_test.interval.low, d.t_test.interval.high]
        low, high = ends if d.improvement >= 0 else [-ends[1], -ends[0]]
        interval = f"{LEVEL:.0%} interval ".replace("%", " %") + f"{low:.{decimals}f} to {high:.{decimals}f}, "
    corrected = (
        f", {p_text(d.p_holm).removeprefix('p = ').removeprefix('p ')} after correction for {d.comparisons} comparisons"
    )
    return interval + p_text(d.p) + (corrected if d.comparisons > 1 else "")


def _constant(d: Difference) -> str:
    if len(d.constant) != 1:
        return ""
    return f", where every seed of {d.constant[0]} gave the same value"


def _verdict(d: Difference, unit: str, decimals: int) -> str:
    if d.verdict in ("better", "worse"):
        return f"in this setting the evidence says that {d.policy} is {d.verdict}"
    if d.verdict == "not after correction":
        return f"alone this would count as evidence, but not as one of {d.comparisons} comparisons"
    if d.verdict == "unconfirmed":
        permuted = d.permutation
        if permuted.smallest >= 1 - LEVEL:
            least = f"its smallest p is {permuted.smallest:.2g}"
            return f"the t test separates them, but a permutation test of so few seeds cannot ({least}); run more seeds"
        return f"the t test separates them, but a permutation test does not ({p_text(permuted.p)}); run more seeds"
    if math.isnan(d.t_test.detectable):
        return (
            "so few seeds do not separate them"
            if d.permutation.smallest >= 1 - LEVEL
            else "the evidence does not separate them"
        )
    found = amount(d.t_test.detectable, unit, decimals)
    return f"the evidence does not separate them; a true difference of {found} would be found four times in five"


def real_best_sentence(
    real: RealBest, best: Summary, summaries: Mapping[str, Summary], comparison: Comparison, decimals: int
) -> str:
    """Which architecture is the best of all, and how far the mean of each policy is from it; nothing is tested, for it
    was chosen.
    """
    gaps = {policy: found.mean - best.mean for policy, found in summaries.items()}
    said = [
        f"{policy} {amount(abs(gap), comparison.unit, decimals)} {'better' if (gap > 0) == comparison.larger_is_better else 'worse'}"
        for policy, gap in gaps.items()
    ]
    mean = f"{best.mean:.{decimals}f} ± {best.std:.{decimals}f} {comparison.unit}".rstrip()
    return (
        f"Of all {real.trained:,} architectures, each trained with {best.n} seeds, {real.label} has the best mean on held-out data; "
        f"its {comparison.metric} is {mean}. On average the policies are: {', '.join(said)}."
    )


def seed_warnings(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Few seeds, different numbers of them, and searches that always end the same."""
    warnings = []
    counts = {policy: len(runs) for policy, runs in groups.items()}
    few = [f"{policy} {count}" for policy, count in counts.items() if count < FEW]
    if few:
        warnings.append(
            f"Few seeds ({', '.join(few)}): the deviations themselves are uncertain; Yu et al. (ICLR 2020) ran ten."
        )
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{policy} {count}" for policy, count in counts.items())
        warnings.append(
            f"Different numbers of seeds ({listed}): the best of more runs is better by chance alone; compare means, not bests."
        )
    for policy, runs in groups.items():
        chosen = {tuple(sorted(run.architecture.items())) for run in runs if run.architecture is not None}
        if len(chosen) == 1 and all(run.architecture is not None for run in runs):
            same = len({run.value for run in runs}) == 1
            what = "is one measurement" if same else "varies by training alone"
            warnings.append(
                f"All {len(runs)} seeds of {policy} ended with the same architecture, so what they show {what}."
            )
    return warnings


def budget_warnings(groups: Mapping[str, Sequence[Run]], baseline: str) -> list[str]:
    """Costs that differ between policies by more than 5 %, and those that only some policies record."""
    names = list(dict.fromkeys(name for runs in groups.values() for run in runs for name in run.cost))
    warnings, free = [], False
    for name in names:
        spent = {policy: [run.cost[name] for run in runs if name in run.cost] for policy, runs in groups.items()}
        means = {policy: sum(values) / len(values) for policy, values in spent.items() if values}
        unknown = [policy for policy in groups if policy not in means]
        if unknown:
            warnings.append(f"Budget {_words(name)}: not recorded for {', '.join(unknown)}.")
        if max(means.values()) - min(means.values()) > SAME_BUDGET * max(abs(v) for v in means.values()):
            listed = ", ".join(f"{policy} {value:,.6g}" for policy, value in means.items())
            warnings.append(
                f"Budgets differ in {_words(name)}: {listed}. A difference between policies may be one of budget."
            )
            free |= means.get(baseline) == 0
    if free:
        warnings.append(
            f"{baseline} spends nothing on a search: this compares a search with a draw, not with what its budget could buy otherwise."
        )
    return warnings


def _words(name: str) -> str:
    return name.replace("_", " ")
