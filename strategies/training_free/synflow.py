r"""SynFlow: how much flows through a network's weights.

Tanaka, Kunin, Yamins & Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow",
NeurIPS 2020, equation 5, as a score of architectures in Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR
2021: with absolute weights, an input of ones and batch norms left out, R the sum of all outputs,

.. math:: s = \sum_\theta \left|\theta \frac{\partial R}{\partial \theta}\right|

over the weights of convolutions and linear layers. All of it is float64. The score is log s, which ranks alike, for s
spans many orders of magnitude.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .networks import Inputs, NetworkScore, weighted, without_norms


class SynFlow(NetworkScore):
    """``synflow``: the logarithm of the summed flow."""

    columns = ("synflow",)

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """Of an input of ones."""
        network = without_norms(network).double()
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
