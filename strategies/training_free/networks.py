"""What a score of one network is given, and the forms in which networks are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective


@dataclass(frozen=True)
class Inputs:
    """What all networks of a search see. ``batches``: inputs and targets of each batch, as ``objective`` prepares them,
    on the device; scores without images get one batch of one input, for its shape."""

    batches: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    objective: Objective

    @property
    def x(self) -> torch.Tensor:
        """(B, C, H, W), the first batch's inputs; (B, T, C, h, w) of a jigsaw."""
        return self.batches[0][0]


class NetworkScore(ABC):
    """A score of one network, from its initial weights.

    Life cycle: :meth:`require` sees the first network and refuses a space that cannot be judged; then the score is called
    for each network, in training mode but for dropout, with torch's generators seeded alike for all of them. It may do to
    the network what it likes.
    """

    columns: ClassVar[tuple[str, ...]]
    """Names of the numbers that it gives."""
    draws_weights: ClassVar[bool] = False
    """Whether it draws all weights itself, so that those that a network is built with are not needed."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    def images(self) -> int | None:
        """How many images a batch has, no two alike; None: it sees none."""
        return None

    @property
    def batches(self) -> int:
        """How many batches of images it sees."""
        return 1

    def require(self, network: nn.Module, inputs: Inputs) -> None:
        """Refuse networks that it cannot judge.

        Raises:
            ConfigError: what they lack.
        """

    @abstractmethod
    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float, ...]:
        """One number for each of :attr:`columns`, larger is better; NaN where it is undefined for this network."""


def norms(network: nn.Module) -> list[_BatchNorm]:
    """All batch norms."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def require_norms(score: str, network: nn.Module) -> None:
    """
    Raises:
        ConfigError: ``network`` has no batch norm.
    """
    if not norms(network):
        raise ConfigError(
            f"{score} reads the statistics of batch norms, and {type(network).__name__} has none.",
            "Choose another score, such as naswot.",
        )


def for_scoring(network: nn.Module) -> nn.Module:
    """``network`` as it is scored: batch norms use the batch's statistics, dropout is off, and nothing that a score may
    still read is overwritten."""
    network.eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train()
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - any kind of module
    return network


def weighted(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def without_norms(network: nn.Module) -> nn.Module:
    """``network`` with an identity in place of each batch norm."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, nn.Identity())
    return network


class Undrawn(TorchFunctionMode):
    """Within the block nothing random is drawn into tensors, so that networks are built fast, with any weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within the block no gradient of a weight is computed."""
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in wanted:
            parameter.requires_grad_(before)
