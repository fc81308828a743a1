"""Which way an image was turned: Gidaris et al., ICLR 2018, as UnNAS trains it (Liu et al., ECCV 2020; official
``prepare_rot``).
"""

from __future__ import annotations

import torch

from ..data import ImageSet
from ..errors import ConfigError
from .base import Crops, Head, Objective

TURNS = 4


class Rotation(Objective):
    """Four classes: by 0, 90, 180 and 270 degrees, counter-clockwise. All four rotations of every image are in the
    batch.
    """

    label_free = True

    def head(self, images: ImageSet) -> Head:
        return Head(TURNS)

    def check(self, images: ImageSet) -> None:
        height, width = images.input_size
        if height != width:
            side = min(height, width)
            raise ConfigError(
                f"{images.name}: rotation needs square images, but these are {height} x {width} pixels.",
                f"Crop or resize them, such as to {side} x {side} (data: image_size, or an augmentation that crops a square).",
            )

    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        """(4B, 3, H, W): the four rotations of the first image, then those of the second; (4B,)."""
        count, side, device = len(crops.images), crops.images.shape[2], crops.images.device
        turned = torch.empty(count, TURNS, 3, side, side, device=device)
        for part, some in crops.parts():
            x, out = some.standardised(), turned[part]
            upright = x.transpose(2, 3).contiguous()  # the slow part, once for both quarter turns
            out[:, 0], out[:, 1], out[:, 2], out[:, 3] = x, upright.flip(2), x.flip(2, 3), upright.flip(3)
        return turned.flatten(0, 1), torch.arange(TURNS, device=device).repeat(count)
