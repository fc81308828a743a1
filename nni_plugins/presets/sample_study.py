"""Experiment files of sample studies: one for a try on a CPU, one with UnNAS' settings (Liu et al., ECCV 2020; fact
sheet, section 4).
"""

from __future__ import annotations

from typing import Any

from .base import Preset

_QUICK = {"epochs": 4, "batch_size": 32, "learning_rate": 0.025, "precise_batch_norm": 128, "accelerator": "cpu"}


def _short(batch: int, rate: float, precise: int) -> dict[str, Any]:
    return {
        "epochs": 4,
        "batch_size": batch,
        "learning_rate": rate,
        "precise_batch_norm": precise,
        "accelerator": "cpu",
    }


def _paper(batch: int, rate: float) -> dict[str, Any]:
    return {
        "epochs": 100,
        "batch_size": batch,
        "learning_rate": rate,
        "final_learning_rate": 0.0,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.0005,
        "precise_batch_norm": 1024,
    }


SAMPLE_STUDIES = {
    "sample_study_digits": Preset(
        "SampleStudy",
        "UnNAS' sample-based experiment on scikit-learn's digits: 12 of 125 cells, each trained on labels and on rotation for four epochs\n"
        "(colorization needs colours, and tiles of a jigsaw would be too small). Minutes on two cores; too little for a statement.\n"
        "Without NNI: nni-plugins sample-study THIS_FILE",
        {
            "optimize_mode": "maximize",
            "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
            "data": {"source": "digits"},
            "objectives": {
                "supervised": {"training": dict(_QUICK)},
                "rotation": {"training": dict(_QUICK)},
            },
            "reference": "supervised",
            "random": 12,
            "seeds": [0],
            "measure": "last",
            "truth": {"table": "digits", "metric": "accuracy"},
            "threads": 1,
        },
        concurrency=2,
    ),
    "sample_study_cifar10_small": Preset(
        "SampleStudy",
        "The study of docs/sample_study.md: 40 NAS-Bench-201 cells in networks of 8 channels and 3 cells, each trained for four epochs\n"
        "on a part of CIFAR-10, beside the benchmark's own 200-epoch accuracies. Half an hour of a CPU core. data.path is a folder\n"
        "with train/<class>/ and test/<class>/, truth.table NAS-Bench-201 as a table (docs/tables.md); for nnictl it must be an absolute path.\n"
        "Without NNI: nni-plugins sample-study THIS_FILE",
        {
            "optimize_mode": "maximize",
            "space": {"name": "nasbench201", "channels": 8, "cells_per_stage": 1},
            "data": {"source": "folder", "path": "cifar10", "limit": 2048},
            "objectives": {
                "supervised": {"training": _short(32, 0.05, 256), "test_limit": 1000},
                "rotation": {"training": _short(8, 0.05, 128), "limit": 512, "test_limit": 250},
                "colorization": {"training": _short(8, 0.05, 64), "limit": 192, "test_limit": 64},
                "jigsaw": {
                    "objective": {"name": "jigsaw", "grid": 2},
                    "training": _short(32, 0.05, 256),
                    "test_limit": 1000,
                },
            },
            "random": 40,
            "truth": {"table": "nb201_table.csv.gz", "metric": "cifar10_test_200"},
            "threads": 1,
        },
    ),
    "sample_study_cifar10": Preset(
        "SampleStudy",
        "UnNAS' sample-based experiment on CIFAR-10 (Liu et al., ECCV 2020, section 4.2; official configs/sample_based/darts/cifar10):\n"
        "500 architectures of the DARTS space (16 channels, 20 cells) of at least 0.685 M parameters, each trained for 100 epochs on labels\n"
        "and on three pretext tasks; the best of all epochs counts. The paper repeats it with seeds [0, 1, 2] and averages.\n"
        "Needs a GPU. Put CIFAR-10, as torchvision stores it, where data.path says. Without NNI: nni-plugins sample-study THIS_FILE",
        {
            "optimize_mode": "maximize",
            "space": {"name": "darts", "channels": 16, "cells": 20},
            "data": {"source": "cifar10", "path": "data"},
            "objectives": {
                "supervised": {"training": _paper(128, 0.1)},
                "rotation": {"training": _paper(32, 0.025)},
                "colorization": {"training": _paper(128, 0.1)},
                "jigsaw": {"objective": {"name": "jigsaw", "grid": 2, "gray": 0.3}, "training": _paper(32, 0.025)},
            },
            "reference": "supervised",
            "random": 500,
            "limits": {"min_parameters": 685000},
            "seeds": [0],
            "measure": "best",
        },
        hours=2400,
    ),
}
