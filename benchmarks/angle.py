"""The angle of all 15,625 NAS-Bench-201 cells: additive tables against literal concatenation, both in float64, in one
process.

    python benchmarks/angle.py [--run FOLDER] [--literal 200] [--repeats 5]

``--run``: checkpoints of a supernet training (such as ``benchmarks/cifar_angle.py --run`` leaves them); without it a
supernet is first trained for two epochs on digits. The literal form is timed on ``--literal`` random cells and
extrapolated to all.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from nni_plugins.evaluators import RandomLabels, SupernetTraining
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.training import CheckpointStore
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.supernet import WeightBlock, WeightBlocks
from nni_plugins.strategies.rlnas.angle import AngleTable
from nni_plugins.strategies.rlnas.search import initialise

SPACE = NASBench201()
PATHS = [[(0, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 3)], [(0, 1), (1, 2), (2, 3)]]
"""All paths from node 0 to node 3."""
State = dict[str, torch.Tensor]


def literal(blocks: WeightBlocks, initial: State, final: State, choices: dict[str, str]) -> float:
    """RLNAS' definition word for word: one long vector before and after training, and the angle between the two
    (float64).
    """
    values = {decision.label: decision.values for decision in SPACE.decisions}
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []

    def append(block: WeightBlock) -> None:
        for name, _ in block.parameters:
            before.append(initial[name].double().flatten())
            after.append(final[name].double().flatten())
        for role, norm in block.constants:
            if role == "pool":  # C kernels of nine weights 1/9
                kernel = torch.full((round(norm * 9) * 9,), 1 / 9, dtype=torch.float64)
                before.append(kernel)
                after.append(kernel)

    for path in PATHS:
        operations = [(f"e_{i}_{j}", choices[f"e_{i}_{j}"]) for i, j in path]
        if all(operation != "none" for _, operation in operations):
            for label, operation in operations:
                append(blocks.choices[SPACE.labels.index(label)][values[label].index(operation)])
    if not any(all(choices[f"e_{i}_{j}"] != "none" for i, j in path) for path in PATHS):
        return 0.0
    append(blocks.fixed)
    v0, vt = torch.cat(before), torch.cat(after)
    return float(torch.arccos(torch.clamp(v0 @ vt / (v0.norm() * vt.norm()), -1, 1)))


def trained(folder: Path | None) -> tuple[State, State]:
    """Weights before and after training."""
    if folder is not None:
        store = CheckpointStore(folder, {})
        found = store.load()
        assert found is not None, f"{folder} holds no checkpoint"
        return store.keep_initial({}), found[1]["model"]
    settings = SupernetSettings(epochs=2, accelerator="cpu")
    result = SupernetTraining(load(DataSettings()).train, RandomLabels(10), settings).evaluate(initialise(SPACE, 0))
    return result.initial, result.final


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=None)
    parser.add_argument("--literal", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    blocks, indices = SPACE.supernet().weight_blocks(), SPACE.enumerate()
    initial, final = trained(arguments.run)

    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        angles = AngleTable.build(SPACE, blocks, initial, final)(indices)
        seconds.append(time.perf_counter() - start)
    rows = generator(0, "benchmark").choice(len(indices), size=arguments.literal, replace=False)
    literals, differences = [], []
    for row, architecture in zip(rows, SPACE.decode(indices[rows]), strict=True):
        start = time.perf_counter()
        value = literal(blocks, initial, final, architecture.as_dict())
        literals.append(time.perf_counter() - start)
        differences.append(abs(value - angles[row]))

    whole, each = float(np.median(seconds)), float(np.mean(literals))
    total = each * len(indices)
    print(
        f"tables, build and all {len(indices):,} cells: min {min(seconds):.4f} s, median {whole:.4f} s, max {max(seconds):.4f} s"
    )
    print(
        f"literal concatenation: {1000 * each:.2f} ms a cell (mean of {arguments.literal}), {total:.0f} s for all; ratio {total / whole:,.0f}"
    )
    print(f"largest difference: {max(differences):.2e} rad; cells at exactly 0: {int((angles == 0).sum())}")
    print(f"angles of the others: {angles[angles > 0].min():.4f} to {angles.max():.4f} rad")


if __name__ == "__main__":
    main()
