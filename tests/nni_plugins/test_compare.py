"""Comparisons: what is refused, planned, run, resumed and reported; nearly all of it on the table of digits, which
trains nothing.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nni_plugins import registry
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError
from nni_plugins.evaluators.reports.comparison.record import read_comparison
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.presets import render
from nni_plugins.presets.comparisons import COMPARISONS
from nni_plugins.strategies.random.random_search import RandomSearch
from nni_plugins.strategies.ranking import Ranked
from nni_plugins.studies.compare import jobs, runner
from nni_plugins.studies.compare.config_file import is_compare, read_compare
from nni_plugins.studies.compare.measure import images_of, split
from nni_plugins.studies.compare.plan import CompareJob, ComparePlan, portal_space, random_architectures
from nni_plugins.studies.compare.runner import report_only, run_comparison
from nni_plugins.studies.compare.settings import CompareSettings
from nni_plugins.studies.compare.trial import run_trial
from nni_plugins.studies.compare.tuner import CompareTuner

from .small import Cli, write

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1}
TPE = {"kind": "queries", "method": "TPE", "queries": 6, "arguments": {"n_startup_jobs": 3}}
BEST = {"kind": "queries", "method": "Random", "queries": 4}


def arguments(**changes: Any) -> dict[str, Any]:
    """Two policies and two seeds on a table."""
    return {
        "space": {"name": "nasbench201", "nodes": 3},
        "seeds": [0, 1],
        "evaluation": {"kind": "table", "metric": "accuracy_seed0", "test_metric": "accuracy"},
        "policies": {"tpe": TPE, "best": BEST},
        "report": {"resamples": 1000},
        **changes,
    }


def settings(**changes: Any) -> CompareSettings:
    return read(CompareSettings, arguments(**changes))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "runs.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take most of the time."""
    monkeypatch.setattr("nni_plugins.evaluators.reports.comparison.report.figures", lambda analysis: {})


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [3]}, "seeds: at least two are needed, or nothing is known of the deviation between searches"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"policies": {}}, "policies: must be a mapping of at least one policy"),
        ({"policies": {"a b": BEST}}, "'a b' must consist of letters"),
        ({"policies": {"random": BEST}}, "baseline: 'random' must be a name of its own"),
        (
            {"policies": {"x": {"kind": "query"}}},
            "x.kind: must be one of experiment, queries, strategy, recurrent, precomputed, but got 'query'",
        ),
        (
            {"policies": {"x": {**BEST, "querys": 3}, "y": {"kind": "precomputed"}}},
            "x.querys: no such key; did you mean 'queries'?; y.file: field required",
        ),
        ({"policies": {"x": {**TPE, "arguments": {"gama": 1}}}}, "no such argument of TPE; did you mean 'gamma'"),
        (
            {"policies": {"x": {**TPE, "method": "NAO", "arguments": {"initial": 1}}}},
            "arguments.initial: input should be greater than",
        ),
        (
            {"policies": {"x": {**TPE, "method": "RegularizedEvolution", "arguments": {"sample_size": 200}}}},
            "1 <= sample_size <= population_size must hold, but got 200 and 100",
        ),
        ({"policies": {"x": BEST}, "per_search": 5}, "policies.x.queries: 4 give no 5 different architectures"),
        (
            {"policies": {"x": {"kind": "experiment", "strategy": "RandomSearch"}}},
            "policies.x.strategy: unknown 'RandomSearch'",
        ),
        ({"policies": {"x": {"kind": "experiment", "strategy": "RLNAS"}}}, "policies.x.data: must be given"),
        (
            {"policies": {"x": {"kind": "experiment", "strategy": "rlnas", "data": {}, "training": {"epoch": 3}}}},
            "policies.x.training.epoch: no such key; did you mean 'epochs'",
        ),
        (
            {"policies": {"x": {"kind": "strategy", "name": "rlna", "evaluator": {"name": "tabel"}}}},
            "did you mean 'rlnas'",
        ),
        (
            {"policies": {"x": {"kind": "recurrent", "method": "DARTS"}}},
            "policies.x.kind: recurrent searches the text of an evaluation",
        ),
        ({"optimize_mode": "minimize"}, "optimize_mode: must be maximize"),
        ({"evaluation": {"kind": "tables"}}, "expected tags: 'table', 'stand_alone', 'language_model'"),
        (
            {"evaluation": {"kind": "stand_alone", "network": {"chanels": 3}}},
            "evaluation.network: chanels: no such argument of the space; did you mean 'channels'",
        ),
        ({"evaluation": {"kind": "stand_alone", "objective": {"name": "supervise"}}}, "did you mean 'supervised'"),
        ({"evaluation": {"kind": "language_model", "text": {"path": "."}}}, "networks of nasbench201 take images"),
        (
            {"space": {"name": "recurrent"}, "evaluation": {"kind": "stand_alone"}},
            "networks of recurrent take no images",
        ),
        ({"space": {"name": "nasbench21"}}, "did you mean 'nasbench201'"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**changes)
    assert said in caught.value.problem


