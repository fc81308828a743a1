"""Comparing accuracies: against SciPy, on planted data, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Rotation, Supervised, fitted
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.reports.sample_study.figures import efficiency_figure, scatter_figure
from nni_plugins.evaluators.reports.sample_study.measurements import Measurements, efficiency, robust_line
from nni_plugins.evaluators.stand_alone.measured import MeasuredTraining
from nni_plugins.evaluators.statistics.correlation import Estimate, correlation
from nni_plugins.evaluators.training import evaluate
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces.nasbench201 import NASBench201

Floats = npt.NDArray[np.float64]


def pair(count: int = 40, ties: bool = True) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=count)
    y = 0.7 * x + rng.normal(size=count)
    return (np.round(x), np.round(y, 1)) if ties else (x, y)


# -- correlations ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ties", [False, True])
def test_the_statistics_are_scipys(ties: bool) -> None:
    x, y = pair(ties=ties)
    found = correlation(x, y)
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.kendall.value == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    if not ties:
        assert found.pairwise.value == pytest.approx((1 + found.kendall.value) / 2, abs=1e-12)
    assert (found.architectures, found.resamples) == (40, 1000)


def test_the_statistics_of_every_resample_are_scipys() -> None:
    """An interval of two resamples says what both were: its ends lie 2.5 % from them."""
    x, y = pair(12)
    rng = generator(5, "sample study bootstrap")
    draws = [rng.integers(0, 12, size=(2, 12))][0]
    for statistic, key in ((stats.spearmanr, "spearman"), (stats.kendalltau, "kendall")):
        expected = np.percentile([statistic(x[i], y[i]).statistic for i in draws], [2.5, 97.5])
        estimate: Estimate = getattr(correlation(x, y, resamples=2, seed=5), key)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_interval_is_a_percentile_bootstrap() -> None:
    x, y = pair(60, ties=False)
    found = correlation(x, y, resamples=4000).spearman

    def rho(a: Floats, b: Floats, axis: int = -1) -> Floats:
        ra, rb = stats.rankdata(a, axis=axis), stats.rankdata(b, axis=axis)
        ra, rb = ra - ra.mean(axis, keepdims=True), rb - rb.mean(axis, keepdims=True)
        result: Floats = (ra * rb).sum(axis) / np.sqrt((ra**2).sum(axis) * (rb**2).sum(axis))
        return result

    theirs = stats.bootstrap((x, y), rho, paired=True, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert correlation(x, y) == correlation(x, y) != correlation(x, y, seed=1)


def test_planted_data() -> None:
    x = np.arange(10.0)
    same = correlation(x, x**3)
    assert same.spearman == Estimate(1, 1, 1) and same.kendall.value == pytest.approx(1) and same.pairwise.value == 1
    assert correlation(x, -x).spearman == Estimate(-1, -1, -1) and correlation(x, -x).pairwise.value == 0
    flat = correlation(np.zeros(10), x)
    assert np.isnan(flat.spearman.value) and np.isnan(flat.kendall.low) and flat.pairwise.value == 0.5, (
        "equal scores count half"
    )
    # By hand: pairs (1,2) and (1,3) are in order, (2,3) is tied in the scores.
    assert correlation([1.0, 2.0, 2.0], [1.0, 2.0, 3.0]).pairwise.value == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], r"lists of at least 3 numbers are needed, but got shapes \(2,\) and \(2,\)"),
        (
            [1.0, 2.0, 3.0],
            [1.0, 2.0],
            r"two equally long lists of at least 3 numbers are needed, but got shapes \(3,\) and \(2,\)",
        ),
        ([1.0, 2.0, np.nan], [1.0, np.inf, 3.0], "must be finite, but 2 are not"),
    ],
)
def test_what_cannot_be_compared(scores: list[float], truth: list[float], message: str) -> None:
    for compare in (correlation, efficiency):
        with pytest.raises(ConfigError, match=message):
            compare(scores, truth)
    with pytest.raises(ConfigError, match="resamples >= 2 must hold, but got 1"):
        correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], resamples=1)


def test_only_complete_rows_are_compared() -> None:
    nan = np.nan
    measured = Measurements(
        ("a", "b", "c", "d"), {"x": np.array([1, 2, nan, 4]), "y": np.array([nan, 5, 6, 7]), "z": np.ones(4)}
    )
    assert measured.complete().architectures == ("b", "d") and measured.complete(["x"]).architectures == ("a", "b", "d")
    assert measured.complete(["y", "x"]).column("y").tolist() == [5, 7]
    with pytest.raises(ConfigError, match="nothing was measured under the name 'w'"):
        measured.column("w")
    with pytest.raises(ConfigError, match=r"x: 1 architectures need as many values, but got \(2,\)"):
        Measurements(("a",), {"x": np.ones(2)})


# -- random experiments ------------------------------------------------------------------------------------------------
def test_random_experiments_by_hand() -> None:
    """Eight architectures: m = 1, 2, 4 with 8, 4 and 2 experiments, each draw from all eight."""
    scores, truth = np.array([3.0, 1, 4, 1, 5, 9, 2, 6]), np.array([30.0, 10, 41, 12, 50, 88, 20, 60])
    curve = efficiency(scores, truth, seed=7)
    assert [(point.budget, point.experiments) for point in curve] == [(1, 8), (2, 4), (4, 2)]
    for point in curve:
        rng = generator(7, "random experiments", point.budget)
        winners = []
        for _ in range(point.experiments):
            drawn = rng.permutation(8)[: point.budget].tolist()
            assert len(set(drawn)) == point.budget, "without replacement"
            winners.append(truth[max(drawn, key=lambda i: scores[i])])
        mean = sum(winners) / len(winners)
        assert point.mean == pytest.approx(mean)
        assert point.std == pytest.approx((sum((w - mean) ** 2 for w in winners) / len(winners)) ** 0.5)
        assert (point.low, point.high) == pytest.approx((point.mean - 2 * point.std, point.mean + 2 * point.std))


def test_larger_experiments_find_better_ones_if_the_scores_know() -> None:
    truth = np.arange(500.0)
    known, unknown = efficiency(truth, truth), efficiency(np.zeros(500), truth)
    assert [point.budget for point in known] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [point.experiments for point in known] == [500, 250, 125, 63, 32, 16, 8, 4, 2]
    assert np.all(np.diff([point.mean for point in known[:6]]) > 0) and known[-1].mean > 490
    assert abs(unknown[3].mean - 250) < 60 and known[0].mean == unknown[0].mean, "the same draws for every list"


def test_the_line_withstands_an_outlier() -> None:
    x = np.arange(9.0)
    y = 2 * x + 1
    y[8] = -100
    assert robust_line(x, y) == pytest.approx((2, 1), abs=0.3)
    assert all(np.isnan(robust_line([1, 1, 1], [1, 2, 3])))


def test_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(90, 2, size=20)
    measured = Measurements(
        tuple("abcdefghijklmnopqrst"),
        {"rotation": truth + rng.normal(size=20), "flat": np.ones(20), "supervised": truth},
    )
    pairs = [("rotation", "supervised"), ("flat", "supervised")]
    figure = scatter_figure(measured, {p: correlation(measured.column(p[0]), truth) for p in pairs})
    first, second = figure.axes[:2]
    assert first.get_title().startswith("ρ = 0.") and second.get_title() == "ρ undefined: all equal"
    assert (first.get_xlabel(), first.get_ylabel()) == ("supervised (%)", "rotation (%)")
    offsets: Floats = np.asarray(first.collections[0].get_offsets())
    assert np.array_equal(offsets, np.stack([truth, measured.column("rotation")], axis=1))
    slope, intercept = robust_line(truth, measured.column("rotation"))
    assert first.lines[0].get_ydata() == pytest.approx([slope * x + intercept for x in (truth.min(), truth.max())])
    curves = efficiency_figure({("rotation", "supervised"): efficiency(measured.column("rotation"), truth)})
    assert (
        curves.axes[0].lines[0].get_xdata() == pytest.approx([1, 2, 4, 8, 16]) and curves.axes[0].get_xscale() == "log"
    )


# -- training ----------------------------------------------------------------------------------------------------------
SETTINGS = StandAloneSettings(epochs=2, batch_size=50, accelerator="cpu")


def trained(
    objective: Rotation | Supervised, precise: int, seed: int = 0
) -> tuple[torch.nn.Module, list[dict[str, float]], dict[str, float]]:
    data = load(DataSettings(source="digits", limit=120))
    assert data.test is not None
    test = data.test.subset(np.arange(200))
    space = fitted(NASBench201(nodes=3, channels=4, cells_per_stage=1), objective, data.train)
    with torch_fork(0, "initialisation"):
        model = space.network(space.from_string("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|"))
    history = MeasuredTraining(model, objective, data.train, test, SETTINGS, seed, precise=precise).run().history
    return model, history, evaluate(model, test, objective, data.train.statistics(), seed)


@pytest.mark.parametrize("objective", [Supervised(), Rotation()])
def test_every_epoch_is_measured_on_held_out_images(objective: Rotation | Supervised) -> None:
    _, history, after = trained(objective, precise=0)
    assert [row["epoch"] for row in history] == [1, 2]
    assert all(0 <= row["measured"] == row["test_accuracy"] <= 100 for row in history)
    assert history[-1]["measured"] == after["accuracy"] and history[-1]["test_loss"] == after["loss"], (
        "the last is that of the trained network"
    )


def test_precise_statistics_are_averages_over_batches_and_leave_the_weights_alone() -> None:
    plain, before, _ = trained(Supervised(), precise=0)
    precise, after, evaluated = trained(Supervised(), precise=100)
    assert [row["loss"] for row in before] == [row["loss"] for row in after], "measuring does not change the training"
    weights = dict(plain.named_parameters())
    assert all(torch.equal(weights[name], value) for name, value in precise.named_parameters())
    assert after[-1]["test_loss"] == evaluated["loss"] != before[-1]["test_loss"]
    norm = next(m for m in precise.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.momentum == 0.1
    # The first norm sees the stem's outputs of two batches of 50 crops: their mean is the mean over the 100.
    data = load(DataSettings(source="digits", limit=120)).train
    index = generator(0, "precise batch norm", 1).permutation(120)[:100]
    drawn = torch.from_numpy(data.augmentation.draw(0, 1, 120)[index])
    mean, std = (s[:, None, None] for s in data.statistics())
    x = (data.augmentation.apply(data.images[torch.from_numpy(index)], drawn).float() / 255 - mean) / std
    stem = next(m for m in precise.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        outputs = stem(x)
    assert torch.allclose(norm.running_mean, outputs.mean((0, 2, 3)), atol=1e-5)
    variances = torch.stack([part.var((0, 2, 3), unbiased=True) for part in outputs.split(50)])
    assert torch.allclose(norm.running_var, variances.mean(0), rtol=1e-4)
