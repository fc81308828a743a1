"""NAS-Bench-101: its networks, its supernet, and what NNI's own strategies make of it."""

from __future__ import annotations

from typing import Any

import nni
import numpy as np
import numpy.typing as npt
import pytest
import torch
from nni.mutable import SampleValidationError
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.space import SimplifiedModelSpace
from nni.nas.strategy import GridSearch

from nni_plugins.spaces import SpaceError
from nni_plugins.spaces.nasbench101 import NASBench101, codec
from nni_plugins.spaces.nasbench101.network import Halving, NASBench101Network
from nni_plugins.spaces.nasbench101.relaxation import Relaxed
from nni_plugins.spaces.nasbench101.supernet import SearchCell

TINY = NASBench101(nodes=3, max_edges=5, channels=8, stacks=2, cells_per_stack=1)
WIDE = NASBench101(channels=7, stacks=2, cells_per_stack=2, classes=3)


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Narrow networks may begin to be all negative before a ReLU."""
    torch.manual_seed(0)


def shaken(module: torch.nn.Module, seed: int) -> Any:
    """``module`` in float64 with random weights and random batch-norm statistics, so that nothing is equal by chance."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(
                    torch.rand(value.shape, generator=generator, dtype=torch.float64)
                    + (0.5 if "running_var" in name else -0.4)
                )
    return module


def interesting(space: NASBench101, n: int, seed: int) -> npt.NDArray[np.int8]:
    """Valid rows, those with many paths first: most that are drawn prune to small cells."""
    rows = space.sample(np.random.default_rng(seed), 40 * n)
    return rows[np.argsort(-space.complete_paths(rows), kind="stable")][: 2 * n : 2]


# Stand-alone networks


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"channels": 8}, (12, 9)),
        pytest.param({"channels": 6, "stem": "imagenet", "stacks": 2}, (33, 40), marks=pytest.mark.slow),
        pytest.param({"channels": 5, "head": "jigsaw", "input_channels": 1}, (9, 9), marks=pytest.mark.slow),
    ],
)
def test_costs_equal_an_independent_count(arguments: dict[str, Any], size: tuple[int, int]) -> None:
    fvcore = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    space = NASBench101(**{"cells_per_stack": 2, **arguments})
    rows = interesting(space, 20, 0)
    costs = space.cost_table(size)(rows)
    shape = (
        (1, space.head.images, space.input_channels, *size)
        if space.head.kind == "jigsaw"
        else (1, space.input_channels, *size)
    )
    for n, architecture in enumerate(space.decode(rows)):
        network = space.network(architecture).eval()
        analysis = (
            fvcore.FlopCountAnalysis(network, torch.zeros(shape))
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
        )
        counted = analysis.by_operator()
        assert costs.macs[n] == counted["conv"] + counted["linear"], space.to_string(architecture)
        assert costs.parameters[n] == sum(p.numel() for p in network.parameters())
    assert len(np.unique(costs.macs)) > 10


def test_costs_in_chunks() -> None:
    rows = WIDE.sample(np.random.default_rng(0), 120_000)
    whole, part = WIDE.cost_table()(rows), WIDE.cost_table()(rows[99_000:101_000])
    assert np.array_equal(whole.parameters[99_000:101_000], part.parameters) and np.array_equal(
        whole.macs[99_000:101_000], part.macs
    )
    assert len(WIDE.cost_table()(rows[:0]).macs) == 0


def cell_network(text: str, channels: int = 4) -> tuple[torch.nn.Module, NASBench101Network]:
    space = NASBench101(nodes=3, channels=channels, stacks=1, cells_per_stack=1)
    network = shaken(space.network(space.parse(text)), 0).eval()
    return network.cells[0], network


