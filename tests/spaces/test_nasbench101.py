"""NAS-Bench-101: the benchmark's published numbers and hashes, its cells in all written forms, and how they are drawn.

Its networks and its supernet have their tests in ``test_nasbench101_networks.py``.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nni.nas.hub.pytorch.modules.nasbench101 import compute_vertex_channels

from nni_plugins.spaces import Architecture, SearchSpace, SpaceError
from nni_plugins.spaces.nasbench101 import Cell, NASBench101, codec, matrices
from nni_plugins.spaces.nasbench101.live import LiveCells
from nni_plugins.spaces.testing import SpaceContract

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
SPACE = NASBench101()
FIRST = "0100110,0010000,0001001,0000010,0000010,0000001,0000000:conv3x3,maxpool3x3,conv3x3,conv3x3,conv1x1"
INCEPTION = "0111010,0000001,0000001,0000100,0000001,0000001,0000000:conv1x1,conv3x3,conv3x3,conv3x3,maxpool3x3"
UNNAS_000907 = "0101000,0010100,0001000,0000100,0000011,0000001,0000000:conv3x3,conv1x1,conv1x1,maxpool3x3,conv1x1"


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """In a narrow network that begins to be all negative before its last ReLU, no output depends on the input."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def table() -> npt.NDArray[np.int8]:
    """One architecture of each cell of the benchmark."""
    return SPACE.distinct()


class TestThreeNodes(SpaceContract):
    image_size: ClassVar[int] = 16

    def space(self) -> SearchSpace:
        return NASBench101(nodes=3, max_edges=6, channels=8, stacks=2, cells_per_stack=1)


class TestOneNode(SpaceContract):
    def space(self) -> SearchSpace:
        return NASBench101(nodes=1, channels=8, stacks=1, cells_per_stack=2, classes=4)


class TestFiveNodesOnOddImages(SpaceContract):
    image_size: ClassVar[int] = 9

    def space(self) -> SearchSpace:
        return NASBench101(channels=16, stacks=2, cells_per_stack=1)


# Golden numbers


@pytest.mark.parametrize(
    ("text", "digest", "parameters"),
    [
        (FIRST, "00005c142e6f48ac74fdcf73e3439874", 8_555_530),
        (INCEPTION, "28cfc7874f6d200472e1a9dcd8650aa0", 2_694_282),
        (UNNAS_000907, None, 3_989_898),
    ],
)
def test_published_cells(text: str, digest: str | None, parameters: int) -> None:
    """The benchmark's first record, the Inception-like cell of its README, and sample 000907 of UnNAS."""
    architecture = SPACE.parse(text)
    assert SPACE.cost_table()(SPACE.encode([architecture])).parameters.tolist() == [parameters]
    assert digest in (None, SPACE.canonical(architecture))
    if text == UNNAS_000907:
        assert sum(p.numel() for p in SPACE.network(architecture).parameters()) == parameters


def test_parameters_of_500_records() -> None:
    file = REAL_DATA / "nas_tables_small/nb101_500_zc.json"
    if not file.is_file():
        pytest.skip(f"needs the data {file}, which is not part of this project (set NNI_PLUGINS_DATA)")
    names = {2: "maxpool3x3", 3: "conv1x1-bn-relu", 4: "conv3x3-bn-relu"}
    records = json.loads(file.read_text())
    architectures = []
    for record in records:
        numbers = ast.literal_eval(record["arch"])
        matrix = [list(numbers[i : i + 7]) for i in range(0, 49, 7)]
        architectures.append(SPACE.parse({"matrix": matrix, "ops": [names[n] for n in numbers[50:55]]}))
    parameters = SPACE.cost_table()(SPACE.encode(architectures)).parameters
    assert len(records) == 500 and parameters.tolist() == [round(record["params"] * 1e6) for record in records]


def test_sizes() -> None:
    assert [NASBench101(nodes=n).size for n in range(1, 6)] == [15, 423, 22_680, 1_948_860, 139_359_042]
    assert (
        NASBench101(nodes=5, max_edges=1).size == 3**5
        and NASBench101(nodes=3, max_edges=10).size > NASBench101(nodes=3).size
    )
    assert SPACE.labels[:7] == ("e_0_1", "e_0_2", "e_0_3", "e_0_4", "e_0_5", "e_0_6", "e_1_2") and SPACE.repeats == 9
    valid = 0
    for entries in itertools.product((0, 1), repeat=6):
        rows = iter(entries)
        matrix = tuple(tuple(next(rows) if i < j else 0 for j in range(4)) for i in range(4))
        try:
            Cell(matrix, ("conv1x1", "conv1x1")).prune()
            valid += sum(entries) <= 4
        except SpaceError:
            pass
    assert NASBench101(nodes=2, max_edges=4).size == 9 * valid


