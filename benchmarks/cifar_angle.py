"""Does the angle of a CIFAR-10 supernet rank NAS-Bench-201? Kendall tau-b against 200-epoch test accuracies after every
epoch.

    python benchmarks/cifar_angle.py --images FOLDER --table FOLDER [--objective random|supervised] [--limit 10000] [--epochs 8] [--run runs/cifar]

``--images``: CIFAR-10 as class folders (``train/``, ``test/``) or as torchvision stores it. A killed run continues with
the same command.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from nni_plugins.evaluators import RandomLabels, SupernetTraining, Supervised, kendall_tau
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, nasbench201_table
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable
from nni_plugins.strategies.rlnas.search import initialise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True)
    parser.add_argument("--source", default="folder", choices=["folder", "cifar10"])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--objective", default="random", choices=["random", "supervised"])
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    table = nasbench201_table(arguments.table)
    indices = table.space.encode(table.architectures)
    crops = {"padding": 4, "flip": True}
    images = load(DataSettings(source=arguments.source, path=arguments.images, limit=arguments.limit, **crops)).train
    objective = RandomLabels(10, seed=arguments.seed) if arguments.objective == "random" else Supervised()
    space = NASBench201(classes=10)
    supernet = initialise(space, arguments.seed)
    initial = {name: value.clone() for name, value in supernet.state_dict().items()}
    started = time.perf_counter()

    def report(row: dict[str, float]) -> None:
        for name in ("rlnas", "weights"):
            angles = AngleTable.build(space, supernet.weight_blocks(), initial, supernet.state_dict(), VARIANTS[name])(
                indices
            )
            for data, metric in NASBENCH201_METRICS.items():
                row[f"tau_{name}_{data}"] = kendall_tau(angles, table.metric(metric))
            winner = int(angles.argmax())
            row[f"best_{name}_cifar10"] = float(table.metric(NASBENCH201_METRICS["cifar10"])[winner])
        print(json.dumps({**row, "seconds": round(time.perf_counter() - started, 1)}), flush=True)

    settings = SupernetSettings(epochs=arguments.epochs, accelerator="auto")
    SupernetTraining(images, objective, settings, seed=arguments.seed, folder=arguments.run, report=report).evaluate(
        supernet
    )


if __name__ == "__main__":
    main()