def test_several_problems_are_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(seeds=[1], threads=0, evaluation={"kind": "table", "metrc": "x"})
    assert all(
        key in caught.value.problem
        for key in ("seeds:", "threads:", "evaluation.metrc: no such key; did you mean 'metric'")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": {"kind": "table", "metric": "acuracy"}}, "has no metric 'acuracy'; did you mean 'accuracy'"),
        ({"evaluation": {"kind": "table", "table": "x.csv"}}, "x.csv: No such file"),
        ({"space": {"name": "nasbench201", "nodes": 4}}, "evaluation.table: digits_3nodes.csv is of"),
        ({"policies": {"x": {"kind": "precomputed", "file": "x.json"}}}, "policies.x.file: cannot read"),
        (
            {"evaluation": {"kind": "stand_alone", "objective": {"name": "supervised", "x": 1}}},
            "evaluation.objective: ",
        ),
    ],
)
def test_what_is_only_seen_in_other_files(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception) as caught:
        read_compare(write(tmp_path / "x.yml", arguments(**changes)))
    assert said in str(caught.value) and type(caught.value).__module__.endswith("errors")


def test_missing_text(tmp_path: Path, run: Cli) -> None:
    changes = {
        "space": {"name": "recurrent", "nodes": 2},
        "policies": {"darts": {"kind": "recurrent", "method": "DARTS"}},
    }
    file = write(
        tmp_path / "x.yml", arguments(evaluation={"kind": "language_model", "text": {"path": "nowhere"}}, **changes)
    )
    status, _, err = run("compare", file, "--output", tmp_path / "run")
    assert status == 2 and "no train text: there is no file" in err and not (tmp_path / "run").exists()


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name, preset in COMPARISONS.items() if preset.example])
def test_examples_are_the_presets(name: str) -> None:
    text = (EXAMPLES / f"{name}.yml").read_text()
    assert text == render(name) and is_compare(EXAMPLES / f"{name}.yml")
    content = yaml.safe_load(text)
    found = read(CompareSettings, content["tuner"]["classArgs"])
    assert content["maxTrialNumber"] == found.expected_trials and content["searchSpace"] == portal_space(found)
    assert CompareSettings.model_validate(found.model_dump(mode="json")) == found, "trials get it as JSON"
    if name not in ("compare_nasbench201_table", "compare_two_nodes"):  # whose table and text are not beside them
        assert read_compare(EXAMPLES / f"{name}.yml") == found


def test_an_experiment_file_must_fit(tmp_path: Path, run: Cli) -> None:
    content = yaml.safe_load(render("compare_digits_table"))
    file = write(tmp_path / "x.yml", {**content, "maxTrialNumber": 3, "maxTrial": 1, "searchSpace": {}})
    with pytest.raises(ConfigError) as caught:
        read_compare(file)
    assert "maxTrialNumber: must be 90, the exact number of trials, but got 3" in caught.value.problem
    assert (
        "maxTrial: no such key of NNI's" in caught.value.problem
        and "searchSpace: is not the one" in caught.value.problem
    )
    assert yaml.safe_load(caught.value.remedy.partition("search space:\n")[2])["searchSpace"] == content["searchSpace"]
    assert (
        run("doctor", write(file, content), "--json").json[-1]["detail"]
        == "a valid experiment for tuner compare, 90 trials"
    )
    status, _, err = run("search", file)
    assert status == 2 and f"nni-plugins compare {file}" in err
    status, _, err = run("compare", EXAMPLES / "rlnas_digits.yml")
    assert status == 2 and "tuner 'RLNAS' compares nothing" in err


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    cells = [digits_table().space.to_string(a) for a in digits_table().architectures[:2]]
    (tmp_path / "found.json").write_text(json.dumps({"0": cells[0], "1": [cells[1]]}))
    (tmp_path / "table.csv").write_text(
        "architecture,accuracy\n"
        + "".join(f"{s},1\n" for s in map(digits_table().space.to_string, digits_table().architectures))
    )
    policies = {"given": {"kind": "precomputed", "file": "found.json"}}
    found = read_compare(
        write(tmp_path / "x.yml", arguments(policies=policies, evaluation={"kind": "table", "table": "table.csv"}))
    )
    assert found.evaluation.table == str(tmp_path / "table.csv") and found.policies["given"].file == str(
        tmp_path / "found.json"
    )  # type: ignore[union-attr]
    plan = ComparePlan(found)
    assert [plan.jobs[f"train-given-{seed}-1"].choices for seed in (0, 1)] == [
        a.as_dict() for a in digits_table().architectures[:2]
    ]


