"""Experiment files of R-DARTS (Zela et al., ICLR 2020) on its space S1: early stopping, adaptive decay, stronger decay,
drop path.

The values are those of the official runs (fact sheet, section 5.2): DARTS' own, second order, seeds 1 to 3, an
eigenvalue every two epochs.
"""

from __future__ import annotations

from typing import Any

from .base import CIFAR10_ON_A_GPU, Preset
from .differentiable import CELLS, DARTS_TRAINING, Values

_OTHERS = (
    "For S2, S3 or S4 change space.variant, and copy the searchSpace that `nni-plugins search THIS_FILE` then prints."
)

_TRAINING: Values = {**DARTS_TRAINING, "order": 2, "hessian_every": 2}

_RULE: Values = {"window": 5, "start_epoch": 10, "delta": 4, "factor": 1.3}


def _preset(comment: str, drop_path: float = 0.0, **training: Any) -> Preset:
    arguments: Values = {
        "optimize_mode": "maximize",
        "space": {"name": "robustdarts", "variant": "S1", "channels": 16, "cells": 8},
        "data": {"source": "cifar10", "path": "data"},
        "objective": {"name": "supervised"},
        "training": {**_TRAINING, **training},
        "search": {"option": "B", "initialisation": "torch", "drop_path": drop_path},
        "stand_alone": {**CELLS, "epochs": 600},
        "seeds": [1, 2, 3],
        "found": 1,
        "random": 3,
    }
    return Preset("DARTS", f"{comment}\n{_OTHERS}\n{CIFAR10_ON_A_GPU}", arguments, hours=240)


ROBUST = {
    "darts_es_s1_cifar10": _preset(
        "DARTS-ES on RobustDARTS' space S1 with CIFAR-10 (Zela et al., ICLR 2020; official code): second-order DARTS that ends where the local\n"
        "average of the Hessian's dominant eigenvalue, taken every two epochs, has grown by more than 1.3 within eight epochs.",
        stability={"method": "early_stop", **_RULE},
    ),
    "darts_ada_s1_cifar10": _preset(
        "DARTS-ADA on RobustDARTS' space S1 with CIFAR-10 (Zela et al., ICLR 2020; official code): second-order DARTS that goes back to the stop\n"
        "epoch of DARTS-ES, decays the weights ten times as much, and goes on to epoch 50; from 0.0003 at most twice. What DARTS-ES would\n"
        "have found is in result.json: the genotype of the first roll-back's epoch.",
        stability={"method": "adaptive", **_RULE, "max_weight_decay": 0.03, "multiplier": 10.0},
    ),
    "darts_l2_s1_cifar10": _preset(
        "R-DARTS(L2) on RobustDARTS' space S1 with CIFAR-10 (Zela et al., ICLR 2020): second-order DARTS with more decay of the weights. The\n"
        "paper runs it with weight_decay 0.0003, 0.0009, 0.0027 and 0.0081 and keeps the best cell by validation; this file has the last one.",
        weight_decay=0.0081,
    ),
    "darts_dp_s1_cifar10": _preset(
        "R-DARTS(DP) on RobustDARTS' space S1 with CIFAR-10 (Zela et al., ICLR 2020): second-order DARTS with drop path that grows linearly. The\n"
        "paper runs it with drop_path 0.0, 0.2, 0.4 and 0.6 and keeps the best cell by validation; this file has the last one. The\n"
        "official code also cuts out squares of these images, with a probability that grows likewise; this file does not.",
        drop_path=0.6,
    ),
}
