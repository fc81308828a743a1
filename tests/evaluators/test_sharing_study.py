"""The weight-sharing study on planted perplexities: which cells, agreement, twins, amount of sharing, report and
pictures.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.reports.sharing_study import (
    Rankings,
    Study,
    amount_cells,
    amounts,
    ceiling,
    content,
    figures,
    key_agreement,
    run_agreements,
    shared_run,
    twin_gaps,
    whole_space,
    write_sharing_study,
)
from nni_plugins.evaluators.reports.sharing_study.cells import Cells
from nni_plugins.evaluators.reports.sharing_study.figures import short
from nni_plugins.evaluators.reports.sharing_study.training import uniform
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.shared import SharedText
from nni_plugins.spaces.recurrent import RecurrentCell

WHOLE = whole_space(RecurrentCell(nodes=2))
AMOUNT = amount_cells(RecurrentCell(nodes=3))
TRUTH = 60 + np.random.default_rng(0).permutation(32) / 4


def study(*runs: Any, truth: Any = TRUTH, cells: Cells = WHOLE) -> Study:
    """Two stand-alone seeds about ``truth``, and these runs with shared weights, measured twice."""
    values = np.array(runs, dtype=np.float64)
    alone = np.stack([np.asarray(truth) - 0.01, np.asarray(truth) + 0.01], 1)
    return Study(
        cells, alone, {"node": values}, {"node": np.stack([values + 5, values], 1)}, (3, 6), tuple(range(len(runs)))
    )


# -- cells -------------------------------------------------------------------------------------------------------------
def test_two_nodes_are_32_cells_and_26_functions() -> None:
    assert len(WHOLE.names) == 32 and WHOLE.numbers == tuple(range(32)) and WHOLE.groups is None
    assert (
        len(WHOLE.twins) == 6 and (1, 8) in WHOLE.twins
    )  # (tanh, 0), (relu, 0) and the other way round: 8 op1 + 4 pred2 + op2
    assert short(WHOLE.names[13]) == "relu 0, relu 1"


def test_the_amount_of_sharing_is_studied_on_three_groups_of_four() -> None:
    assert AMOUNT.groups is not None and AMOUNT.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (
        len(set(AMOUNT.names)) == 12
        and AMOUNT.names[9] == "Genotype(recurrent=[('tanh', 0), ('tanh', 1), ('relu', 2)], concat=range(1, 4))"
    )
    space = RecurrentCell(nodes=3)
    for index, cell in enumerate(map(space.cell, space.decode(AMOUNT.indices))):
        assert cell[:2] == [("tanh", 0), ("tanh", 1)] and cell[2][1] == index // 4
    fixed = amount_cells(space, ("relu", "identity"))
    assert all("('relu', 0), ('identity', 1)" in name for name in fixed.names) and not AMOUNT.twins


def test_spaces_that_cannot_be_studied() -> None:
    with pytest.raises(ConfigError, match="3 nodes, but the space has 2"):
        amount_cells(RecurrentCell(nodes=2))
    with pytest.raises(ConfigError, match="two of tanh, relu, sigmoid, identity are needed, but got tanh, gelu"):
        amount_cells(RecurrentCell(nodes=3), ("tanh", "gelu"))
    with pytest.raises(ConfigError, match="at most 1,000, but 4 nodes give 6,144"):
        whole_space(RecurrentCell(nodes=4))
    with pytest.raises(ConfigError, match="perplexities must be finite"):
        study(np.full(32, np.nan))
    with pytest.raises(ConfigError, match="a value for each"):
        study(np.ones(31))


# -- agreement ---------------------------------------------------------------------------------------------------------
def test_smaller_perplexities_are_better() -> None:
    """A run in the true order, whatever its scale, and one in the opposite order."""
    good, bad = run_agreements(study(100 + 3 * TRUTH, -TRUTH), "node", resamples=100)
    assert (good.kendall.value, good.spearman.value, good.pairwise.value) == pytest.approx((1, 1, 1))
    assert (bad.kendall.value, bad.spearman.value, bad.pairwise.value) == pytest.approx((-1, -1, 0))
    assert good.overlap == {1: 1, 3: 1, 5: 1, 10: 1} and bad.overlap == {1: 0, 3: 0, 5: 0, 10: 0}
    assert good.chosen == int(np.argmin(TRUTH)) and (good.percentile, good.regret) == pytest.approx((100, 0))
    assert bad.chosen == int(np.argmax(TRUTH)) and (bad.percentile, bad.regret) == pytest.approx((0, 31 / 4))
    assert good.kendall.p < 0.02 and good.id_sequence == pytest.approx(1) and abs(bad.id_sequence) < 0.9


def test_one_swap_of_neighbours_costs_two_pairs_of_tau() -> None:
    run = TRUTH.copy()
    a, b = np.argsort(TRUTH)[[4, 5]]
    run[[a, b]] = run[[b, a]]
    (found,) = run_agreements(study(run), "node", resamples=100)
    assert found.kendall.value == pytest.approx(1 - 2 * 2 / (32 * 31)) and found.pairwise.value == pytest.approx(
        1 - 1 / 496
    )
    assert found.overlap[5] == 0.8 and found.overlap[10] == 1


def test_runs_of_a_key() -> None:
    """Taus 1, 1 and -1: mean 1/3, deviation 2 / sqrt 3; Student's t for two degrees of freedom is 4.303."""
    found = key_agreement(study(TRUTH, 2 * TRUTH, -TRUTH), "node", permutations=200)
    assert (found.mean, found.deviation) == pytest.approx((1 / 3, 2 / 3**0.5))
    assert found.high - found.mean == pytest.approx(4.302653 * 2 / 3, rel=1e-6) == found.mean - found.low
    assert (found.best, found.worst) == (0, 2) and found.average in (0, 1) and found.runs == 3
    assert 1 / 201 <= found.p < 0.05  # the sum of the three is one perfect ranking
    assert key_agreement(study(TRUTH, -TRUTH), "node", permutations=200).p == 1
    alone = key_agreement(study(TRUTH), "node", permutations=200)
    assert math.isnan(alone.deviation) and math.isnan(alone.low) and alone.p == pytest.approx(1 / 201)


