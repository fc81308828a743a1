"""UnNAS-DARTS as an NNI strategy:
``NasExperiment(space.supernet(), DifferentiableTraining(images, Rotation()), UnNASDARTS()).run()``.

Liu et al., "Are Labels Necessary for Neural Architecture Search?", ECCV 2020: DARTS, first order, where the loss of a
pretext task (rotation, colorization, jigsaw) takes the place of that of the labels, for weights and architecture
parameters alike.
"""

from __future__ import annotations

from ..limits import Limits
from .settings import DifferentiableSettings
from .strategies import Differentiable
from .unnas_settings import UnNASTraining


class UnNASDARTS(Differentiable):
    """UnNAS-DARTS. What it is trained on is the evaluator's objective; one with labels gives the paper's supervised
    counterparts.

    Args:
        settings: of the mixed supernet; None: DARTS'.
        warmup_epochs: without training the architecture; None: as the evaluator's settings have it, or else 1
            (ImageNet-1K).
        top_k, seed, limits: see :class:`Differentiable`.
    """

    training_defaults = UnNASTraining()

    def __init__(
        self,
        settings: DifferentiableSettings | None = None,
        *,
        warmup_epochs: int | None = None,
        top_k: int = 10,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings, top_k, seed, training={"warmup_epochs": warmup_epochs}, limits=limits)
