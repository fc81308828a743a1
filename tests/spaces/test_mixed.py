"""Mixed supernets: the shared form equals the plain one, and only what an option trains learns."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from nni_plugins.spaces import DARTS, NAO, NASBench201, RobustDARTS, SearchSpace, SpaceError
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet
from nni_plugins.spaces.mixed.cell import MixedCell
from nni_plugins.spaces.mixed.functional import _FrozenConv, _MaskedReLU, shuffle

SMALL: list[tuple[SearchSpace, int]] = [
    (DARTS(channels=4, cells=3), 8),
    (DARTS(channels=4, cells=3), 5),
    (DARTS(channels=4, cells=3, stem="imagenet"), 32),
    (RobustDARTS("S1", channels=4, cells=3), 8),
    (RobustDARTS("S3", channels=4, cells=3), 8),
    (NASBench201(channels=4, cells_per_stage=1), 8),
    (NASBench201(nodes=3, channels=4, cells_per_stage=2), 9),
]
OPTIONS = [
    MixedOptions("A"),
    MixedOptions("B"),
    MixedOptions("C"),
    MixedOptions("D"),
    MixedOptions("C", pool_affine=True),
    MixedOptions("B", partial_channels=2, edge_normalization=True),
    MixedOptions("C", partial_channels=4, edge_normalization=True),
    MixedOptions("B", edge_normalization=True, track_statistics=False),
    MixedOptions("C", auxiliary_skip=1.0),
]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if not name.startswith(("alphas.", "betas.")))


CASES = [
    (space, side, options)
    for n, (space, side) in enumerate(SMALL)
    for options in (OPTIONS if n in (0, 5) else OPTIONS[5 + n % 2 : 6 + n % 2])
]


@pytest.mark.parametrize(
    ("space", "side", "options"),
    CASES,
    ids=[f"{s.name}-{side}-{o.option}-k{o.partial_channels}-{n}" for n, (s, side, o) in enumerate(CASES)],
)
def test_the_shared_form_equals_the_plain_one(space: SearchSpace, side: int, options: MixedOptions) -> None:
    """Outputs, gradients of everything that learns and running statistics, in float64, in training and in evaluation."""
    torch.manual_seed(0)
    shared = MixedSupernet(space, options).double()
    with torch.no_grad():
        for p in shared.parameters():
            p.add_(0.3 * torch.randn_like(p))
    plain = MixedSupernet(space, options.plain()).double()
    for model in (shared, plain):
        model.begin_epoch(1, 4)
    plain.load_state_dict(shared.state_dict())
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    for training in (True, False):
        results = []
        for model in (shared.train(training), plain.train(training)):
            y = model(x)
            learning = [p for p in model.parameters() if p.requires_grad]
            weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
            results.append((y, torch.autograd.grad((y * weights).sum(), learning, allow_unused=True)))
        (y, ours), (reference, theirs) = results
        assert torch.allclose(y, reference, rtol=1e-10, atol=1e-10)
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert torch.allclose(a, b, rtol=1e-8, atol=1e-10 * max(1.0, float(b.abs().max())))
        reference_buffers = dict(plain.named_buffers())
        for name, value in shared.named_buffers():
            if "running" in name:
                assert torch.allclose(value, reference_buffers[name], rtol=1e-10, atol=1e-12), name


def test_parameter_counts() -> None:
    """DARTS' and PC-DARTS' CIFAR supernets and RF-DARTS' batch norms, with and without those after pools."""
    assert count(MixedSupernet(DARTS())) == 1_930_618
    assert count(MixedSupernet(DARTS(), MixedOptions(partial_channels=4, edge_normalization=True))) == 299_578
    for pool_affine, expected in ((False, 56_672), (True, 74_592)):
        model = MixedSupernet(DARTS(), MixedOptions("C", pool_affine=pool_affine))
        names = {
            name
            for name, p in model.named_parameters()
            if p.requires_grad and not name.startswith(("alphas.", "classifier."))
        }
        assert sum(p.numel() for name, p in model.named_parameters() if name in names) == expected
    assert [tuple(p.shape) for p in MixedSupernet(DARTS()).architecture_parameters().values()] == [(14, 8), (14, 8)]
    model = MixedSupernet(NASBench201(), MixedOptions("C"))
    assert [tuple(p.shape) for p in model.architecture_parameters().values()] == [(6, 5)]
    learns = {
        n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith(("alphas.", "classifier."))
    }
    assert sum(p.numel() for p in learns.values()) == 13_984
    assert (
        sum(
            p.numel()
            for p in MixedSupernet(NASBench201()).modules()
            if isinstance(p, torch.nn.Conv2d)
            for p in [p.weight]
        )
        == 1_684_912
    )


