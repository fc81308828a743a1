"""Trials that follow a search: one architecture through a recipe of retraining, detection or segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.training.base import Report
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.strategies.drawing import draw

from ..trial import Reporter
from .follow_up_settings import METRICS, FollowUpSettings
from .settings import SearchExperiment


def run_follow_up(
    settings: SearchExperiment, name: str, choices: Mapping[str, str], folder: Path, report: Report | None
) -> dict[str, Any]:
    """One of them; returns what its trial reports: ``default`` (the metric of
    :data:`nni_plugins.experiment.follow_up_settings.METRICS`, percent) and all else that was measured.

    Raises:
        NNIPluginsError: whatever :class:`nni_plugins.evaluators.retraining.TimmRetrain` and
            :class:`nni_plugins.evaluators.mmlab.transfer.Transfer` raise.
    """
    follow, space = settings.follow_ups[name], settings.search_space
    if not isinstance(space, ImageSpace):
        raise ConfigError(f"networks of {space.name} take no images.")
    architecture = space.architecture(choices)
    if follow.task == "retraining":
        from nni_plugins.evaluators.retraining import TimmRetrain
        from nni_plugins.evaluators.retraining.subjects import Subject

        from ..requests.retrain_trial import final_value as final

        evaluator = TimmRetrain(
            {"path": follow.data},
            follow.resolved(),
            recipe_name=follow.recipe,
            seed=follow.seed,
            folder=folder,
            report=report,
        )
        return cast(dict[str, Any], final(evaluator.train(Subject(space.name, space, architecture))))
    from nni_plugins.evaluators.mmlab.transfer import Transfer, backbone

    from ..requests.transfer import final_value

    transfer = Transfer(follow.task, follow.recipe, follow.data, follow.seed, changes=follow.changes)
    choice = backbone(space.name, space, architecture, transfer.resolved)
    return dict(final_value(transfer.train(choice, folder, report=report)))


def require_follow_ups(settings: SearchExperiment) -> None:
    """What follows a search must not fail after it: recipes, data and packages are tried on one random architecture.

    Raises:
        ConfigError: what would fail, and how it is mended.
    """
    space = settings.search_space
    if not settings.follow_ups or not isinstance(space, ImageSpace):
        return
    (architecture,) = draw(space, 1, generator(settings.random_seed, "random search"))
    for name, follow in settings.follow_ups.items():
        try:
            _try(follow, space, architecture)
        except NNIPluginsError as error:
            raise ConfigError(f"follow_ups.{name} would fail after the search: {error.problem}", error.remedy) from None


def _try(follow: FollowUpSettings, space: ImageSpace, architecture: Architecture) -> None:
    if follow.task == "retraining":
        from nni_plugins.evaluators.retraining import PictureSettings, open_pictures
        from nni_plugins.evaluators.retraining.network import describe
        from nni_plugins.evaluators.retraining.subjects import Subject

        pictures, recipe = open_pictures(PictureSettings(path=follow.data)), follow.resolved()
        for images in (pictures.train, pictures.test):
            images.check_size(recipe.input.size)
        describe(Subject(space.name, space, architecture), recipe, len(pictures.train.classes))
        return
    from nni_plugins.evaluators.mmlab.config import config
    from nni_plugins.evaluators.mmlab.installation import check
    from nni_plugins.evaluators.mmlab.transfer import Transfer, backbone

    check("mmcv", "mmengine", "mmdet" if follow.task == "detection" else "mmseg")
    transfer = Transfer(follow.task, follow.recipe, follow.data, follow.seed, changes=follow.changes)
    config(
        transfer.resolved,
        backbone(space.name, space, architecture, transfer.resolved),
        transfer.dataset,
        Path("unused"),
    )


def reporter(settings: SearchExperiment, name: str, output: Path, folder: Path) -> Reporter:
    """What sends the epochs, or the evaluations, of such a trial to NNI, each once."""
    task = settings.follow_ups[name].task
    if task == "retraining":
        from ..requests.retrain_trial import curve_point

        return Reporter(output / "reported", folder / "training" / "metrics.jsonl", curve_point)
    from ..requests.transfer import evaluations

    return evaluations(output, METRICS[task])
