"""How the probability of dropping an edge's output grows with the training."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from .settings import NetworkSettings


def set_drop_path(
    network: nn.Module, settings: NetworkSettings, *, epoch: int, epochs: int, update: int, updates: int
) -> None:
    """Set the probability for one update; see :attr:`NetworkSettings.drop_path_ramp`. A pure function of its arguments.

    Networks without ``set_drop_path`` are left alone: timm's own models take a constant ``drop_path_rate`` when they
    are made.

    Args:
        epoch: from 0, of ``epochs``.
        update: from 0 through the whole training, of ``updates``.
    """
    change = getattr(network, "set_drop_path", None)
    if not settings.drop_path or change is None:
        return
    if settings.drop_path_ramp == "constant":
        change(settings.drop_path)
    elif settings.drop_path_ramp == "epochs":
        change(
            settings.drop_path * epoch / epochs, active=True
        )  # also in epoch 0, or torch.compile would compile again in epoch 1
    else:
        cells = len(cast(Any, network).cells)
        change(settings.drop_path * (update + 1) / updates, shares=[(cell + 1) / cells for cell in range(cells)])
