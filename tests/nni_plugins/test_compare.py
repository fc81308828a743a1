"""Comparisons: what is drawn, run, shared, resumed and added, in this process and under NNI; nearly all of it on the
table of digits, which trains nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nni_plugins import trial
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError
from nni_plugins.evaluators.reports.comparison import read_comparison
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.runner import report_experiment, run_experiment
from nni_plugins.origins.origin import origin
from nni_plugins.portal import reporting
from nni_plugins.portal.tuner import ExperimentTuner
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.spaces import registry
from nni_plugins.studies.compare.experiment import CompareExperiment, random_architectures
from nni_plugins.studies.compare.result import comparison_of

from .comparing import FEW, FIRST, MORE, SIZE, TABLE, arguments, comparison, finish, rows_of, stable
from .comparing import no_pictures as no_pictures
from .comparing import plugins as plugins
from .small import Cli

WIDE: dict[str, Any] = {"seeds": [0, 1, 2], "per_search": 3, "baselines": ["largest_parameters"]}


# -- the random policy -------------------------------------------------------------------------------------------------
def test_random_draws_are_uniform_and_depend_on_the_seed_alone() -> None:
    many = comparison(seeds=list(range(2000))).settings
    drawn = [random_architectures(many, seed) for seed in many.seeds]
    other = comparison(policies={"x": FIRST}, evaluations={"size": SIZE}).settings
    assert all(len(one) == 1 for one in drawn) and drawn[:2] == [random_architectures(other, seed) for seed in (0, 1)]
    counts = Counter(one[0] for one in drawn)
    assert len(counts) == 125 and sum((count - 16) ** 2 / 16 for count in counts.values()) < 170, (
        "chi-square, 124 degrees of freedom, p > 0.003"
    )


def test_connected_random_draws() -> None:
    some = comparison(connected=True, per_search=2).settings
    drawn = [a for seed in range(300) for a in random_architectures(some, seed)]
    space = some.search_space
    assert (space.complete_paths(space.encode(drawn)) > 0).all() and len(set(drawn)) == 116, (
        "nine of 125 cells have no path"
    )
    assert all(first != second for first, second in zip(drawn[::2], drawn[1::2], strict=True))


@pytest.mark.parametrize("connected", [False, True])
def test_random_draws_and_baselines_meet_the_limits(connected: bool) -> None:
    whole = comparison(
        connected=connected, limits={"max_parameters": 150_000}, baselines=["largest_parameters"], seeds=list(range(9))
    )
    chosen = [job.choices for job in whole.first_jobs() if job.choices is not None]
    space = whole.settings.search_space
    parameters = space.cost_table()(space.encode([space.architecture(choices) for choices in chosen])).parameters
    assert len(chosen) == 10 and parameters.max() <= 150_000 and parameters[-1] == parameters.max()
    little = comparison(connected=True, limits={"max_parameters": 1}).settings
    with pytest.raises(ConfigError, match="gave only 0 connected architectures within the limits"):
        random_architectures(little, 0)


# -- the best of all ---------------------------------------------------------------------------------------------------
def test_the_real_best_has_the_best_mean_validation_over_its_own_trainings(
    tmp_path: Path, run: Cli, no_pictures: None
) -> None:
    """Every architecture with every training seed by the first evaluation; the value that is shown chose nothing."""
    noisy, seeds = {"evaluator": "noisy"}, [5, 6, 7]
    given = {"evaluations": {"noisy": noisy, "size": SIZE}, "real_best": seeds, "limits": {"max_parameters": 220_000}}
    whole = comparison(**given)
    jobs = [job for job in whole.first_jobs() if job.source == "every"]
    space, judge = whole.settings.search_space, whole.evaluators["noisy"]
    rows = space.enumerate()
    forms = {space.canonical(a) for a in space.decode(rows[whole.settings.limits.mask(space, rows)])}
    assert Counter(job.seed for job in jobs) == dict.fromkeys(seeds, len(forms)) and 20 < len(forms) < 116
    assert {job.phase for job in jobs} == {"noisy"} and whole.trials == 2 * 2 + 4 * 2 + 2 * 2 + len(jobs)
    assert len({json.dumps(whole.identity(job), sort_keys=True) for job in jobs}) == len(jobs)
    axes = whole.axes()
    assert all(value in axes[name]["_value"] for name, value in whole.parameters(jobs[0]).items())
    measured: dict[str, list[Any]] = {}
    for job in jobs:
        assert job.choices is not None
        architecture = space.architecture(job.choices)
        measured.setdefault(space.to_string(architecture), []).append(
            judge.evaluate(architecture, job.seed, None, None)
        )
    means = {label: np.mean([one.validation for one in several]) for label, several in measured.items()}
    best = min(means, key=lambda label: means[label])
    values = [one.value for one in measured[best]]
    result = run_experiment(whole, tmp_path / "run")
    real = result["statistics"]["noisy"]["real_best"]
    assert (real["label"], real["trained"], real["n"]) == (best, len(forms), 3)
    assert real["mean"] == pytest.approx(np.mean(values)) and real["std"] == pytest.approx(np.std(values, ddof=1))
    assert result["statistics"]["size"]["real_best"] is None, "of the first evaluation only"
    report = (tmp_path / "run" / "report" / "noisy" / "report.md").read_text()
    d = len(report.split("| real best | 3 | ")[1].split(" ")[0].partition(".")[2])
    assert (
        f"| real best | 3 | {np.mean(values):.{d}f} ± {np.std(values, ddof=1):.{d}f} | {min(values):.{d}f} |" in report
    )
    assert f"Of all {len(forms)} architectures, each trained with 3 seeds, {best} has the best mean" in real["sentence"]
    assert real["sentence"].partition(best)[2] in report, "beside the table"
    single = [row for row in rows_of(tmp_path / "run", "noisy") if row["policy"] == "real-best"]
    assert [(row["seed"], float(row["value"])) for row in single] == list(zip("567", values, strict=True))
    read = read_comparison(tmp_path / "run" / "report" / "noisy" / "comparison.json")
    assert read.real_best is not None and [one.value for one in read.real_best.runs] == values
    assert origin(str(tmp_path / "run")).about["group"] in ("more", "few"), "what was found, not what was enumerated"
    (tmp_path / "x.yml").write_text(json.dumps(arguments(**given)))
    shown = run("compare", tmp_path / "x.yml", "--output", tmp_path / "run", "--only", "real-best").out
    assert "real-best" in shown and "each trained with 3 seeds" in shown


# -- a whole comparison ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, plugins: None) -> Path:
    """The folder of a comparison with three architectures a search."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nni_plugins.evaluators.reports.comparison.report.figures", lambda analysis: {})
        run_experiment(comparison(**WIDE), folder)
    return folder


