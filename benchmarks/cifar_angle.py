"""Does the angle of a CIFAR-10 supernet rank NAS-Bench-201? Kendall tau-b against 200-epoch test accuracies after every
epoch, and the accuracy of the cell that it finds beside what needs no search.

    python benchmarks/cifar_angle.py --images FOLDER --table FOLDER --run runs/cifar-angle [--objectives random supervised]
        [--seeds 0 1 2 3 4] [--limit 25000] [--epochs 10] [--channels 16] [--cells 5] [--output FOLDER]

``--images``: CIFAR-10 as class folders (``train/``, ``test/``) or as torchvision stores it. One training after the
other; a killed run continues with the same command. ``--channels`` and ``--cells`` a stage make the supernet smaller
than the benchmark's (16 and 5); the table stays the benchmark's. ``--output`` gets ``epochs.csv``, ``summary.csv`` and a
picture; with what is finished, whenever a training ends.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cell_table import PARAMETERS, Row, beside, judged, over_seeds, write

from nni_plugins.evaluators import RandomLabels, SupernetTraining, Supervised
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.images import ImageSet
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.tables.table import Table, nasbench201_table
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable
from nni_plugins.strategies.rlnas.search import initialise


def one_training(given: argparse.Namespace, images: ImageSet, table: Table, objective: str, seed: int) -> list[Row]:
    """A row an epoch: tau-b of the angle for each data set, and the table's accuracies of the cell with the largest."""
    indices = table.space.encode(table.architectures)
    space = NASBench201(classes=10, channels=given.channels, cells_per_stage=given.cells)
    supernet = initialise(space, seed)
    initial = {name: value.clone() for name, value in supernet.state_dict().items()}
    rows: list[Row] = []

    def report(row: dict[str, float]) -> None:
        if row["epoch"] <= len(rows):  # told again by a training that was resumed
            return
        state = supernet.state_dict()
        angles = AngleTable.build(space, supernet.weight_blocks(), initial, state, VARIANTS["rlnas"])(indices)
        found: Row = {"labels": objective, "seed": seed, "epoch": int(row["epoch"]), "loss": round(row["loss"], 4)}
        rows.append({**found, **judged(angles, table)})
        print(json.dumps(rows[-1]), flush=True)

    labels = RandomLabels(10, seed=seed) if objective == "random" else Supervised()
    settings = SupernetSettings(epochs=given.epochs, batch_size=given.batch, accelerator="auto", share_cells=False)
    folder = given.run / f"{objective}-{seed}"
    done = folder / "rows.json"
    if done.is_file():
        content: list[Row] = json.loads(done.read_text())
        return content
    SupernetTraining(images, labels, settings, seed=seed, folder=folder, report=report).evaluate(supernet)
    done.write_text(json.dumps(rows))
    return rows


def summary(trainings: Sequence[list[Row]], table: Table) -> list[Row]:
    """Mean and standard deviation over seeds of what the last epochs say, and what needs no search."""
    return over_seeds([training[-1] for training in trainings], "labels") + beside(
        table, np.random.default_rng(0), "labels"
    )


def draw(trainings: Sequence[list[Row]], sizes: float, file: Path) -> None:
    """tau-b on CIFAR-10 against epochs: a line a training, and that of the number of parameters."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    colours = {"random": "tab:blue", "supervised": "tab:orange"}
    for rows in trainings:
        labels = rows[0]["labels"]
        first = not any(line.get_label() == f"{labels} labels" for line in axes.lines)
        x, y = [row["epoch"] for row in rows], [row["tau_cifar10"] for row in rows]
        axes.plot(x, y, color=colours[labels], alpha=0.7, label=f"{labels} labels" if first else None)
    axes.axhline(sizes, color="black", linestyle="--", label="number of parameters")
    axes.set(xlabel="epochs of the supernet", ylabel="Kendall tau-b with test accuracy, CIFAR-10")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--source", default="folder", choices=["folder", "cifar10"])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--objectives", nargs="+", default=["random"], choices=["random", "supervised"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, default=25_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    table = nasbench201_table(given.table)
    crops = {"padding": 4, "flip": True}
    images = load(DataSettings(source=given.source, path=given.images, limit=given.limit, **crops)).train
    trainings: list[list[Row]] = []
    for seed in given.seeds:
        for objective in given.objectives:
            trainings.append(one_training(given, images, table, objective, seed))
            if given.output is not None:
                given.output.mkdir(parents=True, exist_ok=True)
                rows = summary(trainings, table)
                write(given.output, "epochs.csv", [row for training in trainings for row in training])
                write(given.output, "summary.csv", rows)
                (sizes,) = (row["tau_cifar10"] for row in rows if row["labels"] == PARAMETERS)
                draw(trainings, sizes, given.output / "tau.png")


if __name__ == "__main__":
    main()