@pytest.mark.parametrize(
    ("options", "convolutions", "norms", "stem", "classifier"),
    [
        (MixedOptions("A"), True, True, True, True),
        (MixedOptions("B"), True, False, True, True),
        (MixedOptions("C"), False, True, False, True),
        (MixedOptions("D"), False, False, False, True),
        (MixedOptions("C", train_stem=True, train_classifier=False), False, True, True, False),
    ],
)
def test_what_learns(options: MixedOptions, convolutions: bool, norms: bool, stem: bool, classifier: bool) -> None:
    """Table 1 of RF-DARTS; the stem's batch norm always learns, as in the reference networks."""
    model = MixedSupernet(DARTS(channels=4, cells=3), options)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.requires_grad == (stem if name.startswith("stem.") else convolutions), name
        elif isinstance(module, torch.nn.BatchNorm2d) and not name.startswith("stem."):
            assert (module.weight is not None) == (norms and ".pools." not in name), name
        elif isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.requires_grad
    assert all(p.requires_grad == classifier for p in model.classifier.parameters())
    assert all(p.requires_grad for p in model.architecture_parameters().values())


def test_initialisations() -> None:
    """Kaiming: variance 2 / fan-in, so that relative variance starts at 1 (RF-DARTS, section 4.2)."""
    torch.manual_seed(0)
    space = NASBench201(channels=32, cells_per_stage=1)
    variances = {}
    for name in ("torch", "kaiming", "xavier"):
        weight = MixedSupernet(space, MixedOptions("C", initialisation=name)).get_parameter(
            "cells.0.edges.0.operations.nor_conv_3x3.1.weight"
        )
        variances[name] = float(weight.var()) * 9 * 32
    assert variances["torch"] == pytest.approx(1 / 3, rel=0.05) and variances["kaiming"] == pytest.approx(2, rel=0.05)
    assert variances["xavier"] == pytest.approx(1, rel=0.05)


def test_frozen_convolutions_keep_no_input() -> None:
    kept: list[torch.Tensor] = []

    def pack(t: torch.Tensor) -> torch.Tensor:
        kept.append(t)
        return t

    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    conv = (
        torch.nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False).double().requires_grad_(False)
    )
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = _FrozenConv.apply(_MaskedReLU.apply(x), conv.weight, (2, 2), (2, 2), (2, 2), 2)
    assert [t.dtype for t in kept] == [torch.bool, torch.float64] and kept[1].shape == conv.weight.shape
    (ours,) = torch.autograd.grad(y.square().sum(), x)
    reference = x.detach().requires_grad_()
    (theirs,) = torch.autograd.grad(conv(reference.relu()).square().sum(), reference)
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda t: _FrozenConv.apply(t, conv.weight, (2, 2), (2, 2), (2, 2), 2), (x,))


def test_memory_of_a_frozen_supernet() -> None:
    """Bytes saved for backward: at most 0.45 of the plain form's (3,065 of 7,662 MiB at DARTS' size)."""

    def saved(options: MixedOptions) -> int:
        torch.manual_seed(0)
        model = MixedSupernet(DARTS(channels=4, cells=3), options)
        for alpha in model.architecture_parameters().values():
            alpha.requires_grad_(False)
        storages: dict[int, int] = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            if not isinstance(t, torch.nn.Parameter):
                storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = model(torch.randn(8, 3, 16, 16)).sum()
        total = sum(storages.values())
        del loss
        return total

    assert saved(MixedOptions("C")) < 0.45 * saved(MixedOptions("C", shared=False))


