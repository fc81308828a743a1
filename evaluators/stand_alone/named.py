"""Networks by name, for the same stand-alone training as those of the space that is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from nni_plugins.spaces.published import names as published_names

from ..backends import require
from ..data import ImageSet
from ..errors import ConfigError
from ..objectives import Objective, fitted
from ..objectives.base import LINEAR
from ..randomness import torch_fork
from ..retraining import timm_own
from ..subjects.resolver import image_subject


@dataclass(frozen=True)
class NamedNetwork:
    """``identity``: what tells it from others when its training is resumed; ``cost``: ``parameters`` and ``macs`` (of one
    image).
    """

    network: nn.Module
    identity: dict[str, Any]
    cost: dict[str, float]


def named_network(name: str, objective: Objective, images: ImageSet, seed: int) -> NamedNetwork:
    """The network called ``name``, as large as it was published, ending as ``objective`` needs it on ``images``; fresh
    weights are a function of ``seed``.

    Args:
        name: of a published architecture, or of a model of timm's.

    Raises:
        ConfigError: nothing is called so, or it cannot end so; MissingBackend: timm, which may know the name, is not
            installed; DataError, LabelError: see :func:`nni_plugins.evaluators.objectives.fitted`.
    """
    if name not in published_names():
        require("timm", "timm")
    one = image_subject(name)
    if one.space is not None and one.architecture is not None:
        space = fitted(one.space, objective, images)
        costs = space.cost_table(images.input_size)(space.encode([one.architecture]))
        with torch_fork(seed, "initialisation"):
            network = space.network(one.architecture)
        identity = {"network": name, "architecture": one.architecture.as_dict(), "space": [space.name, space.config()]}
        return NamedNetwork(network, identity, _cost(costs.parameters[0], costs.macs[0]))
    objective.check(images)
    head = objective.head(images)
    if head.form != LINEAR or head.input_channels != 3:
        raise ConfigError(
            f"{name}: timm's models end in a linear classifier of colour images, but {type(objective).__name__} needs a "
            f"{head.form.kind} head on {head.input_channels} channels.",
            "Leave the name out of the baselines, or name a published architecture of ours.",
        )
    network, parameters, macs = timm_own.plain(name, head.classes, images.input_size, seed)
    return NamedNetwork(network, {"network": name, "classes": head.classes}, _cost(parameters, macs))


def _cost(parameters: Any, macs: Any) -> dict[str, float]:
    return {"parameters": float(parameters), "macs": float(macs)}
