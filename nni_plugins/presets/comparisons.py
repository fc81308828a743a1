"""Files of comparisons to start from."""

from __future__ import annotations

import copy
from typing import Any

from .base import CIFAR10_ON_A_GPU, DIGITS, Preset

_TPE = {"kind": "queries", "method": "TPE", "queries": 25, "arguments": {"n_startup_jobs": 10}}
_EVOLUTION = {
    "kind": "queries",
    "method": "RegularizedEvolution",
    "queries": 25,
    "arguments": {"population_size": 10, "sample_size": 3, "mutation_prob": 0.33},
}
_NAO = {
    "kind": "queries",
    "method": "NAO",
    "queries": 25,
    "arguments": {
        "initial": 10,
        "controller": {"epochs": 40, "learning_rate": 0.005},
        "proposals": {"seeds": 5, "new": 5},
    },
}


_TEXT = {
    "epochs": 4,
    "batch_size": 10,
    "bptt": 20,
    "learning_rate": 5,
    "gradient_clip": 0.25,
    "dropout": 0.1,
    "dropouth": 0.05,
    "dropoutx": 0.1,
    "dropouti": 0,
    "beta": 0,
    "accelerator": "cpu",
}
"""Language models of 32 units that learn in minutes; Yu et al. train 850 units for 1000 epochs."""


