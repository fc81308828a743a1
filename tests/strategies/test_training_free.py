"""The training-free scores against their definitions, on networks whose scores can be computed by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import RandomLabels
from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import DARTS, NASBench101, NASBench201
from nni_plugins.spaces.head_modules import LinearHead
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.staged import Stage, StagedNetwork
from nni_plugins.strategies.training_free import (
    Aggregation,
    AZSettings,
    Inputs,
    JacobianSettings,
    NASWOTSettings,
    SynFlowSettings,
    ZenSettings,
    ZiCoSettings,
    measure,
)
from nni_plugins.strategies.training_free.aggregation import aggregated
from nni_plugins.strategies.training_free.az import AZ, block_outputs, entropy, trainability
from nni_plugins.strategies.training_free.jacobian import Jacobian
from nni_plugins.strategies.training_free.names import NETWORK_SCORES
from nni_plugins.strategies.training_free.naswot import NASWOT, Agreements, agreement
from nni_plugins.strategies.training_free.networks import for_scoring
from nni_plugins.strategies.training_free.synflow import SynFlow, depthwise
from nni_plugins.strategies.training_free.zen import Zen
from nni_plugins.strategies.training_free.zico import ZiCo, zico

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
IMAGES = ImageSet(
    "noise", torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), None
)


def given(x: torch.Tensor) -> Inputs:
    """``x`` with a class for each."""
    return Inputs(((x, torch.zeros(len(x), dtype=torch.int64)),), RandomLabels(2))


# -- naswot ------------------------------------------------------------------------------------------------------------
class TwoUnits(nn.Module):
    """Rectifies its two inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).sum(1)


def test_naswot_of_two_units() -> None:
    """Codes 11, 10 and 00 agree in 2 bits with themselves, 11 and 10 as 10 and 00 in one, 11 and 00 in none."""
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [-1.0, 0.0]])
    kernel = [[2, 1, 0], [1, 2, 1], [0, 1, 2]]
    assert agreement(torch.relu(x)).tolist() == kernel
    score = NASWOT(NASWOTSettings(batch_size=3))
    assert score(TwoUnits(), given(x)) == pytest.approx((math.log(4),))  # 2 (4 - 1) - 1 (2 - 0)
    alike = torch.tensor([[1.0, 2.0], [2.0, 1.0], [-1.0, 0.0]])
    assert math.isnan(score(TwoUnits(), given(alike))[0]), "two codes are equal, so the determinant is 0"


def test_naswot_counts_every_kind_of_relu() -> None:
    class Kinds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.ReLU(), nn.ReLU6(), nn.ReLU(inplace=True))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layers(x - 0.0)
            return torch.relu(x) + x.relu() + nn.functional.relu(x) + y + nn.functional.hardtanh(x) + torch.tanh(x)

    x = torch.tensor([[1.0], [-1.0]])
    with Agreements() as counted:
        Kinds()(x)
    assert counted.kernel is not None and counted.kernel.tolist() == [[6, 0], [0, 6]]


def test_naswot_counts_the_relu_of_every_operation() -> None:
    """Cells compute a state's ReLU once; here two of their three convolutions read the input."""
    convolutions = SPACE.from_string("|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|")
    network = SPACE.network(convolutions).eval()
    score = NASWOT(NASWOTSettings(batch_size=4))
    x = torch.randn(4, 3, 8, 8)
    units = []
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d and ".edges." in name:
            module.register_forward_pre_hook(lambda _, args: units.append(args[0].flatten(1) > 0))
        elif name in ("lastact.1", "cells.1.conv_a.0", "cells.1.conv_b.0", "cells.3.conv_a.0", "cells.3.conv_b.0"):
            module.register_forward_hook(lambda _, __, out: units.append(out.flatten(1) > 0))
    network(x)
    codes = torch.cat(units, 1)
    in_cells, in_reductions, last = 3 * (4 * 64 + 8 * 16 + 16 * 4), (4 * 64 + 8 * 16) + (8 * 16 + 16 * 4), 16 * 4
    assert codes.shape[1] == in_cells + in_reductions + last
    kernel = (codes[:, None] == codes[None]).sum(2).double()
    assert score(network, given(x)) == pytest.approx((torch.linalg.slogdet(kernel).logabsdet.item(),), rel=1e-12)


