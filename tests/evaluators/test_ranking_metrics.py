"""Ranking measures against SciPy, brute force, closed forms and published numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.statistics.correlation import correlation
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.statistics.ranking_metrics import (
    id_sequence_tau,
    null_deviations,
    pairwise_accuracy,
    position_changes,
    rank_agreement,
    sparse_tau,
    spearman,
    top_overlap,
    top_percentiles,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=30), RNG.normal(size=30)
TIED_X, TIED_Y = RNG.integers(0, 5, 30).astype(float), RNG.integers(0, 4, 30).astype(float)


def by_hand(x: np.ndarray, y: np.ndarray, untied: bool) -> float:
    """Every pair looked at."""
    marks = []
    for i, j in itertools.combinations(range(len(x)), 2):
        if untied and y[i] == y[j]:
            continue
        sign = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        marks.append({1: 1.0, 0: 0.5, -1: 0.0}[int(sign)])
    return float(np.mean(marks))


@pytest.mark.parametrize(("x", "y"), [(X, Y), (TIED_X, TIED_Y), (X, TIED_Y), (TIED_X, Y)])
def test_against_scipy_and_brute_force(x: np.ndarray, y: np.ndarray) -> None:
    assert pairwise_accuracy(x, y) == pytest.approx(by_hand(x, y, False), abs=1e-12)
    assert pairwise_accuracy(x, y, "untied") == pytest.approx(by_hand(x, y, True), abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    whole = correlation(x, y, resamples=2)
    assert pairwise_accuracy(x, y, "untied") == pytest.approx(whole.pairwise.value) and spearman(x, y) == pytest.approx(
        whole.spearman.value
    )


def test_without_ties_tau_is_twice_the_pairwise_accuracy_minus_one() -> None:
    assert kendall_tau(X, Y) == pytest.approx(2 * pairwise_accuracy(X, Y) - 1)
    assert pairwise_accuracy(X, Y) == pairwise_accuracy(X, Y, "untied")


def test_identity_reversal_and_monotone_maps() -> None:
    for scores, sign in ((Y, 1), (np.exp(3 * Y), 1), (-Y, -1)):
        assert pairwise_accuracy(scores, Y) == (1 + sign) / 2 and kendall_tau(scores, Y) == pytest.approx(sign)
        assert spearman(scores, Y) == pytest.approx(sign)
    assert (position_changes(Y, Y) == 0).all() and top_overlap(Y, Y, 5) == 1 and top_overlap(-Y, Y, 5) == 0
    assert top_percentiles(Y, Y, 1).tolist() == [100] and top_percentiles(-Y, Y, 2).tolist() == pytest.approx(
        [0, 100 / 29]
    )


def test_constant_lists() -> None:
    ones = np.ones(4)
    assert pairwise_accuracy(ones, Y[:4]) == 0.5 and pairwise_accuracy(Y[:4], ones) == 0.5, (
        "equal scores say nothing, rather than something false"
    )
    assert (
        math.isnan(pairwise_accuracy(Y[:4], ones, "untied"))
        and math.isnan(spearman(ones, Y[:4]))
        and math.isnan(kendall_tau(ones, Y[:4]))
    )
    found = rank_agreement(ones, Y[:4], resamples=10)
    assert (
        found.pairwise.value == 0.5
        and math.isnan(found.pairwise.p)
        and math.isnan(found.spearman.value)
        and math.isnan(found.kendall.p)
    )


def test_sparse_tau_forgets_near_ties() -> None:
    truth, scores = [90.0, 90.01, 90.02, 93.0, 95.0], [3.0, 2.0, 1.0, 4.0, 5.0]
    assert kendall_tau(scores, truth) == pytest.approx(0.4)
    assert (
        sparse_tau(scores, truth) == pytest.approx(stats.kendalltau(scores, [0, 0, 0, 1, 2]).statistic)
        and sparse_tau(scores, truth) > 0.8
    )
    assert sparse_tau(scores, truth, 0.001) == pytest.approx(0.4)


def test_best_ones_and_positions_by_hand() -> None:
    truth, scores = [10.0, 20.0, 30.0, 40.0, 50.0], [5.0, 1.0, 4.0, 3.0, 2.0]
    assert top_overlap(scores, truth, 2) == 0 and top_overlap(scores, truth, 3) == pytest.approx(2 / 3)
    assert top_percentiles(scores, truth, 3).tolist() == [0, 50, 75]
    assert position_changes(scores, truth).tolist() == [-4, 1, -1, 1, 3]
    assert position_changes([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]).tolist() == [-0.5, 0.5, 0]


def test_null_deviations() -> None:
    null = null_deviations(50)
    assert (round(null.pairwise, 3), round(null.spearman, 3)) == (0.049, 0.143)
    assert round(null_deviations(32).kendall, 3) == 0.124
    orders = [list(p) for p in itertools.permutations(range(6))]  # all 720: the exact distribution
    for name, measure in (("pairwise", pairwise_accuracy), ("spearman", spearman), ("kendall", kendall_tau)):
        values = [measure(o, list(range(6))) for o in orders]
        assert np.std(values) == pytest.approx(getattr(null_deviations(6), name), abs=1e-9), name


def test_agreement() -> None:
    scores = Y + RNG.normal(size=30)
    found = rank_agreement(scores, Y, resamples=500, seed=3)
    assert found == rank_agreement(scores, Y, resamples=500, seed=3) and found.architectures == 30
    assert found.kendall.value == pytest.approx(2 * found.pairwise.value - 1) and found.spearman.value == pytest.approx(
        spearman(scores, Y)
    )
    for one in (found.pairwise, found.spearman, found.kendall):
        assert one.low < one.value < one.high and one.p == pytest.approx(1 / 501), (
            "no permutation is as extreme: only the given one"
        )
    assert found.kendall.p == found.pairwise.p
    assert 2 * found.pairwise.low - 1 == pytest.approx(found.kendall.low, abs=0.08), (
        "two bootstraps of the same thing without ties"
    )


def test_p_values_are_exact_for_few() -> None:
    """Of the 120 orders of five, 2 are perfect or reversed, and 2 + 8 differ from one of them by a single swap."""
    perfect, swapped = np.arange(5.0), np.array([1.0, 0, 2, 3, 4])
    assert rank_agreement(perfect, perfect, 4000).kendall.p == pytest.approx(2 / 120, abs=0.006)
    assert rank_agreement(swapped, perfect, 4000).kendall.p == pytest.approx(10 / 120, abs=0.013)
    assert rank_agreement(-perfect, perfect, 4000).spearman.p == pytest.approx(2 / 120, abs=0.006), "two-sided"


def test_id_sequences_are_no_ranking() -> None:
    """Right where numbers rise with the truth; otherwise a reversed ranking is far from -1."""
    truth = np.sort(Y)
    assert id_sequence_tau(X, truth) == pytest.approx(stats.kendalltau(np.argsort(X), np.arange(30)).statistic)
    assert id_sequence_tau(-truth, truth) == pytest.approx(-1) and id_sequence_tau(truth, truth) == pytest.approx(1)
    shuffled = np.random.default_rng(1).permutation(30)
    assert (
        id_sequence_tau(truth, truth, shuffled) == pytest.approx(1) and id_sequence_tau(-truth, truth, shuffled) > -0.6
    )
    with pytest.raises(ConfigError, match="ids: 30 architectures need as many different numbers, but got 1 in 30"):
        id_sequence_tau(X, Y, [3] * 30)


@pytest.mark.parametrize("measure", [pairwise_accuracy, spearman, sparse_tau, position_changes, rank_agreement])
def test_refused_lists(measure: object) -> None:
    assert callable(measure)
    for scores, truth in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0, 3.0], [1.0, math.nan, 2.0])):
        with pytest.raises(ConfigError):
            measure(scores, truth)


def test_refused_arguments() -> None:
    with pytest.raises(ConfigError, match="ties: must be half or untied"):
        pairwise_accuracy(X, Y, "official")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 <= k <= 30 architectures must hold, but got 31"):
        top_overlap(X, Y, 31)
    with pytest.raises(ConfigError, match="1 <= k"):
        top_percentiles(X, Y, 0)
    with pytest.raises(ConfigError, match="width > 0"):
        sparse_tau(X, Y, 0)
    with pytest.raises(ConfigError, match="at least 2 architectures"):
        null_deviations(1)
