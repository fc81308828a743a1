r"""Zen-score: how much a random network's features move with its input, with what batch norms divide by put back.

Lin et al., "Zen-NAS: A zero-shot NAS for high-performance image recognition", ICCV 2021, algorithm 1: residual links are
removed, all weights drawn from N(0, 1), x and :math:`\epsilon` are Gaussian noise of the images' shape, f the last feature
map before pooling, and :math:`\bar\sigma_l^2` the mean over channels of the variances that batch norm l takes from x,

.. math:: s = \log E_{x, \epsilon} \|f(x) - f(x + \alpha \epsilon)\|_F + \sum_l \log \bar\sigma_l .

The official code adds up absolute differences in place of the Frobenius norm, and reads the batch norms' running variances
after both passes, of which the batches' are only a part; ``variant: official`` does so. Residual links are those that no
architecture chooses: of inverted residual blocks, which say so by an attribute ``residual``. A skip connection that is an
operation of a cell stays.
"""

from __future__ import annotations

import torch
from torch import nn

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.staged import StagedNetwork

from .networks import Inputs, NetworkScore, norms, require_norms


class Zen(NetworkScore):
    """``zen``."""

    columns = ("zen",)
    draws_weights = True

    def require(self, network: nn.Module, inputs: Inputs) -> None:
        """Batch norms, and a last feature map."""
        require_norms("zen", network)
        if not isinstance(network, StagedNetwork):
            raise ConfigError(
                f"zen looks at the last feature map, and {type(network).__name__} names none.",
                "Derive the network from nni_plugins.spaces.staged.StagedNetwork.",
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """Of one batch of noise."""
        assert isinstance(network, StagedNetwork)
        official = self.settings.variant == "official"
        normal_weights(network)
        for module in network.modules():
            if isinstance(getattr(module, "residual", None), bool):
                setattr(module, "residual", False)  # noqa: B010 - any kind of block
        like = inputs.x.flatten(0, 1) if inputs.x.ndim == 5 else inputs.x
        shape = (self.settings.batch_size, *like.shape[1:])
        x, noise = (like.new_empty(shape).normal_() for _ in range(2))
        if not official:
            for norm in norms(network):
                norm.momentum = 1.0
        first = network.last_map(x)
        deviations = [] if official else self._log_deviations(network)
        second = network.last_map(x + self.settings.alpha * noise)
        difference = (first - second).double().flatten(1)
        size = difference.abs().sum(1) if official else difference.norm(dim=1)
        total = size.mean().log() + sum(deviations or self._log_deviations(network))
        return (float(total),)

    def _log_deviations(self, network: nn.Module) -> list[torch.Tensor]:
        return [norm.running_var.double().mean().log() / 2 for norm in norms(network) if norm.running_var is not None]


@torch.no_grad()
def normal_weights(network: nn.Module) -> None:
    """Weights of convolutions and linear layers from N(0, 1), biases 0; batch norms 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
