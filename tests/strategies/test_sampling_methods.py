"""GDAS, SETN and random search with weight sharing: what learns when, how candidates are ranked, resume, and NNI's
experiment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment
from torch.utils.data import TensorDataset

from nni_plugins.evaluators import (
    ConfigChanged,
    ConfigError,
    ImageSet,
    RandomLabels,
    Rotation,
    SupernetTraining,
    Supervised,
    load,
)
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.bilevel import BilevelTraining, halves
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import DARTS as DARTSSpace
from nni_plugins.spaces import NAO, NASBench201, RecurrentCell
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.mixed import GumbelOptions, MixedOptions, SampledOptions
from nni_plugins.strategies import (
    GDAS,
    SETN,
    DifferentiableTraining,
    GDASSettings,
    RandomNAS,
    RandomNASSettings,
    RandomNASTraining,
    SampledTraining,
    SETNSettings,
    SETNTraining,
)
from nni_plugins.strategies.differentiable import gdas, setn
from nni_plugins.strategies.differentiable.search import DifferentiableResult, skip_connections
from nni_plugins.strategies.differentiable.search import initialise as mixture
from nni_plugins.strategies.differentiable.settings import DifferentiableSettings
from nni_plugins.strategies.drawing import draw_distinct
from nni_plugins.strategies.random import random_nas
from nni_plugins.strategies.random.random_nas import RandomNASResult
from nni_plugins.strategies.rlnas import search as rlnas
from tests.evaluators.tiny import Interrupted, Interrupting, at

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELLS = DARTSSpace(channels=4, cells=3)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """200 real digits."""
    return load(DataSettings(limit=200)).train


def short(model: Any = SampledTraining, **changes: Any) -> Any:
    return read(model, {"epochs": 2, "batch_size": 50, "accelerator": "cpu", **changes})


# -- settings ----------------------------------------------------------------------------------------------------------
def test_the_values_of_the_benchmarks_authors() -> None:
    for t, clip in ((SampledTraining(), 5.0), (SETNTraining(), None), (RandomNASTraining(), 5.0)):
        assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.weight_decay, t.nesterov) == (
            250,
            64,
            0.025,
            0.001,
            5e-4,
            True,
        )
        assert t.gradient_clip == clip
    for b in (SampledTraining(), SETNTraining()):
        assert (b.first, b.shuffle_split, b.architecture_learning_rate, b.architecture_betas) == (
            "weights",
            True,
            3e-4,
            (0.5, 0.999),
        )
    assert RandomNASTraining().share_cells and RandomNASTraining().update == "all"
    assert GDASSettings().options == GumbelOptions() and SETNSettings().options == SampledOptions()
    assert (SETNSettings().candidates, SETNSettings().evaluation_images, SETNSettings().statistics) == (
        100,
        512,
        "batch",
    )
    assert RandomNASSettings().model_dump() == {
        "candidates": 100, "evaluation_images": 512, "evaluation_batch": 512, "statistics": "batch", "portion": 0.5, "shuffle_split": True,
    }  # fmt: skip


def test_every_option_can_be_set() -> None:
    assert set(GDASSettings.model_fields) == set(GumbelOptions().config()) - {"shared"}
    assert set(SampledOptions().config()) - set(MixedOptions().config()) == {"update"}
    assert GDASSettings(first_temperature=5, update="active").options == GumbelOptions(
        first_temperature=5, update="active"
    )
    with pytest.raises(ConfigError, match="no meaning for single architectures"):
        read(SETNSettings, {"partial_channels": 2})
    with pytest.raises(ConfigError, match="statistics: running needs track_statistics: true"):
        read(SETNSettings, {"statistics": "running", "track_statistics": False})


# -- GDAS --------------------------------------------------------------------------------------------------------------
@functools.cache
def small_gdas(images: ImageSet) -> DifferentiableResult:
    return gdas.search(SPACE, images, Supervised(), GDASSettings(), short(), 0, 10)


def test_gdas_is_a_function_of_its_seed(images: ImageSet) -> None:
    state, first = torch.get_rng_state(), small_gdas(images)
    other = gdas.search(SPACE, images, Supervised(), GDASSettings(), short(), 1, 10)
    assert torch.equal(torch.get_rng_state(), state) and first.ranked != other.ranked
    assert first.genotypes[-1] == SPACE.to_string(first.ranked[0].architecture) and len(first.ranked) == 10
    rows = np.array(first.mixture.operations["cell"])
    assert [SPACE.encode([first.ranked[0].architecture])[0].tolist()] == [rows.argmax(1).tolist()], (
        "the strongest operation of every edge"
    )
    assert first.ranked[0].score == pytest.approx(np.log(rows.max(1)).sum())
    assert (
        first.skips[-1] == skip_connections(SPACE, first.ranked[0].architecture) and first.supernet_accuracy is not None
    )
    begins = mixture(SPACE.with_classes(10), DifferentiableSettings(), 0).state_dict()
    assert all(torch.equal(value, first.trained.initial[name]) for name, value in begins.items()), (
        "weights of the seed, as in DARTS"
    )


def test_gdas_on_darts_cells(images: ImageSet) -> None:
    result = gdas.search(CELLS, images, RandomLabels(7), GDASSettings(), short(epochs=1), 0, 3)
    assert len({r.architecture for r in result.ranked}) == 3 and set(result.mixture.operations) == {"normal", "reduce"}
    moved = [name for name in result.trained.final if name.startswith("alphas.")]
    assert len(moved) == 2 and all(not torch.equal(result.trained.initial[n], result.trained.final[n]) for n in moved)


def test_an_interrupted_gdas_ends_like_an_undisturbed_one(images: ImageSet, tmp_path: Path) -> None:
    """Killed in the middle of the second of three epochs; draws and temperature go on where they were."""
    training = short(epochs=3, checkpoint_seconds=0)
    whole = gdas.search(SPACE, images, Interrupting(), GDASSettings(), training, 0, 5)
    with pytest.raises(Interrupted):
        gdas.search(SPACE, images, Interrupting(at(7)), GDASSettings(), training, 0, 5, folder=tmp_path)
    resumed = gdas.search(SPACE, images, Interrupting(), GDASSettings(), training, 0, 5, folder=tmp_path)
    assert Interrupting.calls < 12, "not from the beginning"
    assert (
        resumed.ranked == whole.ranked
        and resumed.trained.history == whole.trained.history
        and resumed.genotypes == whole.genotypes
    )
    assert all(torch.equal(value, resumed.trained.final[name]) for name, value in whole.trained.final.items())
    with pytest.raises(ConfigChanged, match=r"first_temperature: 10\.0 -> 5\.0"):
        gdas.search(SPACE, images, Interrupting(), GDASSettings(first_temperature=5), training, 0, 5, folder=tmp_path)


def test_the_temperature_matters(images: ImageSet) -> None:
    cold = gdas.search(SPACE, images, Supervised(), GDASSettings(first_temperature=0.1), short(), 0, 10)
    assert cold.mixture != small_gdas(images).mixture


# -- SETN --------------------------------------------------------------------------------------------------------------
class Watched(setn.SearchedUniform):
    """Remembers its weights at every step, and the paths that it drew."""

    def begin_step(self, step: Any) -> None:
        super().begin_step(step)
        self.seen = [
            *getattr(self, "seen", []),
            (step, {name: p.detach().clone() for name, p in self.named_parameters()}),
        ]

    def draw(self) -> Any:
        path = super().draw()
        self.drawn = [*getattr(self, "drawn", []), path]
        return path


@pytest.mark.parametrize("space", [SPACE, CELLS], ids=["nasbench201", "darts"])
@pytest.mark.parametrize("update", ["all", "active"])
def test_what_each_step_of_setn_trains(images: ImageSet, space: SearchSpace, update: Any) -> None:
    """Weight steps: the drawn operations' weights and what all architectures share; architecture steps: the
    architecture alone.
    """
    model = Watched(space.with_classes(10), SampledOptions(update=update))  # type: ignore[attr-defined]
    training = short(SETNTraining, epochs=1)
    BilevelTraining(model, Supervised(), images, training, 0).run()
    steps = [step for step, _ in model.seen]
    assert steps == ["weights", "architecture"] * 2 and len(model.drawn) == 2
    states = [state for _, state in model.seen] + [{name: p.detach().clone() for name, p in model.named_parameters()}]
    for n, step in enumerate(steps):
        moved = {name for name, value in states[n + 1].items() if not torch.equal(value, states[n][name])}
        if step == "architecture":
            assert moved == {name for name in states[n] if name.startswith("alphas.")}
            continue
        searched = {name for name in states[n] if ".edges." in name}
        if update == "all":
            assert searched <= moved, "decay moves all of them"
        else:
            picks = model.picks(model.drawn[n // 2])
            cells = [k for k, kind in enumerate(model.kinds) if kind != "reduction" or space is CELLS]
            run = {
                f"cells.{k}.edges.{e}.operations.{model.names[model.kinds[k]][e][o]}."
                for k, row in zip(cells, picks, strict=True)
                for e, o in enumerate(row)
                if o >= 0
            }
            ours = {name for name in searched if name.startswith(tuple(run))}
            assert moved & searched <= ours, "nothing else"
            assert moved & searched or not ours
        assert any("classifier" in name for name in moved)
        assert not any(name.startswith("alphas.") for name in moved)


def test_setn_ranks_its_most_probable_architectures_by_accuracy(images: ImageSet) -> None:
    settings = SETNSettings(candidates=20, evaluation_images=60)
    result = setn.search(SPACE, images, Supervised(), settings, short(SETNTraining), 0, 5)
    assert result.candidates == result.mixture.best(SPACE, 20) and len(result.accuracies) == 20
    assert len({SPACE.canonical(c.architecture) for c in result.candidates}) == 20, "symmetric twins are left out"
    scores = [r.score for r in result.ranked]
    assert scores == sorted(result.accuracies.tolist(), reverse=True)[:5] and 0 <= scores[-1] <= scores[0] <= 100
    assert np.array_equal(result.score(SPACE.encode([r.architecture for r in result.ranked])), scores)
    assert len(result.score.images) == 100 and torch.equal(
        result.score.images.images, images.images[torch.from_numpy(halves(200, SETNTraining(), 0)[1])]
    )
    chosen = [c.architecture for c in result.candidates]
    order = [(-a, n) for n, a in enumerate(result.accuracies.tolist())]
    assert [chosen.index(r.architecture) for r in result.ranked] == [n for _, n in sorted(order)[:5]], (
        "equal ones by probability"
    )
    assert setn.search(SPACE, images, Supervised(), settings, short(SETNTraining), 0, 5).ranked == result.ranked


# -- random search with weight sharing ---------------------------------------------------------------------------------
def test_candidates_are_distinct_up_to_symmetry() -> None:
    few = draw_distinct(SPACE, 1000, np.random.default_rng(0))
    forms = [SPACE.canonical(a) for a in SPACE.decode(few)]
    assert len(forms) == len(set(forms)) == 60, "all that there are"
    some = draw_distinct(SPACE, 7, np.random.default_rng(0))
    assert np.array_equal(some, few[:7]) and not np.array_equal(some, draw_distinct(SPACE, 7, np.random.default_rng(1)))
    firsts = [tuple(draw_distinct(SPACE, 1, np.random.default_rng(seed))[0]) for seed in range(400)]
    assert len(set(firsts)) > 100, "uniform over architectures, not over classes"
    for space in (CELLS, NAO()):
        many = draw_distinct(space, 50, np.random.default_rng(0))
        assert len({space.canonical(a) for a in space.decode(many)}) == 50


def nas(images: ImageSet, space: SearchSpace = SPACE, objective: Any = None, **changes: Any) -> RandomNASResult:
    objective = objective or Supervised()
    training = SupernetTraining(images, objective, short(RandomNASTraining, **changes))
    supernet = rlnas.initialise(space.with_classes(objective.head(images).classes), 0)
    return random_nas.search(supernet, training, RandomNASSettings(candidates=12, evaluation_images=None), 5)


def test_random_search_with_weight_sharing(images: ImageSet, tmp_path: Path) -> None:
    result = nas(images)
    assert len(result.indices) == len(result.accuracies) == 12 and len(result.ranked) == 5
    scores = [r.score for r in result.ranked]
    assert scores == sorted(result.accuracies.tolist(), reverse=True)[:5]
    assert np.array_equal(result.score(result.indices), result.accuracies)
    seen, held_out = random_nas.parts(images, RandomNASSettings(), 0)
    assert len(seen) == len(held_out) == 100 and torch.equal(result.score.images.images, held_out.images)
    both = torch.cat([seen.images, held_out.images]).flatten(1)
    assert len(torch.unique(both, dim=0)) == len(torch.unique(images.images.flatten(1), dim=0)), "no image is in both"
    again = nas(images)
    assert again.ranked == result.ranked and again.trained.history == result.trained.history
    assert nas(images, CELLS, epochs=1).ranked[0].architecture.space == "darts"


def test_a_supernet_that_learns_ranks_better_than_chance(images: ImageSet) -> None:
    """An architecture without any path from input to output says the same of every image, and is right about one in ten;
    how much better the best one is depends on the processor: 43 percent on one, above 50 on another.
    """
    result = nas(images, epochs=30, batch_size=25, learning_rate=0.1)
    assert result.score(SPACE.encode([SPACE.from_string("|none~0|+|none~0|none~1|")]))[0] < 20
    assert result.ranked[0].score > 35


# -- through NNI's experiment ------------------------------------------------------------------------------------------
def test_nni_runs_them_and_exports_several(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    one: Any = GDAS()
    experiment = run(SPACE.supernet(), DifferentiableTraining(images, settings=short()), one)
    assert (
        one.result.ranked == small_gdas(images).ranked and len(experiment.export_top_models(99, formatter="dict")) == 10
    )
    two: Any = SETN(SETNSettings(candidates=12), top_k=3)
    experiment = run(SPACE.supernet(), DifferentiableTraining(images, settings=short(SETNTraining)), two)
    assert [SPACE.parse(s) for s in experiment.export_top_models(9, formatter="dict")] == [
        r.architecture for r in two.result.ranked
    ]
    three: Any = RandomNAS(RandomNASSettings(candidates=12, evaluation_images=None), top_k=5)
    experiment = run(SPACE.supernet(), SupernetTraining(images, Supervised(), short(RandomNASTraining)), three)
    assert three.result.ranked == nas(images).ranked and len(experiment.export_top_models(9, formatter="dict")) == 5
    (network,) = experiment.export_top_models(1, formatter="instance")
    assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def loader(images: torch.Tensor, labels: torch.Tensor) -> Any:
    return DataLoader(TensorDataset(images, labels), batch_size=25)


def classification(train: Any, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    return Classification(train_dataloaders=train, num_classes=10, **{**quiet, "max_epochs": 1, **options})


def test_nnis_own_evaluator(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    unit, labels = images.images.float() / 255, images.labels
    evaluator = classification(
        loader(unit[:120], labels[:120]), val_dataloaders=loader(unit[120:], labels[120:]), learning_rate=0.05
    )
    three = RandomNAS(RandomNASSettings(candidates=4), top_k=2, seed=3)
    run(SPACE.supernet(), evaluator, three)
    s = three.training.settings
    assert (s.epochs, s.batch_size, s.learning_rate, s.gradient_clip, s.share_cells, three.training.seed) == (
        1,
        25,
        0.05,
        5.0,
        True,
        3,
    )
    assert s.final_learning_rate == pytest.approx(0.002) and s.nesterov
    assert (
        three.result is not None
        and torch.equal(three.result.score.images.images, images.images[120:])
        and three.settings.shuffle_split
    )
    halved = RandomNAS(RandomNASSettings(candidates=4), top_k=2)
    run(SPACE.supernet(), classification(loader(unit, labels)), halved)
    assert halved.result is not None and len(halved.result.score.images) == 100 and halved.used.shuffle_split
    one = GDAS(seed=2)
    run(SPACE.supernet(), classification(loader(unit, labels)), one)
    t = one.training.settings
    assert t is not None and isinstance(one.result, DifferentiableResult) and t.nesterov and one.training.seed == 2  # type: ignore[union-attr]


def test_what_is_refused(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    settings = short()
    refused: list[tuple[Any, Any, str]] = [
        (
            GDAS(),
            DifferentiableTraining(images, settings=short(order=2)),
            "order 2 differentiates through a step of other operations",
        ),
        (
            SETN(),
            DifferentiableTraining(images, settings=short(compile=True)),
            "compile needs a graph that is the same at every step",
        ),
        (
            SETN(),
            DifferentiableTraining(images, RandomLabels(10), settings),
            "random labels of held-out images cannot be predicted",
        ),
        (GDAS(), FunctionalEvaluator(print), "GDAS trains with DifferentiableTraining or NNI's Classification"),
        (
            RandomNAS(),
            FunctionalEvaluator(print),
            "RandomNAS trains with SupernetTraining or NNI's Classification, but got FunctionalEvaluator",
        ),
        (
            RandomNAS(),
            SupernetTraining(images, RandomLabels(10)),
            "random labels of held-out images cannot be predicted",
        ),
        (RandomNAS(), SupernetTraining(images, Rotation()), "has 10 classes, but the objective needs 4"),
    ]
    for strategy, evaluator, message in refused:
        with pytest.raises(ConfigError, match=message):
            run(SPACE.supernet(), evaluator, strategy)
    for wrong, message in (
        (lambda: RandomNAS(top_k=0), "top_k >= 1 must hold"),
        (lambda: RandomNAS(RandomNASSettings(candidates=3)), "top_k <= candidates must hold, but got 10 and 3"),
        (lambda: SETN(SETNSettings(candidates=3)), "top_k <= candidates must hold"),
        (lambda: list(RandomNAS().list_models()), "RandomNAS has not run yet"),
        (lambda: list(GDAS().list_models()), "GDAS has not run yet"),
        (lambda: random_nas.parts(images, RandomNASSettings(portion=0.999), 0), "each part needs at least 2"),
        (
            lambda: gdas.search(NAO(), images, Supervised(), GDASSettings(), settings, 0, 1),
            "nao has no mixture over edges",
        ),
        (lambda: gdas.search(SPACE, images, Supervised(), GDASSettings(), short(order=2), 0, 1), "order 2"),
        (lambda: setn.search(SPACE, images, RandomLabels(3), SETNSettings(), settings, 0, 1), "cannot be predicted"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()
    with pytest.raises(ConfigError, match="take no images"):
        run(RecurrentCell().supernet(), SupernetTraining(images, Supervised(), SupernetSettings()), RandomNAS())
