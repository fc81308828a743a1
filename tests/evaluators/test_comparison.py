"""What a comparison of search policies says: sentences, tables, figures and files."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.reports.comparison import (
    Baseline,
    Comparison,
    Run,
    analyse,
    read_comparison,
    stability,
    write_report,
)
from nni_plugins.evaluators.reports.comparison.figures import curve_measure, distribution_figure, looks
from nni_plugins.evaluators.reports.comparison.overview import write_overview
from nni_plugins.evaluators.reports.comparison.report import write_analysis
from nni_plugins.evaluators.reports.comparison.sections import document, stability_table
from nni_plugins.evaluators.reports.comparison.sentences import p_text
from nni_plugins.evaluators.reports.comparison.single_networks import pooled
from nni_plugins.evaluators.reports.document import Table, to_latex, to_markdown
from nni_plugins.evaluators.statistics.differences import effect, permutation_test, welch


def compared(larger: bool = True, unit: str = "", **groups: Sequence[float]) -> Comparison:
    runs = [
        Run(policy, 1268 + i, None, "", value) for policy, values in groups.items() for i, value in enumerate(values)
    ]
    return Comparison("a title", "accuracy" if larger else "perplexity", unit, larger, "random", tuple(runs))


def shaped(mean: float, std: float, n: int = 10) -> list[float]:
    """n numbers with exactly this mean and sample deviation."""
    z = np.arange(n) - (n - 1) / 2
    return (mean + std * z / z.std(ddof=1)).tolist()


def said(larger: bool = True, paired: bool = False, unit: str = "", **groups: Sequence[float]) -> str:
    (found,) = analyse(compared(larger, unit, **groups), paired).sentences
    return found


def test_sentence_of_the_published_numbers() -> None:
    found = said(larger=False, ENAS=shaped(61.91, 0.5), random=shaped(62.5, 0.86))
    assert found == (
        "With 10 seeds each, ENAS is 0.59 better than random on average (95 % interval -0.08 to 1.26, p = 0.081): "
        "the evidence does not separate them; a true difference of 0.95 would be found four times in five."
    )
    worse = said(larger=True, ENAS=shaped(61.91, 0.5), random=shaped(62.5, 0.86), unit="%")
    assert "ENAS is 0.59 percentage points worse than random on average (95 % interval -0.08 to 1.26," in worse


@pytest.mark.parametrize(
    ("policy", "random", "part"),
    [
        (
            shaped(75, 1),
            shaped(70, 1),
            "5.00 better than random on average (95 % interval 4.06 to 5.94, p < 0.001): in this setting the evidence says",
        ),
        (shaped(65, 1), shaped(70, 1), "in this setting the evidence says that A is worse."),
        (
            [69.99] * 10,
            shaped(69.69, 2.44),
            ", where every seed of A gave the same value: the evidence does not separate them;",
        ),
        (
            [70.0] * 3,
            [70.0] * 3,
            "With 3 seeds each, A and random gave the same value every time: nothing tells them apart.",
        ),
        (
            [71.0] * 2,
            [70.0] * 2,
            "(no interval, as the difference is the same for all seeds, permutation test p = 0.33): so few seeds do not separate",
        ),
        ([71.0] * 6, [70.0] * 6, "permutation test p = 0.0022): in this setting the evidence says that A is better."),
        (
            [71.0, 71.01],
            [70.0, 70.01],
            "a permutation test of so few seeds cannot (its smallest p is 0.33); run more seeds.",
        ),
        (
            shaped(70, 1, 4),
            shaped(70, 1, 6),
            "With 4 seeds of A and 6 of random, A and random are equal on average to 2 decimals",
        ),
    ],
)
def test_sentences(policy: list[float], random: list[float], part: str) -> None:
    assert part in said(A=policy, random=random)


def test_sentences_of_several_policies_are_corrected() -> None:
    groups = {name: shaped(70 + shift, 1) for name, shift in (("A", 1.1), ("B", 0.1), ("C", -0.1), ("D", 3.0))}
    found = analyse(compared(**groups, random=shaped(70, 1)))
    first, _, _, last = found.differences
    assert first.p < 0.05 < first.p_holm == pytest.approx(3 * first.p) and first.verdict == "not after correction"
    assert (
        "after correction for 4 comparisons): alone this would count as evidence, but not as one of 4 comparisons."
        in found.sentences[0]
    )
    assert last.verdict == "better" and list(found.summaries) == ["A", "B", "C", "D", "random"]


def test_a_t_test_alone_settles_nothing() -> None:
    """Three values that happen to lie close together make Welch's error small; dealing all twelve out anew shows that
    it may be chance.
    """
    random = [0.1, -0.5, 0.4, 1.3, 0.9, -0.7, -1.3, -0.6, 0.0]
    (found,) = analyse(compared(A=[0.8, 0.8, 0.9], random=random)).differences
    assert (
        found.t_test.p == pytest.approx(0.0127, abs=1e-4)
        and found.permutation.p == 26 / 220
        and found.verdict == "unconfirmed"
    )
    assert said(A=[0.8, 0.8, 0.9], random=random).endswith(
        "but a permutation test does not (p = 0.12); run more seeds."
    )


def test_pairs_see_what_the_seeds_share() -> None:
    random = shaped(70, 5, 8)
    policy = [value + step for value, step in zip(random, [1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.3, 0.7], strict=True)]
    assert "does not separate" in said(A=policy, random=random)
    paired = said(paired=True, A=policy, random=random)
    assert paired.startswith("With 8 seeds, paired, A is 1.00 better") and paired.endswith(
        "the evidence says that A is better."
    )
    rounded = said(
        paired=True, A=[1.1, 1.2, 1.3], random=[0.1, 0.2, 0.3]
    )  # 1.1 - 0.1 and 1.2 - 0.2 differ in the last digit
    assert rounded.endswith(
        "(no interval, as the difference is the same for all seeds, permutation test p = 0.25): so few seeds do not separate them."
    )
    with pytest.raises(ConfigError, match=r"random has the seeds \[1268, 1269\], but A has \[1268, 1269, 1270\]"):
        analyse(compared(A=[1, 2, 3], random=[1, 2]), paired=True)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.04996, "p = 0.0500"), (0.0499, "p = 0.0499"), (0.0123, "p = 0.012"), (1.0, "p = 1"), (1e-9, "p < 0.001")],
)
def test_p_values_in_words(p: float, text: str) -> None:
    assert p_text(p) == text


def test_stability_has_the_published_deviations() -> None:
    """NAO-V2, table 5; its "variance" is the population deviation."""
    table = {
        "NAO-V2": [2.60, 2.63, 2.65, 2.71, 2.77],
        "- more updates": [2.84, 2.77, 2.81, 2.98, 2.92],
        "ENAS": [3.09, 3.00, 2.97, 2.79, 3.07],
    }
    runs = [
        Run(policy, 0, None, "", 0.0, {"error": e}, rank=rank)
        for policy, errors in table.items()
        for rank, e in enumerate(errors)
    ]
    found = stability(runs, "error")
    assert [(row.name, round(row.mean, 2)) for row in found.rows] == [
        ("NAO-V2", 2.67),
        ("- more updates", 2.86),
        ("ENAS", 2.98),
    ]
    assert [round(row.population_std, 3) for row in found.rows] == [0.061, 0.076, 0.107] and found.by == "rank"
    assert found.rows[0].std == pytest.approx(np.std(table["NAO-V2"], ddof=1))
    assert list(stability_table(found).rows[0]) == [
        "NAO-V2",
        "2.60",
        "2.63",
        "2.65",
        "2.71",
        "2.77",
        "2.67",
        "0.07",
        "0.06",
    ]
    again = stability(
        [*runs, *(replace(run, seed=1, measures={"error": run.measures["error"] + 1}) for run in runs)], "error"
    )
    assert [row.name for row in again.rows][:3] == ["NAO-V2, seed 0", "NAO-V2, seed 1", "- more updates, seed 0"]
    merged = pooled(again)
    assert merged.rows[0].values == pytest.approx([v + 0.5 for v in table["NAO-V2"]]) and merged.rows[
        0
    ].std == pytest.approx(found.rows[0].std)
    by_seed = stability([replace(run, seed=run.rank, rank=0) for run in runs], "error")
    assert by_seed.columns == tuple(f"seed {i}" for i in range(5)) and by_seed.rows[0].values == found.rows[0].values
    for wrong, problem in ((runs[:1], "at least two networks"), ([], "needs runs")):
        with pytest.raises(ConfigError, match=problem):
            stability(wrong, "error")
    with pytest.raises(ConfigError, match="no accuracy of seed 0, rank 0"):
        stability(runs, "accuracy")


def test_what_is_no_comparison() -> None:
    good = compared(A=[1, 2], random=[1, 2])

    def refused(**changes: object) -> str:
        with pytest.raises(ConfigError) as caught:
            replace(good, **changes)  # type: ignore[arg-type]
        return str(caught.value)

    assert "no run of the baseline 'rendom' (did you mean 'random'?)" in refused(baseline="rendom")
    assert "these have fewer: A 1" in refused(runs=good.runs[1:])
    assert "these have fewer: A 1" in refused(runs=(replace(good.runs[0], rank=1), *good.runs[1:]))
    assert "only the baseline" in refused(runs=good.runs[2:])
    assert "more than one run of (policy, seed, rank): ('A', 1268, 0)" in refused(runs=(good.runs[0], *good.runs))
    both = refused(runs=(*good.runs, replace(good.runs[0], seed=3, value=math.nan, cost={"queries": math.inf})))
    assert "A seed 3 value = nan, A seed 3 queries = inf" in both
    for function in (welch, permutation_test, effect):
        with pytest.raises(ConfigError, match="at least 2 finite numbers"):
            function([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="resamples >= 100 must hold, but got 3"):
        analyse(good, resamples=3)


def full() -> Comparison:
    """Two policies and random, 4 seeds; curves with a perplexity that is not finite at first; two networks of each
    search of one policy.
    """
    runs = []
    for p, (policy, mean) in enumerate({"<b>DARTS</b>": 63.3, "ENAS|x": 61.9, "random": 62.5}.items()):
        for seed in range(4):
            value = mean + [0.1, -0.3, 0.4, -0.2][seed] * (p + 1)
            start = math.inf if seed == 0 else 200.0
            curve = [
                {
                    "epoch": e,
                    "loss": 1.0 / e,
                    "valid_perplexity": start if e == 1 else value + 5 / e,
                    "learning_rate": 1.0,
                }
                for e in range(1, 7)
            ]
            choices = {"node0": "tanh" if policy == "ENAS|x" else ["relu", "tanh"][seed % 2]}
            measures = {"valid_perplexity": value, "test_perplexity": value - 2, "parameters": 1000.0 + seed}
            cost = {"search_epochs": 0.0 if policy == "random" else 50.0 * (p + 1)}
            runs.append(
                Run(
                    policy,
                    seed,
                    choices,
                    "<script>alert(1)</script>",
                    value,
                    measures,
                    curve,
                    curve[:3] if p else [],
                    cost,
                )
            )
            if p == 1:
                runs.append(Run(policy, seed, choices, "second", value + 0.2, measures, rank=1))
    return Comparison(
        "Cells & <PTB>",
        "validation perplexity",
        "",
        False,
        "random",
        tuple(runs),
        {"space": "<recurrent>", "seeds": [0, 1, 2, 3]},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_report(full(), tmp_path_factory.mktemp("report"), resamples=500)


# -- other baselines than a draw -----------------------------------------------------------------------------------------
def test_any_policy_is_what_others_are_compared_with(tmp_path: Path) -> None:
    """A's mean is 3, B's 2, random's 1; each test is corrected for the two policies of its baseline."""
    whole = compared(A=[2.0, 3.0, 4.0], B=[1.0, 2.0, 3.0], random=[0.0, 1.0, 2.0])
    against = replace(whole, baseline="A", also=("random",))
    assert against.policies == ("B", "random", "A")
    found = analyse(against, resamples=100)
    assert [(d.policy, d.baseline, d.improvement, d.comparisons) for d in found.differences] == [
        ("B", "A", -1.0, 2),
        ("random", "A", -2.0, 2),
        ("B", "random", 1.0, 2),
        ("A", "random", 2.0, 2),
    ]
    usual = analyse(whole, resamples=100)
    assert {d.policy: d for d in found.against("random")} == {d.policy: d for d in usual.differences}
    assert found.summaries == {**{name: usual.summaries[name] for name in against.policies}}
    files = write_report(against, tmp_path, resamples=100)
    markdown = files["report.md"].read_text()
    assert "Differences to A" in markdown and "Differences to random" in markdown
    assert "better architectures than A does" in markdown and "than a draw" not in markdown
    assert {"differences.svg", "differences-random.svg"} <= set(files)
    assert read_comparison(files["comparison.json"]) == against
    assert json.loads(files["statistics.json"].read_text())["also"] == ["random"]
    for also, problem in ((("A",), "also: A must differ"), (("C",), "no run of C, which others are compared with")):
        with pytest.raises(ConfigError, match=problem):
            replace(against, also=also)


