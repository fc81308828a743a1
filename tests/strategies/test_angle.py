"""The angle table against a literal concatenation of vectors, and against angles computed by hand."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators import ConfigError, TrainingError
from nni_plugins.spaces import (
    DARTS,
    Architecture,
    CostTable,
    Decision,
    Indices,
    MobileNetLike,
    NASBench201,
    RobustDARTS,
    SearchSpace,
)
from nni_plugins.spaces.supernet import WeightBlock, WeightBlocks
from nni_plugins.strategies import VARIANTS, AngleTable, AngleVariant, RLNASSettings
from nni_plugins.strategies.rlnas.settings import Variant

State = dict[str, torch.Tensor]


def random_state(module: torch.nn.Module, seed: int) -> State:
    """Other weights of the same names and shapes, in float32 as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(v.shape, generator=generator) if v.is_floating_point() else v
        for n, v in module.state_dict().items()
    }


# The oracle, written from the formula without a look at weight blocks or path counts


def fixed_vectors(state: State, variant: str) -> list[torch.Tensor]:
    """Stem, residual blocks (the cells that have no edges), last batch norm, classifier."""
    norms, bias = variant.startswith("rlnas"), variant.startswith("rlnas")
    names = ["stem.0.weight"] + (["stem.1.weight", "stem.1.bias"] if norms else [])
    for cell in sorted({name.split(".")[1] for name in state if name.startswith("cells.") and ".conv_a." in name}):
        for part in ("conv_a", "conv_b"):
            names += [f"cells.{cell}.{part}.1.weight"] + (
                [f"cells.{cell}.{part}.2.weight", f"cells.{cell}.{part}.2.bias"] if norms else []
            )
        names.append(f"cells.{cell}.downsample.1.weight")
    names += (
        (["lastact.0.weight", "lastact.0.bias"] if norms else [])
        + ["classifier.weight"]
        + (["classifier.bias"] if bias else [])
    )
    return [state[name].double().flatten() for name in names]


def operation_vectors(
    state: State, cell: str, edge: tuple[int, int], operation: str, channels: int, variant: str
) -> list[torch.Tensor]:
    if operation == "skip_connect":
        return [torch.eye(channels, dtype=torch.float64).flatten()] if variant == "rlnas-eye" else []
    if operation == "avg_pool_3x3":
        return [] if variant == "weights" else [torch.full((channels * 9,), 1 / 9, dtype=torch.float64)]
    place = f"cells.{cell}.edges.{edge[0]}_{edge[1]}.{operation}"
    names = [f"{place}.1.weight"]
    if variant.startswith("rlnas"):
        names += [name for name in (f"{place}.2.weight", f"{place}.2.bias") if name in state]
    return [state[name].double().flatten() for name in names]


def oracle(space: NASBench201, architecture: Architecture, initial: State, final: State, variant: str) -> float:
    """arccos of the cosine of two long vectors; 0.0 where no path is free of ``none``."""
    last = space.nodes - 1
    chains = [(0, *inner, last) for r in range(last) for inner in itertools.combinations(range(1, last), r)]
    paths = [list(itertools.pairwise(chain)) for chain in chains]
    paths = [path for path in paths if all(architecture[f"e_{i}_{j}"] != "none" for i, j in path)]
    if not paths:
        return 0.0
    long = []
    for state in (initial, final):
        pieces = fixed_vectors(state, variant)
        for cell in sorted({name.split(".")[1] for name in state if name.startswith("cells.") and ".edges." in name}):
            width = space.channels * 2 ** (int(cell) // (space.cells_per_stage + 1))
            for path in paths:
                for i, j in path:
                    pieces += operation_vectors(state, cell, (i, j), architecture[f"e_{i}_{j}"], width, variant)
        long.append(torch.cat(pieces))
    return math.acos(max(-1.0, min(1.0, float(torch.nn.functional.cosine_similarity(long[0], long[1], dim=0)))))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("nodes", "cells"), [(3, 2), (4, 1), (5, 1)])
