"""The MobileNet-like space: RLNAS' published numbers, its strings, its networks, and the NNI side of its supernet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nni_plugins.spaces import SearchSpace, SpaceError
from nni_plugins.spaces.mobilenet import RLNAS_MOBILENET, MobileNetLike
from nni_plugins.spaces.staged import Stage
from nni_plugins.spaces.testing import SpaceContract
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable
from nni_plugins.strategies.rlnas.settings import Variant

SPACE = MobileNetLike()
STAGES = ((4, 2, 2), (6, 2, 2), (8, 2, 2), (8, 2, 1), (12, 2, 2), (16, 1, 1))
TINY = MobileNetLike(stem_channels=4, first_channels=4, stages=STAGES, last_channels=20, classes=5)
LEFT_OUT = "0 -1 0 -1 0 -1 0 -1 0 -1 0"


class TestTiny(SpaceContract):
    image_size = 32

    def space(self) -> SearchSpace:
        return MobileNetLike(**{**TINY.config(), "classes": 10})


class TestStrideOneFirst(SpaceContract):
    """The first stage keeps the resolution of the fixed block, and one has a single block; images of an odd size."""

    image_size = 13
    compared = 2

    def space(self) -> SearchSpace:
        stages = [[5, 2, 1], [4, 1, 2], [4, 2, 1], [6, 2, 2]]
        return MobileNetLike(3, 5, stages, 8, dropout=0.3, classes=4)


def row(space: MobileNetLike, text: str) -> npt.NDArray[np.int8]:
    return space.encode([space.parse(text)])


# Golden numbers


def test_size() -> None:
    assert SPACE.size == 6**6 * 7**15 and SPACE.labels == tuple(f"block_{i}" for i in range(21)) and SPACE.repeats == 1
    assert [i for i, d in enumerate(SPACE.decisions) if "identity" not in d.values] == [0, 4, 8, 12, 16, 20]
    assert SPACE.decisions[1].values == ("k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6", "identity")


@pytest.mark.parametrize(
    ("text", "parameters", "macs", "printed"),
    [
        (RLNAS_MOBILENET, 5_255_648, 471_521_184, "473.2"),
        (" ".join(["0"] * 21), 5_151_552, 460_908_960, "462.6"),
        (" ".join(["1"] * 21), 7_816_008, 853_406_016, "855.1"),
    ],
)
def test_costs(text: str, parameters: int, macs: int, printed: str) -> None:
    """RLNAS, table 5: 5.3 M and 473 M. The official count takes (2 in - 1) out for the classifier, (in - 1) out more
    than its multiply-adds.
    """
    costs = SPACE.cost_table(224)(row(SPACE, text))
    assert (int(costs.parameters[0]), int(costs.macs[0])) == (parameters, macs)
    assert f"{(macs + (1728 - 1) * 1000) / 1e6:.1f}" == printed
    assert SPACE.cost_table()(row(SPACE, text)).macs[0] == macs


@pytest.mark.parametrize("size", [(224, 224), (64, 33), (37, 50)])
def test_costs_equal_an_independent_count(size: tuple[int, int]) -> None:
    analysis = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    indices = SPACE.sample(np.random.default_rng(sum(size)), 1)
    network = SPACE.network(SPACE.decode(indices)[0]).eval()
    counted = (
        analysis.FlopCountAnalysis(network, torch.zeros(1, 3, *size))
        .unsupported_ops_warnings(False)
        .uncalled_modules_warnings(False)
    )
    costs, kinds = SPACE.cost_table(size)(indices), counted.by_operator()
    assert costs.macs[0] == kinds["conv"] + kinds["linear"] and costs.parameters[0] == sum(
        p.numel() for p in network.parameters()
    )


def test_costs_of_heads() -> None:
    """Nine tiles cost nine bodies; a classifier by pixel runs at the last map's 2 x 3 pixels."""
    text, body = row(TINY, LEFT_OUT), TINY.cost_table((64, 96))(row(TINY, LEFT_OUT)).macs[0] - 20 * 5
    for head, factor, macs in (("jigsaw", 9, 9 * 20 * 7), ("pixels", 1, 6 * 20 * 7)):
        space = TINY.with_head(head, 7)
        assert space.cost_table((64, 96))(text).macs[0] == factor * body + macs
        built = sum(p.numel() for p in space.network(space.parse(LEFT_OUT)).parameters())
        assert space.cost_table()(text).parameters[0] == built


