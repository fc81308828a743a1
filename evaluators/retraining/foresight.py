"""What a retraining will take, found out with a few images before it begins: memory, and on a CPU time. What cannot fit the
machine is refused then.

Memory is that of the tensors. A CPU's convolutions and its allocator took 1.1 to 2.5 times as much (resnet18, cells of three
spaces), so a training that is let pass may still be too large: it ends with a sentence, too
(:func:`nni_plugins.evaluators.training.memory.within_free_memory`).
"""

from __future__ import annotations

import copy
import time
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import ConfigError
from ..training.layout import laid_out, lay_out, layout_on
from ..training.memory import free_memory
from .settings import Recipe

PROBED = (2, 4)
"""Images of two steps; batch norms need two."""
STATES = {"adam": 2, "lamb": 2}
"""Numbers that an optimizer keeps for each weight, by what is in its name; others keep one."""
GIGABYTE = 1e9


@dataclass(frozen=True)
class Foreseen:
    """``fixed`` and ``per_image``: bytes that weights' copies take, and activations of each image of a step in one process;
    ``at_once``: images of such a step; ``processes``: that share the memory; ``free``: bytes there are;
    ``seconds``: an epoch's, None on an accelerator, where so few images tell nothing.
    """

    fixed: int
    per_image: int
    at_once: int
    processes: int
    free: int
    seconds: float | None

    @property
    def needed(self) -> int:
        """Bytes, of all processes that share the memory."""
        return self.processes * (self.fixed + self.at_once * self.per_image)

    @property
    def fitting(self) -> int:
        """So many images at once fit."""
        return max(0, (self.free // self.processes - self.fixed) // max(self.per_image, 1))


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside and still live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if not place or place in self._known:
            return
        self._known.add(place)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._end, place, size)

    def _end(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.bytes -= size


def _step(network: nn.Module, count: int, side: int, layout: str) -> tuple[int, float]:
    """Bytes at the peak of a step of ``count`` images, gradients included, and its seconds."""
    network.zero_grad(set_to_none=True)
    begun = time.perf_counter()
    with _Live() as live:
        outputs = network(laid_out(torch.rand(count, 3, side, side), layout))
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.autograd.backward([one.float().sum() for one in several])
    return live.peak, time.perf_counter() - begun


def foresee(network: nn.Module, recipe: Recipe, images: int, device: torch.device) -> Foreseen:
    """Of a training on so many ``images``; ``network`` and torch's generators stay as they are."""
    on_cpu = device.type == "cpu"
    probed = copy.deepcopy(network).float().train()
    layout = layout_on(recipe.memory_format, device, recipe.precision)
    lay_out(probed, layout)
    with torch.random.fork_rng(devices=[]):
        (few, _), (more, seconds) = (_step(probed, count, recipe.input.size, layout) for count in PROBED)
    per_image = max(0, more - few) // (PROBED[1] - PROBED[0])
    width = 2 if recipe.precision.startswith(("16", "bf16")) else 8 if recipe.precision.startswith("64") else 4
    states = next((many for name, many in STATES.items() if name in recipe.optimizer.name), 1) + (
        recipe.ema is not None
    )
    weights = sum(one.numel() for one in probed.parameters()) * 4
    return Foreseen(
        fixed=max(few - PROBED[0] * per_image, 0) + states * weights,
        per_image=per_image * width // 4,
        at_once=recipe.part_size,
        processes=recipe.devices if on_cpu else 1,
        free=free_memory(device),
        seconds=seconds / PROBED[1] * images / recipe.devices if on_cpu else None,
    )


def check_fits(foreseen: Foreseen, recipe: Recipe) -> None:
    """Refuse what the machine cannot hold.

    Raises:
        ConfigError: with the number of images at once that would fit.
    """
    if foreseen.needed <= foreseen.free:
        return
    parts = accumulations(recipe, foreseen.fitting)
    remedy = (
        f"Add --set accumulate={parts[0]} (the batch stays {recipe.batch_size})"
        if parts
        else "Use smaller images or a smaller network (--set input.size=..., network.sizes)"
    )
    raise ConfigError(
        f"this training needs at least {foreseen.needed / GIGABYTE:.1f} GB of memory with {foreseen.at_once} images at once, and "
        f"{foreseen.free / GIGABYTE:.1f} GB are free.",
        f"{remedy}.",
    )


def accumulations(recipe: Recipe, fitting: int) -> list[int]:
    """Values of ``accumulate``, the smallest first, with which at most ``fitting`` images are in memory at once."""
    return [
        n
        for n in range(recipe.accumulate + 1, recipe.batch_size // (2 * recipe.devices) + 1)
        if recipe.batch_size % (n * recipe.devices) == 0
        and recipe.batch_size // (n * recipe.devices) <= fitting
        and (recipe.mix is None or recipe.batch_size // (n * recipe.devices) % 2 == 0)
    ]


def sentence(foreseen: Foreseen, description: dict[str, Any], recipe: Recipe, images: int, classes: int) -> str:
    """What will be trained, in what, on what, and for how long."""
    macs = description["macs"]
    size = f"{description['parameters']:,} parameters" + ("" if macs is None else f", {macs:,} multiply-adds")
    took = "" if foreseen.seconds is None else f", about {_duration(foreseen.seconds * recipe.epochs)} on this CPU"
    return (
        f"Training: {description['name']}, {size}; {recipe.epochs} epochs of {images:,} images of {classes} classes{took}; "
        f"at least {foreseen.needed / GIGABYTE:.1f} of the {foreseen.free / GIGABYTE:.1f} GB of memory that are free."
    )


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
