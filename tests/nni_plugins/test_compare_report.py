"""What a comparison reports: which runs, beside which baselines, of each evaluation; and the command that does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.reports.comparison import analyse
from nni_plugins.evaluators.reports.comparison.record import read_comparison
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.studies.compare.experiment import CompareExperiment
from nni_plugins.studies.compare.result import comparison_of

from .comparing import FEW, SIZE, TABLE, arguments, comparison, finish, rows_of
from .comparing import no_pictures as no_pictures
from .comparing import plugins as plugins
from .small import Cli, write

BOTH = {"table": TABLE, "size": SIZE}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, plugins: None) -> Path:
    """The folder of a comparison by two evaluations, with two baselines; the table takes no name."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    evaluations = {**BOTH, "table": {**TABLE, "baselines": False}}
    run_experiment(
        comparison(evaluations=evaluations, baselines=["largest_parameters", "resnet18"], seeds=[0, 1, 2]), folder
    )
    return folder


def test_a_report_for_each_evaluation(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    for name, metric in (("table", "accuracy"), ("size", "size")):
        found = read_comparison(finished / "report" / name / "comparison.json")
        statistics = result["statistics"][name]
        assert statistics == json.loads((finished / "report" / name / "statistics.json").read_text())
        assert (found.metric, found.baseline, statistics["larger_is_better"]) == (metric, "random", name == "table")
        means = {policy: np.mean([run.value for run in found.first_choices(policy)]) for policy in found.policies}
        assert {policy: one["mean"] for policy, one in statistics["summaries"].items()} == pytest.approx(means)
        assert any("Budgets differ in queries: more 6, few 4, random 0" in line for line in statistics["warnings"])
        assert result["files"][name]["report.html"] == f"report/{name}/report.html"
        assert all((finished / path).exists() for path in result["files"][name].values())
        page = (finished / "report" / name / "report.html").read_text()
        assert all(word in page for word in ("more", "Budgets differ", "svg", "Single networks", f": {name}</h1>"))
        counted = found.setting["finished"]
        assert counted["missing"] == counted["failed"] == [] and counted["measured"] + counted["reused"] == len(
            rows_of(finished, name)
        )
    assert result["measured"] + result["reused"] == 9 + 11 and result["versions"]["nni-plugins"]


def test_the_page_above_several_evaluations(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert result["report"] == "report/report.html"
    markdown, page = (finished / "report" / "report.md").read_text(), (finished / result["report"]).read_text()
    assert page.count('src="data:image/svg+xml;base64,') == 2 and "(table/distribution.svg)" in markdown
    for statistics in result["statistics"].values():
        for said in [one["sentence"] for one in statistics["differences"]] + statistics["standing_sentences"]:
            assert f"<li>{said}</li>" in page
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in markdown.splitlines() if line.startswith("| ")}
    assert {"more", "few", "random", "largest\\_parameters", "resnet18"} <= set(rows)
    assert " | – | 802.43 |" in rows["largest\\_parameters"], "no baselines on the table"


def test_baselines_where_smaller_is_better(finished: Path) -> None:
    """What is found must be smaller than the largest network of the space, and larger than eight letters."""
    found = read_comparison(finished / "report" / "size" / "comparison.json")
    largest, named = found.baselines
    assert (largest.value, largest.label) == (802.426, "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|")
    assert largest.measures.keys() == {"parameters", "macs"}, "an infinite measure is left out"
    assert (named.name, named.label, named.value) == ("resnet18", "resnet18", 8.0)
    statistics = json.loads((finished / "report" / "size" / "statistics.json").read_text())
    assert {(one["policy"], one["baseline"]): one["better"] for one in statistics["standings"]} == {
        (policy, baseline): better
        for policy in ("more", "few", "random")
        for baseline, better in (("largest_parameters", 3), ("resnet18", 0))
    }
    said = statistics["standing_sentences"][0]
    mean = statistics["summaries"]["more"]["mean"]
    assert said == (
        f"more: 3 of 3 seeds better than largest_parameters (802.43 k), on average {802.426 - mean:.2f} k better; "
        f"0 of 3 seeds better than resnet18 (8.00 k), on average {mean - 8:.2f} k worse."
    )
    markdown = (finished / "report" / "size" / "report.md").read_text()
    assert "## Baselines" in markdown and "| resnet18 | 8.00 | – | – | resnet18 |" in markdown
    assert "## Baselines" not in (finished / "report" / "table" / "report.md").read_text()


# -- what is not finished ----------------------------------------------------------------------------------------------
def partly(whole: CompareExperiment, *missing: str) -> Plan:
    """All jobs are done but those whose names begin so."""
    plan = Plan(whole)
    while waiting := [
        job for job in plan.jobs.values() if job.status == "waiting" and not job.name.startswith(missing)
    ]:
        finish(plan, waiting[0])
    return plan


def test_paired_seeds_are_those_that_all_policies_have() -> None:
    """Otherwise the second run of one policy would be compared with the third of another."""
    whole = comparison(seeds=[5, 2, 9], report={"paired": True, "resamples": 1000})
    found = comparison_of(whole.settings, whole.evaluations, partly(whole, "search-few-5"), "table")
    for policy in ("more", "few", "random"):
        assert [run.seed for run in found.first_choices(policy)] == [2, 9]
    (_, difference) = analyse(found, paired=True, resamples=100).differences
    values = {policy: [run.value for run in found.first_choices(policy)] for policy in ("few", "random")}
    assert difference.improvement == pytest.approx(np.mean(np.subtract(values["few"], values["random"])))
    apart = comparison(seeds=[5, 2, 9])
    found = comparison_of(apart.settings, apart.evaluations, partly(apart, "search-few-5"), "table")
    assert [len(found.first_choices(policy)) for policy in ("more", "few", "random")] == [3, 2, 3]


@pytest.mark.usefixtures("no_pictures")
def test_a_policy_with_too_few_seeds_is_left_out(tmp_path: Path) -> None:
    whole = comparison()
    result = whole.conclude(partly(whole, "search-few-1", "table-more-0"), tmp_path)
    assert result["report"] is None and result["statistics"] == {}, "neither policy has two seeds"
    result = whole.conclude(partly(whole, "search-few-1"), tmp_path)
    assert set(result["statistics"]["table"]["summaries"]) == {"more", "random"}
    assert result["missing"] == ["search-few-1"] and result["report"] == result["files"]["table"]["report.html"]
    found = read_comparison(tmp_path / "report" / "table" / "comparison.json")
    assert found.setting["finished"]["missing"] == ["search-few-1"] and found.title == whole.settings.title


def test_values_that_cannot_be_compared(tmp_path: Path) -> None:
    """All is finished, so no report is an error."""
    whole = comparison()
    plan = partly(whole)
    plan.jobs["table-few-0-1"].value["result"]["value"] = float("nan")
    with pytest.raises(ConfigError, match="must be finite: few seed 0 value = nan"):
        whole.conclude(plan, tmp_path)


# -- the command -------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("no_pictures")
def test_the_command(tmp_path: Path, run: Cli) -> None:
    given = arguments(baselines=["largest_macs"])
    file, folder = write(tmp_path / "x.yml", given), tmp_path / "run"
    first = run("compare", file, "--output", folder, "--only", "few", "--json").json
    assert (first["statistics"], first["files"], first["report"]) == ({}, {}, None)
    assert len(first["missing"]) == 5, "two searches, two random ones, a baseline"
    status, _, err = run("compare", file, "--output", folder, "--only", "fw")
    assert status == 2 and "--only fw: no such policy; did you mean 'few'" in err
    status, _, err = run("compare", "--report-only", folder)
    assert status == 2 and "too little is finished for a report" in err
    second = run("compare", file, "--output", folder, "--only", "random", "--only", "largest_macs", "--json").json
    assert set(second["statistics"]["table"]["summaries"]) == {"few", "random"}
    assert second["missing"] == ["search-more-0", "search-more-1"]
    shown = run("compare", file, "--output", folder)
    words = (
        "With 2 seeds each, more is",
        "2 seeds better than largest_macs",
        "report.html",
        "taken over from equal ones",
    )
    assert shown.status == 0 and all(word in shown.out for word in words)
    (folder / "report" / "table" / "report.md").unlink()
    assert run("compare", "--report-only", folder, "--json").json["missing"] == []
    assert (folder / "report" / "table" / "report.md").exists()
    other = {**given, "report": {"baseline": ["few", "random"]}}
    judged = run("compare", write(file, other), "--report-only", folder, "--json").json["statistics"]["table"]
    assert [(d["policy"], d["baseline"]) for d in judged["differences"]] == [
        ("more", "few"),
        ("random", "few"),
        ("more", "random"),
        ("few", "random"),
    ]
    paired = run("compare", write(file, {**given, "report": {"paired": True}}), "--report-only", folder, "--json").json
    assert paired["statistics"]["table"]["paired"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either CONFIG or --report-only must be given"),
        (["--report-only", "x", "--only", "y"], "--only runs policies, and --report-only runs nothing"),
        (["--report-only", "nowhere"], "holds no experiment"),
        (["nowhere.yml"], "cannot read nowhere.yml"),
    ],
)
def test_wrong_words(run: Cli, words: list[str], said: str) -> None:
    status, _, err = run("compare", *words)
    assert status == 2 and said in err


def test_a_folder_of_another_experiment(tmp_path: Path, run: Cli) -> None:
    settings: dict[str, Any] = {"space": {"name": "nasbench201", "nodes": 3}, "evaluations": {}}
    write(tmp_path / "config.json", {"schema": 1, "experiment": "FirstOnes", "settings": settings})
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1, "experiment": "FirstOnes", "settings": settings}))
    status, _, err = run("compare", "--report-only", tmp_path)
    assert status == 2 and "tuner FirstOnes compares nothing" in err
    assert comparison(policies={"few": FEW}).command == "compare"
