"""The scores beside those that peers' public code gives for the same network, weights and inputs.

How the numbers came out: the network below was given to the functions of each repository on a CPU, with torch 2.11, its
cells computing every operation's ReLU by its own module; where a function asks a network for something by name (features
before pooling, outputs of cells), the network got a method that returns it. ``torch.manual_seed(5)`` came directly before
functions that draw weights or noise.

- NASLib, automl/NASLib 0b51bc184622a98317ea1048b2daf7dd1150f243: ``nwot.py`` (with ``ReLUConvBN`` renamed: whatever has
  "ReLU" in its class's name is counted there, so that a block's input would count twice), ``jacov.py``;
- SamsungLabs/zero-cost-nas a43bfbc90c1a02a81fb4397a5e096759e93fbe50: ``jacob_cov.py``, ``synflow.py`` with batch norms
  that return their input, as its ``bn=False`` makes them;
- SLDGroup/ZiCo b0fec65923a90e84501593f675b1e2f422d79e3d: ``compute_zico.py``, two batches, cross entropy;
- idstcv/ZenNAS d1d617e0352733d39890fb64ea758f9c85b28c1a: ``compute_zen_score.py``, 12 images of 8 pixels a side;
- cvlab-yonsei/AZ-NAS 5e6683a2cfa5c6d0dc34a1317a842497ba7eae47: NB201's ``compute_az_nas_score.py``, the same.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.evaluators import RandomLabels
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.training_free import Inputs
from nni_plugins.strategies.training_free.names import network_score, score_settings
from nni_plugins.strategies.training_free.networks import for_scoring

SPACE = NASBench201(channels=4, cells_per_stage=1)
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def network() -> nn.Module:
    """With weights that no generator draws."""
    made = SPACE.network(SPACE.from_string(CELL))
    with torch.no_grad():
        for k, weight in enumerate(made.parameters()):
            if weight.ndim > 1:
                weight.copy_((torch.arange(weight.numel()) * 0.7 + k).sin().view_as(weight) / weight[0].numel() ** 0.5)
        made.classifier.bias.zero_()
    return for_scoring(made)


def images(shift: float = 0.0, n: int = 12) -> torch.Tensor:
    scale = ((torch.arange(n) + 1.0) * 1.3).cos().view(n, 1, 1, 1)
    wave = (torch.arange(n * 192) * 0.37 + shift).sin().view(n, 3, 8, 8)
    return wave * scale + (torch.arange(n * 192) * 0.011).cos().view(n, 3, 8, 8)


def score(name: str, **settings: Any) -> tuple[float, ...]:
    labels = torch.arange(12) % 10
    inputs = Inputs(((images(), labels), (images(2.0), labels)), RandomLabels(10))
    scored, made = network_score(name, score_settings(name, settings)), network()
    scored.require(network(), inputs)
    torch.manual_seed(5)
    return scored(made, inputs)


def test_naswot_and_jacobian_are_naslibs() -> None:
    assert score("naswot") == pytest.approx((81.66736105191886,), rel=1e-10)
    assert score("jacobian") == pytest.approx((-71.72809484366624,), rel=1e-4)  # zero-cost-nas gives the same


def test_synflow_is_zero_cost_nas() -> None:
    assert score("synflow") == pytest.approx((math.log(2554090829.827664),), rel=1e-12)


def test_zico_is_its_authors() -> None:
    """Who take deviations of signed gradients; the paper's are of their sizes."""
    assert score("zico", variant="official") == pytest.approx((133.060791015625,), rel=1e-4)
    assert score("zico", variant="paper")[0] > score("zico", variant="official")[0]


def test_zen_is_its_authors() -> None:
    assert score("zen", variant="official", batch_size=12) == pytest.approx((13.94576644897461,), rel=1e-5)


def test_az_is_its_authors() -> None:
    expected = (10.321664929389954, -0.07646369934082031, -0.6335134860918841)
    assert score("az", batch_size=12) == pytest.approx(expected, rel=1e-4, abs=1e-5)
