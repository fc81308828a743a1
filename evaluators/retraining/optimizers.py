"""timm's optimizers, with the parameters in groups of a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from nni_plugins.spaces.errors import closest, shown

from ..backends import require
from ..errors import ConfigError
from .settings import OptimizerSettings

Group = dict[str, Any]
SETTINGS = {
    "lr": "learning_rate",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "weight_decay": "weight_decay",
    "layer_decay": "layer_decay",
    "params": "nothing",
}
"""Arguments of optimizers that have a key of their own."""
FACTORY = (
    "opt",
    "model_or_params",
    "param_group_fn",
    "filter_bias_and_bn",
    "fallback_list",
    "fallback_no_weight_decay",
)
"""Arguments of timm's factory, which are none of the optimizer's."""


def optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer for all parameters of ``model`` that want gradients.

    The groups and the parameters in them stand in the order of ``model.named_parameters()``, so that the state of a run
    fits in a new process. ``gradient_clip`` is the training loop's affair.

    Raises:
        ConfigError: an optimizer that timm does not have, that needs second derivatives or a package that is missing,
            or wrong arguments.
        MissingBackend: timm is not installed.
    """
    optim = require("timm.optim", "timm")
    info = _info(optim, settings)
    decay_all = settings.decay == "all"
    values: dict[str, Any] = {
        "lr": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "momentum": settings.momentum,
    }
    name = "momentum" if settings.name == "sgd" and not settings.nesterov else settings.name
    grouped: Callable[[nn.Module], list[Group]] | None = None
    if settings.layer_decay is not None or settings.decay != "matrices":

        def grouped(network: nn.Module) -> list[Group]:
            return _groups(optim, network, settings)

    try:
        made = optim.create_optimizer_v2(
            model, opt=name, param_group_fn=grouped, filter_bias_and_bn=not decay_all, **values, **settings.arguments
        )
    except (TypeError, ValueError, AssertionError, ImportError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"optimizer: {settings.name} cannot be made: {' '.join(str(error).split())}",
            f"It is {info.description or info.name}; correct optimizer.arguments or choose another name.",
        ) from None
    return cast(torch.optim.Optimizer, made)


def _info(optim: Any, settings: OptimizerSettings) -> Any:
    """What timm knows of the optimizer, where the settings fit it."""
    known = optim.list_optimizers()
    if settings.name not in known:
        raise ConfigError(
            f"optimizer.name: timm has no optimizer {shown(settings.name)}; {closest(settings.name, known)}"
        )
    info, problems = optim.get_optimizer_info(settings.name), []
    if info.second_order:
        problems.append(f"name: {settings.name} needs second derivatives, which this training does not compute")
    if settings.nesterov and settings.name != "sgd":
        problems.append(f"nesterov: belongs to sgd, but the optimizer is {settings.name}")
    for key in settings.arguments:
        place = f"arguments.{key}"
        if key in SETTINGS:
            problems.append(f"{place}: is set by optimizer.{SETTINGS[key]}")
        elif (
            key in FACTORY or (key == "eps" and not info.has_eps) or (key == "betas" and not info.has_betas)
        ):  # timm drops the latter in silence
            problems.append(f"{place}: {settings.name} has no such argument")
    if problems:
        raise ConfigError("; ".join(f"optimizer.{problem}" for problem in problems), "Correct the keys named above.")
    return info


def _groups(optim: Any, network: nn.Module, settings: OptimizerSettings) -> list[Group]:
    """Groups by layer, if their learning rates differ, and by what decays."""
    if settings.layer_decay is None:
        groups: list[Group] = [
            {"params": [p for p in network.parameters() if p.requires_grad], "weight_decay": settings.weight_decay}
        ]
    else:
        groups = optim.param_groups_layer_decay(
            network,
            weight_decay=settings.weight_decay,
            weight_decay_exclude_1d=settings.decay == "matrices",
            no_weight_decay_list=getattr(network, "no_weight_decay", set)() if settings.decay == "matrices" else (),
            layer_decay=settings.layer_decay,
        )
    if settings.decay != "convolutions":
        return groups
    split = [
        {
            **group,
            "params": [p for p in group["params"] if (p.ndim == 4) == convolution],
            "weight_decay": settings.weight_decay * convolution,
        }
        for group in groups
        for convolution in (False, True)
    ]
    return [group for group in split if group["params"]]