def test_table_equals_the_concatenation(nodes: int, cells: int, affine: bool) -> None:
    space = NASBench201(nodes=nodes, channels=4, cells_per_stage=cells)
    supernet = space.supernet(affine)
    initial, final = random_state(supernet, 1), random_state(supernet, 2)
    rng = np.random.default_rng(nodes)
    indices = space.sample(rng, 20)
    indices[::4] *= rng.random(indices[::4].shape) < 0.5  # more ``none`` than chance has it
    architectures = space.decode(indices)
    names: list[Variant] = ["rlnas", "rlnas-eye", "weights"]
    for name in names:
        variant = VARIANTS[name]
        angles = AngleTable.build(space, supernet.weight_blocks(), initial, final, variant)(indices)
        expected = np.array([oracle(space, a, initial, final, name) for a in architectures])
        assert np.abs(angles - expected).max() <= 1e-10, name
        assert angles.dtype == np.float64 and ((angles >= 0) & (angles <= math.pi)).all()


def test_switches_change_the_angle() -> None:
    """Otherwise the comparison above could pass with a switch that nothing reads."""
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    supernet = space.supernet(affine=True)
    initial, final = random_state(supernet, 1), random_state(supernet, 2)
    indices = space.encode([space.parse("|skip_connect~0|+|avg_pool_3x3~0|nor_conv_3x3~1|")])
    angles = {
        variant: float(AngleTable.build(space, supernet.weight_blocks(), initial, final, variant)(indices)[0])
        for variant in (
            AngleVariant(norms, True, fixed, bias, pool, identity)
            for norms, fixed, bias, pool, identity in itertools.product([False, True], repeat=5)
        )
    }
    assert len(set(angles.values())) == 32


def test_disconnected_cells_have_angle_zero() -> None:
    space = NASBench201(channels=2, cells_per_stage=1)
    supernet = space.supernet()
    table = AngleTable.build(space, supernet.weight_blocks(), random_state(supernet, 1), random_state(supernet, 2))
    angles = table(space.enumerate())
    assert int((angles == 0).sum()) == 341 and angles[angles > 0].min() > 0.1