# -- the random policy -------------------------------------------------------------------------------------------------
def test_random_draws_are_uniform_and_depend_on_the_seed_alone() -> None:
    many = settings(seeds=list(range(2000)))
    drawn = [random_architectures(many, seed) for seed in many.seeds]
    assert all(len(one) == 1 for one in drawn) and drawn[:2] == [
        random_architectures(settings(policies={"x": BEST}), s) for s in (0, 1)
    ]
    counts = Counter(one[0] for one in drawn)
    assert len(counts) == 125 and sum((count - 16) ** 2 / 16 for count in counts.values()) < 170, (
        "chi-square, 124 degrees of freedom, p > 0.003"
    )


def test_connected_random_draws() -> None:
    some = settings(connected=True, per_search=2, policies={"x": {**BEST, "queries": 9}})
    drawn = [a for seed in range(300) for a in random_architectures(some, seed)]
    space = some.search_space
    assert (space.complete_paths(space.encode(drawn)) > 0).all() and len(set(drawn)) == 116, (
        "nine of 125 cells have no path"
    )
    assert all(first != second for first, second in zip(drawn[::2], drawn[1::2], strict=True))


# -- a whole comparison ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison with three architectures a search."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    run_comparison(settings(seeds=[0, 1, 2], per_search=3, policies={"tpe": TPE, "best": BEST}), folder)
    return folder


def test_what_a_comparison_leaves(finished: Path) -> None:
    table, rows = digits_table(), rows_of(finished)
    assert Counter((row["policy"], row["rank"]) for row in rows) == {
        (p, str(r)): 3 for p in ("tpe", "best", "random") for r in range(3)
    }
    told, true = table.metric("accuracy_seed0"), table.metric("accuracy")
    numbers = {table.space.to_string(a): i for i, a in enumerate(table.architectures)}
    for row in rows:
        i = numbers[row["label"]]
        assert (
            float(row["value"]) == true[i]
            and float(row["valid_accuracy_seed0"]) == told[i]
            and float(row["parameters"]) > 0
        )
        assert row["policy"] == "random" or float(row["search_score"]) == told[i]
        assert row["cost_queries"] == {"tpe": "6.0", "best": "4.0", "random": "0.0"}[row["policy"]]
    result = json.loads((finished / "result.json").read_text())
    different = len({row["label"] for row in rows})
    assert (
        (result["measured"], result["reused"]) == (different, 27 - different)
        and result["missing"] == []
        and different < 27
    )
    comparison = read_comparison(finished / "report" / "comparison.json")
    assert comparison.setting["finished"]["reused"] == 27 - different and comparison.baseline == "random"
    means = {name: np.mean([run.value for run in comparison.first_choices(name)]) for name in comparison.policies}
    assert {n: s["mean"] for n, s in result["statistics"]["summaries"].items()} == pytest.approx(means)
    assert any(
        "Budgets differ in queries: tpe 6, best 4, random 0" in warning for warning in result["statistics"]["warnings"]
    )
    page = (finished / "report" / "report.html").read_text()
    assert all(word in page for word in ("tpe", "Budgets differ", "svg", "single networks".capitalize()))


