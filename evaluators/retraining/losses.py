"""The loss of a batch: cross-entropy or binary cross-entropy, label smoothing, the auxiliary head."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import ConfigError
from .settings import LossSettings

Outputs = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""Logits (B, K), or those and the auxiliary head's, (B, K) too."""


def main(outputs: Outputs) -> torch.Tensor:
    """The logits that count: (B, K)."""
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


class Losses:
    """The mean loss of a batch in nats.

    Smoothing over the K classes makes ``(1 - eps) t + eps / K`` of a target t (Szegedy et al., CVPR 2016; DARTS, timm),
    over the others ``(1 - eps) t + eps (1 - t) / (K - 1)`` (UnNAS); both are done here for targets that are mixed, too.
    Binary cross-entropy is the mean over the classes as well (timm).
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """
        Args:
            outputs: of the network in training.
            targets: (B,) int64 classes, or (B, K) float, rows that add up to 1.

        Returns:
            A scalar; with an auxiliary head its loss times ``auxiliary_weight`` is in it.

        Raises:
            ConfigError: smoothing over the others leaves less than they get for the true class.
        """
        loss = self._one(main(outputs), targets)
        if isinstance(outputs, torch.Tensor):
            return loss
        return loss + self.settings.auxiliary_weight * self._one(outputs[1], targets)

    def _one(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        targets = targets.to(logits.dtype) if targets.ndim == 2 else targets
        smoothing = self._over_all(logits.shape[1])
        if self.settings.name == "cross_entropy":
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        soft = targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, soft * (1 - smoothing) + smoothing / logits.shape[1])

    def _over_all(self, classes: int) -> float:
        """The epsilon with which smoothing over all classes makes the same targets."""
        given = self.settings
        if not given.smoothing or given.smoothing_over == "classes":
            return given.smoothing
        if given.smoothing * classes >= classes - 1:
            raise ConfigError(
                f"loss.smoothing: with smoothing_over: others it must be below (K - 1) / K for K = {classes} classes, but got {given.smoothing:g}."
            )
        return given.smoothing * classes / (classes - 1)
