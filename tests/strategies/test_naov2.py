"""NAO-V2 and NAO-WS: which pool is trained and evaluated when, with what probabilities; files, resume, and what is
refused.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment
from scipy import stats
from torch.utils.data import TensorDataset

from nni_plugins.evaluators import (
    CheckpointError,
    ConfigChanged,
    ConfigError,
    ImageSet,
    RandomLabels,
    SupernetTraining,
    Supervised,
    TrainingError,
    load,
)
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.supernets.shared_weights import Cycle, Draw
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NAO, NASBench201, RecurrentCell
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.nao import ControllerSettings, ProposalSettings
from nni_plugins.strategies.nao.training import TARGETS
from nni_plugins.strategies.naov2 import rounds as naov2_rounds
from nni_plugins.strategies.naov2.pool import Pool, PoolFiles, pool_draw, proportional_probabilities, read_pool
from nni_plugins.strategies.naov2.search import NAOV2, NAOWS, NAOV2Result, naov2, search
from nni_plugins.strategies.naov2.settings import (
    FinalTraining,
    NAOV2Settings,
    NAOV2Training,
    NAOWSSettings,
    NAOWSTraining,
)
from tests.evaluators.tiny import Interrupted

SPACE = NASBench201()
SMALL: dict[str, Any] = {
    "iterations": 3,
    "initial": 20,
    "kept": 5,
    "controller": ControllerSettings(epochs=4, embedding=8, hidden=16),
    "proposals": ProposalSettings(seeds=6, new=8, last_step=3),
    "final": None,
}
SETTINGS = NAOV2Settings(**SMALL)
STEPS = 50


def convolutions(indices: Indices) -> Any:
    return np.array(
        [sum(value == "nor_conv_3x3" for _, value in a.choices) for a in SPACE.decode(indices)], dtype=np.float64
    )


class Recorded:
    """Shared weights without weights: they remember what they were asked to train and to score, and may be interrupted."""

    def __init__(
        self, score: Callable[[Indices], Any] = convolutions, seed: int = 0, space: Any = SPACE, stop: str = ""
    ) -> None:
        self.seed, self.space, self.score, self.stop = seed, space, score, stop
        self.cycles: list[Cycle] = []
        self.drawn: list[set[tuple[int, ...]]] = []
        self.scored: list[tuple[int, Indices]] = []

    def train(self, draw: Draw, cycle: Cycle, companion: Any = None) -> list[dict[str, float]]:
        if self.stop == f"train {cycle.number}":
            raise Interrupted
        self.cycles.append(cycle)
        self.drawn.append(
            {tuple(row) for e in range(cycle.epochs) for row in draw(cycle.first_epoch + e, STEPS).tolist()}
        )
        return [{"epoch": cycle.first_epoch + e + 1, "loss": 1.0} for e in range(cycle.epochs)]

    def scores(self, indices: Indices) -> Any:
        if self.stop == f"score {self.cycles[-1].number}":
            raise Interrupted
        self.scored.append((self.cycles[-1].number, indices))
        return self.score(indices)

    def reward(self, indices: Indices, step: int) -> Any:
        raise AssertionError("NAO-V2 asks for no rewards")


def run(settings: NAOV2Settings = SETTINGS, shared: Any = None, **more: Any) -> tuple[NAOV2Result, Any]:
    shared = shared or Recorded()
    return naov2(shared, settings, epochs=4, **more), shared


def rows(indices: Indices) -> set[tuple[int, ...]]:
    return {tuple(row) for row in indices.tolist()}


# -- settings ----------------------------------------------------------------------------------------------------------
def test_the_official_values() -> None:
    s, t = NAOV2Settings(), NAOV2Training()
    assert (s.iterations, s.initial, s.carried, s.proposals.new, s.proposals.seeds, s.sampling, s.reset) == (
        4,
        1000,
        100,
        300,
        100,
        "proportional",
        "all",
    )
    assert (s.evaluation_images, s.portion, s.final_candidates, s.evaluates_all, s.ranked) == (500, 0.9, 5, False, 400)
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.momentum, t.nesterov) == (
        50,
        64,
        0.025,
        0.001,
        0.9,
        False,
    )
    assert (t.weight_decay, t.gradient_clip, t.dropped(NAO()), t.drop_identity, t.update, t.share_cells) == (
        3e-4,
        5.0,
        0.1,
        True,
        "active",
        True,
    )
    assert s.final is not None and (s.final.epochs, s.final.learning_rate) == (10, 0.025)
    master = NAOV2Settings(reset="learning_rate")
    assert (master.carried, master.evaluates_all, master.ranked) == (0, True, 1900), (
        "1000, 1300, 1600, 1900 are evaluated"
    )
    w, t = NAOWSSettings(), NAOWSTraining()
    assert (w.initial, w.carried, w.sampling, w.reset, w.evaluates_all, w.ranked) == (
        600,
        300,
        "uniform",
        "none",
        False,
        600,
    )
    assert (w.controller.embedding, w.controller.hidden, w.controller.predictor, w.controller.weight_decay) == (
        48,
        96,
        (200, 200, 200),
        1e-4,
    )
    assert w.iterations * t.epochs == 150


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"initial": 50},
            "proposals.seeds <= 50, the smallest pool that is ranked, must hold, but got 100; kept <= 50",
        ),
        ({"reset": "all", "evaluated": "trained"}, "evaluated: trained needs weights that are kept"),
        ({"iterations": 1, "initial": 4}, "final_candidates <= 4, the last pool, must hold, but got 5"),
        ({"kept": 0, "proposals": {"new": 50}}, "proposals.seeds <= 50"),
        ({"candidates": 100}, "candidates: no such key"),
    ],
)
def test_settings_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(NAOV2Settings, values)


def test_settings_import_no_torch() -> None:
    code = "import nni_plugins.strategies.naov2.settings, sys; print(sorted({'torch', 'nni'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip() == "[]"
    )


# -- equation 1 --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("space", "networks"),
    [(NAO(channels=5, cells=4, reductions=1), 20), pytest.param(NAO(), 200, marks=pytest.mark.slow)],
)
def test_sizes_are_those_of_built_networks(space: NAO, networks: int) -> None:
    """The closed form is the built network's number of parameters."""
    indices = space.sample(np.random.default_rng(0), networks)
    with torch.device("meta"):
        built = np.array(
            [sum(p.numel() for p in space.network(a).parameters()) for a in space.decode(indices)], dtype=np.float64
        )
    assert np.array_equal(space.cost_table()(indices).parameters, built) and len(set(built.tolist())) > networks / 2
    assert np.allclose(proportional_probabilities(space, indices), built / built.sum(), rtol=1e-15)
    cells = RecurrentCell(nodes=3, hidden=8, classes=20)
    assert np.allclose(proportional_probabilities(cells, cells.sample(np.random.default_rng(0), 7)), 1 / 7), (
        "all recurrent cells are equally large"
    )


