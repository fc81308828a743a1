"""Plain and residual networks whose skip connections have a strength: ``X_{l+1} = relu(f(X_l) + lambda * X_l)``.

Architectures: He et al., "Deep Residual Learning", CVPR 2016. The trainable lambda in [0, 1]: Chu et al., "DARTS-",
ICLR 2021, and RF-DARTS, figure 3, whose text does not say whether it is one number or one a block; both are here.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional

from ..errors import ConfigError
from .settings import NetworkSettings, Trainable

Skips = Literal["none", "identity", "block", "network"]
"""No skip connections (a plain network); ordinary ones; a trainable lambda for each block; one trainable lambda for the
whole network.
"""

EXPANSION = {"basic": 1, "bottleneck": 4}


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """``f`` and, unless the network is plain, a skip connection: the input itself, or a 1x1 convolution of it where the
    shape changes.
    """

    def __init__(self, kind: str, inputs: int, width: int, stride: int, skips: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION[kind]
        sizes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if kind == "bottleneck":
            sizes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.layers = nn.ModuleList(ConvNorm(*size) for size in sizes)
        self.shortcut: nn.Module | None = None
        if skips:
            self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else ConvNorm(inputs, outputs, 1, stride)

    @property
    def keeps_shape(self) -> bool:
        """Whether the skip connection is the input itself."""
        return isinstance(self.shortcut, nn.Identity)

    def forward(self, x: torch.Tensor, strength: torch.Tensor | None) -> torch.Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = functional.relu(layer(y))
        y = self.layers[-1](y)
        if self.shortcut is not None:
            skipped = self.shortcut(x)
            y = y + (skipped if strength is None else strength.to(y.dtype) * skipped)
        return functional.relu(y)


class ResidualNetwork(nn.Module):
    """A classifier of images (B, 3, H, W); the output is (B, classes).

    Args:
        settings: blocks, width and initialisation.
        skips: see :data:`Skips`.
        initial: lambda before the training, in [0, 1]; only where it is trainable.
    """

    def __init__(
        self, settings: NetworkSettings, classes: int, skips: Skips = "identity", initial: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 <= initial <= 1:
            raise ConfigError(f"0 <= lambda <= 1 must hold, but got {initial:g}.")
        self.settings, self.skips, width = settings, skips, settings.width
        self.stem = ConvNorm(3, width, 3)
        self.blocks, inputs = nn.ModuleList(), width
        for stage, count in enumerate(settings.blocks):
            for b in range(count):
                stride = 2 if stage and not b else 1
                self.blocks.append(Block(settings.block, inputs, width * 2**stage, stride, skips != "none"))
                inputs = width * 2**stage * EXPANSION[settings.block]
        self.classifier = nn.Linear(inputs, classes)
        if skips in ("block", "network"):
            self.strengths = nn.Parameter(torch.full((len(self.blocks) if skips == "block" else 1,), initial))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and self.settings.initialisation == "kaiming":
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            elif isinstance(module, nn.Conv2d) and self.settings.initialisation == "xavier":
                nn.init.xavier_normal_(module.weight)

    @property
    def lambdas(self) -> torch.Tensor:
        """(blocks,) or (1,): the strengths of the skip connections, in [0, 1].

        Raises:
            ConfigError: they are not trainable here.
        """
        if self.skips not in ("block", "network"):
            raise ConfigError(f"skips={self.skips!r} has no lambda.", "Use skips='block' or 'network'.")
        return self.strengths.detach().clamp(0, 1)

    @property
    def lambda_names(self) -> list[str]:
        """What each of :attr:`lambdas` belongs to; blocks that change the shape are marked, for there lambda weighs a
        convolution of X.
        """
        if self.skips == "network":
            return ["all blocks"]
        return [
            f"block {i + 1}" + ("" if cast(Block, block).keeps_shape else " (projection)")
            for i, block in enumerate(self.blocks)
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        strengths: list[torch.Tensor | None] = [None] * len(self.blocks)
        if self.skips in ("block", "network"):
            if self.training:
                # Projection behind the optimizer's step: a clamp inside the graph would have no gradient back into [0,
                # 1].
                with torch.no_grad():
                    self.strengths.clamp_(0, 1)
            strengths = list(self.strengths.clamp(0, 1).expand(len(self.blocks)))
        x = functional.relu(self.stem(x))
        for block, strength in zip(self.blocks, strengths, strict=True):
            x = block(x, strength)
        return cast(torch.Tensor, self.classifier(x.mean((2, 3))))


def freeze(network: nn.Module, trainable: Trainable) -> nn.Module:
    """``network`` with convolutions that learn (``all``) or stay as they are (``norms``); everything else learns."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.requires_grad_(trainable == "all")
    return network
