"""NNI's own weight sharing, run one path at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import nni.nas.strategy as nni_strategy
import numpy as np
import numpy.typing as npt
import torch
from nni.mutable import Mutable
from nni.mutable.mutable import LabeledMutable
from nni.nas.hub.pytorch.nasnet import NDSStagePathSampling
from nni.nas.nn.pytorch import InputChoice, ModelSpace, MutableBatchNorm2d, MutableModule, ParametrizedModule
from nni.nas.nn.pytorch.choice import ChosenInputs
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from nni.nas.oneshot.pytorch.supermodule.operation import MixedBatchNorm2d, MixedOperation
from nni.nas.oneshot.pytorch.supermodule.sampling import (
    MixedOpPathSamplingPolicy,
    PathSamplingCell,
    PathSamplingInput,
    PathSamplingLayer,
    PathSamplingRepeat,
)
from torch import nn
from typing_extensions import Self

from ..errors import SpaceError
from ..path_supernet import PathSupernet, role_of
from ..staged import check_images
from ..supernet import Role, WeightBlock, WeightBlocks
from .model import NNIModel
from .space import NNISpace
from .structure import Condition, Context, Region, Structure

Setter = Callable[[int], None]
"""Puts a module on the path of this code of its decisions."""


class PathInput(PathSamplingInput):
    """NNI's, also of as many inputs as one likes, and with every reduction."""

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> PathInput | None:
        if type(module) is InputChoice:
            return cls(module.n_candidates, cast(Any, module.n_chosen), module.reduction, module.label)
        return None

    def forward(self, inputs: list[torch.Tensor]) -> Any:
        chosen = [inputs[i] for i in cast(list[int], self._sampled)]
        return ChosenInputs._tensor_reduction(self.reduction, chosen)


