"""What presets find among the 125 three-node cells on digits, whose accuracies are known: the figures of the
documentation, and whether they still come out.

    python benchmarks/digits_searches.py PRESET [--set KEY=VALUE] [--seeds 0 1 2 3 4]
    python benchmarks/digits_searches.py --check [--seeds 0]

The first adds one row a seed to ``docs/reports/digits/searches.csv``: the true rank of the first cell that is found (1 is
best, a draw has 63 on average), the same with ``none`` allowed where it was barred, tau-b of the score over all cells.
The second runs rows of that file again and compares.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from nni_plugins.evaluators.overrides import changed_values
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.search import SearchExperiment
from nni_plugins.experiment.searching import run_search
from nni_plugins.experiment.truth import ListedTruthSettings, judge
from nni_plugins.presets import preset
from nni_plugins.spaces.mixed.derivation import derived

FILE = Path(__file__).parent.parent / "docs" / "reports" / "digits" / "searches.csv"
KEYS = ("preset", "changes", "seed", "architecture", "rank", "rank_with_none", "tau", "supernet_accuracy", "torch")
ROUNDED = {"tau": 3, "supernet_accuracy": 1}
Row = dict[str, str]


def searched(name: str, changes: str, seed: int) -> Row:
    """One search of the preset ``name`` with ``changes``, KEY=VALUE separated by blanks."""
    one = preset(name)
    pairs = [change.split("=", 1) for change in changes.split()]
    arguments = changed_values(one.classArgs, {key: yaml.safe_load(value) for key, value in pairs})
    experiment = load_experiment(one.tuner, {**arguments, "found": 1})
    assert isinstance(experiment, SearchExperiment)
    value = run_search(experiment.settings, experiment.evaluations, seed, None, None, [])
    result, space, table = value["result"], experiment.settings.search_space, digits_table()
    truth = ListedTruthSettings()
    found = space.architecture(result["found"][0]["choices"])
    row: dict[str, Any] = {
        "preset": name,
        "changes": changes,
        "seed": seed,
        "architecture": space.to_string(found),
        "rank": judge(table, truth, found)["true_rank"],
        "rank_with_none": "",
        "tau": value["tau"],
        "supernet_accuracy": value.get("supernet_accuracy", ""),
        "torch": torch.__version__.partition("+")[0],
    }
    if "operations" in result:
        free = derived(space, result["operations"], result["shares"])
        row["rank_with_none"] = judge(table, truth, free)["true_rank"]
    return {key: str(_rounded(key, number)) for key, number in row.items()}


def _rounded(key: str, value: Any) -> Any:
    return round(value, ROUNDED[key]) if key in ROUNDED and value != "" else value


def read_rows(file: Path = FILE) -> list[Row]:
    """The measured ones."""
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def summary(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Means over ``rows``, and the standard error of the rank."""
    numbers = {key: [float(row[key]) for row in rows if row[key] != ""] for key in KEYS[4:8]}
    means = {key: sum(values) / len(values) for key, values in numbers.items() if values}
    ranks = numbers["rank"]
    spread = math.sqrt(sum((rank - means["rank"]) ** 2 for rank in ranks) / max(len(ranks) - 1, 1))
    return {**means, "standard_error": spread / math.sqrt(len(ranks))}


def check(seeds: Sequence[int]) -> list[str]:
    """What does not come out again of the rows of ``seeds``, a sentence each."""
    problems = []
    for row in read_rows():
        if int(row["seed"]) not in seeds:
            continue
        again = searched(row["preset"], row["changes"], int(row["seed"]))
        differ = [f"{key} {row[key]} -> {again[key]}" for key in KEYS if row[key] != again[key]]
        problems += [f"{row['preset']} {row['changes']} seed {row['seed']}: {', '.join(differ)}"] if differ else []
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes of the preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--check", action="store_true", help="run measured rows of these seeds again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        problems = check(arguments.seeds)
        print("\n".join(problems) or "all of them come out again")
        return len(problems) > 0
    if arguments.preset is None:
        parser.error("a preset is needed, such as rfdarts_digits")
    changes, kept = " ".join(sorted(arguments.set)), read_rows()
    mine = []
    for seed in arguments.seeds:
        mine.append(searched(arguments.preset, changes, seed))
        print(mine[-1], flush=True)
        again = {(row["preset"], row["changes"], row["seed"]) for row in mine}
        rows = [row for row in kept if (row["preset"], row["changes"], row["seed"]) not in again]
        FILE.parent.mkdir(parents=True, exist_ok=True)
        with FILE.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, KEYS, lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, *mine])
    print(summary(mine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
