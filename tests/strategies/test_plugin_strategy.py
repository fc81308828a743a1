"""Any registered strategy in NNI's experiment: what it takes over of the evaluator, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification
from nni.nas.experiment import NasExperiment
from torch.utils.data import DataLoader

from nni_plugins.evaluators import Rotation, SupernetTraining, Supervised
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.nni_evaluator import PluginEvaluator
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.evaluators.training.settings import SinglePathSettings, SupernetSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies import DifferentiableTraining, PluginStrategy, RecurrentDifferentiable
from nni_plugins.strategies.base import Problem
from nni_plugins.strategies.random.settings import RandomNASTraining

from .test_plugins_contract import CELLS, CORPUS, IMAGES, SPACE, convolutions

pytestmark = pytest.mark.filterwarnings("ignore:When using training service to spawn trials")
Run = Callable[..., NasExperiment]


class Watched(torch.utils.data.TensorDataset):
    """Counts how often an example's label was looked at."""

    looks = 0

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image, Label(self, label)


class Label:
    def __init__(self, data: Watched, label: torch.Tensor) -> None:
        self.data, self.label = data, label

    def __int__(self) -> int:
        Watched.looks += 1
        return int(self.label)


def classification(validation: bool = True, **more: Any) -> Any:
    """NNI's evaluator on 16 and 8 images."""

    def loader(first: int, last: int) -> DataLoader[Any]:
        data = Watched(IMAGES.images[first:last].float() / 255, IMAGES.labels[first:last])
        return DataLoader(data, batch_size=4)

    loaders = {"train_dataloaders": loader(0, 16), **({"val_dataloaders": loader(16, 24)} if validation else {})}
    return Classification(**loaders, max_epochs=2, num_classes=3, learning_rate=0.1, weight_decay=1e-3, **more)


def problem_of(strategy: PluginStrategy, evaluator: Any, space: Any = SPACE) -> Problem:
    """What ``strategy`` would search, without the search."""
    return strategy._problem(space, evaluator)


def test_answers_are_the_evaluators(run: Run) -> None:
    asked: list[Architecture] = []

    def answer(architecture: Architecture) -> float:
        asked.append(architecture)
        return convolutions(architecture)

    strategy = PluginStrategy("BestOfRandom", search={"queries": 9}, found=4, limits={"max_parameters": 6_500}, seed=5)
    done = run(SPACE.supernet(), FunctionalEvaluator(answer), strategy)
    ranking = strategy.ranking()
    assert ranking is not None and len(ranking) == 4 and len(asked) == len(set(asked)) == 9
    assert ranking[0].score == max(map(convolutions, asked))
    exported = done.export_top_models(4, formatter="dict")
    assert [SPACE.architecture(one) for one in exported] == [one.architecture for one in ranking]
    assert len(list(strategy.list_models(limit=2))) == 2 and strategy.result is not None
    assert "BestOfRandom" in repr(strategy)


def test_an_evaluator_of_ours_answers(run: Run) -> None:
    space = digits_table().space
    strategy = PluginStrategy("tpesearch", search={"queries": 6, "n_startup_jobs": 3}, found=2)
    run(space.supernet(), PluginEvaluator("table", space=space), strategy)
    assert [one.score for one in strategy.ranking() or []] == sorted(
        (digits_table().value(one.architecture, "accuracy") for one in strategy.ranking() or []), reverse=True
    )


def test_everything_is_taken_over_from_our_evaluators(tmp_path: Path) -> None:
    settings = SupernetSettings(epochs=3, batch_size=8)
    given = SupernetTraining(IMAGES, Rotation(), settings, seed=9, folder=tmp_path, report=print)
    problem = problem_of(PluginStrategy("RLNAS", seed=1), given)
    assert (problem.data, problem.seed, problem.folder) == (IMAGES, 9, tmp_path)
    assert problem.training == SinglePathSettings(**settings.model_dump())
    assert problem.report is print and problem.task is given.objective and problem.objective == {"name": "rotation"}
    changed = problem_of(PluginStrategy("RLNAS", training={"epochs": 5}, objective={"name": "supervised"}), given)
    assert changed.training == SinglePathSettings(epochs=5, batch_size=8) and isinstance(changed.task, Supervised)
    narrower = problem_of(PluginStrategy("RandomNAS", found=3), given)  # settings of a kind of its own
    assert narrower.training == RandomNASTraining(epochs=3, batch_size=8)
    assert problem_of(PluginStrategy("DARTS"), DifferentiableTraining(IMAGES)).training.epochs == 50
    text = RecurrentDifferentiable(CORPUS, {"epochs": 2}, seed=4)
    recurrent = problem_of(PluginStrategy("RecurrentDARTS"), text, CELLS)
    assert recurrent.data is CORPUS and recurrent.training == text.settings and recurrent.seed == 4