def _constant(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> bool:
    """NNI replaces also what is not searched, and loses its initial weights and batch norms' constants."""
    return isinstance(module, ParametrizedModule) and not module.mutables


def _norm(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> nn.Module | None:
    """A sliced batch norm keeps the constants that the model has set."""
    if not isinstance(module, MutableBatchNorm2d):
        return None
    mixed = cast(Any, MixedBatchNorm2d.mutate(module, name, memo, {"mixed_op_sampling": MixedOpPathSamplingPolicy}))
    constants = {"eps": module.eps, "momentum": module.momentum}
    mixed.init_arguments.update({k: v for k, v in constants.items() if k not in mixed.mutable_arguments})
    return cast(nn.Module, mixed)


def shared(model: NNIModel) -> ModelSpace:
    """``model`` with the weights of all its networks, as NNI shares them.

    Raises:
        SpaceError: NNI cannot.
    """
    strategy = nni_strategy.RandomOneShot(mutation_hooks=[_constant, _norm, PathInput.mutate])
    space = model.build()
    try:
        supernet = cast(ModelSpace, strategy.mutate_model(space))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _cannot(model, f"{type(error).__name__}: {error}") from error
    for name, module in supernet.named_modules():
        if isinstance(module, MutableModule) and not isinstance(module, BaseSuperNetModule) and module.mutables:
            raise _cannot(model, f"{name or 'its constructor'} ({type(module).__name__}) chooses in a way of its own")
    _end(supernet, model)
    return supernet


def _cannot(model: NNIModel, reason: str) -> SpaceError:
    return SpaceError(
        f"{model.name}: NNI cannot share weights among its networks: {reason}.",
        "Search it without a supernet: RandomSearch, NAO, evolution, or a training-free score.",
    )


def _end(supernet: ModelSpace, model: NNIModel) -> None:
    """As many outputs as there are classes, also where the constructor does not ask."""
    last = cast(nn.Linear, supernet.get_submodule(model.last))
    if last.out_features == model.classes:
        return
    like = {"device": last.weight.device, "dtype": last.weight.dtype}
    fresh = nn.Linear(last.in_features, model.classes, bias=last.bias is not None, **like)
    if not isinstance(last, MixedOperation):
        parent, _, name = model.last.rpartition(".")
        setattr(supernet.get_submodule(parent), name, fresh)
        return
    last.weight, last.bias, last.out_features = fresh.weight, fresh.bias, model.classes
    last.init_arguments["out_features"] = model.classes


class Walk:
    """Through ``supernet``, made by :func:`shared`: its :attr:`structure`, and who sets which module on a path."""

    def __init__(self, supernet: ModelSpace, model: NNIModel, prefix: str) -> None:
        self.model, self.structure = model, Structure([choice.decision for choice in model.choices])
        self.setters: list[tuple[tuple[int, ...], Setter]] = []
        self.zeros: dict[int, list[bool]] = {}
        """Of the decisions among whose candidates some are called zero: which."""
        self.alike: set[int] = set()
        """Decisions whose values, but for zero operations, all let the input through."""
        self._last = f"{prefix}{model.last}"
        self._met: set[int] = set()
        self._walk(supernet, prefix, (), None)

    def _columns(self, labels: Sequence[str]) -> tuple[int, ...]:
        return tuple(sorted(self.model.columns[label] for label in labels))

    def _samples(self, columns: tuple[int, ...]) -> list[dict[str, Any]]:
        choices = [self.model.choices[c] for c in columns]
        return [
            {choice.label: choice.values[v] for choice, v in zip(choices, row, strict=True)}
            for row in self.structure.combinations(columns).tolist()
        ]

    def _sets(self, module: nn.Module, columns: tuple[int, ...], values: list[Any], name: str = "_sampled") -> None:
        if id(module) not in self._met:
            self._met.add(id(module))
            target = module.sampling_policy if isinstance(module, MixedOperation) else module
            self.setters.append((columns, lambda code: setattr(target, name, values[code])))

    def _walk(self, module: nn.Module, at: str, context: Context, owner: tuple[int, int] | None) -> None:
        """``at``: its name with a dot behind; ``owner``: part and value that weights belong to which nothing else
        decides on.
        """
        if isinstance(module, MixedOperation) and module.mutable_arguments:
            self._operation(module, at, context, owner)
        elif isinstance(module, PathSamplingLayer):
            self._layer(module, at, context)
        elif isinstance(module, PathSamplingRepeat):
            self._repeat(module, at, context, owner)
        elif isinstance(module, PathSamplingCell):
            self._cell(module, at, context, owner)
        else:
            if isinstance(module, PathSamplingInput):
                columns = self._columns([module.label])
                self.structure.read(context, columns)
                values = self.model.choices[columns[0]]
                self.structure.part(context, columns, range(len(values.values)), values.decision.values)
                self._sets(module, columns, list(values.values))
            for name, _ in module.named_parameters(recurse=False):
                self._own(f"{at}{name}", self._role(module, f"{at}{name}"), None, owner)
            for name, child in module.named_children():
                self._walk(child, f"{at}{name}.", context, owner)

    def _role(self, module: nn.Module, name: str) -> Role:
        if name.startswith(f"{self._last}."):
            return "classifier_bias" if name.endswith("bias") else "classifier_weight"
        return role_of(module, name)

    def _own(self, name: str, role: Role, region: Region | None, owner: tuple[int, int] | None) -> None:
        if owner is None:
            self.structure.fixed.append((name, "fixed_bn" if role == "bn" else role))
        else:
            self.structure.parts[owner[0]].weights[owner[1]].append((name, role, region))

    def _layer(self, module: PathSamplingLayer, at: str, context: Context) -> None:
        columns = self._columns([module.label])
        choice = self.model.choices[columns[0]]
        self.structure.read(context, columns)
        part = self.structure.part(context, columns, range(len(choice.values)), choice.decision.values)
        self._sets(module, columns, list(choice.values))
        zeros = [_is_zero(module[name]) for name in choice.values]
        if any(zeros):
            self.zeros[columns[0]] = zeros
        if not any(
            isinstance(m, MutableModule) and m.simplify() for name in choice.values for m in module[name].modules()
        ):
            self.alike.add(columns[0])
        for v, name in enumerate(choice.values):
            child = module[name]
            here = Condition.of(columns, [v == other for other in range(len(choice.values))])
            self._walk(child, f"{at}{name}.", (*context, here), (part, v))

    def _repeat(self, module: PathSamplingRepeat, at: str, context: Context, owner: tuple[int, int] | None) -> None:
        depth = cast(Mutable, module.depth_choice)
        columns = self._columns(list(depth.simplify()))
        depths = [int(depth.freeze(sample)) for sample in self._samples(columns)]
        self.structure.read(context, columns)
        self._sets(module, columns, depths)
        for i, block in enumerate(module.blocks):
            self._present(block, f"{at}blocks.{i}.", context, columns, [d > i for d in depths], owner)
        first = getattr(module, "first_cell_transformation", None)
        if isinstance(module, NDSStagePathSampling) and first is not None:
            there = [d == 1 for d in depths]
            self._present(first, f"{at}first_cell_transformation.", context, columns, there, owner)

    def _present(
        self,
        module: nn.Module,
        at: str,
        context: Context,
        columns: tuple[int, ...],
        there: list[bool],
        owner: tuple[int, int] | None,
    ) -> None:
        if all(there):
            self._walk(module, at, context, owner)
        elif any(there):
            inner = (*context, Condition.of(columns, there))
            self._walk(module, at, inner, (self.structure.part(inner, (), [0], ["present"]), 0))

    def _operation(self, module: MixedOperation, at: str, context: Context, owner: tuple[int, int] | None) -> None:
        columns = self._columns(list(module.simplify()))
        rows = self.structure.combinations(columns)
        names = list(module.mutable_arguments)
        values = [self._along(module.mutable_arguments[name], columns, rows) for name in names]
        kinds: dict[tuple[Any, ...], int] = {}
        table = [kinds.setdefault(kind, len(kinds)) for kind in zip(*values, strict=True)]
        arguments = [dict(zip(names, kind, strict=True)) for kind in kinds]
        self.structure.read(context, columns)
        self._sets(module, columns, [arguments[kind] for kind in table])
        written = [",".join(f"{name}={value}" for name, value in one.items()) for one in arguments]
        part = self.structure.part(context, columns, table, written)
        for v, one in enumerate(arguments):
            for name, region in self._slices(module, {**module.init_arguments, **one}):
                self._own(f"{at}{name}", self._role(module, f"{at}{name}"), region, (part, v))

    def _along(self, expression: Any, columns: tuple[int, ...], rows: npt.NDArray[np.int64]) -> list[Any]:
        """Values of an expression for ``rows`` of the decisions ``columns``, among which its own are."""
        own = self._columns(list(expression.simplify()))
        key = ("values", repr(expression))
        if key not in self.model.memory:
            self.model.memory[key] = [expression.evaluate(sample) for sample in self._samples(own)]
        codes = np.zeros(len(rows), dtype=np.int64)
        for column in own:
            codes = codes * self.structure.counts[column] + rows[:, columns.index(column)]
        return [self.model.memory[key][code] for code in codes.tolist()]

    def _slices(self, module: MixedOperation, arguments: dict[str, Any]) -> list[tuple[str, Region]]:
        shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters(recurse=False))
        key = ("slices", type(module), shapes, repr(arguments))
        if key not in self.model.memory:
            self.model.memory[key] = list(slices(module, arguments))
        return cast(list[tuple[str, Region]], self.model.memory[key])

    def _cell(self, module: PathSamplingCell, at: str, context: Context, owner: tuple[int, int] | None) -> None:
        sampled: list[tuple[tuple[int, ...], str]] = []
        for i, edges in enumerate(module.ops, start=module.num_predecessors):
            for k in range(module.num_ops_per_node):
                labels = [f"{module.label}/{kind}_{i}_{k}" for kind in ("input", "op")]
                pair = [self.model.columns[label] for label in labels]
                columns = tuple(sorted(pair))
                sampled += [((column,), label) for column, label in zip(pair, labels, strict=True)]
                self.structure.read(context, columns)
                codes = self._samples(columns)
                kinds = [(int(sample[labels[0]][0]), str(sample[labels[1]])) for sample in codes]
                part = self.structure.part(
                    context, columns, range(len(kinds)), [f"{source}:{name}" for source, name in kinds]
                )
                for v, (source, name) in enumerate(kinds):
                    here = Condition.of(columns, [v == other for other in range(len(kinds))])
                    operation = cast(nn.ModuleDict, cast(nn.ModuleList, edges)[source])[name]
                    place = f"{at}ops.{i - module.num_predecessors}.{source}.{name}."
                    self._walk(operation, place, (*context, here), (part, v))
        if id(module) not in self._met:
            self._met.add(id(module))
            for columns, label in sampled:
                values = self.model.choices[columns[0]].values
                self.setters.append((columns, _entry(module._sampled, label, values)))
        for name, child in module.named_children():
            if name != "ops":
                self._walk(child, f"{at}{name}.", context, owner)


def _entry(sampled: dict[str, Any], label: str, values: Sequence[Any]) -> Setter:
    return lambda code: sampled.__setitem__(label, values[code])


def slices(module: MixedOperation, arguments: dict[str, Any]) -> Iterator[tuple[str, Region]]:
    """(parameter, region) of what a sliced operation takes of its weights for these arguments of its own class.

    Its own slicing is applied to weights whose entries are their position along one dimension, one dimension after the
    other.
    """
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters(recurse=False)}
    lines: dict[str, list[list[tuple[int, int]]]] = {}
    for d in range(max(len(shape) for shape in parameters.values())):
        numbered = {name: _positions(shape, d) for name, shape in parameters.items() if d < len(shape)}
        with _swapped(
            module, {**{n: torch.zeros((), device="cpu").expand(s) for n, s in parameters.items()}, **numbered}
        ):
            taken = module.freeze_weight(**arguments)
        for name in numbered:
            if taken.get(name) is not None:
                line = taken[name][tuple(slice(None) if e == d else 0 for e in range(taken[name].ndim))]
                lines.setdefault(name, []).append(_runs(line.tolist()))
    for name, along in lines.items():
        if any(len(runs) > 1 for runs in along[1:]):
            raise SpaceError(f"{type(module).__name__}: what it takes of {name} is no box of it.")
        for first in along[0]:
            yield name, (first, *(runs[0] for runs in along[1:]))


