r"""ZiCo: gradients that are large and vary little between batches.

Li, Yang, Bhardwaj & Marculescu, "ZiCo: Zero-shot NAS via inverse coefficient of variation on gradients", ICLR 2023:
over layers l and, within one, weights :math:`\omega`, with mean and variance over batches i,

.. math:: s = \sum_l \log \sum_{\omega \in \theta_l}
   \frac{E_i |\nabla_\omega L_i|}{\sqrt{\mathrm{Var}_i |\nabla_\omega L_i|}}.

Weights without variance, and layers without any other, do not count. The official code divides by the deviation of the
gradients themselves, signs included; ``variant: official`` does so. The paper's loss is cross entropy with labels; here
it is the objective's, so random labels or a pretext task take their place. Means and deviations are float64.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from .networks import Inputs, NetworkScore, weighted


class ZiCo(NetworkScore):
    """``zico``."""

    columns = ("zico",)

    @property
    def images(self) -> int:
        """Of each batch."""
        return cast(int, self.settings.batch_size)

    @property
    def batches(self) -> int:
        """Whose gradients are compared."""
        return cast(int, self.settings.batches)

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """Of the gradients of all batches at the same weights."""
        weights = [layer.weight for layer in weighted(network)]
        gradients = []
        for x, targets in inputs.batches:
            loss = inputs.objective.loss(network(x), targets)
            gradients.append(torch.autograd.grad(loss, weights, allow_unused=True))
        layers = [torch.stack(one).flatten(1) for one in zip(*gradients, strict=True) if one[0] is not None]
        return (zico(layers, signed=self.settings.variant == "official"),)


def zico(layers: list[torch.Tensor], signed: bool = False) -> float:
    """Of each layer's gradients ``(batches, weights)``; NaN where no weight of any layer counts.

    ``signed``: deviations of the gradients themselves instead of their absolute values.
    """
    total, counted = 0.0, 0
    for given in layers:
        gradients = given.double()
        sizes = gradients.abs()
        varied = gradients if signed else sizes
        deviation = (varied - varied.mean(0)).square_().mean(0).sqrt_()
        value = float(torch.where(deviation > 0, sizes.mean(0) / deviation, 0.0).sum())
        if value > 0:
            total, counted = total + math.log(value), counted + 1
    return total if counted and math.isfinite(total) else float("nan")
