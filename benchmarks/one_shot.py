"""Many architectures on one batch with shared weights: what they have in common run once, against each alone.

    python benchmarks/one_shot.py [--architectures 10 50] [--batch 64] [--runs 3]

One process, one thread, turn by turn. "random": independent draws. "evolution": the children of ten parents, each
decision drawn anew with probability 0.1, as a generation of RLNAS' evolution.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import torch
from common import Spread, seconds

from nni_plugins.evaluators.training.layout import laid_out, lay_out
from nni_plugins.spaces import DARTS, MobileNetLike, NASBench201, SearchSpace
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.prefixes import outputs_of_paths

SPACES: list[tuple[SearchSpace, int]] = [(NASBench201(), 32), (DARTS(channels=16, cells=8), 32), (MobileNetLike(), 96)]


def populations(space: SearchSpace, count: int) -> dict[str, Indices]:
    """``count`` architectures (count, D), drawn in both ways."""
    rng = np.random.default_rng(0)
    parents = space.sample(rng, 10)[np.arange(count) % 10]
    return {"random": space.sample(rng, count), "evolution": space.mutate(rng, parents, 0.1)}


def alone(supernet: Any, x: torch.Tensor, rows: Indices) -> None:
    """One path after the other."""
    for row in rows:
        supernet.forward_path(x, np.broadcast_to(row, (supernet.search_space.repeats, len(row))))


def shared(supernet: Any, x: torch.Tensor, rows: Indices) -> None:
    """What paths begin with alike is run once."""
    for _ in outputs_of_paths(supernet, x, rows):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| space | architectures | alone, ms each | shared, ms each (min, median, max) | ratio |\n|---|---|---:|---:|---:|"
    )
    for space, size in SPACES:
        supernet = space.supernet()
        lay_out(supernet, "channels_last")
        x = laid_out(torch.randn(given.batch, 3, size, size), "channels_last")
        for count in given.architectures:
            for name, rows in populations(space, count).items():
                times: dict[str, list[float]] = {"alone": [], "shared": []}
                with torch.no_grad():
                    shared(supernet, x, rows)  # kernels are made ready at their first use
                    for _ in range(given.runs):
                        times["alone"] += seconds(partial(alone, supernet, x, rows), 1, warm=0)
                        times["shared"] += seconds(partial(shared, supernet, x, rows), 1, warm=0)
                before, after = (Spread.of([1000 * s / count for s in times[form]]) for form in times)
                print(
                    f"| {space.name}, {size} pixels | {count}, {name} | {before.median:.0f} |"
                    f" {after.least:.0f}, {after.median:.0f}, {after.most:.0f} | {after.median / before.median:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
