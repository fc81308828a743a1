"""Golden numbers, texts, errors and structure of the spaces of stacked cells."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.spaces import Indices, SpaceError
from nni_plugins.spaces.cells import DARTS, NAO, NASNet, RobustDARTS, genotype
from nni_plugins.spaces.cells.darts import EDGES, OPERATIONS, EdgeSpace
from nni_plugins.spaces.cells.network import drop_path
from nni_plugins.spaces.operations import FactorizedReduce, candidate
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
SPACE = DARTS(channels=2, cells=3)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -- golden numbers ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 1_930_618),
        ({"classes": 1000, "stem": "imagenet"}, 2_185_872),
        ({"classes": 21_841, "stem": "imagenet"}, 7_542_009),
        ({"classes": 4, "stem": "imagenet"}, 1_929_900),
        ({"classes": 313, "stem": "imagenet", "head": "pixels", "input_channels": 1}, 2_009_169),
        ({"classes": 1000, "stem": "imagenet", "head": "jigsaw"}, 4_233_872),
        ({"cells": 12, "classes": 4, "stem": "imagenet"}, 2_630_828),
        ({"cells": 12, "classes": 313, "stem": "imagenet", "head": "pixels", "input_channels": 1}, 2_710_097),
        ({"cells": 12, "classes": 1000, "stem": "imagenet", "head": "jigsaw"}, 4_934_800),
        (
            {
                "cells": 12,
                "classes": 19,
                "stem": "imagenet",
                "reductions": 1,
                "head": {"kind": "aspp", "channels": 64, "rates": [6]},
            },
            1_412_475,
        ),
    ],
)
def test_search_networks_have_the_papers_parameters(arguments: dict[str, Any], expected: int) -> None:
    """DARTS' CIFAR supernet, and UnNAS' for ImageNet (cls, 22k cls, rot, col, jig) and Cityscapes (rot, col, jig, seg),
    without architecture weights; recomputed from the official code."""
    assert parameters(DARTS(**arguments).supernet(affine=False)) == expected


def test_naos_search_network() -> None:
    """7.39 M parameters in 7,349 tensors at N = 3, C = 20 (NAO-V2, master)."""
    supernet = NAO().supernet()
    assert (parameters(supernet), len(list(supernet.parameters()))) == (7_387_350, 7_349)


def test_sizes() -> None:
    cells = 49 * 147 * 294 * 490
    assert (
        DARTS().size == cells**2
        and NAO().size == 2**0 * (5 * 2) ** 4 * (5 * 3) ** 4 * (5 * 4) ** 4 * (5 * 5) ** 4 * (5 * 6) ** 4
    )
    assert [RobustDARTS(v).size for v in ("S1", "S2", "S3", "S4")] == [(4 * 12 * 24 * 40) ** 2] * 4


def test_sizes_of_random_nao_cells() -> None:
    """Statistics of the official code's 1,000 random architectures at search size: median 0.49 M, CV 0.235, effective pool
    948.
    """
    space = NAO()
    sizes = space.cost_table()(space.sample(np.random.default_rng(0), 20_000)).parameters / 1e6
    assert abs(np.median(sizes) - 0.49) < 0.01 and abs(sizes.std() / sizes.mean() - 0.235) < 0.006
    assert abs(1000 / (1 + (sizes.std() / sizes.mean()) ** 2) - 948) < 4


def test_auxiliary_heads() -> None:
    """Inference networks do not have it; on ImageNet it adds 1.25 to 1.27 M (UnNAS, widths 42 to 48)."""
    space = DARTS(channels=48, cells=14, classes=1000, stem="imagenet")
    architecture = space.parse(DARTS_V2)
    with torch.device("meta"):
        extra = parameters(space.network(architecture, auxiliary=True)) - parameters(space.network(architecture))
    assert extra == 768 * 128 + 2 * 128 + 4 * 128 * 768 + 769 * 1000  # 1.26 M
    for side, stem in ((32, "cifar"), (64, "imagenet")):
        network = DARTS(channels=4, cells=6, classes=7, stem=stem).network(architecture, auxiliary=True)
        x = torch.randn(2, 3, side, side)
        logits, auxiliary = network(x)
        assert logits.shape == auxiliary.shape == (2, 7)
        auxiliary.sum().backward()
        assert network.eval()(x).shape == (2, 7)


def test_a_million_random_cells() -> None:
    space = DARTS(channels=48, cells=14, classes=1000, stem="imagenet")
    indices = space.sample(np.random.default_rng(0), 1_000_000)
    costs = space.cost_table(224)(indices)
    assert costs.parameters.shape == (1_000_000,) and 3e8 < costs.macs.mean() < 6e8
    # every cell is drawn with the same probability: node 5 reads each of its ten pairs, and each operation, equally
    # often
    assert np.abs(np.bincount(indices[:, 8], minlength=10) / 1e6 - 0.1).max() < 0.002
    assert np.abs(np.bincount(indices[:, -1], minlength=7) / 1e6 - 1 / 7).max() < 0.002


# -- texts -------------------------------------------------------------------------------------------------------------
def test_every_print_of_a_genotype_is_read() -> None:
    architecture = SPACE.parse(DARTS_V2)
    assert (
        SPACE.to_string(architecture).count("sep_conv_3x3") == 5
        and SPACE.parse(SPACE.to_string(architecture)) == architecture
    )
    built = genotype.parse(DARTS_V2, 4)
    normal, reduce = built.normal.edges(), built.reduce.edges()
    swapped = [[(i, name) for name, i in cell] for cell in (normal, reduce)]
    nested = [[tuple(cell[k : k + 2]) for k in range(0, 8, 2)] for cell in (normal, reduce)]
    for text in (
        f"Genotype(reduce_concat=range(2, 6), reduce={reduce}, normal_concat=range(2, 6), normal={normal})",
        f"genotype = Genotype({normal}, [2, 3, 4, 5], {reduce}, [5, 4, 3, 2])",
        f"Genotype(normal={swapped[0]}, reduce={swapped[1]})",
        f"Genotype(normal={nested[0]}, normal_concat=[2, 3, 4, 5], reduce={nested[1]}, reduce_concat=[2, 3, 4, 5])",
        f"[{normal}, [2, 3, 4, 5], {reduce}, [2, 3, 4, 5]]",
        f"Genotype(normal={[*reversed(normal[:2]), *normal[2:]]}, reduce={reduce})",
        str({"normal": normal, "reduce": reduce}).replace("'", '"').replace("(", "[").replace(")", "]"),
    ):
        assert SPACE.parse(text) == architecture, text
    assert SPACE.parse({"normal": normal, "reduce": reduce}) == architecture


def test_rlnas_integers() -> None:
    text = "[5,4,6,0,5,4,0,0,7,0,7,6,0,0] | [5,6,4,0,5,0,6,0,4,0,1,5,0,0]"
    architecture = SPACE.parse(text)
    assert SPACE.to_integers(architecture) == [
        int(n) for n in text.replace("|", ",").replace("[", "").replace("]", "").split(",")
    ]
    assert "('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('dil_conv_3x3', 0), ('sep_conv_5x5', 2)" in SPACE.to_string(
        architecture
    )


def test_naos_integers_are_index_rows() -> None:
    space = NAO()
    (row,) = space.sample(np.random.default_rng(0), 1)
    (architecture,) = space.decode(row[None])
    assert space.to_string(architecture) == " ".join(map(str, row)) and space.parse(str(row.tolist())) == architecture
    twin = row.reshape(-1, 2, 2)[:, ::-1].reshape(1, -1)
    assert space.canonical(space.decode(twin)[0]) == space.canonical(architecture)
    assert space.parse(str(space.genotype(architecture))) == architecture
    swapped = space.network(space.decode(twin)[0])
    assert parameters(swapped) == parameters(space.network(architecture))


NORMAL = "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), %s]"


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            "('sep_conv_3x3', 0), ('sep_conv_4x4', 2)",
            r"normal\.edges\[7\]\.operation: unknown operation 'sep_conv_4x4'; did you mean 'sep_conv_",
        ),
        (
            "('sep_conv_3x3', 0), ('none', 2)",
            r"normal\.edges\[7\]\.operation: 'none' is not an operation of darts there; known: avg_pool_3x3, ",
        ),
        (
            "('sep_conv_3x3', 0), ('sep_conv_7x7', 2)",
            r"normal\.edges\[7\]\.operation: 'sep_conv_7x7' is not an operation of darts",
        ),
        (
            "('sep_conv_3x3', 0), ('sep_conv_3x3', 5)",
            r"normal\.edges\[7\]\.input: node 5 reads states 0 to 4, but got 5",
        ),
        (
            "('sep_conv_3x3', -1), ('sep_conv_3x3', 2)",
            r"normal\.edges\[6\]\.input: node 5 reads states 0 to 4, but got -1",
        ),
        ("('sep_conv_3x3', 1.5), ('sep_conv_3x3', 2)", r"normal\.edges\[6\]\.input"),
        ("('sep_conv_3x3', True), ('sep_conv_3x3', 2)", r"normal\.edges\[6\]\.input"),
        ("('sep_conv_3x3', 2), ('skip_connect', 2)", r"normal\.edges\[6\]: node 5 reads state 2 twice"),
        ("('sep_conv_3x3', 2)", r"normal: 8 edges are needed, two for each of 4 nodes, but got 7"),
        ("('sep_conv_3x3', 2), ('skip_connect', 1), ('skip_connect', 1)", r"normal: 8 edges are needed.*but got 9"),
        ("('sep_conv_3x3', 2, 1), ('skip_connect', 1)", r"normal\.edges\[6\]: expected a pair"),
        ("(3, 2), ('skip_connect', 1)", r"normal\.edges\[6\]\.operation: expected a name"),
        ("__import__('os'), ('skip_connect', 1)", r"normal: expected a list of literals"),
    ],
)
def test_genotypes_that_are_refused(last: str, message: str) -> None:
    other = NORMAL % "('skip_connect', 0), ('skip_connect', 1)"
    text = f"Genotype(normal={NORMAL % last}, reduce={other})"
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(normal=[], reduce=[], alpha=[])", "unknown.*alpha"),
        ("Genotype(normal=[])", "missing: .*reduce"),
        (
            DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 4]"),
            r"normal_concat: cells of darts join the states \[2, 3, 4, 5\]",
        ),
        (
            DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 4, 9]"),
            "normal_concat: states 0 to 5 exist",
        ),
        (
            DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 2, 4, 5]"),
            "normal_concat: a state stands twice",
        ),
        ("1 2 3", "28 integers are needed, one for each edge of both cells, but got 3"),
        (" ".join(["1"] * 28), "normal: node 3 must read two states, but reads 3"),
        (" ".join(["-1"] * 28), r"normal_0_2: must be 0 \(none\) to 7, but got -1"),
        ("[" * 5000 + "]" * 5000, "not a genotype"),
        ("Genotype(" + "x" * 100_000_000, "100,000,009 characters; at most 20,000"),
        ('{"a":' * 100_000, "not valid JSON|not a genotype|at most"),
        ('{"schema": 2, "space": "darts", "choices": {}}', "schema: .*schema 2; this version reads 1 to 1"),
        (
            '{"schema": 1, "space": "nao", "choices": {}}',
            "space: the architecture is of 'nao', but this space is 'darts'",
        ),
    ],
)
def test_texts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2", "40 integers are needed, but got 2"),
        (" ".join(["0"] * 39 + ["5"]), r"reduce_6_op_1: must be 0 to 4, but got '5'"),
        (" ".join(["-1"] * 40), r"normal_2_input_0: must be 0 to 1, but got '-1'"),
        (" ".join(["0"] * 2 + ["7"] + ["0"] * 37), "normal_2_input_1: must be 0 to 1, but got '7'"),
        ("0 " * 1_000_000, "2,000,000 characters|1,999,999 characters"),
    ],
)
def test_integers_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        NAO().parse(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DARTS(cells=2), "cells >= 3 must hold"),
        (lambda: DARTS(channels=3, stem="imagenet"), "must be even, but got 3"),
        (lambda: DARTS(stem="cityscapes"), "stem: unknown stem 'cityscapes'"),
        (lambda: DARTS(reductions=3), "reductions <= 2"),
        (lambda: DARTS(head="linaer"), "head: unknown kind 'linaer'; did you mean 'linear'"),
        (lambda: DARTS(head={"kind": "aspp", "tiles": 3}), "'aspp' has no option 'tiles'"),
        (lambda: DARTS(head={"kind": "aspp", "rates": [0]}), "whole numbers >= 1"),
        (lambda: RobustDARTS("S5"), "variant: unknown variant 'S5'; known: S1, S2, S3, S4"),
        (lambda: NAO("large"), "operations: unknown set 'large'"),
        (lambda: NASNet(operations=["sep_conv_3x3", "sep_conv_3x3"]), "operations: 1 to"),
        (lambda: NASNet(operations=["sep_conv_9x9"]), "unknown operation 'sep_conv_9x9'"),
        (lambda: NASNet(concat="some"), "concat: must be"),
        (lambda: DARTS().with_output_stride(8), r"output_stride: must be one of \[1, 2, 4\]"),
    ],
)
def test_arguments_that_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


# -- structure ---------------------------------------------------------------------------------------------------------
def brute_force_paths(space: EdgeSpace, row: Indices) -> np.ndarray[Any, Any]:
    """Complete paths through each edge of both cells, by walking all of them."""
    counts = np.zeros(28, dtype=np.int64)
    for c, cell in enumerate(space.structure(row[None])[0].reshape(2, 14)):
        active = {edge: e for e, edge in enumerate(EDGES) if cell[e]}
        for length in range(1, 5):
            for inner in itertools.combinations(range(2, 6), length):
                for source in (0, 1):
                    walk = list(itertools.pairwise((source, *inner)))
                    if all(edge in active for edge in walk):
                        for edge in walk:
                            counts[14 * c + active[edge]] += 1
    return counts


def test_path_counts_by_walking() -> None:
    for row in SPACE.sample(np.random.default_rng(0), 50):
        assert np.array_equal(SPACE.path_counts(row[None])[0], brute_force_paths(SPACE, row))


def test_the_angle_equals_the_literal_concatenation() -> None:
    """Every block stands in the vector as often as paths run over it (RLNAS, section 3.2)."""
    torch.manual_seed(0)
    supernet = SPACE.supernet()
    before = {k: v.clone() for k, v in supernet.state_dict().items()}
    after = {k: v + 0.1 * torch.randn_like(v) if v.is_floating_point() else v for k, v in before.items()}
    blocks = supernet.weight_blocks()
    table = AngleTable.build(SPACE, blocks, before, after, VARIANTS["weights"])
    indices = SPACE.sample(np.random.default_rng(1), 20)
    for row, angle in zip(indices, table(indices), strict=True):
        names = [name for name, role in blocks.fixed.parameters if role not in ("fixed_bn", "classifier_bias")]
        counts = brute_force_paths(SPACE, row)
        for s, value in enumerate(SPACE.structure(row[None])[0]):
            weights = [name for name, role in blocks.choices[s][value].parameters if role in ("conv", "skip")]
            names += weights * int(counts[s])
        v0, vt = (torch.cat([state[name].double().flatten() for name in names]) for state in (before, after))
        assert abs(angle - torch.arccos(v0 @ vt / (v0.norm() * vt.norm())).item()) < 1e-10


def test_paths_to_the_last_node_by_walking() -> None:
    """AngleNAS' 16 paths of the full cell, of which an architecture has those that its edges leave."""
    for row in SPACE.sample(np.random.default_rng(0), 20):
        counts = np.zeros(28, dtype=np.int64)
        for c, cell in enumerate(SPACE.structure(row[None])[0].reshape(2, 14)):
            active = {edge: e for e, edge in enumerate(EDGES) if cell[e]}
            walks = [
                list(itertools.pairwise((source, *inner, 5)))
                for source in (0, 1)
                for length in range(4)
                for inner in itertools.combinations((2, 3, 4), length)
            ]
            assert len(walks) == 16
            for walk in walks:
                if all(edge in active for edge in walk):
                    counts[[14 * c + active[edge] for edge in walk]] += 1
        assert np.array_equal(SPACE.last_node_path_counts(row[None])[0], counts)


