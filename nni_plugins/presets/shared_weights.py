"""Experiment files of NAO-V2, NAO-WS and ENAS. Values of the papers' CIFAR-10 searches are the official codes' (fact
sheet A3, A5, A6).
"""

from __future__ import annotations

from typing import Any

from .base import CIFAR10_ON_A_GPU, DIGITS, Preset

Values = dict[str, Any]

_SMALL_CONTROLLER: Values = {"targets": "rank", "epochs": 60, "learning_rate": 0.005}

_CIFAR10: Values = {
    "optimize_mode": "maximize",
    "space": {"name": "nao", "channels": 20, "cells": 11},
    "data": {"source": "cifar10", "path": "data"},
    "objective": {"name": "supervised"},
    "stand_alone": {
        "epochs": 600,
        "batch_size": 128,
        "learning_rate": 0.025,
        "final_learning_rate": 0.0,
        "nesterov": False,
        "weight_decay": 0.0005,
    },
    "seeds": [0],
    "found": 5,
    "random": 5,
}
"""What NAO-V2, NAO-WS and ENAS have in common on CIFAR-10 in NAO's space."""

_THEN = (
    "Then 600 epochs, at the size of the search, for the five best architectures and five random ones (paper: 20 cells of 36 channels\n"
    f"with cutout, drop-path and an auxiliary head).\n{CIFAR10_ON_A_GPU}"
)

SHARED_WEIGHTS = {
    "naov2_digits": Preset(
        "NAOV2",
        "NAO-V2 on scikit-learn's 1,797 digits: three pools of three-node cells, each with a supernet of its own that trains larger cells more\n"
        "often; a controller proposes the next pool, and the five best at the end are trained alone for a while. Then the five best beside\n"
        "five random ones. Scaled down to minutes on two cores (paper: 1,000 architectures of 11 cells, four pools, 50 epochs each). All 125\n"
        "true accuracies are known (`truth`); the search does not see them.",
        {
            "optimize_mode": "maximize",
            **DIGITS,
            "objective": {"name": "supervised"},
            "training": {
                "epochs": 30,
                "batch_size": 64,
                "learning_rate": 0.025,
                "drop_path": 0.0,
                "accelerator": "cpu",
            },
            "search": {
                "iterations": 3,
                "initial": 30,
                "kept": 10,
                "evaluation_images": None,
                "controller": _SMALL_CONTROLLER,
                "proposals": {"seeds": 10, "new": 10},
                "final": {"epochs": 5, "accelerator": "cpu"},
            },
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        concurrency=2,
    ),
    "naov2_cifar10": Preset(
        "NAOV2",
        "NAO-V2 on CIFAR-10 (Luo et al., 2019; official code): four pools, the first of 1,000 random architectures, then 300 new and the 100\n"
        "best; 50 epochs each with fresh weights, drawn in proportion to their parameters; five candidates trained alone for ten epochs.\n"
        f"{_THEN}",
        {
            **_CIFAR10,
            "training": {
                "epochs": 50,
                "batch_size": 64,
                "learning_rate": 0.025,
                "final_learning_rate": 0.001,
                "momentum": 0.9,
                "weight_decay": 0.0003,
                "gradient_clip": 5.0,
                "drop_path": 0.1,
            },
            "search": {
                "iterations": 4,
                "initial": 1000,
                "kept": 100,
                "sampling": "proportional",
                "reset": "all",
                "evaluation_images": 500,
                "controller": {"epochs": 1000},
                "proposals": {"seeds": 100, "new": 300},
                "final_candidates": 5,
                "final": {"epochs": 10},
            },
        },
        hours=240,
    ),
    "naows_cifar10": Preset(
        "NAOWS",
        "NAO-WS on CIFAR-10, the baseline of NAO-V2 (official code of NAO-V1): one supernet through all rounds, 150 epochs under one cosine,\n"
        f"architectures drawn evenly, the pool's worse half replaced between rounds.\n{_THEN}",
        {
            **_CIFAR10,
            "training": {
                "epochs": 30,
                "batch_size": 64,
                "learning_rate": 0.025,
                "final_learning_rate": 0.001,
                "weight_decay": 0.0003,
            },
            "search": {"iterations": 5, "initial": 600, "kept": 300, "sampling": "uniform", "reset": "none"},
        },
        hours=240,
        example=False,
    ),
    "enas_digits": Preset(
        "ENAS",
        "ENAS on scikit-learn's 1,797 digits: a controller learns by REINFORCE which three-node cells to train and evaluate; then the five best\n"
        "of its candidates beside five random ones. Scaled down to minutes on two cores (paper: 150 epochs). All 125 true accuracies are known\n"
        "(`truth`); the search does not see them.",
        {
            "optimize_mode": "maximize",
            **DIGITS,
            "objective": {"name": "supervised"},
            "training": {
                "epochs": 30,
                "batch_size": 64,
                "learning_rate": 0.025,
                "final_learning_rate": 0.001,
                "accelerator": "cpu",
            },
            "search": {
                "controller_steps": 10,
                "samples": 10,
                "candidates": 20,
                "portion": 0.7,
                "evaluation_images": None,
            },
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        concurrency=2,
    ),
    "enas_cifar10": Preset(
        "ENAS",
        "ENAS' micro search on CIFAR-10 (Pham et al., ICML 2018; official code's values), in NAO's space: 150 epochs, the learning rate restarting\n"
        f"after 10, 30 and 70; after each epoch 30 updates of the controller, each of ten architectures.\n{_THEN}",
        {
            **_CIFAR10,
            "training": {
                "epochs": 150,
                "batch_size": 160,
                "learning_rate": 0.05,
                "final_learning_rate": 0.0005,
                "weight_decay": 0.0002,
            },
            "search": {"controller_steps": 30, "samples": 10, "candidates": 100, "portion": 0.9},
        },
        hours=240,
        example=False,
    ),
}
