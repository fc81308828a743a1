"""Files to start a diagnosis from: ``nni-plugins diagnose init``. Each runs on scikit-learn's digits in a minute or two
on one core.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from ...presets.base import DIGITS

SMALL = {"block": "bottleneck", "blocks": [3, 4, 3], "width": 8}
TRAINING = {"epochs": 20, "batch_size": 64, "learning_rate": 0.1, "accelerator": "cpu"}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "lambda": (
        "How strong do skip connections become, from three starts, if everything learns and if only batch norms do?\n"
        "Scaled down to 32 layers and digits; RF-DARTS has ResNet-50 on CIFAR-10 (network: {blocks: [3, 4, 6, 3], width: 64}, 200 epochs).",
        {
            "network": SMALL,
            "initial": [0.0, 0.5, 1.0],
            "skips": "block",
            "trainable": ["all", "norms"],
            "training": TRAINING,
            "seed": 0,
        },
    ),
    "eta": (
        "Do the variances of the weights shrink if everything learns, and stay if only batch norms do?\n"
        "Scaled down to 32 layers and digits; RF-DARTS has a plain ResNet-50 on CIFAR-10 (network: {blocks: [3, 4, 6, 3], width: 64}).",
        {"network": SMALL, "trainable": ["all", "norms"], "training": {**TRAINING, "epochs": 40}, "seed": 0},
    ),
    "depth": (
        "Is a deeper plain network worse, if everything learns and if only batch norms do?\n"
        "Scaled down to width 8 and digits; RF-DARTS has widths of 64 on CIFAR-10.",
        {
            "networks": {
                "18 layers": {"block": "basic", "blocks": [2, 2, 2, 2], "width": 8},
                "50 layers": {"blocks": [3, 4, 6, 3], "width": 8},
            },
            "skips": "none",
            "trainable": ["all", "norms"],
            "training": TRAINING,
            "seeds": [0, 1],
        },
    ),
    "options": (
        "Does the accuracy of a supernet say how good the architecture is that it finds? Options A to D, all else equal.\n"
        "Scaled down to the 125 three-node cells on digits, whose accuracies are known; RF-DARTS has NAS-Bench-201 and three data sets.",
        {
            "space": DIGITS["space"],
            "search": {"initialisation": "kaiming"},
            "training": {"epochs": 25, "batch_size": 64, "architecture_learning_rate": 0.003, "accelerator": "cpu"},
            "options": ["A", "B", "C", "D"],
            "seeds": [0, 1, 2],
            "truth": DIGITS["truth"],
        },
    ),
}


def content(study: str) -> dict[str, Any]:
    """What stands in the file of ``study``."""
    return {
        "study": study,
        "data": DIGITS["data"],
        "objective": {"name": "supervised"},
        **PRESETS[study][1],
        "threads": 1,
    }


def render(study: str) -> str:
    """The file of ``study``, with its comment."""
    lines = [
        f"# {line}" for line in [*PRESETS[study][0].splitlines(), f"Run it: nni-plugins diagnose {study} THIS_FILE"]
    ]
    copied = json.loads(json.dumps(content(study)))  # equal parts would become YAML's anchors
    return "\n".join([*lines, yaml.safe_dump(copied, sort_keys=False, default_flow_style=None, width=120)])
