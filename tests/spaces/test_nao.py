"""NAO's networks against the same functions written out, and the reduction without a ReLU in closed form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from nni_plugins.spaces.cells import NAO, NASNet
from nni_plugins.spaces.operations import FactorizedReduce, State, candidate

Weights = dict[str, torch.Tensor]


@pytest.mark.parametrize("relu", [True, False])
def test_a_reduction_with_and_without_a_relu(relu: bool) -> None:
    """Weights of one, statistics of zero and one: the pixels at even places and those at odd ones, negative ones too."""
    reduce = FactorizedReduce(1, 2, relu=relu)
    image = torch.arange(-8.0, 8).reshape(1, 1, 4, 4)
    with torch.no_grad():
        for conv in (reduce.conv_1, reduce.conv_2):
            conv.weight.fill_(1)
        y = reduce.eval()(image)[0] * (1 + reduce.bn.eps) ** 0.5
        shared = State(image).through(reduce)[0] * (1 + reduce.bn.eps) ** 0.5
    expected = torch.tensor([[[-8.0, -6], [0, 2]], [[-3.0, -1], [5, 7]]])
    assert torch.allclose(y, expected.clamp_min(0) if relu else expected, atol=1e-4) and torch.equal(y, shared)


def test_only_naos_skips_are_without() -> None:
    x, seed = torch.randn(1, 4, 6, 6), 0
    results = []
    for skip_relu in (True, False):
        torch.manual_seed(seed)
        results.append(candidate("skip_connect", 4, 2, skip_relu=skip_relu)(x))
    assert not torch.allclose(*results)
    darts = NASNet(nodes=2, operations=("skip_connect", "avg_pool_3x3"), channels=2, cells=3)
    for space, relu in ((NAO(channels=2, cells=3), False), (darts, True)):
        assert space.macro.skip_relu is relu
        reductions = [m for m in space.supernet().modules() if isinstance(m, FactorizedReduce)]
        # calibrating begins with a ReLU everywhere
        assert {m.relu for m in reductions} == {relu, True}


# -- the networks, written out -----------------------------------------------------------------------------------------
def norm(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)


def reduction(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """NAO's factorized reduction: even pixels and odd pixels, side by side; no ReLU."""
    even = F.conv2d(x[:, :, ::2, ::2], p[f"{name}.conv_1.weight"])
    odd = F.conv2d(F.pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2], p[f"{name}.conv_2.weight"])
    return norm(p, f"{name}.bn", torch.cat([even, odd], 1))


def operation(p: Weights, name: str, number: int, x: torch.Tensor, stride: int) -> torch.Tensor:
    """NAO's operation ``number`` of the five."""
    if number in (0, 1):
        pad = 1 + number
        for first, step in ((1, stride), (5, 1)):
            x = F.conv2d(F.relu(x), p[f"{name}.{first}.weight"], None, step, pad, groups=x.shape[1])
            x = norm(p, f"{name}.{first + 2}", F.conv2d(x, p[f"{name}.{first + 1}.weight"]))
        return x
    if number == 2:
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    if number == 3:
        return F.max_pool2d(x, 3, stride, 1)
    return x if stride == 1 else reduction(p, name, x)


def calibrated(p: Weights, name: str, x: torch.Tensor, wanted: int, other: torch.Tensor) -> torch.Tensor:
    if x.shape[2] != other.shape[2]:
        return reduction(p, name, F.relu(x))
    if x.shape[1] == wanted:
        return x
    return norm(p, f"{name}.2", F.conv2d(F.relu(x), p[f"{name}.1.weight"]))


def written_out(
    p: Weights, row: npt.NDArray[np.int64], x: torch.Tensor, channels: int, cells: int, shared: bool
) -> torch.Tensor:
    """The logits of the stand-alone network, or of the architecture in the supernet, with batch statistics."""
    s0 = s1 = norm(p, "stem.first.1", F.conv2d(x, p["stem.first.0.weight"], padding=1))
    for c in range(cells):
        reducing = c in (cells // 3, 2 * cells // 3)
        channels *= 2 if reducing else 1
        at = f"cells.{c}.calibrations"
        states = [calibrated(p, f"{at}.0", s0, channels, s1), calibrated(p, f"{at}.1", s1, channels, s1)]
        code = row[20:] if reducing else row[:20]
        for slot in range(0, 10, 2):
            total = torch.zeros(())
            for s in (slot, slot + 1):
                source, number = code[2 * s : 2 * s + 2]
                name = f"cells.{c}.slots.{s}.{number}.{source}" if shared else f"cells.{c}.operations.{s}"
                total = total + operation(p, name, number, states[source], 2 if reducing and source < 2 else 1)
            states.append(total)
        loose = [s for s in range(7) if s not in code[::2]]
        kind = "reduces" if shared else "joined"
        for s in (0, 1):
            if reducing and s in loose:
                states[s] = reduction(p, f"cells.{c}.{kind}.{s}", states[s])
        output = torch.cat([states[s] for s in loose], 1)
        if shared:
            weight = torch.cat([p[f"cells.{c}.joins.{s}.weight"] for s in loose], 1)
            output = norm(p, f"cells.{c}.norm", F.conv2d(F.relu(output), weight))
        s0, s1 = s1, output
    return F.linear(s1.mean((2, 3)), p["classifier.weight"], p["classifier.bias"])


def test_networks_are_those_of_naos_code() -> None:
    """Twelve random architectures in float64, among them stride-2 skips of both inputs and unread inputs."""
    channels, cells = 4, 5
    space = NAO(channels=channels, cells=cells)
    rows = space.sample(np.random.default_rng(3), 12)
    reducing = rows[:, 20:].reshape(12, 10, 2)
    assert ((reducing[:, :, 0] < 2) & (reducing[:, :, 1] == 4)).any(axis=1).sum() >= 5
    assert space._loose(rows)[:, 1, :2].any()
    supernet = space.supernet().double().train()
    shared = dict(supernet.named_parameters())
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    largest = 0.0
    with torch.no_grad():
        for row, architecture in zip(rows, space.decode(rows), strict=True):
            network = space.network(architecture).double().train()
            pairs = (
                (network(x), written_out(dict(network.named_parameters()), row, x, channels, cells, False)),
                (
                    supernet.forward_path(x, np.broadcast_to(row, (cells, 40))),
                    written_out(shared, row, x, channels, cells, True),
                ),
            )
            largest = max(largest, *(float((a - b).abs().max() / b.abs().max()) for a, b in pairs))
    assert largest < 1e-13


def test_most_architectures_have_one() -> None:
    """A slot that reads one of n states reads input 0 or 1 through a skip with probability 2 / (5 n), and a reduction
    cell may leave an input unread: of so many architectures a ReLU there would make another function."""
    space = NAO()
    rows = space.sample(np.random.default_rng(0), 20_000)
    slots = rows[:, 20:].reshape(-1, 10, 2)
    skips = ((slots[:, :, 0] < 2) & (slots[:, :, 1] == 4)).any(axis=1)
    assert abs(skips.mean() - (1 - math.prod((1 - 2 / (5 * n)) ** 2 for n in range(2, 7)))) < 0.01
    affected = skips | space._loose(rows)[:, 1, :2].any(axis=1)
    assert abs(affected.mean() - 0.74) < 0.01