def test_what_is_measured(finished: Path) -> None:
    table, rows = digits_table(), rows_of(finished)
    policies = [row for row in rows if row["policy"] != "largest_parameters"]
    assert Counter((row["policy"], row["rank"]) for row in policies) == {
        (p, str(r)): 3 for p in ("more", "few", "random") for r in range(3)
    }
    told, true = table.metric("accuracy_seed0"), table.metric("accuracy")
    numbers = {table.space.to_string(a): i for i, a in enumerate(table.architectures)}
    for row in rows:
        i = numbers[row["label"]]
        assert float(row["value"]) == true[i] and float(row["valid_accuracy_seed0"]) == told[i]
        assert float(row["parameters"]) > 0
        assert row["policy"] not in ("more", "few") or float(row["search_score"]) == told[i]
        assert row["cost_queries"] == {"more": "6.0", "few": "4.0", "random": "0.0"}.get(row["policy"], "")
    result = json.loads((finished / "result.json").read_text())
    different = len({row["label"] for row in rows})
    assert (result["measured"], result["reused"], result["missing"]) == (
        different,
        28 - different,
        [],
    ) and different < 28
    found = json.loads((finished / "jobs" / "search-few-1.json").read_text())["value"]["result"]
    asked = sorted((row["value"] for row in found["curve"]), reverse=True)
    assert [entry["score"] for entry in found["found"]] == asked[:3]


