"""The smallest experiments, and pretended results for tests that train nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nni_plugins.experiment.plan import Plan
from nni_plugins.experiment.settings import EXPERIMENTS, RLNASExperiment, StudySettings, check
from nni_plugins.portal.axes import expected_trials, search_space

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
        "stand_alone": {"epochs": 2, "batch_size": 64, "accelerator": "cpu"},
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


def settings(**changes: Any) -> RLNASExperiment:
    return check(RLNASExperiment, arguments(**changes))


def content(tuner: str = "rlnas", **changes: Any) -> dict[str, Any]:
    """A whole experiment file."""
    given = arguments(tuner, **changes)
    model: StudySettings = check(EXPERIMENTS[tuner], given)
    return {
        "experimentName": "test",
        "trialCommand": "python -m nni_plugins.trial",
        "trialCodeDirectory": ".",
        "trialConcurrency": 2,
        "maxTrialNumber": expected_trials(model),
        "maxExperimentDuration": "1h",
        "trainingService": {"platform": "local"},
        "tuner": {"name": {"rlnas": "RLNAS", "randomsearch": "RandomSearch"}[tuner], "classArgs": given},
        "searchSpace": search_space(model),
    }


def write(path: Path, value: Any) -> Path:
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def search_value(experiment: StudySettings, seed: int = 0, found: int | None = None) -> dict[str, Any]:
    """What a search's trial would report: the first architectures of the space, each a little worse than the one
    before.
    """
    assert isinstance(experiment, RLNASExperiment)
    space, wanted = experiment.search_space, experiment.found if found is None else found
    best = space.decode(space.enumerate()[seed * wanted : (seed + 1) * wanted])
    rows = [{"choices": a.as_dict(), "angle": 1.5 - seed - i / 10} for i, a in enumerate(best)]
    result = {
        "found": rows,
        "random": [0.5 - i / 100 for i in range(experiment.random)],
        "scored": space.size,
        "initial_sha256": "0" * 64,
    }
    return {"default": 1.5 - seed, "angle": 1.5 - seed, "loss": 2.3, "result": result}


def stand_alone_value(accuracy: float) -> dict[str, Any]:
    return {"default": accuracy, "accuracy": accuracy, "loss": 0.5, "parameters": 1000, "macs": 100_000}


def value_of(plan: Plan, name: str) -> dict[str, Any]:
    """What the trial of job ``name`` would report; the accuracy is a function of the name alone."""
    job = plan.jobs[name]
    return (
        search_value(plan.settings, job.seed)
        if job.phase == "search"
        else stand_alone_value(50.0 + sum(map(ord, name)) % 50)
    )


def load(path: Path) -> Any:
    return json.loads(path.read_text())
