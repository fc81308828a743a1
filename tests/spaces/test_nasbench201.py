"""NAS-Bench-201: the benchmark's published numbers, its strings, its networks, and the NNI side of its supernet."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.spaces import Architecture, NASBench201, SpaceError
from nni_plugins.spaces.nasbench201 import codec

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
SPACE = NASBench201()
NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
BEST_ON_CIFAR10 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


# Golden numbers


def test_sizes() -> None:
    assert SPACE.size == 15_625 and NASBench201(nodes=3).size == 125 and NASBench201(nodes=6).size == 5**15
    assert SPACE.labels == ("e_0_1", "e_0_2", "e_1_2", "e_0_3", "e_1_3", "e_2_3") and SPACE.repeats == 15


def test_cells_that_differ() -> None:
    """6,466 unique cells: Dong & Yang, ICLR 2020, section 2.2, and ``nas_201_api``'s count."""
    for space, unique in ((SPACE, 6_466), (NASBench201(nodes=3), 60)):
        assert len({space.canonical(a) for a in space.decode(space.enumerate())}) == unique


def test_twins_and_strangers() -> None:
    space = NASBench201(nodes=3)
    by_node, directly = "|skip_connect~0|+|none~0|nor_conv_3x3~1|", "|skip_connect~0|+|nor_conv_3x3~0|none~1|"
    assert len({space.canonical(space.parse(t)) for t in (by_node, directly)}) == 1
    assert space.canonical(space.parse(by_node)) != space.canonical(
        space.parse("|skip_connect~0|+|none~0|nor_conv_1x1~1|")
    )


def test_disconnected_cells() -> None:
    counts = SPACE.path_counts(SPACE.enumerate())
    assert int((~counts.any(axis=1)).sum()) == 341


@pytest.mark.parametrize(
    ("text", "parameters", "macs"),
    [
        (NOTHING, 73_306, 7_783_040),
        (BEST_ON_CIFAR10, 73_306 + 5 * 243_040, 184_730_240),
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            73_306 + 2 * 28_000,
            15_647_360,
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
            802_426,
            113_951_360,
        ),
    ],
)
def test_costs(text: str, parameters: int, macs: int) -> None:
    """1.288506 M parameters and 184.73 M multiply-adds are what the benchmark says of its best CIFAR-10 cell."""
    costs = SPACE.cost_table()(SPACE.encode([SPACE.from_string(text)]))
    assert (int(costs.parameters[0]), int(costs.macs[0])) == (parameters, macs)


def test_costs_of_the_whole_benchmark() -> None:
    file = REAL_DATA / "nb201/nb201_table.csv.gz"
    if not file.is_file():
        pytest.skip(f"needs the data {file}, which is not part of this project (set NNI_PLUGINS_DATA)")
    with gzip.open(file, "rt") as lines:
        rows = list(csv.DictReader(lines))
    indices = SPACE.encode([SPACE.from_string(row["arch_str"]) for row in rows])
    codes = np.array([[int(row[f"e{j}_{i}"]) for i, j in SPACE.edges] for row in rows])
    costs = SPACE.cost_table()(indices)
    assert len(np.unique(indices, axis=0)) == len(rows) == 15_625 and np.array_equal(indices, codes)
    assert np.array_equal(costs.parameters, [int(row["params_cifar10"]) for row in rows])
    assert np.array_equal(costs.macs, [float(row["flops_cifar10_derived"]) for row in rows])


@pytest.mark.parametrize("size", [4, 5, 7, 9, 10, 13])
def test_costs_of_odd_images(size: int) -> None:
    analysis = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    space = NASBench201(nodes=3, channels=3, cells_per_stage=1)
    architecture = space.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|")
    flops = analysis.FlopCountAnalysis(space.network(architecture).eval(), torch.zeros(1, 3, size, size))
    counted = flops.unsupported_ops_warnings(False).by_operator()
    assert int(space.cost_table(size)(space.encode([architecture])).macs[0]) == counted["conv"] + counted["linear"]


# Paths


def test_paths_of_the_full_cell() -> None:
    full = SPACE.encode([SPACE.parse(NOTHING.replace("none", "nor_conv_3x3"))])
    counts = dict(zip(SPACE.edges, SPACE.path_counts(full)[0].tolist(), strict=True))
    assert counts == {(0, 1): 2, (0, 2): 1, (1, 2): 1, (0, 3): 1, (1, 3): 1, (2, 3): 2}


