"""Variances behind random and trained convolutions: eta of RF-DARTS (section 4.2, figure 4) and its condition on
gradients.

A convolution W (C_out, C_in, k, k) with a batch norm behind it acts like ``W * gamma / sigma``, where gamma (C_out,) is
the norm's scale and ``sigma = sqrt(running variance + eps)``. With He's initialisation, Var[W] = 2 / n, and inputs of
mean 0 and variance 1/2, sigma is 1 and so is eta. The paper's derivation has the second moment 1/2 of
``relu(x), x ~ N(0, 1)``, in that place; its variance about the mean, which is what a batch norm divides by, is (1 -
1/pi) / 2, so that layers behind a ReLU begin near 1 / (1 - 1/pi) = 1.47 rather than at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ..data import ImageSet
from ..errors import ConfigError
from ..objectives import Objective
from ..randomness import torch_fork
from ..training.loop import Report
from ..training.settings import TrainingSettings
from .curves import EtaCurve
from .recorded import classes, settle_on, train_recorded
from .residual import ResidualNetwork, freeze
from .settings import NetworkSettings, Trainable

Layers = Mapping[str, tuple[nn.Conv2d, nn.BatchNorm2d]]
"""Name of the convolution -> it and the batch norm that takes its output."""


@torch.no_grad()
def normalised_convolutions(network: nn.Module, example: torch.Tensor) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution whose output goes straight into a batch norm, in the order of the forward pass of
    ``example: (B, ...)``.

    Works on any network, for it looks at one forward pass in evaluation mode; nothing of the network changes.

    Raises:
        ConfigError: there is none.
    """
    names = {module: name for name, module in network.named_modules()}
    produced: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # keeps outputs alive, so that no id is used twice
    found: dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]] = {}

    def after(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            produced[id(output)] = module, output

    def before(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in produced:
            convolution = produced[id(inputs[0])][0]
            found[names[convolution]] = convolution, module

    training = network.training
    hooks = [module.register_forward_hook(after) for module in names if isinstance(module, nn.Conv2d)]
    hooks += [module.register_forward_pre_hook(before) for module in names if isinstance(module, nn.BatchNorm2d)]
    try:
        network.eval()(example)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    if not found:
        raise ConfigError(f"{type(network).__name__} has no convolution with a batch norm behind it, so it has no eta.")
    return found


def effective_weight(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    """``W * gamma / sigma``: (C_out, C_in / groups, k, k); gamma is 1 where the norm has no scale.

    Raises:
        ConfigError: the norm keeps no running statistics.
    """
    if norm.running_var is None:
        raise ConfigError(
            "eta needs the running variance of batch norms, but this one keeps none.", "Set track_statistics."
        )
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    return convolution.weight * scale[:, None, None, None]


@torch.no_grad()
def weight_variances(layers: Layers) -> torch.Tensor:
    """Var[W] of each layer: (L,), the (population) variance over all entries."""
    return torch.stack([convolution.weight.float().var(correction=0) for convolution, _ in layers.values()])


@torch.no_grad()
def relative_variances(layers: Layers, initial: torch.Tensor) -> torch.Tensor:
    """eta of each layer: (L,), ``Var[W * gamma / sigma] / Var[W_init]``. ``initial``: of :func:`weight_variances`
    before the training.
    """
    now = torch.stack([effective_weight(*pair).float().var(correction=0) for pair in layers.values()])
    return now / initial.to(now)


@torch.no_grad()
def gradient_condition(layers: Layers, fan: Literal["in", "out"] = "out") -> torch.Tensor:
    """``n / 2 * Var[W * gamma / sigma]`` of each layer: (L,). 1 keeps the variance from layer to layer (RF-DARTS,
    equation 18).

    ``fan``: what n counts: ``out`` the k * k * C_out products that a gradient is summed from, ``in`` the k * k * C_in
    ones of an output (He et al., ICCV 2015, sections 2.2; they show that either will do). Strides are not taken into
    account, as there.
    """
    values = []
    for convolution, norm in layers.values():
        weight = effective_weight(convolution, norm).float()
        n = weight[0].numel() if fan == "in" else weight.shape[0] // convolution.groups * weight[0, 0].numel()
        values.append(n / 2 * weight.var(correction=0))
    return torch.stack(values)


def input_gradient_variances(
    network: nn.Module, layers: Layers, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, float]:
    """Measured ``Var[dL/dX]`` of the input X of every layer, for one batch ``x: (B, ...)``, times B squared (the loss
    is a mean over B).

    The network is run as it is (training or evaluation mode) with gradients of inputs only; running statistics may move
    in training mode.
    """
    inputs: dict[str, torch.Tensor] = {}
    names = {convolution: name for name, (convolution, _) in layers.items()}

    def keep(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        inputs[names[module]] = given[0]  # type: ignore[index]

    hooks = [convolution.register_forward_pre_hook(keep) for convolution in names]
    try:
        value = loss(network(x.detach().requires_grad_()))
        found = torch.autograd.grad(value, list(inputs.values()))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: float(gradient.float().var(correction=0)) * len(x) ** 2
        for name, gradient in zip(inputs, found, strict=True)
    }


def eta_curve(
    images: ImageSet,
    objective: Objective,
    network: NetworkSettings,
    training: TrainingSettings,
    trainable: Trainable,
    seed: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
) -> EtaCurve:
    """Train a plain network and follow eta of all its layers (RF-DARTS, figure 4). Errors are those of
    :func:`train_recorded`.
    """
    with torch_fork(seed, "initialisation"):
        model = ResidualNetwork(network, classes(objective, images), "none")
    freeze(model, trainable)
    settle_on(model, images)
    layers = normalised_convolutions(model, torch.zeros(2, 3, *images.input_size))
    initial = weight_variances(layers)
    config = {"network": network.model_dump(), "trainable": trainable, "images": images.identity(), "measured": "eta"}
    values, history = train_recorded(
        model,
        lambda: torch.cat([relative_variances(layers, initial), gradient_condition(layers)]),
        objective, images, training, seed, folder=folder, config=config, report=report,
    )  # fmt: skip
    return EtaCurve(trainable, list(layers), values[:, : len(layers)], values[:, len(layers) :], history)
