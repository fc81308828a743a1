"""What a comparison refuses, and what its settings mean, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import read_experiment, resolve_paths
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.studies.compare.experiment import CompareExperiment

from .comparing import FEW, FIRST, MORE, SIZE, TABLE, arguments, comparison
from .comparing import plugins as plugins
from .small import Cli, file_of, write

RLNAS: dict[str, Any] = {"strategy": "RLNAS", "training": {"epochs": 1, "accelerator": "cpu"}}
TRAINED: dict[str, Any] = {"evaluator": "stand_alone", "data": {"source": "digits", "limit": 120}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [3]}, "seeds: at least two are needed, or nothing is known of the deviation between searches"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"policies": {}}, "policies: must be a mapping of at least one policy"),
        ({"policies": {"a b": FEW}}, "'a b' must consist of letters"),
        ({"policies": {"random": FEW}}, "policies.random: the policy that draws at random is called so"),
        ({"report": {"baseline": "mroe"}}, "report.baseline: no policy 'mroe'; did you mean 'more'?"),
        ({"report": {"baseline": ["few", "few"]}}, "must be one or several policies, each once"),
        ({"report": {"baseline": []}}, "must be one or several policies, each once"),
        ({"policies": {"few": {"search": {}}}}, "few.strategy: field required"),
        ({"policies": {"x": {"strategy": "rlna"}}}, "x.strategy: unknown 'rlna'; did you mean 'rlnas'"),
        (
            {"policies": {"x": {**FEW, "serch": {}}, "y": {"strategy": "BestOfFew"}}},
            "x.serch: no such key; did you mean 'search'?; y.search.queries: field required",
        ),
        ({"policies": {"x": {**FEW, "search": {"querys": 3}}}}, "x.search.querys: no such key; did you mean 'queries'"),
        (
            {"policies": {"x": {**RLNAS, "training": {"epoch": 3}, "data": {"sorce": "digits"}}}},
            "x.training.epoch: no such key; did you mean 'epochs'?; x.data.sorce: no such key",
        ),
        ({"policies": {"x": RLNAS}}, "policies.x.data: must be given, for no evaluation has images"),
        ({"policies": {"x": {**RLNAS, "data": {}, "objective": {"name": "labels"}}}}, "policies.x.objective: unknown"),
        (
            {"policies": {"largest_macs": FEW}, "baselines": ["largest_macs"]},
            "policies.largest_macs: a baseline is called so",
        ),
        ({"evaluations": {}}, "evaluations: at least one is needed"),
        (
            {"evaluations": {"table": {**TABLE, "random": 0}}},
            "evaluations.table.random: a comparison needs at least one",
        ),
        (
            {"evaluations": {"table": {**TABLE, "found": 3}}},
            "evaluations.table.found: 3 architectures, but per_search is 1",
        ),
        ({"evaluations": {"found": TABLE}}, "evaluations: found: a name is made of"),
        (
            {"evaluations": {"x": {"evaluator": "tabel"}}},
            "evaluations: x.evaluator: unknown 'tabel'; did you mean 'table'",
        ),
        ({"optimize_mode": "minimize"}, "optimize_mode: must be maximize"),
        (
            {"baselines": ["resnet18"]},
            "baselines: resnet18 is a network's name, which the evaluator table does not take",
        ),
        (
            {"evaluations": {"x": {**TRAINED, "network": {"chanels": 3}}}},
            "evaluations.x: network: chanels: no such argument of the space; did you mean 'channels'",
        ),
        ({"space": {"name": "nasbench21"}}, "did you mean 'nasbench201'"),
        ({"real_best": [1]}, "real_best: must be none, or at least two distinct seeds"),
        ({"real_best": [1, 1]}, "real_best: must be none, or at least two distinct seeds"),
        ({"real_best": [0, -1]}, "real_best: must be none, or at least two distinct seeds that are not negative"),
        (
            {"real_best": [0, 1], "space": {"name": "nasbench201"}},
            "at most 1,000 architectures can all be trained, but",
        ),
        ({"real_best": [0, 1], "evaluations": {"size": SIZE}}, "evaluations.size holds none out"),
        ({"policies": {"real-best": FEW}}, "policies.real-best: what real_best trains is called so"),
        (
            {"limits": {"max_parameters": 1}, "baselines": ["largest_parameters"]},
            "baselines: largest_parameters: no arch",
        ),
    ],
)
def test_wrong_settings(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        comparison(**changes)
    assert said in caught.value.problem


def test_a_strategy_that_searches_nothing_is_no_policy() -> None:
    from nni_plugins.strategies.plugins import strategy_plugin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(strategy_plugin("firstones")), "searches", False)
        with pytest.raises(ConfigError, match=r"x\.strategy: FirstOnes searches nothing, and every comparison has"):
            comparison(policies={"x": FIRST})


def test_several_problems_are_one_message() -> None:
    evaluations = {"table": {"evaluator": "table", "metrc": "x"}}
    with pytest.raises(ConfigError) as caught:
        comparison(
            seeds=[1], threads=0, evaluations=evaluations, policies={"x": {"strategy": "RLNAS", "search": {"x": 1}}}
        )
    keys = ("seeds:", "threads:", "table.metrc: no such key; did you mean 'metric'", "x.search.x: no such key")
    assert all(key in caught.value.problem for key in keys)
    with pytest.raises(ConfigError) as caught:
        comparison(report={"baseline": "y"}, optimize_mode="minimize", policies={"more": MORE, "few": FEW, "x": RLNAS})
    assert all(key in caught.value.problem for key in ("report.baseline:", "optimize_mode:", "policies.x.data:"))


def test_what_a_policy_is_asked() -> None:
    """The searches of a policy are those of an experiment with the comparison's space, limits and seeds."""
    evaluations = {"size": {**SIZE, "random": 1}, "trained": TRAINED, "table": TABLE}
    limits = {"max_parameters": 300_000}
    policies = {"own": {**RLNAS, "data": {"source": "digits", "limit": 50}}, "shared": RLNAS, "few": FEW}
    whole = comparison(evaluations=evaluations, policies=policies, limits=limits, per_search=2)
    own, shared, few = whole.searches.values()
    assert (own.data.limit, shared.data) == (50, DataSettings(source="digits", limit=120)), "the first that has some"
    for searched in (own, shared, few):
        assert (searched.seeds, searched.found, searched.limits.max_parameters) == ((0, 1), 2, 300_000)
    assert list(few.evaluations) == ["size"] and not shared.evaluations, "the first one answers"
    assert whole.evaluators["table"].data == shared.data
    assert list(whole.objectives) == ["policies.own.objective", "policies.shared.objective"]


