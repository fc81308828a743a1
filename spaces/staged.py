"""Networks in stages: one forward for classification, another for feature pyramids, and dilation in place of stride."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx import Proxy
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from .errors import SpaceError
from .head_modules import JigsawHead

if TYPE_CHECKING:
    from .head_modules import Size


@dataclass(frozen=True)
class Stage:
    """A stage's output: ``channels``, and ``stride`` in pixels of the image."""

    channels: int
    stride: int


class Strided(nn.Module):
    """A module that reduces by two in a way of its own and can be told not to."""

    @abstractmethod
    def without_stride(self) -> None:
        """Keep the resolution from now on; shapes of weights stay."""


def check_images(x: torch.Tensor, channels: int, least: int) -> None:
    """Refuse what the first convolution or the reductions cannot take, in words. While torch.fx traces there is no shape."""
    if isinstance(x, Proxy):
        return
    if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < least:
        raise SpaceError(
            f"images of shape (B, {channels}, H, W) with H, W >= {least} are needed, but got {tuple(x.shape)}."
        )


def undo_stride(modules: Iterable[nn.Module], rate: int, reduces: bool) -> None:
    """Keep the resolution within ``modules`` and dilate what follows, as DeepLab does; weights keep their shapes.

    ``rate``: by how much the resolution is larger than trained for, before these modules. ``reduces``: whether the
    modules begin with a reduction, whose own convolutions still see ``rate`` and all others ``2 rate``.
    """
    for root in modules:
        inside: set[nn.Module] = set()
        for module in root.modules():
            if module in inside:
                continue
            if isinstance(module, Strided):
                module.without_stride()
                inside.update(module.modules())
            elif isinstance(module, nn.Conv2d):
                strided = max(module.stride) > 1
                factor = rate if strided else rate * (2 if reduces else 1)
                module.stride = (1, 1)
                if max(module.kernel_size) > 1:
                    module.dilation = (module.dilation[0] * factor, module.dilation[1] * factor)
                    padding = (module.padding[0], module.padding[1]) if not isinstance(module.padding, str) else (0, 0)
                    module.padding = (int(padding[0]) * factor, int(padding[1]) * factor)
                    module._reversed_padding_repeated_twice = [p for p in reversed(module.padding) for _ in range(2)]
            elif isinstance(
                module, nn.MaxPool2d | nn.AvgPool2d
            ):  # PyTorch dilates neither with its padding: windows keep their size
                module.stride = 1


@contextmanager
def _kept_statistics(module: nn.Module) -> Iterator[None]:
    """Within the block the batch norms of ``module`` leave their running statistics as they are."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


class StagedNetwork(nn.Module):
    """A network whose body yields one feature map a stage and whose ``classifier`` is a head.

    Subclasses set ``all_stages``, ``classifier`` and ``smallest``, and yield feature maps from :meth:`stages`, which calls
    the modules of :meth:`chain` by :meth:`step`.
    """

    all_stages: tuple[Stage, ...]
    classifier: nn.Module
    input_channels: int = 3
    smallest: int = 1
    out_indices: tuple[int, ...] | None = None
    recompute: bool = False
    """Whether training keeps no activations within a step, and computes them again for the gradients."""

    @abstractmethod
    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Feature maps of all stages, in order; the last one is what the head takes."""

    @abstractmethod
    def stage_modules(self) -> list[list[nn.Module]]:
        """The modules of each stage, those that reduce the resolution first; for :meth:`dilate`."""

    def chain(self) -> list[nn.Module]:
        """What follows one another: the stem, then every cell or block. By default the modules of all stages, in order."""
        return [module for modules in self.stage_modules() for module in modules]

    def step(self, module: nn.Module, *states: torch.Tensor) -> Any:
        """``module(*states)``; with ``recompute`` its activations are computed again in the backward pass, from the same
        random numbers, and batch norms count the batch once.
        """
        if not self.recompute or not torch.is_grad_enabled() or isinstance(states[0], Proxy):
            return module(*states)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _kept_statistics(module)

        return checkpoint(module, *states, use_reentrant=False, context_fn=contexts)

    @property
    def stage_info(self) -> tuple[Stage, ...]:
        """Channels and strides of what ``forward`` returns as features (of all stages, where it returns the head's
        output).
        """
        return self.all_stages if self.out_indices is None else tuple(self.all_stages[i] for i in self.out_indices)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        if self.out_indices is not None:
            return self.forward_features(x, self.out_indices)
        if isinstance(self.classifier, JigsawHead):
            x = x.flatten(0, 1)
        (last,) = self.forward_features(x, (len(self.all_stages) - 1,))
        return self.forward_head(last, (x.shape[2], x.shape[3]))

    def forward_features(self, x: torch.Tensor, out_indices: Sequence[int]) -> list[torch.Tensor]:
        """Feature maps of the stages ``out_indices``, in ascending order."""
        check_images(x, self.input_channels, self.smallest)
        wanted, maps = set(out_indices), []
        for index, y in enumerate(self.stages(x)):
            if index in wanted:
                maps.append(y)
            if index == max(wanted):
                break
        return maps

    def last_map(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature map before anything is pooled over all pixels: (B, C, h, w)."""
        (last,) = StagedNetwork.forward_features(self, x, (len(self.all_stages) - 1,))
        return last

    def forward_head(self, x: torch.Tensor, size: Size | None = None) -> torch.Tensor:
        """The head on the last feature map; ``size``: (H, W) of the image, for heads that answer by pixel."""
        output: torch.Tensor = self.classifier(x, size)
        return output

    def features_only(self, out_indices: Sequence[int] | None = None) -> Self:
        """Drop the head and return feature maps from now on. Changes the network and returns it."""
        count = len(self.all_stages)
        indices = tuple(range(count) if out_indices is None else out_indices)
        if not indices or any(not isinstance(i, int) or not -count <= i < count for i in indices):
            raise SpaceError(f"out_indices: stages 0 to {count - 1} exist, but got {list(indices)}.")
        indices = tuple(i % count for i in indices)
        if list(indices) != sorted(set(indices)):
            raise SpaceError(f"out_indices: must ascend, each stage once, but got {list(indices)}.")
        self.out_indices = indices
        self.classifier = nn.Identity()
        return self

    def dilate(self, output_stride: int) -> Self:
        """Replace stride by dilation in all stages beyond ``output_stride``. Changes the network and returns it."""
        strides = [stage.stride for stage in self.all_stages]
        if output_stride not in strides:
            raise SpaceError(
                f"output_stride: the stages' strides are {strides}, but got {output_stride!r}.", "Choose one of them."
            )
        rate, before = 1, 1
        for stage, modules in zip(self.all_stages, self.stage_modules(), strict=True):
            if stage.stride > output_stride:
                undo_stride(modules, rate, reduces=stage.stride > before)
                rate = stage.stride // output_stride
            before = stage.stride
        self.all_stages = tuple(Stage(s.channels, min(s.stride, output_stride)) for s in self.all_stages)
        return self
