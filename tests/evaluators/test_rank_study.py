"""Ranking studies: the draw of a step, the schedules, the tables in the paper's layout, and the figures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.reports.rank_study import figures
from nni_plugins.evaluators.reports.rank_study.figures import epochs_figure, scatter_figure
from nni_plugins.evaluators.reports.rank_study.published import ARCHITECTURES, EPOCHS, SCHEDULES, SIZES
from nni_plugins.evaluators.reports.rank_study.report import Group, RankStudy, write_rank_study
from nni_plugins.evaluators.reports.rank_study.rows import (
    Condition,
    Row,
    Schedule,
    Sizes,
    noise,
    reliability,
    row_of,
    tables,
)
from nni_plugins.evaluators.reports.rank_study.training import cycle_of, one_shot_scores, pool_draw
from nni_plugins.evaluators.supernets.shared_weights import Companion, Cycle, Draw
from nni_plugins.spaces.base import Indices

TRUTH = np.arange(20.0)
POOL = np.arange(12, dtype=np.int8).reshape(4, 3)


class Fake:
    """A supernet whose score of an architecture is how many steps trained it."""

    seed = 7
    space: Any = None

    def train(self, draw: Draw, cycle: Cycle, companion: Companion | None = None) -> list[dict[str, float]]:
        self.cycle = cycle
        self.steps = np.concatenate([draw(epoch, 100) for epoch in range(cycle.epochs)])
        return [{"epoch": epoch + 1.0} for epoch in range(cycle.epochs)]

    def scores(self, indices: Indices) -> npt.NDArray[np.float64]:
        return np.array([(self.steps == row).all(axis=1).sum() for row in indices], dtype=np.float64)

    def reward(self, indices: Indices, step: int) -> npt.NDArray[np.float64]:
        raise NotImplementedError


# -- training ----------------------------------------------------------------------------------------------------------
def test_only_the_pool_is_trained_and_then_evaluated() -> None:
    fake = Fake()
    scores, curve = one_shot_scores(fake, POOL, 3, "independent")
    assert scores.sum() == 300 and (scores > 40).all() and len(curve) == 3, (
        "every step trains one of the pool, each about as often"
    )
    again, _ = one_shot_scores(Fake(), POOL, 3, "dependent")
    assert again.tolist() == scores.tolist(), "the draw is a function of the seed and the epoch"


def test_proportional_draws() -> None:
    scores, _ = one_shot_scores(Fake(), POOL, 40, "independent", np.array([0.1, 0.2, 0.3, 0.4]))
    assert scores / 4000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.025)
    for wrong in ([0.5, 0.5], [0.5, 0.5, 0.5, -0.5], [0.1] * 4):
        with pytest.raises(ConfigError, match="probabilities: 4 that are not negative and add up to 1"):
            pool_draw(POOL, 0, np.array(wrong))


def test_schedules() -> None:
    """Independent: the cosine is over with the training; dependent: a third of it is (NAO-V2, section 3)."""
    assert [cycle_of(5, "independent").schedule(e) for e in (0, 4)] == [(0, 5), (4, 5)]
    assert [cycle_of(5, "dependent").schedule(e) for e in (0, 4)] == [(0, 15), (4, 15)]


# -- rows and tables ---------------------------------------------------------------------------------------------------
def planted(sizes: Sizes, epochs: int, schedule: Schedule, seed: int, swaps: int) -> Row:
    """Scores that are the truth but for ``swaps`` swapped neighbours, so that PA is 1 - swaps / 190."""
    scores = TRUTH.copy()
    for i in range(swaps):
        scores[[2 * i, 2 * i + 1]] = scores[[2 * i + 1, 2 * i]]
    return row_of(Condition(sizes, epochs, schedule, seed), scores, TRUTH, resamples=20, width=2.0, top=(2, 5, 20))


SWAPS: dict[tuple[Sizes, int, Schedule], int] = {
    ("random", 5, "independent"): 1,
    ("random", 5, "dependent"): 3,
    ("random", 50, "independent"): 5,
    ("random", 50, "dependent"): 7,
    ("similar", 5, "independent"): 2,
    ("similar", 5, "dependent"): 4,
    ("similar", 50, "independent"): 6,
    ("similar", 50, "dependent"): 8,
}
ROWS = [planted(*key, seed, swaps + seed) for key, swaps in SWAPS.items() for seed in (0, 2)]


def test_a_row() -> None:
    row = planted("random", 5, "dependent", 0, 10)
    assert row.agreement.pairwise.value == row.untied == pytest.approx(1 - 10 / 190)
    assert row.agreement.kendall.value == row.id_sequence == pytest.approx(1 - 20 / 190), (
        "the numbers rise with the truth"
    )
    assert row.sparse > row.agreement.kendall.value, "neighbours fall into one bin"
    assert row.overlap == {2: 1.0, 5: 0.8} and row.percentiles[2] == pytest.approx(
        (100 * 18 / 19, 100 * 18.5 / 19, 100)
    )
    assert row.condition.name == "random-5-dependent-0" and set(row.percentiles) == {2, 5}, "20 of 20 is no choice"


def test_the_papers_layout() -> None:
    two, three, four = tables(ROWS)
    assert (two.number, three.number, four.number) == (2, 3, 4)
    assert [line.keys for line in two.lines] == [("5",), ("50",)]
    assert [line.keys for line in three.lines] == [
        ("5", "random"),
        ("5", "similar"),
        ("50", "random"),
        ("50", "similar"),
    ]
    assert [line.keys for line in four.lines] == [
        ("5", "dependent"),
        ("5", "independent"),
        ("50", "dependent"),
        ("50", "independent"),
    ]
    mean = lambda swaps: 1 - (swaps + 1) / 190  # noqa: E731  of seeds that swap once and three times more
    assert [line.pairwise.mean for line in two.lines] == pytest.approx([mean(1), mean(5)]), "random, independent"
    assert [line.pairwise.mean for line in three.lines] == pytest.approx([mean(3), mean(4), mean(7), mean(8)]), (
        "dependent, as in the paper"
    )
    assert [line.pairwise.mean for line in four.lines] == pytest.approx([mean(3), mean(1), mean(7), mean(5)])
    assert all(
        line.pairwise.deviation == pytest.approx(2 / 190 / math.sqrt(2)) and line.pairwise.seeds == 2
        for line in four.lines
    )
    assert two.lines[1].printed == EPOCHS[50] and [line.printed for line in three.lines] == [
        SIZES["random"],
        SIZES["similar"],
        None,
        None,
    ]
    assert four.lines[0].printed == SCHEDULES[5, "dependent"]
    assert str(two.lines[0].pairwise) == "0.989 ± 0.007"


def test_tables_of_less() -> None:
    only = planted("diverse", 7, "dependent", 0, 2)
    (table,) = tables([only])
    (line,) = table.lines
    assert table.number == 2 and "diverse sizes, dependent" in table.title and line.printed is None, (
        "the paper has no 7 epochs"
    )
    assert (line.pairwise.low, line.pairwise.high) == (only.agreement.pairwise.low, only.agreement.pairwise.high)
    assert str(line.pairwise).startswith("0.989 [0.9") and math.isnan(line.pairwise.deviation)
    assert [t.number for t in tables([only, planted("similar", 7, "dependent", 0, 2)])] == [2, 3] and tables([]) == []
    constant = row_of(Condition("random", 5, "dependent", 0), np.ones(20), TRUTH, resamples=5)
    assert str(tables([constant])[0].lines[0].spearman) == "undefined"


def test_what_the_paper_printed() -> None:
    """NAO-V2, tables 1 and 2: pairwise accuracies are shares of 1,225 pairs but for two, and table 2 mixes
    schedules.
    """
    pairs = ARCHITECTURES * (ARCHITECTURES - 1) // 2
    odd = {
        p.pairwise
        for p in [*EPOCHS.values(), *SIZES.values(), *SCHEDULES.values()]
        if abs(p.pairwise * pairs - round(p.pairwise * pairs)) > 0.01
    }
    assert pairs == 1225 and odd == {0.440024, 0.458876}
    assert (
        EPOCHS[5] == SCHEDULES[5, "dependent"]
        and EPOCHS[30] == SCHEDULES[30, "dependent"]
        and EPOCHS[50] == SCHEDULES[50, "independent"]
    )


def test_noise_and_reliability() -> None:
    assert "50 architectures would give PA 0.5 ± 0.049, rho 0 ± 0.143 and tau 0 ± 0.098" in noise(50)
    assert math.isnan(reliability([TRUTH])) and reliability([TRUTH, TRUTH, -TRUTH]) == pytest.approx(1 / 3)


def test_figures() -> None:
    figure = epochs_figure(ROWS, "title")
    left, right = figure.axes
    means = [line.get_ydata()[0] for line in left.get_lines() if line.get_label() == "random, dependent"]
    assert means == pytest.approx([1 - 4 / 190]) and right.get_ylabel() == "Spearman's ρ"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "random, independent",
        "random, dependent",
        "similar, independent",
        "similar, dependent",
    ]
    points = {row.condition: (TRUTH, TRUTH + 1) for row in ROWS}
    shown = [ax for ax in scatter_figure(points, ROWS).axes if ax.get_visible()]
    assert len(shown) == len(SWAPS) and shown[0].get_title() == "random, independent, 5 epochs\nPA 0.99, ρ 1.00"
    assert shown[0].collections[0].get_offsets()[3].tolist() == [4, 3], "x is the truth"
    dead = {row.condition: (TRUTH, np.r_[-1000.0, TRUTH[1:]]) for row in ROWS}
    rest, outside = scatter_figure(dead, ROWS).axes[0].collections
    assert len(rest.get_offsets()) == 19 and outside.get_offsets().tolist() == [[4.75 - 4 * 9.5, 0]], (
        "one far below the rest is at the border"
    )


# -- what is written ---------------------------------------------------------------------------------------------------
def planted_study(conditions: list[Condition]) -> RankStudy:
    """Three architectures of each of two sizes, ranked rightly by every supernet."""
    truth = np.array([1.0, 2.0, 4.0])
    names, parameters = ("a", "b", "c"), np.array([7, 5, 6])
    return RankStudy(
        title="Planted",
        groups={
            "random": Group(names, parameters, 60, [truth - 1, truth + 1]),
            "similar": Group(names, parameters, 60, [truth]),
        },
        scores=dict.fromkeys(conditions, truth * 10),
        curves={condition: [{"epoch": 1.0, "loss": math.nan}] for condition in conditions},
        settings={"architectures": 3},
        failed=["supernet-random-9-dependent-0"],
        versions={"torch": "2"},
        resamples=5,
        seed=0,
        bin=0.1,
        top=(1, 2),
    )


def test_a_study_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = [Condition(sizes, 5, "dependent", 0) for sizes in ("random", "similar")]  # type: ignore[arg-type]
    value = write_rank_study(planted_study(conditions), tmp_path)
    assert value == json.loads((tmp_path / "rank_study.json").read_text())
    assert value["groups"]["random"]["parameters"] == {"least": 5, "median": 6, "largest": 7}
    assert (value["groups"]["random"]["truth_reliability"], value["groups"]["similar"]["truth_reliability"]) == (
        1,
        None,
    )
    assert value["rows"][0]["curve"] == [{"epoch": 1.0, "loss": None}], "JSON has no NaN"
    assert [table["number"] for table in value["tables"]] == [2, 3]
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["truth"] for row in rows] == ["1.0", "2.0", "4.0"] * 2 and rows[0]["score-5-dependent-0"] == "10.0"
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| 5 | similar | 1.000 \\[1.00, 1.00\\] |" in text and "| 0.502 | 0.103 |" in text, "beside the paper's"
    assert "failed: supernet-random-9-dependent-0" in text and "architectures: 3" in text and "torch 2" in text
    assert "random: 5 to 7 parameters, median 6; chosen from 60. PA between two stand-alone seeds: 1.000." in text
    assert (tmp_path / "report" / "report.html").read_text().count("data:image/svg+xml") == 2

    def broken(*_: Any) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(figures, "epochs_figure", broken)
    with pytest.raises(RuntimeError, match="no fonts"):
        write_rank_study(planted_study(conditions), tmp_path / "broken")
    left = sorted(path.name for path in (tmp_path / "broken").iterdir())
    assert left == ["rank_study.json", "rows.csv", "scores.csv"], "the numbers stand there before a figure is drawn"
    assert write_rank_study(planted_study([]), tmp_path / "none")["tables"] == [], "all supernets failed"
