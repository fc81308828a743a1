"""Means and tests of two groups of numbers, one number a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from scipy import stats

from nni_plugins.evaluators.statistics.differences import (
    detectable_ratio,
    effect,
    holm,
    paired_effect,
    paired_permutation_test,
    paired_t,
    permutation_test,
    small_sample_factor,
    summary,
    welch,
    welch_of,
)

NINE = np.array([0.1, 1.3, -0.4, 0.9, 2.2, 0.0, -1.1, 0.3, 0.8])
SIX = np.array([1.2, 2.9, 0.7, 1.1, 3.3, 1.6])


def test_welch_is_scipys() -> None:
    ours, theirs = welch(NINE, SIX), stats.ttest_ind(NINE, SIX, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (ours.t, ours.degrees, ours.p) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-12)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    paired, reference = paired_t(NINE[:6], SIX), stats.ttest_rel(NINE[:6], SIX)
    assert (paired.t, paired.degrees, paired.p) == pytest.approx((reference.statistic, 5, reference.pvalue), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_groups_that_do_not_vary() -> None:
    """SciPy warns of a group whose values are all equal, and has no test of two such groups."""
    constant, reference = (
        welch([69.99] * 9, NINE),
        stats.ttest_ind_from_stats(69.99, 0, 9, NINE.mean(), NINE.std(ddof=1), 9, False),
    )
    assert (constant.t, constant.p, constant.degrees) == pytest.approx((*reference, 8), rel=1e-12)
    for nothing in (
        welch([69.99] * 3, [70.0] * 4),
        welch_of(69.99, 0, 3, 70.0, 0, 4),
        paired_t([1.1, 1.2], [0.1, 0.2]),
    ):
        assert math.isnan(nothing.p) and math.isnan(nothing.interval.low) and math.isnan(nothing.detectable)


def test_the_published_comparison_of_enas_is_not_significant() -> None:
    """Yu et al., ICLR 2020, table 1: ENAS 61.91 ± 0.50, random 62.50 ± 0.86, ten seeds each."""
    found = welch_of(62.50, 0.86, 10, 61.91, 0.50, 10)
    reference = stats.ttest_ind_from_stats(62.50, 0.86, 10, 61.91, 0.50, 10, equal_var=False)
    assert found.t == pytest.approx(1.8755, abs=1e-4) and found.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx((-0.0827, 1.2627), abs=1e-4)


def test_summary() -> None:
    found = summary([1.0, 2.0, 6.0], larger_is_better=False)
    assert (found.n, found.mean, found.median, found.best, found.worst) == (3, 3, 2, 1, 6)
    assert found.std == pytest.approx(math.sqrt(7)) and found.population_std == pytest.approx(math.sqrt(14 / 3))
    assert (found.t_interval.low, found.t_interval.high) == pytest.approx(
        stats.t.interval(0.95, 2, 3, math.sqrt(7 / 3))
    )
    bootstrap = summary(NINE).bootstrap_interval
    reference = stats.bootstrap(
        (NINE,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (bootstrap.low, bootstrap.high) == pytest.approx((reference.low, reference.high), abs=0.04)
    assert summary(NINE, seed=1).bootstrap_interval != bootstrap == summary(NINE).bootstrap_interval
    assert summary([0.1] * 3).std == 0  # whose mean is not exactly 0.1


def test_no_interval_leaves_the_bounds() -> None:
    found = summary([99.0, 100.0, 98.0], bounds=(0.0, 100.0))
    free = summary([99.0, 100.0, 98.0])
    assert free.t_interval.high == pytest.approx(99 + 4.302653 / math.sqrt(3)) and found.t_interval.high == 100
    assert found.t_interval.low == free.t_interval.low


def test_permutations_are_all_looked_at() -> None:
    both, observed = np.concatenate([NINE[:4], SIX[:3]]), abs(NINE[:4].mean() - SIX[:3].mean())
    splits = [
        (list(chosen), [i for i in range(7) if i not in chosen]) for chosen in itertools.combinations(range(7), 4)
    ]
    hits = sum(abs(both[a].mean() - both[b].mean()) >= observed - 1e-12 for a, b in splits)
    found = permutation_test(NINE[:4], SIX[:3])
    assert (found.p, found.permutations, found.exact) == (hits / 35, 35, True)
    # planted: the extreme split of 5 + 5, and its mirror
    assert permutation_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]).p == found_smallest(5) == pytest.approx(2 / 252)
    turned = paired_permutation_test([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 1.0, 5.0])  # differences 0.5, 1, 2, -1
    signs = [abs(np.dot(s, [0.5, 1, 2, -1])) >= 2.5 for s in itertools.product([1, -1], repeat=4)]
    assert (turned.p, turned.permutations, turned.smallest) == (sum(signs) / 16, 16, 1 / 8)
    ties = permutation_test([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])
    assert ties.p == 1


def found_smallest(n: int) -> float:
    return permutation_test(range(n), range(n)).smallest


def exact_p(x: Sequence[int], y: Sequence[int]) -> float:
    """In whole numbers, which have no last digit to differ in: n m times each mean difference is one."""
    both, n, m = [*x, *y], len(x), len(y)

    def difference(chosen: Iterable[int]) -> int:
        first = sum(both[i] for i in chosen)
        return abs(m * first - n * (sum(both) - first))

    observed, splits = difference(range(n)), list(itertools.combinations(range(n + m), n))
    return sum(difference(chosen) >= observed for chosen in splits) / len(splits)


def test_sums_that_differ_in_their_last_digit_alone_are_ties() -> None:
    """Tenths are no binary fractions: without a tolerance some of these ties would be missed."""
    rng = np.random.default_rng(2)
    for _ in range(40):
        x, y = rng.integers(900, 999, size=5).tolist(), rng.integers(900, 999, size=4).tolist()
        assert permutation_test([v / 10 for v in x], [v / 10 for v in y]).p == exact_p(x, y)
        d = [a - b for a, b in zip(x[:4], y, strict=True)]
        turned = [abs(np.dot(signs, d)) >= abs(sum(d)) for signs in itertools.product([1, -1], repeat=4)]
        found = paired_permutation_test([v / 10 for v in x[:4]], [v / 10 for v in y])
        assert found.p == sum(turned) / 16


def test_sums_that_nearly_agree_are_no_ties() -> None:
    """Sums of 10^10 that differ by 2: a tolerance of a billionth would take them for ties."""
    x, y = [0, 10**10], [1, 10**10 + 2]
    assert permutation_test(x, y).p == exact_p(x, y) == 4 / 6
    assert paired_permutation_test([10**10, 1], [0, 0]).p == 2 / 4


def test_many_permutations_are_drawn() -> None:
    exact = permutation_test(NINE, SIX)
    drawn = permutation_test(NINE, SIX, exact=1000, resamples=20_000)
    assert (exact.exact, exact.permutations, drawn.exact, drawn.permutations) == (True, 5005, False, 20_000)
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / 20_000)) and drawn == permutation_test(
        NINE, SIX, 0, 1000, 20_000
    )
    planted = permutation_test(range(20), range(100, 120), resamples=999)
    assert planted.p == planted.smallest == 1 / 1000  # (0 + 1) / (999 + 1), never 0


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(5)
    p = np.array([permutation_test(x[:5], x[5:]).p for x in rng.exponential(size=(400, 10))])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=3.5 * math.sqrt(level / 400))


def test_effect_sizes_by_hand() -> None:
    found = effect([2.0, 4.0, 6.0], [1.0, 3.0])  # means 4, 2; squares 8 + 2 over 3 degrees
    factor = math.gamma(1.5) / (math.sqrt(1.5) * math.gamma(1))
    g = 2 / math.sqrt(10 / 3) * factor
    half = stats.norm.ppf(0.975) * math.sqrt(5 / 6 + g * g / 10)
    assert found.g == pytest.approx(g) and (found.g_interval.low, found.g_interval.high) == pytest.approx(
        (g - half, g + half)
    )
    assert found.cliffs_delta == pytest.approx((5 - 1) / 6) and found.superiority == pytest.approx(5 / 6)
    assert small_sample_factor(18) == pytest.approx(1 - 3 / (4 * 18 - 1), abs=2e-4)
    pairs = paired_effect([1.0, 2.0, 3.0], [0.0, 0.0, 3.0])  # differences 1, 2, 0
    assert pairs.g == pytest.approx(1 * small_sample_factor(2)) and pairs.superiority == pytest.approx((2 + 0.5) / 3)
    assert math.isnan(effect([1, 1], [2, 2]).g) and effect([1, 1], [2, 2]).cliffs_delta == -1
    assert math.isnan(paired_effect([1, 2], [0, 0]).g)  # one degree of freedom: no mean
    mann_whitney = stats.mannwhitneyu(NINE, SIX).statistic
    assert effect(NINE, SIX).superiority == pytest.approx(mann_whitney / 54)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01; 2 x .03; 1 x .04, raised to .06
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


@pytest.mark.parametrize("degrees", [2, 5.5, 18])
def test_detectable_differences_have_power_080(degrees: float) -> None:
    ratio, critical = detectable_ratio(degrees), stats.t.ppf(0.975, degrees)
    assert stats.nct.sf(critical, degrees, ratio) + stats.nct.cdf(-critical, degrees, ratio) == pytest.approx(
        0.8, abs=1e-4
    )
    assert welch(NINE, SIX).detectable > welch(np.tile(NINE, 4), np.tile(SIX, 4)).detectable
