"""RLNAS and random search as a whole: on real images, and through NNI's own experiment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.experiment import NasExperiment
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.space import RawFormatModelSpace
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from nni_plugins.evaluators import (
    ConfigError,
    DataError,
    ImageSet,
    PluginEvaluator,
    RandomLabels,
    SupernetSettings,
    SupernetTraining,
    Supervised,
    load,
)
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces import DARTS, Architecture, NASBench201
from nni_plugins.strategies import (
    RLNAS,
    VARIANTS,
    AngleTable,
    EvolutionSettings,
    Limits,
    RandomSearch,
    RLNASResult,
    RLNASSettings,
)
from nni_plugins.strategies.drawing import draw
from nni_plugins.strategies.nni_evaluators import from_classification
from nni_plugins.strategies.random.random_search import search as random_search
from nni_plugins.strategies.rlnas.search import initialise, search

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
pytestmark = [
    pytest.mark.filterwarnings("ignore:the supernet sees only"),
    pytest.mark.filterwarnings("ignore:found architecture"),
]


def forbidden() -> torch.Tensor:
    raise AssertionError("a label-free search asked for labels")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """200 real digits whose labels nobody may touch."""
    digits = load(DataSettings(limit=200)).train
    return ImageSet("digits", digits.images, forbidden, digits.classes, digits.augmentation)


def training(images: ImageSet, seed: int = 0, **settings: Any) -> SupernetTraining:
    return SupernetTraining(
        images, RandomLabels(classes=10), SupernetSettings(**{"epochs": 2, "accelerator": "cpu", **settings}), seed=seed
    )


@functools.cache
def small_result(images: ImageSet, seed: int) -> RLNASResult:
    return search(initialise(SPACE, seed), training(images, seed), RLNASSettings(), 10)


def same_weights(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The search itself


def test_a_search_is_a_function_of_its_seed(images: ImageSet) -> None:
    first, other = small_result(images, 0), small_result(images, 1)
    state = torch.get_rng_state()
    again = search(initialise(SPACE, 0), training(images), RLNASSettings(), 10)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not touched"
    assert again.ranked == first.ranked != other.ranked and np.array_equal(again.angles, first.angles)
    assert same_weights(again.trained.initial, first.trained.initial) and same_weights(
        again.trained.final, first.trained.final
    )
    assert again.trained.history == first.trained.history and len(first.trained.history) == 2


def test_the_whole_space_is_ranked_by_angle(images: ImageSet) -> None:
    result = small_result(images, 0)
    assert np.array_equal(result.indices, SPACE.enumerate()) and result.angles.shape == (125,)
    assert len(result.ranked) == 10 and len({SPACE.canonical(r.architecture) for r in result.ranked}) == 10
    scores = [r.score for r in result.ranked]
    assert scores[0] == result.angles.max() and scores == sorted(scores, reverse=True)
    dead = ~SPACE.path_counts(result.indices).any(axis=1)
    assert (result.angles[dead] == 0).all() and (result.angles[~dead] > 0).all() and np.isfinite(result.angles).all()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "abs-darts"])
def test_the_chosen_angle_is_used(images: ImageSet, variant: str) -> None:
    result = small_result(images, 0)
    table = AngleTable.build(
        SPACE, SPACE.supernet().weight_blocks(), result.trained.initial, result.trained.final, VARIANTS[variant]
    )
    found = search(initialise(SPACE, 0), training(images), RLNASSettings(angle=variant), 10)  # type: ignore[arg-type]
    assert np.array_equal(found.angles, table(SPACE.enumerate()))


def test_what_the_official_code_does_in_each_space(images: ImageSet) -> None:
    """NAS-Bench-201: a path for each cell, its own angle; DARTS: one normal and one reduction path a step, with skip
    connections as identity matrices.
    """
    darts = DARTS(channels=2, cells=3)
    for space, per_cell, variant in (
        (NASBench201(channels=2, cells_per_stage=1), True, "rlnas"),
        (darts, False, "rlnas-eye"),
    ):
        one = training(images)
        paths = one.paths(space, 0, 20)
        assert (paths == paths[:, :1]).all() != per_cell, space.name
        other = SupernetTraining(images, one.objective, SupernetSettings(share_cells=per_cell)).paths(space, 0, 20)
        assert (other == other[:, :1]).all() == per_cell, "what is given counts"
        assert RLNASSettings().variant(space) == variant
    result = search(initialise(darts, 0), training(images, epochs=1), RLNASSettings(), 3)
    assert len(result.indices) == 20 * 50
    blocks = darts.supernet().weight_blocks()
    table = AngleTable.build(darts, blocks, result.trained.initial, result.trained.final, VARIANTS["rlnas-eye"])
    assert np.array_equal(result.angles, table(result.indices))


def test_limits_hold(images: ImageSet) -> None:
    bound = int(np.median(SPACE.cost_table(8)(SPACE.enumerate()).macs))
    limits = Limits(max_macs=bound, image_size=8)
    result = search(initialise(SPACE, 0), training(images), RLNASSettings(), 5, limits)
    assert 0 < len(result.indices) < 125 and SPACE.cost_table(8)(result.indices).macs.max() <= bound
    with pytest.raises(ConfigError, match=r"no architecture of [\s\S]*max_parameters=1"):
        search(initialise(SPACE, 0), training(images), RLNASSettings(), 5, Limits(max_parameters=1))


def test_evolution_finds_the_exhaustive_optimum(images: ImageSet) -> None:
    exhaustive = small_result(images, 0)
    settings = RLNASSettings(
        evolution=EvolutionSettings(population=20, generations=5, mutations=10, crossovers=5, parents=5)
    )
    evolved = search(initialise(SPACE, 0), training(images), settings, 1)
    assert evolved.ranked == exhaustive.ranked[:1] and len(evolved.indices) <= 100


@pytest.mark.parametrize(
    "evolution", [None, EvolutionSettings(population=20, generations=5, mutations=10, crossovers=5, parents=5)]
)
def test_a_space_that_cannot_be_enumerated(images: ImageSet, evolution: EvolutionSettings | None) -> None:
    space = NASBench201(nodes=6, channels=2, cells_per_stage=1)
    assert space.size == 5**15
    result = search(initialise(space, 0), training(images, epochs=1), RLNASSettings(evolution=evolution), 7)
    assert len(result.indices) == len(np.unique(result.indices, axis=0)) == (2000 if evolution is None else 100)
    assert len(result.ranked) == 7 and result.ranked[0].score == result.angles.max()


def test_a_barely_trained_supernet_is_remarked_upon(images: ImageSet) -> None:
    with pytest.warns(UserWarning, match=r"sees only 200 images[\s\S]*silences this"):
        search(initialise(SPACE, 0), training(images, epochs=1), RLNASSettings(), 1)


def test_a_diverging_search_says_so(images: ImageSet) -> None:
    with pytest.raises(TrainingError, match="learning rate"):
        search(initialise(SPACE, 0), training(images, learning_rate=1e30, final_learning_rate=1e30), RLNASSettings(), 1)


# Through NNI's experiment


def test_nni_runs_rlnas_and_exports_several(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    strategy = RLNAS(top_k=10)
    experiment = run(initialise(SPACE, 0), training(images), strategy)
    exported = experiment.export_top_models(3, formatter="dict")
    assert strategy.result is not None and strategy.result.ranked == small_result(images, 0).ranked
    assert [SPACE.parse(sample) for sample in exported] == [r.architecture for r in strategy.result.ranked[:3]]
    assert len({tuple(sample.items()) for sample in exported}) == 3
    assert len(experiment.export_top_models(99, formatter="dict")) == 10
    (network,) = experiment.export_top_models(1, formatter="instance")
    assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def loader(images: torch.Tensor, **options: Any) -> Any:
    return DataLoader(
        TensorDataset(images, torch.zeros(len(images), dtype=torch.long)), **{"batch_size": 32, **options}
    )


def classification(train: Any, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    return Classification(train_dataloaders=train, num_classes=10, **{**quiet, "max_epochs": 2, **options})


def test_nni_runs_rlnas_with_its_own_evaluator(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    evaluator = classification(loader(images.images.float() / 255), learning_rate=0.05, weight_decay=1e-3)
    strategy = RLNAS(top_k=5, seed=3)
    experiment = run(initialise(SPACE, 3), evaluator, strategy)
    settings, taken = strategy.training.settings, strategy.training
    assert (settings.epochs, settings.batch_size, settings.learning_rate, settings.weight_decay) == (2, 32, 0.05, 1e-3)
    assert settings.final_learning_rate == pytest.approx(0.002) and settings.momentum == 0.9 and taken.seed == 3
    assert (
        isinstance(taken.objective, RandomLabels)
        and taken.objective.classes == 10
        and torch.equal(taken.images.images, images.images)
    )
    exported = experiment.export_top_models(3, formatter="dict")
    assert strategy.result is not None and [SPACE.parse(sample) for sample in exported] == [
        r.architecture for r in strategy.result.ranked[:3]
    ]
    assert len({tuple(sample.items()) for sample in exported}) == 3


def test_classification_images_of_every_kind(images: ImageSet) -> None:
    unit = images.images.float() / 255
    for given in (images.images, unit, unit[:, :1], unit.double(), 4 * unit - 2):
        taken = from_classification(classification(loader(given)), 10, 0).images.images
        assert taken.dtype == torch.uint8 and (taken.int() - images.images.int()).abs().max() <= 1
    assert from_classification(classification(loader(unit, batch_size=7)), 4, 0).settings.batch_size == 7
    defaults = from_classification(classification(loader(unit)), 4, 0)
    assert (
        defaults.settings.learning_rate == 0.001
        and defaults.settings.weight_decay == 0
        and defaults.objective.head(images).classes == 4
    )


class Odd(Dataset[Any]):
    """Images of two sizes, or no tensors at all."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.rand(3, 8, 8), 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: FunctionalEvaluator(print),
            ConfigError,
            "SupernetTraining or NNI's Classification, but got FunctionalEvaluator",
        ),
        (lambda: None, ConfigError, "but got NoneType"),
        (lambda: classification(None), ConfigError, "train_dataloaders to be a DataLoader, but got NoneType"),
        (
            lambda: classification(loader(torch.rand(4, 3, 8, 8), batch_size=1)),
            ConfigError,
            "batch_size: input should be greater than or equal to 2",
        ),
        (
            lambda: classification(loader(torch.rand(4, 3, 8, 8)), learning_rate=0.0),
            ConfigError,
            "learning_rate: input should be greater than 0",
        ),
        (
            lambda: classification(loader(torch.rand(4, 3, 8, 8)), max_epochs=-1),
            ConfigError,
            "max_epochs of at least 1",
        ),
        (
            lambda: classification(loader(torch.rand(4, 2, 8, 8))),
            DataError,
            r"\(3, H, W\) or \(1, H, W\), but have \[\(2, 8, 8\)\]",
        ),
        (lambda: classification(loader(torch.rand(4, 8))), DataError, r"but have \[\(8,\)\]"),
        (
            lambda: classification(DataLoader(Odd(torch.rand(3, 8, 8), torch.rand(3, 9, 9)), batch_size=2)),
            DataError,
            "one shape",
        ),
        (lambda: classification(DataLoader(Odd("a", "b"), batch_size=2)), DataError, "gives str instead of tensors"),
        (
            lambda: classification(DataLoader(Stream(), batch_size=2)),
            DataError,
            "a data set with a length is needed, but got Stream",
        ),
        (lambda: classification(loader(torch.full((4, 3, 8, 8), torch.nan))), DataError, "not finite"),
        (lambda: classification(loader(torch.full((4, 3, 8, 8), torch.inf))), DataError, "not finite"),
    ],
)
def test_evaluators_that_are_refused(
    make: Callable[[], Any], error: type[Exception], message: str, run: Callable[..., NasExperiment]
) -> None:
    with pytest.raises(error, match=message):
        run(SPACE.supernet(), make(), RLNAS())


