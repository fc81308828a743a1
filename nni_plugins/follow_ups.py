"""Trials that follow a search: one architecture through a recipe of retraining, detection or segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from evaluators.errors import ConfigError
from evaluators.training.base import Report
from spaces.images import ImageSpace

from .follow_up_settings import METRICS
from .settings import SearchExperiment
from .trial import Reporter


def run_follow_up(settings: SearchExperiment, name: str, choices: Mapping[str, str], folder: Path, report: Report | None) -> dict[str, Any]:
    """One of them; returns what its trial reports: ``default`` (the metric of :data:`nni_plugins.follow_up_settings.METRICS`, percent) and all
    else that was measured.

    Raises:
        NNIPluginsError: whatever :class:`evaluators.retraining.TimmRetrain` and :class:`evaluators.mmlab.transfer.Transfer` raise.
    """
    follow, space = settings.follow_ups[name], settings.search_space
    if not isinstance(space, ImageSpace):
        raise ConfigError(f"networks of {space.name} take no images.")
    architecture = space.architecture(choices)
    if follow.task == "retraining":
        from evaluators.retraining import TimmRetrain
        from evaluators.retraining.subjects import Subject

        from .retrain.trial import final_value as final

        evaluator = TimmRetrain({"path": follow.data}, follow.resolved(), recipe_name=follow.recipe, seed=follow.seed, folder=folder, report=report)
        return cast(dict[str, Any], final(evaluator.train(Subject(space.name, space, architecture))))
    from evaluators.mmlab.transfer import Transfer, backbone

    from .transfer import final_value

    transfer = Transfer(follow.task, follow.recipe, follow.data, follow.seed, changes=follow.changes)
    choice = backbone(space.name, space, architecture, transfer.resolved)
    return dict(final_value(transfer.train(choice, folder, report=report)))


def reporter(settings: SearchExperiment, name: str, output: Path, folder: Path) -> Reporter:
    """What sends the epochs, or the evaluations, of such a trial to NNI, each once."""
    task = settings.follow_ups[name].task
    if task == "retraining":
        from .retrain.trial import curve_point

        return Reporter(output / "reported", folder / "training" / "metrics.jsonl", curve_point)
    from .transfer import evaluations

    return evaluations(output, METRICS[task])
