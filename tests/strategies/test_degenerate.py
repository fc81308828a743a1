"""Cells without a convolution, and searches that decided nothing, are told."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nni_plugins.spaces import DARTS, Architecture, MobileNetLike, NASBench101, NASBench201
from nni_plugins.strategies.degenerate import cells_without_convolution, degenerate, undecided, warn_if_degenerate

SKIPS = "[('skip_connect', 0), ('skip_connect', 1)" + ", ('skip_connect', 0), ('skip_connect', 1)" * 3 + "]"
CONVOLUTIONS = SKIPS.replace("'skip_connect', 0", "'sep_conv_3x3', 0")


def darts(normal: str, reduce: str) -> Architecture:
    return DARTS().from_string(
        f"Genotype(normal={normal}, normal_concat=[2, 3, 4, 5], reduce={reduce}, reduce_concat=[2, 3, 4, 5])"
    )


def test_which_cells_have_none() -> None:
    space = DARTS()
    assert cells_without_convolution(space, darts(SKIPS, SKIPS)) == ["normal", "reduction"]
    assert cells_without_convolution(space, darts(SKIPS, CONVOLUTIONS)) == ["normal"]
    assert cells_without_convolution(space, darts(CONVOLUTIONS, CONVOLUTIONS)) == []


def test_a_convolution_that_nothing_reads_does_not_count() -> None:
    space = NASBench201()
    dead = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    assert cells_without_convolution(space, dead) == ["cell"]
    alive = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|")
    assert cells_without_convolution(space, alive) == []


def test_spaces_that_name_no_convolution() -> None:
    space = MobileNetLike()
    (architecture,) = space.decode(space.sample(np.random.default_rng(0), 1))
    assert cells_without_convolution(space, architecture) == []


def test_convolutions_on_nodes() -> None:
    space = NASBench101()
    some = space.decode(space.sample(np.random.default_rng(0), 30))
    for architecture in some:
        expected = not any("conv" in operation for operation in live_operations(space, architecture))
        assert (cells_without_convolution(space, architecture) == ["cell"]) == expected


def live_operations(space: NASBench101, architecture: Architecture) -> list[str]:
    return [f"{end}" for edge in space.graph(architecture)["cell"] if edge.live for end in (edge.source, edge.target)]


def test_the_warning() -> None:
    space, bad, good = DARTS(), darts(SKIPS, SKIPS), darts(CONVOLUTIONS, CONVOLUTIONS)
    assert [line.split(":")[0] for line in degenerate(space, [good, bad])] == [
        "found architecture 2 has no convolution in its normal and reduction cells"
    ]
    with pytest.warns(UserWarning, match=r"^found architecture 1 has no convolution .*; and 1 more\. Such a cell"):
        warn_if_degenerate(space, [bad, bad, good])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_degenerate(space, [good])


def test_a_search_that_decided_nothing_says_so() -> None:
    (said,) = undecided([[0.142, *[0.858 / 7] * 7], [0.125] * 8])
    assert "a probability of 0.142, where equal ones have 0.125" in said
    # the clearest is measured in units of its own equal probability: 0.3 of 4 is 1.2, 0.55 of 2 is 1.1
    (said,) = undecided([[0.55, 0.45], [0.3, 0.3, 0.2, 0.2]])
    assert "0.300, where equal ones have 0.250" in said


@pytest.mark.parametrize("rows", [[[0.42, 0.3, 0.28]], [[0.5, 0.5], [0.32, 0.68]], [[1.0]], []])
def test_a_search_that_decided_something_does_not(rows: list[list[float]]) -> None:
    assert undecided(rows) == []