def test_tables_for_latex(tmp_path: Path) -> None:
    whole = compared(A=[2.0, 3.0, 4.0], B_1=[1.0, 2.0, 3.0], random=[0.0, 1.0, 2.0])
    text = write_report(whole, tmp_path, resamples=100)["results.tex"].read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2 == text.count(r"\bottomrule")
    assert r"B\_1 & 3 & 2.00 $\pm$ 1.00 & 3.00 \\" in text
    assert to_latex(Table(["a|b", "50 %"], [["<x~{^}\\>", "#1 & $2 – 3"]])).splitlines()[2:5] == [
        r"a\textbar{}b & 50 \% \\",
        r"\midrule",
        r"$<$x\textasciitilde{}\{\textasciicircum{}\}\textbackslash{}$>$ & \#1 \& \$2 -- 3 \\",
    ]


def test_intervals_of_percent_end_at_one_hundred_and_versions_are_told(tmp_path: Path) -> None:
    whole = compared(A=[99.0, 100.0, 98.0], random=[98.5, 97.0, 100.0])
    percent = analyse(replace(whole, unit="%", setting={"epochs": 3}), resamples=100)
    assert percent.summaries["A"].t_interval.high == 100 < analyse(whole, resamples=100).summaries["A"].t_interval.high
    text = write_analysis(percent, tmp_path)["report.md"].read_text()
    assert f"numpy {np.__version__}" in text and "100.0, 100" not in text


