"""What every space of image networks has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from .architecture import Architecture
from .base import Decision, ImageSize, SearchSpace
from .errors import SpaceError, shown
from .heads import Head

if TYPE_CHECKING:
    from .staged import StagedNetwork

OutputStrideBy = Literal["dilation", "fewer_reductions"]


def at_least(**arguments: tuple[object, int]) -> None:
    """``name=(value, least)``: refuse what is not a whole number >= least."""
    for name, (value, least) in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SpaceError(f"{name} >= {least} must hold, but got {name}={shown(value)}.")


def sides(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) of either form."""
    return image_size if isinstance(image_size, tuple) else (image_size, image_size)


class ImageSpace(SearchSpace):
    """A space whose networks take images and end in a :class:`nni_plugins.spaces.heads.Head`.

    Subclasses pass ``classes``, ``head`` and ``input_channels`` on and list them in ``config()``.
    """

    def __init__(
        self, decisions: Sequence[Decision], classes: int, head: str | Mapping[str, Any] | Head, input_channels: int
    ) -> None:
        at_least(classes=(classes, 1), input_channels=(input_channels, 1))
        self.classes, self.input_channels = classes, input_channels
        self.head = Head.of(head)
        super().__init__(decisions)

    def _head_config(self) -> dict[str, Any]:
        return {"classes": self.classes, "head": self.head.config(), "input_channels": self.input_channels}

    def with_head(self, head: str | Mapping[str, Any] | Head, classes: int, input_channels: int | None = None) -> Self:
        """The same space whose networks end in another head; architectures do not depend on it."""
        changed = {
            "head": Head.of(head).config(),
            "classes": classes,
            "input_channels": input_channels or self.input_channels,
        }
        return type(self)(**{**self.config(), **changed})

    @abstractmethod
    def network(self, architecture: Architecture) -> StagedNetwork:
        """An ordinary network of one architecture. Images (B, C, H, W) give what the head says."""

    def features(
        self,
        architecture: Architecture,
        out_indices: Sequence[int] | None = None,
        output_stride: int | None = None,
        by: OutputStrideBy = "dilation",
    ) -> StagedNetwork:
        """The network without its head, for detection and segmentation: images (B, C, H, W) give a list of feature
        maps.

        Args:
            architecture: of this space.
            out_indices: which stages, counted from 0; all by default. ``.stage_info`` lists their channels and strides.
            output_stride: the largest stride; deeper stages keep that resolution.
            by: ``dilation`` keeps all weights' shapes, so that those of the classification network load;
                ``fewer_reductions`` leaves reductions out, which makes another, thinner network (UnNAS on Cityscapes).
                Not every space can do the latter.

        Raises:
            SpaceError: no such stage, or a stride that the network does not pass.
        """
        if by == "dilation":
            network = self.network(architecture)
            if output_stride is not None:
                network.dilate(output_stride)
        elif by == "fewer_reductions":
            network = (self if output_stride is None else self.with_output_stride(output_stride)).network(architecture)
        else:
            raise SpaceError(f"by: must be 'dilation' or 'fewer_reductions', but got {shown(by)}.")
        return network.features_only(out_indices)

    def with_output_stride(self, output_stride: int) -> Self:
        """The same space with fewer reductions, so that its networks end at ``output_stride``."""
        raise SpaceError(f"{self.name} cannot leave reductions out.", "Use by='dilation'.")