def test_a_cell_by_hand() -> None:
    """Truncation, concatenation, and projections that are added to vertices and to the output."""
    cell, _ = cell_network("01001,00110,00001,00001,00000:conv1x1,conv3x3,maxpool3x3", channels=5)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = cell.operations["1"](cell.projections["1"](x))
    second, third = cell.operations["2"](first), cell.operations["3"](first[:, :2])
    assert [y.shape[1] for y in (first, second, third)] == [3, 3, 2] and "2" not in cell.projections
    assert torch.equal(cell(x), torch.cat([second, third], 1) + cell.projections["4"](x))
    alone, _ = cell_network("001,000,000:conv3x3")
    assert list(alone.operations) == [] and torch.equal(alone(x[:, :4]), alone.projections["4"](x[:, :4]))


def test_odd_images_are_cut_by_pooling() -> None:
    network = TINY.features(TINY.parse("010,001,000:conv3x3"))
    assert [tuple(y.shape) for y in network(torch.zeros(1, 3, 11, 8))] == [(1, 8, 11, 8), (1, 16, 5, 4)]
    with pytest.raises(SpaceError, match="H, W >= 2"):
        network(torch.zeros(1, 3, 1, 8))


@pytest.mark.parametrize("output_strides", [(1,), (2,), (2, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_dilated_networks_hold_the_same_values(output_strides: tuple[int, ...], seed: int) -> None:
    """At every pixel of the smaller map, and for cells with and without pooling."""
    space = NASBench101(nodes=4, channels=6, stacks=3, cells_per_stack=2)
    (architecture,) = space.decode(interesting(space, 1, seed))
    network = shaken(space.network(architecture), seed).eval()
    dilated = shaken(space.network(architecture), seed).eval().features_only()
    for output_stride in output_strides:
        dilated.dilate(output_stride)
    x = torch.randn(1, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        for small, large, stride in zip(network.features_only()(x), dilated(x), (1, 2, 4), strict=True):
            step = max(stride // output_strides[-1], 1)
            assert large.shape[2] == 16 * step // stride and torch.allclose(
                large[:, :, ::step, ::step], small, rtol=1e-12, atol=1e-12
            )
    assert [pool.stride for pool in dilated.pools] == [
        1 if s > output_strides[-1] else 2 for s in (2, 4)
    ] and isinstance(dilated.pools[0], Halving)


# The supernet is the stand-alone network


def inherited(network: torch.nn.Module, supernet: torch.nn.Module, names: list[str]) -> dict[str, torch.Tensor]:
    """The network's state, cut from the supernet's: ``names[v - 1]`` is the operation of vertex v."""
    weights, wanted = supernet.state_dict(), {}
    for name, value in network.state_dict().items():
        source = name
        if ".operations." in name:
            cell, _, rest = name.partition(".operations.")
            vertex, _, rest = rest.partition(".")
            source = f"{cell}.operations.{vertex}.{names[int(vertex) - 1]}.{rest}"
        wanted[name] = weights[source][tuple(slice(n) for n in value.shape)].clone()
    return wanted


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("training", [False, True])
def test_supernet_equals_the_network(seed: int, training: bool) -> None:
    row = interesting(WIDE, 6, 0)[seed : seed + 1]
    (architecture,) = WIDE.decode(row)
    names = [architecture[f"op_{v}"] for v in range(1, 6)]
    supernet, network = shaken(WIDE.supernet(), seed), WIDE.network(architecture).double()
    network.load_state_dict(inherited(network, supernet, names))
    supernet.train(training)
    network.train(training)
    path = np.broadcast_to(row, (WIDE.repeats, row.shape[1]))
    for size in ((8, 8), (7, 9)):
        x = torch.randn(3, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ours = supernet.forward_path(x, path)
        assert torch.allclose(ours, network(x), rtol=1e-9, atol=1e-9) and ours.shape == (3, 3)
    after = inherited(network, supernet, names)
    for name, value in network.state_dict().items():
        if "num_batches" not in name:
            assert torch.allclose(value, after[name], rtol=1e-9, atol=1e-9), name


def test_only_the_path_gets_gradients() -> None:
    supernet = TINY.supernet()
    row = TINY.encode([TINY.parse("01010,00001,00010,00001,00000:conv1x1,conv3x3,conv3x3")])  # vertex 2 is not reached
    supernet.forward_path(torch.randn(2, 3, 8, 8), np.broadcast_to(row, (2, row.shape[1]))).sum().backward()
    cells = {name for name, p in supernet.named_parameters() if p.grad is not None and name.startswith("cells.0.")}
    modules = ("operations.1.conv1x1", "operations.3.conv3x3", "projections.1", "projections.3")
    assert {name.rsplit(".", 2)[0] for name in cells} == {f"cells.0.{module}" for module in modules}
    used = supernet.cells[0].operations["1"]["conv1x1"][0].weight.grad
    assert bool(used[:4, :4].any()) and not used[4:].any() and not used[:, 4:].any()


def test_blocks() -> None:
    blocks = TINY.supernet().weight_blocks()
    parts = dict(zip((p.label for p in TINY.parts), blocks.choices, strict=True))
    names = {
        label: [{name.rsplit(".", 2)[0] for name, _ in block.parameters} for block in row]
        for label, row in parts.items()
    }
    assert names["e_0_2"] == [set(), {"cells.0.projections.2", "cells.1.projections.2"}] and names["e_1_2"] == [
        set(),
        set(),
    ]
    assert names["e_0_4"][1] == {"cells.0.projections.4", "cells.1.projections.4"}
    assert names["op_3"] == [{f"cells.{k}.operations.3.{name}" for k in (0, 1)} for name in codec.OPERATIONS[:2]] + [
        set()
    ]
    assert parts["op_1"][2].constants == (("pool", 8 / 9), ("pool", 16 / 9)) and not parts["op_1"][1].constants


# Mixtures


def test_any_combination_is_run_and_mixed() -> None:
    """NNI's one-shot strategies draw every decision for itself, so that cells may be too large, or cut."""
    supernet = shaken(TINY.supernet(), 0).eval()
    rng = np.random.default_rng(0)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    rows = np.stack([rng.integers(0, len(d.values), size=40, dtype=np.int8) for d in TINY.decisions], axis=1)
    rows[0, : len(TINY.edges)], rows[1, : len(TINY.edges)] = 0, 1
    assert 5 < TINY.valid(rows).sum() < 35
    with torch.no_grad():
        for row in rows:
            weights = [
                torch.eye(len(d.values), dtype=x.dtype)[int(v)] for d, v in zip(TINY.decisions, row, strict=True)
            ]
            path = supernet.forward_path(x, np.broadcast_to(row, (2, len(row))))
            assert torch.allclose(supernet.forward_mixed(x, weights), path, rtol=0, atol=1e-9)
    cut = supernet.cells[1].forward_path(torch.ones(2, 8, 4, 4, dtype=torch.float64), rows[0].tolist())
    assert cut.shape == (2, 16, 4, 4) and not cut.any()


def test_gradients_of_a_mixture() -> None:
    """Of every edge's and operation's weight, against differences; in evaluation mode, and away from the corners of
    ReLU and pooling.
    """
    space = NASBench101(nodes=2, channels=3, stacks=1, cells_per_stack=1, classes=2)
    supernet = shaken(space.supernet(), 1).eval()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.rand(len(d.values), dtype=torch.float64, generator=generator).softmax(0).requires_grad_()
        for d in space.decisions
    ]
    assert torch.autograd.gradcheck(lambda *w: supernet.forward_mixed(x, w), weights, eps=1e-7, atol=1e-5)
    grads = torch.autograd.grad(supernet.forward_mixed(x, weights).sum(), weights)
    assert all(bool(g.any()) for g in grads)


def test_expected_channels() -> None:
    half = torch.tensor(0.5, dtype=torch.float64)
    zero, one = torch.zeros_like(half), torch.ones_like(half)
    cell = Relaxed(2, {(0, 1): one, (0, 2): one, (0, 3): zero, (1, 2): zero, (1, 3): one, (2, 3): half})
    assert cell.masks(4)[1].tolist() == [1, 1, 0.5, 0.5], (
        "two of four channels for sure, the others where it feeds the output alone"
    )
    assert cell.masks(4)[2].tolist() == [0.5, 0.5, 0, 0]
    pieces = {(p.start, p.length): float(p.weight) for p in cell.pieces(4)[2]}
    assert pieces == {(0, 4): 0.0, (2, 2): 0.5}
    chain = Relaxed(2, {(0, 1): half, (0, 2): zero, (0, 3): zero, (1, 2): half, (1, 3): zero, (2, 3): one})
    assert float(chain.reached[2]) == 0.25 and chain.masks(2)[1].tolist() == [0.125, 0.125]


def test_initial_supernet_of_the_benchmark_can_be_mixed() -> None:
    space = NASBench101(channels=6, stacks=2, cells_per_stack=1)
    supernet = space.supernet()
    assert all(isinstance(cell, SearchCell) for cell in supernet.cells)
    weights = [torch.zeros(len(d.values), requires_grad=True) for d in space.decisions]
    outputs = supernet.forward_mixed(torch.randn(2, 3, 8, 8), [w.softmax(0) for w in weights])
    outputs.square().sum().backward()
    assert outputs.shape == (2, 10) and all(bool(torch.isfinite(w.grad).all()) and bool(w.grad.any()) for w in weights)


# NNI's own strategies on our supernet


def parameters_below(model: torch.nn.Module, limit: int) -> float:
    """A score that is largest for cells with just below ``limit`` parameters."""
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    count = sum(p.numel() for p in model.parameters())
    score = float(count if count < limit else -count)
    nni.report_final_result(score)
    return score


def test_nni_grid_is_the_space() -> None:
    space = NASBench101(nodes=1, channels=2, stacks=1, cells_per_stack=1)
    engine = SequentialExecutionEngine()
    GridSearch()(
        SimplifiedModelSpace.from_model(space.supernet(), FunctionalEvaluator(parameters_below, limit=500)), engine
    )
    found = space.encode([space.parse(model.sample) for model in engine.list_models()])
    assert sorted(found.tolist()) == space.enumerate().tolist() and len(found) == 15


@pytest.mark.parametrize("space", [TINY, NASBench101(channels=5, stacks=1, cells_per_stack=1)])
def test_nni_draws_valid_cells_only(space: NASBench101) -> None:
    supernet = space.supernet()
    state, drawn, refused = np.random.RandomState(0), 0, 0
    while drawn < 10:
        sample: dict[str, Any] = {}
        try:
            assert isinstance(supernet.random(sample, state), NASBench101Network)
            space.parse(sample)
            drawn += 1
        except SampleValidationError as error:
            assert isinstance(error, SpaceError)
            refused += 1
    assert 0 < refused < 300, "NNI gives up after 500 draws for one model"
    assert isinstance(supernet.default(), NASBench101Network)


def test_samples_that_are_not_cells() -> None:
    supernet = TINY.supernet()
    good = TINY.parse("010,001,000:conv3x3").as_dict()
    crowded, cut = ({**good, **{f"e_{i}_{j}": value for i, j in TINY.edges}} for value in "10")
    for sample, message in (
        (crowded, "at most max_edges=5 edges are allowed, but got 10"),
        (cut, "no path leads from the input"),
    ):
        assert not supernet.contains(sample) and supernet.contains(good)
        with pytest.raises(SpaceError, match=message) as caught:
            supernet.freeze(sample)
        assert (
            isinstance(caught.value, SampleValidationError)
            and caught.value.remedy in str(caught.value)
            and caught.value.remedy
        )
    with pytest.raises(SampleValidationError, match="not found in"):
        supernet.freeze({**good, "op_3": "conv5x5"})
    with pytest.raises(SampleValidationError, match="missing"):
        supernet.freeze({label: value for label, value in good.items() if label != "e_0_1"})
