r"""SynFlow: how much flows through a network's weights.

Tanaka, Kunin, Yamins & Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow",
NeurIPS 2020, as a score of architectures in Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR
2021: with absolute weights, an input of ones and batch norms left out, R the sum of all outputs,

.. math:: s = \sum_\theta \left|\theta \frac{\partial R}{\partial \theta}\right|

over the weights of convolutions and linear layers. All of it is float64. The score is log s, which ranks alike, for s
spans many orders of magnitude.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .networks import Inputs, NetworkScore, weighted, without_norms


class SynFlow(NetworkScore):
    """``synflow``: the logarithm of the summed flow."""

    columns = ("synflow",)

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """Of an input of ones."""
        network = without_norms(network).double()
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1:
                setattr(module, "forward", partial(depthwise, module))  # noqa: B010 - of this one only
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        layers = weighted(network)
        weights = [layer.weight for layer in layers]
        flow = network(torch.ones_like(inputs.x[:1], dtype=torch.float64)).sum()
        gradients = torch.autograd.grad(flow, weights, allow_unused=True)
        total = sum(
            float((weight * gradient).abs().sum().detach())
            for weight, gradient in zip(weights, gradients, strict=True)
            if gradient is not None
        )
        return (math.log(total) if total > 0 else -math.inf,)


def depthwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """What ``conv``, with one filter a channel, makes of ``x: (B, C, H, W)``: torch has no fast kernel of float64."""
    reach = [dilation * (kernel - 1) for dilation, kernel in zip(conv.dilation, conv.kernel_size, strict=True)]
    padding = [int(one) for one in conv.padding]
    size = [(x.shape[2 + i] + 2 * padding[i] - reach[i] - 1) // conv.stride[i] + 1 for i in (0, 1)]
    columns = functional.unfold(x, conv.kernel_size, conv.dilation, (padding[0], padding[1]), conv.stride)
    filtered = torch.einsum(
        "bckl,ck->bcl", columns.view(len(x), x.shape[1], -1, columns.shape[2]), conv.weight.flatten(1)
    )
    y: torch.Tensor = filtered.view(*filtered.shape[:2], size[0], size[1])
    return y if conv.bias is None else y + conv.bias[:, None, None]