@pytest.mark.slow
def test_distinct_cells(table: npt.NDArray[np.int8]) -> None:
    """423,624 in all (Ying et al., section 2.3): with 2 to 7 vertices 1, 6, 84, 2,441, 62,010 and 359,082."""
    for nodes, count in ((1, 7), (2, 91), (3, 2_532)):
        space = NASBench101(nodes=nodes)
        everything, cells = space.enumerate(), space.distinct()
        assert len(cells) == count == len(np.unique(space.keys(everything))) == len(np.unique(space.keys(cells)))
    vertices = LiveCells.of(table, 5).vertices.sum(axis=0)
    assert len(table) == 423_624 and np.bincount(vertices).tolist() == [0, 0, 1, 6, 84, 2_441, 62_010, 359_082]
    assert SPACE.valid(table).all() and table.dtype == np.int8
    parameters = SPACE.cost_table()(table).parameters
    assert (parameters.min(), parameters.max()) == (227_274, 49_979_274)


def test_distinct_cells_are_equally_likely() -> None:
    """91 cells of up to two operations, of which some can be written down in two ways; and the vertices of a sample of
    the benchmark's table, 84.8 % seven and 14.6 % six (UnNAS' 500: 428 and 69; most matrices prune to small cells).
    """
    space, rng = NASBench101(nodes=2), np.random.default_rng(0)
    keys = space.keys(space.sample_distinct(rng, 4_550))
    _, counts = np.unique(keys, return_counts=True)
    assert len(counts) == 91 and ((counts - 50) ** 2 / 50).sum() < 130, "chi-square, 90 degrees: p 0.004"
    drawn = SPACE.sample_distinct(rng, 500)
    vertices = np.bincount(LiveCells.of(drawn, 5).vertices.sum(axis=0), minlength=8)
    assert SPACE.valid(drawn).all() and drawn.dtype == np.int8
    assert abs(vertices[7] - 424) < 25 and abs(vertices[6] - 73) < 25
    assert NASBench101(nodes=1).sample_distinct(rng, 0).shape == (0, 4)


@pytest.mark.slow
def test_every_distinct_cell_has_a_hash_of_its_own(table: npt.NDArray[np.int8]) -> None:
    assert len({SPACE._cell(row).hash() for row in table.tolist()}) == 423_624


def test_keys_are_equal_where_hashes_are() -> None:
    space = NASBench101(nodes=3)
    everything = space.enumerate()
    keys, digests = space.keys(everything).tolist(), [space._cell(row).hash() for row in everything.tolist()]
    assert len(set(zip(keys, digests, strict=True))) == len(set(keys)) == len(set(digests)) == 2_532
    assert space.hash_many(everything) == digests and space.hash_many(everything[:0]) == []


# Cells


def relabelled(cell: Cell, rng: np.random.Generator) -> Cell:
    """The same cell with its inner vertices in another order in which edges still lead forward."""
    n = len(cell.matrix)
    order, left = [0], set(range(1, n - 1))
    while left:
        ready = [v for v in sorted(left) if all(not cell.matrix[u][v] or u in order for u in range(v))]
        order.append(int(rng.choice(ready)))
        left.remove(order[-1])
    order.append(n - 1)
    return Cell(
        tuple(tuple(cell.matrix[u][v] for v in order) for u in order),
        tuple(cell.operations[v - 1] for v in order[1:-1]),
    )


def test_isomorphic_cells_are_one(table: npt.NDArray[np.int8]) -> None:
    rng = np.random.default_rng(0)
    cells = [SPACE._cell(row) for row in table[rng.integers(0, len(table), size=300)].tolist()]
    twins = [relabelled(cell, rng) for cell in cells]
    assert sum(cell != twin for cell, twin in zip(cells, twins, strict=True)) > 100
    rows, others = (SPACE.encode([SPACE.from_cell(cell) for cell in group]) for group in (cells, twins))
    assert [cell.hash() for cell in cells] == [cell.hash() for cell in twins] and np.array_equal(
        SPACE.keys(rows), SPACE.keys(others)
    )


