"""The MobileNet-like space described without weights.

Facts and numbers: Zhang et al., "Neural Architecture Search with Random Labels" (RLNAS), CVPR 2021, and its official
code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import CostTable, Decision, GraphEdge, ImageSize, Indices
from ..errors import SpaceError, shown
from ..heads import Head
from ..images import ImageSpace, at_least, sides
from ..stems import halved

if TYPE_CHECKING:
    from .network import MobileNetLikeNetwork
    from .supernet import MobileNetLikeSupernet

OPERATIONS: dict[str, tuple[int, int]] = {
    f"k{kernel}e{expansion}": (kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)
}
"""Name -> (kernel, expansion), in the order of the official encoding 0 to 5."""

IDENTITY = "identity"

NUMBERS = {**{str(n): name for n, name in enumerate(OPERATIONS)}, "-1": IDENTITY}
"""The official encoding as text -> name."""

RLNAS_MOBILENET = "2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2"
"""What RLNAS found on ImageNet under 475 M: 5.26 M parameters, 473.2 M as the official code counts, 75.6 % top-1
(paper, table 5).
"""

STAGES = ((32, 4, 2), (56, 4, 2), (112, 4, 2), (128, 4, 1), (256, 4, 2), (432, 1, 1))


@dataclass(frozen=True)
class Block:
    """Where a searched block stands: channels before and after, its stride, and whether it opens a stage and so cannot
    be left out.
    """

    inputs: int
    outputs: int
    stride: int
    opens: bool

    @property
    def values(self) -> tuple[str, ...]:
        """What it may be."""
        return tuple(OPERATIONS) if self.opens else (*OPERATIONS, IDENTITY)


def stage_settings(stages: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    """``stages`` as tuples (channels, blocks, stride).

    Raises:
        SpaceError: not a list of those; the entry is named.
    """
    if not isinstance(stages, list | tuple) or not stages:
        raise SpaceError(f"stages: at least one (channels, blocks, stride) is needed, but got {shown(stages)}.")
    checked = []
    for i, entry in enumerate(stages):
        numbers = (
            isinstance(entry, list | tuple)
            and len(entry) == 3
            and all(isinstance(n, int) and not isinstance(n, bool) for n in entry)
        )
        if not numbers or entry[0] < 1 or entry[1] < 1 or entry[2] not in (1, 2):
            raise SpaceError(
                f"stages, entry {i}: (channels >= 1, blocks >= 1, stride 1 or 2) is needed, but got {shown(entry)}."
            )
        checked.append((entry[0], entry[1], entry[2]))
    return tuple(checked)


class MobileNetLike(ImageSpace):
    """A chain of inverted residual blocks, each with a kernel of 3, 5 or 7 and an expansion of 3 or 6, or left out.

    The network: a 3x3 convolution of stride 2, a fixed block without expansion, the stages, a 1x1 convolution, a head.
    The first block of a stage changes channels or resolution and cannot be left out. The defaults are RLNAS': 21
    blocks, 6^6 * 7^15 architectures.

    Args:
        stem_channels: width of the first convolution.
        first_channels: width of the fixed block.
        stages: (channels, blocks, stride of the first block) of each stage.
        last_channels: width of the last 1x1 convolution.
        dropout: of the pooled features before a ``linear`` head, in ``network()`` only; RLNAS retrains with 0.2.
        classes: outputs of the head.
        head: see :class:`nni_plugins.spaces.heads.Head`.
        input_channels: channels of an image.
    """

    name: ClassVar[str] = "mobilenetlike"

    def __init__(
        self,
        stem_channels: int = 40,
        first_channels: int = 24,
        stages: Sequence[Sequence[int]] = STAGES,
        last_channels: int = 1728,
        dropout: float = 0.0,
        classes: int = 1000,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        at_least(stem_channels=(stem_channels, 1), first_channels=(first_channels, 1), last_channels=(last_channels, 1))
        if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout < 1:
            raise SpaceError(f"0 <= dropout < 1 must hold, but got dropout={shown(dropout)}.")
        self.stem_channels, self.first_channels, self.last_channels = stem_channels, first_channels, last_channels
        self.stages, self.dropout = stage_settings(stages), float(dropout)
        blocks, inputs = [], first_channels
        for channels, count, stride in self.stages:
            blocks += [Block(inputs, channels, stride, True), *[Block(channels, channels, 1, False)] * (count - 1)]
            inputs = channels
        self.blocks = tuple(blocks)
        super().__init__(
            [Decision(f"block_{i}", block.values) for i, block in enumerate(blocks)], classes, head, input_channels
        )

    def config(self) -> dict[str, Any]:
        widths = {
            "stem_channels": self.stem_channels,
            "first_channels": self.first_channels,
            "stages": [list(stage) for stage in self.stages],
        }
        return {**widths, "last_channels": self.last_channels, "dropout": self.dropout, **self._head_config()}

    # -- codecs --------------------------------------------------------------------------------------------------------
    def operations(self, architecture: Architecture) -> list[str]:
        """The value of every block, in order."""
        return [value for _, value in self.check(architecture).choices]

    def to_string(self, architecture: Architecture) -> str:
        """The official encoding: 0 to 5 in the order of :data:`OPERATIONS`, -1 for a block that is left out."""
        numbers = {name: number for number, name in NUMBERS.items()}
        return " ".join(numbers[name] for name in self.operations(architecture))

    def from_string(self, text: str) -> Architecture:
        """Inverse of :meth:`to_string`. Commas, one pair of brackets around all, and ``|`` between stages are allowed."""
        if len(text) > 10_000:
            raise SpaceError(f"a list of blocks of {len(text):,} characters; at most 10,000 are read.")
        groups = (text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text).split("|")
        numbers = [group.replace(",", " ").split() for group in groups]
        flat, count = [number for group in numbers for number in group], len(self.blocks)
        if len(flat) != count:
            example = self.to_string(self.decode(np.zeros((1, count), dtype=np.int8))[0])
            raise SpaceError(
                f"{count} blocks are needed, but got {len(flat)} in {shown(text)}.",
                f"The simplest network reads: {example}",
            )
        problems = []
        for i, (number, block) in enumerate(zip(flat, self.blocks, strict=True)):
            if NUMBERS.get(number) not in block.values:
                reason = (
                    "opens a stage and cannot be -1 (identity)"
                    if number == "-1"
                    else f"unknown operation {shown(number)}"
                )
                allowed = "0 to 5" if block.opens else "-1 (identity) and 0 to 5"
                problems.append(f"block_{i}: {reason}; allowed are {allowed}")
        ends = set(accumulate(blocks for _, blocks, _ in self.stages))
        problems += [
            f"'|' after {n} blocks, where no stage ends" for n in accumulate(map(len, numbers[:-1])) if n not in ends
        ]
        if problems:
            more = f"; and {len(problems) - 3:,} more" if len(problems) > 3 else ""
            raise SpaceError(
                "; ".join(problems[:3]) + more + ".", f"0 to 5 are {', '.join(OPERATIONS)} (kernel, expansion)."
            )
        return self.architecture({label: NUMBERS[number] for label, number in zip(self.labels, flat, strict=True)})

    def canonical(self, architecture: Architecture) -> str:
        """The native string: no two architectures are symmetric."""
        return self.to_string(architecture)

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        names = ["input", *(str(i) for i in range(len(self.blocks) - 1)), "output"]
        arrows = zip(names, names[1:], self.operations(architecture), strict=False)
        return {"chain": [GraphEdge(source, target, operation) for source, target, operation in arrows]}

    # -- structure and cost --------------------------------------------------------------------------------------------
    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """There is one path, and every block lies on it; a block that is left out as well."""
        counts: npt.NDArray[np.int64] = np.ones(indices.shape, dtype=np.int64)
        return counts

    def cost_table(self, image_size: ImageSize = 224) -> CostTable:
        """Convolutions carry no bias; batch norms have two parameters a channel and are not counted as multiply-adds.

        A block with expansion e, kernel k, from c to d channels and, with h = e c: ``c h + k^2 h + h d`` weights and
        ``4 h + 2 d`` of batch norms; the first convolution runs at the block's input resolution, the others at its
        output's. RLNAS' own count takes ``(2 in - 1) out`` for a linear layer, which is ``(in - 1) out`` more than the
        multiply-adds given here.
        """
        size = halved(sides(image_size))
        pixels = size[0] * size[1]
        stem, first, last = self.stem_channels, self.first_channels, self.last_channels
        weights = 9 * self.input_channels * stem + 9 * stem + stem * first
        fixed_parameters, fixed_macs = weights + 4 * stem + 2 * first, weights * pixels
        parameters = np.zeros((len(self.blocks), len(OPERATIONS) + 1), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for s, block in enumerate(self.blocks):
            before = pixels
            if block.stride == 2:
                size = halved(size)
                pixels = size[0] * size[1]
            for v, (kernel, expansion) in enumerate(OPERATIONS.values()):
                hidden = expansion * block.inputs
                after = kernel**2 * hidden + hidden * block.outputs
                parameters[s, v] = block.inputs * hidden + after + 4 * hidden + 2 * block.outputs
                macs[s, v] = block.inputs * hidden * before + after * pixels
        inputs, images = self.blocks[-1].outputs, self.head.images
        fixed_parameters += inputs * last + 2 * last + self.head.parameters(last, self.classes)
        fixed_macs = images * (fixed_macs + inputs * last * pixels) + self.head.macs(last, self.classes, pixels)
        return CostTable(self, fixed_parameters, fixed_macs, parameters, images * macs)

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self) -> MobileNetLikeSupernet:
        from .supernet import MobileNetLikeSupernet

        return MobileNetLikeSupernet(**self.config())

    def network(self, architecture: Architecture) -> MobileNetLikeNetwork:
        from .network import MobileNetLikeNetwork

        return MobileNetLikeNetwork(self, self.operations(architecture))
