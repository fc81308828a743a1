"""Kendall's tau-b, its interval, and true ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.statistics.ranking import agreement, kendall_tau, true_ranks


def brute_force(x: np.ndarray, y: np.ndarray) -> float:
    """Tau-b from its definition: (P - Q) / sqrt((P + Q + ties in x only) (P + Q + ties in y only))."""
    concordant = discordant = only_x = only_y = 0
    for i in range(len(x)):
        for j in range(i):
            product = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            concordant += product > 0
            discordant += product < 0
            only_x += x[i] == x[j] and y[i] != y[j]
            only_y += y[i] == y[j] and x[i] != x[j]
    pairs = concordant + discordant
    return float((concordant - discordant) / math.sqrt((pairs + only_x) * (pairs + only_y)))


@pytest.mark.parametrize("values", [2, 3, 10, 1000])
@pytest.mark.parametrize("length", [8, 9, 40])
def test_tau_equals_its_definition_on_ties(values: int, length: int) -> None:
    x, y = np.random.default_rng(values).integers(0, values, (2, length)).astype(float)
    assert kendall_tau(x, y) == pytest.approx(brute_force(x, y), abs=1e-12)


def test_identity_and_reversal() -> None:
    x = np.random.default_rng(0).permutation(50).astype(float)
    assert kendall_tau(x, x) == pytest.approx(1) and kendall_tau(x, -x) == pytest.approx(-1)
    assert kendall_tau(list(x), list(np.exp(x / 10))) == pytest.approx(1), "only the order counts"
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3), "two pairs agree, one does not"
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))


def test_what_cannot_be_compared() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        for pair in (([1, 2, bad], [1, 2, 3]), ([1, 2, 3], [bad, 2, 3])):
            with pytest.raises(ConfigError, match="must be finite, but 1 are not"):
                kendall_tau(*pair)
            with pytest.raises(ConfigError, match="must be finite"):
                agreement(*pair)
    unlike: list[Any] = [([1, 2], [1, 2, 3]), ([1], [1]), ([[1, 2]], [[1, 2]])]
    for pair in unlike:
        with pytest.raises(ConfigError, match="equally long lists of at least 2 numbers"):
            kendall_tau(*pair)


def test_interval_is_deterministic_and_holds_tau() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=120)
    scores = truth + rng.normal(size=120)
    first = agreement(scores, truth, resamples=300)
    assert first == agreement(scores, truth, resamples=300) != agreement(scores, truth, resamples=300, seed=1)
    assert first.tau == kendall_tau(scores, truth) and first.architectures == 120
    assert first.low < first.tau < first.high and 0.1 < first.high - first.low < 0.4
    assert agreement(truth, truth, resamples=50).low == pytest.approx(1)
    constant = agreement([1, 1, 1], [1, 2, 3], resamples=20)
    assert math.isnan(constant.tau) and math.isnan(constant.low) and math.isnan(constant.high)


def test_true_ranks() -> None:
    assert true_ranks([90.0, 94.0, 93.0]).tolist() == [3, 1, 2]
    assert true_ranks([90.0, 94.0, 90.0, 80.0]).tolist() == [2.5, 1, 2.5, 4]
