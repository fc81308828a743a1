"""Which class each pixel shows: the supervised objective that UnNAS compares with on Cityscapes (Liu et al., ECCV 2020,
section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from nni_plugins.spaces import heads

from ..data import ImageSet
from ..data.augmentation import IGNORED
from ..errors import ConfigError, DataError
from .base import Crops, Head, Objective, whole


class Segmentation(Objective):
    """Cross entropy over all pixels that have a class; evaluated by the mean intersection over union.

    Args:
        ignore: value of pixels without a class, besides 255.
        channels, rates: of the atrous spatial pyramid pooling that the network ends in. The defaults are UnNAS' in the
            search; its evaluation phase has 256 and [6, 12, 18].
    """

    label_free = False
    wants_maps = True
    even = False
    metric = "miou"

    def __init__(self, ignore: int = 255, channels: int = 64, rates: Sequence[int] = (6,)) -> None:
        whole("ignore", ignore, 0)
        whole("channels", channels, 1)
        if ignore > 255 or not isinstance(rates, Sequence) or isinstance(rates, str) or not rates:
            raise ConfigError(
                f"ignore <= 255 and at least one rate are needed, but got ignore={ignore}, rates={rates!r}."
            )
        for rate in rates:
            whole("rates", rate, 1)
        self.ignore, self.channels, self.rates = ignore, channels, list(rates)

    @property
    def form(self) -> heads.Head:
        return heads.Head("aspp", channels=self.channels, rates=tuple(self.rates))

    def check(self, images: ImageSet) -> None:
        if images.streamed:
            images.on("cpu").gather_maps(
                torch.tensor([0])
            )  # whether there are any; reading all of them is what streaming avoids
            return
        largest = self._largest(images)
        if images.classes and largest >= len(images.classes):
            raise DataError(f"{images.name}: there are {len(images.classes)} classes, but label maps hold {largest}.")

    def head(self, images: ImageSet) -> Head:
        return Head(len(images.classes) or self._largest(images) + 1, self.form)

    def _largest(self, images: ImageSet) -> int:
        used = images.maps[(images.maps != self.ignore) & (images.maps != IGNORED)]
        return int(used.max()) if len(used) else 0

    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) and (B, H, W)."""
        assert crops.maps is not None  # wants_maps
        targets = crops.maps.long()
        return crops.standardised(), targets.masked_fill(targets == IGNORED, self.ignore)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the pixels that have a class; 0 if none has one."""
        total = functional.cross_entropy(outputs, targets, ignore_index=self.ignore, reduction="sum")
        return total / self.count(targets).clamp_min(1)

    def count(self, targets: torch.Tensor) -> torch.Tensor:
        return (targets != self.ignore).sum()

    def tally(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss, correct and counted pixels, then the confusion matrix (true class, predicted class), flattened."""
        classes, valid = outputs.shape[1], targets != self.ignore
        pairs = targets * classes + outputs.argmax(1)
        # one more for pixels that do not count: picking the others, or bincount, would wait for the device
        places = torch.where(valid, pairs, classes * classes).flatten()
        counts = torch.zeros(classes * classes + 1, dtype=torch.float64, device=targets.device)
        counts.scatter_add_(0, places, torch.ones((), dtype=counts.dtype, device=counts.device).expand_as(places))
        return torch.cat([super().tally(outputs, targets), counts[:-1]])

    def summary(self, tally: torch.Tensor) -> dict[str, float]:
        """``loss``, ``accuracy`` (percent of the pixels) and ``miou``: the mean of intersection over union, in percent,
        over the classes that occur in the labels or in the predictions."""
        confusion = tally[3:].reshape(round((len(tally) - 3) ** 0.5), -1)
        intersection = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - intersection
        return {**super().summary(tally), "miou": float(100 * (intersection / union)[union > 0].mean())}
