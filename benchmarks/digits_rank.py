"""How good are the cells that RLNAS finds on ``digits``? True rank out of 125 (1 is best) and tau-b of angle against
truth, over seeds.

    python benchmarks/digits_rank.py [--seeds 5] [--epochs 40] [--objective random|resample|supervised] [--angle rlnas] [--update all|active]

Truth is the project's table of stand-alone accuracies; a random draw has expected rank 63. About 7 s a seed on one
core.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from nni_plugins.evaluators import RandomLabels, SupernetTraining, Supervised, agreement, digits_table, true_ranks
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.strategies.drawing import draw
from nni_plugins.strategies.rlnas.search import initialise, search
from nni_plugins.strategies.rlnas.settings import RLNASSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--objective", default="random", choices=["random", "resample", "supervised"])
    parser.add_argument("--angle", default="rlnas")
    parser.add_argument("--update", default="all", choices=["all", "active"])
    parser.add_argument("--share-cells", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    table = digits_table()
    truth = table.metric("accuracy")
    ranks = dict(zip(table.architectures, true_ranks(truth), strict=True))
    images = load(DataSettings()).train
    settings = SupernetSettings(
        epochs=arguments.epochs, accelerator="cpu", update=arguments.update, share_cells=arguments.share_cells
    )
    found, taus, tops = [], [], []
    for seed in range(arguments.seeds):
        mode = "resample" if arguments.objective == "resample" else "fixed"
        objective = Supervised() if arguments.objective == "supervised" else RandomLabels(10, mode=mode, seed=seed)
        supernet = initialise(table.space, seed)
        result = search(
            supernet, SupernetTraining(images, objective, settings, seed=seed), RLNASSettings(angle=arguments.angle), 5
        )
        scores = dict(zip(table.space.decode(result.indices), result.angles, strict=True))
        agreed = agreement([scores[a] for a in table.architectures], truth, seed=seed)
        top = [ranks[ranked.architecture] for ranked in result.ranked]
        drawn = [ranks[a] for a in draw(table.space, 5, generator(seed, "random search"))]
        found.append(top[0])
        taus.append(agreed.tau)
        tops.append(np.mean(top))
        best = table.space.to_string(result.ranked[0].architecture)
        row = {"seed": seed, "cell": best, "true_rank": top[0], "ranks_of_top_5": top, "random_draws": drawn}
        print(
            json.dumps({**row, "tau": round(agreed.tau, 3), "interval": [round(agreed.low, 3), round(agreed.high, 3)]}),
            flush=True,
        )
    print(
        json.dumps(
            {
                "mean_rank": np.mean(found),
                "mean_rank_of_top_5": np.mean(tops),
                "mean_tau": np.mean(taus),
                "tau_deviation": np.std(taus, ddof=1),
            }
        )
    )


if __name__ == "__main__":
    main()