def test_the_shuffle_of_pc_darts() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1)
    assert shuffle(x, 2).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_edge_normalization_is_a_softmax_over_each_nodes_edges() -> None:
    model = MixedSupernet(DARTS(channels=4, cells=3), MixedOptions(partial_channels=2, edge_normalization=True))
    _, shares = model.probabilities()
    groups = shares["normal"].split([2, 3, 4, 5])
    assert all(float(g.detach().sum()) == pytest.approx(1) for g in groups)
    beta = model.betas["normal"].detach()
    assert torch.allclose(groups[1], beta[2:5].softmax(0))


def test_a_one_hot_mixture_of_the_derived_cell_is_that_cell() -> None:
    """With the weights of one architecture, the mixture is the stand-alone network; NAS-Bench-201 has no batch norm
    after pools.
    """
    space = NASBench201(channels=4, cells_per_stage=1)
    model = MixedSupernet(space, MixedOptions("A")).double().eval()
    architecture = space.parse(
        "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    )
    with torch.no_grad():
        model.alphas["cell"].copy_(1000 * torch.eye(5)[torch.from_numpy(space.encode([architecture])[0]).long()])
    assert model.genotype() == space.to_string(architecture)
    network = space.network(architecture).double().eval()
    state, filled = model.state_dict(), network.state_dict()
    for name in filled:
        parts = name.split(".")
        if parts[:1] == ["cells"] and "edges" in parts:
            i, j = map(int, parts[3].split("_"))
            op = architecture[f"e_{i}_{j}"]
            source = ".".join([*parts[:2], "edges", str(space.edges.index((i, j))), "operations", op, *parts[4:]])
        else:
            source = name
        filled[name].copy_(state[source])
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(model(x), network(x), atol=1e-10)


def test_drop_path_grows_and_acts_in_training_only() -> None:
    model = MixedSupernet(DARTS(channels=4, cells=3), MixedOptions(drop_path=0.5))
    x = torch.randn(4, 3, 8, 8)
    model.begin_epoch(0, 3)
    assert torch.equal(copy.deepcopy(model)(x), copy.deepcopy(model)(x))
    model.begin_epoch(2, 3)
    assert {cell.drop_path for cell in model.cells} == {0.5}
    assert not torch.equal(copy.deepcopy(model)(x), copy.deepcopy(model)(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixedOptions("E"), "option: must be A, B, C or D, but got 'E'"),
        (lambda: MixedOptions(initialisation="he"), "initialisation: must be one of torch, kaiming, xavier"),
        (lambda: MixedOptions(partial_channels=0), "partial_channels >= 1"),
        (lambda: MixedOptions(drop_path=1.0), "0 <= drop_path < 1"),
        (
            lambda: MixedSupernet(DARTS(channels=6), MixedOptions(partial_channels=4)),
            "partial_channels=4 must divide the width of the first cells, 6",
        ),
        (
            lambda: MixedSupernet(NAO()),
            "nao has no mixture over edges.\nDifferentiable search works on darts, robustdarts and nasbench201",
        ),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


def test_auxiliary_skips_of_darts_minus() -> None:
    """Each edge adds beta times its input, in all four edges of this chain; beta falls from 1 to 1 / epochs."""
    torch.manual_seed(0)
    cell = MixedCell([(0, 1)], [("none", "skip_connect")], 4, False, MixedOptions(auxiliary_skip=0.5), 1)
    x, weights = torch.randn(2, 4, 3, 3), [torch.tensor([0.75, 0.25])]
    cell.beta = 0.5
    assert torch.allclose(cell.states([x], weights, None)[-1], 0.75 * x)
    supernet = MixedSupernet(DARTS(channels=4, cells=3), MixedOptions(auxiliary_skip=2.0))
    betas = []
    for epoch in range(4):
        supernet.begin_epoch(epoch, 4)
        betas.append({c.beta for c in supernet.cells if isinstance(c, MixedCell)})
    assert betas == [{2.0}, {1.5}, {1.0}, {0.5}]
    reduced = [len(list(c.auxiliary.parameters())) for c in supernet.cells if isinstance(c, MixedCell)]
    assert reduced == [0, 16, 16], "two convolutions on each of the eight edges of stride 2, none elsewhere"
    with pytest.raises(SpaceError, match="without partial channels and edge normalization only"):
        MixedOptions(auxiliary_skip=1.0, partial_channels=4)
    with pytest.raises(SpaceError, match="auxiliary_skip >= 0 must hold, but got -1"):
        MixedOptions(auxiliary_skip=-1)