# -- baselines ---------------------------------------------------------------------------------------------------------
LARGEST = Baseline("largest_parameters", "|3x3|", 71.0, {"parameters": 5000.0, "macs": 2e6})
NAMED = Baseline("resnet18", "resnet18", 69.5, {"parameters": 11e6})


def with_baselines(larger: bool = True) -> Comparison:
    whole = compared(larger, unit="%", A=[70.0, 71.0, 73.0, 72.0], random=[69.0, 70.0, 71.0, 68.0])
    return replace(whole, baselines=(LARGEST, NAMED))


def test_standings_by_hand() -> None:
    """A's mean is 71.5, random's 69.5."""
    found = {(one.policy, one.baseline): one for one in analyse(with_baselines()).standings}
    assert [(one.better, one.equal, one.seeds, one.improvement) for one in found.values()] == [
        (2, 1, 4, 0.5),
        (4, 0, 4, 2.0),
        (0, 1, 4, -1.5),
        (2, 0, 4, 0.0),
    ]
    smaller = analyse(with_baselines(larger=False)).standings
    assert [(one.better, one.equal, one.improvement) for one in smaller] == [
        (1, 1, -0.5),
        (0, 0, -2.0),
        (3, 1, 1.5),
        (2, 0, 0.0),
    ]


def test_sentences_of_standings() -> None:
    assert analyse(with_baselines()).standing_sentences == (
        "A: 2 of 4 seeds better than largest_parameters (71.00 %), 1 equal to it, on average 0.50 percentage points better; "
        "4 of 4 seeds better than resnet18 (69.50 %), on average 2.00 percentage points better.",
        "random: 0 of 4 seeds better than largest_parameters (71.00 %), 1 equal to it, on average 1.50 percentage points "
        "worse; 2 of 4 seeds better than resnet18 (69.50 %), on average equal to 2 decimals.",
    )
    plain = compared(A=[1.0, 2.0], random=[1.0, 2.0])
    assert analyse(plain).standings == () and "Baselines" not in to_markdown(document(analyse(plain), []))


