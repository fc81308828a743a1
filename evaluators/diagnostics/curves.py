"""What the trainings of diagnoses give, epoch by epoch. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .settings import Trainable

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LambdaCurve:
    """``values``: (epochs + 1, lambdas) in [0, 1], before the training and after each epoch; ``names``: what each
    belongs to.
    """

    trainable: Trainable
    initial: float
    names: list[str]
    values: Floats
    history: list[dict[str, float]]


@dataclass(frozen=True)
class EtaCurve:
    """``eta`` and ``condition`` (of :func:`nni_plugins.evaluators.diagnostics.variance.gradient_condition`):
    (epochs + 1, layers), before the training and after each epoch.
    """

    trainable: Trainable
    layers: list[str]
    eta: Floats
    condition: Floats
    history: list[dict[str, float]]
