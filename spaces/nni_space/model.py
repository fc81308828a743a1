"""An NNI model space by its import path: its class, its mutables, its networks."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import nni.nas.strategy  # noqa: F401 - before anything else of nni.nas, whose modules import each other
import torch
from nni.mutable import Sample
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.space import model_context
from torch import nn

from ..errors import SpaceError, closest, shown
from .choices import Choice, choices_of
from .network import NNINetwork

M = TypeVar("M")
logging.getLogger("nni.nas.hub.pytorch.modules.nasbench101").setLevel(logging.WARNING)  # a line for every cell

PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
CLASSES = ("num_labels", "num_classes", "classes")
"""What a model space's constructor calls its number of classes."""
RESERVED = frozenset(
    {*dir(nn.ModuleDict()), *dir(LayerChoice), "choice", "names", "reduction", "return_mask", "length", "key", "_key"}
)
"""What modules have already, so that no decision and no value can be called so."""
SIDES = (32, 224, 64, 28)
"""Pixels a side of the images that a network is tried with, until one fits."""


def import_path(kind: type) -> str:
    """``module.Class`` of a model space's class.

    Raises:
        SpaceError: it stands within a function, where no other process finds it.
    """
    if "<locals>" in kind.__qualname__:
        raise SpaceError(f"{kind.__qualname__} is defined within a function.", "Define it at the top of a module.")
    return f"{kind.__module__}.{kind.__qualname__}"


def class_of(path: str) -> type[ModelSpace]:
    """The model space's class that ``path`` names.

    Raises:
        SpaceError: there is none.
    """
    if not isinstance(path, str) or PATH.fullmatch(path) is None:
        raise SpaceError(
            f"model: an import path is needed, but got {shown(path)}.",
            "Write package.module.Class, such as nni.nas.hub.pytorch.MobileNetV3Space.",
        )
    module, _, name = path.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = importlib.import_module(module)
    except Exception as error:  # whatever a package of somebody's raises while it is imported
        raise SpaceError(
            f"model: {module} cannot be imported: {type(error).__name__}: {error}.",
            "Install its package, or put its folder on PYTHONPATH: the tuner runs in a folder of its own.",
        ) from None
    kind = getattr(found, name, None)
    if not inspect.isclass(kind) or not issubclass(kind, ModelSpace):
        known = [n for n, v in vars(found).items() if inspect.isclass(v) and issubclass(v, ModelSpace)]
        reason = f"{module} has no {name!r}" if kind is None else f"{path} is no nni.nas.nn.pytorch.ModelSpace"
        raise SpaceError(f"model: {reason}; {closest(name, known)}")
    return kind