@pytest.mark.parametrize("validation", [True, False])
def test_what_is_taken_over_from_nnis_classification(validation: bool) -> None:
    problem = problem_of(PluginStrategy("RandomNAS", found=3, seed=6), classification(validation))
    training = problem.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.weight_decay) == (2, 4, 0.1, 1e-3)
    usual = RandomNASTraining()
    assert training.final_learning_rate == pytest.approx(0.1 * usual.final_learning_rate / usual.learning_rate)
    assert training.gradient_clip == usual.gradient_clip and problem.seed == 6 and isinstance(problem.task, Supervised)
    assert len(problem.data) == (24 if validation else 16)
    assert problem.search.portion == pytest.approx(2 / 3 if validation else 0.5)
    assert problem.search.shuffle_split is not validation
    assert torch.equal(problem.data.images, IMAGES.images[: len(problem.data)])
    mixture = problem_of(PluginStrategy("DARTS"), classification(validation)).training
    assert mixture.portion == pytest.approx(2 / 3 if validation else 0.5) and mixture.epochs == 2


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_labels_of_nnis_classification_are_read_only_if_the_objective_asks(run: Run) -> None:
    Watched.looks = 0
    strategy = PluginStrategy("RLNAS", found=3, training={"accelerator": "cpu"})
    run(SPACE.supernet(), classification(), strategy)
    assert strategy.ranking() and Watched.looks == 0
    strategy = PluginStrategy("RandomNAS", found=3, search={"candidates": 4}, training={"accelerator": "cpu"})
    run(SPACE.supernet(), classification(), strategy)
    assert strategy.ranking() and Watched.looks == 24


def test_what_is_refused(run: Run) -> None:
    for wrong, said in (
        (lambda: PluginStrategy("RLNSA"), "unknown strategy 'rlnsa'; did you mean 'rlnas'"),
        (lambda: PluginStrategy("RandomSearch"), "RandomSearch has nothing to search"),
        (lambda: PluginStrategy("RLNAS", found=0), "found >= 1 must hold"),
        (
            lambda: PluginStrategy("TPESearch", search={"query": 3}),
            r"search\.query: no such key; did you mean 'queries'",
        ),
        (lambda: PluginStrategy("RLNAS", training={"epochs": 0}), r"training\.epochs"),
        (lambda: PluginStrategy("RLNAS", limits={"max_flops": 3}), r"limits\.max_flops: no such key"),
    ):
        with pytest.raises(ConfigError, match=said):
            wrong()
    of_function = FunctionalEvaluator(convolutions)
    with pytest.raises(ConfigError, match=r"RLNAS searches on images, but FunctionalEvaluator has none(.|\n)*Pass"):
        run(SPACE.supernet(), of_function, PluginStrategy("RLNAS"))
    with pytest.raises(ConfigError, match=r"RecurrentENAS searches on text, but FunctionalEvaluator has none"):
        run(CELLS.supernet(), of_function, PluginStrategy("RecurrentENAS"))
    with pytest.raises(ConfigError, match="space: nasbench201 has no recurrent cells"):
        run(SPACE.supernet(), RecurrentDifferentiable(CORPUS), PluginStrategy("RecurrentDARTS"))
    with pytest.raises(ConfigError, match=r"needs a supernet of this package, but got .*(.|\n)*Pass space.supernet"):
        PluginStrategy("BestOfRandom").initialize(object(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="returns a number, but FunctionalEvaluator gave 'x'"):
        run(SPACE.supernet(), FunctionalEvaluator(lambda one: "x"), PluginStrategy("BestOfRandom"))
    with pytest.raises(ConfigError, match="BestOfRandom has no objective"):
        run(SPACE.supernet(), of_function, PluginStrategy("BestOfRandom", objective={"name": "rotation"}))
    with pytest.raises(ConfigError, match="queries: 3 give no 10 different architectures"):
        run(SPACE.supernet(), of_function, PluginStrategy("BestOfRandom", search={"queries": 3}))
    with pytest.raises(ConfigError, match="PluginStrategy has not run yet"):
        next(PluginStrategy("BestOfRandom").list_models())


def test_the_space_may_have_any_number_of_classes(run: Run) -> None:
    """A strategy fits its networks to objective and images itself."""
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1, classes=7)
    settings = SupernetSettings(epochs=1, batch_size=8, accelerator="cpu")
    strategy = PluginStrategy("RandomNAS", search={"candidates": 4}, found=2)
    run(space.supernet(), SupernetTraining(IMAGES, Supervised(), settings), strategy)
    assert np.isfinite([one.score for one in strategy.ranking() or []]).all()
