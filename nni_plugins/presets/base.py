"""What an experiment file to start from consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CIFAR10_ON_A_GPU = "Needs a GPU. Put CIFAR-10, as torchvision stores it, where data.path says; delete the two trialGpuNumber lines to run on a CPU."
"""The end of a preset's comment."""


@dataclass(frozen=True)
class Preset:
    """``comment``: what the file is, above it; ``arguments``: its ``tuner.classArgs``; ``example``: whether
    ``examples/`` has it as a file.
    """

    tuner: str
    comment: str
    arguments: Mapping[str, Any]
    concurrency: int = 1
    hours: int = 1
    example: bool = True


DIGITS = {
    "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
    "data": {"source": "digits"},
    "stand_alone": {"epochs": 12, "batch_size": 64, "learning_rate": 0.025, "accelerator": "cpu"},
    "truth": {"table": "digits", "metric": "accuracy"},
    "threads": 1,
}
"""The three-node cells on scikit-learn's digits, all of whose accuracies are known."""