def test_a_query_method_returns_the_best_of_what_it_asked(finished: Path) -> None:
    for seed in range(3):
        found = json.loads((finished / "runs" / f"search-best-{seed}.json").read_text())["value"]["result"]
        asked = sorted((row["value"] for row in found["curve"]), reverse=True)
        assert [entry["score"] for entry in found["found"]] == asked[:3] and found["cost"] == {
            "queries": 4.0,
            "search_epochs": 0.0,
        }
        assert [row["best"] for row in found["curve"]] == list(
            np.maximum.accumulate([row["value"] for row in found["curve"]])
        )


def stable(folder: Path) -> dict[str, Any]:
    """The comparison without the seconds that everything took."""
    value = json.loads((folder / "report" / "comparison.json").read_text())
    for one in value["runs"]:
        one["measures"] = {name: number for name, number in one["measures"].items() if "seconds" not in name}
    return {key: entry for key, entry in value.items() if key != "setting"}


def counted(
    monkeypatch: pytest.MonkeyPatch, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt
) -> list[str]:
    """The names of the jobs that are run from now on; the ``stop``-th is interrupted."""
    names: list[str] = []
    original = jobs.run_job

    def run_job(s: CompareSettings, job: CompareJob, *args: Any) -> dict[str, Any]:
        if stop is not None and len(names) == stop:
            raise error
        names.append(job.name)
        return original(s, job, *args)

    monkeypatch.setattr(runner, "run_job", run_job)
    return names


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_comparison_repeats_nothing(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(seeds=[0, 1, 2], per_search=3)
    done: list[str] = []
    for stop in (4, 5, 11, None):
        with pytest.MonkeyPatch.context() as patch:
            names = counted(patch, stop)
            if stop is None:
                run_comparison(wanted, tmp_path)
            else:
                with pytest.raises(KeyboardInterrupt):
                    run_comparison(wanted, tmp_path)
        done += names
    assert len(done) == len(set(done)) == wanted.expected_trials == 33
    assert stable(tmp_path) == stable(finished)
    names = counted(monkeypatch)
    assert run_comparison(wanted, tmp_path).missing == [] and names == []


@pytest.mark.usefixtures("no_pictures")
def test_seeds_and_policies_may_be_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_comparison(settings(policies={"best": BEST}), tmp_path)
    names = counted(monkeypatch)
    outcome = run_comparison(settings(seeds=[0, 1, 5]), tmp_path)
    assert outcome.statistics["summaries"]["best"]["n"] == 3
    assert sorted(name for name in names if "tpe" not in name) == [
        "search-best-5",
        "train-best-5-1",
        "train-random-5-1",
    ]
    names.clear()
    assert (
        set(run_comparison(settings(policies={"tpe": TPE}), tmp_path).statistics["summaries"]) == {"tpe", "random"}
        and names == []
    )


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"policies": {"tpe": {**TPE, "queries": 7}, "best": BEST}},
            r"search-tpe-0.json was made with other settings: policy.queries: 6 -> 7",
        ),
        ({"evaluation": {"kind": "table", "metric": "accuracy_seed0"}}, r"evaluation.test_metric: 'accuracy' -> None"),
        ({"per_search": 2}, r"per_search: 1 -> 2"),
        ({"space": {"name": "nasbench201", "nodes": 3, "channels": 8}}, r"space.channels"),
    ],
)
def test_a_changed_comparison_is_not_mixed_with_the_old_one(
    tmp_path: Path, run: Cli, changes: dict[str, Any], said: str
) -> None:
    run_comparison(settings(), tmp_path)
    before = (tmp_path / "config.yml").read_bytes()
    with pytest.raises(ConfigChanged, match=said):
        run_comparison(settings(**changes), tmp_path)
    assert (tmp_path / "config.yml").read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_damaged_runs(tmp_path: Path) -> None:
    run_comparison(settings(), tmp_path)
    (tmp_path / "runs" / "search-best-1.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"search-best-1.json is damaged.[\s\S]*Delete it to run this job again"):
        run_comparison(settings(), tmp_path)


# -- the command -------------------------------------------------------------------------------------------------------
def test_the_command(tmp_path: Path, run: Cli) -> None:
    file, folder = write(tmp_path / "x.yml", arguments()), tmp_path / "run"
    first = run("compare", file, "--output", folder, "--only", "best", "--json").json
    assert first["statistics"] is None and first["files"] == {} and len(first["missing"]) == 4, (
        "two searches of tpe, two random ones"
    )
    status, _, err = run("compare", file, "--output", folder, "--only", "bst")
    assert status == 2 and "--only bst: no such policy; did you mean 'best'" in err
    status, _, err = run("compare", "--report-only", folder)
    assert status == 2 and "too little is finished for a report" in err
    second = run("compare", file, "--output", folder, "--only", "random", "--only", "best", "--json").json
    assert set(second["statistics"]["summaries"]) == {"best", "random"} and second["missing"] == [
        "search-tpe-0",
        "search-tpe-1",
    ]
    shown = run("compare", file, "--output", folder)
    assert (
        shown.status == 0
        and "With 2 seeds each, tpe is" in shown.out
        and "report.html" in shown.out
        and "taken over from equal ones" in shown.out
    )
    files = set(second["files"]) - {"curves.svg"}
    assert {"report.html", "report.md", "runs.csv", "comparison.json", "statistics.json", "distribution.svg"} <= files
    assert all((folder / "report" / name).exists() for name in files)
    (folder / "report" / "report.md").unlink()
    assert (
        run("compare", "--report-only", folder, "--json").json["missing"] == []
        and (folder / "report" / "report.md").exists()
    )
    paired = run("compare", write(file, arguments(report={"paired": True})), "--report-only", folder, "--json").json
    assert paired["statistics"]["paired"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either CONFIG or --report-only must be given"),
        (["--report-only", "x", "--only", "y"], "--only runs policies, and --report-only runs nothing"),
        (["--report-only", "nowhere"], "holds no comparison"),
        (["nowhere.yml"], "cannot read nowhere.yml"),
    ],
)
def test_wrong_words(run: Cli, words: list[str], said: str) -> None:
    status, _, err = run("compare", *words)
    assert status == 2 and said in err