@pytest.mark.parametrize("space", [SPACE, TINY])
def test_parameters_of_the_supernet(space: MobileNetLike) -> None:
    table = space.cost_table()
    assert sum(p.numel() for p in space.supernet().parameters()) == table.fixed_parameters + int(table.parameters.sum())


# Strings


@pytest.mark.parametrize(
    "text",
    [
        "2 0 -1 2 | 2 0 2 4 | 0 4 4 2 | 4 2 4 2 | 0 0 0 2 | 2",
        "2 0 -1 2 2 0 2 4 | 0 4 4 2 4 2 4 2 | 0 0 0 2 2",
        "[2, 0, -1, 2, 2, 0, 2, 4, 0, 4, 4, 2, 4, 2, 4, 2, 0, 0, 0, 2, 2]",
        "(2,0,-1,2|2,0,2,4|0,4,4,2|4,2,4,2|0,0,0,2|2)",
    ],
)
def test_published_forms(text: str) -> None:
    """The paper's figure has fewer marks between stages than there are stages."""
    architecture = SPACE.parse(text)
    assert SPACE.to_string(architecture) == SPACE.canonical(architecture) == RLNAS_MOBILENET
    assert (
        architecture["block_0"] == "k5e3"
        and architecture["block_2"] == "identity"
        and architecture["block_7"] == "k7e3"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "11 blocks are needed, but got 0"),
        ("[]", "got 0 in '\\[\\]'"),
        ("0 0 0", r"11 blocks are needed, but got 3 in '0 0 0'[\s\S]*reads: 0 0 0 0 0 0 0 0 0 0 0"),
        (f"{LEFT_OUT} 0", "got 12"),
        (
            "0 0 -1 0 0 0 0 0 0 0 0",
            r"block_2: opens a stage and cannot be -1 \(identity\); allowed are 0 to 5\.\n0 to 5 are k3e3, k3e6",
        ),
        ("0 -2 0 0 0 0 0 0 0 0 0", r"block_1: unknown operation '-2'; allowed are -1 \(identity\) and 0 to 5"),
        ("6 0 0 0 0 0 0 0 0 0 0", "block_0: unknown operation '6'; allowed are 0 to 5"),
        ("6 7 8 9 x -1 0 0 0 0 0", "block_0: .*block_1: .*block_2: unknown operation '8'.*; and 2 more"),
        ("0 0 0 0 +1 01 1.0 ٣ 0 0 0", r"block_4: .*'\+1'.*block_5: .*'01'.*block_6: .*'1.0'.*1 more"),
        ("0 0 0 | 0 0 0 0 0 0 0 0", r"'\|' after 3 blocks, where no stage ends"),
        ("| 0 0 0 0 0 0 0 0 0 0 0", r"'\|' after 0 blocks"),
        ("[0 0 0 0 0 0 0 0 0 0 0", r"block_0: unknown operation '\[0'"),
        ("[[0 0 0 0 0 0 0 0 0 0 0]]", r"block_0: unknown operation '\[0'"),
        ("[" * 4000 + "0 0 0 0 0 0 0 0 0 0 0" + "]" * 4000, r"block_0: unknown operation '\[\[\["),
        ("[" * 5_000_000, "5,000,000 characters; at most 10,000"),
        ("0 " * 50_000_000, "characters; at most 10,000"),
        ('{"block_0": ' * 50_000, "JSON"),
        ('{"block_0": ["k3e3"]}', "choices: must be an object of strings"),
    ],
)
def test_strings_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        TINY.parse(text)
    assert len(str(caught.value)) < 500


