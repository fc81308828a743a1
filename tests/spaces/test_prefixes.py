"""Paths that begin alike share what they compute, and give what each gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201, NASNet, SearchSpace
from nni_plugins.spaces.prefixes import Piece, outputs_of_paths

SPACES = [
    NASBench201(nodes=3, channels=4, cells_per_stage=1),
    NASBench101(nodes=3, channels=4, cells_per_stack=1),
    DARTS(channels=4, cells=4),
    NASNet(channels=4, cells=4),
    NAO(channels=4, cells=4),
    MobileNetLike(stem_channels=4, first_channels=4, last_channels=8, stages=((4, 2, 1), (8, 2, 2))),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_outputs_are_those_of_single_paths(space: SearchSpace) -> None:
    torch.manual_seed(0)
    supernet: Any = space.supernet()
    x, rows = torch.randn(4, 3, 16, 16), space.sample(np.random.default_rng(0), 5)
    related = np.concatenate([rows, rows[:2], space.mutate(np.random.default_rng(1), rows, 0.1)])
    with torch.no_grad():
        found = dict(outputs_of_paths(supernet, x, related))
        assert sorted(found) == list(range(len(related)))
        for i, row in enumerate(related):
            assert torch.equal(found[i], supernet.forward_path(x, np.broadcast_to(row, (space.repeats, len(row)))))


class Tree:
    """A supernet whose pieces add a digit; it counts what it runs and what it was given."""

    def __init__(self, depth: int) -> None:
        self.search_space = MobileNetLike()  # one row for all blocks
        self.runs: list[tuple[int, ...]] = []
        self.depth = depth

    def pieces(self, path: Any, size: tuple[int, int]) -> list[Piece]:
        assert size == (2, 2)

        def append(value: int) -> Any:
            def run(state: Any) -> Any:
                state = () if isinstance(state, torch.Tensor) else state
                self.runs.append((*state, value))
                return (*state, value)

            return run

        return [Piece(value, append(value)) for value in path[0].tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_each_prefix_is_run_once(seed: int) -> None:
    """The number of pieces that are run is that of the nodes of the tree of all paths."""
    rows = np.random.default_rng(seed).integers(0, 3, (40, 4)).astype(np.int8)
    tree = Tree(4)
    found = dict(outputs_of_paths(tree, torch.zeros(1, 3, 2, 2), rows))
    assert [found[i] for i in range(40)] == [tuple(row) for row in rows.tolist()]
    prefixes = {tuple(row[:depth]) for row in rows.tolist() for depth in range(1, 5)}
    assert sorted(tree.runs) == sorted(prefixes)
    assert not dict(outputs_of_paths(tree, torch.zeros(1, 3, 2, 2), rows[:0]))