def test_noise_is_drawn_again_and_cuts_the_path() -> None:
    space = RobustDARTS("S4", channels=2, cells=3)
    indices = np.zeros((1, len(space.decisions)), dtype=np.int8)  # noise on every edge
    assert not space.path_counts(indices).any() and not space.complete_paths(indices).any()
    for cell in ("normal", "reduce"):
        indices[0, space.labels.index(f"{cell}_2_op_1")] = 1
    assert space.path_counts(indices).sum() == space.complete_paths(indices)[0] == 2
    (architecture,) = space.decode(indices)
    network, x = space.network(architecture).eval(), torch.zeros(1, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))


def test_s1_is_the_papers_table() -> None:
    space = RobustDARTS("S1")
    assert space.sets["normal"][0, 2] == ("skip_connect", "dil_conv_3x3") and space.sets["normal"][3, 5] == (
        "dil_conv_3x3",
        "dil_conv_5x5",
    )
    assert space.sets["reduce"][1, 4] == ("max_pool_3x3", "sep_conv_3x3") and space.sets["reduce"][4, 5] == (
        "skip_connect",
        "dil_conv_5x5",
    )
    (architecture,) = space.decode(space.sample(np.random.default_rng(0), 1))
    assert space.parse(space.to_string(architecture)) == architecture
    with pytest.raises(
        SpaceError, match=r"normal\.edges\[0\]\.operation: 'sep_conv_5x5' is not an operation of robustdarts there"
    ):
        space.parse(SPACE.to_string(SPACE.parse("5 5 5 5 0 5 5 0 0 5 5 0 0 0 " * 2)))


