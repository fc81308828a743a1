"""What networks of an NNI model space cost, counted on tensors without data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..base import Costs, CostTable, ImageSize, Indices
from ..errors import SpaceError
from ..images import sides
from ..supernet import WeightBlock
from .model import weightless

if TYPE_CHECKING:
    from .space import NNISpace

COUNTED = ("convolution", "_convolution", "addmm", "mm")
"""Operators of convolutions and linear layers."""
CHECKED = 4
"""Networks that are counted as well before a table is believed."""
RUNS = 400
"""Paths that are run, at most, until every operation has been met."""


def counted(space: NNISpace, row: npt.NDArray[np.int8], size: tuple[int, int]) -> tuple[int, int]:
    """(parameters, multiply-adds for one image) of the network of an index row (D,).

    Raises:
        SpaceError: it takes no images of this size.
    """
    network = weightless(lambda: space.model_space.network(row, space.input_channels)).eval()
    images = torch.zeros(1, space.input_channels, *size, device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), _sized(space, size):
        network(images)
    flops = counter.get_flop_counts()["Global"]
    macs = sum(count for operator, count in flops.items() if str(operator).split(".")[-1] in COUNTED) // 2
    return sum(p.numel() for p in network.parameters()), macs


@contextmanager
def _sized(space: NNISpace, size: tuple[int, int]) -> Iterator[None]:
    try:
        yield
    except SpaceError:
        raise
    except Exception as error:  # whatever a network raises for images of a wrong size
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SpaceError(
            f"networks of {space.model_space.name} take no images of {size[0]}x{size[1]} pixels: {reason}",
            "Use another size, or give the model space's own argument for it.",
        ) from error


class CountedCosts:
    """Costs of architectures whose parts do not add up, each counted by itself and remembered."""

    def __init__(self, space: NNISpace, size: tuple[int, int]) -> None:
        self.space, self.size = space, size
        self._known: dict[bytes, tuple[int, int]] = {}

    def __call__(self, indices: Indices) -> Costs:
        """Costs of ``indices: (n, D)``."""
        found = []
        for row in self.space.simplified(indices):
            form = row.tobytes()
            if form not in self._known:
                self._known[form] = counted(self.space, row, self.size)
            found.append(self._known[form])
        columns = np.array(found, dtype=np.int64).reshape(-1, 2)
        return Costs(columns[:, 0], columns[:, 1])


def cost_model(space: NNISpace, image_size: ImageSize) -> CostTable | CountedCosts:
    """A table over the space's parts where costs add up: where every operation always sees the same resolution, and the
    supernet has the weights of its networks. Otherwise :class:`CountedCosts`.
    """
    size = sides(image_size)
    one_by_one = CountedCosts(space, size)
    if space.refusal is not None:
        return one_by_one
    table = _table(space, size)
    if table is None:
        return one_by_one
    rows = space.sample(np.random.default_rng(0), CHECKED)
    by_table, exact = table(rows), one_by_one(rows)
    same = np.array_equal(by_table.parameters, exact.parameters) and np.array_equal(by_table.macs, exact.macs)
    return table if same else one_by_one


def _table(space: NNISpace, size: tuple[int, int]) -> CostTable | None:
    supernet = weightless(space.supernet).eval()
    images = torch.zeros(1, space.input_channels, *size, device=next(supernet.parameters()).device)
    weights = dict(supernet.named_parameters())
    blocks = supernet.weight_blocks()
    pixels = _pixels(supernet, space, images)
    if pixels is None:
        return None

    def costs(block: WeightBlock) -> tuple[int, int]:
        whole = [(name, tuple((0, length) for length in weights[name].shape)) for name, _ in block.parameters]
        parameters, macs = 0, 0
        for name, region in [*whole, *((name, region) for name, _, region in block.regions)]:
            count = int(np.prod([stop - start for start, stop in region], dtype=np.int64))
            parameters, macs = parameters + count, macs + count * pixels.get(name, 0)
        return parameters, macs

    values = max(len(row) for row in blocks.choices)
    table = np.zeros((2, len(blocks.choices), values), dtype=np.int64)
    for s, row in enumerate(blocks.choices):
        for v, block in enumerate(row):
            table[:, s, v] = costs(block)
    fixed = costs(blocks.fixed)
    return CostTable(space, fixed[0], fixed[1], table[0], table[1])


def _pixels(supernet: Any, space: NNISpace, images: torch.Tensor) -> dict[str, int] | None:
    """For every weight of a convolution or linear layer the places that it is applied at; None where that depends on the
    path.
    """
    layers = {name: m for name, m in supernet.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    found: dict[str, set[int]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, _: object, y: torch.Tensor) -> None:
            places = y.numel() // y.shape[1] if isinstance(module, nn.Conv2d) else y.numel() // y.shape[-1]
            found.setdefault(name, set()).add(places)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    size = (images.shape[2], images.shape[3])
    try:
        for row in _covering(space):
            with torch.no_grad(), _sized(space, size):
                supernet.forward_path(images, row[None])
            if len(found) == len(layers):
                break
    finally:
        for handle in handles:
            handle.remove()
    if any(len(places) > 1 for places in found.values()):
        return None
    return {f"{name}.weight": next(iter(places)) for name, places in found.items()}


def _covering(space: NNISpace) -> Iterator[npt.NDArray[np.int8]]:
    """Rows that soon meet every operation: each value in turn, with the rest so that most is there; then random ones."""
    rng = np.random.default_rng(0)
    some = space.sample(rng, RUNS)
    if not space.constrained:
        counts = np.array([len(d.values) for d in space.decisions])
        chosen = space.read_by_parts
        row = some[0]
        for column in np.flatnonzero(~chosen):  # depths
            deeper = np.repeat(row[None], counts[column], axis=0)
            deeper[:, column] = np.arange(counts[column])
            row = deeper[np.argmax((space.structure(deeper) > 0).sum(axis=1))]
        for v in range(int(counts.max())):
            yield np.where(chosen, np.minimum(v, counts - 1), row).astype(np.int8)
    yield from some