# -- strategies and spaces of other packages ---------------------------------------------------------------------------
class Alphabetical(RandomSearch):
    """Another package's strategy: the first architectures of the space, whatever they are worth."""

    def __init__(self, samples: int = 3, seed: int = 7) -> None:
        super().__init__(samples, seed=seed)

    def _run(self) -> None:
        space = self.model_space.model_space.search_space
        first = space.decode(space.enumerate()[self.seed : self.seed + self.samples])
        self.ranked = [Ranked(a, float(self.model_space.evaluator.evaluate(a))) for a in first]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    def add(kind: str, name: str, value: str) -> None:
        known = registry.found(kind)
        monkeypatch.setitem(known, name, EntryPoint(name, value, f"nni_plugins.{kind}"))

    return add


@pytest.mark.usefixtures("no_pictures")
def test_another_packages_strategy(tmp_path: Path, install: Callable[[str, str, str], None]) -> None:
    install("strategies", "alphabetical", f"{__name__}:Alphabetical")
    table = {"name": "table", "arguments": {"table": "digits", "metric": "accuracy_seed1"}}
    policies = {
        "theirs": {"kind": "strategy", "name": "alphabetical", "arguments": {"samples": 2}, "evaluator": table},
        "ours": {
            "kind": "strategy",
            "name": "random_search",
            "arguments": {"samples": 125},
            "evaluator": {"name": "table"},
        },
    }
    run_comparison(settings(policies=policies, seeds=[3, 4], per_search=2), tmp_path)
    space, metric = digits_table().space, digits_table().metric("accuracy_seed0")
    assert [float(row["search_score"]) for row in rows_of(tmp_path) if row["policy"] == "ours"] == [
        *np.sort(metric)[:-3:-1]
    ] * 2
    labels = {(row["policy"], row["seed"], row["rank"]): row["label"] for row in rows_of(tmp_path)}
    alphabet = [space.to_string(a) for a in space.decode(space.enumerate()[3:6])]
    assert [labels["theirs", str(s), str(r)] for s, r in ((3, 0), (3, 1), (4, 0), (4, 1))] == [
        alphabet[0],
        alphabet[1],
        alphabet[1],
        alphabet[2],
    ]
    best = space.to_string(digits_table().architectures[int(np.argmax(metric))])
    assert np.sum(metric == metric.max()) > 1 or labels["ours", "3", "0"] == best
    assert (
        "not recorded for theirs, ours" in (tmp_path / "report" / "report.md").read_text()
        or "queries" not in (tmp_path / "report" / "runs.csv").read_text()
    )