def test_naswot_needs_a_relu() -> None:
    with pytest.raises(ConfigError, match="naswot counts rectified linear units, and Linear computes no ReLU"):
        NASWOT(NASWOTSettings()).require(nn.Linear(2, 2), given(torch.ones(2, 2)))


# -- synflow -----------------------------------------------------------------------------------------------------------
def test_synflow_of_linear_layers() -> None:
    """R = |v| |W| 1 is linear in either layer's weights, so each adds R; a bias adds to R, but has no flow of its own."""
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        network[0].bias.copy_(torch.tensor([-1.0, 1.0]))
        network[3].weight.copy_(torch.tensor([[2.0, -5.0]]))
    first = 2 * (1 + 2) + 5 * (3 + 4)
    second = 2 * (1 + 2 + 1) + 5 * (3 + 4 + 1)
    assert SynFlow(SynFlowSettings())(network, given(torch.zeros(1, 2))) == pytest.approx((math.log(first + second),))


def test_synflow_of_a_cut_network_is_least() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    nn.init.zeros_(network[1].weight)
    assert SynFlow(SynFlowSettings())(network, given(torch.zeros(1, 2))) == (-math.inf,)


def test_synflow_of_depthwise_convolutions() -> None:
    for stride, dilation, padding in ((1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 4)):
        conv = nn.Conv2d(3, 3, 3, stride, padding, dilation, groups=3).double()
        x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
        assert torch.allclose(depthwise(conv, x), conv(x), rtol=1e-12)


# -- jacobian ------------------------------------------------------------------------------------------------------------
def test_jacobian_by_its_eigenvalues() -> None:
    """Of two inputs whose gradients correlate with r, the matrix has the eigenvalues 1 + r and 1 - r."""

    class Product(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x**2 / 2).sum(1, keepdim=True)  # its gradient is x

    x = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]])
    r = np.corrcoef(x.numpy())[0, 1]
    eigenvalues = np.array([1 + r, 1 - r]) + 1e-5
    expected = -(np.log(eigenvalues) + 1 / eigenvalues).sum()
    assert Jacobian(JacobianSettings())(Product(), given(x)) == pytest.approx((expected,), rel=1e-9)
    constant = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(1))
    assert math.isnan(Jacobian(JacobianSettings())(constant, given(x))[0]), "equal gradients have no correlation"


# -- zico ----------------------------------------------------------------------------------------------------------------
def test_zico_by_means_and_deviations() -> None:
    """Gradients 1 and 3 have mean 2 and deviation 1; -1 and 3 have sizes of mean 2 and deviation 1, but signed ones 2;
    equal ones do not count, nor does a layer of nothing else."""
    layers = [
        torch.tensor([[1.0, -1.0, 5.0], [3.0, 3.0, 5.0]]),
        torch.tensor([[4.0], [4.0]]),
        torch.tensor([[0.0], [6.0]]),
    ]
    assert zico(layers) == pytest.approx(math.log(2 + 2) + math.log(3 / 3))
    assert zico(layers, signed=True) == pytest.approx(math.log(2 + 1) + math.log(1))
    assert math.isnan(zico(layers[1:2]))


