"""Experiment files of differentiable search. The values are the papers', of the official code (fact sheet, sections
1.4, 2, 4.1 and 5).
"""

from __future__ import annotations

from typing import Any

from .base import CIFAR10_ON_A_GPU, DIGITS, Preset

Values = dict[str, Any]

DARTS_TRAINING: Values = {
    "epochs": 50,
    "batch_size": 64,
    "learning_rate": 0.025,
    "final_learning_rate": 0.001,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 0.0003,
    "gradient_clip": 5.0,
    "architecture_learning_rate": 0.0003,
    "architecture_weight_decay": 0.001,
    "order": 1,
    "first": "architecture",
}
"""Of DARTS' search on CIFAR-10."""

_PCDARTS: Values = {
    **DARTS_TRAINING,
    "batch_size": 256,
    "learning_rate": 0.1,
    "final_learning_rate": 0.0,
    "architecture_learning_rate": 0.0006,
    "warmup_epochs": 15,
}

CELLS: Values = {
    "epochs": 100,
    "batch_size": 96,
    "learning_rate": 0.025,
    "final_learning_rate": 0.0,
    "nesterov": False,
    "weight_decay": 0.0003,
    "gradient_clip": 5.0,
}
"""Stand-alone training of cells at the size of the search, as DARTS selects among its searches."""

_RANDOM_FEATURES = {"option": "C", "initialisation": "kaiming", "train_classifier": True}


def _cifar10(space: Values, training: Values, search: Values, seeds: list[int], stand_alone: Values) -> Values:
    return {
        "optimize_mode": "maximize",
        "space": space,
        "data": {"source": "cifar10", "path": "data"},
        "objective": {"name": "supervised"},
        "training": training,
        "search": search,
        "stand_alone": stand_alone,
        "seeds": seeds,
        "found": 1,
        "random": len(seeds),
    }


_DARTS_SPACE = {"name": "darts", "channels": 16, "cells": 8}
_FOUR = [0, 1, 2, 3]

DIFFERENTIABLE = {
    "rfdarts_digits": Preset(
        "RFDARTS",
        "RF-DARTS on scikit-learn's 1,797 digits: one search with random convolutions, then the five most probable of 125 cells beside five\n"
        "random ones. Scaled down to minutes on two cores, with larger learning rates and a warm-up, as there are only 500 steps (paper:\n"
        "CIFAR-10, 50 epochs of 391 steps). All 125 true accuracies are known (`truth`); the search does not see them.",
        {
            "optimize_mode": "maximize",
            **DIGITS,
            "objective": {"name": "supervised"},
            "training": {
                "epochs": 100,
                "batch_size": 64,
                "learning_rate": 0.1,
                "first": "weights",
                "architecture_learning_rate": 0.003,
                "warmup_epochs": 30,
                "accelerator": "cpu",
            },
            "search": {"option": "C", "initialisation": "kaiming"},
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        concurrency=2,
    ),
    "rfdarts_nasbench201": Preset(
        "RFDARTS",
        "RF-DARTS on NAS-Bench-201 with CIFAR-10: 50 epochs, three seeds, settings of the benchmark's own DARTS (Dong & Yang, ICLR 2020;\n"
        "AutoDL-Projects): Nesterov momentum, weight decay 5e-4, weights before the architecture, no running statistics, images split at\n"
        f"random. Then NAS-Bench-201's 200-epoch recipe for each derived cell and three random ones.\n{CIFAR10_ON_A_GPU}",
        _cifar10(
            {"name": "nasbench201", "nodes": 4, "channels": 16, "cells_per_stage": 5},
            {**DARTS_TRAINING, "nesterov": True, "weight_decay": 0.0005, "first": "weights", "shuffle_split": True},
            {**_RANDOM_FEATURES, "track_statistics": False},
            [777, 888, 999],
            {
                "epochs": 200,
                "batch_size": 256,
                "learning_rate": 0.1,
                "final_learning_rate": 0.0,
                "weight_decay": 0.0005,
            },
        ),
        hours=240,
    ),
    "darts_cifar10": Preset(
        "DARTS",
        "DARTS on CIFAR-10 with the paper's values (Liu et al., ICLR 2019; official code): second order (order: 1 takes half the time), eight\n"
        "cells of 16 channels, four seeds. Each derived cell and four random ones are then trained for 100 epochs at that size, which is how\n"
        f"DARTS chooses among its searches; the paper's 600 epochs of 20 cells and 36 channels are not part of this file.\n{CIFAR10_ON_A_GPU}",
        _cifar10(
            _DARTS_SPACE, {**DARTS_TRAINING, "order": 2}, {"option": "B", "initialisation": "torch"}, _FOUR, CELLS
        ),
        hours=240,
    ),
    "pcdarts_cifar10": Preset(
        "PCDARTS",
        "PC-DARTS on CIFAR-10 with the paper's values (Xu et al., ICLR 2020; official code): a quarter of the channels, weights of edges, 15\n"
        f"epochs before the architecture is trained. Each derived cell and four random ones are then trained for 100 epochs at that size.\n"
        f"{CIFAR10_ON_A_GPU}",
        _cifar10(
            _DARTS_SPACE,
            _PCDARTS,
            {"option": "B", "initialisation": "torch", "partial_channels": 4, "edge_normalization": True},
            _FOUR,
            CELLS,
        ),
        hours=240,
    ),
    "rfdarts_cifar10": Preset(
        "RFDARTS",
        "RF-DARTS on CIFAR-10 with DARTS' space and values, first order, as the paper says; what it leaves open (initialisation, classifier)\n"
        f"is written out below `search`. Each derived cell and four random ones are then trained for 100 epochs at that size.\n{CIFAR10_ON_A_GPU}",
        _cifar10(_DARTS_SPACE, DARTS_TRAINING, _RANDOM_FEATURES, _FOUR, CELLS),
        hours=240,
    ),
    "rfdarts_s1_cifar10": Preset(
        "RFDARTS",
        "RF-DARTS on RobustDARTS' space S1 with CIFAR-10 (Zela et al., ICLR 2020: three seeds; 8 cells of 16 channels, 600 epochs). For S2, S3\n"
        "or S4 change space.variant, and copy the searchSpace that `nni-plugins search THIS_FILE` then prints. The paper's baselines: tuner\n"
        "DARTS with search: {option: B, initialisation: torch} and training: order: 2, then weight_decay: 0.0003, 0.0009, 0.0027 or 0.0081\n"
        f"(R-DARTS with L2), or in search drop_path: 0.0, 0.2, 0.4 or 0.6 (R-DARTS with drop path).\n{CIFAR10_ON_A_GPU}",
        _cifar10(
            {"name": "robustdarts", "variant": "S1", "channels": 16, "cells": 8},
            DARTS_TRAINING,
            {**_RANDOM_FEATURES, "drop_path": 0.0},
            [1, 2, 3],
            {**CELLS, "epochs": 600},
        ),
        hours=240,
    ),
}
