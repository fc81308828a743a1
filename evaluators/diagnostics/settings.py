"""Settings of the networks that diagnostics train. Free of torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..settings import Settings

Trainable = Literal["all", "norms"]
"""What learns: everything, or scale and shift of batch norms and the classifier (and lambda, where there is one)."""
TITLES: dict[str, str] = {"all": "everything learns", "norms": "only batch norms learn"}
"""The same for people."""


class NetworkSettings(Settings):
    """A plain or residual network for small images (He et al., CVPR 2016, table 1, behind a 3x3 stem without pooling).

    The defaults are those of ResNet-50; ResNet-18 is ``block: basic, blocks: [2, 2, 2, 2]``. Every stage but the first
    halves the image and doubles ``width``.
    """

    block: Literal["basic", "bottleneck"] = Field(
        "bottleneck", description="two 3x3 convolutions, or 1x1, 3x3 and 1x1 with a quarter of the channels"
    )
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (3, 4, 6, 3), min_length=1, max_length=6, description="blocks of each stage"
    )
    width: int = Field(64, ge=1, le=4096, description="channels of the 3x3 convolutions of the first stage")
    initialisation: Literal["kaiming", "xavier", "torch"] = Field("kaiming", description="of convolutions")

    @property
    def depth(self) -> int:
        """Convolutions on the main path, and the classifier: 18 and 50 for the networks of that name."""
        return 2 + sum(self.blocks) * (2 if self.block == "basic" else 3)