@pytest.mark.usefixtures("no_pictures")
def test_equal_networks_are_measured_once(tmp_path: Path) -> None:
    """Whoever chose them, and searches of equal settings are one search."""
    policies = {"first": FIRST, "again": FIRST, "few": FEW}
    ran = ran_jobs(whole := comparison(policies=policies, per_search=2))
    result = run_experiment(whole, tmp_path)
    assert [name for name in ran if name.startswith("search")] == [
        f"search-{n}" for n in ("first-0", "first-1", "few-0", "few-1")
    ]
    rows = {(row["policy"], row["seed"], row["rank"]): row["value"] for row in rows_of(tmp_path)}
    assert rows["first", "0", "1"] == rows["first", "1", "0"] == rows["again", "1", "0"]
    assert result["measured"] == len({row["label"] for row in rows_of(tmp_path)}) == len(ran) - 4


@pytest.mark.usefixtures("no_pictures")
def test_another_packages_strategy_ranks_as_it_likes(tmp_path: Path) -> None:
    run_experiment(comparison(policies={"first": FIRST}, seeds=[3, 4], per_search=2), tmp_path)
    space = digits_table().space
    alphabet = [space.to_string(a) for a in space.decode(space.enumerate()[3:6])]
    labels = {(row["seed"], row["rank"]): row["label"] for row in rows_of(tmp_path) if row["policy"] == "first"}
    assert [labels[key] for key in (("3", "0"), ("3", "1"), ("4", "0"), ("4", "1"))] == [*alphabet[:2], *alphabet[1:]]
    assert "not recorded for first" in (tmp_path / "report" / "table" / "report.md").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_too_few_are_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="per_search: 5 architectures are wanted, but only 4 distinct"):
        run_experiment(comparison(per_search=5), tmp_path)


def test_the_order_in_which_jobs_end_changes_nothing() -> None:
    """As with several processes, or under NNI."""
    results = []
    for backwards in (False, True):
        whole = comparison(**WIDE)
        plan = Plan(whole)
        while waiting := [job for job in plan.jobs.values() if job.status == "waiting"]:
            finish(plan, waiting[-1 if backwards else 0])
        found = comparison_of(whole.settings, whole.evaluations, plan, "table")
        results.append([(run.policy, run.seed, run.rank, run.value) for run in found.runs])
    assert results[0] == results[1] and len(results[0]) == 27


# -- going on ----------------------------------------------------------------------------------------------------------
def ran_jobs(whole: CompareExperiment, stop: int | None = None) -> list[str]:
    """The names of the jobs that ``whole`` will run; the ``stop``-th is interrupted."""
    names: list[str] = []
    original = whole.run

    def run(job: Job, *rest: Any) -> dict[str, Any]:
        if stop is not None and len(names) == stop:
            raise KeyboardInterrupt
        names.append(job.name)
        return original(job, *rest)

    whole.run = run  # type: ignore[method-assign]
    return names


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_comparison_repeats_nothing(tmp_path: Path, finished: Path) -> None:
    done: list[str] = []
    for stop in (4, 5, 9):
        ran = ran_jobs(whole := comparison(**WIDE), stop)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(whole, tmp_path)
        done += ran
    ran = ran_jobs(whole := comparison(**WIDE))
    result = run_experiment(whole, tmp_path)
    done += ran
    assert len(done) == len(set(done)) == 6 + result["measured"] and whole.trials == 6 + 28
    assert stable(tmp_path) == stable(finished)
    ran = ran_jobs(whole := comparison(**WIDE))
    assert run_experiment(whole, tmp_path)["missing"] == [] and ran == []