def test_zico_takes_the_objectives_loss() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False))
    batches = tuple((torch.randn(4, 2), torch.randint(0, 2, (4,))) for _ in range(3))

    class Squares(RandomLabels):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return (outputs**2).sum()

    gradients = torch.stack([2 * network[0].weight @ x.T @ x for x, _ in batches]).detach().flatten(1)
    sizes = gradients.abs().double()
    expected = math.log(float((sizes.mean(0) / sizes.std(0, correction=0)).sum()))
    score = ZiCo(ZiCoSettings(batch_size=4, batches=3))
    assert score(network, Inputs(batches, Squares(2))) == pytest.approx((expected,), rel=1e-5)


# -- zen -----------------------------------------------------------------------------------------------------------------
class Staged(StagedNetwork):
    """``body``, then the mean of each channel."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.ModuleList(body)
        self.all_stages = (Stage(2, 1),)
        self.input_channels = 2
        self.classifier = LinearHead(2, 2)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        for layer in self.body:
            x = layer(x)
        yield x

    def stage_modules(self) -> list[list[nn.Module]]:
        return [list(self.body)]


def test_zen_of_a_convolution_and_a_batch_norm() -> None:
    """What the batch norm divides by is put back, so a linear network's score is that of its convolution."""
    network = Staged(nn.Conv2d(2, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1e-12))
    torch.manual_seed(3)
    (value,) = Zen(ZenSettings(batch_size=6, alpha=0.01))(for_scoring(network), given(torch.zeros(1, 2, 4, 4)))
    torch.manual_seed(3)
    weight = torch.empty(1, 2, 1, 1).normal_()
    _ = torch.empty(2, 2).normal_()  # the head's
    x, noise = (torch.empty(6, 2, 4, 4).normal_() for _ in range(2))
    f = lambda images: (images * weight).sum(1)  # noqa: E731
    first, second = f(x), f(x + 0.01 * noise)
    deviation, moved = first.std(), second.std(correction=0)
    difference = (first - first.mean()) / first.std(correction=0) - (second - second.mean()) / moved
    expected = difference.flatten(1).norm(dim=1).mean().log() + deviation.log()
    assert value == pytest.approx(expected.item(), rel=1e-3)


def test_zen_needs_batch_norms_and_stages() -> None:
    with pytest.raises(ConfigError, match="zen reads the statistics of batch norms, and Staged has none"):
        Zen(ZenSettings()).require(Staged(nn.Conv2d(2, 2, 1)), given(torch.zeros(1, 2, 4, 4)))
    with pytest.raises(ConfigError, match="zen looks at the last feature map, and Sequential names none"):
        Zen(ZenSettings()).require(nn.Sequential(nn.BatchNorm2d(2)), given(torch.zeros(1, 2, 4, 4)))


def test_zen_removes_residual_links() -> None:
    space = MobileNetLike(classes=10)
    rows = space.sample(np.random.default_rng(0), 1)
    network = space.network(*space.decode(rows))
    assert any(getattr(module, "residual", False) for module in network.modules())
    Zen(ZenSettings(batch_size=2))(for_scoring(network), given(torch.zeros(1, 3, 32, 32)))
    assert not any(getattr(module, "residual", False) for module in network.modules())


# -- az ------------------------------------------------------------------------------------------------------------------
def test_expressivity_of_principal_components() -> None:
    """Pixels along the axes with variances 3 and 1: shares 3/4 and 1/4."""
    feature = torch.tensor([[3.0, -3.0, 0.0, 0.0], [0.0, 0.0, 3**0.5, -(3**0.5)]]).view(1, 2, 2, 2)
    assert entropy(feature) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    wide = torch.zeros(1, 9, 1, 2)
    wide[0, 0, 0] = torch.tensor([1.0, -1.0])
    assert entropy(wide) == pytest.approx(0.0, abs=1e-9), "one component"
    assert math.isnan(entropy(torch.ones(2, 3, 4, 4)))


