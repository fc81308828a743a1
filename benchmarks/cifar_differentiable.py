"""Does DARTS collapse to skip connections where RF-DARTS does not? Options A to D of the RF-DARTS paper, everything
else equal, in NAS-Bench-201.

    python benchmarks/cifar_differentiable.py --images FOLDER --table FOLDER [--options BC] [--seeds 0 1 2] [--run runs/cifar_differentiable]

``--images``: CIFAR-10 as class folders (``train/``, ``test/``) or as torchvision stores it. One line of JSON a search;
each has its folder under ``--run``, with the mixture after every epoch, and a killed search continues with the same
command.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cell_table import Row, beside, judged, over_seeds, write

from nni_plugins.evaluators import Supervised
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.images import ImageSet
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.diagnostics.search_figures import mixture_figure, skip_figure
from nni_plugins.evaluators.diagnostics.search_record import read_search
from nni_plugins.evaluators.reports.figures import save
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, Table, nasbench201_table
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.differentiable.search import Mixture, initialise, train
from nni_plugins.strategies.differentiable.settings import DifferentiableSettings


def one_search(
    given: argparse.Namespace,
    space: NASBench201,
    images: ImageSet,
    table: Table,
    training: BilevelSettings,
    option: str,
    seed: int,
) -> list[Row]:
    """The derived cell, and the one derived with ``none`` barred: tau-b of the architecture parameters'
    log-probability with each data set's accuracy, and the table's accuracies of the cell.
    """
    folder = given.run / f"{option}-{seed}"
    done = folder / "found.json"
    if done.is_file():
        content: list[Row] = json.loads(done.read_text())
        return content
    settings = DifferentiableSettings(option=option, initialisation="kaiming", track_statistics=False)
    supernet = initialise(space, settings, seed)
    started = time.perf_counter()
    trained = train(supernet, images, Supervised(), training, seed, folder=folder)
    seconds = round(time.perf_counter() - started, 1)
    indices = table.space.encode(table.architectures)
    rows: list[Row] = []
    for barred in (False, True):
        mixture = replace(Mixture.of(supernet), bar_none=barred)
        found = mixture.best(space, 1)[0].architecture
        scores = mixture.score(space, indices)
        row: Row = {"search": f"{option}, none barred" if barred else option, "seed": seed}
        row |= {"cell": space.to_string(found), "seconds": seconds, "skips": int(trained.history[-1]["skips"])}
        row |= judged(scores, table)
        row |= {f"found_{data}": table.value(found, metric) for data, metric in NASBENCH201_METRICS.items()}
        row |= {key: round(trained.history[-1][key], 4) for key in ("loss", "architecture_loss")}
        rows.append(row)
        print(json.dumps(row), flush=True)
    done.write_text(json.dumps(rows))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True)
    parser.add_argument("--source", default="folder", choices=["folder", "cifar10"])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--options", default="BC")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--size", type=int, help="side in pixels that images of a folder are resized to; default 32")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.2, help="of the weights; docs/differentiable.md has the rule")
    parser.add_argument("--architecture-rate", type=float, default=3e-4)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=1, help="in each of the three stages")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", type=Path, default=Path("runs/cifar_differentiable"))
    parser.add_argument("--output", type=Path, help="folder for searches.csv and summary.csv, with what is finished")
    parser.add_argument(
        "--pictures", type=Path, default=None, help="folder for skip connections by epoch and for the mixtures"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = nasbench201_table(arguments.table)
    crops = {"padding": 4, "flip": True}
    data = DataSettings(
        source=arguments.source, path=arguments.images, limit=arguments.limit, image_size=arguments.size, **crops
    )
    images = load(data).train
    space = NASBench201(classes=10, channels=arguments.channels, cells_per_stage=arguments.cells)
    # AutoDL-Projects' search of this space; see examples/rfdarts_nasbench201.yml.
    training = BilevelSettings(
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        learning_rate=arguments.rate,
        architecture_learning_rate=arguments.architecture_rate,
        nesterov=True,
        weight_decay=5e-4,
        first="weights",
        shuffle_split=True,
    )
    rows: list[Row] = []
    for seed in arguments.seeds:
        for option in arguments.options:
            rows += one_search(arguments, space, images, table, training, option, seed)
            if arguments.output is not None:
                arguments.output.mkdir(parents=True, exist_ok=True)
                write(arguments.output, "searches.csv", rows)
                means = over_seeds(rows, "search") + beside(table, np.random.default_rng(0), "search")
                write(arguments.output, "summary.csv", means)
    if arguments.pictures is not None:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        folders = [arguments.run / f"{option}-{seed}" for option in arguments.options for seed in arguments.seeds]
        records = [
            replace(read_search(folder, space), name=f"option {folder.name.replace('-', ', seed ')}")
            for folder in folders
        ]
        save(skip_figure(records), arguments.pictures / "cifar_skips.png")
        for record, folder in zip(records, folders, strict=True):
            save(mixture_figure(record), arguments.pictures / f"cifar_alphas_{folder.name}.png")


if __name__ == "__main__":
    main()
