"""The smallest experiments, and pretended results for tests that train nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nni_plugins.evaluators.base import Report
from nni_plugins.experiment.base import Experiment
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.search import SearchExperiment
from nni_plugins.presets import render_preset

CELL = "|nor_conv_3x3~0|+|skip_connect~0|none~1|"
OTHER = "|nor_conv_1x1~0|+|skip_connect~0|nor_conv_3x3~1|"


class Answer(NamedTuple):
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Answer]


def arguments(tuner: str = "rlnas", **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on 200 images, then one found and one random architecture."""
    whole: dict[str, Any] = {
        "optimize_mode": "maximize",
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "evaluations": {"stand_alone": stand_alone()},
        "baselines": [],
        "threads": 1,
        "random": 1,
    }
    if tuner == "rlnas":
        whole |= {
            "objective": {"name": "random_labels", "classes": 10, "mode": "fixed", "seed": 0},
            "training": {"epochs": 2, "accelerator": "cpu"},
            "seeds": [0],
            "found": 1,
        }
    return whole | changes


def stand_alone(**changes: Any) -> dict[str, Any]:
    """An evaluation by two epochs of training."""
    training = {"epochs": 2, "batch_size": 64, "accelerator": "cpu"}
    return {"evaluator": "stand_alone", "training": training, **changes}


def experiment(tuner: str = "rlnas", **changes: Any) -> SearchExperiment:
    """The experiment that :func:`arguments` describe."""
    loaded = load_experiment(tuner, arguments(tuner, **changes))
    assert isinstance(loaded, SearchExperiment)
    return loaded


def content(tuner: str = "rlnas", **changes: Any) -> dict[str, Any]:
    """A whole experiment file."""
    return file_of(load_experiment(tuner, arguments(tuner, **changes)), arguments(tuner, **changes))


def file_of(loaded: Experiment, given: dict[str, Any]) -> dict[str, Any]:
    """The experiment file of ``loaded``, whose ``tuner.classArgs`` are ``given``."""
    return {
        "experimentName": "test",
        "trialCommand": "python -m nni_plugins.trial",
        "trialCodeDirectory": ".",
        "trialConcurrency": 2,
        "maxTrialNumber": loaded.trials,
        "maxExperimentDuration": "1h",
        "trainingService": {"platform": "local"},
        "tuner": {"name": loaded.name, "classArgs": given},
        "searchSpace": loaded.axes(),
    }


def write(path: Path, value: Any) -> Path:
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def run_search(searched: SearchExperiment, report: Report | None = None, folder: Path | None = None) -> dict[str, Any]:
    """What the trial of its first search reports, run here."""
    seed = searched.settings.seeds[0]
    return searched.run(Job(f"search-{seed}", "search", seed), folder, report)


def preset_file(name: str, folder: Path) -> Path:
    """The experiment file of a preset."""
    path = folder / f"{name}.yml"
    path.write_text(render_preset(name))
    return path


def search_value(searched: SearchExperiment, seed: int = 0, found: int | None = None) -> dict[str, Any]:
    """What a search's trial would report: the first architectures of the space, each a little worse than the one
    before.
    """
    settings = searched.settings
    space, wanted = settings.search_space, settings.found if found is None else found
    best = space.decode(space.enumerate()[seed * wanted : (seed + 1) * wanted])
    rows = [{"choices": a.as_dict(), "score": 1.5 - seed - i / 10} for i, a in enumerate(best)]
    result = {
        "found": rows,
        "random": [0.5 - i / 100 for i in range(settings.random)],
        "curve": [{"epoch": 1.0, "loss": 2.3}],
        "cost": {"search_epochs": 1.0, "queries": 0.0},
        "scored": space.size,
        "initial_sha256": "0" * 64,
    }
    return {"default": 1.5 - seed, settings.strategy.score.key: 1.5 - seed, "loss": 2.3, "result": result}


def evaluation_value(value: float) -> dict[str, Any]:
    """What the trial of a stand-alone training would report, with ``value`` on either part."""
    numbers = {"accuracy": value, "loss": 0.5, "parameters": 1000, "macs": 100_000}
    result = {"value": value, "validation": value, "metrics": {}, "cost": {}, "curve": [], "reused": False}
    return {"default": value, **numbers, "result": result}


def value_of(searched: SearchExperiment, plan: Plan, name: str) -> dict[str, Any]:
    """What the trial of job ``name`` would report; the accuracy is a function of the architecture alone."""
    job = plan.jobs[name]
    if job.phase == "search":
        return search_value(searched, job.seed)
    return evaluation_value(50.0 + sum(map(ord, str(job.choices or job.network))) % 50)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def strip(result: Any) -> Any:
    """Without what differs from run to run: seconds."""
    if isinstance(result, dict):
        return {key: strip(value) for key, value in result.items() if key != "seconds"}
    return [strip(value) for value in result] if isinstance(result, list) else result
