"""What searches rank by: the key in results, and the name and unit that people see. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """``key``: in the final metric of a search trial; larger is better for every score."""

    key: str
    name: str
    unit: str = ""

    @property
    def heading(self) -> str:
        """Of a table's column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: float) -> str:
        """Such as ``angle 1.2345 rad``."""
        return f"{self.name} {value:.4f} {self.unit}".rstrip()


ANGLE = Score("angle", "angle", "rad")
LOG_PROBABILITY = Score("log_probability", "log probability")
ONE_SHOT = Score("one_shot_accuracy", "one-shot accuracy", "%")
"""Of held-out images, with the weights of a supernet."""


def outcome(value: Mapping[str, Any]) -> str:
    """A trial's final metric in a few words: the accuracy of a stand-alone training, or the best score of a search."""
    for key, name in (("top1", "top-1"), ("bbox_mAP", "box mAP"), ("mIoU", "mIoU")):
        if key in value:
            return f"{value[key]:.2f} % {name}"
    if "miou" in value:
        return f"{value['miou']:.2f} % mIoU"
    if "accuracy" in value:
        return f"{value['accuracy']:.2f} %"
    return next(
        (score.text(value[score.key]) for score in (ANGLE, LOG_PROBABILITY, ONE_SHOT) if score.key in value), "done"
    )
