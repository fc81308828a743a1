"""What an experiment file to start from consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """``comment``: what the file is, above it; ``arguments``: its ``tuner.classArgs``."""

    tuner: str
    comment: str
    arguments: Mapping[str, Any]
    concurrency: int = 1
    hours: int = 1


DIGITS = {
    "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
    "data": {"source": "digits"},
    "stand_alone": {"epochs": 12, "batch_size": 64, "learning_rate": 0.025, "accelerator": "cpu"},
    "truth": {"table": "digits", "metric": "accuracy"},
    "threads": 1,
}
"""The three-node cells on scikit-learn's digits, all of whose accuracies are known."""