def test_trainability_of_linear_blocks() -> None:
    """A 1x1 convolution has its matrix' largest singular value, here 2; the signs' products are 1 up to chance."""
    x = torch.randn(64, 2, 16, 16, requires_grad=True)
    conv = nn.Conv2d(2, 2, 1, bias=False)
    conv.weight.data = torch.tensor([[2.0, 0.0], [0.0, 0.5]]).view(2, 2, 1, 1)
    assert trainability(x, conv(x)) == pytest.approx(2 - 2 - 1 / 2, abs=0.05)
    assert trainability(x, x.sum() * torch.zeros_like(x) + 1) == pytest.approx(2 - 1e6), "no gradient"
    assert trainability(x, torch.ones_like(x)) == pytest.approx(2 - 1e6)
    assert trainability(x, x) == trainability(x, x + 1) == -math.inf, "an identity"


@pytest.mark.parametrize("size", [4, 5])
def test_trainability_of_strides(size: int) -> None:
    """Of the pixels under an output one is read, whatever the size."""
    x = torch.randn(64, 1, size, size, requires_grad=True)
    assert trainability(x, 0.5 * x[:, :, ::2, ::2]) == pytest.approx(2 - 0.5 - 2, abs=0.02)
    assert trainability(x, nn.functional.max_pool2d(x, 2)) == pytest.approx(2 - 0.5 - 2, abs=0.2), "each in a quarter"


def test_az_of_a_network() -> None:
    """Entropies are of the outputs of the chain's blocks; an absent block is none."""
    network = Staged(nn.Conv2d(2, 2, 1), nn.Identity(), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()))
    torch.manual_seed(0)
    expressivity, progressivity, slope = AZ(AZSettings(batch_size=8))(
        for_scoring(network), given(torch.zeros(1, 2, 4, 4))
    )
    torch.manual_seed(0)
    for module in (network.body[0], network.classifier):
        nn.init.kaiming_normal_(module.weight)
    x = torch.randn(8, 2, 4, 4)
    features = [network.body[0](x)]
    features.append(network.body[2](features[0]))
    first, second = (entropy(one.detach()) for one in features)
    assert expressivity == pytest.approx(first + second, rel=1e-6)
    assert progressivity == pytest.approx(second - first, rel=1e-6)
    assert slope == pytest.approx(trainability(*features), rel=1e-6)
    with pytest.raises(ConfigError, match="az compares the outputs of a network's blocks, and Linear names no two"):
        AZ(AZSettings()).require(nn.Linear(2, 2), given(torch.zeros(1, 2)))


def test_chains_of_the_spaces() -> None:
    """What AZ-NAS takes for blocks."""
    lengths = {}
    for space in (SPACE, NASBench101(channels=8, stacks=2, cells_per_stack=1), DARTS(channels=4, cells=3)):
        network = for_scoring(space.network(*space.decode(space.sample(np.random.default_rng(0), 1))))
        lengths[space.name] = [tuple(one.shape[1:]) for one in block_outputs(network, torch.randn(2, 3, 8, 8))]
    assert lengths["nasbench201"] == [(4, 8, 8), (4, 8, 8), (8, 4, 4), (8, 4, 4), (16, 2, 2), (16, 2, 2)]
    assert lengths["nasbench101"] == [(8, 8, 8), (8, 8, 8), (16, 4, 4)] and len(lengths["darts"]) == 4


# -- aggregation ---------------------------------------------------------------------------------------------------------
def test_log_ranks_of_three_candidates() -> None:
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, -np.inf]])
    expected = [math.log(1 / 3) + math.log(2.5 / 3), math.log(2 / 3) + math.log(2.5 / 3), math.log(1 / 3)]
    assert aggregated(values, "log_rank") == pytest.approx(expected)
    assert aggregated(values, "mean_rank") == pytest.approx([3.5 / 6, 4.5 / 6, 4 / 6])
    assert aggregated(np.where(np.isinf(values), np.nan, values)) == pytest.approx(expected), "undefined is least"
    assert aggregated(values + 1e-14) == pytest.approx(expected), "rounding ties"