def test_policies_may_search_in_another_size() -> None:
    """As the papers' own codes do: the found architectures are those of the comparison's space."""
    evaluations = {"trained": TRAINED}
    whole = comparison(evaluations=evaluations, policies={"wide": {**RLNAS, "space": {"channels": 12}}, "own": RLNAS})
    assert [searched.space.get("channels") for searched in whole.searches.values()] == [12, None]
    wide = next(job for job in whole.first_jobs() if job.policy == "wide")
    own = next(job for job in whole.first_jobs() if job.policy == "own")
    assert whole.identity(wide) != whole.identity(own)
    for changes, said in (
        ({"policies": {"x": {**RLNAS, "space": {"nodes": 4}}}}, "policies.x.space: nodes change which architectures"),
        ({"policies": {"x": {**FEW, "space": {"channels": 4}}}}, "policies.x.space: BestOfFew trains nothing itself"),
        (
            {"policies": {"x": {**RLNAS, "space": {"channels": 4}}}, "limits": {"max_parameters": 300_000}},
            "policies.x.space: the limits are of networks",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            comparison(evaluations={"trained": TRAINED}, **changes)


def test_settings_survive_as_json() -> None:
    """Trials and other processes get them so."""
    whole = comparison(evaluations={"trained": TRAINED, "size": SIZE}, policies={"x": RLNAS, "few": FEW}).settings
    assert type(whole).model_validate(json.loads(whole.model_dump_json())) == whole


def test_axes_and_places() -> None:
    whole = comparison(baselines=["largest_macs"], evaluations={"table": TABLE, "size": SIZE})
    axes = whole.axes()
    assert axes["phase"]["_value"] == ["search", "table", "size"]
    assert axes["policy"]["_value"] == ["more", "few", "random", "largest_macs"]
    assert axes["source"]["_value"] == ["search", "found", "random", "largest_macs"]
    labels = whole.settings.search_space.labels
    assert all(axes[label]["_value"][-1] == "all" for label in labels)
    jobs = list(whole.first_jobs())
    assert len(jobs) + 4 * 2 == whole.trials == 4 + 2 * (4 + 2 + 1)
    for job in jobs:
        assert all(place in axes[axis]["_value"] for axis, place in whole.parameters(job).items())
    places = {job.name: whole.parameters(job) for job in jobs}
    assert {places["search-few-1"][label] for label in labels} == {"all"}
    assert places["table-largest_macs"]["policy"] == places["table-largest_macs"]["source"] == "largest_macs"


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"evaluations": {"table": {**TABLE, "metric": "acuracy"}}},
            "has no metric 'acuracy'; did you mean 'accuracy'",
        ),
        ({"evaluations": {"table": {**TABLE, "table": "x.csv"}}}, "x.csv: No such file"),
        ({"space": {"name": "nasbench201", "nodes": 4}}, "evaluations.table: table: digits_3nodes.csv is of"),
        (
            {"per_search": 100, "policies": {"x": FIRST}, "limits": {"max_parameters": 30_000}},
            "per_search: 100 architectures",
        ),
        (
            {"evaluations": {"x": {**TRAINED, "objective": {"name": "supervised", "x": 1}}}, "policies": {"x": FIRST}},
            "evaluations.x.objective: ",
        ),
        (
            {"policies": {"x": {**RLNAS, "data": {}, "objective": {"name": "random_labels", "clases": 3}}}},
            "policies.x.objective: ",
        ),
    ],
)
def test_what_is_only_seen_in_files(tmp_path: Path, run: Cli, changes: dict[str, Any], said: str) -> None:
    status, _, err = run("compare", write(tmp_path / "x.yml", arguments(**changes)), "--output", tmp_path / "run")
    assert status == 2 and said in err and not (tmp_path / "run").exists()


