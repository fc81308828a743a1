"""The base of weight-sharing networks: a single path for our strategies, a mixture of all of them for NNI's.

NNI sees one :class:`LayerChoice` for each decision, whose candidates are constant one-hot vectors; the network reads
the chosen vector, or the softmax-weighted mean of all that a differentiable strategy makes of it, as weights of its
operations. So every operation exists once, NNI's architecture weights act as in a network of nested choices, and where
the vectors are one-hot only the chosen path is run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn
from typing_extensions import Self

from .base import SearchSpace
from .supernet import Role, WeightBlocks

if TYPE_CHECKING:
    from nni.mutable import Sample


class OneHot(nn.Module):
    """A constant one-hot vector (length,), whatever the input."""

    vector: torch.Tensor

    def __init__(self, position: int, length: int) -> None:
        super().__init__()
        vector = torch.zeros(length)
        vector[position] = 1
        self.register_buffer("vector", vector, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.vector.to(x.dtype)


class PathSupernet(ModelSpace):
    """Subclasses build their modules, call :meth:`add_selectors` last, and fill the abstract methods.

    Their constructors take plain, JSON-able keyword arguments: NNI rebuilds a space from them in another process.
    """

    search_space: SearchSpace
    """The space that this network belongs to; subclasses set it."""

    @classmethod
    @abstractmethod
    def space_of(cls, *args: Any, **kwargs: Any) -> SearchSpace:
        """The space of the supernet that the constructor makes of these arguments."""

    @abstractmethod
    def fresh(self) -> Self:
        """Another supernet of the same kind, with newly drawn initial weights."""

    @abstractmethod
    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``path``: (repeats, D) index rows, one for each cell; only that path is run."""

    @abstractmethod
    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """``weights``: for each decision the weights (V,) of its values; multilinear, so one-hot weights equal
        ``forward_path``.
        """

    @abstractmethod
    def weight_blocks(self) -> WeightBlocks:
        """Which parameters belong to which part of the space."""

    def add_selectors(self, space: SearchSpace) -> None:
        """Show NNI the decisions of ``space``."""
        self.repeats = space.repeats
        self.selectors = nn.ModuleDict()
        for d in space.decisions:
            options = {value: OneHot(v, len(d.values)) for v, value in enumerate(d.values)}
            self.selectors[d.label] = LayerChoice(options, label=d.label)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What NNI's strategies call."""
        weights = [selector(x) for selector in self.selectors.values()]
        if not any(w.requires_grad for w in weights) and all(bool(w.max() == 1) for w in weights):
            row = np.array([int(w.argmax()) for w in weights], dtype=np.int8)
            return self.forward_path(x, np.broadcast_to(row, (self.repeats, len(row))))
        return self.forward_mixed(x, weights)

    @classmethod
    def create_fixed_module(cls, sample: Sample, *args: Any, **kwargs: Any) -> nn.Module:  # type: ignore[override]
        """What the constructor makes within NNI's ``model_context(sample)``: the same as :meth:`freeze`."""
        return stand_alone(cls.space_of(*args, **kwargs), sample)

    def freeze(self, sample: Sample) -> nn.Module:
        """The stand-alone network of the architecture ``sample``: what NNI trains in its trials and exports. Its
        weights are new.
        """
        self.validate(sample)
        return stand_alone(self.search_space, sample)


def stand_alone(space: SearchSpace, sample: Sample) -> nn.Module:
    """The network of NNI's ``sample``, with fresh weights."""
    return space.network(space.architecture({label: sample[label] for label in space.labels}))


def role_of(module: nn.Module, parameter: str) -> Role:
    """What kind of weight ``parameter`` of ``module`` is."""
    return "bn" if isinstance(module, nn.BatchNorm2d) else "conv"


def parameters_of(module: nn.Module, prefix: str) -> Iterator[tuple[str, Role]]:
    """(full name, role) of all parameters of ``module``, which is called ``prefix`` (with a final dot, or empty) in the
    supernet.
    """
    for path, child in module.named_modules():
        for name, _ in child.named_parameters(recurse=False):
            yield f"{prefix}{path}.{name}" if path else f"{prefix}{name}", role_of(child, name)


def skip_parameters(module: nn.Module, prefix: str) -> Iterator[tuple[str, Role]]:
    """:func:`parameters_of` a skip connection, which has weights where its stride is 2."""
    for name, role in parameters_of(module, prefix):
        yield name, "skip" if role == "conv" else role


def fixed_parameters(supernet: nn.Module, searched: Mapping[str, Any] | set[str]) -> list[tuple[str, Role]]:
    """All parameters but those in ``searched``; the head (``classifier``) is told apart into weights and biases, batch
    norms are ``fixed_bn``.
    """
    entries: list[tuple[str, Role]] = []
    for name, role in parameters_of(supernet, ""):
        if name not in searched:
            kind: Role = "fixed_bn" if role == "bn" else role
            if kind != "fixed_bn" and name.startswith("classifier."):
                kind = "classifier_bias" if name.endswith("bias") else "classifier_weight"
            entries.append((name, kind))
    return entries