def test_sizes_at_search_size() -> None:
    """NAO's code: over 1000 random architectures 0.089 to 0.842 M, median 0.49 M, coefficient of variation 0.235."""
    space = NAO()
    p = proportional_probabilities(space, space.sample(np.random.default_rng(0), 1000))
    assert p.std() / p.mean() == pytest.approx(0.235, abs=0.015) and 1 / (p**2).sum() == pytest.approx(948, abs=6)


def test_how_often_each_architecture_is_drawn() -> None:
    space = NAO()
    indices = space.sample(np.random.default_rng(1), 40)
    p = proportional_probabilities(space, indices)
    drawn = np.concatenate([pool_draw(indices, p, 0)(epoch, 1000) for epoch in range(40)])
    names = [tuple(row) for row in indices.tolist()]
    counts = np.bincount([names.index(tuple(row)) for row in drawn.tolist()], minlength=40)
    assert stats.chisquare(counts, 40_000 * p).pvalue > 0.01 and stats.chisquare(counts).pvalue < 1e-9
    draw = pool_draw(indices, p, 0)
    assert np.array_equal(draw(3, 9), draw(3, 9)) and not np.array_equal(draw(3, 9), draw(4, 9))


# -- pools -------------------------------------------------------------------------------------------------------------
def test_only_the_trained_pool_is_evaluated() -> None:
    result, shared = run()
    assert [(c.number, c.count, c.epochs, c.reset) for c in shared.cycles] == [
        (0, 3, 4, "all"),
        (1, 3, 4, "all"),
        (2, 3, 4, "all"),
    ]
    assert [n for n, _ in shared.scored] == [0, 1, 2] and [len(scored) for _, scored in shared.scored] == [20, 13, 13]
    for (_, scored), drawn in zip(shared.scored, shared.drawn, strict=True):
        assert drawn == rows(scored), "200 draws reach all of so small a pool"
    for before, after in zip(shared.scored, shared.scored[1:], strict=False):
        best = before[1][np.argsort(-convolutions(before[1]), kind="stable")[:5]]
        assert rows(before[1]) & rows(after[1]) == rows(best), "the best five are kept, all others are new"
    everything = np.concatenate([scored[: 20 if n == 0 else 8] for n, scored in shared.scored])
    assert len({SPACE.canonical(a) for a in SPACE.decode(everything)}) == 36
    assert [i.origins.get("kept", 0) for i in result.iterations] == [0, 5, 5] and result.iterations[0].origins == {
        "random": 20
    }
    assert (
        [sum(i.origins.values()) for i in result.iterations] == [20, 13, 13] == [i.evaluated for i in result.iterations]
    )
    assert [i.pairwise is None for i in result.iterations] == [True, False, False] and result.iterations[1].controller[
        "seeds"
    ] == 6
    scores = [r.score for r in result.ranked]
    assert (
        scores == sorted(convolutions(shared.scored[-1][1]).tolist(), reverse=True)
        and result.iterations[-1].best == scores[0]
    )
    assert (
        [row["epoch"] for row in result.history] == list(range(1, 13)) and not result.exhausted and result.final == []
    )
    assert run()[0].ranked == result.ranked and run(shared=Recorded(seed=1))[0].ranked != result.ranked
    assert np.array_equal(result.score(shared.scored[0][1]), convolutions(shared.scored[0][1]))