class Foreign(ModelSpace):
    """A model space that is not one of our supernets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(3, 4, 3)], label="layer")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_spaces_that_are_refused(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    for strategy in (RLNAS(), RandomSearch(3)):
        with pytest.raises(ConfigError, match=r"needs a supernet of this package[\s\S]*NASBench201\(\)\.supernet\(\)"):
            run(Foreign(), training(images), strategy)
    with pytest.raises(ConfigError, match="the supernet has 7 classes, but the objective needs 10"):
        run(SPACE.with_classes(7).supernet(), training(images), RLNAS())
    with pytest.raises(ConfigError, match="Conv2d is not a single-path supernet"):
        training(images).evaluate(torch.nn.Conv2d(3, 3, 1))


def test_nothing_is_exported_before_the_run() -> None:
    with pytest.raises(ConfigError, match="top_k >= 1 must hold, but got top_k=0"):
        RLNAS(top_k=0)
    for strategy in (RLNAS(), RandomSearch()):
        with pytest.raises(ConfigError, match="has not run yet"):
            list(strategy.list_models())
        assert strategy.state_dict() == {}


def test_supervised_training_is_allowed_where_there_are_labels() -> None:
    """ABS (ECCV 2020) is the same search on true labels."""
    data = load(DataSettings(limit=200)).train
    supervised = SupernetTraining(data, Supervised(), SupernetSettings(epochs=1, accelerator="cpu"))
    result = search(initialise(SPACE, 0), supervised, RLNASSettings(angle="weights"), 3)
    assert len(result.ranked) == 3


# Random search


def score(architecture: Architecture) -> float:
    """The number of convolutions."""
    return float(sum("conv" in value for value in architecture.as_dict().values()))


def test_random_search_ranks_distinct_architectures() -> None:
    ranked = random_search(SPACE, score, 50, seed=1)
    assert len({r.architecture for r in ranked}) == 50 and all(r.score == score(r.architecture) for r in ranked)
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    assert random_search(SPACE, score, 50, seed=1) == ranked != random_search(SPACE, score, 50, seed=2)


def test_the_whole_space_can_be_drawn_and_no_more() -> None:
    everything = draw(SPACE, 125, generator(0, "test"))
    assert set(everything) == set(SPACE.decode(SPACE.enumerate()))
    rest = draw(SPACE, 25, generator(0, "test"), excluded=everything[:100])
    assert set(rest) == set(everything[100:])
    with pytest.raises(ConfigError, match=r"126 distinct architectures are wanted, but .* has 125 to draw from"):
        draw(SPACE, 126, generator(0, "test"))
    with pytest.raises(ConfigError, match=r"26 distinct .* has 25"):
        draw(SPACE, 26, generator(0, "test"), excluded=everything[:100])
    with pytest.raises(ConfigError, match="126 distinct"):
        random_search(SPACE, score, 126, seed=0)
    with pytest.raises(ConfigError, match="samples >= 1 must hold, but got samples=0"):
        RandomSearch(0)


def test_nni_runs_random_search_on_a_table(run: Callable[..., NasExperiment], tmp_path: Path) -> None:
    rows = [f"{SPACE.to_string(cell)},{score(cell)!r}" for cell in SPACE.decode(SPACE.enumerate())]
    (tmp_path / "counts.csv").write_text("\n".join(["architecture,accuracy", *rows]))
    evaluator = PluginEvaluator("table", {"table": str(tmp_path / "counts.csv")}, space=SPACE)
    strategy = RandomSearch(40, seed=4)
    experiment = run(SPACE.supernet(), evaluator, strategy)
    assert strategy.ranked == random_search(SPACE, score, 40, seed=4)
    exported = experiment.export_top_models(3, formatter="dict")
    assert [SPACE.parse(sample) for sample in exported] == [r.architecture for r in strategy.ranked[:3]]


def test_one_seed_gives_one_result_however_the_supernet_was_built() -> None:
    images = ImageSet(
        "noise",
        torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)),
        None,
    )
    settings = SupernetSettings(epochs=1, accelerator="cpu")

    def angles(torch_seed: int, reinitialise: bool) -> list[float]:
        torch.manual_seed(torch_seed)
        strategy = RLNAS(reinitialise=reinitialise)
        evaluator = SupernetTraining(images, RandomLabels(10), settings, seed=3)
        with pytest.warns(UserWarning, match="barely trained"):
            strategy(RawFormatModelSpace(SPACE.supernet(), evaluator), SequentialExecutionEngine())
        assert strategy.result is not None
        return [r.score for r in strategy.result.ranked]

    assert angles(0, True) == angles(1, True)
    assert angles(0, False) != angles(1, False)
    with pytest.warns(UserWarning, match="barely trained"):
        direct = search(
            initialise(SPACE, 3), SupernetTraining(images, RandomLabels(10), settings, seed=3), RLNASSettings(), 10
        )
    assert angles(0, True) == [r.score for r in direct.ranked]
