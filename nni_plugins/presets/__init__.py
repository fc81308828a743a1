"""Experiment files to start from: ``nni-plugins init``; the files under ``examples/`` are some of these, word for word."""

from __future__ import annotations

from ..experiment.settings import EXPERIMENTS, SampleStudyExperiment, StudySettings, check
from ..portal.axes import expected_trials, flow, search_space
from .base import CIFAR10_ON_A_GPU, DIGITS, Preset
from .chain import CHAIN
from .comparisons import COMPARISONS
from .differentiable import DIFFERENTIABLE
from .imagenet import IMAGENET
from .robust import ROBUST
from .sample_study import SAMPLE_STUDIES
from .sampling import SAMPLING
from .shared_weights import SHARED_WEIGHTS
from .unnas import UNNAS

PRESETS = {
    "rlnas_digits": Preset(
        "RLNAS",
        "RLNAS on scikit-learn's 1,797 digits: one search with random labels, then the five best of 125 cells beside five random ones.\n"
        "Scaled down to minutes on two cores (paper: 250 epochs, 4 nodes, 16 channels, 5 cells a stage). All 125 true accuracies are\n"
        "known (`truth`); the search does not see them.",
        {
            "optimize_mode": "maximize",
            **DIGITS,
            "objective": {"name": "random_labels", "classes": 10, "mode": "fixed", "seed": 0},
            "training": {"epochs": 200, "accelerator": "cpu"},
            "search": {"angle": "rlnas"},
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        concurrency=2,
    ),
    "rlnas_nasbench201": Preset(
        "RLNAS",
        "RLNAS on CIFAR-10 with the paper's hyper-parameters (Zhang et al., CVPR 2021; official SPOS.config): a supernet on 25,000\n"
        "randomly labelled images, 250 epochs; then NAS-Bench-201's 200-epoch recipe for the five best cells and five random ones.\n"
        f"{CIFAR10_ON_A_GPU}",
        {
            "optimize_mode": "maximize",
            "space": {"name": "nasbench201", "nodes": 4, "channels": 16, "cells_per_stage": 5},
            "data": {"source": "cifar10", "path": "data", "limit": 25000},
            "objective": {"name": "random_labels", "classes": 10, "mode": "fixed", "seed": 0},
            "training": {
                "epochs": 250,
                "batch_size": 64,
                "learning_rate": 0.025,
                "final_learning_rate": 0.001,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 0.0005,
                "share_cells": False,
            },
            "search": {"angle": "rlnas"},
            "stand_alone": {
                "epochs": 200,
                "batch_size": 256,
                "learning_rate": 0.1,
                "final_learning_rate": 0.0,
                "weight_decay": 0.0005,
            },
            "seeds": [0],
            "found": 5,
            "random": 5,
        },
        hours=240,
    ),
    "random_digits": Preset(
        "RandomSearch",
        "Random search on scikit-learn's digits: ten random cells out of 125, each trained stand-alone. The baseline of every search.",
        {"optimize_mode": "maximize", **DIGITS, "random": 10},
        concurrency=2,
    ),
    **CHAIN,
    **COMPARISONS,
    **DIFFERENTIABLE,
    **IMAGENET,
    **ROBUST,
    **SAMPLE_STUDIES,
    **SAMPLING,
    **SHARED_WEIGHTS,
    **UNNAS,
}


def _counted(settings: StudySettings) -> str:
    """What the trials of an experiment are."""
    if isinstance(settings, SampleStudyExperiment):
        return "architectures x objectives x seeds"
    return "searches + what they find + random ones" + (
        " + follow-ups" if getattr(settings, "follow_ups", None) else ""
    )


def render(name: str) -> str:
    """The text of a preset's experiment file, valid for ``nnictl create --config``."""
    preset = PRESETS[name]
    if preset.tuner == "Compare":
        from ..studies.compare.config_file import render as render_comparison

        return render_comparison(name, preset)
    settings = check(EXPERIMENTS[preset.tuner.lower()], preset.arguments)
    lines = ["# " + line for line in preset.comment.splitlines()]
    lines += ["# Start: nnictl create --config THIS_FILE --port 8080", ""]
    lines += [f"experimentName: {name}", "trialCommand: python -m nni_plugins.trial", "trialCodeDirectory: ."]
    lines += [f"trialConcurrency: {preset.concurrency}"]
    lines += [
        f"maxTrialNumber: {expected_trials(settings)}  # exactly: {_counted(settings)}",
        f"maxExperimentDuration: {preset.hours}h",
    ]
    lines += ["trainingService:", "  platform: local"]
    if "Needs a GPU" in preset.comment:
        gpus = preset.arguments.get("training", {}).get("devices", 1)
        lines += [f"  trialGpuNumber: {gpus}", "  useActiveGpu: true"]
    lines += ["tuner:", f"  name: {preset.tuner}", "  classArgs:"]
    lines += ["    " + line for line in flow(preset.arguments)]
    lines += [
        "# The axes of the portal's hyper-parameter graph; `all` is the place of a search, which has every operation at once.",
        "searchSpace:",
    ]
    lines += ["  " + line for line in flow(search_space(settings))]
    return "\n".join(lines) + "\n"
