"""What searches rank by: the key in results, and the name and unit that people see. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


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
VALIDATION = Score("validation", "validation value")
"""What an evaluation answered a strategy that asks; losses and perplexities with a minus."""