def test_pruning() -> None:
    cell = codec.from_string("01110,00001,00010,00000,00000:conv3x3,conv1x1,maxpool3x3")
    pruned = cell.prune()
    assert str(pruned) == "010,001,000:conv3x3" == str(pruned.prune()) and cell.edges == 5
    assert str(pruned.pad(4)) == "0100,0001,0000,0000:conv3x3,conv1x1" and pruned.pad(2) == pruned
    space = NASBench101(nodes=3)
    large, small = space.from_cell(cell), space.from_cell(pruned)
    assert large != small and space.canonical(large) == space.canonical(small) == cell.hash()
    costs = space.cost_table()(space.encode([large, small]))
    assert costs.parameters[0] == costs.parameters[1] and costs.macs[0] == costs.macs[1]
    assert str(codec.from_string("01,00:").prune()) == "01,00:"
    with pytest.raises(SpaceError, match="no path leads from the input to the output"):
        codec.from_string("010,000,000:conv3x3").hash()


@pytest.mark.parametrize(
    ("text", "outputs", "channels"),
    [
        ("01110,00001,00001,00001,00000:conv3x3,conv3x3,conv3x3", 128, [0, 43, 43, 42, 128]),
        ("01000,00110,00001,00001,00000:conv3x3,conv3x3,conv3x3", 129, [0, 65, 65, 64, 129]),
        ("01000,00101,00010,00001,00000:conv3x3,conv3x3,conv3x3", 7, [0, 4, 3, 3, 7]),
        ("00001,00100,00010,00001,00000:conv3x3,conv3x3,conv3x3", 64, [0, 0, 0, 0, 64]),
    ],
)
def test_channels(text: str, outputs: int, channels: list[int]) -> None:
    space = NASBench101(nodes=3)
    assert LiveCells.of(space.encode([space.parse(text)]), 3).channels(outputs)[:, 0].tolist() == channels


@pytest.mark.parametrize("outputs", [128, 17, 5])
def test_channels_equal_those_of_nni(outputs: int, table: npt.NDArray[np.int8]) -> None:
    """NNI's hub holds the benchmark's own rule, for pruned cells."""
    rows = np.concatenate([SPACE.sample(np.random.default_rng(0), 100), table[::2_000]])
    live = LiveCells.of(rows, 5)
    for column, vertices, row in zip(live.channels(outputs).T, live.vertices.T, rows.tolist(), strict=True):
        theirs = compute_vertex_channels(3, outputs, np.array(SPACE._cell(row).prune().matrix))
        assert column[vertices].tolist()[1:] == list(theirs)[1:] and not column[~vertices].any()


# Written forms


def test_written_forms() -> None:
    architecture = SPACE.parse(INCEPTION)
    cell = SPACE.cell(architecture)
    operations = [
        {"conv1x1": "conv1x1-bn-relu", "conv3x3": "conv3x3-bn-relu"}.get(name, name) for name in cell.operations
    ]
    for form in (
        {"matrix": [list(row) for row in cell.matrix], "operations": list(cell.operations)},
        {"matrix": cell.matrix, "ops": ["input", *operations, "output"]},
        {**architecture.as_dict(), **{f"op_{v}": name for v, name in enumerate(operations, start=1)}},
    ):
        assert (
            SPACE.parse(form) == SPACE.parse(json.dumps(form)) == SPACE.parse(f" {json.dumps(form)}\n") == architecture
        )
    assert SPACE.parse({"matrix": np.array(cell.matrix), "operations": operations}) == architecture
    assert (
        SPACE.parse(INCEPTION.replace("3x3,", "3x3-bn-relu,").replace("maxpool3x3-bn-relu", "maxpool3x3"))
        == architecture
    )


def test_cells_of_other_sizes() -> None:
    small = SPACE.parse("010,001,000:conv3x3")
    assert (
        SPACE.to_string(small)
        == "0100000,0000001,0000000,0000000,0000000,0000000,0000000:conv3x3,conv1x1,conv1x1,conv1x1,conv1x1"
    )
    assert SPACE.canonical(small) == Cell(((0, 1, 0), (0, 0, 1), (0, 0, 0)), ("conv3x3",)).hash()
    assert NASBench101(nodes=1).parse(SPACE.to_string(small)) == NASBench101(nodes=1).parse("010,001,000:conv3x3")
    crowded = "01000111,00111101,00011100,00001110,00000110,00000010,00000001,00000000:" + ",".join(["conv1x1"] * 6)
    with pytest.raises(SpaceError, match="at most 7 vertices are allowed as nodes=5, but 8 are connected"):
        SPACE.parse(crowded)
    dead = "0111110,0000001,0001110,0000110,0000010,0000000,0000000:conv3x3,conv1x1,conv1x1,conv1x1,conv1x1"
    assert codec.from_string(dead).edges > 9 and SPACE.parse(dead) == small


