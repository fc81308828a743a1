"""Convolutions by others on a part of the pixels, and operations that share a state's ReLU."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from nni_plugins.spaces import convolutions
from nni_plugins.spaces.convolutions import DilatedDepthwise, Pointwise, is_channels_last, splits
from nni_plugins.spaces.operation_costs import names
from nni_plugins.spaces.operations import State, candidate

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", FORMATS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(8, 6), (9, 9), (7, 8), (2, 2)])
def test_split_convolution_equals_torch(
    kernel: int, stride: int, layout: torch.memory_format, size: tuple[int, int]
) -> None:
    """Outputs and gradients in float64 to 1e-10; where it cannot be split torch's own is used."""
    torch.manual_seed(0)
    conv = DilatedDepthwise(4, kernel, stride).double()
    x = torch.randn(3, 4, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert splits(x, conv) == (stride == 2 or (size[0] % 2 == 0 and size[1] % 2 == 0))
    y, expected = conv(x), nn.Conv2d.forward(conv, x)
    assert y.shape == expected.shape and torch.allclose(y, expected, rtol=0, atol=1e-10)
    g = torch.randn_like(y)
    for found, right in zip(*(torch.autograd.grad(out, [x, conv.weight], g) for out in (y, expected)), strict=True):
        assert torch.allclose(found, right, rtol=0, atol=1e-10)
    if stride == 1 and size == (8, 6):
        assert is_channels_last(y) == (layout is torch.channels_last)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", FORMATS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("channels", "size"), [(3, (9, 8)), (8, (7, 7)), (16, (1, 2))])
def test_pointwise_convolution_equals_torch(
    stride: int, layout: torch.memory_format, channels: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = Pointwise(channels, 4, stride).double()
    x = torch.randn(3, channels, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    y, expected = conv(x), nn.functional.conv2d(x, conv.weight, stride=stride)
    assert y.shape == expected.shape and torch.allclose(y, expected, rtol=0, atol=1e-10)
    g = torch.randn_like(y)
    for found, right in zip(*(torch.autograd.grad(out, [x, conv.weight], g) for out in (y, expected)), strict=True):
        assert torch.allclose(found, right, rtol=0, atol=1e-10)


def test_what_is_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose stride was undone for dense prediction is dilated otherwise."""
    conv = DilatedDepthwise(4, 3, 1)
    x = torch.randn(2, 4, 8, 8)
    conv.dilation, conv.padding = (4, 4), (4, 4)
    assert not splits(x, conv)
    monkeypatch.setattr(convolutions, "convolve_split", lambda *_: pytest.fail("it was split"))
    assert torch.equal(conv(x), nn.functional.conv2d(x, conv.weight, padding=4, dilation=4, groups=4))


@pytest.mark.parametrize(("name", "stride"), [*product([n for n in names() if n != "noise"], (1, 2))])
def test_through_a_shared_relu(name: str, stride: int) -> None:
    """The very bits of the operation by itself, on a state with negative and positive numbers."""
    operation, other = candidate(name, 4, stride), candidate("nor_conv_3x3", 4)
    x = torch.randn(2, 4, 8, 8)
    kept, state = x.clone(), State(x)
    assert torch.equal(state.through(operation), operation(x))
    assert torch.equal(state.through(other), other(x)) and torch.equal(state.positive, x.relu())
    assert torch.equal(x, kept)
