"""Differentiable search: derivation by hand, ranking against brute force, what learns, and whole searches through NNI's
experiment.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch.utils.data import TensorDataset

from nni_plugins.evaluators import ConfigError, ImageSet, RandomLabels, Supervised, TrainingError, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.schedule import rate_sum
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces import DARTS as DARTSSpace
from nni_plugins.spaces import MobileNetLike, NASBench201, RobustDARTS
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.cells.darts import EDGES, OPERATIONS
from nni_plugins.spaces.mixed import MixedOptions
from nni_plugins.spaces.mixed.derivation import ranked
from nni_plugins.strategies import (
    DARTS,
    PCDARTS,
    RFDARTS,
    RFPCDARTS,
    DifferentiableSettings,
    DifferentiableTraining,
    Mixture,
    PCDARTSSettings,
    PCDARTSTraining,
    RFDARTSSettings,
    RFPCDARTSSettings,
)
from nni_plugins.strategies.differentiable.search import (
    PAPER_RATES,
    DifferentiableResult,
    SearchedSupernet,
    initialise,
    restored,
    search,
    skip_connections,
)
from nni_plugins.strategies.differentiable.settings import check_space
from nni_plugins.strategies.limits import Limits

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELLS = DARTSSpace(channels=4, cells=3)
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """200 real digits."""
    return load(DataSettings(limit=200)).train


def short(**changes: Any) -> BilevelSettings:
    return read(BilevelSettings, {"epochs": 2, "batch_size": 50, "accelerator": "cpu", **changes})


def random_mixture(space: SearchSpace, seed: int, shares: bool = False, scale: float = 1.0) -> Mixture:
    """Probabilities drawn at random; ``none`` is the first operation of every edge, as in DARTS and NAS-Bench-201."""
    rng = np.random.default_rng(seed)
    kinds = ("cell",) if isinstance(space, NASBench201) else ("normal", "reduce")
    edges = len(space.parts) // len(kinds)
    width = max(len(part.values) for part in space.parts)

    def softmax(x: Floats) -> Floats:
        y: Floats = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        return y

    operations = {kind: softmax(scale * rng.normal(size=(edges, width))).tolist() for kind in kinds}
    weights = {kind: (rng.random(edges) / 2 + 0.1).tolist() for kind in kinds} if shares else {}
    return Mixture(operations, weights)


# -- derivation, by hand -----------------------------------------------------------------------------------------------
def table(width: int, strong: dict[int, tuple[int, float]], edges: int = 14) -> list[list[float]]:
    """Rows of probabilities: operation ``o`` of edge ``e`` has ``p``, the others share the rest equally; other edges
    are uniform.
    """
    rows = [[1 / width] * width for _ in range(edges)]
    for e, (o, p) in strong.items():
        rows[e] = [(1 - p) / (width - 1)] * width
        rows[e][o] = p
    return rows


def derived(space: SearchSpace, operations: Any, shares: Any = None) -> str:
    return space.to_string(Mixture(operations, shares or {}).best(space, 1)[0].architecture)


def test_nasbench201_takes_the_strongest_operation_of_every_edge_also_none() -> None:
    rows = [[0.4, 0.3, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]
    assert derived(SPACE, {"cell": rows}) == "|none~0|+|nor_conv_3x3~0|none~1|", "of equal ones the first"


def test_none_can_be_barred() -> None:
    """It takes part in the mixture, and so in every score, but no edge derives it, with limits or without."""
    rows = [[0.4, 0.3, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]
    barred = Mixture({"cell": rows}, {}, bar_none=True)
    everything = barred.best(SPACE, 200)
    assert SPACE.to_string(everything[0].architecture) == "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|"
    assert everything[0].score == pytest.approx(np.log(0.3 * 0.5 * 0.2))
    texts = [SPACE.to_string(r.architecture) for r in everything]
    free = Mixture({"cell": rows}, {}).best(SPACE, 200)
    assert texts == [t for r in free if "none" not in (t := SPACE.to_string(r.architecture))] and len(texts) > 40
    costs = SPACE.with_classes(10).cost_table()(SPACE.encode([r.architecture for r in everything]))
    few = Limits(max_parameters=int(np.median(costs.parameters)))
    within = [(SPACE.to_string(r.architecture), r.score) for r in barred.best(SPACE.with_classes(10), 5, few)]
    allowed = few.mask(SPACE.with_classes(10), SPACE.encode([r.architecture for r in everything]))
    expected = [one.score for one, met in zip(everything, allowed, strict=True) if met][:5]
    assert [score for _, score in within] == pytest.approx(expected) and len(within) == 5
    assert not any("none" in text for text, _ in within)
    network = initialise(SPACE.with_classes(10), DifferentiableSettings(bar_none=True), 0)
    with torch.no_grad():
        network.alphas["cell"][:, 0] = 5.0
    assert "none" not in network.genotype()
    with pytest.raises(ConfigError, match="bar_none: none is never derived on darts anyway"):
        check_space(CELLS, DifferentiableSettings(bar_none=True))


def test_darts_keeps_the_two_strongest_edges_of_a_node_and_none_does_not_count() -> None:
    """Edges in order: 0->2, 1->2, 0->3, 1->3, 2->3, ... ``none`` is the strongest operation of edge 1->3 and never
    chosen.
    """
    rows = table(8, {0: (4, 0.5), 1: (3, 0.6), 2: (1, 0.3), 3: (0, 0.9), 4: (5, 0.4)})
    text = derived(CELLS, {"normal": rows, "reduce": table(8, {})})
    pairs = "('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 2)"
    assert pairs in text, "edge 1->3, at (1 - 0.9) / 7 each, is left out"
    everything_equal = "('max_pool_3x3', 0), ('max_pool_3x3', 1)"
    assert text.count(everything_equal) == 2 + 4, "ties go to the first edges and the first operation"


def test_edge_shares_decide_in_pcdarts() -> None:
    rows = table(8, {2: (4, 0.5), 3: (4, 0.5), 4: (4, 0.3)})
    shares = [1 / 14] * 14
    uniform = derived(CELLS, {"normal": rows, "reduce": rows}, {"normal": shares, "reduce": shares})
    assert "('sep_conv_3x3', 0), ('sep_conv_3x3', 1)" in uniform
    shares[2:5] = [0.2, 0.3, 0.5]  # 0.10, 0.15, 0.15: the last two
    assert "('sep_conv_3x3', 1), ('sep_conv_3x3', 2)" in derived(
        CELLS, {"normal": rows, "reduce": rows}, {"normal": shares, "reduce": shares}
    )


def test_robustdarts_with_and_without_none() -> None:
    s3, s4 = RobustDARTS("S3", channels=2, cells=3), RobustDARTS("S4", channels=2, cells=3)
    weak = table(3, dict.fromkeys(range(14), (0, 0.9)))
    assert derived(s3, {"normal": weak, "reduce": weak}).count("skip_connect") == 16 and "none" not in derived(
        s3, {"normal": weak, "reduce": weak}
    )
    noise = table(2, dict.fromkeys(range(14), (0, 0.9)))
    assert derived(s4, {"normal": noise, "reduce": noise}).count("noise") == 16


def test_skip_connections_are_counted() -> None:
    assert skip_connections(SPACE, SPACE.from_string("|skip_connect~0|+|skip_connect~0|none~1|")) == 2
    s1 = RobustDARTS("S1", channels=2, cells=3)
    first = [[0.9, 0.1]] * 14
    architecture = Mixture({"normal": first, "reduce": first}, {}).best(s1, 1)[0].architecture
    text = s1.to_string(architecture)
    assert skip_connections(s1, architecture) == text.count("skip_connect") > 4, (
        "decisions say only `first` and `second`"
    )


# -- ranking against brute force ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_all_cells_of_nasbench201_in_order(seed: int, shares: bool) -> None:
    mixture = random_mixture(SPACE, seed, shares)
    rows, weights = mixture.operations["cell"], mixture.shares.get("cell", [1.0] * 3)
    product = {
        choice: np.prod([rows[e][o] * weights[e] for e, o in enumerate(choice)])
        for choice in itertools.product(range(5), repeat=3)
    }
    wanted = sorted(product, key=lambda choice: -product[choice])
    indices, scores = ranked(SPACE, mixture.operations, mixture.shares, 1000)
    assert [tuple(row) for row in indices.tolist()] == wanted
    assert np.allclose(scores, np.log([product[choice] for choice in wanted])) and np.allclose(
        mixture.score(SPACE, indices), scores
    )
    best = mixture.best(SPACE, 1000)
    first: dict[str, Any] = {}
    for architecture in SPACE.decode(np.array(wanted, dtype=np.int8)):
        first.setdefault(SPACE.canonical(architecture), architecture)
    assert [r.architecture for r in best] == list(first.values()) and len(best) == 60
    assert mixture.best(SPACE, 7) == best[:7]


@pytest.mark.parametrize(
    "space", [RobustDARTS("S2", channels=2, cells=3), RobustDARTS("S3", channels=2, cells=3)], ids=["S2", "S3"]
)
def test_the_best_of_two_billion_cells(space: RobustDARTS) -> None:
    """All 46,080 normal and as many reduction cells, scored one edge at a time; the best of their pairs are pairs of
    the best.
    """
    width, k = 3 if space.variant == "S3" else 2, 40
    rng = np.random.default_rng(5)
    operations = {kind: rng.dirichlet(np.ones(width), size=14).tolist() for kind in ("normal", "reduce")}
    half = len(space.decisions) // 2
    counts = [len(d.values) for d in space.decisions[:half]]
    rows = np.indices(counts, dtype=np.int8).reshape(half, -1).T
    assert len(rows) == 46_080

    def cell(kind: str) -> Floats:
        total = np.zeros(len(rows))
        for r, row in enumerate(rows.tolist()):
            column = 0
            for node in range(2, 6):
                pair = list(itertools.combinations(range(node), 2))[row[column]] if node > 2 else (0, 1)
                column += node > 2
                for source, operation in zip(pair, row[column : column + 2], strict=True):
                    total[r] += np.log(operations[kind][EDGES.index((source, node))][operation + width - 2])
                column += 2
        return total

    scores = {kind: cell(kind) for kind in operations}
    best = {kind: np.argsort(-scores[kind], kind="stable")[:k] for kind in operations}
    joint = [
        (scores["normal"][a] + scores["reduce"][b], (*rows[a].tolist(), *rows[b].tolist()))
        for a in best["normal"]
        for b in best["reduce"]
    ]
    joint.sort(key=lambda pair: -pair[0])
    found = Mixture(operations, {}).best(space, k)
    assert [tuple(space.encode([r.architecture])[0].tolist()) for r in found] == [row for _, row in joint[:k]]
    assert np.allclose([r.score for r in found], [score for score, _ in joint[:k]])


@pytest.mark.parametrize(
    "space", [SPACE, CELLS, RobustDARTS("S1", channels=2, cells=3), RobustDARTS("S3", channels=2, cells=3)], ids=repr
)
def test_any_architecture_can_be_scored(space: SearchSpace) -> None:
    """Scores of the best agree with those of the ranking, and nothing that is drawn at random is better."""
    mixture = Mixture.of(initialise(space.with_classes(10), DifferentiableSettings(edge_normalization=True), 3))
    indices, scores = ranked(space, mixture.operations, mixture.shares, 50)
    assert np.allclose(mixture.score(space, indices), scores)
    assert mixture.score(space, space.sample(np.random.default_rng(0), 500)).max() <= scores[0] + 1e-9


def test_a_probability_that_was_rounded_to_zero_has_a_logarithm() -> None:
    supernet = initialise(SPACE, DifferentiableSettings(), 0)
    with torch.no_grad():
        supernet.alphas["cell"][:, 0] = 500.0
    mixture = Mixture.of(supernet)
    assert np.isfinite([r.score for r in mixture.best(SPACE, 60)]).all() and len(mixture.best(SPACE, 61)) == 60


# -- settings ----------------------------------------------------------------------------------------------------------
def test_the_papers_values() -> None:
    darts, pc = BilevelSettings(), PCDARTSTraining()
    assert (darts.epochs, darts.batch_size, darts.learning_rate, darts.final_learning_rate, darts.weight_decay) == (
        50,
        64,
        0.025,
        0.001,
        3e-4,
    )
    assert (pc.epochs, pc.batch_size, pc.learning_rate, pc.final_learning_rate, pc.weight_decay) == (
        50,
        256,
        0.1,
        0.0,
        3e-4,
    )
    assert (darts.architecture_learning_rate, pc.architecture_learning_rate, darts.warmup_epochs, pc.warmup_epochs) == (
        3e-4,
        6e-4,
        0,
        15,
    )
    assert DifferentiableSettings().options == MixedOptions()
    assert PCDARTSSettings().options == MixedOptions(partial_channels=4, edge_normalization=True)
    assert RFDARTSSettings().options == MixedOptions(option="C", initialisation="kaiming")
    assert RFPCDARTSSettings().options == MixedOptions(
        option="C", initialisation="kaiming", partial_channels=4, edge_normalization=True
    )


def test_every_option_of_the_mixture_can_be_set() -> None:
    fields = set(MixedOptions().config()) - {"shared"}  # how it is computed, not what
    assert set(DifferentiableSettings.model_fields) == fields
    assert get_args(DifferentiableSettings.model_fields["option"].annotation) == ("A", "B", "C", "D")
    given = DifferentiableSettings(option="D", train_stem=True, drop_path=0.2, track_statistics=False)
    assert given.options == MixedOptions(option="D", train_stem=True, drop_path=0.2, track_statistics=False)


def test_arguments_of_the_strategies() -> None:
    assert DARTS(order=2)._changes == {"order": 2} and DARTS()._changes == {}
    assert PCDARTS(partial_channels=2, edge_normalization=False).settings.options == MixedOptions(partial_channels=2)
    assert RFPCDARTS(warmup_epochs=5)._changes == {"warmup_epochs": 5} and RFPCDARTS().settings.option == "C"
    assert RFDARTS(option="A").settings.options == MixedOptions(option="A", initialisation="kaiming")
    assert RFDARTS(DifferentiableSettings(option="D")).settings == DifferentiableSettings(option="D")
    for wrong, message in (
        (lambda: DARTS(top_k=0), "top_k >= 1 must hold"),
        (lambda: DARTS(order=3), "order: input should be 1 or 2"),  # type: ignore[arg-type]
        (lambda: RFDARTS(option="E"), "option: input should be 'A', 'B', 'C' or 'D'"),  # type: ignore[arg-type]
        (lambda: PCDARTS(partial_channels=0), "partial_channels: input should be greater than or equal to 1"),
        (lambda: PCDARTS(warmup_epochs=50), "warmup_epochs < epochs must hold"),
        (lambda: list(DARTS().list_models()), "DARTS has not run yet"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()


def test_spaces_that_cannot_be_mixed() -> None:
    with pytest.raises(
        ConfigError, match=r"mobilenetlike has no mixture over edges[\s\S]*works on darts, robustdarts, nasbench201"
    ):
        check_space(MobileNetLike(), DifferentiableSettings())
    for space in (NASBench201(channels=6), DARTSSpace(channels=6)):
        with pytest.raises(
            ConfigError,
            match=r"partial_channels=4 must divide the width of the first cells, 6\.\nUse partial_channels in 1, 2, 3, 6",
        ):
            check_space(space, PCDARTSSettings())
        with pytest.raises(ConfigError, match="must divide"):
            initialise(space, PCDARTSSettings(), 0)


# -- searches ----------------------------------------------------------------------------------------------------------
@functools.cache
def small(images: ImageSet, seed: int, folder: Path | None = None) -> DifferentiableResult:
    return search(SPACE, images, Supervised(), RFDARTSSettings(), short(), seed, 10, folder=folder)


def test_a_search_is_a_function_of_its_seed(images: ImageSet, tmp_path: Path) -> None:
    first, other = small(images, 0), small(images, 1)
    state, rows = torch.get_rng_state(), []
    again = search(
        SPACE.with_classes(3),
        images,
        Supervised(),
        RFDARTSSettings(),
        short(),
        0,
        10,
        folder=tmp_path,
        report=rows.append,
    )
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not touched"
    assert again.ranked == first.ranked != other.ranked and again.genotypes == first.genotypes
    assert len(first.ranked) == 10 and len({SPACE.canonical(r.architecture) for r in first.ranked}) == 10
    scores = [r.score for r in first.ranked]
    assert scores == sorted(scores, reverse=True)
    assert np.allclose(
        scores, first.mixture.score(SPACE, SPACE.encode([r.architecture for r in first.ranked])), rtol=1e-12
    )
    assert first.genotypes[-1] == SPACE.to_string(first.ranked[0].architecture), "the derived one comes first"
    assert (
        first.skips == [skip_connections(SPACE, SPACE.from_string(g)) for g in first.genotypes]
        and len(first.skips) == 2
    )
    assert (
        first.supernet_accuracy == first.trained.history[-1]["architecture_accuracy"] and rows == first.trained.history
    )
    finished = search(
        SPACE,
        images,
        Supervised(),
        RFDARTSSettings(),
        short(),
        0,
        10,
        folder=tmp_path,
        report=lambda row: pytest.fail("trained again"),
    )
    assert finished.ranked == first.ranked and finished.mixture == first.mixture
    assert restored(SPACE, RFDARTSSettings(), tmp_path) == first.mixture
    with pytest.raises(CheckpointError, match=r"is a supernet of another space: alphas\.cell is \(3, 5\) instead of"):
        restored(NASBench201(), RFDARTSSettings(), tmp_path)


@pytest.mark.parametrize("option", ["A", "B", "C", "D"])
@pytest.mark.parametrize("space", [SPACE, CELLS], ids=["nasbench201", "darts"])
def test_what_learns(images: ImageSet, space: SearchSpace, option: Any) -> None:
    """Table 1 of RF-DARTS; the classifier and the batch norms of stem and head always learn, the stem's convolution as
    the others.
    """
    result = search(space, images, Supervised(), RFDARTSSettings(option=option), short(epochs=1, batch_size=100), 0, 1)
    before, after = result.trained.initial, result.trained.final
    assert before.keys() == after.keys()
    moved = {
        name: not torch.equal(before[name], after[name])
        for name in before
        if "running" not in name and "num_batches" not in name
    }
    convolutions = {moved[name] for name in moved if before[name].ndim == 4}
    norms = [name for name in moved if name.startswith("cells.") and ".edges." in name and before[name].ndim == 1]
    assert convolutions == {option in "AB"}, "all or none"
    assert bool(norms) == (option in "AC") and all(moved[name] for name in norms if name.endswith("bias"))
    assert all(moved[name] for name in moved if name.startswith(("alphas.", "classifier.")))


@pytest.mark.parametrize("objective", [Supervised(), RandomLabels(classes=7)], ids=["supervised", "random labels"])
@pytest.mark.slow
def test_partial_channels_on_darts_cells(images: ImageSet, objective: Any) -> None:
    """RF-PCDARTS with its warm-up: shares are trained too, and any objective will do."""
    settings = RFPCDARTSSettings(partial_channels=2)
    result = search(CELLS, images, objective, settings, short(warmup_epochs=1), 0, 3)
    assert set(result.mixture.shares) == {"normal", "reduce"} and len(result.mixture.shares["normal"]) == 14
    assert "architecture_accuracy" not in result.trained.history[0] and result.supernet_accuracy is not None
    moved = [name for name in result.trained.final if name.startswith("betas.")]
    assert moved and all(not torch.equal(result.trained.initial[name], result.trained.final[name]) for name in moved)
    assert len({r.architecture for r in result.ranked}) == 3 and all(CELLS.parse(g) for g in result.genotypes)


def test_a_diverging_search_says_so(images: ImageSet) -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        search(
            SPACE, images, Supervised(), DifferentiableSettings(), short(learning_rate=1e30, gradient_clip=None), 0, 1
        )


# -- through NNI's experiment ------------------------------------------------------------------------------------------
def test_nni_runs_rfdarts_and_exports_several(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    strategy = RFDARTS()
    experiment = run(SPACE.supernet(), DifferentiableTraining(images, settings=short()), strategy)
    assert strategy.result is not None and strategy.result.ranked == small(images, 0).ranked
    exported = experiment.export_top_models(3, formatter="dict")
    assert [SPACE.parse(sample) for sample in exported] == [r.architecture for r in strategy.result.ranked[:3]]
    assert len(experiment.export_top_models(99, formatter="dict")) == 10 and strategy.state_dict() == {}
    (network,) = experiment.export_top_models(1, formatter="instance")
    assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def loader(images: torch.Tensor, labels: torch.Tensor, **options: Any) -> Any:
    return DataLoader(TensorDataset(images, labels), **{"batch_size": 32, **options})


def classification(train: Any, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    return Classification(train_dataloaders=train, num_classes=10, **{**quiet, "max_epochs": 2, **options})


def test_nni_runs_darts_with_its_own_evaluator(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    """Its training images train the weights, its validation images the architecture."""
    unit, labels = images.images.float() / 255, images.labels
    validation = loader(unit[120:], labels[120:])
    evaluator = classification(
        loader(unit[:120], labels[:120]), val_dataloaders=validation, learning_rate=0.05, weight_decay=1e-3
    )
    strategy = DARTS(order=2, top_k=5, seed=3)
    experiment = run(SPACE.supernet(), evaluator, strategy)
    taken, s = strategy.training, strategy.training.settings
    assert s is not None and (s.epochs, s.batch_size, s.learning_rate, s.weight_decay, s.order, s.portion) == (
        2,
        32,
        0.05,
        1e-3,
        2,
        0.6,
    )
    assert s.final_learning_rate == pytest.approx(0.002) and s.gradient_clip == 5 and taken.seed == 3
    assert (
        torch.equal(taken.images.images, images.images)
        and torch.equal(taken.images.labels, labels)
        and len(taken.images.classes) == 10
    )
    assert strategy.result is not None and len(experiment.export_top_models(9, formatter="dict")) == 5


def test_classification_without_validation_images(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    unit = images.images.float() / 255
    strategy = RFPCDARTS(warmup_epochs=1)
    run(SPACE.supernet(), classification(loader(unit, images.labels, batch_size=100), learning_rate=0.1), strategy)
    s = strategy.training.settings
    assert s is not None and (s.portion, s.warmup_epochs, s.final_learning_rate) == (0.5, 1, 0.0)
    assert strategy.result is not None and set(strategy.result.mixture.shares) == {"cell"}


class Foreign(ModelSpace):
    """A model space that is not one of our supernets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(3, 4, 3)], label="layer")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def some(batch: int = 32, **options: Any) -> Any:
    return classification(
        loader(torch.rand(64, 3, 8, 8), torch.zeros(64, dtype=torch.long), batch_size=batch), **options
    )