def test_operations() -> None:
    x = torch.randn(2, 4, 7, 9)
    for name in (
        *OPERATIONS,
        "none",
        "noise",
        "sep_conv_7x7",
        "conv_7x1_1x7",
        "conv_3x1_1x3",
        "max_pool_5x5",
        "conv_1x1",
        "dil_conv_7x7",
    ):
        assert candidate(name, 4, 1)(x).shape == (2, 4, 7, 9) and candidate(name, 4, 2)(x).shape == (2, 4, 4, 5), name
    with pytest.raises(SpaceError, match="unknown operation 'sep_conv_3x5'"):
        candidate("sep_conv_3x5", 4)
    reduce = FactorizedReduce(1, 2)
    with torch.no_grad():
        for conv in (reduce.conv_1, reduce.conv_2):
            conv.weight.fill_(1)
        image = torch.arange(16.0).reshape(1, 1, 4, 4)
        y = reduce.eval()(image)[0] * (1 + reduce.bn.eps) ** 0.5
    assert torch.allclose(y, torch.tensor([[[0.0, 2], [8, 10]], [[5.0, 7], [13, 15]]]), atol=1e-4)


def test_drop_path() -> None:
    torch.manual_seed(0)
    y = drop_path(torch.ones(20_000, 1, 1, 1), 0.25)
    assert set(y.unique().tolist()) == {0.0, float(torch.ones(1) / (1 - 0.25))} and abs(float(y.mean()) - 1) < 0.02
    network = SPACE.network(SPACE.parse(DARTS_V2), drop_path=0.5)
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.set_drop_path(0.0)
        assert torch.equal(network(x), network(x))


