"""What ranks cells best without labels? Training-free scores, the angle of a supernet, their combinations, and what costs
nothing, on one sample of cells with known accuracies.

    python benchmarks/label_free.py --images FOLDER --table PATH --run runs/label-free
        [--benchmark nasbench201|nasbench101|darts] [--sample 500] [--seeds 0 1 2 3 4] [--scores parameters macs naswot ...]
        [--combinations naswot+synflow ...] [--angles runs/cifar-angle] [--output FOLDER]

``--table``: NAS-Bench-201's folder, or a file with NASLib's records (``cell_table.naslib_table``). Columns: Kendall
tau-b with the table's accuracies over the sample's distinct cells (of NAS-Bench-201 test accuracies of three data sets),
the accuracy of the cell that is ranked first and its distance from the sample's best (regret), and the seconds of one
seed. Scores see images of ``--images``, never a label; networks are those of ``BENCHMARKS``, smaller than the table's.
``--angles``: the ``--run`` folder of ``cifar_angle.py``, whose supernets of NAS-Bench-201 with random labels give the score
``angle``. What is computed is kept below ``--run``: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from cell_table import Row, chance, judged, naslib_table, over_seeds, write

from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.images import ImageSet
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, Table, nasbench201_table
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.spaces import DARTS, NASBench101, NASBench201
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable
from nni_plugins.strategies.training_free.aggregation import aggregated
from nni_plugins.strategies.training_free.measures import measure
from nni_plugins.strategies.training_free.names import COSTS

Floats = npt.NDArray[np.float64]
SCORES = ("parameters", "macs", "naswot", "jacobian", "synflow", "zen", "zico", "az")
COMBINATIONS = ("naswot+synflow", "angle+naswot+synflow", "angle+parameters")


@dataclass(frozen=True)
class Benchmark:
    """``space``: of the networks that are scored; ``truths``: data set -> metric of the table."""

    space: NASBench201 | NASBench101 | DARTS
    truths: Mapping[str, str]


BENCHMARKS = {
    "nasbench201": Benchmark(NASBench201(channels=16, cells_per_stage=1), NASBENCH201_METRICS),
    "nasbench101": Benchmark(NASBench101(channels=32, cells_per_stack=1), {"cifar10": "valid"}),
    "darts": Benchmark(DARTS(channels=16, cells=5), {"cifar10": "valid"}),
}


def sampled(table: Table, count: int) -> Table:
    """``count`` of the table's distinct cells, a draw with seed 0; all of them if there are no more."""
    _, places = np.unique(table.space.simplified(table.space.encode(table.architectures)), axis=0, return_index=True)
    if count < len(places):
        places = np.random.default_rng(0).choice(places, count, replace=False)
    places = np.sort(places)
    metrics = {name: values[places] for name, values in table.metrics.items()}
    return replace(table, architectures=tuple(table.architectures[i] for i in places), metrics=metrics)


def scored(given: argparse.Namespace, table: Table, name: str, seed: int) -> tuple[Floats, float]:
    """(n, k) of the sample, one column a number of the score, and the seconds that it took."""
    kept = given.run / f"{name}-{seed}.json"
    if kept.is_file():
        content = json.loads(kept.read_text())
        return np.array(content["values"]), float(content["seconds"])
    indices = table.space.encode(table.architectures)
    values, seconds = angles(given, indices, seed) if name == "angle" else training_free(given, indices, name, seed)
    kept.write_text(json.dumps({"values": values.tolist(), "seconds": seconds}))
    return values, seconds


@cache
def training_images(source: str, path: str) -> ImageSet:
    """Read once for all scores."""
    return load(DataSettings.model_validate({"source": source, "path": path})).train


def training_free(given: argparse.Namespace, indices: Indices, name: str, seed: int) -> tuple[Floats, float]:
    """Of the score ``name``."""
    images = training_images(given.source, given.images)
    settings = {} if name in (*COSTS, "synflow") or given.batch is None else {"batch_size": given.batch}
    one = measure(BENCHMARKS[given.benchmark].space, images, name, settings=settings, seed=seed)
    return one(indices), one.seconds


def angles(given: argparse.Namespace, indices: Indices, seed: int) -> tuple[Floats, float]:
    """Of the supernet that ``cifar_angle.py`` trained with random labels from ``seed``; seconds are not known."""
    stored = stored_weights(given.angles / f"random-{seed}")
    description = json.loads((stored.folder / "run.json").read_text())["config"]["space"]
    space = NASBench201(**{key: value for key, value in description[1].items() if key != "head"})
    blocks = space.supernet().weight_blocks()
    table = AngleTable.build(space, blocks, dict(stored.initial), dict(stored.final), VARIANTS["rlnas"])
    return table(indices)[:, None], float("nan")


def row(given: argparse.Namespace, table: Table, name: str, seed: int, values: Floats, seconds: float) -> Row:
    """What ``values: (n,)`` are worth."""
    truths = BENCHMARKS[given.benchmark].truths
    one = {"score": name, "seed": seed, **judged(values, table, truths)}
    return {**with_regret(one, table, truths), "seconds": round(seconds, 1)}


def with_regret(one: Row, table: Table, truths: Mapping[str, str]) -> Row:
    """``one`` with the distances from the sample's best accuracies."""
    best = {data: float(table.metric(metric).max()) for data, metric in truths.items()}
    return {**one, **{f"regret_{data}": round(most - one[f"found_{data}"], 4) for data, most in best.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--source", default="folder", choices=["folder", "cifar10"])
    parser.add_argument("--benchmark", default="nasbench201", choices=list(BENCHMARKS))
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--scores", nargs="+", default=list(SCORES))
    parser.add_argument("--combinations", nargs="*", default=list(COMBINATIONS))
    parser.add_argument("--angles", type=Path)
    parser.add_argument("--batch", type=int, help="images of a score; default: each score's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.run.mkdir(parents=True, exist_ok=True)
    space, truths = BENCHMARKS[given.benchmark].space, BENCHMARKS[given.benchmark].truths
    whole = nasbench201_table(given.table) if isinstance(space, NASBench201) else naslib_table(given.table, space)
    table = sampled(whole, given.sample)
    names = [*given.scores, *(["angle"] if given.angles is not None else [])]
    wanted = [one for one in given.combinations if set(one.split("+")) <= set(names)]
    drawn = chance(table, np.random.default_rng(0), "score", truths)
    by_chance = [with_regret(one, table, truths) for one in drawn]
    rows: list[Row] = []
    for seed in given.seeds:
        values = {}
        for name in names:
            if seed != given.seeds[0] and name in COSTS:
                continue
            values[name], seconds = scored(given, table, name, seed)
            rank = values[name][:, 0] if values[name].shape[1] == 1 else aggregated(values[name], "log_rank")
            rows.append(row(given, table, name, seed, rank, seconds))
            print(json.dumps(rows[-1]), flush=True)
        costs = {name: scored(given, table, name, given.seeds[0])[0] for name in names if name in COSTS}
        for combination in wanted:
            columns = np.concatenate([{**values, **costs}[name] for name in combination.split("+")], axis=1)
            rows.append(row(given, table, combination, seed, aggregated(columns, "log_rank"), float("nan")))
            print(json.dumps(rows[-1]), flush=True)
        if given.output is not None:
            given.output.mkdir(parents=True, exist_ok=True)
            write(given.output, "scores.csv", rows)
            write(given.output, "summary.csv", [*over_seeds(rows, "score"), *by_chance])


if __name__ == "__main__":
    main()