def test_others_get_the_rank_where_they_would_stand() -> None:
    among = Aggregation(np.array([[1.0], [2.0], [3.0], [4.0]]))
    others = np.array([[0.0], [2.5], [9.0], [2.0]])
    assert np.exp(among(others)) == pytest.approx([0.5 / 4, 2.5 / 4, 4.5 / 4, 2 / 4])


def test_several_columns_may_be_one_score() -> None:
    rng = np.random.default_rng(0)
    four, one = rng.normal(size=(9, 4)), rng.normal(size=(9, 1))
    both = aggregated(np.concatenate([four, one], 1), "mean_rank", (4, 1))
    assert both == pytest.approx(aggregated(np.stack([aggregated(four), one[:, 0]], 1), "mean_rank"))


# -- measures ----------------------------------------------------------------------------------------------------------
def test_costs_are_the_networks() -> None:
    rows = SPACE.sample(np.random.default_rng(0), 3)
    counted = [sum(p.numel() for p in SPACE.with_classes(10).network(one).parameters()) for one in SPACE.decode(rows)]
    assert measure(SPACE, IMAGES, "parameters")(rows)[:, 0].tolist() == counted
    macs = SPACE.with_classes(10).cost_table(8)(rows).macs
    assert measure(SPACE, IMAGES, "macs")(rows)[:, 0].tolist() == macs.tolist()


@pytest.mark.parametrize("name", NETWORK_SCORES)
def test_a_value_depends_on_the_architecture_and_the_seed_alone(name: str) -> None:
    rows, settings = SPACE.sample(np.random.default_rng(3), 4), {"batch_size": 8} if name != "synflow" else {}

    def scores(seed: int, indices: np.ndarray[Any, Any]) -> list[list[float]]:
        return measure(SPACE, IMAGES, name, seed=seed, settings=settings)(indices).tolist()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    values = scores(0, rows)
    assert torch.equal(torch.get_rng_state(), state), "a global generator was moved"
    assert scores(0, rows[::-1])[::-1] == values and [scores(0, row[None])[0] for row in rows] == values
    assert scores(1, rows) != values


def test_one_network_for_cells_that_are_the_same() -> None:
    """What lies on no path is not built."""
    texts = [f"|none~0|+|nor_conv_3x3~0|{dead}~1|" for dead in ("none", "nor_conv_3x3", "avg_pool_3x3")]
    rows = SPACE.encode([SPACE.from_string(text) for text in texts])
    scored = measure(SPACE, IMAGES, "naswot", settings={"batch_size": 8})
    assert len(set(scored(rows)[:, 0].tolist())) == 1 and scored.networks == 1 and scored.seconds > 0
    whole = NASBench201()
    assert len(np.unique(whole.simplified(whole.enumerate()), axis=0)) == 9445


def test_repeats_are_averaged() -> None:
    rows = SPACE.encode([SPACE.from_string("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|")])
    one, both = (measure(SPACE, IMAGES, "synflow", settings={"repeats": n})(rows)[0, 0] for n in (1, 2))
    assert one != both and abs(one - both) < 2


def test_too_few_different_images() -> None:
    twice = ImageSet("twice", IMAGES.images[:5].repeat(2, 1, 1, 1), None)
    with pytest.raises(
        ConfigError, match=r"twice: 8 different images are wanted .naswot, batch_size., but there are 5"
    ):
        measure(SPACE, twice, "naswot", settings={"batch_size": 8})
    assert measure(SPACE, twice, "naswot", settings={"batch_size": 5})(SPACE.enumerate()[-1:]).shape == (1, 1)


def test_unknown_scores_and_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown training-free score 'nasswot'; did you mean 'naswot'"):
        measure(SPACE, IMAGES, "nasswot")
    with pytest.raises(ConfigError, match=r"naswot.batchsize: no such key; did you mean 'batch_size'"):
        measure(SPACE, IMAGES, "naswot", settings={"batchsize": 3})
