"""The training-free scores against their definitions, on networks whose scores can be computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import RandomLabels
from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.training_free import Inputs, SynFlowSettings, measure
from nni_plugins.strategies.training_free.naswot import NASWOT, Agreements, agreement
from nni_plugins.strategies.training_free.settings import NASWOTSettings
from nni_plugins.strategies.training_free.synflow import SynFlow

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


# -- measures ----------------------------------------------------------------------------------------------------------
def test_costs_are_the_networks() -> None:
    rows = SPACE.sample(np.random.default_rng(0), 3)
    counted = [sum(p.numel() for p in SPACE.with_classes(10).network(one).parameters()) for one in SPACE.decode(rows)]
    assert measure(SPACE, IMAGES, "parameters")(rows)[:, 0].tolist() == counted
    macs = SPACE.with_classes(10).cost_table(8)(rows).macs
    assert measure(SPACE, IMAGES, "macs")(rows)[:, 0].tolist() == macs.tolist()


@pytest.mark.parametrize("name", ["naswot", "synflow"])
def test_a_value_depends_on_the_architecture_and_the_seed_alone(name: str) -> None:
    rows, settings = SPACE.sample(np.random.default_rng(3), 6), {"batch_size": 8} if name != "synflow" else {}

    def scores(seed: int, indices: np.ndarray) -> list[float]:
        return measure(SPACE, IMAGES, name, seed=seed, settings=settings)(indices)[:, 0].tolist()

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