def test_the_noise_of_stand_alone_training() -> None:
    assert ceiling(np.stack([TRUTH, TRUTH + 1, 2 * TRUTH], 1)) == pytest.approx([1, 1, 1])
    assert ceiling(np.stack([TRUTH, -TRUTH], 1)) == pytest.approx([-1, -1])
    with pytest.raises(ConfigError, match="at least 2 stand-alone seeds"):
        ceiling(TRUTH[:, None])


def test_twins_are_the_noise_floor() -> None:
    truth = np.arange(32.0)
    pairs = dict(WHOLE.twins)
    for first, second in pairs.items():
        truth[second] = truth[first] + 0.5  # next to each other, whatever stands between them
    run = np.arange(32.0)
    gaps = twin_gaps(study(run, truth=truth))
    assert (
        gaps is not None
        and (gaps.pairs, gaps.chance, gaps.stand_alone) == (6, 11, 1)
        and gaps.perplexity == pytest.approx(0.5)
    )
    assert gaps.shared["node"] == pytest.approx(np.mean([second - first for first, second in pairs.items()]))
    pooled = study(run, truth=truth).pooled
    assert (
        all(pooled[a] == pooled[b] == pytest.approx(truth[a] + 0.25) for a, b in pairs.items())
        and len(np.unique(pooled)) == 26
    )
    (found,) = run_agreements(study(truth, truth=truth), "node", resamples=100)
    assert found.kendall.value == pytest.approx(1) and found.kendall_pooled == pytest.approx(
        (490 / 496) ** 0.5
    )  # 6 pairs tied in one list
    assert twin_gaps(study(np.arange(12), truth=np.arange(12.0), cells=AMOUNT)) is None


# -- amount of sharing -------------------------------------------------------------------------------------------------
def test_groups_by_hand() -> None:
    """Alone, positions 1 to 12 in order; with shared weights the groups come in the order 1, 2, 0 or 1, 0, 2."""
    truth = np.arange(12.0)
    runs = np.array(
        [[*range(8, 12), *range(4), *range(4, 8)], [*range(4, 8), *range(4), *range(8, 12)]], dtype=np.float64
    )
    found = amounts(study(*runs, truth=truth, cells=AMOUNT), "node", resamples=100)
    assert [(g.matrices, g.cells) for g in found.groups] == [(0, 4), (1, 4), (2, 4)]
    assert [g.stand_alone_position for g in found.groups] == [2.5, 6.5, 10.5] and [
        g.stand_alone_perplexity for g in found.groups
    ] == [1.5, 5.5, 9.5]
    assert [g.shared_position for g in found.groups] == [8.5, 2.5, 8.5] and [g.change for g in found.groups] == [
        6,
        -4,
        -2,
    ]
    assert [g.deviation for g in found.groups] == pytest.approx([8**0.5, 0, 8**0.5])
    assert (
        found.depth.value == pytest.approx(48 / (66 * 48) ** 0.5)
        and found.change.value < 0 < found.depth.value
        and found.depth.p < 0.05
    )
    with pytest.raises(ConfigError, match="not grouped"):
        amounts(study(TRUTH), "node")


