"""A network that NNI makes of an architecture, with the interface of this package's own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ..head_modules import LinearHead
from ..staged import Stage, StagedNetwork


class NNINetwork(StagedNetwork):
    """``body`` gives pooled features (B, C), ``classifier`` is NNI's own last linear layer.

    There is one stage, whose feature map is the pooled one, (B, C, 1, 1): where a model of NNI's pools, and what it does
    afterwards, is its own affair.
    """

    def __init__(self, body: nn.Module, last: str, classes: int, input_channels: int) -> None:
        super().__init__()
        linear = body.get_submodule(last)
        assert isinstance(linear, nn.Linear)
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        head = LinearHead(linear.in_features, classes, bias=linear.bias is not None, **like)
        if linear.out_features == classes:
            head.weight, head.bias = linear.weight, linear.bias
        parent, _, name = last.rpartition(".")
        setattr(body.get_submodule(parent), name, nn.Identity())
        self.body, self.classifier = body, head
        self.input_channels, self.all_stages = input_channels, (Stage(linear.in_features, 1),)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        yield self.step(self.body, x)[:, :, None, None]

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.body]]

    def chain(self) -> list[nn.Module]:
        """The body's blocks that have weights: its children, sequences of blocks taken apart."""
        return [block for block in _blocks(self.body, top=True) if any(True for _ in block.parameters())]

    def last_map(self, x: torch.Tensor) -> torch.Tensor:
        """What the body pools last over all pixels, (B, C, h, w); its pooled features, where it has no module for that."""
        kept: list[torch.Tensor] = []

        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            kept.append(inputs[0])

        pools = [m for m in self.body.modules() if isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size in (1, (1, 1))]
        handles = [pool.register_forward_pre_hook(keep) for pool in pools]
        try:
            pooled = super().last_map(x)
        finally:
            for handle in handles:
                handle.remove()
        return kept[-1] if kept else pooled


def _blocks(module: nn.Module, top: bool = False) -> Iterator[nn.Module]:
    listed = type(module) in (nn.Sequential, nn.ModuleList)
    if top or (listed and any(True for child in module.children() for _ in child.children())):
        for child in module.children():
            yield from _blocks(child)
    else:
        yield module