@pytest.mark.usefixtures("no_pictures")
def test_seeds_policies_evaluations_and_baselines_may_be_added(tmp_path: Path) -> None:
    run_experiment(comparison(policies={"few": FEW}), tmp_path)
    ran = ran_jobs(
        whole := comparison(seeds=[0, 1, 5], baselines=["largest_macs"], evaluations={"table": TABLE, "size": SIZE})
    )
    result = run_experiment(whole, tmp_path)
    assert result["statistics"]["table"]["summaries"]["few"]["n"] == 3
    assert {name for name in ran if "more" not in name and "table" in name} <= {
        "table-few-5-1", "table-random-5-1", "table-largest_macs",
    }  # fmt: skip
    assert [name for name in ran if name.startswith("search")] == [
        "search-more-0",
        "search-more-1",
        "search-more-5",
        "search-few-5",
    ]
    ran = ran_jobs(whole := comparison(policies={"more": MORE}))
    fewer = run_experiment(whole, tmp_path)
    assert set(fewer["statistics"]["table"]["summaries"]) == {"more", "random"} and ran == []


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"policies": {"more": {**MORE, "search": {"queries": 7}}, "few": FEW}},
            r"search-more-0.json was made with other settings: search.queries: 6 -> 7",
        ),
        ({"evaluations": {"table": {**TABLE, "test_metric": None}}}, r"settings.test_metric: 'accuracy' -> None"),
        ({"per_search": 2}, r"per_search: 1 -> 2"),
        ({"space": {"name": "nasbench201", "nodes": 3, "channels": 8}}, r"space.channels"),
        ({"limits": {"max_parameters": 500_000}}, r"limits.max_parameters: None -> 500000"),
    ],
)
def test_a_changed_comparison_is_not_mixed_with_the_old_one(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    run_experiment(comparison(), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ConfigChanged, match=said):
        run_experiment(comparison(**changes), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_damaged_runs(tmp_path: Path) -> None:
    run_experiment(comparison(), tmp_path)
    (tmp_path / "jobs" / "search-few-1.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"search-few-1.json is damaged.[\s\S]*Delete it to run this job again"):
        run_experiment(comparison(), tmp_path)


# -- trainings ---------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_another_packages_space_strategy_and_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kernelnet: a search with shared weights, questions that train, and a measure that does not."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "third_party"))
    for kind, name, value in (
        ("spaces", "kernelnet", "kernelnet:KernelNet"),
        ("strategies", "annealing", "kernelnet.annealing:Annealing"),
        ("evaluators", "linear_probe", "kernelnet.probe:LinearProbe"),
    ):
        monkeypatch.setitem(registry.found(kind), name, EntryPoint(name, value, f"nni_plugins.{kind}"))
    training = {"epochs": 1, "batch_size": 60, "accelerator": "cpu"}
    evaluations = {
        "trained": {"evaluator": "stand_alone", "data": {"source": "digits", "limit": 120}, "training": training},
        "probed": {"evaluator": "linear_probe"},
    }
    policies = {
        "rlnas": {"strategy": "RLNAS", "training": {"epochs": 1, "accelerator": "cpu"}},
        "annealing": {"strategy": "Annealing", "search": {"questions": 2, "steps": 9}},
    }
    changes = {"space": {"name": "kernelnet", "channels": 2}, "evaluations": evaluations, "policies": policies}
    whole = comparison(**changes, baselines=["largest_macs"])
    result = run_experiment(whole, tmp_path)
    trained, probed = rows_of(tmp_path, "trained"), rows_of(tmp_path, "probed")
    assert len(trained) == len(probed) == 7 and result["measured"] == 2 * len({row["label"] for row in trained})
    assert [row["label"] for row in trained] == [row["label"] for row in probed] and trained[-1][
        "label"
    ] == "5x5-5x5-5x5-5x5"
    assert result["statistics"]["probed"]["metric"] == "probe accuracy"
    budget = {row["policy"]: (row["cost_search_epochs"], row["cost_queries"]) for row in trained[:-1]}
    assert budget == {"rlnas": ("1.0", "0.0"), "annealing": ("2.0", "2.0"), "random": ("0.0", "0.0")}
    answers = json.loads((tmp_path / "search-annealing-0" / "answers.json").read_text())
    path = tmp_path / "jobs" / "search-annealing-0.json"
    found = json.loads(path.read_text())["value"]["result"]["found"][0]
    assert found["score"] == max(answers.values()) and len(answers) == 2
    path.unlink()  # a killed search is answered from its file
    monkeypatch.setattr(type(whole.evaluators["trained"]), "ask", None)
    run_experiment(comparison(**changes, baselines=["largest_macs"]), tmp_path)
    assert json.loads(path.read_text())["value"]["result"]["found"][0] == found
    runs = read_comparison(tmp_path / "report" / "trained" / "comparison.json").runs
    assert all(len(run.curve) == 1 for run in runs), "of trainings"
    assert {run.policy: len(run.search_curve) for run in runs if run.policy != "annealing"} == {"rlnas": 1, "random": 0}


SEQUENCES: dict[str, Any] = {"epochs": 1, "batch_size": 4, "bptt": 6, "accelerator": "cpu"}
SHARED = {**SEQUENCES, "evaluation_batch": 4, "reward_batch": 4}
RECURRENT: dict[str, dict[str, Any]] = {
    "DARTS": {"training": SEQUENCES},
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
    """They search on the text of the evaluation, whose perplexities are better when they are smaller."""
    rng = np.random.default_rng(0)
    for part, lines in (("train", 16), ("valid", 14), ("test", 8)):
        text = "".join(" ".join(rng.choice(list("abcdef"), 8)) + "\n" for _ in range(lines))
        (tmp_path / f"{part}.txt").write_text(text + ("a b c d e f\n" if part == "train" else ""))
    language = {"evaluator": "language_model", "training": {**SEQUENCES, "evaluation_batch": 2}}
    whole = comparison(
        space={"name": "recurrent", "nodes": 2, "hidden": 4},
        evaluations={
            "perplexity": {**language, "text": {"path": str(tmp_path)}},
            "valid": {**language, "measure": "valid"},
        },
        policies={name: {"strategy": f"Recurrent{name}", **given} for name, given in RECURRENT.items()},
        optimize_mode="minimize",
    )
    result = run_experiment(whole, tmp_path / "run")
    rows = rows_of(tmp_path / "run", "perplexity")
    assert len(rows) == 10 and all(float(row["value"]) == float(row["test_perplexity"]) > 1 for row in rows)
    budget = {"DARTS": "1.0", "NAO": "2.0", "ENAS": "1.0", "RandomNAS": "1.0", "random": "0.0"}
    assert {row["policy"]: row["cost_search_epochs"] for row in rows} == budget
    statistics = result["statistics"]["perplexity"]
    assert statistics["larger_is_better"] is False and statistics["metric"] == "test perplexity"
    valid = rows_of(tmp_path / "run", "valid")
    assert [float(row["value"]) for row in valid] == [float(row["valid_perplexity"]) for row in rows], "the same text"


# -- architectures from elsewhere --------------------------------------------------------------------------------------
@pytest.mark.usefixtures("no_pictures")
def test_architectures_of_a_finished_search(tmp_path: Path) -> None:
    first = [a.as_dict() for a in digits_table().architectures[40:44]]
    searches = [{"seed": s, "result": {"found": [{"choices": c} for c in first[2 * s : 2 * s + 2]]}} for s in (0, 1)]
    (tmp_path / "result.json").write_text(json.dumps({"searches": searches}))
    earlier = {"strategy": "Precomputed", "search": {"file": str(tmp_path / "result.json")}}
    given = {"policies": {"earlier": earlier}, "per_search": 2}
    result = run_experiment(comparison(**given), tmp_path / "run")
    true = digits_table().metric("accuracy")
    values = [float(row["value"]) for row in rows_of(tmp_path / "run") if row["policy"] == "earlier"]
    assert values == true[40:44].tolist()
    assert result["statistics"]["table"]["summaries"]["earlier"]["mean"] == np.mean(true[[40, 42]])
    with pytest.raises(ConfigError, match=r"policies\.earlier: search\.file: .* lacks 2 architectures of seed 7"):
        comparison(**given, seeds=[0, 7]).check()
    (tmp_path / "result.json").write_text(json.dumps({"searches": [*searches[::-1], {"seed": 2}]}))
    with pytest.raises(ConfigChanged, match=r"search-earlier-0\.json was made with other settings: contents"):
        run_experiment(comparison(**given), tmp_path / "run")


# -- under NNI ---------------------------------------------------------------------------------------------------------
class Dispatcher:
    def __init__(self) -> None:
        self.sent: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []

    def send_trial_callback(self, number: int, parameters: dict[str, Any]) -> None:
        self.sent[number] = parameters

    def report_error(self, message: str) -> None:
        self.errors.append(message)


def test_of_several_runs_the_one_with_the_best_validation_counts(tmp_path: Path, no_pictures: None) -> None:
    """R-DARTS' rule: chosen by what was told, judged by the other metric, paid for by all of them."""
    runs = [{"search.queries": 2}, {"search.queries": 6}, {"search.queries": 3}]
    mine = comparison(policies={"several": {**FEW, "runs": runs}}, seeds=[0, 1, 2])
    names = [f"search-several#{run}-{seed}" for run in (1, 2, 3) for seed in (0, 1, 2)]
    assert [job.name for job in mine.first_jobs()][:9] == names
    run_experiment(mine, tmp_path)
    table = digits_table()
    rows = [row for row in rows_of(tmp_path) if row["policy"] == "several"]
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    space = mine.settings.search_space
    for row in rows:
        stored = [tmp_path / "jobs" / f"search-several#{run}-{row['seed']}.json" for run in (1, 2, 3)]
        found = [json.loads(path.read_text())["value"]["result"]["found"][0] for path in stored]
        best = max(
            (space.architecture(one["choices"]) for one in found), key=lambda a: table.value(a, "accuracy_seed0")
        )
        assert float(row["value"]) == pytest.approx(table.value(best, "accuracy"))
    paid = [one["cost"]["queries"] for one in stable(tmp_path)["runs"] if one["policy"] == "several"]
    assert paid == [11, 11, 11]
    group = origin(str(tmp_path)).about
    assert group["group"] == "several" and group["means"]["several"]["count"] == 9
    with pytest.raises(ConfigError, match="the best run is chosen by held-out data, but evaluations"):
        comparison(policies={"several": {**FIRST, "runs": runs}}, evaluations={"size": SIZE})
    with pytest.raises(ConfigError, match="queries: no such key; known: data, search, training"):
        comparison(policies={"several": {**FEW, "runs": [{"queries": 2}]}})


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NNI's folder of the experiment."""
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    return tmp_path


class Trials:
    """Runs trials as NNI does; ``curve`` has all that they report before their final metric."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.curve: list[dict[str, Any]] = []
        self.patch, self.final = monkeypatch, list[dict[str, Any]]()
        monkeypatch.setattr("nni.report_intermediate_result", self.curve.append)
        monkeypatch.setattr("nni.report_final_result", self.final.append)
        monkeypatch.setattr("nni.trial.overwrite_intermediate_seq", lambda sequence: None)

    def run(self, parameters: dict[str, Any], output: Path) -> dict[str, Any]:
        given = json.loads(json.dumps(parameters))
        self.patch.setattr(reporting, "own_record", lambda: {"parameter_id": 0, "parameters": given})
        self.patch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(output)))
        assert trial.main() == 0
        value: dict[str, Any] = json.loads(json.dumps(self.final[-1]))
        return value


def compare_tuner(**changes: Any) -> ExperimentTuner:
    return tuner_class("compare")(**arguments(**changes))


@pytest.mark.usefixtures("no_pictures")
def test_an_experiment_from_beginning_to_end(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial once, exactly as many as the file says; the numbers are those of a run in one process."""
    tuner, dispatcher, trials = compare_tuner(**WIDE), Dispatcher(), Trials(monkeypatch)
    wanted = comparison(**WIDE)
    numbers = list(range(wanted.trials))
    first = tuner.generate_multiple_parameters(numbers, st_callback=dispatcher.send_trial_callback)
    assert [p["policy"] for p in first[:6]] == ["more"] * 3 + ["few"] * 3
    labels = wanted.settings.search_space.labels
    assert len({json.dumps({k: p[k] for k in labels}) for p in first[6:]}) == len(first) - 6, "equal ones wait"
    dispatcher.sent |= dict(enumerate(first))
    ended: list[int] = []
    while waiting := [number for number in dispatcher.sent if number not in ended]:
        parameters = dispatcher.sent[waiting[0]]
        value = trials.run(parameters, experiment / "trials" / str(waiting[0]))
        tuner.receive_trial_result(waiting[0], "", value)
        tuner.trial_end(waiting[0], True)
        ended.append(waiting[0])
        assert all(parameters[axis] in place["_value"] for axis, place in wanted.axes().items())
        assert isinstance(value["default"], float)
    assert sorted(ended) == numbers and dispatcher.errors == [] and len(trials.curve) == 3 * (6 + 4)
    assert all(row["default"] == row["loss"] for row in trials.curve)
    run_experiment(wanted, experiment / "here")
    assert stable(experiment / "run") == stable(experiment / "here")
    result = json.loads((experiment / "run" / "result.json").read_text())
    assert result["missing"] == [] and result["reused"] > 0 and result["measured"] + result["reused"] == 28
    again = report_experiment(comparison(**WIDE), experiment / "run")
    assert again["statistics"] == result["statistics"], "the command reports what the tuner ran"


def test_the_tuner_after_a_restart(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner, dispatcher, trials = compare_tuner(), Dispatcher(), Trials(monkeypatch)
    first = tuner.generate_multiple_parameters([0, 1], st_callback=dispatcher.send_trial_callback)
    tuner.receive_trial_result(0, "", trials.run(first[0], experiment / "t"))
    again = compare_tuner()
    again.load_checkpoint()
    assert again.plan.jobs == tuner.plan.jobs
    jobs = again.plan.jobs
    assert jobs["table-more-0-1"].policy == "more" and jobs["search-more-1"].status == "running"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [1]}, "tuner.classArgs.seeds: at least two are needed"),
        ({"run_folder": "x"}, "tuner.classArgs.run_folder: must be an absolute path, but got 'x'"),
        ({"evaluations": {"table": {**TABLE, "table": "x.csv"}}}, "evaluations.table: table: must be an absolute path"),
    ],
)
def test_wrong_arguments_reach_the_portal(experiment: Path, changes: dict[str, Any], said: str) -> None:
    tuner, dispatcher = compare_tuner(**changes), Dispatcher()
    with pytest.raises(ConfigError):
        tuner.generate_multiple_parameters([0], st_callback=dispatcher.send_trial_callback)
    assert said in dispatcher.errors[0]


def test_a_search_that_is_given_up_ends_the_experiment(experiment: Path) -> None:
    whole = comparison()
    assert whole.is_essential(Job("search-more-0", "search", 0, policy="more"))
    assert not whole.is_essential(next(job for job in whole.first_jobs() if job.source == "random"))


def test_no_torch_before_anything_runs(tmp_path: Path) -> None:
    """NNI gives a tuner ten seconds to connect."""
    policies = {"rlnas": {"strategy": "RLNAS", "data": {}}}
    code = f"""
import sys
from nni_plugins.portal.tuners import tuner_class
tuner = tuner_class("compare")(**{arguments(policies=policies, baselines=["largest_parameters"])!r})
assert tuner._problem is None, tuner._problem
print(sorted({{"torch", "sklearn", "matplotlib", "pytorch_lightning"}} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout.strip() == "[]", answer.stderr