@pytest.mark.parametrize(
    ("strategy", "make", "message"),
    [
        (
            RFDARTS(),
            lambda: FunctionalEvaluator(print),
            r"RFDARTS trains with DifferentiableTraining or NNI's Classification, but got Functional",
        ),
        (DARTS(), lambda: None, "but got NoneType"),
        (DARTS(), lambda: classification(None), "train_dataloaders to be a DataLoader, but got NoneType"),
        (DARTS(), lambda: some(max_epochs=-1), "max_epochs of at least 1"),
        (PCDARTS(), some, r"warmup_epochs < epochs must hold, or the architecture is never trained, but got 15 and 2"),
        (DARTS(), lambda: some(64), r"splits 64 images into 32 for the weights and 32 for the architecture"),
        (DARTS(), lambda: some(learning_rate=0.0), "learning_rate: input should be greater than 0"),
    ],
)
def test_evaluators_that_are_refused(
    strategy: Any, make: Callable[[], Any], message: str, run: Callable[..., NasExperiment]
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(SPACE.supernet(), make(), strategy)


def test_what_is_refused_before_anything_is_trained(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    training = DifferentiableTraining(images, settings=short())
    with pytest.raises(ConfigError, match=r"DARTS needs a supernet of this package, but got Foreign"):
        run(Foreign(), training, DARTS())
    with pytest.raises(ConfigError, match="partial_channels=4 must divide"):
        run(NASBench201(nodes=3, channels=6, cells_per_stage=1).supernet(), training, PCDARTS())
    with pytest.raises(ConfigError, match="order 2 takes differences that bf16-mixed rounds away"):
        run(SPACE.supernet(), DifferentiableTraining(images, settings=short(precision="bf16-mixed")), DARTS(order=2))
    with pytest.raises(ConfigError, match="each half must fill a batch of 150"):
        run(SPACE.supernet(), DifferentiableTraining(images, settings=short(batch_size=150)), DARTS())
    with pytest.raises(ConfigError, match="Conv2d is not a mixed supernet"):
        training.evaluate(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match=r"one size, but have \(8, 8\) and \(9, 9\)"):
        other = loader(torch.rand(64, 3, 9, 9), torch.zeros(64, dtype=torch.long))
        run(SPACE.supernet(), some(val_dataloaders=other), DARTS())


def test_the_order_of_operations_is_that_of_the_mixture() -> None:
    """What the tests above take for granted."""
    supernet = initialise(CELLS, DifferentiableSettings(), 0)
    assert supernet.names["normal"] == [("none", *OPERATIONS)] * 14 and list(supernet.names) == ["normal", "reduce"]


# -- ends and warnings -------------------------------------------------------------------------------------------------
def test_skip_connections_end_a_search(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DARTS+: what counts is the state after the first epoch with so many; killed and resumed it is the same."""
    counts = {"epoch": 0}

    def rising(supernet: SearchedSupernet) -> int:
        counts["epoch"] += 1
        return counts["epoch"] - 1

    def run(folder: Path | None, report: Any = None, **changes: Any) -> DifferentiableResult:
        counts["epoch"] = 0
        training = short(epochs=5, checkpoint_seconds=0, **changes)
        return search(
            SPACE, images, Supervised(), DifferentiableSettings(), training, 0, 1, folder=folder, report=report
        )

    monkeypatch.setattr(SearchedSupernet, "normal_skips", rising)
    stopped, whole = run(None, most_skips=2), run(None)
    assert [row["normal_skips"] for row in stopped.trained.history] == [0, 1, 2] and len(whole.genotypes) == 5
    assert stopped.genotypes == whole.genotypes[:3] and stopped.trained.stopped_epoch == 3
    assert np.allclose(stopped.mixture.operations["cell"], whole.trained.mixtures[2]["operations"]["cell"], rtol=1e-12)
    assert stopped.trained.rollbacks == [{"method": "skips", "epoch": 3, "found": 3, "skips": 2}]
    assert run(None, most_skips=9).trained.stopped_epoch is None

    def kill(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, kill, most_skips=2)
    resumed = run(tmp_path, lambda row: pytest.fail("trained on"), most_skips=2)
    assert resumed.mixture == stopped.mixture and resumed.trained.stopped_epoch == 3


def test_skips_of_the_normal_cell_alone() -> None:
    drawn = CELLS.decode(CELLS.sample(np.random.default_rng(3), 50))
    text = max(map(CELLS.to_string, drawn), key=lambda text: text.count("skip_connect"))
    normal = text.partition("reduce=")[0].count("skip_connect")
    architecture = CELLS.from_string(text)
    assert skip_connections(CELLS, architecture, normal=True) == normal
    assert skip_connections(CELLS, architecture) == text.count("skip_connect") > normal


def test_a_search_too_short_for_its_rate_warns(images: ImageSet) -> None:
    """RF-DARTS' own search adds up to 254: 50 epochs of 391 steps, a cosine from 0.025 to 0.001."""
    assert rate_sum(BilevelSettings(), 391) == pytest.approx(391 * (50 * 0.013 + 0.012), rel=1e-9)
    assert round(rate_sum(BilevelSettings(), 391) - 391 * 0.012) == PAPER_RATES

    def run(option: Any, **changes: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search(SPACE, images, Supervised(), DifferentiableSettings(option=option), short(epochs=1, **changes), 0, 1)
        return [str(one.message) for one in caught if "learning rates of all" in str(one.message)]

    (said,) = run("C")
    assert "of all 2 steps add up to 0.05 (RF-DARTS: 254)" in said and "Train for longer, at 0.5" in said
    assert run("B") == run("C", learning_rate=60.0) == []
