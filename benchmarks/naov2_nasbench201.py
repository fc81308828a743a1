"""Do NAO-V2's ingredients make shared weights rank better? NAO-V2 and its ablations in NAS-Bench-201 on CIFAR-10
images, against the table.

    python benchmarks/naov2_nasbench201.py --images FOLDER --table FOLDER [--variants V2 uniform] [--seeds 0 1 2 3 4] [--run runs/naov2]
    python benchmarks/naov2_nasbench201.py --report docs/images/naov2_ranking.png [--run runs/naov2]

Each search is that of ``nni_plugins.strategies.naov2.search``, scaled down; a finished one is not repeated, and a
killed one continues. One line of JSON a search: Kendall's tau-b of the one-shot accuracies against the benchmark's
200-epoch test accuracy, over the last pool and over 200 fixed random cells (in this space every weight is trained by
some cell of every pool); the test accuracy of the first cell, and the mean of the first five.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators import Supervised
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.reports.comparison import Comparison, Run, analyse
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, nasbench201_table
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.drawing import draw_distinct
from nni_plugins.strategies.naov2.search import search
from nni_plugins.strategies.naov2.settings import NAOV2Settings, NAOV2Training

VARIANTS: dict[str, dict[str, Any]] = {
    "V2": {},
    "uniform": {"sampling": "uniform"},
    "dependent": {"reset": "none"},
    "uniform-dependent": {"sampling": "uniform", "reset": "none"},
    "fewer": {},  # half of the epochs
}
LABELS = {
    "V2": "NAO-V2",
    "uniform": "- proportional",
    "dependent": "- independent",
    "uniform-dependent": "- both",
    "fewer": "- more updates",
}
MEASURES = {
    "tau_pool": "tau, last pool",
    "tau_random": "tau, 200 random cells",
    "first": "test accuracy, first cell (%)",
    "five": "mean of five (%)",
}
TEST = NASBENCH201_METRICS["cifar10"]


def run(variant: str, seed: int, images: Any, table: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """One search and what the table says of it."""
    space = NASBench201(classes=10, channels=arguments.channels, cells_per_stage=1)
    values = {
        "iterations": 3,
        "initial": arguments.pool,
        "kept": arguments.pool // 4,
        "evaluated": "pool",
        "controller": {"targets": "rank", "epochs": 100, "learning_rate": 0.005},
        "proposals": {"seeds": arguments.pool // 2, "new": arguments.pool - arguments.pool // 4},
        "final": None,
        **VARIANTS[variant],
    }
    training = NAOV2Training(
        epochs=arguments.epochs // (2 if variant == "fewer" else 1),
        drop_path=0.0,
        update="active",
        learning_rate=arguments.learning_rate,
    )
    started = time.process_time()
    folder = arguments.run / f"{variant}-{seed}"
    result = search(space, images, Supervised(), NAOV2Settings.model_validate(values), training, seed, 5, folder=folder)
    fixed = draw_distinct(space, 200, np.random.default_rng(0))
    truth = table.values(space.decode(fixed), TEST)
    pool = result.pool
    found = table.values([ranked.architecture for ranked in result.ranked], TEST)
    return {
        "variant": variant,
        "seed": seed,
        "tau_pool": kendall_tau(np.array(pool.scores), table.values(space.decode(pool.indices), TEST)),
        "tau_random": kendall_tau(result.score(fixed), truth),
        "first": float(found[0]),
        "five": float(found.mean()),
        "found": [space.to_string(ranked.architecture) for ranked in result.ranked],
        "seconds": time.process_time() - started,
        "images": len(images),
        "epochs": training.epochs,
        "iterations": [
            {"best": it.best, "mean": it.mean, "origins": it.origins, "pairwise": it.pairwise}
            for it in result.iterations
        ],
    }


def report(folder: Path, picture: Path) -> None:
    """Means with 95 % intervals, differences to NAO-V2 with p-values, and a picture of every seed."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    names = [name for name in VARIANTS if any(row["variant"] == name for row in rows)]
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(MEASURES), figsize=(3.2 * len(MEASURES), 3.2), layout="constrained")
    for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        runs = tuple(
            Run(LABELS[r["variant"]], r["seed"], None, r["found"][0], r[measure], {}, [], [], {}) for r in rows
        )
        comparison = Comparison(title, title, "", True, LABELS["V2"], runs, {})
        print(f"\n{title}")
        analysis = analyse(comparison)
        differences = {difference.policy: difference for difference in analysis.differences}
        for label, s in analysis.summaries.items():
            line = f"  {label:18s} n={s.n}  {s.mean:8.3f} +- {s.std:.3f}  [{s.t_interval.low:.3f}, {s.t_interval.high:.3f}]"
            if label in differences:
                d = differences[label]
                low, high = d.t_test.interval.low, d.t_test.interval.high
                line += f"   difference {d.improvement:+.3f} [{low:+.3f}, {high:+.3f}], p {d.p:.3f}, Holm {d.p_holm:.3f}: {d.verdict}"
            print(line)
        for x, name in enumerate(names):
            values = [r[measure] for r in rows if r["variant"] == name]
            axis.plot([x] * len(values), values, "o", alpha=0.6, color="tab:blue")
            axis.plot([x - 0.25, x + 0.25], [np.mean(values)] * 2, color="black")
        axis.set_xticks(range(len(names)), [LABELS[name] for name in names], rotation=35, ha="right")
        axis.set_title(title, fontsize=10)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images")
    parser.add_argument("--source", default="folder", choices=["folder", "cifar10"])
    parser.add_argument("--table", type=Path)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--limit", type=int, default=4000)
    parser.add_argument("--size", type=int, help="side that images of a folder are resized to; default 32")
    parser.add_argument("--learning-rate", type=float, default=0.025)
    parser.add_argument("--epochs", type=int, default=12, help="of one cycle")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--pool", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, default=Path("runs/naov2"))
    parser.add_argument("--report", type=Path, metavar="PICTURE", help="only sum up what is there")
    arguments = parser.parse_args()
    if arguments.report is not None:
        report(arguments.run, arguments.report)
        return
    if arguments.images is None or arguments.table is None:
        parser.error("--images and --table are needed, or --report")
    torch.set_num_threads(arguments.threads)
    table = nasbench201_table(arguments.table)
    images = load(
        DataSettings(
            source=arguments.source,
            path=arguments.images,
            limit=arguments.limit,
            image_size=arguments.size,
            padding=4,
            flip=True,
        )
    ).train
    for seed in arguments.seeds:
        for variant in arguments.variants:
            path = arguments.run / f"{variant}-{seed}.json"
            if not path.exists():
                result = run(variant, seed, images, table, arguments)
                path.write_text(json.dumps(result))
                print(
                    json.dumps({key: value for key, value in result.items() if key not in ("found", "iterations")}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