def test_kept_weights_evaluate_all_that_they_were_trained_on() -> None:
    result, shared = run(NAOV2Settings(**{**SMALL, "kept": None, "reset": "learning_rate"}))
    assert [len(drawn) for drawn in shared.drawn] == [20, 8, 8] and [len(scored) for _, scored in shared.scored] == [
        20,
        28,
        36,
    ]
    assert rows(shared.scored[-1][1]) == set.union(*shared.drawn) and len(result.ranked) == 36
    assert [(i.trained, i.evaluated) for i in result.iterations] == [(20, 20), (8, 28), (8, 36)]
    assert not shared.drawn[1] & shared.drawn[0] and {c.reset for c in shared.cycles} == {"learning_rate"}


def test_nao_ws_replaces_the_worse_part_of_its_pool() -> None:
    settings = NAOWSSettings(**{**SMALL, "kept": 12})
    result, shared = run(settings)
    assert [len(scored) for _, scored in shared.scored] == [20, 20, 20] and all(
        c.schedule(0)[1] == 12 for c in shared.cycles
    )
    assert set(result.pool.probabilities) == {1 / 20} and all(
        d == rows(s) for d, (_, s) in zip(shared.drawn, shared.scored, strict=True)
    )


def test_random_ones_join_the_pools() -> None:
    """As in NAO's code for text: 650 best, 300 new and 50 random ones; here 5, 8 and 4 of them, all trained."""
    result, shared = run(NAOV2Settings(**{**SMALL, "random": 4}))
    later = result.iterations[1:]
    assert [i.origins["random"] for i in later] == [4] * 2 and [i.origins["kept"] for i in later] == [5] * 2
    assert all(i.trained == i.evaluated == 8 + 4 + 5 for i in later)
    pools = [set(map(tuple, scored.tolist())) for _, scored in shared.scored]
    assert len(pools[1] - pools[0]) == 12, "new ones are new"
    assert NAOV2Settings(**{**SMALL, "random": 4}).ranked == 17


def test_targets_of_perplexities_are_losses() -> None:
    values = -np.exp(np.array([3.0, 5.0, 4.0]))
    assert TARGETS["loss"](values).tolist() == pytest.approx([1.0, 0.0, 0.5])
    assert TARGETS["min_max"](values)[2] > 0.6, "scaled perplexities are not"
    with pytest.raises(TrainingError, match=r"learns minus perplexities, which are below 0, but a value is 1\.0"):
        TARGETS["loss"](np.array([-2.0, 1.0]))