ROWS = "0100000,0010000,0001000,0000100,0000010,0000001,0000000"
NAMES = "conv1x1,conv1x1,conv1x1,conv1x1,conv1x1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"one ':' must stand between[\s\S]*010,001,000:conv3x3"),
        (f"{ROWS}:{NAMES}:", "one ':'"),
        (":", "matrix: a cell has 2 to 20 vertices, so many rows and columns, but got 1 rows"),
        (
            f"{ROWS.replace('0001000', '000100')}:{NAMES}",
            r"matrix\[2\]: must have 7 entries, as there are 7 rows, but got 6",
        ),
        (f"{ROWS.replace('0001000', '0x01000')}:{NAMES}", r"matrix\[2\]\[1\]: must be 0 or 1, but got 'x'"),
        (f"{ROWS.replace('0001000', '0101000')}:{NAMES}", r"matrix\[2\]\[1\]: must be 0 \(upper triangular\)"),
        (f"{ROWS.replace('0001000', '0011000')}:{NAMES}", r"matrix\[2\]\[2\]: must be 0 \(upper triangular\)"),
        (f"{ROWS}:{NAMES[8:]}", "operations: 5 are needed for 7 vertices, besides input and output, but got 4"),
        (f"{ROWS}:", "operations: 5 are needed for 7 vertices, besides input and output, but got 0"),
        (f"{ROWS}:{NAMES[:-1]}2", r"operations\[4\]: unknown operation 'conv1x2'; did you mean 'conv1x1'"),
        (
            "0111100,0011111,0001000,0000010,0000001,0000001,0000000:" + NAMES,
            "at most max_edges=9 edges are allowed, but got 13",
        ),
        (
            "0100000,0010000,0001000,0000100,0000010,0000000,0000000:" + NAMES,
            r"no path leads from the input to the output[\s\S]*e_0_6",
        ),
        ("٠1,00:", r"matrix\[0\]\[0\]: must be 0 or 1"),
        (f"{ROWS}:" + "z" * 100_000_000, "100,000,056 characters; at most 1,000"),
        ("[" * 100_000_000, "100,000,000 characters"),
        ('{"matrix": ' + "[" * 100_000, "not valid JSON"),
        ('{"matrix": ' + "[" * 100_000_000, "100,000,011 bytes; at most 1,000,000"),
        ('{"matrix": [[0, 1], [0, 0]]}', r"a cell has the keys matrix and operations, but got \['matrix'\]"),
        (
            '{"matrix": [[0, 1], [0, 0]], "ops": [], "operations": []}',
            "a cell has the keys matrix and operations, but got",
        ),
        ('{"matrix": 5, "ops": []}', "matrix: must be a list, but got int"),
        ('{"matrix": [5, 6], "ops": []}', r"matrix\[0\]: must have 2 entries, as there are 2 rows, but got int"),
        ('{"matrix": [[0, 2], [0, 0]], "ops": []}', r"matrix\[0\]\[1\]: must be 0 or 1, but got 2"),
        ('{"matrix": [[0, true], [0, 0]], "ops": []}', r"matrix\[0\]\[1\]: must be 0 or 1, but got True"),
        ('{"matrix": [[0, [1]], [0, 0]], "ops": []}', r"matrix\[0\]\[1\]: must be 0 or 1, but got list"),
        ('{"matrix": [[0, 1], [0, 0]], "ops": "input"}', "operations: must be a list, but got 'input'"),
        (
            '{"matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": ["input", 3, "output"]}',
            r"operations\[1\]: an operation's name is a string",
        ),
        ('{"matrix": [], "ops": []}', "2 to 20 vertices"),
        (
            json.dumps({"matrix": [[0] * 500] * 500, "ops": []}),
            "2 to 20 vertices, so many rows and columns, but got 500 rows",
        ),
    ],
)
def test_cells_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value)) < 600


