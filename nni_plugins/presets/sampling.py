"""Experiment files of the searches that train sampled architectures. The values are AutoDL-Projects' for NAS-Bench-201,
which is the first authors' own code for GDAS and SETN, and Li & Talwalkar's search as the benchmark ran it (fact sheet,
sections 4.1 and 4.2).
"""

from __future__ import annotations

from typing import Any

from .base import CIFAR10_ON_A_GPU, DIGITS, Preset

Values = dict[str, Any]

_WEIGHTS: Values = {
    "epochs": 250,
    "batch_size": 64,
    "learning_rate": 0.025,
    "final_learning_rate": 0.001,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.0005,
}
"""Of the shared weights, in all three."""

_ARCHITECTURE: Values = {
    "architecture_learning_rate": 0.0003,
    "architecture_betas": [0.5, 0.999],
    "architecture_weight_decay": 0.001,
    "first": "weights",
    "shuffle_split": True,
}

_EVALUATION: Values = {"candidates": 100, "evaluation_images": 512, "evaluation_batch": 512, "statistics": "batch"}


def _nasbench201(training: Values, search: Values) -> Values:
    return {
        "optimize_mode": "maximize",
        "space": {"name": "nasbench201", "nodes": 4, "channels": 16, "cells_per_stage": 5},
        "data": {"source": "cifar10", "path": "data"},
        "objective": {"name": "supervised"},
        "training": training,
        "search": search,
        "stand_alone": {
            "epochs": 200,
            "batch_size": 256,
            "learning_rate": 0.1,
            "final_learning_rate": 0.0,
            "weight_decay": 0.0005,
        },
        "seeds": [777, 888, 999],
        "found": 1,
        "random": 3,
    }


_THEN = f"Then NAS-Bench-201's 200-epoch recipe for the cell that each seed finds and for three random ones.\n{CIFAR10_ON_A_GPU}"

SAMPLING = {
    "randomnas_digits": Preset(
        "RandomNAS",
        "Random search with weight sharing on scikit-learn's 1,797 digits: a supernet trained on random cells ranks all of the 60 distinct\n"
        "three-node cells by their accuracy on held-out images; then the five best beside five random ones. Scaled down to a minute on two\n"
        "cores (paper: 250 epochs, 4 nodes, 16 channels, 5 cells a stage). All 125 true accuracies are known (`truth`); the search does not\n"
        "see them.",
        {
            "optimize_mode": "maximize",
            **DIGITS,
            "objective": {"name": "supervised"},
            "training": {"epochs": 100, "batch_size": 64, "learning_rate": 0.025, "accelerator": "cpu"},
            "search": {"candidates": 100, "evaluation_images": None},
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        concurrency=2,
    ),
    "gdas_nasbench201": Preset(
        "GDAS",
        "GDAS on NAS-Bench-201 with CIFAR-10 (Dong & Yang, CVPR 2019; AutoDL-Projects): 250 epochs, temperature from 10 to 0.1, weights before\n"
        f"the architecture, no running statistics, images split at random. {_THEN}",
        _nasbench201(
            {**_WEIGHTS, "gradient_clip": 5.0, **_ARCHITECTURE},
            {
                "option": "B",
                "first_temperature": 10.0,
                "last_temperature": 0.1,
                "update": "all",
                "track_statistics": False,
            },
        ),
        hours=240,
    ),
    "setn_nasbench201": Preset(
        "SETN",
        "SETN on NAS-Bench-201 with CIFAR-10 (Dong & Yang, ICCV 2019; AutoDL-Projects): 250 epochs, weights on uniformly drawn cells, the\n"
        "architecture on the whole mixture, no gradient clipping; of the 100 most probable cells the one that is most accurate with the shared\n"
        f"weights on 512 images. {_THEN}",
        _nasbench201(
            {**_WEIGHTS, "gradient_clip": None, **_ARCHITECTURE},
            {"option": "B", "update": "all", "track_statistics": False, **_EVALUATION},
        ),
        hours=240,
    ),
    "randomnas_nasbench201": Preset(
        "RandomNAS",
        "Random search with weight sharing on NAS-Bench-201 with CIFAR-10 (Li & Talwalkar, UAI 2019, as AutoDL-Projects runs it): 250 epochs on\n"
        f"uniformly drawn cells; of 100 random cells the one that is most accurate with the shared weights on 512 held-out images.\n{_THEN}",
        _nasbench201(
            {**_WEIGHTS, "gradient_clip": 5.0, "share_cells": True, "update": "all"},
            {**_EVALUATION, "portion": 0.5, "shuffle_split": True},
        ),
        hours=240,
    ),
}
