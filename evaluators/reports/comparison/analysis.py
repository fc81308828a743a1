"""From the runs of a comparison to what they say: summaries, differences to the baseline, verdicts and warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ...errors import ConfigError
from ...statistics.differences import (
    LEVEL,
    RESAMPLES,
    Permutation,
    Summary,
    effect,
    holm,
    paired_effect,
    paired_permutation_test,
    paired_t,
    permutation_test,
    summary,
    welch,
)
from .difference import Difference
from .record import Comparison, Run
from .sentences import budget_warnings, real_best_sentence, seed_warnings, sentence
from .standings import Standing, standing_sentences, standings


@dataclass(frozen=True)
class Analysis:
    """Everything that a report prints.

    ``summaries`` has all policies, the baseline last; ``differences`` those to the baseline, then those to each of
    ``comparison.also``; ``sentences`` one a difference; ``standings`` are those against the single networks, and
    ``standing_sentences`` one a policy. ``real_best``: of the values of ``comparison.real_best``, and
    ``real_best_sentence``: how far the policies are from it.
    """

    comparison: Comparison
    paired: bool
    summaries: Mapping[str, Summary]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    standings: tuple[Standing, ...]
    standing_sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    decimals: int
    real_best: Summary | None = None
    real_best_sentence: str = ""

    def against(self, baseline: str) -> tuple[Difference, ...]:
        """The differences to one of the policies that others are compared with."""
        return tuple(d for d in self.differences if d.baseline == baseline)


def analyse(comparison: Comparison, paired: bool = False, seed: int = 0, resamples: int = RESAMPLES) -> Analysis:
    """Judge each policy of ``comparison`` by its first choices against the baseline, and against each of ``also``; p
    values are corrected for the policies that are compared with the same one.

    Args:
        comparison: the runs.
        paired: compare runs of the same seed with each other; for searches that share with the baseline what the seed
            decides.
        seed: of bootstrap and permutations.
        resamples: of the bootstrap, and of permutations where there are too many to look at all of them.

    Raises:
        ConfigError: ``paired``, but the policies have different seeds; fewer than 100 resamples.
    """
    if resamples < 100:
        raise ConfigError(f"resamples >= 100 must hold, but got {resamples}.")
    groups = {policy: comparison.first_choices(policy) for policy in comparison.policies}
    if paired:
        _check_pairs(comparison, groups)
    sign = 1.0 if comparison.larger_is_better else -1.0
    oriented = {policy: [sign * run.value for run in runs] for policy, runs in groups.items()}
    bounds = (0.0, 100.0) if comparison.unit == "%" else (-math.inf, math.inf)
    summaries = {
        policy: summary([run.value for run in runs], comparison.larger_is_better, seed, resamples, bounds)
        for policy, runs in groups.items()
    }
    baseline = comparison.baseline
    permuted = partial(paired_permutation_test if paired else permutation_test, seed=seed, resamples=resamples)
    differences: tuple[Difference, ...] = ()
    for other in (baseline, *comparison.also):
        names = [p for p in comparison.policies if p != other]
        raw = [_difference(p, other, oriented[p], oriented[other], paired, permuted) for p in names]
        corrected = zip(raw, holm([d.p for d in raw]), strict=True)
        differences += tuple(_judged(replace(d, p_holm=p, comparisons=len(raw))) for d, p in corrected)
    decimals = shown_decimals(summaries)
    stand, real = standings(comparison), comparison.real_best
    best = None
    if real is not None:
        best = summary([run.value for run in real.runs], comparison.larger_is_better, seed, resamples, bounds)
    return Analysis(
        comparison,
        paired,
        summaries,
        differences,
        sentences=tuple(sentence(d, comparison.unit, decimals) for d in differences),
        standings=stand,
        standing_sentences=standing_sentences(stand, comparison.unit, decimals),
        warnings=(*seed_warnings(groups), *budget_warnings(groups, baseline)),
        decimals=decimals,
        real_best=best,
        real_best_sentence=""
        if real is None or best is None
        else real_best_sentence(real, best, summaries, comparison, decimals),
    )


def shown_decimals(summaries: Mapping[str, Summary]) -> int:
    """Two significant digits of the smallest deviation above zero that is no freak (a tenth of the largest), at least
    two decimals, at most six.
    """
    deviations = [s.std for s in summaries.values() if s.std > 0]
    if not deviations:
        return 2
    least = max(min(deviations), max(deviations) / 10)
    return min(6, max(2, 1 - math.floor(math.log10(least))))


def _check_pairs(comparison: Comparison, groups: Mapping[str, tuple[Run, ...]]) -> None:
    wanted = [run.seed for run in groups[comparison.baseline]]
    others = {policy: seeds for policy, runs in groups.items() if (seeds := [run.seed for run in runs]) != wanted}
    if others:
        policy, seeds = next(iter(others.items()))
        raise ConfigError(
            f"paired: {comparison.baseline} has the seeds {wanted}, but {policy} has {seeds}.",
            "Run the missing seeds, or compare without pairs.",
        )


def _difference(
    policy: str, baseline: str, x: list[float], y: list[float], paired: bool, permuted: Callable[..., Permutation]
) -> Difference:
    t_test = paired_t(x, y) if paired else welch(x, y)
    permutation = permuted(x, y)
    sizes = paired_effect(x, y) if paired else effect(x, y)
    p = permutation.p if math.isnan(t_test.p) else t_test.p
    constant = tuple(name for name, values in ((policy, x), (baseline, y)) if min(values) == max(values))
    return Difference(policy, baseline, len(x), len(y), paired, t_test, permutation, sizes, p, p, 1, constant)


def _judged(d: Difference) -> Difference:
    level = 1 - LEVEL
    if d.p >= level:
        return replace(d, verdict="not separated")
    if d.p_holm >= level:
        return replace(d, verdict="not after correction")
    if d.permutation.p >= level:
        return replace(d, verdict="unconfirmed")
    return replace(d, verdict="better" if d.improvement > 0 else "worse")