def test_choices_that_make_no_cell() -> None:
    choices = SPACE.parse(INCEPTION).as_dict()
    cut = {**choices, **{f"e_{v}_6": "0" for v in range(6)}}
    for form in (cut, json.dumps(cut), Architecture("nasbench101", tuple(cut.items())).to_json()):
        with pytest.raises(SpaceError, match="no path leads from the input to the output"):
            SPACE.parse(form)
    with pytest.raises(SpaceError, match=r"at most max_edges=9 edges are allowed, but got 21\.\n.*raise max_edges"):
        SPACE.architecture({**choices, **{f"e_{i}_{j}": "1" for i, j in SPACE.edges}})
    with pytest.raises(SpaceError, match="has 139,359,042 architectures"):
        SPACE.enumerate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 0}, "nodes >= 1 must hold, but got nodes=0"),
        ({"nodes": 6}, "nodes <= 5 must hold, but got nodes=6"),
        ({"max_edges": 0}, "max_edges >= 1"),
        ({"channels": 4}, "channels >= 5 must hold, but got channels=4"),
        ({"stacks": 0}, "stacks >= 1"),
        ({"cells_per_stack": True}, "cells_per_stack=True"),
        ({"stem": "imagnet"}, "stem: unknown stem 'imagnet'; did you mean 'imagenet'"),
        ({"stem": "imagenet", "channels": 7}, "must be even, but got 7"),
        ({"head": "lineal"}, "head: unknown kind"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        NASBench101(**arguments)


# Drawing at random


def test_draws_are_valid() -> None:
    rng = np.random.default_rng(0)
    parents = SPACE.sample(rng, 20_000)
    assert SPACE.valid(parents).all() and len(np.unique(parents, axis=0)) > 19_000
    for probability in (1e-9, 0.1, 0.5, 1.0):
        children = SPACE.mutate(rng, parents, probability)
        changed = (children != parents).sum(axis=1)
        assert SPACE.valid(children).all() and changed.min() >= 1
        if probability < 1e-6:
            assert changed.max() == 1 and (children != parents).any(axis=0).all()
    children = SPACE.crossover(rng, parents, parents[::-1])
    assert SPACE.valid(children).all() and (children != parents).any(axis=1).mean() > 0.9
    assert all(SPACE.valid(paths).all() for paths in SPACE.sample_paths(rng, 20, False))


def test_mutation_in_the_narrowest_space() -> None:
    """One matrix only: all that can change are operations."""
    space = NASBench101(nodes=2, max_edges=1)
    parents = space.sample(np.random.default_rng(0), 200)
    for probability in (0.1, 1.0):
        children = space.mutate(np.random.default_rng(1), parents, probability)
        assert space.valid(children).all() and (children != parents).any(axis=1).all()


def test_rows_and_numbers() -> None:
    rows = SPACE.sample(np.random.default_rng(0), 500)
    numbers = matrices.codes(rows, 21)
    assert np.array_equal(matrices.bits(numbers, 21), rows[:, :21])
    wrong = rows.copy()
    wrong[:, :21] = 1
    assert not SPACE.valid(wrong).any() and not SPACE.valid(np.zeros_like(rows)).any()


# Paths


def enumerate_paths(cell: Cell) -> list[list[tuple[int, int]]]:
    last = len(cell.matrix) - 1
    paths = []
    for r in range(last):
        for inner in itertools.combinations(range(1, last), r):
            path = list(itertools.pairwise((0, *inner, last)))
            if all(cell.matrix[i][j] for i, j in path):
                paths.append(path)
    return paths


def test_path_counts_equal_brute_force(table: npt.NDArray[np.int8]) -> None:
    rng = np.random.default_rng(0)
    rows: npt.NDArray[np.int8] = np.concatenate([SPACE.sample(rng, 100), table[rng.integers(0, len(table), size=100)]])
    counts, complete, structure = SPACE.path_counts(rows), SPACE.complete_paths(rows), SPACE.structure(rows)
    for n, row in enumerate(rows.tolist()):
        paths = enumerate_paths(SPACE._cell(row))
        on_edges = [sum(edge in path for path in paths) for edge in SPACE.edges]
        on_vertices = [sum(any(v == j for _, j in path) for path in paths) for v in range(1, 6)]
        assert counts[n].tolist() == on_edges + on_vertices and complete[n] == len(paths)
        assert structure[n].tolist() == [int(count > 0) for count in on_edges] + row[21:]
    assert complete.max() > 4


def test_graph() -> None:
    space = NASBench101(nodes=3)
    (edges,) = space.graph(space.parse("01110,00001,00010,00000,00000:conv3x3,conv1x1,maxpool3x3")).values()
    drawn = {(e.source, e.target): (e.operation, e.live) for e in edges}
    assert drawn == {
        ("input", "1 conv3x3"): ("projection", True),
        ("input", "2 conv1x1"): ("projection", False),
        ("input", "3 maxpool3x3"): ("projection", False),
        ("1 conv3x3", "output"): ("", True),
        ("2 conv1x1", "3 maxpool3x3"): ("", False),
    }