def test_weights_that_did_not_move() -> None:
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    supernet = space.supernet()
    state = random_state(supernet, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = AngleTable.build(space, supernet.weight_blocks(), state, state)(space.enumerate())
        turned = AngleTable.build(
            space, supernet.weight_blocks(), state, {n: -v for n, v in state.items()}, VARIANTS["weights"]
        )(space.enumerate())
    assert np.isfinite(same).all() and same.max() < 1e-7
    alive = space.path_counts(space.enumerate()).any(axis=1)
    assert turned[alive] == pytest.approx(math.pi, abs=1e-7) and (turned[~alive] == 0).all()


@pytest.mark.parametrize("factor", [1 / 3, 0.7, 1.1, 3.0])
def test_weights_that_only_grew_or_shrank(factor: float) -> None:
    """Their cosine is 1, and by rounding at times a little more, of which there is no angle."""
    space = NASBench201(channels=4, cells_per_stage=1)
    supernet = space.supernet()
    state = random_state(supernet, 1)
    alive = space.path_counts(space.enumerate()).any(axis=1)
    for sign, wanted in ((1, 0.0), (-1, math.pi)):
        final = {n: sign * factor * v.double() for n, v in state.items()}
        angles = AngleTable.build(space, supernet.weight_blocks(), state, final, VARIANTS["weights"])(space.enumerate())
        assert angles[alive] == pytest.approx(wanted, abs=1e-7) and (angles[~alive] == 0).all()


def test_weights_that_are_all_zero() -> None:
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    supernet = space.supernet()
    nothing = {n: torch.zeros_like(v) for n, v in supernet.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for initial, final in ((nothing, nothing), (nothing, random_state(supernet, 1))):
            angles = AngleTable.build(space, supernet.weight_blocks(), initial, final, VARIANTS["weights"])(
                space.enumerate()
            )
            assert (angles == 0).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["classifier.bias", "cells.0.edges.0_1.nor_conv_3x3.1.weight"])
def test_weights_that_are_not_finite(value: float, which: int, name: str) -> None:
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    supernet = space.supernet()
    states = [random_state(supernet, 1), random_state(supernet, 2)]
    states[which][name].view(-1)[0] = value
    with pytest.raises(TrainingError, match=rf"not finite: {name}\.\nLower the learning rate"):
        AngleTable.build(space, supernet.weight_blocks(), states[0], states[1])


# Angles by hand


class TwoEdges(SearchSpace):
    """Two edges in series, each ``none`` or with weights; no network: the weights are given."""

    name = "two_edges"

    def __init__(self) -> None:
        super().__init__(
            [Decision("first", ("none", "turns")), Decision("second", ("none", "stays", "pool", "identity"))]
        )

    def config(self) -> dict[str, Any]:
        return {}

    def path_counts(self, indices: Indices) -> Any:
        return np.repeat((indices > 0).all(axis=1, keepdims=True), 2, axis=1).astype(np.int64)

    def to_string(self, architecture: Architecture) -> str:
        raise NotImplementedError

    def from_string(self, text: str) -> Architecture:
        raise NotImplementedError

    def canonical(self, architecture: Architecture) -> str:
        raise NotImplementedError

    def cost_table(self, image_size: int = 32) -> CostTable:
        raise NotImplementedError

    def supernet(self) -> torch.nn.Module:
        raise NotImplementedError

    def network(self, architecture: Architecture) -> torch.nn.Module:
        raise NotImplementedError

    def graph(self, architecture: Architecture) -> list[tuple[str, str, str]]:
        raise NotImplementedError


BLOCKS = WeightBlocks(
    WeightBlock((("stem", "conv"), ("bias", "classifier_bias"))),
    (
        (WeightBlock(), WeightBlock((("turns", "conv"), ("scale", "bn")))),
        (
            WeightBlock(),
            WeightBlock((("stays", "conv"),)),
            WeightBlock(constants=(("pool", 4.0),)),
            WeightBlock(constants=(("identity", 5.0),)),
        ),
    ),
)
INITIAL = {"stem": [3.0], "bias": [1.0], "turns": [1.0, 0.0], "scale": [1.0, 1.0], "stays": [0.0, 2.0]}
FINAL = {"stem": [3.0], "bias": [-1.0], "turns": [0.0, 1.0], "scale": [0.0, 1.0], "stays": [0.0, 4.0]}


@pytest.mark.parametrize(
    ("variant", "indices", "cosine"),
    [
        # stem (9, 9, 9), bias (-1, 1, 1), turns (0, 1, 1), scale (1, 2, 1), stays (8, 4, 16) as (<w0, wT>, |w0|^2,
        # |wT|^2)
        ("rlnas", (1, 1), (9 - 1 + 0 + 1 + 8) / math.sqrt((9 + 1 + 1 + 2 + 4) * (9 + 1 + 1 + 1 + 16))),
        ("rlnas", (1, 2), (9 - 1 + 0 + 1 + 4) / math.sqrt((9 + 1 + 1 + 2 + 4) * (9 + 1 + 1 + 1 + 4))),
        ("rlnas", (1, 3), (9 - 1 + 0 + 1) / math.sqrt((9 + 1 + 1 + 2) * (9 + 1 + 1 + 1))),
        ("rlnas-eye", (1, 3), (9 - 1 + 0 + 1 + 5) / math.sqrt((9 + 1 + 1 + 2 + 5) * (9 + 1 + 1 + 1 + 5))),
        ("weights", (1, 1), (9 + 0 + 8) / math.sqrt((9 + 1 + 4) * (9 + 1 + 16))),
        ("weights", (1, 2), 9 / 10),
        ("rlnas", (1, 0), 1.0),
        ("rlnas", (0, 1), 1.0),
        ("rlnas", (0, 0), 1.0),
    ],
)
def test_angles_by_hand(variant: Variant, indices: tuple[int, int], cosine: float) -> None:
    initial, final = ({name: torch.tensor(values) for name, values in weights.items()} for weights in (INITIAL, FINAL))
    table = AngleTable.build(TwoEdges(), BLOCKS, initial, final, VARIANTS[variant])
    (angle,) = table(np.array([indices], dtype=np.int8))
    assert angle == pytest.approx(math.acos(cosine), abs=1e-12)
    if 0 in indices:
        assert angle == 0.0


def test_a_twice_used_weight_counts_twice() -> None:
    """An operation on k paths stands k times in the vector: here by a space that says so."""

    class Doubled(TwoEdges):
        def path_counts(self, indices: Indices) -> Any:
            return super().path_counts(indices) * np.array([2, 3])

    initial, final = ({name: torch.tensor(values) for name, values in weights.items()} for weights in (INITIAL, FINAL))
    table = AngleTable.build(Doubled(), BLOCKS, initial, final, VARIANTS["weights"])
    wanted = math.acos((9 + 2 * 0 + 3 * 8) / math.sqrt((9 + 2 * 1 + 3 * 4) * (9 + 2 * 1 + 3 * 16)))
    assert table(np.array([[1, 1]], dtype=np.int8))[0] == pytest.approx(wanted, abs=1e-12)


# -- the official functions, each by hand on one block of its kind ------------------------------------------------------
INVERTED = WeightBlocks(
    WeightBlock(
        (("stem", "conv"), ("stem_norm", "fixed_bn"), ("head", "classifier_weight"), ("bias", "classifier_bias"))
    ),
    (
        (WeightBlock(), WeightBlock((("expand", "conv"), ("norm", "bn"), ("project", "conv"), ("last", "last_bn")))),
        (WeightBlock(), WeightBlock(), WeightBlock(), WeightBlock(constants=(("identity", 5.0),))),
    ),
)
"""A fixed part, one inverted residual block and one identity."""
BEFORE = {
    "stem": [3.0],
    "stem_norm": [1.0],
    "head": [2.0],
    "bias": [1.0],
    "expand": [1.0, 0.0],
    "norm": [1.0, 1.0],
    "project": [2.0],
    "last": [1.0],
}
AFTER = {
    "stem": [3.0],
    "stem_norm": [-1.0],
    "head": [1.0],
    "bias": [-1.0],
    "expand": [0.0, 1.0],
    "norm": [0.0, 1.0],
    "project": [4.0],
    "last": [-1.0],
}


@pytest.mark.parametrize(
    ("variant", "cosine"),
    [
        # stem (9, 9, 9), head (2, 4, 1), expand (0, 1, 1), norm (1, 2, 1), project (8, 4, 16), identity (5, 5, 5);
        # left out: stem_norm, bias and last, each (-1, 1, 1)
        ("rlnas-mobilenet", (9 + 2 + 0 + 1 + 8 + 5) / math.sqrt((9 + 4 + 1 + 2 + 4 + 5) * (9 + 1 + 1 + 1 + 16 + 5))),
        ("rlnas-eye", (25 - 3) / math.sqrt((25 + 3) * (33 + 3))),
        ("rlnas", (20 - 3) / math.sqrt((20 + 3) * (28 + 3))),
        ("weights", (9 + 2 + 0 + 8) / math.sqrt((9 + 4 + 1 + 4) * (9 + 1 + 1 + 16))),  # AngleNAS' of such spaces
    ],
)
def test_angles_of_an_inverted_residual_block(variant: Variant, cosine: float) -> None:
    initial, final = ({name: torch.tensor(values) for name, values in one.items()} for one in (BEFORE, AFTER))
    table = AngleTable.build(TwoEdges(), INVERTED, initial, final, VARIANTS[variant])
    assert table(np.array([[1, 3]], dtype=np.int8))[0] == pytest.approx(math.acos(cosine), abs=1e-12)


def test_the_paths_of_angle_nas_end_in_the_last_node() -> None:
    """One DARTS cell in which node 5 reads node 2 and input 0, and nodes 3 and 4 end in the output alone. Every weight
    that a variant counts turns by a right angle, has the squared norm 1 and is alone in its block, so with f the weights
    that stay, cos = f / (f + number of blocks on the counted paths).
    """
    space = DARTS(channels=2, cells=3)
    names = ["sep_conv_3x3"] * 8
    sources = [(0, 1), (0, 1), (0, 1), (0, 2)]
    pairs = [(name, source) for name, source in zip(names, itertools.chain(*sources), strict=True)]
    cell = [(op, source) for op, source in pairs]
    architecture = space.from_string(
        f"Genotype(normal={cell}, normal_concat=[2, 3, 4, 5], reduce={cell}, reduce_concat=[2, 3, 4, 5])"
    )
    indices = space.encode([architecture])
    blocks = WeightBlocks(
        WeightBlock((("stays", "conv"),)),
        tuple(
            tuple(WeightBlock((("turns", "conv"),) if name != "none" else ()) for name in part.values)
            for part in space.parts
        ),
    )
    initial = {"stays": torch.tensor([4.0]), "turns": torch.tensor([1.0, 0.0])}
    final = {"stays": torch.tensor([4.0]), "turns": torch.tensor([0.0, 1.0])}
    # to node 5 of each cell: 0-5, 0-2-5 and 1-2-5, five weights; besides 2 + 2 + 2 paths of one edge to nodes 2, 3, 4
    for variant, weights in (("abs-darts", 5), ("rlnas-eye", 5 + 6)):
        angle = AngleTable.build(space, blocks, initial, final, VARIANTS[variant])(indices)[0]  # type: ignore[index]
        assert angle == pytest.approx(math.acos(16 / (16 + 2 * weights)), abs=1e-12), variant


def test_what_stands_for_skip_connections_and_pools_of_darts() -> None:
    """Squared norms of one reduction cell's blocks in the smallest network: C = 4 there."""
    space = DARTS(channels=2, cells=3, reductions=1)
    supernet = space.supernet()
    state = {name: torch.ones_like(v) for name, v in supernet.state_dict().items()}
    part = space.parts.index(next(p for p in space.parts if p.label == "reduce_0_2"))
    inner = space.parts.index(next(p for p in space.parts if p.label == "reduce_2_3"))

    def norm(variant: Variant, place: int, name: str) -> float:
        table = AngleTable.build(space, supernet.weight_blocks(), state, state, VARIANTS[variant])
        return float(table.choices[place, space.parts[place].values.index(name), 1])

    width = 4  # two convolutions of 4 x 2 ones, scale and shift of 4 ones each
    assert norm("rlnas-eye", part, "skip_connect") == 2 * 4 * 2 + 2 * width
    assert norm("abs-darts", part, "skip_connect") == 0
    assert norm("rlnas-eye", inner, "skip_connect") == width and norm("abs-darts", inner, "skip_connect") == 0
    assert norm("rlnas-eye", part, "max_pool_3x3") == pytest.approx(width / 9 + 2 * width)
    assert norm("abs-darts", part, "max_pool_3x3") == pytest.approx(width / 9)


def test_the_official_variant_of_each_space() -> None:
    chosen = {
        space.name: RLNASSettings().variant(space)
        for space in (NASBench201(), DARTS(), RobustDARTS(), MobileNetLike(), TwoEdges())
    }
    assert chosen == {
        "nasbench201": "rlnas",
        "darts": "rlnas-eye",
        "robustdarts": "rlnas-eye",
        "mobilenetlike": "rlnas-mobilenet",
        "two_edges": "rlnas",
    }
    assert RLNASSettings(angle="abs-darts").variant(DARTS()) == "abs-darts"
    with pytest.raises(ConfigError, match=r"abs-darts counts the paths to the last node .* nasbench201 has none"):
        RLNASSettings(angle="abs-darts").variant(NASBench201())
