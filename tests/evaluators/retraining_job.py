"""A retraining in a process of its own, with a fault in it where one is asked for; also under torchrun, and on several
devices.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nni_plugins.evaluators.retraining import loop
from nni_plugins.evaluators.retraining.evaluator import RetrainResult, TimmRetrain
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import DARTS, NASBench201

SPACE = DARTS(channels=4, cells=3)
CELL = SPACE.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('skip_connect', 0), ('max_pool_3x3', 1), ('skip_connect', 0), "
    "('skip_connect', 1), ('dil_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 1), ('skip_connect', 2), ('skip_connect', 1), ('sep_conv_3x3', 0), "
    "('skip_connect', 1)], reduce_concat=[2, 3, 4, 5])"
)
DATA = {"path": "digits", "limit": 96, "test_limit": 60}
"""Six updates an epoch in batches of 16."""


def recipe(**changes: Any) -> Recipe:
    """Everything that has a state or draws at random, in little: momentum, moving average, dropped paths, auxiliary
    head, mixing, erasing.
    """
    values: dict[str, Any] = {
        "source": "a test",
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"learning_rate": 0.05, "weight_decay": 3e-4, "gradient_clip": 5.0},
        "schedule": {"name": "cosine", "warmup_epochs": 1, "warmup_from": 0.2},
        "input": {"size": 8},
        "augmentation": {"kind": "padded_crop", "padding": 1, "cutout": 2, "erase": 0.25},
        "mix": {"mixup": 0.2, "cutmix": 1.0},
        "loss": {"smoothing": 0.1},
        "network": {"auxiliary": True, "drop_path": 0.2, "dropout": 0.1},
        "ema": {"decay": 0.9},
        "accelerator": "cpu",
        "checkpoint_seconds": 0,
    }
    return read(Recipe, {**values, **changes})


def train(folder: Path | None, progress: loop.Progress | None = None, **changes: Any) -> RetrainResult:
    """One training of a small DARTS network, told of after every update."""
    loop.EVERY = 0.0
    return TimmRetrain(DATA, recipe(**changes), space=SPACE, folder=folder, progress=progress).train(CELL)


class Plain(nn.Module):
    """Without batch norm, whose statistics differ between processes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.ReLU()
        )
        self.classifier = nn.Linear(6 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def shared(devices: int, accumulate: int = 1) -> dict[str, Any]:
    """The same training on any number of processes: weights, moving average and curve."""
    torch.manual_seed(0)
    network = Plain()
    network_settings = {"auxiliary": False, "drop_path": 0.0, "dropout": 0.0}
    evaluator = TimmRetrain(
        DATA, recipe(devices=devices, accumulate=accumulate, network=network_settings, precision="64-true")
    )
    result = evaluator.train(network)
    return {
        "model": {name: value.detach().clone() for name, value in network.state_dict().items()},
        "history": result.history,
    }


def main() -> None:
    """``kill FOLDER UPDATE``: killed after so many updates; ``pair FOLDER UPDATE``: the same with two
    processes, 0 for undisturbed; ``dead FOLDER DEVICES``: a cell with a dead end; ``shared FOLDER DEVICES``: writes
    ``result-RANK.pt``.
    """
    torch.set_num_threads(1)
    what, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "dead":  # the operation behind node 2 gets no gradient
        cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
        changes = {"network": {}, "mix": None, "ema": None}
        TimmRetrain(
            DATA, recipe(devices=number, **changes), space=NASBench201(channels=4, cells_per_stage=1), folder=folder
        ).train(cell)
        return
    if what == "pair" and number == 0:
        train(folder, devices=2)
        return
    if what in ("kill", "pair"):
        seen = 0

        def kill(row: dict[str, float]) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        train(folder, kill, devices=1 if what == "kill" else 2)
        return
    outcome = shared(number)
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    torch.save({"model": outcome["model"], "history": repr(outcome["history"])}, folder / f"result-{rank}.pt")


if __name__ == "__main__":
    main()