def test_arguments_that_a_plugin_does_not_take(tmp_path: Path) -> None:
    policies = {
        "x": {"kind": "strategy", "name": "random_search", "arguments": {"sample": 2}, "evaluator": {"name": "table"}}
    }
    with pytest.raises(ConfigError, match=r"strategies random_search: .*'sample'[\s\S]*It takes samples, seed"):
        run_comparison(settings(policies=policies), tmp_path)


TRAINED: dict[str, Any] = {
    "kind": "stand_alone",
    "data": {"source": "digits", "limit": 120},
    "settings": {"epochs": 1, "batch_size": 60, "accelerator": "cpu"},
}


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_another_packages_space_and_real_trainings(
    tmp_path: Path, install: Callable[[str, str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kernelnet: a search with shared weights, a strategy with its own trainings, and queries that train."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "third_party"))
    install("spaces", "kernelnet", "kernelnet:KernelNet")
    (tmp_path / "found.json").write_text(json.dumps({"0": "1x1-1x1-1x1-1x1", "1": "1x1-1x1-1x1-1x1"}))
    policies = {
        "rlnas": {"kind": "experiment", "strategy": "RLNAS", "training": {"epochs": 1, "accelerator": "cpu"}},
        "search": {
            "kind": "strategy",
            "name": "random_search",
            "arguments": {"samples": 1},
            "evaluator": {"name": "stand_alone"},
        },
        "queries": {"kind": "queries", "method": "Random", "queries": 2},
        "given": {"kind": "precomputed", "file": str(tmp_path / "found.json")},
    }
    whole = settings(space={"name": "kernelnet", "channels": 2}, evaluation=TRAINED, policies=policies)
    outcome = run_comparison(whole, tmp_path / "run")
    rows, folder = rows_of(tmp_path / "run"), tmp_path / "run"
    assert (
        len(rows) == 10
        and outcome.measured == len({row["label"] for row in rows}) == len(list((folder / "trained").iterdir())) < 10
    )
    given = [row for row in rows if row["policy"] == "given"]
    assert given[0]["value"] == given[1]["value"] and given[1]["train_seconds"] == "", (
        "trained once, so it took no time again"
    )
    assert [row["cost_search_epochs"] for row in rows if row["policy"] == "rlnas"] == ["1.0", "1.0"]
    answers = json.loads((folder / "searches" / "queries-0" / "answers.json").read_text())
    found = json.loads((folder / "runs" / "search-queries-0.json").read_text())["value"]["result"]["found"][0]
    assert found["score"] == max(answers.values()) and len(answers) == 2
    (folder / "runs" / "search-queries-0.json").unlink()
    monkeypatch.setattr("nni_plugins.studies.compare.policies.ask", None)  # a killed search is answered from its file
    run_comparison(whole, folder)
    assert json.loads((folder / "runs" / "search-queries-0.json").read_text())["value"]["result"]["found"][0] == found
    assert (folder / "report" / "curves.svg").exists()


def test_queries_never_see_the_test_images() -> None:
    evaluation = settings(space=SMALL, evaluation={**TRAINED, "validation": 0.25}).evaluation
    parts, whole = split(evaluation), images_of(evaluation)  # type: ignore[arg-type]
    assert parts.test is not None and (len(parts.train), len(parts.test)) == (90, 30)
    assert parts.train.name.split("/")[0] == whole.train.name.split("/")[0]
    pixels = [part.on("cpu") for part in (parts.train, parts.test, whole.train)]
    import torch

    images = [p.gather(torch.arange(n)).flatten(1) for p, n in zip(pixels, (90, 30, 120), strict=True)]
    assert sorted(map(bytes, torch.cat(images[:2]).to(torch.uint8).numpy())) == sorted(
        map(bytes, images[2].to(torch.uint8).numpy())
    )


# -- text --------------------------------------------------------------------------------------------------------------
SEQUENCES = {"epochs": 1, "batch_size": 4, "bptt": 6, "accelerator": "cpu"}
SHARED = {**SEQUENCES, "evaluation_batch": 4, "reward_batch": 4}
METHODS: dict[str, dict[str, Any]] = {
    "DARTS": SEQUENCES,
    "NAO": {
        "training": SHARED,
        "search": {
            "iterations": 2,
            "initial": 6,
            "kept": 2,
            "proposals": {"seeds": 2, "new": 2},
            "controller": {"epochs": 1, "embedding": 4, "hidden": 8, "predictor": []},
        },
    },
    "ENAS": {"training": SHARED, "search": {"controller_steps": 1, "samples": 2, "hidden": 4, "candidates": 4}},
    "RandomNAS": {"training": SHARED, "search": {"candidates": 5}},
}


@pytest.mark.usefixtures("no_pictures")
def test_recurrent_policies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, lines in (("train", 16), ("valid", 14), ("test", 8)):
        (tmp_path / f"{part}.txt").write_text(
            "".join(" ".join(rng.choice(list("abcdef"), 8)) + "\n" for _ in range(lines))
        )
    (tmp_path / "train.txt").open("a").write("a b c d e f\n")
    changes = {
        "space": {"name": "recurrent", "nodes": 2, "hidden": 4},
        "evaluation": {
            "kind": "language_model",
            "text": {"path": str(tmp_path)},
            "settings": {**SEQUENCES, "evaluation_batch": 2},
        },
        "policies": {name: {"kind": "recurrent", "method": name, "settings": given} for name, given in METHODS.items()},
        "optimize_mode": "minimize",
    }
    outcome = run_comparison(settings(**changes), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 10 and all(float(row["value"]) == float(row["test_perplexity"]) > 1 for row in rows)
    assert {row["policy"]: row["cost_search_epochs"] for row in rows} == {
        "DARTS": "1.0",
        "NAO": "2.0",
        "ENAS": "1.0",
        "RandomNAS": "1.0",
        "random": "0.0",
    }
    assert outcome.statistics["larger_is_better"] is False and outcome.statistics["metric"] == "test perplexity"
    with pytest.raises(ConfigError, match=r"policies.x.settings.training.epoch: no such key; did you mean 'epochs'"):
        settings(
            **{
                **changes,
                "policies": {"x": {"kind": "recurrent", "method": "ENAS", "settings": {"training": {"epoch": 1}}}},
            }
        )
    with pytest.raises(ConfigError, match=r"method: unknown 'Darts'; known: DARTS, ENAS"):
        settings(**{**changes, "policies": {"x": {"kind": "recurrent", "method": "Darts"}}})


@pytest.mark.usefixtures("no_pictures")
# -- architectures from elsewhere --------------------------------------------------------------------------------------
def test_architectures_of_a_finished_search(tmp_path: Path) -> None:
    first = [a.as_dict() for a in digits_table().architectures[40:44]]
    searches = [
        {"seed": seed, "result": {"found": [{"choices": c} for c in first[2 * seed : 2 * seed + 2]]}} for seed in (0, 1)
    ]
    (tmp_path / "result.json").write_text(json.dumps({"searches": searches}))
    policies = {"earlier": {"kind": "precomputed", "file": str(tmp_path / "result.json")}}
    outcome = run_comparison(settings(policies=policies, per_search=2), tmp_path / "run")
    true = digits_table().metric("accuracy")
    assert [float(row["value"]) for row in rows_of(tmp_path / "run") if row["policy"] == "earlier"] == true[
        40:44
    ].tolist()
    assert settings(policies=policies, per_search=2).expected_trials == 8 and outcome.statistics["summaries"][
        "earlier"
    ]["mean"] == np.mean(true[[40, 42]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON file"),
        ("[]", "is neither a search's result.json nor"),
        ('{"searches": [{"seed": 0, "result": {}}]}', "is neither a search's result.json nor"),
        ('{"0": "|none~0|+|none~0|none~1|"}', "lacks an architecture of seed 1; it has seeds 0"),
        ('{"0": "|none~0|+|none~0|none~1|", "1": 3}', "an architecture is a string or a mapping"),
        ('{"0": "|none~0|+|none~0|none~1|", "1": "|non~0|+|none~0|none~1|"}', "did you mean 'none'"),
    ],
)
def test_files_that_hold_no_architectures(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        ComparePlan(settings(policies={"x": {"kind": "precomputed", "file": str(tmp_path / "x.json")}}))
    assert said in str(caught.value)


def test_no_torch_before_anything_runs() -> None:
    """NNI gives a tuner ten seconds to connect."""
    import subprocess

    code = f"""
import sys
from nni_plugins.studies.compare.tuner import CompareTuner
from nni_plugins.studies.compare.config_file import read_compare
tuner = CompareTuner(**{arguments()!r})
assert tuner._problem is None, tuner._problem
print(sorted({{"torch", "sklearn", "matplotlib", "pytorch_lightning"}} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr


# -- under NNI ---------------------------------------------------------------------------------------------------------
class Dispatcher:
    def __init__(self) -> None:
        self.sent: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []

    def send_trial_callback(self, number: int, parameters: dict[str, Any]) -> None:
        self.sent[number] = parameters

    def report_error(self, message: str) -> None:
        self.errors.append(message)


class Sent:
    """What a trial reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.curve: list[dict[str, Any]] = []
        monkeypatch.setattr("nni.report_intermediate_result", self.curve.append)
        monkeypatch.setattr("nni.trial.overwrite_intermediate_seq", lambda sequence: None)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NNI's folder of the experiment."""
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    return tmp_path


@pytest.mark.usefixtures("no_pictures")
def test_an_experiment_from_beginning_to_end(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial once, exactly as many as the file says; the numbers are those of a run in one process."""
    given = arguments(seeds=[0, 1, 2], per_search=3)
    tuner, dispatcher, sent = CompareTuner(**given), Dispatcher(), Sent(monkeypatch)
    wanted = settings(seeds=[0, 1, 2], per_search=3)
    numbers = list(range(wanted.expected_trials))
    first = tuner.generate_multiple_parameters(numbers, st_callback=dispatcher.send_trial_callback)
    assert [p["phase"] for p in first[:6]] == ["search"] * 6 and [p["policy"] for p in first[:6]] == ["tpe"] * 3 + [
        "best"
    ] * 3
    assert len({json.dumps({k: p[k] for k in wanted.search_space.labels}) for p in first[6:]}) == len(first) - 6, (
        "equal ones wait for each other"
    )
    dispatcher.sent |= dict(enumerate(first))
    ended: list[int] = []
    while waiting := [number for number in dispatcher.sent if number not in ended]:
        parameters = json.loads(json.dumps(dispatcher.sent[waiting[0]]))
        value = run_trial(parameters, experiment / "trials" / str(waiting[0]))
        tuner.receive_trial_result(waiting[0], "", json.loads(json.dumps(value)))
        tuner.trial_end(waiting[0], True)
        ended.append(waiting[0])
        axes = portal_space(wanted)
        assert all(parameters[axis] in space["_value"] for axis, space in axes.items()) and isinstance(
            value["default"], float
        )
    assert sorted(ended) == numbers and dispatcher.errors == [] and len(sent.curve) == 3 * (6 + 4)
    assert all(row["default"] == row["best"] for row in sent.curve)
    run_comparison(wanted, experiment / "here")
    assert stable(experiment / "run") == stable(experiment / "here")
    result = json.loads((experiment / "run" / "result.json").read_text())
    assert result["missing"] == [] and result["reused"] > 0 and result["measured"] + result["reused"] == 27
    assert report_only(experiment / "run").statistics == result["statistics"], "the command reports what the tuner ran"


def test_the_tuner_after_a_restart(experiment: Path) -> None:
    tuner = CompareTuner(**arguments())
    dispatcher = Dispatcher()
    first = tuner.generate_multiple_parameters([0, 1], st_callback=dispatcher.send_trial_callback)
    tuner.receive_trial_result(0, "", run_trial(first[0], experiment / "t"))
    again = CompareTuner(**arguments())
    again.load_checkpoint()
    assert {name: (job.status, type(job)) for name, job in again.plan.jobs.items()} == {
        name: (job.status, CompareJob) for name, job in tuner.plan.jobs.items()
    }
    assert again.plan.jobs["train-tpe-0-1"].policy == "tpe" and again.plan.jobs["search-tpe-1"].status == "running"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [1]}, "tuner.classArgs.seeds: at least two are needed"),
        ({"run_folder": "x"}, "tuner.classArgs.run_folder: must be an absolute path, but got 'x'"),
        ({"policies": {"x": {"kind": "precomputed", "file": "x.json"}}}, "policies.x.file: must be an absolute path"),
        ({"evaluation": {"kind": "table", "table": "x.csv"}}, "evaluation.table: must be an absolute path"),
    ],
)
def test_wrong_arguments_reach_the_portal(experiment: Path, changes: dict[str, Any], said: str) -> None:
    tuner, dispatcher = CompareTuner(**arguments(**changes)), Dispatcher()
    with pytest.raises(ConfigError):
        tuner.generate_multiple_parameters([0], st_callback=dispatcher.send_trial_callback)
    assert said in dispatcher.errors[0]
