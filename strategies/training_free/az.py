r"""AZ-NAS: expressivity, progressivity, trainability and complexity, which are ranked and added up as logarithms.

Lee & Ham, "AZ-NAS: Assembling zero-cost proxies for network architecture search", CVPR 2024, section 3. Weights are
Kaiming's normal ones (fan-in), the input is Gaussian noise, and :math:`f_l` is the output of primary block l: the stem,
then every cell or block. With the eigenvalues of the covariance of :math:`f_l`'s pixels, as shares
:math:`\tilde\lambda_i`, and the largest singular value :math:`\sigma_l` of the block's mean Jacobian, estimated by random
signs that are sent back through it,

.. math:: s_l = -\sum_i \tilde\lambda_i \log \tilde\lambda_i, \quad \mathrm{expressivity} = \sum_l s_l, \quad
   \mathrm{progressivity} = \min_{l > 1} (s_l - s_{l-1}), \quad
   \mathrm{trainability} = \frac{1}{L-1} \sum_{l>1} \left(2 - \sigma_l - \frac{1}{\sigma_l}\right).

Complexity is the number of multiply-adds. A block that returns its input makes trainability undefined (-inf, as in the
official code), a network whose features vanish makes all three so. Covariances and singular values are float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.staged import StagedNetwork

from .networks import Inputs, NetworkScore

SMALL = 1e-6
"""Added to a singular value that is divided by, as in the official code."""


class AZ(NetworkScore):
    """``expressivity``, ``progressivity``, ``trainability``; complexity needs no network."""

    columns = ("expressivity", "progressivity", "trainability")
    draws_weights = True

    @property
    def images(self) -> int | None:
        """The paper's input is noise."""
        return None if self.settings.inputs == "noise" else int(self.settings.batch_size)

    def require(self, network: nn.Module, inputs: Inputs) -> None:
        """At least two blocks."""
        if not isinstance(network, StagedNetwork) or len(primary_blocks(network)) < 2:
            raise ConfigError(
                f"az compares the outputs of a network's blocks, and {type(network).__name__} names no two of them.",
                "Derive the network from nni_plugins.spaces.staged.StagedNetwork.",
            )

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float, float, float]:
        """Of one batch."""
        assert isinstance(network, StagedNetwork)
        kaiming_weights(network)
        x = inputs.x
        if self.settings.inputs == "noise":
            x = x.new_empty((self.settings.batch_size, *x.shape[1:])).normal_()
        features = block_outputs(network, x)
        entropies = [entropy(one.detach()) for one in features]
        differences = np.diff(entropies)
        backwards = zip(reversed(features[:-1]), reversed(features[1:]), strict=True)
        singular = [trainability(before, after) for before, after in backwards]
        return float(np.sum(entropies)), float(np.min(differences)), float(np.mean(singular))


def primary_blocks(network: StagedNetwork) -> list[nn.Module]:
    """The blocks that compute anything."""
    return [block for block in network.chain() if not isinstance(block, nn.Identity)]


@contextmanager
def _watched(blocks: list[nn.Module], outputs: list[torch.Tensor]) -> Iterator[None]:
    def keep(_: nn.Module, __: object, output: torch.Tensor | Sequence[torch.Tensor]) -> None:
        outputs.append(output if isinstance(output, torch.Tensor) else output[-1])

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def block_outputs(network: StagedNetwork, x: torch.Tensor) -> list[torch.Tensor]:
    """What each primary block gives for ``x``, each (B, C, H, W), with the graph that leads there."""
    outputs: list[torch.Tensor] = []
    with _watched(primary_blocks(network), outputs):
        network(x)
    return outputs


def entropy(feature: torch.Tensor) -> float:
    """Of the shares of the principal components of ``feature: (B, C, H, W)``, in nats; NaN where all is constant."""
    pixels = feature.double().transpose(0, 1).flatten(1)
    pixels = pixels - pixels.mean(1, keepdim=True)
    eigenvalues = gram_eigenvalues(pixels)
    total = eigenvalues.sum()
    if not total > 0:
        return float("nan")
    return float(torch.special.entr(eigenvalues / total).sum())


def gram_eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """The squared singular values of ``matrix``, from the smaller of its two products with itself."""
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    values: torch.Tensor = torch.linalg.eigvalsh(product).clamp_min(0)
    return values


def trainability(before: torch.Tensor, after: torch.Tensor) -> float:
    """2 - s - 1 / s for the largest singular value s of the mean Jacobian from ``before: (B, C, H, W)`` to ``after: (B,
    C', h, w)``; -inf for an identity. Where the block has a stride, the pixels under one of its outputs are channels.
    """
    signs = torch.bernoulli(torch.full_like(after, 0.5)).sub_(0.5).mul_(2)
    gradient = None
    if after.requires_grad and before.requires_grad:
        (gradient,) = torch.autograd.grad(after, before, signs, allow_unused=True)
    if gradient is None:
        gradient = torch.zeros_like(before)
    if gradient.shape == signs.shape and torch.equal(gradient, signs):
        return -math.inf
    sent = signs.double().transpose(0, 1).flatten(1)
    received = _under(gradient, after.shape[2:]).double().transpose(0, 1).flatten(1)
    matrix = received @ sent.T / sent.shape[1]
    if not bool(torch.isfinite(matrix).all()):
        return float("nan")
    largest = math.sqrt(float(gram_eigenvalues(matrix).max()))
    return 2 - largest - 1 / (largest + SMALL)


def _under(gradient: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """``gradient: (B, C, H, W)`` with the s x s pixels under each of ``size`` (h, w) as channels; a last odd row or column
    that no output covers is left out, one that is missing is zero.
    """
    height, width = size
    stride = max(1, round(gradient.shape[2] / height))
    if stride == 1 and gradient.shape[2:] == size:
        return gradient
    down, across = stride * height - gradient.shape[2], stride * width - gradient.shape[3]
    return F.pixel_unshuffle(F.pad(gradient, (0, across, 0, down)), stride)


@torch.no_grad()
def kaiming_weights(network: nn.Module) -> None:
    """Convolutions and linear layers from N(0, 2 / fan-in), biases 0; batch norms 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
