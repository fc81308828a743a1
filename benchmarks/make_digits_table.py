"""The embedded ground truth: all 125 three-node NAS-Bench-201 cells trained stand-alone on ``digits``, five seeds each.

    python benchmarks/make_digits_table.py [--workers 2] [--output evaluators/tables/digits_3nodes.csv]

Finished trainings are kept in ``OUTPUT.partial``, so a killed run continues. About 10 minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
from pathlib import Path

import torch

from nni_plugins.evaluators import StandAlone, StandAloneSettings
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.spaces import NASBench201

SPACE = NASBench201(nodes=3, channels=8, cells_per_stage=1)
SETTINGS = StandAloneSettings(epochs=12, batch_size=64, learning_rate=0.025, accelerator="cpu")
SEEDS = (0, 1, 2, 3, 4)


def train(job: tuple[str, int]) -> tuple[str, int, float]:
    """One stand-alone training on one thread."""
    torch.set_num_threads(1)
    cell, seed = job
    evaluator = StandAlone(load(DataSettings()), SETTINGS, space=SPACE, seed=seed)
    return cell, seed, evaluator.train(SPACE.from_string(cell)).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("evaluators/tables/digits_3nodes.csv"))
    arguments = parser.parse_args()
    partial = arguments.output.with_suffix(".partial")
    done = (
        {tuple(row[:2]): row[2] for row in map(json.loads, partial.read_text().splitlines())}
        if partial.exists()
        else {}
    )
    indices = SPACE.enumerate()
    cells = [SPACE.to_string(architecture) for architecture in SPACE.decode(indices)]
    jobs = [(cell, seed) for seed in SEEDS for cell in cells if (cell, seed) not in done]
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool, open(partial, "a") as file:
        for number, (cell, seed, accuracy) in enumerate(pool.imap_unordered(train, jobs), start=1):
            done[cell, seed] = accuracy
            file.write(json.dumps([cell, seed, accuracy]) + "\n")
            file.flush()
            print(f"{number}/{len(jobs)} {cell} seed {seed}: {accuracy:.2f} %", flush=True)
    costs = SPACE.cost_table(image_size=8)(indices)
    with open(arguments.output, "w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["architecture", "accuracy", *(f"accuracy_seed{seed}" for seed in SEEDS), "parameters", "macs"])
        for cell, parameters, macs in zip(cells, costs.parameters, costs.macs, strict=True):
            values = [done[cell, seed] for seed in SEEDS]
            writer.writerow([cell, f"{sum(values) / len(values):.4f}", *(f"{v:.4f}" for v in values), parameters, macs])
    partial.unlink()


if __name__ == "__main__":
    main()