def test_baselines_change_no_statistics() -> None:
    whole = with_baselines()
    without, beside = analyse(replace(whole, baselines=())), analyse(whole)
    assert (beside.summaries, beside.differences, beside.sentences) == (
        without.summaries,
        without.differences,
        without.sentences,
    )


def test_baselines_in_a_report(tmp_path: Path) -> None:
    written = write_report(with_baselines(), tmp_path, resamples=500)
    markdown = written["report.md"].read_text()
    assert "| largest\\_parameters | 71.00 | 5,000 | 2,000,000 | \\|3x3\\| |" in markdown
    assert "| random (mean) | 69.50 ± 1.29 | – | – | – |" in markdown and "Upright lines are baselines" in markdown
    rows = list(csv.DictReader(io.StringIO(written["runs.csv"].read_text())))
    assert [(row["policy"], row["seed"], row["value"], row["macs"]) for row in rows[-2:]] == [
        ("largest_parameters", "", "71.0", "2000000.0"),
        ("resnet18", "", "69.5", ""),
    ]
    value = json.loads(written["statistics.json"].read_text())
    assert value["baselines"][0] == {
        "name": "largest_parameters",
        "label": "|3x3|",
        "value": 71.0,
        "measures": LARGEST.measures,
    }
    assert [one["better"] for one in value["standings"]] == [2, 4, 0, 2] and len(value["standing_sentences"]) == 2
    assert read_comparison(written["comparison.json"]) == with_baselines()


