"""Ranked lists: the same on every machine, and without symmetric twins."""

from __future__ import annotations

import numpy as np
import pytest

from nni_plugins.spaces import NASBench201
from nni_plugins.strategies import Ranked
from nni_plugins.strategies.ranking import best, order

SPACE = NASBench201(nodes=3)


def test_equal_scores_stand_in_the_order_of_their_rows() -> None:
    indices = np.array([[1, 0, 0], [0, 0, 2], [0, 0, 1], [4, 4, 4], [0, 1, 0]], dtype=np.int8)
    assert order(np.array([1.0, 1.0, 1.0, 2.0, 1.0]), indices).tolist() == [3, 2, 1, 4, 0]
    assert order(np.zeros(5), indices).tolist() == [2, 1, 4, 0, 3]


def test_of_equal_scores_the_one_with_more_paths_comes_first() -> None:
    texts = [
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|",
        "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|",
        "|none~0|+|none~0|none~1|",
    ]
    indices = SPACE.encode([SPACE.parse(t) for t in texts])
    one, ulp = 0.25, np.nextafter(0.25, 1) - 0.25
    ranked = best(SPACE, indices, np.array([one + ulp, one, 0.2]), 3)
    assert [SPACE.to_string(r.architecture) for r in ranked] == [texts[1], texts[0], texts[2]]
    assert order(np.array([one, one + 1e-9, 0.2]), indices, np.array([9, 1, 1])).tolist() == [1, 0, 2], (
        "a real difference is no tie"
    )


def test_a_few_of_many_are_the_first_of_all() -> None:
    space = NASBench201()
    indices = space.enumerate()
    scores = np.random.default_rng(1).integers(0, 50, size=len(indices)) / 7
    everything = best(space, indices, scores, 10**6)
    assert best(space, indices, scores, 3) == everything[:3] and best(space, indices, scores, 100) == everything[:100]


def test_the_first_of_many_ties_may_have_the_least_score_by_rounding() -> None:
    """The best one is looked for among the 64 largest scores and all that tie with them."""
    indices = SPACE.enumerate()
    scores = np.ones(len(indices))
    [first] = best(SPACE, indices, scores, 1)
    place = int(np.flatnonzero((indices == SPACE.encode([first.architecture])).all(axis=1))[0])
    for less, wins in ((1e-13, True), (1e-11, False)):
        scores[place] = 1 - less
        assert (best(SPACE, indices, scores, 1)[0].architecture == first.architecture) == wins


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_arrival_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices = SPACE.enumerate()
    scores = rng.integers(0, 4, size=len(indices)).astype(float)
    shuffle = rng.permutation(len(indices))
    assert best(SPACE, indices, scores, 20) == best(SPACE, indices[shuffle], scores[shuffle], 20)


def test_twins_are_left_out() -> None:
    """A skip connection into the last node makes the same function as the operation alone: only the first of such cells
    is kept.
    """
    texts = [
        "|skip_connect~0|+|none~0|nor_conv_3x3~1|",
        "|skip_connect~0|+|nor_conv_3x3~0|none~1|",
        "|none~0|+|nor_conv_3x3~0|skip_connect~1|",
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|",
    ]
    indices = SPACE.encode([SPACE.parse(t) for t in texts])
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    everything = best(SPACE, indices, scores, 9, distinct=False)
    assert everything == [Ranked(SPACE.parse(t), s) for t, s in zip(texts, scores.tolist(), strict=True)]
    kept = best(SPACE, indices, scores, 9)
    assert kept[0] == everything[0] and kept[-1] == everything[-1]
    assert (
        len({SPACE.canonical(r.architecture) for r in kept})
        == len(kept)
        == len({SPACE.canonical(SPACE.parse(t)) for t in texts})
        < 4
    )


def test_all_distinct_cells_and_no_more() -> None:
    indices = SPACE.enumerate()
    ranked = best(SPACE, indices, np.random.default_rng(0).random(125), 1000)
    assert len(ranked) == 60 and [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    assert best(SPACE, indices, np.zeros(125), 0) == []