def _positions(shape: tuple[int, ...], d: int) -> torch.Tensor:
    return torch.arange(shape[d], device="cpu").view([-1 if e == d else 1 for e in range(len(shape))]).expand(shape)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (start, stop) of runs without gaps."""
    starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    return [(numbers[a], numbers[b - 1] + 1) for a, b in itertools.pairwise(starts)]


class _swapped:
    """Within the block a module's parameters are other tensors."""

    def __init__(self, module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
        self.module, self.tensors = module, tensors

    def __enter__(self) -> None:
        self.kept = dict(self.module._parameters)
        self.buffers = dict(self.module._buffers)
        self.module._parameters.update(cast(Any, self.tensors))
        self.module._buffers.update(
            {k: None if b is None else torch.zeros(b.shape, device="cpu") for k, b in self.buffers.items()}
        )

    def __exit__(self, *_: object) -> None:
        self.module._parameters.update(self.kept)
        self.module._buffers.update(self.buffers)


def _is_zero(module: nn.Module) -> bool:
    return bool(getattr(module, "is_zero", type(module).__name__.lower() in ("zero", "none", "zeroize")))


class NNISupernet(PathSupernet):
    """Weights as NNI shares them: a candidate of a LayerChoice, an operation on an edge of a cell and a block of a Repeat
    have their own; where a choice changes a shape, all values share one weight, of which each takes a slice.
    """

    search_space: NNISpace

    def __init__(self, **space_config: Any) -> None:
        super().__init__()
        self.search_space = space = NNISpace(**space_config)
        self.model = shared(space.model_space)
        self.walk = Walk(self.model, space.model_space, "model.")
        self.add_selectors(space)
        self._setters: list[list[int]] = [[] for _ in space.decisions]
        for number, (columns, _) in enumerate(self.walk.setters):
            for column in columns:
                self._setters[column].append(number)
        self._row: npt.NDArray[np.int8] | None = None

    @classmethod
    def space_of(cls, **space_config: Any) -> NNISpace:
        return NNISpace(**space_config)

    def leaf_mutables(self, is_leaf: Callable[[Mutable], bool]) -> Iterator[LabeledMutable]:
        """This package's decisions; NNI's own are within."""
        for selector in self.selectors.values():
            yield from cast(MutableModule, selector).leaf_mutables(is_leaf)

    def check_contains(self, sample: Any) -> Any:
        """As :meth:`leaf_mutables`."""
        found = (cast(MutableModule, selector).check_contains(sample) for selector in self.selectors.values())
        return next((problem for problem in found if problem is not None), None)

    def fresh(self) -> Self:
        return type(self)(**self.search_space.config())

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``x: (B, C, H, W)``, ``path: (1, D)``; returns (B, classes)."""
        check_images(x, self.search_space.input_channels, 1)
        self._take(path[0])
        return cast(torch.Tensor, self.model(x))

    def _take(self, row: npt.NDArray[np.int8]) -> None:
        changed = range(len(row)) if self._row is None else np.flatnonzero(row != self._row).tolist()
        counts = self.walk.structure.counts
        for number in dict.fromkeys(number for column in changed for number in self._setters[column]):
            columns, setter = self.walk.setters[number]
            code = 0
            for column in columns:
                code = code * int(counts[column]) + int(row[column])
            setter(code)
        self._row = row.copy()

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Refused: a network of these choices is no sum over edges."""
        raise SpaceError(
            f"{self.search_space.model_space.name}: a mixture of all networks exists only in spaces that are sums over edges.",
            "Search it with a single-path strategy, such as RLNAS or RandomNAS, or without a supernet.",
        )

    def weight_blocks(self) -> WeightBlocks:
        """One block for every value of every part, an empty one for what is not there; slices as regions."""
        structure = self.walk.structure
        choices = []
        for part in structure.parts:
            row = [WeightBlock()]
            for weights in part.weights:
                whole = tuple((name, role) for name, role, region in weights if region is None)
                row.append(WeightBlock(whole, regions=tuple((n, r, box) for n, r, box in weights if box is not None)))
            choices.append(tuple(row))
        return WeightBlocks(WeightBlock(tuple(structure.fixed)), tuple(choices))