def test_the_final_order() -> None:
    asked: list[list[Architecture]] = []

    def final(architectures: list[Architecture]) -> list[float]:
        asked.append(architectures)
        return [1.0, 3.0, 2.0]

    result, _ = run(NAOV2Settings(**{**SMALL, "final_candidates": 3}), final=final)
    plain = run()[0].ranked
    assert asked == [[r.architecture for r in plain[:3]]]
    assert result.ranked == [plain[1], plain[2], plain[0], *plain[3:]] and [f.score for f in result.final] == [
        3.0,
        2.0,
        1.0,
    ]
    with pytest.raises(TrainingError, match="1 of 3 scores are not finite"):
        run(NAOV2Settings(**{**SMALL, "final_candidates": 3}), final=lambda a: [1.0, math.nan, 2.0])


def test_equal_scores_and_nan() -> None:
    result, _ = run(shared=Recorded(lambda indices: np.ones(len(indices))))
    assert [i.origins for i in result.iterations[1:]] == [{"mutation": 8, "kept": 5}] * 2
    assert all(i.pairwise is None and "epochs" not in i.controller for i in result.iterations)
    with pytest.raises(TrainingError, match=r"1 of 20 scores are not finite: \|.*\| has nan"):
        run(shared=Recorded(lambda indices: np.array([math.nan, *range(len(indices) - 1)])))


def test_minus_perplexity_is_a_score() -> None:
    shift = run(shared=Recorded(lambda indices: convolutions(indices) - 700))[0]
    assert [r.architecture for r in shift.ranked] == [r.architecture for r in run()[0].ranked] and shift.ranked[
        0
    ].score < 0


def test_a_space_that_is_used_up() -> None:
    space = NASBench201(nodes=3)
    settings = NAOV2Settings(**{**SMALL, "iterations": 9, "initial": 50})
    result, shared = run(settings, Recorded(lambda indices: np.arange(float(len(indices))), space=space))
    assert result.exhausted and len(result.iterations) == len(shared.cycles) < 9
    assert sum(i.evaluated - i.origins.get("kept", 0) for i in result.iterations) == 60, "all there are"
    few = NAOV2Settings(**{**SMALL, "initial": 100, "proposals": ProposalSettings(seeds=70, new=80)})
    with pytest.raises(
        ConfigError, match=r"the first pool has 60 architectures, which is too few for proposals\.seeds=70"
    ):
        run(few, Recorded(space=space))


