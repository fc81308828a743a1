"""The strategies of this package pass the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.files import write_csv
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.spaces import NASBench101, NASBench201, SearchSpace
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.strategies.base import Problem, StrategyPlugin
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.testing import StrategyContract

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
MATRICES = NASBench101(nodes=3, channels=4, stacks=1, cells_per_stack=1)
"""Most matrices are no architecture: without a path, or with too many edges."""
CELLS = RecurrentCell(nodes=2, hidden=4)
IMAGES = ImageSet(
    "noise",
    torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(24) % 3,
    ("a", "b", "c"),
)
WORDS = np.arange(300) ** 2 % 11
CORPUS = Corpus("squares", tuple("abcdefghijk"), WORDS[:200], WORDS[200:260], WORDS[260:])


class Ours(StrategyContract):
    """By name; with ``settings`` of the search."""

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    space: ClassVar[SearchSpace] = SPACE
    limits: ClassVar[Mapping[str, Any]] = {"max_parameters": 6_500}

    def plugin(self) -> StrategyPlugin:
        return strategy_plugin(self.name.lower())

    def problem(self) -> Problem:
        plugin = self.plugin()
        objective = plugin.objective
        return Problem(
            self.space,
            plugin.search_settings.model_validate(self.search()),
            plugin.training_settings.model_validate(self.training()),
            objective,
            Limits.model_validate(self.bounds()),
            3,
            (7,),
            task=None if objective is None else build_objective(objective),
            seed=7,
            **self.given(),
        )

    def search(self) -> Mapping[str, Any]:
        return self.settings

    def training(self) -> Mapping[str, Any]:
        return {}

    def bounds(self) -> Mapping[str, Any]:
        return self.limits

    def given(self) -> dict[str, Any]:
        return {}


# -- asking ------------------------------------------------------------------------------------------------------------
def convolutions(architecture: Architecture) -> float:
    """What a strategy is told."""
    return sum((1.0 + 0.1 * i) for i, (_, value) in enumerate(architecture.choices) if value == "nor_conv_3x3")


class Asking(Ours):
    def given(self) -> dict[str, Any]:
        return {"ask": convolutions}


class TestBestOfRandom(Asking):
    name, settings = "BestOfRandom", {"queries": 9}


class TestTPESearch(Asking):
    name, settings = "TPESearch", {"queries": 12, "n_startup_jobs": 4}


class TestTPESearchOnMatrices(Asking):
    """Most of what is suggested is no architecture."""

    name, settings = "TPESearch", {"queries": 12, "n_startup_jobs": 4}
    space = MATRICES
    limits = {"max_parameters": 250}


class TestEvolutionSearch(Asking):
    name, settings = "EvolutionSearch", {"queries": 12, "population_size": 5, "sample_size": 2, "mutation_prob": 0.4}


class TestNAOSearch(Asking):
    name = "NAOSearch"
    settings = {
        "queries": 12,
        "initial": 6,
        "proposals": {"seeds": 3, "new": 3},
        "controller": {"epochs": 2, "embedding": 4, "hidden": 8, "predictor": [4]},
    }


class TestPrecomputed(Ours):
    name = "Precomputed"

    def write(self, name: str, first: int) -> str:
        file: Path = self.folder / name
        rows = SPACE.enumerate()
        small = SPACE.decode(rows[Limits.model_validate(self.limits).mask(SPACE, rows)])
        distinct = list({SPACE.canonical(one): one for one in small}.values())[first : first + 4]
        file.write_text(json.dumps({"7": [SPACE.to_string(one) for one in distinct]}))
        return str(file)

    def search(self) -> Mapping[str, Any]:
        return {"file": self.write("a.json", 1)}

    def other_values(self) -> Mapping[str, Any]:
        return {"search.file": self.write("b.json", 2)}


# -- text --------------------------------------------------------------------------------------------------------------
class OnText(Ours):
    space = CELLS
    trained: ClassVar[Mapping[str, Any]] = {"evaluation_batch": 4, "reward_batch": 4}

    def training(self) -> Mapping[str, Any]:
        common = {"epochs": 2, "batch_size": 4, "bptt": 6, "accelerator": "cpu", "checkpoint_seconds": 0}
        return {**common, **self.trained}

    def bounds(self) -> Mapping[str, Any]:
        """All cells cost the same, but their activations need not take equally long."""
        names = [value for decision in CELLS.decisions for value in decision.values]
        cells = CELLS.decode(CELLS.enumerate())
        milliseconds = [1.0 + sum(names.index(value) for _, value in cell.choices) for cell in cells]
        rows = [
            {"architecture": CELLS.to_string(cell), "latency_ms": ms}
            for cell, ms in zip(cells, milliseconds, strict=True)
        ]
        write_csv(self.folder / "latency.csv", rows)
        return {
            "max_latency": float(np.quantile(milliseconds, 0.6)),
            "latency_table": str(self.folder / "latency.csv"),
        }

    def given(self) -> dict[str, Any]:
        return {"data": CORPUS}


class TestRecurrentDARTS(OnText):
    name, trained = "RecurrentDARTS", {}


class TestRecurrentNAO(OnText):
    name = "RecurrentNAO"
    settings = {
        "iterations": 2,
        "initial": 8,
        "kept": 3,
        "proposals": {"seeds": 2, "new": 2},
        "controller": {"epochs": 1, "embedding": 4, "hidden": 8, "predictor": [4]},
    }


class TestRecurrentENAS(OnText):
    name, settings = "RecurrentENAS", {"controller_steps": 1, "samples": 2, "hidden": 4, "candidates": 6}


class TestRecurrentRandomNAS(OnText):
    name, settings = "RecurrentRandomNAS", {"candidates": 8}


# -- images --------------------------------------------------------------------------------------------------------------
class OnImages(Ours):
    def training(self) -> Mapping[str, Any]:
        return {"epochs": 2, "batch_size": 6, "accelerator": "cpu", "checkpoint_seconds": 0}

    def given(self) -> dict[str, Any]:
        return {"data": IMAGES}


CANDIDATES = {"candidates": 8, "evaluation_images": 8}


class TestRLNAS(OnImages):
    name = "RLNAS"


class TestRandomNAS(OnImages):
    name, settings = "RandomNAS", CANDIDATES


class TestDARTS(OnImages):
    name = "DARTS"


class TestUnNASDARTS(OnImages):
    name = "UnNASDARTS"


class TestGDAS(OnImages):
    name = "GDAS"


class TestSETN(OnImages):
    name, settings = "SETN", CANDIDATES


class TestENAS(OnImages):
    name, settings = "ENAS", {**CANDIDATES, "controller_steps": 1, "samples": 2, "hidden": 4}


class TestNAOV2(OnImages):
    name = "NAOV2"

    def training(self) -> Mapping[str, Any]:
        return {**super().training(), "drop_path": 0}

    settings = {
        "iterations": 2,
        "initial": 8,
        "kept": 3,
        "final": None,
        "evaluation_images": 8,
        "proposals": {"seeds": 2, "new": 2},
        "controller": {"epochs": 1, "embedding": 4, "hidden": 8, "predictor": [4]},
    }