def test_a_text_that_is_missing(tmp_path: Path, run: Cli) -> None:
    evaluations = {"perplexity": {"evaluator": "language_model", "text": {"path": "nowhere"}}}
    policies = {"darts": {"strategy": "RecurrentDARTS"}}
    given = arguments(space={"name": "recurrent", "nodes": 2}, evaluations=evaluations, policies=policies)
    status, _, err = run("compare", write(tmp_path / "x.yml", given), "--output", tmp_path / "run")
    assert status == 2 and "evaluations.perplexity: no train text: there is no file" in err
    assert str(tmp_path / "nowhere") in err and not (tmp_path / "run").exists()


def test_a_file_with_the_settings_alone_names_their_keys(tmp_path: Path, run: Cli) -> None:
    status, _, err = run("compare", write(tmp_path / "x.yml", arguments(seeds=[1], polices={})))
    assert status == 2 and "seeds: at least two" in err and "polices: no such key; did you mean 'policies'" in err
    assert "tuner.classArgs" not in err


def test_an_experiment_file_must_fit(tmp_path: Path, run: Cli) -> None:
    given = arguments()
    content = file_of(load_experiment("compare", given), given)
    assert isinstance(read_experiment(write(tmp_path / "x.yml", content)), CompareExperiment)
    assert content["maxTrialNumber"] == 10
    with pytest.raises(ConfigError) as caught:
        read_experiment(write(tmp_path / "x.yml", {**content, "maxTrialNumber": 3, "maxTrial": 1, "searchSpace": {}}))
    assert "maxTrialNumber: must be 10, the exact number of trials, but got 3" in caught.value.problem
    assert "maxTrial: no such key of NNI's" in caught.value.problem and "searchSpace: is not" in caught.value.problem
    status, _, err = run("search", write(tmp_path / "x.yml", content))
    assert status == 2 and f"nni-plugins compare {tmp_path / 'x.yml'}" in err
    search = {"space": {"name": "nasbench201", "nodes": 3}, "evaluations": {"size": SIZE}, "optimize_mode": "minimize"}
    other = file_of(load_experiment("firstones", search), search)
    status, _, err = run("compare", write(tmp_path / "y.yml", other))
    assert status == 2 and "tuner FirstOnes compares nothing" in err and "nni-plugins search" in err


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """As the evaluators say which of their keys hold paths; recipes of ours have names."""
    evaluations = {
        "table": {**TABLE, "table": "table.csv"},
        "retrain": {"evaluator": "retrain", "recipe": "digits", "data": "photos"},
        "own": {"evaluator": "retrain", "recipe": "own.yml", "data": {"path": "photos"}},
        "broken": {"evaluator": "nothing", "table": "x"},
    }
    policies = {
        "rlnas": {**RLNAS, "data": {"source": "folder", "path": "photos"}},
        "earlier": {"search": {"file": "a.json"}},
    }
    given = arguments(evaluations=evaluations, policies=policies)
    found = resolve_paths(given, CompareExperiment.paths_in(given), tmp_path)
    one = found["evaluations"]
    assert one["table"]["table"] == str(tmp_path / "table.csv")
    assert (one["retrain"]["recipe"], one["retrain"]["data"]) == ("digits", str(tmp_path / "photos"))
    assert (one["own"]["recipe"], one["own"]["data"]["path"]) == (str(tmp_path / "own.yml"), str(tmp_path / "photos"))
    assert one["broken"]["table"] == "x", "reading it says what is wrong"
    assert found["policies"]["rlnas"]["data"]["path"] == str(tmp_path / "photos")
    assert found["policies"]["earlier"]["search"]["file"] == str(tmp_path / "a.json")


def test_a_table_without_an_architecture_that_is_known_to_be_needed(tmp_path: Path) -> None:
    """Before a search, for the random ones and baselines."""
    whole = comparison()
    space = whole.settings.search_space
    (job, *_) = [job for job in whole.first_jobs() if job.source == "random"]
    texts = [space.to_string(a) for a in space.decode(space.enumerate()) if a.as_dict() != job.choices]
    (tmp_path / "table.csv").write_text("architecture,accuracy\n" + "".join(f"{text},1\n" for text in texts))
    lacking = {"evaluator": "table", "table": str(tmp_path / "table.csv")}
    with pytest.raises(Exception, match=r"evaluations\.table would fail after the search: .* has no accuracy for"):
        comparison(evaluations={"table": lacking}).prepare()