def enumerate_paths(space: NASBench201, architecture: Architecture) -> list[list[codec.Edge]]:
    """Every chain of edges from the input to the output without ``none``: all subsets of the inner nodes are tried."""
    last = space.nodes - 1
    paths = []
    for r in range(last):
        for inner in itertools.combinations(range(1, last), r):
            path = list(itertools.pairwise((0, *inner, last)))
            if all(architecture[f"e_{i}_{j}"] != "none" for i, j in path):
                paths.append(path)
    return paths


def test_path_counts_equal_brute_force() -> None:
    space = NASBench201(nodes=5)
    rng = np.random.default_rng(0)
    indices = np.concatenate(
        [space.sample(rng, 100), np.where(rng.random((100, 10)) < 0.5, 0, space.sample(rng, 100)).astype(np.int8)]
    )
    counts = space.path_counts(indices)
    for row, architecture in enumerate(space.decode(indices)):
        paths = enumerate_paths(space, architecture)
        assert counts[row].tolist() == [sum(edge in path for path in paths) for edge in space.edges]
    assert counts.max() > 2 and not counts.any(axis=1).all()


# Names and strings


def test_nni_hub_names() -> None:
    from nni.nas.hub.pytorch import NasBench201

    architecture = SPACE.parse(BEST_ON_CIFAR10)
    theirs = SPACE.to_nni_hub(architecture)
    assert theirs["cell/0_1"] == "conv_3x3" and theirs["cell/0_3"] == "skip_connect"
    assert SPACE.parse(theirs) == SPACE.parse(BEST_ON_CIFAR10.replace("nor_", "")) == architecture
    hub = NasBench201()
    assert set(hub.simplify()) == set(theirs)
    assert sum(p.numel() for p in hub.freeze(theirs).parameters()) == 73_306 + 5 * 243_040


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "3 groups are needed for 4 nodes, but got 1"),
        ("|none~0|+|none~0|none~1|", r"3 groups are needed for 4 nodes, but got 2[\s\S]*A four-node cell reads"),
        ("|none~0|+none~0|none~1|+|none~0|none~1|none~2|", r"node 2: 'none~0\|none~1\|' must begin and end"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2: 2 edges are needed, but got 1"),
        ("|none~0|+|none~0|none~1|+|none~0|none~2|none~1|", "node 3, edge 1: expected 'operation~1', but got 'none~2'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none2|", "node 3, edge 2: expected 'operation~2', but got 'none2'"),
        (
            "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
            r"node 3, edge 2: unknown operation 'conv'; did you mean 'nor_conv",
        ),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~" + "2" * 5000 + "|", "node 3, edge 2: expected"),
        ("|none~٠|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1, edge 0: expected"),
        ("|" + "z" * 9000 + "~0|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1, edge 0: unknown operation 'zzz"),
        ("|none~0|" * 2_000_000, "16,000,000 characters; at most 10,000"),
    ],
)
def test_strings_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 2}, "nodes >= 3 must hold, but got nodes=2"),
        ({"channels": 0}, "channels >= 1"),
        ({"cells_per_stage": True}, "cells_per_stage=True"),
        ({"classes": 1.5}, r"classes=1\.5"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        NASBench201(**arguments)


# Single paths as the official supernet draws them


def test_every_node_has_an_edge() -> None:
    paths = SPACE.sample_paths(np.random.default_rng(0), 400, False).reshape(-1, 6)
    for node in (1, 2, 3):
        columns = [e for e, (_, j) in enumerate(SPACE.edges) if j == node]
        assert (paths[:, columns] != 0).any(axis=1).all()
        values = np.bincount(paths[:, columns].ravel(), minlength=5) / paths[:, columns].size
        # Given that not all n edges are none: P(none) = (1/5 - 5^-n) / (1 - 5^-n), and the other four are alike.
        none = (0.2 - 0.2**node) / (1 - 0.2**node)
        assert np.abs(values - [none, *[(1 - none) / 4] * 4]).max() < 0.03


def test_cells_have_paths_of_their_own_unless_shared() -> None:
    own = SPACE.sample_paths(np.random.default_rng(0), 50, False)
    shared = SPACE.sample_paths(np.random.default_rng(0), 50, True)
    assert own.shape == shared.shape == (50, 15, 6)
    assert (own != own[:, :1]).any() and (shared == shared[:, :1]).all()
    assert len(np.unique(shared[:, 0], axis=0)) > 40


# The supernet is the stand-alone network


def shaken(module: torch.nn.Module, seed: int) -> torch.nn.Module:
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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("training", [False, True])
def test_supernet_equals_the_network(seed: int, training: bool) -> None:
    space = NASBench201(nodes=(3, 4, 5)[seed % 3], channels=4, cells_per_stage=1 + seed % 2, classes=3)
    (architecture,) = space.decode(space.sample(np.random.default_rng(seed), 1))
    supernet, network = shaken(space.supernet(affine=True), seed), space.network(architecture).double()
    weights = supernet.state_dict()
    wanted = {}
    for name in network.state_dict():
        if ".edges." in name:
            cell, _, rest = name.partition(".edges.")
            edge, _, rest = rest.partition(".")
            wanted[name] = weights[f"{cell}.edges.{edge}.{architecture[f'e_{edge}']}.{rest}"].clone()
        else:
            wanted[name] = weights[name].clone()
    network.load_state_dict(wanted)
    path = np.broadcast_to(space.encode([architecture]), (space.repeats, len(space.edges)))
    supernet.train(training)
    network.train(training)
    for size in ((8, 8), (7, 9)):
        x = torch.randn(3, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ours = supernet.forward_path(x, path)
        assert torch.allclose(ours, network(x), rtol=1e-12, atol=1e-12) and ours.shape == (3, 3)
    for name, value in network.state_dict().items():
        if ".edges." not in name:
            assert torch.allclose(value, supernet.state_dict()[name], rtol=1e-12, atol=1e-12), name


def test_only_the_path_gets_gradients() -> None:
    space = NASBench201(nodes=3, channels=2, cells_per_stage=1)
    supernet = space.supernet()
    architecture = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|")
    path = np.broadcast_to(space.encode([architecture]), (space.repeats, 3))
    supernet.forward_path(torch.randn(2, 3, 8, 8), path).sum().backward()
    touched = {
        name.split(".edges.")[1].rsplit(".", 2)[0]
        for name, p in supernet.named_parameters()
        if p.grad is not None and "edges" in name
    }
    assert touched == {"0_1.nor_conv_3x3", "1_2.nor_conv_1x1"}


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norms_of_the_supernet(affine: bool) -> None:
    """Official: no scale and shift inside searched cells, but in stem, reductions and before the classifier."""
    supernet = NASBench201(nodes=3, channels=2, cells_per_stage=1).supernet(affine)
    norms = {name: module for name, module in supernet.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert sum(".edges." in name for name in norms) == 18 and len(norms) == 18 + 6
    for name, module in norms.items():
        assert module.affine is (affine or ".edges." not in name) and module.track_running_stats


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8), (2, 3, 3, 8)])
def test_images_that_are_refused(shape: tuple[int, ...]) -> None:
    space = NASBench201(nodes=3, channels=2, cells_per_stage=1)
    (architecture,) = space.decode(space.enumerate()[7:8])
    supernet = space.supernet()
    for run in (
        space.network(architecture),
        supernet,
        lambda x: supernet.forward_path(x, space.sample_paths(np.random.default_rng(0), 1, True)[0]),
    ):
        with pytest.raises(SpaceError, match=r"\(B, 3, H, W\) with H, W >= 4"):
            run(torch.zeros(shape))


@pytest.mark.parametrize("size", [(7, 9), (32, 32), (5, 12)])
def test_multiply_adds_of_any_size(size: tuple[int, int]) -> None:
    from fvcore.nn import FlopCountAnalysis

    space = NASBench201(channels=4, cells_per_stage=1)
    cell = space.parse(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    )
    counter = FlopCountAnalysis(space.network(cell).eval(), torch.zeros(1, 3, *size)).unsupported_ops_warnings(False)
    counted = counter.by_operator()
    assert space.cost_table(size)(space.encode([cell])).macs[0] == counted["conv"] + counted["linear"]
    if size[0] == size[1]:
        assert np.array_equal(space.cost_table(size).macs, space.cost_table(size[0]).macs)