def test_an_identity_that_is_refused_by_name() -> None:
    choices = SPACE.parse(RLNAS_MOBILENET).as_dict()
    with pytest.raises(
        SpaceError, match=r"block_4: unknown value 'identity'; known: k3e3, k3e6, k5e3, k5e6, k7e3, k7e6"
    ):
        SPACE.parse({**choices, "block_4": "identity"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem_channels": 0}, "stem_channels >= 1 must hold, but got stem_channels=0"),
        ({"first_channels": 1.5}, r"first_channels=1\.5"),
        ({"last_channels": True}, "last_channels=True"),
        ({"stages": []}, r"stages: at least one .* but got \[\]"),
        ({"stages": 5}, "stages: at least one"),
        ({"stages": [[8, 2, 2], [8, 2]]}, r"stages, entry 1: .* but got \[8, 2\]"),
        ({"stages": [[8, 2, 3]]}, "stages, entry 0: .*stride 1 or 2"),
        ({"stages": [[8, 0, 1]]}, "blocks >= 1"),
        ({"stages": [[8, True, 1]]}, "entry 0"),
        ({"stages": ["abc"]}, "entry 0: .* but got 'abc'"),
        ({"dropout": 1}, "0 <= dropout < 1 must hold, but got dropout=1"),
        ({"dropout": "0.2"}, "dropout='0.2'"),
        ({"classes": 0}, "classes >= 1"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        MobileNetLike(**arguments)


def test_the_graph_is_a_chain() -> None:
    (edges,) = SPACE.graph(SPACE.parse(RLNAS_MOBILENET)).values()
    assert [e.source for e in edges] == ["input", *map(str, range(20))] and [e.target for e in edges] == [
        *map(str, range(20)),
        "output",
    ]
    assert [e.operation for e in edges[:4]] == ["k5e3", "k3e3", "identity", "k5e3"] and all(e.live for e in edges)


def test_torch_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys; from nni_plugins.spaces.mobilenet import *; s = MobileNetLike(); s.cost_table()(s.encode([s.parse(RLNAS_MOBILENET)]))\n"
        "print(sorted({'torch', 'nni'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


# Networks


def test_stages_of_the_published_network() -> None:
    network = SPACE.network(SPACE.parse(RLNAS_MOBILENET))
    assert network.all_stages == (Stage(24, 2), Stage(32, 4), Stage(56, 8), Stage(128, 16), Stage(1728, 32))
    assert [len(modules) for modules in network.stage_modules()] == [1, 4, 4, 8, 6]
    residual = [getattr(block, "residual", None) for block in network.blocks]
    assert residual == [i not in (0, 4, 8, 12, 16, 20) if i != 2 else None for i in range(21)]


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


@pytest.mark.parametrize("seed", range(4))
def test_dilation_computes_the_same_at_more_places(seed: int) -> None:
    """Every second pixel of a dilated feature map is the pixel of the network with strides, borders included."""
    (architecture,) = TINY.decode(TINY.sample(np.random.default_rng(seed), 1))
    weights = {
        k: v for k, v in shaken(TINY.network(architecture), seed).state_dict().items() if not k.startswith("classifier")
    }
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pyramids = []
    for output_stride in (None, 16, 8, 4, 2):
        network = TINY.features(architecture, None, output_stride).double().eval()
        network.load_state_dict(weights)
        with torch.no_grad():
            pyramids.append([y.numpy() for y in network(x)])
    for dense in pyramids[1:]:
        for y, wanted in zip(dense, pyramids[0], strict=True):
            step = y.shape[2] // wanted.shape[2]
            assert np.allclose(y[:, :, ::step, ::step], wanted, rtol=1e-10, atol=1e-10) and np.ptp(wanted) > 0


def test_dropout_is_before_a_linear_classifier_only() -> None:
    space = MobileNetLike(**{**TINY.config(), "dropout": 0.5})
    architecture = space.parse(LEFT_OUT)
    network, x = space.network(architecture), torch.randn(4, 3, 32, 32)
    assert network.state_dict().keys() == TINY.network(architecture).state_dict().keys()
    network.stem.eval(), network.blocks.eval(), network.last.eval()
    torch.nn.init.normal_(network.classifier.weight)
    outputs = [network(x) for _ in range(2)]
    assert not torch.equal(*outputs)
    network.eval()
    plain = TINY.network(architecture).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.allclose(network(x), plain(x), atol=1e-6)
    for head in ("pixels", "jigsaw"):
        assert not hasattr(space.with_head(head, 5).network(architecture).classifier, "dropout")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("training", [False, True])
def test_supernet_equals_the_network(seed: int, training: bool) -> None:
    space = TINY.with_head(("linear", {"kind": "jigsaw", "tiles": 2})[seed % 2], 3)
    indices = space.sample(np.random.default_rng(seed), 1)
    (architecture,) = space.decode(indices)
    supernet, network = (
        shaken(space.supernet(), seed).train(training),
        space.network(architecture).double().train(training),
    )
    weights, wanted = supernet.state_dict(), {}
    for name in network.state_dict():
        block = name.split(".")[1]
        source = (
            name.replace(f"blocks.{block}.", f"blocks.{block}.{architecture[f'block_{block}']}.")
            if name.startswith("blocks.")
            else name
        )
        wanted[name] = weights[source].clone()
    network.load_state_dict(wanted)
    shape = (4, 3, 40, 33) if seed % 2 == 0 else (4, 2, 3, 40, 33)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    ours = supernet.forward_path(x, indices)
    assert torch.allclose(ours, network(x), rtol=1e-9, atol=1e-9) and ours.shape == (4, 3)


def test_only_the_path_gets_gradients() -> None:
    supernet = TINY.supernet()
    supernet.forward_path(torch.randn(2, 3, 64, 64), row(TINY, "5 -1 4 3 2 -1 1 0 5 -1 2")).sum().backward()
    touched = {
        name.split(".")[1] + name.split(".")[2]
        for name, p in supernet.named_parameters()
        if p.grad is not None and "blocks" in name
    }
    assert touched == {"0k7e6", "2k7e3", "3k5e6", "4k5e3", "6k3e6", "7k3e3", "8k7e6", "10k5e3"}


def test_initial_weights() -> None:
    """Official: convolutions N(0, sqrt(2 / (k^2 c_out))), also depthwise ones; batch norms 1 and 0; the linear layer as
    PyTorch's.
    """
    torch.manual_seed(0)
    supernet = MobileNetLike(stages=((64, 2, 2),), last_channels=500).supernet()
    convolutions = [m for m in supernet.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 4 + 12 * 3
    for module in convolutions:
        wanted = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
        assert abs(float(module.weight.detach().std()) / wanted - 1) < 6 / (2 * module.weight.numel()) ** 0.5
        assert abs(float(module.weight.detach().mean())) < 6 * wanted / module.weight.numel() ** 0.5
    assert all(
        (m.weight == 1).all() and (m.bias == 0).all() for m in supernet.modules() if isinstance(m, torch.nn.BatchNorm2d)
    )
    assert abs(float(supernet.classifier.weight.detach().abs().max()) * 500**0.5 - 1) < 1e-3
    before, after = supernet.state_dict(), supernet.fresh().state_dict()
    assert all(
        not torch.equal(before[name], after[name])
        for name in before
        if name.endswith("0.weight") or name.startswith("classifier")
    )


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 32, 32), (2, 3, 31, 32)])
def test_images_that_are_refused(shape: tuple[int, ...]) -> None:
    supernet = TINY.supernet()
    for run in (TINY.network(TINY.parse(LEFT_OUT)), supernet, lambda x: supernet.forward_path(x, row(TINY, LEFT_OUT))):
        with pytest.raises(SpaceError, match=r"\(B, 3, H, W\) with H, W >= 32"):
            run(torch.zeros(shape))


# The angle


@pytest.mark.parametrize("variant", ["rlnas", "rlnas-eye", "rlnas-mobilenet", "weights"])
def test_angle_equals_a_literal_concatenation(variant: Variant) -> None:
    """``rlnas-mobilenet``: of the batch norms only the first two of each searched block, and no bias."""
    before, supernet = (shaken(TINY.supernet(), seed).state_dict() for seed in (0, 1)), TINY.supernet()
    weights = list(before)
    table = AngleTable.build(TINY, supernet.weight_blocks(), *weights, VARIANTS[variant])
    indices = TINY.sample(np.random.default_rng(0), 5)
    norms = {n for n, m in supernet.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    for angle, architecture in zip(table(indices), TINY.decode(indices), strict=True):
        vectors: list[list[torch.Tensor]] = [[], []]
        for name, _ in supernet.named_parameters():
            parts = name.split(".")
            chosen = parts[0] != "blocks" or architecture[f"block_{parts[1]}"] == parts[2]
            norm = name.rpartition(".")[0] in norms
            official = not norm or (parts[0] == "blocks" and parts[3] != "project")
            if not chosen or (variant in ("weights", "rlnas-mobilenet") and name == "classifier.bias"):
                continue
            if (variant == "weights" and norm) or (variant == "rlnas-mobilenet" and not official):
                continue
            for vector, state in zip(vectors, weights, strict=True):
                vector.append(state[name].flatten())
        for i, block in enumerate(TINY.blocks):
            if variant in ("rlnas-eye", "rlnas-mobilenet") and architecture[f"block_{i}"] == "identity":
                for vector in vectors:
                    vector.append(torch.eye(block.outputs, dtype=torch.float64).flatten())
        first, second = (torch.cat(vector) for vector in vectors)
        assert abs(angle - float(torch.arccos(first @ second / (first.norm() * second.norm())))) < 1e-10