def test_baselines_in_the_figure() -> None:
    """Lines at their values, all within the axis."""
    (ax,) = distribution_figure(analyse(with_baselines(), resamples=100)).axes
    lines = {line.get_label(): line.get_xdata()[0] for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert lines == {"largest_parameters": 71.0, "resnet18": 69.5}
    far = replace(with_baselines(), baselines=(replace(NAMED, value=10.0),))
    (ax,) = distribution_figure(analyse(far, resamples=100)).axes
    assert ax.get_xlim()[0] < 10 and ax.get_xlim()[1] > 73


def test_wrong_baselines() -> None:
    whole = with_baselines()
    for baselines, problem in (
        (
            (LARGEST, LARGEST),
            "every policy and baseline needs a name of its own, but got A, random, largest_parameters",
        ),
        ((replace(LARGEST, name="random"),), "needs a name of its own"),
        ((replace(LARGEST, value=math.inf),), "must be finite: largest_parameters value = inf"),
        ((replace(LARGEST, measures={"macs": math.nan}),), "must be finite: largest_parameters macs = nan"),
    ):
        with pytest.raises(ConfigError, match=problem):
            replace(whole, baselines=baselines)
    value = whole.to_json()
    for wrong, problem in (
        (3, "baselines must be a list"),
        ([3], "a baseline must be a mapping"),
        ([{"name": "x", "label": "", "value": "high"}], "a baseline that cannot be read"),
        ([{"name": "x"}], "a baseline without label, value"),
    ):
        with pytest.raises(ConfigError, match=problem):
            Comparison.from_json({**value, "baselines": wrong})


def test_the_page_above_several_evaluations(tmp_path: Path) -> None:
    analyses = {
        "fast": analyse(with_baselines(), resamples=100),
        "slow": analyse(compared(False, A=[4.0, 5.0, 4.5, 4.4], random=[6.0, 7.0, 6.5, 6.4]), resamples=100),
    }
    page = write_overview("Both & all", analyses, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert page == tmp_path / "report.html" and "<h1>Both &amp; all</h1>" in page.read_text()
    assert "|  | fast: accuracy (%) | slow: perplexity |" in markdown
    assert "| A | 71.50 ± 1.29 (not separated) | 4.47 ± 0.41 (better) |" in markdown
    assert "| random | 69.50 ± 1.29 | 6.47 ± 0.41 |" in markdown and "| resnet18 | 69.50 | – |" in markdown
    assert (tmp_path / "slow" / "distribution.svg").exists() and "(slow/distribution.svg)" in markdown


def test_round_trip(written: dict[str, Path]) -> None:
    whole = full()
    again = Comparison.from_json(json.loads(json.dumps(whole.to_json(), allow_nan=False)))
    assert math.isnan(again.runs[0].curve[0]["valid_perplexity"]) and again.runs[0].curve[1:] == whole.runs[0].curve[1:]
    finite = replace(whole, runs=tuple(replace(run, curve=run.curve[1:], search_curve=[]) for run in whole.runs))
    assert Comparison.from_json(json.loads(json.dumps(finite.to_json()))) == finite
    assert read_comparison(written["comparison.json"]).to_json() == whole.to_json()


def test_files_that_are_no_comparison(tmp_path: Path) -> None:
    value = full().to_json()
    run = value["runs"][0]
    cases = {
        "schema_version 1, but got 2": {**value, "schema_version": 2},
        "without metric and with unknown metrix": {**{k: v for k, v in value.items() if k != "metric"}, "metrix": ""},
        "a run without policy": {**value, "runs": [{k: v for k, v in run.items() if k != "policy"}]},
        "a run that cannot be read": {**value, "runs": [{**run, "value": "high"}]},
        "runs must be a list": {**value, "runs": 3},
        "a run must be a mapping": {**value, "runs": [3]},
    }
    for problem, wrong in cases.items():
        with pytest.raises(ConfigError, match=problem):
            Comparison.from_json(wrong)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON file"):
        read_comparison(tmp_path / "broken.json")
    with pytest.raises(ConfigError, match="cannot read"):
        read_comparison(tmp_path / "missing.json")


def test_the_html_page_stands_alone(written: dict[str, Path]) -> None:
    page = written["report.html"].read_text()
    assert (
        "<script" not in page
        and "<b>DARTS" not in page
        and "&lt;script&gt;" in page
        and "&lt;b&gt;DARTS&lt;/b&gt;" in page
    )
    assert "<h1>Cells &amp; &lt;PTB&gt;</h1>" in page and page.count('src="data:image/svg+xml;base64,') == 4
    assert "http" not in page and 'src="distribution' not in page


def test_both_reports_say_everything(written: dict[str, Path]) -> None:
    markdown, page = written["report.md"].read_text(), written["report.html"].read_text()
    for policy in ("&lt;b&gt;DARTS&lt;/b&gt;", "random"):
        assert f"| {policy} | 4 | " in markdown and f"<td>{policy}</td><td>4</td>" in page
    assert "| ENAS\\|x | 4 | 61.90 ± 0.63 | 59.90 ± 0.63 | 61.30 | 59.30 |" in markdown
    for heading in (
        "What the runs say",
        "Results",
        "Differences to random",
        "Learning curves",
        "Stability",
        "How to read this",
        "Setting",
    ):
        assert f"## {heading}\n" in markdown and f"<h2>{heading}</h2>" in page
    assert "Budgets differ in search epochs:" in page and "random spends nothing on a search" in page
    assert (
        "Few seeds" in page
        and "All 4 seeds of ENAS|x ended with the same architecture, so what they show varies by training alone."
        in page
    )
    assert "space: <recurrent>" in markdown and "space: &lt;recurrent&gt;" in page
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") > 3 for line in rows)
    assert all((written["report.md"].parent / name).stat().st_size > 5000 for name in written if name.endswith(".svg"))


def test_data_files(written: dict[str, Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(written["runs.csv"].read_text())))
    assert len(rows) == 16 and [row["policy"] for row in rows[-4:]] == ["random"] * 4
    assert (rows[5]["policy"], rows[5]["rank"], rows[5]["label"], rows[5]["cost_search_epochs"]) == (
        "ENAS|x",
        "1",
        "second",
        "",
    )
    assert float(rows[4]["value"]) == 62.1 and json.loads(rows[4]["architecture"]) == {"node0": "tanh"}
    value = json.loads(written["statistics.json"].read_text())
    assert value["differences"][1]["improvement"] == pytest.approx(0.6) and value["summaries"]["random"]["n"] == 4
    assert "NaN" not in written["statistics.json"].read_text()


def test_equal_comparisons_give_equal_files(written: dict[str, Path], tmp_path: Path) -> None:
    again = write_report(full(), tmp_path, resamples=500)
    assert {name: path.read_bytes() for name, path in again.items()} == {
        name: path.read_bytes() for name, path in written.items()
    }


def test_curves_that_are_drawn() -> None:
    whole = full()
    assert curve_measure(whole) == ("epoch", "valid_perplexity") == curve_measure(whole, "search_curve")
    assert curve_measure(compared(A=[1, 2], random=[1, 2])) is None
    colours = looks(whole)
    assert list(colours)[-1] == "random" and len(set(colours.values())) == 3


def test_no_torch_is_imported() -> None:
    code = "import nni_plugins.evaluators.reports.comparison.report, sys; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0
