"""NAO's tuner against NNI's Random, TPE and RegularizedEvolution on the full NAS-Bench-201 table: regret after so many
queries.

    python benchmarks/nao_nasbench201.py [--seeds 20] [--queries 500] [--methods NAO Random ...] [--output runs/nao_nasbench201]
    python benchmarks/nao_nasbench201.py --report docs/images/nao_regret.png

A query tells CIFAR-10's validation accuracy after 200 epochs. Regret: the best test accuracy of the table (mean over
the benchmark's seeds) minus that of the queried cell with the best validation accuracy, in percent. Each run is a file
of its own: a killed study goes on where it was, and several processes may run the same command. NAO, Random and TPE are
the Python classes that NNI's dispatcher drives, here driven directly; RegularizedEvolution is NNI's strategy class with
an engine that looks values up. NNI's Random and TPE never suggest anything twice: a grid over the space replaces what is
repeated, and it is said how often; ``TPE, repeats`` and ``TPESearch`` in experiments ask for it again.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import io
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators.files import atomic_write
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.tables.table import Table, nasbench201_table
from nni_plugins.spaces import Architecture, NASBench201
from nni_plugins.strategies.base import Problem
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.queries.methods import ask_by_evolution, ask_by_tpe
from nni_plugins.strategies.queries.questions import Questions
from nni_plugins.strategies.queries.settings import EvolutionSearchSettings, TPESearchSettings

CHECKPOINTS = (50, 100, 200, 500)
NAO_SMALL: dict[str, Any] = {"initial": 50, "proposals": {"seeds": 25, "new": 25}}
FAST = {"epochs": 40, "learning_rate": 5e-3}
NAO_VARIANTS: dict[str, dict[str, Any]] = {"NAO": FAST, "NAO, ranks": {**FAST, "targets": "rank"}}
"""Controllers: NAO-V2's but for 40 epochs instead of 1,000 and a learning rate of 0.005 instead of 0.001, so that 20
seeds of one variant take some 8 minutes of a core. Chosen by how well a pool of 50 and of 200 predicts 1,000 other
cells, not by regret. ``ranks`` learns ranks.
"""


class Queries:
    """Counts what is looked up: ``rows`` of the table, in order."""

    def __init__(self, table: Table, metric: str) -> None:
        self.table, self.values = table, table.metric(metric)
        self.numbers = {tuple(value for _, value in a.choices): i for i, a in enumerate(table.architectures)}
        self.labels = table.space.labels
        self.rows: list[int] = []

    def __call__(self, parameters: dict[str, str]) -> float:
        row = self.numbers[tuple(parameters[label] for label in self.labels)]
        self.rows.append(row)
        return float(self.values[row])


class Replaced:
    """NNI's ``Deduplicator``, of which is counted how often it replaces a suggestion."""

    def __init__(self, dedup: Any) -> None:
        self.dedup, self.count = dedup, 0

    def __call__(self, parameters: Any) -> Any:
        kept = self.dedup(parameters)
        self.count += kept is not parameters
        return kept


def drive(tuner: Any, space: dict[str, Any], look: Queries, queries: int) -> int:
    """What NNI's dispatcher does, one trial at a time; returns how many suggestions NNI replaced."""
    sent: dict[int, Any] = {}
    tuner.update_search_space(space)
    replaced = Replaced(getattr(tuner, "dedup", lambda parameters: parameters))
    tuner.dedup = replaced
    for number in range(queries):
        given = tuner.generate_multiple_parameters(
            [number], st_callback=lambda n, parameters: sent.update({n: parameters})
        )
        parameters = given[0] if given else sent.pop(number)
        tuner.receive_trial_result(number, parameters, look(parameters))
        tuner.trial_end(number, True)
    return replaced.count


class LookedUp(Questions):
    """Questions of which each is looked up, those that were asked before too."""

    def __init__(self, look: Queries, queries: int) -> None:
        space = look.table.space
        problem = Problem(space, None, None, None, Limits(), 1, ask=lambda architecture: look(architecture.as_dict()))
        super().__init__(problem, queries)

    def ask(self, architecture: Architecture) -> float:
        self.answers.pop(architecture, None)
        return super().ask(architecture)


def evolve(look: Queries, queries: int, seed: int, **arguments: Any) -> None:
    """NNI's RegularizedEvolution."""
    ask_by_evolution(LookedUp(look, queries), EvolutionSearchSettings(queries=queries, **arguments), seed)


