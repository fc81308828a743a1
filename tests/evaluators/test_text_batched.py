"""Many recurrent cells as one computation: against autograd, against training one by one, and what a killed run leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, TrainingError
from nni_plugins.evaluators.text import batched_model
from nni_plugins.evaluators.text.batched import BatchedTraining, CellsResult, chunk_size, train_cells
from nni_plugins.evaluators.text.batched_model import BatchedCells, DropoutMasks, draw_masks
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.settings import LanguageModelSettings
from nni_plugins.evaluators.text.stand_alone import StandAloneText
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.network import Dropouts
from nni_plugins.testing.training import TrainingContract

WORDS = 7
SPACE = RecurrentCell(nodes=2, hidden=5, embedding=4, classes=WORDS)
ALL = SPACE.decode(SPACE.enumerate())
FEW = [ALL[number] for number in (0, 13, 18, 31)]  # every activation at either node, and node 2 on either state
SEEDS = (3, 8)
RATES = {"dropout": 0.2, "dropouth": 0.1, "dropoutx": 0.1, "dropouti": 0.1, "dropoute": 0.1}
TINY: dict[str, Any] = {
    **RATES,
    "epochs": 4,
    "batch_size": 4,
    "bptt": 8,
    "learning_rate": 15.0,  # too much, so that averaging begins
    "nonmono": 0,
    "evaluation_batch": 4,
    "test_batch": 5,
    "precision": "64-true",
    "accelerator": "cpu",
}


def text(length: int, seed: int) -> Any:
    """Words each of which is mostly the one before it plus one."""
    rng = np.random.default_rng(seed)
    return np.cumsum(np.where(rng.random(length) < 0.9, 1, rng.integers(0, WORDS, length))) % WORDS


CORPUS = Corpus("tiny", tuple("abcdefg"), text(140, 0), text(60, 1), text(50, 2))


@pytest.fixture(scope="module")
def whole() -> CellsResult:
    return train_cells(CORPUS, FEW, SPACE, TINY, SEEDS)


def same(a: CellsResult, b: CellsResult, rtol: float) -> None:
    assert a.architectures == b.architectures and a.seeds == b.seeds
    for name in ("best_epoch", "averaged_from"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    for name in ("valid", "test", "losses", "curves"):
        assert np.allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=0), name


# -- one step ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("space", "every", "rates"),
    [
        (SPACE, 1, RATES),
        (RecurrentCell(nodes=3, hidden=4, classes=9), 17, RATES),
        (RecurrentCell(nodes=1, hidden=4, classes=9), 1, {"dropoute": 0.3}),
        (RecurrentCell(nodes=2, hidden=4, classes=9), 5, {}),
    ],
)
def test_gradients_are_those_of_autograd(
    monkeypatch: pytest.MonkeyPatch, space: RecurrentCell, every: int, rates: dict[str, float]
) -> None:
    monkeypatch.setattr(batched_model, "BUFFER", 4 * space.classes)
    monkeypatch.setattr(batched_model, "FEWEST", 4)  # so that a piece's logits are made in several parts
    architectures = space.decode(space.enumerate()[::every])
    generator = torch.Generator().manual_seed(1)
    initial = {
        name: 0.5 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in space.network(architectures[0]).state_dict().items()
    }
    x, y = torch.randint(0, space.classes, (2, 7, 3), generator=generator).unbind()
    state = torch.randn(len(architectures), 3, space.hidden, generator=generator, dtype=torch.float64)
    cells = BatchedCells(space, architectures, initial)
    rows = cells.weights.detach()
    found = torch.full_like(rows, math.nan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        masks = draw_masks(space, Dropouts.of(rates), 3, rows)
    sums, last = cells.gradient(
        cells.views(rows), cells.tables(rows), (x, y), state, masks, (2.0, 1.0), cells.views(found)
    )
    plain, _ = cells.losses(cells.views(rows), cells.tables(rows), (x, y), state)
    for a, architecture in enumerate(architectures):
        network = space.network(architecture, **rates).double()
        network.load_state_dict(initial)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            hidden = network.hidden_of(x, state[a])
            dropped = network.dropped(hidden)
        loss = F.cross_entropy(network.decode(dropped).flatten(0, 1), y.flatten())
        (loss + 2 * dropped.square().mean() + hidden.diff(dim=0).square().mean()).backward()
        assert math.isclose(float(loss.detach()) * 21, float(sums[a]), rel_tol=1e-12) and torch.allclose(
            last[a], hidden[-1], atol=1e-12
        )
        for name, gradient in cells.views(found).items():
            assert torch.allclose(gradient[a], network.get_parameter(name).grad, rtol=1e-9, atol=1e-12), (
                name,
                architecture,
            )  # type: ignore[arg-type]
        with torch.no_grad():
            wanted = F.cross_entropy(network.eval()(x, state[a]).flatten(0, 1), y.flatten(), reduction="sum")
        assert math.isclose(float(wanted), float(plain[a]), rel_tol=1e-12)


def test_a_large_logit_does_not_make_the_loss_infinite() -> None:
    """Probabilities below the smallest float32 would, if the loss were the logarithm of one."""
    z, embedding, bias = torch.ones(1, 1), torch.tensor([[0.0], [300.0], [-500.0]]), torch.zeros(3)
    for target, nats in ((0, 300.0), (1, 0.0), (2, 800.0)):
        found = batched_model._decode(z, embedding, bias, torch.tensor([target]), None)
        assert float(found) == nats


# -- the 32 cells of two nodes -----------------------------------------------------------------------------------------
def test_twins_are_equal_once_their_matrices_are_exchanged() -> None:
    """Both nodes on state 0: (a, b) is (b, a) with W_1 and W_2 exchanged. Six such pairs leave 26 functions (fact
    sheet, B1).
    """
    assert [SPACE.identifier(a) for a in ALL] == list(range(32))
    assert [8 * op1 + 4 * source + op2 for op1 in range(4) for source in range(2) for op2 in range(4)] == list(
        range(32)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        initial = {name: value.double() * 20 for name, value in SPACE.network(ALL[0]).state_dict().items()}
    tokens = torch.tensor([[0, 3], [1, 2], [6, 4], [5, 5]])
    outputs = [
        BatchedCells(SPACE, ALL, {**initial, "nodes": nodes}).hidden_of(tokens)
        for nodes in (initial["nodes"], initial["nodes"].flip(0))
    ]
    equal = [
        [torch.allclose(outputs[0][a], exchanged, rtol=1e-12) for exchanged in (outputs[0][b], outputs[1][b])]
        for a in range(32)
        for b in range(32)
    ]
    pairs = {(k // 32, k % 32): e for k, e in enumerate(equal) if k // 32 < k % 32 and any(e)}
    assert all(e == [False, True] for e in pairs.values())  # never with the matrices as they are
    assert sorted(pairs) == [(1, 8), (2, 16), (3, 24), (10, 17), (11, 25), (19, 26)]
    assert {SPACE.canonical(ALL[a]) for a, _ in pairs} == {SPACE.canonical(ALL[b]) for _, b in pairs} and 32 - len(
        pairs
    ) == 26


# -- whole trainings ---------------------------------------------------------------------------------------------------
def test_batched_equals_one_by_one(whole: CellsResult) -> None:
    for a, architecture in enumerate(FEW):
        for s, seed in enumerate(SEEDS):
            one = StandAloneText(CORPUS, TINY, space=SPACE, seed=seed).train(architecture)
            assert math.isclose(one.valid, whole.valid[a, s], rel_tol=1e-9) and math.isclose(
                one.test, whole.test[a, s], rel_tol=1e-9
            )
            assert one.best_epoch == whole.best_epoch[a, s] and (one.averaged_from or 0) == whole.averaged_from[a, s]
            assert np.allclose([row["loss"] for row in one.history], whole.losses[a, s], rtol=1e-9)
            assert np.allclose([row["valid_loss"] for row in one.history], whole.curves[a, s], rtol=1e-9)
    assert whole.averaged_from.T.tolist() == [[4, 4, 3, 4], [4, 4, 0, 4]]  # each cell switches on its own, or never


def test_results_have_the_shapes_and_signs_that_are_promised(whole: CellsResult) -> None:
    assert whole.architectures == tuple(FEW) and whole.seeds == SEEDS
    assert whole.valid.shape == whole.test.shape == whole.best_epoch.shape == (
        4,
        2,
    ) and whole.losses.shape == whole.curves.shape == (4, 2, 4)
    assert (
        (whole.valid > 1).all()
        and (whole.valid < 2 * WORDS).all()
        and (whole.test > 1).all()
        and np.isfinite(whole.test).all()
    )
    assert (
        np.allclose(whole.valid, np.exp(whole.curves.min(2)), rtol=1e-12)
        and (whole.best_epoch == whole.curves.argmin(2) + 1).all()
    )
    assert len(np.unique(whole.valid)) == 8


def test_single_precision_is_close(whole: CellsResult) -> None:
    found = train_cells(CORPUS, FEW, SPACE, {**TINY, "precision": "32-true", "epochs": 1}, SEEDS)
    assert np.allclose(found.curves, whole.curves[..., :1], rtol=1e-4)


def test_chunks_change_nothing(whole: CellsResult) -> None:
    same(train_cells(CORPUS, FEW, SPACE, TINY, SEEDS, chunk=3), whole, 1e-9)


def test_chunks_fit_into_memory() -> None:
    settings = LanguageModelSettings()
    assert chunk_size(RecurrentCell(2, hidden=64, classes=1000), settings, 32) == 32
    paper = RecurrentCell(8)  # 22,960,000 weights: half a gigabyte with gradient, best, mean and measured ones
    assert paper.cost_table().fixed_parameters == 22_960_000 and chunk_size(paper, settings, 32) == 1
    sizes = [chunk_size(paper, settings, 10, memory) for memory in (2**31, 2**32, 2**34, 2**36)]
    assert sizes == sorted(sizes) and sizes[-1] == 10 and 1 < sizes[1] < 10
    double = LanguageModelSettings(precision="64-true")
    assert chunk_size(paper, double, 10, 2**33) == chunk_size(paper, settings, 10, 2**32)


class TestBatched(TrainingContract):
    """Two chunks."""

    def settings(self) -> LanguageModelSettings:
        return LanguageModelSettings(**{**TINY, "epochs": 3, "bptt": 24, "test_batch": 10, "checkpoint_seconds": 0})

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> CellsResult:
        return train_cells(CORPUS, FEW[:3], SPACE, settings, (seed,), folder=folder, report=report, chunk=2)


def test_what_a_folder_holds_and_is_reported(tmp_path: Path, whole: CellsResult) -> None:
    rows: list[dict[str, float]] = []
    same(train_cells(CORPUS, FEW, SPACE, TINY, SEEDS, folder=tmp_path, report=rows.append), whole, 0)
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        (seed, number) for seed in SEEDS for number in (1, 2, 3, 4)
    ]
    for s, seed in enumerate(SEEDS):
        file = tmp_path / f"seed-{seed}" / "cells-0-3" / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert np.array_equal([line["valid_loss"] for line in lines], whole.curves[:, s].T)
        assert np.allclose(
            [row["valid_loss"] for row in rows if row["seed"] == seed], whole.curves[:, s].mean(0), rtol=1e-12
        )
    count = len(rows)
    again = train_cells(CORPUS, FEW, SPACE, TINY, SEEDS[::-1], folder=tmp_path, report=rows.append)
    assert len(rows) == count and np.array_equal(again.test, whole.test[:, ::-1])  # finished ones are not trained again
    with pytest.raises(ConfigChanged, match="architectures"):
        train_cells(CORPUS, FEW[::-1], SPACE, TINY, SEEDS, folder=tmp_path)


# -- closed forms and errors -------------------------------------------------------------------------------------------
def initial_cells() -> BatchedCells:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BatchedCells(SPACE, FEW, SPACE.network(FEW[0]).state_dict())


def test_weights_of_zero_have_the_perplexity_of_the_vocabulary() -> None:
    cells = initial_cells()
    nn.init.zeros_(cells.weights)
    training = BatchedTraining(cells, CORPUS, LanguageModelSettings(**TINY), 0)
    training._setup()
    for batch in (1, 3, 7):
        assert np.allclose(
            training._nats(training.cell_weights, CORPUS.test, batch, "test text"), math.log(WORDS), rtol=1e-12
        )
    rows = training.cell_weights.clone()
    training.model.views(rows)["bias"][1, 0] = 1e6  # the second cell is sure of the first word
    with pytest.raises(TrainingError, match=r"'relu', 0.*seed 0: the loss of a word of the test text is [1-9]\d+ nats"):
        training._nats(rows, CORPUS.test, 2, "test text")


def test_the_cell_that_diverges_is_named() -> None:
    cells = initial_cells()
    with torch.no_grad():
        cells.weights[2, 0] = math.nan
    wanted = r"\('sigmoid', 0\), \('sigmoid', 0\).*, seed 5: weights became infinite or NaN in epoch 1\.\n.*Lower learning_rate \(it is 15\)"
    with pytest.raises(TrainingError, match=wanted):
        BatchedTraining(cells, CORPUS, LanguageModelSettings(**TINY), 5).run()
    with pytest.raises(TrainingError, match=r"seed 8: .*in epoch 1"):
        train_cells(CORPUS, FEW[3:], SPACE, {**TINY, "learning_rate": 1e30, "gradient_clip": None}, SEEDS[1:])


def test_what_cannot_be_trained_is_refused() -> None:
    for architectures, seeds, chunk, problem in (
        ([], SEEDS, None, "at least one architecture"),
        (FEW, (), None, "one seed are needed, but got 4 and 0"),
        (FEW, (1, 1), None, "seeds must be different"),
        (FEW, (-1,), None, "seeds must be different whole numbers"),
        (FEW, SEEDS, 0, "chunk >= 1"),
    ):
        with pytest.raises(ConfigError, match=problem):
            train_cells(CORPUS, architectures, SPACE, TINY, seeds, chunk=chunk)
    with pytest.raises(ConfigError, match="tiny, test text: 50 words in 40 sequences"):
        train_cells(CORPUS, FEW, SPACE, {**TINY, "test_batch": 40})
    with pytest.raises(ConfigError, match=r"settings\.epoch"):
        train_cells(CORPUS, FEW, SPACE, {"epoch": 1})


def test_masks_are_drawn_only_where_there_is_a_rate() -> None:
    like = torch.zeros(1)
    assert draw_masks(SPACE, Dropouts(), 3, like) == DropoutMasks()
    masks = draw_masks(SPACE, Dropouts(dropoutx=0.5, dropouth=0.25), 3, like)
    assert masks.words is None and masks.outputs is None and masks.inputs is not None and masks.states is not None
    assert set(masks.inputs.unique().tolist()) <= {0.0, 2.0} and masks.inputs.shape == (3, SPACE.embedding)
    assert masks.states.shape == (3, SPACE.hidden)
