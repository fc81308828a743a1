"""Every kind of run that leaves results in a folder, as small as it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.auto import plan, speed
from nni_plugins.experiment.kinds import load_experiment

from ..nni_plugins.auto.folders import write_classes
from ..nni_plugins.small import CELL, file_of

SPACE = {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1}
DIGITS = {"source": "digits", "limit": 100}
QUICK = {"epochs": 2, "batch_size": 50, "accelerator": "cpu", "checkpoint_seconds": 0}
TEXT = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 5,
    "bptt": 12,
    "dropouti": 0,
    "dropoute": 0,
    "accelerator": "cpu",
    "checkpoint_seconds": 0,
}
EVALUATED = {"evaluations": {"stand_alone": {"evaluator": "stand_alone", "training": QUICK}}}
SEARCH = {"optimize_mode": "maximize", "space": SPACE, "data": DIGITS, "threads": 1, "baselines": [], "random": 1}

Words = list[str]
Kind = Callable[[Path], Words]
"""Given an empty folder, writes what the run needs and returns the words of the command; results belong into ``run``."""


def _file(folder: Path, tuner: str, given: dict[str, Any]) -> str:
    path = folder / "experiment.yml"
    path.write_text(yaml.safe_dump(file_of(load_experiment(tuner.lower(), given), given), sort_keys=False))
    return str(path)


def _experiment(command: str, tuner: str, given: dict[str, Any]) -> Kind:
    return lambda folder: [command, _file(folder, tuner, given), "--output", "run"]


def _search(tuner: str, **given: Any) -> Kind:
    return _experiment("search", tuner, {**SEARCH, **EVALUATED, "seeds": [0], "found": 1, **given})


def _sharing(folder: Path) -> Words:
    (folder / "text").mkdir()
    words = ["one", "two", "three", "four", "five", "six"]
    for part, lines in (("train", 40), ("valid", 15), ("test", 12)):
        rows = [" ".join(words[(i * i + j * (i % 3 + 1)) % 6] for j in range(7)) for i in range(lines)]
        (folder / "text" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    given = {
        "optimize_mode": "minimize",
        "study": "amount",
        "hidden": 4,
        "text": {"path": "text"},
        "sharing": ["node", "edge_op"],
        "shared": {**TEXT, "evaluation_batch": 4, "reward_batch": 4},
        "shared_seeds": [0],
        "stand_alone": {**TEXT, "evaluation_batch": 4, "test_batch": 4},
        "stand_alone_seeds": [0, 1],
        "analysis": {"resamples": 100, "permutations": 100},
    }
    return ["sharing-study", _file(folder, "SharingStudy", given), "--output", "run"]


def pretend() -> None:
    """``auto`` goes by a pretended clock: what it plans does not depend on the machine."""
    speed.seconds_per_image = lambda *_: 1e-5
    plan._sizes = lambda found: [plan.Size(SPACE, (32, 32), 16)]  # type: ignore[assignment, return-value]
    plan.MOST_EPOCHS, plan.REPEATS, plan.RANDOM, plan.CANDIDATES = 1, 2, 2, (8, 8)


def _auto(folder: Path) -> Words:
    write_classes(folder / "images", 60 // 3 + 10)
    return ["auto", "images", "--output", "run"]


KINDS: dict[str, Kind] = {
    "single path": _search("RLNAS", objective={"name": "random_labels", "classes": 10}, training=QUICK),
    "mixed": _search("RFDARTS", training={**QUICK, "warmup_epochs": 0}),
    "one shot": _search("RandomNAS", training=QUICK, search={"candidates": 4, "evaluation_images": 8}),
    "encoder-decoder": _search(
        "NAOV2",
        training={**QUICK, "drop_path": 0.0},
        search={
            "iterations": 2,
            "initial": 8,
            "kept": 3,
            "final": None,
            "evaluation_images": 8,
            "proposals": {"seeds": 2, "new": 2},
            "controller": {"epochs": 1, "embedding": 4, "hidden": 8, "predictor": [4]},
        },
    ),
    "training-free": _search("NASWOT", search={"candidates": 6, "batch_size": 8}),
    "follow-ups": _search(
        "Parameters",
        evaluations={
            "retrain": {
                "evaluator": "retrain",
                "recipe": "digits",
                "data": "digits",
                "changes": {"epochs": 1, "schedule.warmup_epochs": 0},
            }
        },
    ),
    "compare": _experiment(
        "compare",
        "Compare",
        {
            "optimize_mode": "maximize",
            "space": SPACE,
            "seeds": [0, 1],
            "evaluations": {"stand_alone": {"evaluator": "stand_alone", "training": QUICK, "data": DIGITS}},
            "baselines": [],
            "policies": {
                "naswot": {"strategy": "NASWOT", "data": DIGITS, "search": {"candidates": 4, "batch_size": 8}}
            },
            "report": {"resamples": 1000},
            "threads": 1,
        },
    ),
    "sample study": _experiment(
        "sample-study",
        "SampleStudy",
        {
            "space": SPACE,
            "data": DIGITS,
            "objectives": {"supervised": {"training": QUICK}, "rotation": {"training": QUICK}},
            "random": 3,
            "threads": 1,
        },
    ),
    "rank study": _experiment(
        "rank-study",
        "RankStudy",
        {
            "space": SPACE,
            "data": DIGITS,
            "architectures": 5,
            "epochs": [1, 2],
            "seeds": [0],
            "training": {"batch_size": 50, "drop_path": 0.0, "accelerator": "cpu", "checkpoint_seconds": 0},
            "truth": {"table": "digits", "metric": "accuracy"},
            "analysis": {"resamples": 100, "top": [2]},
            "threads": 1,
        },
    ),
    "sharing study": _sharing,
    "diagnosis": _experiment(
        "diagnose",
        "Diagnose",
        {
            "study": "options",
            "data": DIGITS,
            "threads": 1,
            "space": SPACE,
            "training": {**QUICK, "epochs": 1},
            "options": ["B", "C"],
            "seeds": [0],
            "stand_alone": {**QUICK, "epochs": 1},
        },
    ),
    "retraining": lambda folder: [
        *("retrain", CELL, "--space-argument", "nodes=3", "--recipe", "digits", "--set", "epochs=2"),
        *("--set", "schedule.warmup_epochs=0"),
        *("--data", "digits", "--output", "run"),
    ],
    "auto": _auto,
}