def run(method: str, seed: int, look: Queries, queries: int) -> int:
    """``queries`` look-ups by ``method``; returns how many of its suggestions were replaced."""
    from nni.algorithms.hpo.random_tuner import RandomTuner
    from nni.algorithms.hpo.tpe_tuner import TpeTuner

    from nni_plugins.portal.nao_tuner import NAOTuner

    space = look.table.space.nni_search_space()
    if method == "Random":
        return drive(RandomTuner(seed=seed), space, look, queries)
    if method == "TPE":
        return drive(TpeTuner(optimize_mode="maximize", seed=seed), space, look, queries)
    if method == "TPE, repeats":
        questions = LookedUp(look, queries)
        ask_by_tpe(questions, TPESearchSettings(queries=queries), seed)
        return questions.replaced
    if method == "RegularizedEvolution":
        evolve(look, queries, seed)
    elif method == "RegularizedEvolution, small":
        evolve(look, queries, seed, population_size=20, sample_size=5, mutation_prob=1 / 6)
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NNI_CHECKPOINT_DIRECTORY"] = folder
            drive(
                NAOTuner(threaded=False, seed=seed, controller=NAO_VARIANTS[method], **NAO_SMALL), space, look, queries
            )
    return 0


METHODS = ("Random", "TPE", "TPE, repeats", "RegularizedEvolution", "RegularizedEvolution, small", *NAO_VARIANTS)


def name(method: str, seed: int) -> str:
    return f"{method.replace(', ', '_').replace(' ', '_').lower()}-{seed:02d}"


def study(table: Table, methods: list[str], seeds: int, queries: int, output: Path) -> None:
    """All runs that nobody has done or is doing. Seed by seed, so that a study cut short is balanced."""
    output.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for method in methods:
            path = output / f"{name(method, seed)}.csv"
            with open(output / f".{name(method, seed)}.lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if path.exists():
                    continue
                look, start = Queries(table, "cifar10_val_200"), time.process_time()
                replaced = run(method, seed, look, queries)
                seconds = time.process_time() - start
                atomic_write(path, ("row\n" + "\n".join(map(str, look.rows)) + "\n").encode())
                print(
                    f"{method}, seed {seed}: {len(look.rows)} queries, {len(set(look.rows))} different, {replaced} replaced, "
                    f"{seconds:.1f} s of CPU",
                    flush=True,
                )


def regrets(table: Table, path: Path) -> np.ndarray:
    """Regret after each query of one run: (queries,)."""
    rows = np.array([int(row["row"]) for row in csv.DictReader(path.open())])
    values, test = table.metric("cifar10_val_200")[rows], table.metric("cifar10_test_200")
    best = np.maximum.accumulate(values)
    first = np.array([int(np.argmax(values == b)) for b in best])
    return np.asarray(test.max() - test[rows[first]])


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by bootstrap over seeds, 10,000 resamples."""
    drawn = generator(0, "bootstrap").integers(0, len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def report(table: Table, methods: list[str], seeds: int, output: Path, picture: Path | None) -> None:
    """``summary.csv`` of the runs that are there, and a picture of the mean regret."""
    curves = {}
    for method in methods:
        files = [path for seed in range(seeds) if (path := output / f"{name(method, seed)}.csv").exists()]
        if files:
            runs = [regrets(table, path) for path in files]
            shortest = min(map(len, runs))
            curves[method] = np.stack([r[:shortest] for r in runs])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "seeds", "queries", "mean_regret", "low", "high"])
    for method, curve in curves.items():
        for n in CHECKPOINTS:
            if n <= curve.shape[1]:
                low, high = interval(curve[:, n - 1])
                writer.writerow([method, len(curve), n, *(f"{v:.3f}" for v in (curve[:, n - 1].mean(), low, high))])
    atomic_write(output / "summary.csv", text.getvalue().encode())
    print(text.getvalue())
    if picture is not None:
        draw(curves, picture)


def draw(curves: dict[str, np.ndarray], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=120)
    for k, (method, curve) in enumerate(curves.items()):
        queries = np.arange(1, curve.shape[1] + 1)
        axes.plot(
            queries,
            curve.mean(axis=0),
            label=f"{method} ({len(curve)} seeds)",
            color=f"C{k}",
            linestyle="-" if method.startswith("NAO") else "--",
        )
        bands = [interval(curve[:, n - 1]) for n in CHECKPOINTS if n <= curve.shape[1]]
        at = [n * (1 + 0.015 * (k - 3)) for n in CHECKPOINTS if n <= curve.shape[1]]
        axes.vlines(at, [low for low, _ in bands], [high for _, high in bands], color=f"C{k}", alpha=0.6)
    axes.set(xscale="log", xlim=(10, 550), xlabel="queries", ylabel="mean test regret [%]", ylim=(0, 1.6))
    axes.set_title("NAS-Bench-201, CIFAR-10; bars: 95 % bootstrap over seeds")
    axes.legend(fontsize=8)
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--output", type=Path, default=Path("runs/nao_nasbench201"))
    parser.add_argument("--report", type=Path, metavar="PICTURE", help="only draw what is there")
    default = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--table", type=Path, default=default / "nb201", help="nb201_table.csv.gz, or its folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    table = nasbench201_table(arguments.table)
    assert table.space == NASBench201()
    if arguments.report is None:
        study(table, arguments.methods, arguments.seeds, arguments.queries, arguments.output)
    report(table, arguments.methods, arguments.seeds, arguments.output, arguments.report)


if __name__ == "__main__":
    main()