def _naov2(training: dict[str, Any], search: dict[str, Any], **more: Any) -> dict[str, Any]:
    """NAO-V2 and what the paper's table 5 takes away from it, one at a time. ``training`` has an even number of epochs."""

    def row(strategy: str = "NAOV2", epochs: int = training["epochs"], **changes: Any) -> dict[str, Any]:
        values = {
            "kind": "experiment",
            "strategy": strategy,
            "objective": {"name": "supervised"},
            "training": {**training, "epochs": epochs},
            "search": {**search, **changes},
            **more,
        }
        return copy.deepcopy(values)  # shared parts would be written as YAML's anchors

    return {
        "NAO-V2": row(),
        "minus-more-updates": row(epochs=training["epochs"] // 2),
        "minus-independent": row(reset="none"),
        "minus-proportional": row(sampling="uniform"),
        "NAO-WS": row("NAOWS", epochs=training["epochs"] // 2, reset="none", sampling="uniform"),
    }


COMPARISONS = {
    "compare_digits_table": Preset(
        "Compare",
        "Four methods that ask for values against random draws, ten seeds each, on the table of 125 three-node cells on scikit-learn's\n"
        "digits: no training, so it takes seconds. They are told the accuracy of one training (validation), and judged by the mean of five.",
        {
            "optimize_mode": "maximize",
            "title": "125 cells on digits, 25 queries of a table",
            "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
            "seeds": list(range(10)),
            "evaluation": {"kind": "table", "table": "digits", "metric": "accuracy_seed0", "test_metric": "accuracy"},
            "policies": {
                "best-of-25": {"kind": "queries", "method": "Random", "queries": 25},
                "TPE": _TPE,
                "evolution": _EVOLUTION,
                "NAO": _NAO,
            },
            "connected": True,
            "threads": 1,
        },
        concurrency=2,
    ),
    "compare_digits": Preset(
        "Compare",
        "Two searches with weight sharing against random draws on scikit-learn's digits: five seeds each, every architecture trained from\n"
        "scratch with one seed. Minutes on two cores; five seeds and small networks show how it works, not which method is better.",
        {
            "optimize_mode": "maximize",
            "title": "RLNAS and RandomNAS on digits",
            "space": DIGITS["space"],
            "seeds": [0, 1, 2, 3, 4],
            "evaluation": {
                "kind": "stand_alone",
                "data": {"source": "digits"},
                "settings": {"epochs": 12, "batch_size": 64, "learning_rate": 0.025, "accelerator": "cpu"},
            },
            "policies": {
                "RLNAS": {"kind": "experiment", "strategy": "RLNAS", "training": {"epochs": 60, "accelerator": "cpu"}},
                "RandomNAS": {
                    "kind": "experiment",
                    "strategy": "RandomNAS",
                    "training": {"epochs": 60, "accelerator": "cpu"},
                    "search": {"candidates": 60},
                },
            },
            "connected": True,
            "threads": 1,
        },
        concurrency=2,
    ),
    "compare_nasbench201_table": Preset(
        "Compare",
        "Methods that ask for values against random draws on NAS-Bench-201: told CIFAR-10's validation accuracy after 200 epochs, judged by\n"
        "the test accuracy, 20 seeds and 100 queries each. A minute or two on one core. evaluation.table is NAS-Bench-201 as a table\n"
        "(docs/tables.md), relative to this file; for nnictl it must be an absolute path.",
        {
            "optimize_mode": "maximize",
            "title": "NAS-Bench-201, CIFAR-10, 100 queries of a table",
            "space": {"name": "nasbench201"},
            "seeds": list(range(20)),
            "evaluation": {
                "kind": "table",
                "table": "nb201_table.csv.gz",
                "metric": "cifar10_val_200",
                "test_metric": "cifar10_test_200",
            },
            "policies": {
                "best-of-100": {"kind": "queries", "method": "Random", "queries": 100},
                "TPE": {"kind": "queries", "method": "TPE", "queries": 100},
                "evolution": {
                    "kind": "queries",
                    "method": "RegularizedEvolution",
                    "queries": 100,
                    "arguments": {"population_size": 20, "sample_size": 5, "mutation_prob": 0.17},
                },
            },
            "connected": True,
            "threads": 1,
        },
        concurrency=2,
        hours=4,
    ),
    "stability_digits": Preset(
        "Compare",
        "How stable is NAO-V2, and which of its ingredients matter? The paper's table 5 in miniature: three searches of each row on scikit-learn's\n"
        "digits with real supernets, the five best cells of each looked up in the table of 125 cells. Some minutes on two cores; so small a\n"
        "study shows how it works, not which row is better.",
        {
            "optimize_mode": "maximize",
            "title": "NAO-V2 and its ablations on digits",
            "space": DIGITS["space"],
            "seeds": [0, 1, 2],
            "per_search": 5,
            "evaluation": {"kind": "table", "table": "digits", "metric": "accuracy_seed0", "test_metric": "accuracy"},
            "policies": _naov2(
                {"epochs": 30, "batch_size": 64, "learning_rate": 0.025, "drop_path": 0.0, "accelerator": "cpu"},
                {
                    "iterations": 3,
                    "initial": 30,
                    "kept": 10,
                    "evaluation_images": None,
                    "controller": {"targets": "rank", "epochs": 60, "learning_rate": 0.005},
                    "proposals": {"seeds": 10, "new": 10},
                    "final": None,
                },
                data={"source": "digits"},
            ),
            "connected": True,
            "threads": 1,
        },
        concurrency=2,
    ),
    "stability_cifar10": Preset(
        "Compare",
        "Table 5 of NAO-V2's paper (Luo et al., 2019) on CIFAR-10: one search a row and a seed, its five best architectures trained for 600\n"
        "epochs with 36 channels and 20 cells. The recipe lacks cutout, drop-path and the auxiliary head of the paper.\n"
        f"{CIFAR10_ON_A_GPU}",
        {
            "optimize_mode": "maximize",
            "title": "NAO-V2 and its ablations on CIFAR-10",
            "space": {"name": "nao", "channels": 20, "cells": 11},
            "seeds": [0, 1],
            "per_search": 5,
            "evaluation": {
                "kind": "stand_alone",
                "data": {"source": "cifar10", "path": "data"},
                "settings": {
                    "epochs": 600,
                    "batch_size": 128,
                    "learning_rate": 0.025,
                    "final_learning_rate": 0.0,
                    "nesterov": False,
                    "weight_decay": 0.0005,
                    "gradient_clip": 5.0,
                },
                "network": {"channels": 36, "cells": 20},
            },
            "policies": _naov2({"epochs": 50, "batch_size": 64, "learning_rate": 0.025}, {"iterations": 4}),
        },
        hours=2400,
        example=False,
    ),
    "compare_two_nodes": Preset(
        "Compare",
        "DARTS, NAO, ENAS and random search with weight sharing against random cells: the two-node study of Yu et al. (ICLR 2020, section 4.2) with\n"
        "the changes that they make for two nodes (NAO: 6 cells first, the 4 best as seeds, 3 new ones a round, 250 epochs of the controller; ENAS:\n"
        "10 batches of text a cell), scaled down to 32 units, 40,000 words and 4 epochs; DARTS' mixture is not normalised over its small batch.\n"
        "evaluation.text.path is a folder with a text for training, one for validation and one for tests (docs/language_models.md), relative\n"
        "to this file; for nnictl it must be an absolute path.",
        {
            "optimize_mode": "minimize",
            "title": "Recurrent cells of two nodes",
            "space": {"name": "recurrent", "nodes": 2, "hidden": 32},
            "seeds": list(range(10)),
            "evaluation": {
                "kind": "language_model",
                "text": {
                    "path": "data/text",
                    "tokens": "split",
                    "max_words": 500,
                    "limit_tokens": 40_000,
                    "limit_evaluation_tokens": 15_000,
                },
                "settings": {**_TEXT, "epochs": 6, "dropoute": 0, "evaluation_batch": 20, "test_batch": 20},
            },
            "policies": {
                "DARTS": {"kind": "recurrent", "method": "DARTS", "settings": {**_TEXT, "batch_norm": False}},
                "NAO": {
                    "kind": "recurrent",
                    "method": "NAO",
                    "settings": {
                        "training": {**_TEXT, "epochs": 1, "evaluation_batch": 20},
                        "search": {
                            "iterations": 4,
                            "initial": 6,
                            "kept": 4,
                            "controller": {"epochs": 250},
                            "proposals": {"seeds": 4, "new": 3},
                        },
                    },
                },
                "ENAS": {
                    "kind": "recurrent",
                    "method": "ENAS",
                    "settings": {
                        "training": {**_TEXT, "evaluation_batch": 20},
                        "search": {
                            "batches_per_architecture": 10,
                            "controller_steps": 20,
                            "samples": 5,
                            "candidates": 10,
                        },
                    },
                },
                "RandomNAS": {
                    "kind": "recurrent",
                    "method": "RandomNAS",
                    "settings": {"training": {**_TEXT, "evaluation_batch": 20}},
                },
            },
            "threads": 1,
        },
        concurrency=2,
        hours=10,
    ),
}