class NNIModel:
    """``path``: of the class; ``arguments``: of its constructor, without the number of classes."""

    def __init__(self, path: str, arguments: Mapping[str, Any], classes: int) -> None:
        self.path, self.kind, self.classes = path, class_of(path), classes
        self.arguments = dict(arguments)
        self._check_arguments()
        self.name = self.kind.__name__
        self.base = weightless(self.build)
        self.choices, self.constrained = choices_of(self.base.simplify(), self.name, RESERVED)
        self.columns = {choice.label: d for d, choice in enumerate(self.choices)}
        self.memory: dict[Any, Any] = {}

    def _check_arguments(self) -> None:
        original = getattr(self.kind, "_init_wrapped", self.kind.__init__)
        parameters = inspect.signature(original).parameters
        known = [name for name in parameters if name not in ("self", *CLASSES)]
        unknown = [name for name in self.arguments if name not in known]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            given = [name for name in unknown if name in CLASSES]
            problems = [f"{name}: follows from the data" for name in given]
            problems += [f"{n}: no such argument; {closest(n, known)}" for n in unknown if n not in given]
            raise SpaceError(f"arguments of {self.path}: {'; '.join(problems)}")
        self._classes = next((name for name in CLASSES if name in parameters), None)
        written = {name: str(parameter.annotation) for name, parameter in parameters.items()}
        self._reals = {name for name, text in written.items() if "float" in text and "int" not in text}

    @property
    def keywords(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        given = {name: _real(value) if name in self._reals else value for name, value in self.arguments.items()}
        return {**given, **({} if self._classes is None else {self._classes: self.classes})}

    def build(self) -> ModelSpace:
        """The model space, all of whose choices are open.

        Raises:
            SpaceError: its constructor refuses the arguments.
        """
        try:
            return self.kind(**self.keywords)
        except Exception as error:
            raise SpaceError(f"{self.path}({_written(self.arguments)}): {type(error).__name__}: {error}") from error

    def sample(self, row: Any) -> Sample:
        """An index row (D,) as NNI's sample."""
        return {choice.label: choice.values[int(v)] for choice, v in zip(self.choices, row, strict=True)}

    def contains(self, row: Any) -> bool:
        """Whether NNI's constraints allow the index row (D,)."""
        return self.base.check_contains(self.sample(row)) is None

    def frozen(self, row: Any) -> nn.Module:
        """NNI's network of the index row (D,), with fresh weights."""
        with model_context(self.sample(row)):
            return cast(nn.Module, self.kind(**self.keywords))

    def network(self, row: Any, input_channels: int) -> NNINetwork:
        """:meth:`frozen`, with its last linear layer as head."""
        return NNINetwork(self.frozen(row), self.last, self.classes, input_channels)

    @cached_property
    def _probe(self) -> tuple[str, int]:
        row = next(row for row in self._first_rows() if self.contains(row))
        network = weightless(lambda: self.frozen(row)).eval()
        device = next(network.parameters()).device
        reason = ""
        for side in SIDES:
            try:
                with torch.no_grad(), _linear_outputs(network) as outputs:
                    y = network(torch.zeros(1, 3, side, side, device=device))
            except Exception as error:  # whatever a network raises for images of a wrong size
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            name = outputs.get(id(y), "")
            if not name or y.ndim != 2:
                raise SpaceError(
                    f"{self.path}: its networks do not end in a linear layer that gives (B, classes).",
                    "End forward() with the output of an nn.Linear.",
                )
            return name, side
        raise SpaceError(f"{self.path}: its networks take no images of {SIDES} pixels a side: {reason}")

    def _first_rows(self) -> Any:
        import numpy as np

        rng = np.random.default_rng(0)
        yield [0] * len(self.choices)
        for _ in range(100_000):
            yield [rng.integers(len(choice.values)) for choice in self.choices]

    @property
    def last(self) -> str:
        """The name of the last linear layer."""
        return self._probe[0]

    @property
    def side(self) -> int:
        """Pixels a side of images that networks take."""
        return self._probe[1]


def _real(value: Any) -> Any:
    """Whole numbers as floats: JSON, and NNI's manager, do not tell 1.0 from 1."""
    if isinstance(value, list):
        return [_real(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@contextmanager
def _linear_outputs(network: nn.Module) -> Iterator[dict[int, str]]:
    """Within the block the identities of linear layers' outputs are noted, with the layers' names."""
    outputs: dict[int, str] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _, __, y: outputs.__setitem__(id(y), name)

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(note(name)) for name, module in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def weightless(build: Callable[[], M]) -> M:
    """What ``build`` makes, without memory for its weights, unless it reads numbers from tensors. Whatever it draws, the
    random numbers of others stay what they were: it is made once, and a seed must not remember whether.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except Exception:  # whatever a constructor raises that does not expect tensors without data; or in earnest
            pass
        return build()


def _written(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={shown(value)}" for key, value in arguments.items())


@lru_cache(maxsize=16)
def _model(path: str, arguments: str, classes: int) -> NNIModel:
    return NNIModel(path, json.loads(arguments), classes)


def nni_model(path: str, arguments: Mapping[str, Any], classes: int) -> NNIModel:
    """The model, built once in a process."""
    return _model(path, json.dumps(arguments, sort_keys=True), classes)


__all__ = ["Choice", "NNIModel", "class_of", "import_path", "nni_model"]
