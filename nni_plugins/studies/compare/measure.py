"""Measuring architectures: what every policy's choices are judged by, and what policies that ask for values are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.tables.table import Table, digits_table, read_table
from nni_plugins.spaces.architecture import Architecture

from .evaluation_settings import LanguageEvaluation, StandAloneEvaluation, TableEvaluation
from .settings import CompareSettings

if TYPE_CHECKING:
    from nni_plugins.evaluators.data import ImageData
    from nni_plugins.evaluators.text.corpus import Corpus

Report = Callable[[dict[str, float]], None]
Value = dict[str, Any]
"""``value``: what policies are compared on; ``measures``: other numbers by name; ``curve``: one row an epoch;
``seconds``: how long it took.
"""


def open_table(settings: CompareSettings) -> Table:
    """The table of an evaluation of kind ``table``.

    Raises:
        TableError: it cannot be read, or lacks a metric.
        ConfigError: it is of another space.
    """
    evaluation = settings.evaluation
    assert isinstance(evaluation, TableEvaluation)
    table, space = _table(evaluation.table, settings.model_dump_json(include={"space"})), settings.search_space
    if (table.space.name, table.space.decisions) != (space.name, space.decisions):
        raise ConfigError(
            f"evaluation.table: {table.name} is of {table.space!r}, but the comparison searches {space!r}."
        )
    for metric in (evaluation.metric, evaluation.metric_name):
        table.metric(metric)
    return table


@lru_cache(maxsize=2)
def _table(name: str, dumped: str) -> Table:
    from ...experiment.settings import build_space

    if name == "digits":
        return digits_table()
    import json

    return read_table(Path(name).expanduser(), build_space(json.loads(dumped)["space"]))


@lru_cache(maxsize=1)
def _images(dumped: str) -> ImageData:
    from nni_plugins.evaluators.data import load
    from nni_plugins.evaluators.data.settings import DataSettings

    return load(DataSettings.model_validate_json(dumped))


def images_of(evaluation: StandAloneEvaluation) -> ImageData:
    """The images of the trainings, loaded once in a process."""
    return _images(evaluation.data.model_dump_json())


def split(evaluation: StandAloneEvaluation) -> ImageData:
    """The training images in two: what queries train on, and, as ``test``, what they are answered with. The test images
    take no part.
    """
    from nni_plugins.evaluators.data import ImageData

    images = images_of(evaluation).train
    order = generator(evaluation.seed, "comparison validation").permutation(len(images))
    held_out = max(1, round(evaluation.validation * len(images)))
    if held_out >= len(images):
        raise DataError(
            f"{images.name}: of {len(images)} images none is left to train on.", "Lower evaluation.validation."
        )
    return ImageData(images.subset(np.sort(order[held_out:])), images.subset(np.sort(order[:held_out])))


@lru_cache(maxsize=1)
def _corpus(dumped: str) -> Corpus:
    from nni_plugins.evaluators.text.corpus import read_corpus
    from nni_plugins.evaluators.text.settings import TextSettings

    return read_corpus(TextSettings.model_validate_json(dumped))


def corpus_of(evaluation: LanguageEvaluation) -> Corpus:
    """The texts, read once in a process."""
    return _corpus(evaluation.text.model_dump_json())


def prepare(settings: CompareSettings) -> None:
    """Whatever the measurements need is looked for before the first search.

    Raises:
        DataError, LabelError, TableError: it is missing or does not suit; ConfigError: texts too short for the batches.
    """
    evaluation = settings.evaluation
    if isinstance(evaluation, TableEvaluation):
        open_table(settings)
    elif isinstance(evaluation, StandAloneEvaluation):
        from ...experiment.objectives import build_objective

        images, target = images_of(evaluation), build_objective(evaluation.target)
        if images.test is None:
            raise DataError(
                f"{images.train.name}: there are no test images to measure on.",
                "Add a test part with labels (docs/data.md).",
            )
        for part in (images.train, images.test):
            target.check(part)
    else:
        from nni_plugins.evaluators.text.streams import batchify

        corpus, given = corpus_of(evaluation), evaluation.settings
        for part, batch in (("train", given.batch_size), ("valid", given.evaluation_batch), ("test", given.test_batch)):
            batchify(getattr(corpus, part), batch, f"{corpus.name}, {part} text")


def measure(
    settings: CompareSettings, choices: dict[str, str], folder: Path | None, report: Report | None = None
) -> Value:
    """Measure one architecture; whoever chose it, the value is the same.

    Raises:
        TableError: the table lacks it; TrainingError, CheckpointError, DataError, LabelError: of a training.
    """
    evaluation, start = settings.evaluation, time.monotonic()
    architecture = settings.search_space.architecture(choices)
    if isinstance(evaluation, TableEvaluation):
        value = _look_up(settings, evaluation, architecture)
    elif isinstance(evaluation, StandAloneEvaluation):
        value = _train(settings, evaluation, architecture, folder, report, images_of(evaluation))
    else:
        value = _language(settings, evaluation, architecture, folder, report)
    return {**value, "seconds": time.monotonic() - start}


def ask(settings: CompareSettings, choices: dict[str, str], folder: Path | None) -> float:
    """The validation metric of one architecture, **larger is better** (perplexities and tables of losses with a minus)."""
    evaluation = settings.evaluation
    architecture = settings.search_space.architecture(choices)
    if isinstance(evaluation, TableEvaluation):
        value = open_table(settings).value(architecture, evaluation.metric)
        return value if evaluation.larger_is_better else -value
    if isinstance(evaluation, StandAloneEvaluation):
        return float(_train(settings, evaluation, architecture, folder, None, split(evaluation))["value"])
    return -float(_language(settings, evaluation, architecture, folder, None)["measures"]["valid_perplexity"])


def _look_up(settings: CompareSettings, evaluation: TableEvaluation, architecture: Architecture) -> Value:
    table = open_table(settings)
    measures = (
        {f"valid_{evaluation.metric}": table.value(architecture, evaluation.metric)}
        if evaluation.test_metric is not None
        else {}
    )
    return {
        "value": table.value(architecture, evaluation.metric_name),
        "measures": measures | _costs(settings, architecture),
        "curve": [],
    }


def _costs(settings: CompareSettings, architecture: Architecture) -> dict[str, float]:
    """``parameters`` and, of networks of images, ``macs``, as far as the space can count them without data."""
    space = settings.network_space
    costs = space.cost_table()(space.encode([architecture]))
    return {"parameters": float(costs.parameters[0])}


def _train(
    settings: CompareSettings,
    evaluation: StandAloneEvaluation,
    architecture: Architecture,
    folder: Path | None,
    report: Report | None,
    images: ImageData,
) -> Value:
    from nni_plugins.evaluators.objectives import fitted
    from nni_plugins.evaluators.stand_alone.training import StandAlone

    from ...experiment.objectives import build_objective

    target, space = build_objective(evaluation.target), settings.network_space
    training = StandAlone(
        images, evaluation.settings, space=space, seed=evaluation.seed, folder=folder, report=report, objective=target
    )
    result = training.train(architecture)
    headed = fitted(space, target, images.train)
    costs = headed.cost_table(images.train.input_size)(headed.encode([architecture]))
    measures = {f"test_{name}": number for name, number in result.metrics.items() if name != target.metric}
    measures |= {"parameters": float(costs.parameters[0]), "macs": float(costs.macs[0])}
    return {"value": result.metrics[target.metric], "measures": measures, "curve": result.history}


def _language(
    settings: CompareSettings,
    evaluation: LanguageEvaluation,
    architecture: Architecture,
    folder: Path | None,
    report: Report | None,
) -> Value:
    from nni_plugins.evaluators.text.stand_alone import LanguageModel
    from nni_plugins.spaces.recurrent import RecurrentCell

    corpus, space = corpus_of(evaluation), settings.network_space
    assert isinstance(space, RecurrentCell)
    result = LanguageModel(
        corpus, evaluation.settings, space=space, seed=evaluation.seed, folder=folder, report=report
    ).train(architecture)
    measures = {
        "valid_perplexity": result.valid,
        "test_perplexity": result.test,
        "best_epoch": float(result.best_epoch),
    }
    return {
        "value": result.test if evaluation.measure == "test" else result.valid,
        "measures": measures,
        "curve": result.history,
    }
