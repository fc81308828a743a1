"""The modules of :class:`nni_plugins.spaces.stems.Stem`."""

from __future__ import annotations

from torch import nn

from .stems import Stem


def build(stem: Stem, input_channels: int, last_activation: bool = False) -> nn.Sequential:
    """3x3 convolutions with batch norms, ReLU between them: (B, input_channels, H, W) -> (B, stem.outputs, h, w)."""
    layers: list[nn.Module] = []
    inputs = input_channels
    for outputs, stride in stem.convolutions:
        if layers:
            layers.append(nn.ReLU(inplace=True))
        layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        inputs = outputs
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if last_activation else nn.Sequential(*layers)