def test_a_first_pool_of_ones_own(tmp_path: Path) -> None:
    given = SPACE.decode(run(folder=tmp_path)[1].scored[0][1])
    result, shared = run(initial_pool=given[:7])
    assert SPACE.decode(shared.scored[0][1]) == given[:7] and result.iterations[0].origins == {"given": 7}
    again, other = run(initial_pool=tmp_path / "pool-2.json")
    assert len(other.scored[0][1]) == 13 and again.iterations[0].origins == {"given": 13}
    for wrong, message in (
        (given[:4], "too few for proposals.seeds=6, kept=5"),
        ([], "too few for proposals.seeds=6, kept=5"),
        ([*given, given[0]], "the same up to symmetry"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(initial_pool=wrong)
    one, _ = run(
        NAOV2Settings(iterations=1, initial=2, final=None, proposals=ProposalSettings()), initial_pool=given[:1]
    )
    assert len(one.ranked) == 1 and not one.exhausted
    with pytest.raises(CheckpointError, match="architectures of another space"):
        naov2(Recorded(space=NASBench201(nodes=3)), SETTINGS, epochs=1, initial_pool=tmp_path / "pool-0.json")


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stop", ["train 0", "score 0", "train 1", "score 2"])
def test_killed_and_resumed(tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run()
    with pytest.raises(Interrupted):
        run(shared=Recorded(stop=stop), folder=tmp_path)
    asked: list[int] = []
    original = naov2_rounds.next_rows
    monkeypatch.setattr(naov2_rounds, "next_rows", lambda *a: asked.append(a[-1]) or original(*a))
    resumed, shared = run(folder=tmp_path)
    first = int(stop[-1])
    assert [c.number for c in shared.cycles] == list(range(first, 3)) and asked == list(range(first, 2)), (
        "nothing is done twice"
    )
    assert resumed.ranked == whole.ranked and resumed.iterations == whole.iterations and resumed.pool == whole.pool
    again, shared = run(folder=tmp_path)
    assert [c.number for c in shared.cycles] == [2] and shared.scored == [] and again.iterations == whole.iterations, (
        "the last weights are loaded"
    )


def test_weights_that_go_on_are_all_loaded(tmp_path: Path) -> None:
    settings = NAOWSSettings(**{**SMALL, "kept": 12})
    whole, _ = run(settings)
    with pytest.raises(Interrupted):
        run(settings, Recorded(stop="score 2"), folder=tmp_path)
    resumed, shared = run(settings, folder=tmp_path)
    assert (
        [c.number for c in shared.cycles] == [0, 1, 2]
        and [n for n, _ in shared.scored] == [2]
        and resumed.ranked == whole.ranked
    )


def test_what_a_pool_file_holds(tmp_path: Path) -> None:
    result, _ = run(folder=tmp_path)
    content = json.loads((tmp_path / "pool-2.json").read_text())
    pool, identity = read_pool(tmp_path / "pool-2.json", SPACE)
    assert pool == result.pool and identity["seed"] == 0 and len(content["sha256"]) == 64
    assert content["architectures"] == [SPACE.to_string(a) for a in SPACE.decode(pool.indices)] and sum(
        content["probabilities"]
    ) == pytest.approx(1)
    assert pool.trained.all() and pool.scores == convolutions(pool.indices).tolist() and len(content["curve"]) == 4


def _edited(text: str, **changes: Any) -> str:
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[: len(text) // 2], "is damaged or no pool"),
        (lambda text: "[]", "is damaged or no pool"),
        (lambda text: text.replace('"kept"', '"random"', 1), "is damaged: its content does not have the hash"),
        (lambda text: _edited(text, scores=[1.0]), "is damaged: its content does not have the hash"),
        (lambda text: _edited(text, unknown=1), "is damaged"),
    ],
)
def test_a_damaged_pool_file(tmp_path: Path, edit: Callable[[str], str], message: str) -> None:
    run(folder=tmp_path)
    path = tmp_path / "pool-1.json"
    path.write_text(edit(path.read_text()))
    with pytest.raises(CheckpointError, match=rf"pool-1\.json {message}") as caught:
        run(folder=tmp_path)
    assert f"Delete {path}" in str(caught.value)
    path.unlink()
    assert run(folder=tmp_path)[0].iterations[0].evaluated == 20


def test_a_foreign_pool_file(tmp_path: Path) -> None:
    run(folder=tmp_path)
    for changed, message in (
        ({"shared": Recorded(seed=1)}, "seed: 0 -> 1"),
        (
            {"settings": NAOV2Settings(**{**SMALL, "sampling": "uniform"})},
            "settings.sampling: 'proportional' -> 'uniform'",
        ),
        ({"config": {"training": 3}}, "training: None -> 3"),
        ({"initial_pool": SPACE.decode(SPACE.enumerate()[:40:4])}, "initial_pool: None -> "),
    ):
        with pytest.raises(ConfigChanged, match=message):
            run(folder=tmp_path, **changed)
    (tmp_path / "pool-0.json").write_bytes((tmp_path / "pool-1.json").read_bytes())
    with pytest.raises(CheckpointError, match="holds the pool of iteration 1"):
        run(folder=tmp_path)
    pool = Pool(0, [[1] * 6], ["x"], ["random"], [1.0], [None])
    PoolFiles(tmp_path / "other", SPACE, {}).save(pool)
    with pytest.raises(CheckpointError, match="architectures of another space"):
        read_pool(tmp_path / "other" / "pool-0.json", SPACE)


# -- on images ---------------------------------------------------------------------------------------------------------
CELLS = NASBench201(nodes=3, channels=4, cells_per_stage=1)
ON_IMAGES = NAOV2Settings(
    **{
        **SMALL,
        "iterations": 2,
        "initial": 10,
        "final": FinalTraining(epochs=1, batch_size=20, accelerator="cpu"),
        "final_candidates": 2,
    }
)
TRAINING = NAOV2Training(epochs=2, batch_size=20, accelerator="cpu", drop_path=0, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load(DataSettings(limit=60)).train


@pytest.fixture(scope="module")
def undisturbed(images: ImageSet) -> NAOV2Result:
    return search(CELLS, images, Supervised(), ON_IMAGES, TRAINING, 0, 4)


def test_a_search_on_images(images: ImageSet, undisturbed: NAOV2Result, tmp_path: Path) -> None:
    result = undisturbed
    assert len(result.ranked) == 4 and [i.evaluated for i in result.iterations] == [10, 13]
    rates = [row["learning_rate"] for row in result.history]
    assert rates == pytest.approx([0.025, 0.013, 0.025, 0.013]) and [row["epoch"] for row in result.history] == [
        1,
        2,
        3,
        4,
    ]
    assert {f.architecture for f in result.final} == {r.architecture for r in result.ranked[:2]} and result.final[
        0
    ].score >= result.final[1].score
    chosen = CELLS.encode([r.architecture for r in result.ranked])
    assert np.array_equal(result.score(chosen), [r.score for r in result.ranked])

    def report(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        search(CELLS, images, Supervised(), ON_IMAGES, TRAINING, 0, 4, folder=tmp_path, report=report)
    seen: list[float] = []
    resumed = search(
        CELLS,
        images,
        Supervised(),
        ON_IMAGES,
        TRAINING,
        0,
        4,
        folder=tmp_path,
        report=lambda row: seen.append(row["epoch"]),
    )
    assert (
        seen == [4]
        and resumed.ranked == result.ranked
        and resumed.final == result.final
        and resumed.iterations == result.iterations
    )
    assert {p.name for p in tmp_path.iterdir()} == {
        "pool-0.json",
        "pool-1.json",
        "cycle-0",
        "cycle-1",
        "final-0",
        "final-1",
    }
    with pytest.raises(ConfigChanged, match=r"training\.weight_decay: 0\.0003 -> 0\.1"):
        search(
            CELLS,
            images,
            Supervised(),
            ON_IMAGES,
            TRAINING.model_copy(update={"weight_decay": 0.1}),
            0,
            4,
            folder=tmp_path,
        )


def test_as_nni_strategies(images: ImageSet, undisturbed: NAOV2Result, run: Callable[..., NasExperiment]) -> None:
    one: Any = NAOV2(ON_IMAGES, top_k=4)
    experiment = run(CELLS.with_classes(10).supernet(), SupernetTraining(images, Supervised(), TRAINING), one)
    assert one.result.ranked == undisturbed.ranked
    assert [CELLS.parse(s) for s in experiment.export_top_models(9, formatter="dict")] == [
        r.architecture for r in undisturbed.ranked
    ]
    pixels = images.images.float() / 255
    loaders = [
        DataLoader(TensorDataset(pixels[part], images.labels[part]), batch_size=20)
        for part in (slice(0, 40), slice(40, 60))
    ]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    evaluator: Any = Classification(
        learning_rate=0.05,
        train_dataloaders=loaders[0],
        val_dataloaders=loaders[1],
        max_epochs=1,
        num_classes=10,
        **quiet,
    )
    settings = NAOWSSettings(**{**SMALL, "iterations": 2, "initial": 10})
    two: Any = NAOWS(settings, NAOWSTraining(drop_path=0, accelerator="cpu"), top_k=3, seed=5)
    run(CELLS.with_classes(10).supernet(), evaluator, two)
    assert len(two.ranking()) == 3 and len(two.result.shared.images) == 40 and len(two.result.shared.held_out) == 20
    assert [row["learning_rate"] for row in two.result.history] == pytest.approx([0.05, 0.026]), (
        "one schedule through both cycles"
    )


def test_what_is_refused(images: ImageSet, run: Callable[..., NasExperiment]) -> None:
    supernet, top = CELLS.with_classes(10).supernet(), NAOV2(ON_IMAGES, top_k=4)
    for wrong, message in (
        (
            lambda: search(CELLS, images, RandomLabels(3), ON_IMAGES, TRAINING, 0, 4),
            "cannot be predicted, and NAO-V2 ranks",
        ),
        (
            lambda: search(CELLS, images, Supervised(), ON_IMAGES, TRAINING, 0, 14),
            "found <= 13, what the last evaluation ranks, must hold, but got 14",
        ),
        (
            lambda: search(CELLS, images, Supervised(), ON_IMAGES, NAOV2Training(drop_path=0.1), 0, 4),
            "has no drop-path",
        ),
        (lambda: NAOV2(ON_IMAGES, top_k=14), "top_k <= 13"),
        (lambda: NAOV2(top_k=0), "top_k >= 1 must hold"),
        (
            lambda: run(supernet, SupernetTraining(images, Supervised(), SupernetSettings()), top),
            "NAO-V2 trains its supernet in cycles",
        ),
        (lambda: run(supernet, None, top), "NAO-V2 trains with SupernetTraining or NNI's Classification"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()
