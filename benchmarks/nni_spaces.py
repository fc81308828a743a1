"""Which strategies search which of NNI's model spaces: every pair is run, small, and the table of docs/nni_spaces.md comes
out.

    python benchmarks/nni_spaces.py                          # all; about an hour on one core
    python benchmarks/nni_spaces.py --spaces MobileNetV3Space --strategies RLNAS NASWOT

A pair works if the search ends with two distinct architectures, whose networks then give a number for each class. Sizes
are far below useful ones.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import fitted
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import NNISpace, SearchSpace, SpaceError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.base import Problem, SearchResult
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin

HUB: dict[str, dict[str, Any]] = {
    "MobileNetV3Space": {
        "base_widths": [8] * 9,
        "width_multipliers": [1.0, 2.0],
        "expand_ratios": [1.0, 2.0],
        "depth_range": [1, 2],
        "stride": [1, 1, 2, 1, 1, 1, 2, 1, 1],
    },
    "ProxylessNAS": {"width_mult": 0.25},
    "ShuffleNetSpace": {},
    "DARTS": {"width": 4, "num_cells": 3},
    "NasBench201": {"stem_out_channels": 4, "num_modules_per_stack": 1},
    "NasBench101": {"stem_out_channels": 8, "num_stacks": 2, "num_modules_per_stack": 1},
    "AutoFormer": {
        "img_size": 32,
        "patch_size": 8,
        "search_embed_dim": [16, 24],
        "search_mlp_ratio": [1.0, 2.0],
        "search_num_heads": [1, 2],
        "search_depth": [1, 2],
    },
}
"""Model spaces of nni.nas.hub.pytorch, and arguments that make them small."""
TRAINING = {"epochs": 2, "batch_size": 8, "accelerator": "cpu"}
EVOLUTION = {"evolution": {"population": 6, "parents": 3, "generations": 2}}
FEW = {"candidates": 4}
NAO = {"iterations": 2, "initial": 6, "kept": 3, "controller": {"epochs": 2}, "proposals": {"seeds": 3}}
STRATEGIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "RLNAS": (EVOLUTION, TRAINING),
    "RandomNAS": ({"candidates": 4}, TRAINING),
    "ENAS": ({"controller_steps": 2, "candidates": 4}, TRAINING),
    "NAOV2": ({**NAO, "final": None}, TRAINING),
    "NAOWS": (NAO, TRAINING),
    "BestOfRandom": ({"queries": 4}, {}),
    "TPESearch": ({"queries": 4, "n_startup_jobs": 2}, {}),
    "EvolutionSearch": ({"queries": 4, "population_size": 3, "sample_size": 2}, {}),
    "NAOSearch": ({"queries": 4}, {}),
    "Parameters": (EVOLUTION, {}),
    "MACs": (EVOLUTION, {}),
    **{name: ({**FEW, "batch_size": 8}, {}) for name in ("NASWOT", "Jacobian", "Zen", "ZiCo", "AZ")},
    "SynFlow": (FEW, {}),
    "DARTS": ({}, {}),
    "PCDARTS": ({}, {}),
    "GDAS": ({}, {}),
    "SETN": ({}, {}),
}
"""Name -> search and training settings. The last four mix operations."""


def images(side: int) -> ImageSet:
    """32 random images of four classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 3, side, side), dtype=np.uint8)
    return ImageSet("random", torch.from_numpy(pixels), torch.arange(32) % 4, tuple("abcd"))


def search(space: SearchSpace, name: str, data: ImageSet) -> SearchResult:
    """One small search of two architectures; what it raises is raised."""
    settings, training = STRATEGIES[name]
    plugin = strategy_plugin(name.lower())
    objective = plugin.objective
    if objective is not None and objective["name"] == "random_labels":
        objective = {"name": "random_labels", "classes": 4}
    task = None if objective is None else build_objective(objective)
    asked: dict[Architecture, float] = {}
    problem = Problem(
        space if task is None else fitted(space, task, data),
        read(plugin.search_settings, settings, "search."),
        read(plugin.training_settings, training, "training."),
        objective,
        Limits(image_size=data.size[0]),
        2,
        (0,),
        data=None if plugin.data == "none" else data,
        task=task,
        ask=(lambda one: asked.setdefault(one, float(len(asked)))) if plugin.asks else None,
    )
    plugin.check(problem)
    return plugin.search(problem)


def verdict(space: SearchSpace, name: str, data: ImageSet) -> str:
    """``yes``, or the first sentence of the refusal."""
    try:
        result = search(space, name, data)
    except (ConfigError, SpaceError) as error:
        return error.problem
    first, second = (one.architecture for one in result.ranked)
    assert first != second
    outputs = space.with_classes(4).network(first).eval()(torch.zeros(2, 3, *data.size))
    assert outputs.shape == (2, 4) and bool(torch.isfinite(outputs).all())
    return "yes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=list(HUB), choices=list(HUB))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    refusals: dict[str, str] = {}
    rows = []
    for name in arguments.strategies:
        row = []
        for hub in arguments.spaces:
            started = time.monotonic()
            space = NNISpace(f"nni.nas.hub.pytorch.{hub}", HUB[hub])
            said = verdict(space, name, images(32))
            refusals.update({} if said == "yes" else {said: name})
            row.append("yes" if said == "yes" else "no")
            print(f"# {name} on {hub}: {said} ({time.monotonic() - started:.0f} s)", flush=True)
        rows.append(f"| {name} | {' | '.join(row)} |")
    print(f"| | {' | '.join(arguments.spaces)} |\n|---|{'---|' * len(arguments.spaces)}")
    print("\n".join(rows))
    print("\n".join(f"- {reason}" for reason in refusals))


if __name__ == "__main__":
    main()