# -- report ------------------------------------------------------------------------------------------------------------
def about(title: str) -> dict[str, Any]:
    return {"title": title, "settings": {"study": "whole"}, "failed": ["node-7"], "versions": {"torch": "2"}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    planted = study(TRUTH, -TRUTH)
    value = write_sharing_study(planted, folder, about("Planted"), resamples=100, permutations=100)
    assert value == json.loads((folder / "study.json").read_text()) == content(planted, about("Planted"), 100, 100)
    return folder


def test_the_files_say_the_same(written: Path) -> None:
    value = json.loads((written / "study.json").read_text())
    assert (
        value["amounts"] is None
        and value["epochs"] == [3, 6]
        and value["chance"]["kendall"] == pytest.approx(0.1243, abs=1e-4)
    )
    cells = list(csv.DictReader((written / "cells.csv").open()))
    assert (
        len(cells) == 32
        and float(cells[7]["node_1"]) == -TRUTH[7]
        and float(cells[7]["mean"]) == pytest.approx(TRUTH[7])
    )
    assert [float(cell["position"]) for cell in cells] == [1 + 4 * (x - 60) for x in TRUTH]
    runs = list(csv.DictReader((written / "runs.csv").open()))
    assert [(run["sharing"], run["seed"], float(run["kendall"])) for run in runs] == [
        ("node", "0", 1.0),
        ("node", "1", -1.0),
    ]
    assert all(run["overlap_3"] in ("0.0", "1.0") and run["kendall_low"] for run in runs)


def test_the_report_by_hand(written: Path) -> None:
    report = (written / "report" / "report.md").read_text()
    assert "32 cells. Stand-alone: 2 seeds" in report and "Shared weights: 2 runs a sharing key" in report
    assert r"| node | 2 | 0.000 | \[-12.706, 12.706\] | 1.414 | 1.0000 | 1.000 | 1.000 | -1.000 |" in report
    assert (
        "standard deviation of 0.124" in report and "against the mean of the others: 1.000 (1.000 to 1.000)" in report
    )
    assert (
        "| node | 0.000 | " in report and "| 50.000 | 3.875 |" in report and "| chance | stand-alone | node |" in report
    )
    assert "failed: node-7" in report and "study: whole" in report and "torch 2" in report


def test_pictures(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(path.name for path in (written / "report").glob("*.svg"))
    assert names == ["rank_changes.svg", "rank_lines.svg", "truth.svg"]
    page = (written / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 3 and "colour and number" in page
    grouped = study(np.arange(12.0), truth=np.arange(12.0)[::-1], cells=AMOUNT)
    write_sharing_study(grouped, tmp_path, about("Amounts"), resamples=100, permutations=100)
    assert "<svg" in (tmp_path / "report" / "amounts.svg").read_text()
    drawn = (tmp_path / "report" / "rank_changes.svg").read_text()
    assert (
        drawn.count("<!-- 11 -->") >= 3 and "<!-- 7 -->" in drawn
    )  # the best cell is eleven positions too low, the third seven
    assert "| 0 | 4 | 9.50 | 1.50 | 10.50 | 2.50 | -8.00 ± - |" in (tmp_path / "report" / "report.md").read_text()

    def broken(*_: Any) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(figures, "truth_figure", broken)
    with pytest.raises(RuntimeError, match="no fonts"):
        write_sharing_study(grouped, tmp_path / "broken", about("Amounts"), resamples=100, permutations=100)
    left = sorted(path.name for path in (tmp_path / "broken").iterdir())
    assert left == ["cells.csv", "runs.csv", "study.json"], "the numbers stand there before a figure is drawn"


# -- a run -------------------------------------------------------------------------------------------------------------
def test_a_run_ranks_all_cells_as_it_goes(tmp_path: Path) -> None:
    tokens = np.arange(120) % 5
    corpus = Corpus("tiny", tuple("abcde"), tokens, tokens[:60], tokens[:60])
    settings = {"epochs": 3, "batch_size": 8, "bptt": 8, "evaluation_batch": 3, "reward_batch": 2, "accelerator": "cpu"}

    def new() -> SharedText:
        return SharedText(RecurrentCell(nodes=2, hidden=4), corpus, settings, seed=1, folder=tmp_path)

    one = new()
    run = shared_run(one, WHOLE.indices, every=1)
    assert run.epochs == (1, 2, 3) and run.curve.shape == (3, 32) and np.array_equal(run.curve[-1], run.perplexities)
    assert np.array_equal(run.perplexities, one.perplexities(WHOLE.indices)) and not np.array_equal(
        run.curve[0], run.curve[1]
    )
    assert [row.get("shared_mean") for row in run.history] == [*run.curve[:2].mean(1), None]
    again = shared_run(new(), WHOLE.indices, every=1)
    assert np.array_equal(again.curve, run.curve) and again.history == run.history and again.epochs == run.epochs
    assert Rankings(one, WHOLE.indices, 2, 4).after_epoch(0) == {}


def test_draws_are_uniform_and_a_function_of_the_seed() -> None:
    drawn = uniform(WHOLE.indices, 0, 3, 6400)
    assert np.array_equal(drawn, uniform(WHOLE.indices, 0, 3, 6400)) and not np.array_equal(
        drawn, uniform(WHOLE.indices, 1, 3, 6400)
    )
    counts = np.array([(drawn == row).all(1).sum() for row in WHOLE.indices])
    assert (
        counts.sum() == 6400 and ((counts - 200) ** 2 / 200).sum() < 61
    )  # chi-squared with 31 degrees of freedom, p = 0.001