def test_fewer_reductions() -> None:
    """UnNAS' segmentation networks: one reduction, output stride 16, 2 W channels a node at the end."""
    space = DARTS(channels=4, cells=12, stem="imagenet")
    architecture, x = space.parse(DARTS_V2), torch.randn(1, 3, 64, 128)
    pyramid = space.features(architecture, None, 16, by="fewer_reductions").eval()
    assert [(s.channels, s.stride) for s in pyramid.stage_info] == [(4, 4), (16, 8), (32, 16)]
    with torch.no_grad():
        assert [tuple(y.shape) for y in pyramid(x)] == [(1, 4, 16, 32), (1, 16, 8, 16), (1, 32, 4, 8)]
    dilated = space.features(architecture, None, 16)
    assert [(s.channels, s.stride) for s in dilated.stage_info] == [(4, 4), (16, 8), (32, 16), (64, 16)]


@pytest.mark.parametrize(
    "printed",
    [
        "DARTS_V2 = {}",
        "12/01 10:00:00 AM | genotype = {}",
        "INFO:root:{} after epoch 50",
        "  {}\n",
    ],
)
def test_a_genotype_in_a_line_of_python_or_of_a_log(printed: str) -> None:
    assert SPACE.from_string(printed.format(DARTS_V2)) == SPACE.from_string(DARTS_V2)


@pytest.mark.parametrize("around", ["np.int64({})", "numpy.int32({})", "int64({})", "tensor({})", "torch.tensor({})"])
def test_a_genotype_with_scalars_of_numpy_and_torch(around: str) -> None:
    text = re.sub(r"(?<=', )(\d)(?=\))", lambda match: around.format(match[1]), DARTS_V2)
    text = text.replace("[2, 3, 4, 5]", "array([2, 3, 4, 5], dtype=int64)")
    assert around.format(1) in text and SPACE.from_string(text) == SPACE.from_string(DARTS_V2)


def test_two_genotypes_are_not_one() -> None:
    with pytest.raises(SpaceError, match="2 genotypes stand in one text"):
        SPACE.from_string(f"{DARTS_V2}\n{DARTS_V2}")
