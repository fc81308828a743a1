r"""Jacobian covariance: how differently a network's outputs change with different images.

Mellor, Turner, Storkey & Crowley, "Neural Architecture Search without Training", first version, arXiv 2006.04647v1;
``jacob_cov`` of Abdelfattah et al., ICLR 2021, ``jacov`` of NASLib. The gradient of all outputs' sum in
the inputs has one row for each of N images; with the eigenvalues :math:`\lambda_i` of the rows' correlation matrix and
k = 1e-5,

.. math:: s = -\sum_{i=1}^N \left[\log(\lambda_i + k) + \frac{1}{\lambda_i + k}\right].

Batch norms use the batch's statistics, as in the two libraries. Correlations and eigenvalues are float64.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from .networks import Inputs, NetworkScore, frozen

K = 1e-5


class Jacobian(NetworkScore):
    """``jacobian``: larger where gradients of different images are less correlated."""

    columns = ("jacobian",)

    @property
    def images(self) -> int:
        """One batch."""
        return cast(int, self.settings.batch_size)

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """Of one batch's gradients."""
        x = inputs.x.detach().clone().requires_grad_()
        with frozen(network):
            outputs = network(x)
            if not outputs.requires_grad:  # they depend on no image
                return (float("nan"),)
            (gradient,) = torch.autograd.grad(outputs.sum(), x)
        return (correlation_score(gradient.flatten(1)),)


def correlation_score(rows: torch.Tensor) -> float:
    """Of gradients ``rows: (N, F)``; NaN where one of them is the same in all inputs."""
    rows = rows.double()
    rows = rows - rows.mean(1, keepdim=True)
    lengths = rows.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()) or not bool(torch.isfinite(lengths).all()):
        return float("nan")
    rows = rows / lengths
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + K
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())
