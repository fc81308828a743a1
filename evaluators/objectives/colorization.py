"""Which colour each pixel of a grey image had: Zhang et al., ECCV 2016, as UnNAS trains it (Liu et al., ECCV 2020;
official ``prepare_col``).
"""

from __future__ import annotations

import torch

from nni_plugins.spaces import heads

from ..data import ImageSet
from ..errors import DataError
from . import lab
from .base import Crops, Head, Objective

SAMPLE = 256
"""How many images are looked at for colour."""


class Colorization(Objective):
    """313 classes of colour (a, b) at every pixel, from its lightness L alone.

    Labels are hard, at the resolution of the image; all pixels weigh the same (UnNAS; Zhang et al. have soft labels and
    rebalance them). Of the augmentation crops and flips are used, changes of colour are not: they would change what is
    asked for.
    """

    label_free = True

    @property
    def form(self) -> heads.Head:
        return heads.Head("pixels")

    @property
    def input_channels(self) -> int:
        return 1

    def head(self, images: ImageSet) -> Head:
        return Head(len(lab.bins()), self.form, self.input_channels)

    def check(self, images: ImageSet) -> None:
        index = torch.arange(0, len(images), -(-len(images) // SAMPLE))
        looked = images.on(torch.device("cpu")).gather(index)
        if bool((looked == looked[:, :1]).all()):
            raise DataError(
                f"{images.name}: colorization needs colours, but all {len(looked)} images that were looked at are grey.",
                "Choose rotation, jigsaw or random_labels for grey images.",
            )

    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        """L as (B, 1, H, W), less the mean of the channels' means, by the mean of their deviations; (B, H, W)."""
        count, _, height, width = crops.images.shape
        inputs = torch.empty(count, 1, height, width, device=crops.images.device)
        targets = torch.empty(count, height, width, dtype=torch.int64, device=crops.images.device)
        for part, some in crops.parts():
            lightness, a, b = lab.lab(some.images)
            inputs[part, 0] = lightness.div_(100).sub_(crops.mean.mean()).div_(crops.std.mean())
            targets[part] = lab.labels(a, b)
        return inputs, targets
