"""Experiments of differentiable search: settings, plan, portal, files, and whole runs through the command line and the
trial.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nni
import numpy as np
import pytest
import yaml

from nni_plugins import trial
from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.report import sentences, table_of
from nni_plugins.experiment.result import summary
from nni_plugins.experiment.store import Store
from nni_plugins.portal import reporting
from nni_plugins.portal.registration import tuner_entries
from nni_plugins.portal.reporting import Reporter
from nni_plugins.portal.tuner import job_of
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.presets import preset, preset_names
from nni_plugins.spaces import DARTS, NASBench201, RobustDARTS
from nni_plugins.strategies.score import ANGLE, LOG_PROBABILITY

from . import small
from .small import (
    CELL,
    OTHER,
    Cli,
    evaluation_value,
    file_of,
    load,
    preset_file,
    run_search,
    stand_alone,
    write,
)

METHODS = ("darts", "pcdarts", "rfdarts", "rfpcdarts")


def arguments(**changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on 200 images, then one found and one random architecture."""
    training = {"epochs": 2, "batch_size": 50, "warmup_epochs": 0, "accelerator": "cpu"}
    evaluations = {"stand_alone": stand_alone(training={"epochs": 1, "batch_size": 64, "accelerator": "cpu"})}
    return small.arguments("rfdarts", **{"training": training, "evaluations": evaluations, "found": 1, **changes})


def experiment(method: str = "rfdarts", **changes: Any) -> Any:
    return load_experiment(method, arguments(**changes))


def content(method: str = "rfdarts", **changes: Any) -> dict[str, Any]:
    """A whole experiment file."""
    return file_of(experiment(method, **changes), arguments(**changes))


def search_value(searched: Any, seed: int = 0) -> dict[str, Any]:
    """What a search's trial would report."""
    value = small.search_value(searched, seed)
    for i, one in enumerate(value["result"]["found"]):
        one["score"] = -1.5 - seed - i / 10
    value["result"]["random"] = [-4.0] * searched.settings.random
    return {**value, "default": -1.5, "log_probability": -1.5}


def settings_of(name: str) -> Any:
    """Of a preset."""
    return load_experiment(preset(name).tuner, preset(name).classArgs).settings


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_papers_values(method: str) -> None:
    whole = load_experiment(method, {})
    e: Any = whole.settings
    assert e.strategy.score is LOG_PROBABILITY and e.objective == {"name": "supervised"}
    assert (e.search.option, e.search.initialisation) == (
        ("C", "kaiming") if method.startswith("rf") else ("B", "torch")
    )
    partial = "pc" in method
    assert (e.search.partial_channels, e.search.edge_normalization) == ((4, True) if partial else (1, False))
    t = e.training
    assert (t.batch_size, t.learning_rate, t.warmup_epochs, t.epochs) == (
        (256, 0.1, 15, 50) if partial else (64, 0.025, 0, 50)
    )
    assert load_experiment(method, json.loads(json.dumps(e.model_dump(mode="json")))).settings == e


def test_what_jobs_gave_in_a_few_words() -> None:
    e = experiment()
    plan = Plan(e)
    plan.done("search-0", search_value(e) | {"default": -2.25})
    plan.done("stand_alone-random-1", evaluation_value(93.456))
    assert e.outcome(plan.jobs["search-0"]) == "largest log probability -2.2500" and ANGLE.heading == "angle (rad)"
    assert e.outcome(plan.jobs["stand_alone-random-1"]) == "93.46 % accuracy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"name": "mobilenetlike"}},
            r"mobilenetlike has no mixture over edges\. Differentiable search works on darts, robustdarts, nasbench201",
        ),
        (
            {"search": {"partial_channels": 3}},
            r"partial_channels=3 must divide the width of the first cells, 4\. Use partial_channels in 1, 2, 4",
        ),
        (
            {"training": {"order": 2, "precision": "bf16-mixed"}},
            "order 2 takes differences that bf16-mixed rounds away",
        ),
        ({"training": {"epochs": 5, "warmup_epochs": 5}}, "warmup_epochs < epochs must hold"),
        ({"training": {"portion": 1.0}}, "portion must lie between 0 and 1"),
        ({"search": {"option": "E"}}, "search.option: input should be 'A', 'B', 'C' or 'D'"),
        ({"search": {"drop_pat": 0.2}}, "search.drop_pat: no such key; did you mean 'drop_path'"),
        ({"objective": {"name": "supervisd"}}, "unknown objective 'supervisd'; did you mean 'supervised'"),
    ],
)
def test_what_is_refused_before_any_trial(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(**changes)


def test_what_only_the_images_tell_is_refused_before_the_training() -> None:
    with pytest.raises(ConfigError, match="each half must fill a batch of 150"):
        run_search(experiment(training={"batch_size": 150}))
    with pytest.raises(ConfigError, match="found: 61 architectures are wanted, but only 60 distinct ones exist"):
        experiment(found=61).check()


# -- plan and tuners ---------------------------------------------------------------------------------------------------
def test_the_plan() -> None:
    e = experiment(found=2, random=1, seeds=[0, 3])
    plan = Plan(e)
    assert e.trials == plan.remaining == 2 * 3 + 1
    assert plan.next() is plan.jobs["search-0"]
    plan.done("search-0", search_value(e))
    found = [job for job in plan.jobs.values() if job.source == "found"]
    assert [(job.score, job.status) for job in found] == [(-1.5, "waiting"), (-1.6, "waiting")]
    again = Plan(e)
    again.replay(json.loads(json.dumps(plan.entry("search-0"))))
    assert again.jobs == plan.jobs
    axes = e.axes()
    assert axes["phase"]["_value"] == ["search", "stand_alone"] and axes["e_0_1"]["_value"][-1] == "all"
    assert axes["source"]["_value"] == ["search", "found", "random"]


@pytest.mark.parametrize(
    "judged", [{"truth": {"table": "digits"}}, {"evaluations": {"known": {"evaluator": "table", "table": "digits"}}}]
)
def test_results_on_other_images_are_no_truth(judged: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "i.npz", images=np.zeros((40, 8, 8, 3), np.uint8), labels=np.arange(40) % 10)
    space = {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1}
    data = {"source": "npz", "path": str(tmp_path / "i.npz"), "held_out": 0.2}
    with pytest.raises(
        ConfigError, match=r"table: digits_3nodes\.csv has results on digits, but the images here are npz /"
    ):
        experiment(space=space, data=data, **judged).check()
    for one in (judged.get("truth"), *judged.get("evaluations", {}).values()):
        if one is not None:
            one["other_images"] = True
    experiment(space=space, data=data, **judged).check()


def test_the_result_of_a_plan() -> None:
    space = {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1}
    e = experiment(found=2, random=1, truth={"table": "digits"}, space=space)
    plan = Plan(e)
    plan.next()
    plan.done("search-0", search_value(e))
    values = {"stand_alone-found-0-1": 80.0, "stand_alone-found-0-2": 90.0, "stand_alone-random-1": 70.0}
    for name, accuracy in values.items():
        plan.done(name, evaluation_value(accuracy))
    result = summary(e.settings, e.evaluations, e.random_architectures, plan)
    rows = result["architectures"]
    assert result["strategy"] == "RFDARTS" and result["score"]["name"] == "log probability"
    assert [row["evaluations"]["stand_alone"]["job"] for row in rows] == [
        "stand_alone-found-0-2",
        "stand_alone-found-0-1",
        "stand_alone-random-1",
    ]
    assert [row["score"] for row in rows] == [-1.6, -1.5, -4.0]
    assert result["evaluations"]["stand_alone"]["kendall_tau"] == pytest.approx(1 / 3)
    assert json.loads(json.dumps(result)) == result


def test_other_metrics_of_the_table_of_truth() -> None:
    """RF-DARTS' table 2: of the first cell of each search, mean and deviation of every metric."""
    space = {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1}
    also = ["accuracy_seed0", "accuracy_seed1"]
    truth = {"table": "digits", "metric": "accuracy", "also": also}
    e = experiment(found=2, random=0, seeds=[0, 1, 2], truth=truth, space=space, evaluations={})
    plan = Plan(e)
    for seed in (0, 1, 2):
        plan.done(f"search-{seed}", search_value(e, seed))
    result = summary(e.settings, e.evaluations, e.random_architectures, plan)
    table = digits_table()
    cells = [e.settings.search_space.architecture(row["choices"]) for row in result["architectures"]]
    for row, cell in zip(result["architectures"], cells, strict=True):
        assert row["true_values"] == {name: table.value(cell, name) for name in also}
    first = [
        table.value(cell, "accuracy_seed1")
        for row, cell in zip(result["architectures"], cells, strict=True)
        if row["rank"] == 1
    ]
    said = f"accuracy_seed1 in the table of truth: {np.mean(first):.2f} ± {np.std(first, ddof=1):.2f} (n = 3)."
    assert any(line.endswith(said) for line in sentences(result))
    header, rows = table_of(result)
    assert header[-4:] == ["true accuracy_seed0", "true accuracy_seed1", "parameters", "macs"]
    assert rows[0][-3] == f"{result['architectures'][0]['true_values']['accuracy_seed1']:.2f}"
    with pytest.raises(
        TableError, match=r"truth\.also: .* has no accuracy_seed9, x; its metrics are accuracy, accuracy_s"
    ):
        experiment(truth={**truth, "also": ["accuracy_seed9", *also, "x"]}, space=space).check()


@pytest.mark.parametrize("method", METHODS)
def test_tuners(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    name = load_experiment(method, {}).name
    built = tuner_class(method)(**arguments(search={"partial_channels": 2}))
    (entry,) = [entry for entry in tuner_entries() if entry.class_name == f"nni_plugins.portal.tuners.{name}"]
    assert built._problem is None and entry.name == name
    sent: list[Any] = []
    (given,) = built.generate_multiple_parameters(
        [0], st_callback=lambda number, parameters: sent.append((number, parameters))
    )
    assert given["phase"] == "search" and given["e_0_1"] == "all" and given["trial"]["experiment"] == name
    again = load_experiment(method, given["trial"]["settings"]).settings
    assert again.model_copy(update={"run_folder": None}) == built.experiment.settings
    random = built.generate_multiple_parameters([1, 2], st_callback=sent.append)
    assert [job_of(p) for p in random] == ["stand_alone-random-1"]
    built._send = lambda number, parameters: sent.append((number, parameters))
    built.receive_trial_result(0, "", search_value(built.experiment) | {"job": "search-0"})
    assert [(number, job_of(parameters)) for number, parameters in sent] == [(2, "stand_alone-found-0-1")]


def test_a_space_without_mixture_reaches_the_portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    built = tuner_class("darts")(**arguments(space={"name": "nasnet"}))
    assert built._problem is not None and "nasnet has no mixture over edges" in str(built._problem)


# -- the portal's curve ------------------------------------------------------------------------------------------------
def test_the_curve_has_every_key_from_the_first_epoch_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up trains no architecture, and what is caught up from the file also has the genotype, which is no
    number.
    """
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(nni, "report_intermediate_result", sent.append)
    monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", lambda number: None)
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "loss": 2.0, "accuracy": 30.0, "learning_rate": 0.1, "skips": 2},
        {
            "epoch": 2,
            "loss": 1.5,
            "accuracy": 50.0,
            "learning_rate": 0.1,
            "architecture_loss": 1.6,
            "architecture_accuracy": 40.0,
            "skips": 1,
        },
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({**row, "genotype": CELL}) + "\n" for row in rows[:1]))
    e = experiment()
    search = Plan(e).jobs["search-0"]
    report = Reporter(tmp_path / "reported", tmp_path / "metrics.jsonl", lambda row: e.curve_point(search, row))
    report(rows[1])
    assert [metric["default"] for metric in sent] == [30.0, 40.0] and [set(metric) for metric in sent] == [
        set(rows[1]) | {"default"}
    ] * 2
    assert sent[0]["architecture_accuracy"] == 0 and all(
        isinstance(value, int | float) for metric in sent for value in metric.values()
    )


def test_a_search_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve: list[dict[str, Any]] = []
    final: list[dict[str, Any]] = []
    monkeypatch.setattr(nni, "report_intermediate_result", curve.append)
    monkeypatch.setattr(nni, "report_final_result", final.append)
    monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", lambda number: None)
    e = experiment("rfpcdarts", search={"partial_channels": 2}, run_folder=str(tmp_path / "run"))
    Store(e, tmp_path / "run").save_settings()
    job = Plan(e).jobs["search-0"]
    described = {"job": job.name, "described": job.described(), "known": None}
    settings = e.settings.model_dump(mode="json")
    given = {**e.parameters(job), "trial": {"experiment": "RFPCDARTS", **described, "settings": settings}}
    monkeypatch.setattr(reporting, "own_record", lambda: {"parameter_id": 0, "parameters": given})
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path / "out")))
    assert trial.main() == 0
    (value,) = final
    assert (
        set(value) == {"default", "job", "log_probability", "loss", "supernet_accuracy", "seconds", "result"}
        and value["default"] == value["log_probability"] < 0
    )
    assert json.loads(json.dumps(value)) == value and len(json.dumps(value)) < 100_000, (
        "plain numbers: NNI would pickle anything else"
    )
    assert len(curve) == 2 and all(metric["default"] == metric["architecture_accuracy"] for metric in curve)
    found = value["result"]
    assert (
        len(found["found"]) == 1
        and len(found["genotypes"]) == len(found["skips"]) == 2
        and len(found["shares"]["cell"]) == 3
    )
    space = e.settings.search_space
    assert space.to_string(space.architecture(found["found"][0]["choices"])) == found["genotypes"][-1]
    assert (
        json.loads((tmp_path / "run" / "search-0" / "metrics.jsonl").read_text().splitlines()[-1])["genotype"]
        == found["genotypes"][-1]
    )


# -- files -------------------------------------------------------------------------------------------------------------
def test_files(tmp_path: Path) -> None:
    for method in METHODS:
        changes = {"search": {"partial_channels": 2}}
        read = read_experiment(write(tmp_path / "x.yml", content(method, **changes)))
        assert (read.name.lower(), read.settings) == (method, experiment(method, **changes).settings)
    broken = content()
    broken["tuner"]["classArgs"]["objective"] = {"name": "supervised", "clases": 3}
    with pytest.raises(ConfigError, match=r"tuner\.classArgs\.objective: "):
        read_experiment(write(tmp_path / "x.yml", broken))


OURS = sorted(name for name in preset_names() if preset(name).tuner.lower() in METHODS)


def test_presets() -> None:
    others = [
        "darts_cifar10",
        "darts_digits",
        "darts_first_nasbench201",
        "darts_second_nasbench201",
        "pcdarts_cifar10",
        "rfdarts_cifar10",
        "rfdarts_digits",
        "rfdarts_nasbench201",
    ]
    assert sorted([*others, "pcdarts_imagenet", "rfpcdarts_imagenet"]) == OURS


@pytest.mark.parametrize("name", [name for name in OURS if not name.endswith("_digits")])
def test_presets_write_out_the_papers_values(name: str) -> None:
    e = settings_of(name)
    defaults: Any = load_experiment(preset(name).tuner, {}).settings
    differ = {key for key, value in e.training.model_dump().items() if value != defaults.training.model_dump()[key]}
    imagenet = {
        "batch_size",
        "learning_rate",
        "learning_rate_warmup",
        "architecture_learning_rate",
        "architecture_clip",
        "warmup_epochs",
    }
    imagenet |= {"portion", "precision"}
    benchmark = {"nesterov", "weight_decay", "first", "shuffle_split"}
    ours = {
        "darts_cifar10": {"order"},
        **dict.fromkeys(("rfdarts_nasbench201", "darts_first_nasbench201"), benchmark),
        "darts_second_nasbench201": benchmark - {"first"} | {"order"},
        **dict.fromkeys(("pcdarts_imagenet", "rfpcdarts_imagenet"), imagenet),
    }
    assert differ == ours.get(name, set())
    left_out = {"track_statistics"}
    left_out |= {"partial_channels"} if name.endswith("imagenet") else set()
    assert e.search.model_dump(exclude=left_out) == defaults.search.model_dump(exclude=left_out)


@pytest.mark.parametrize("method", ["early_stop", "adaptive"])
def test_a_search_with_eigenvalues(method: str) -> None:
    """A rule that noise fulfils: what the trial reports, epoch by epoch and at its end, and that the result is that of
    the stop epoch.
    """
    rule = {"method": method, "window": 1, "start_epoch": 0, "delta": 1, "factor": 1.0001, "max_weight_decay": 0.003}
    training = {
        **arguments()["training"],
        "epochs": 6,
        "architecture_learning_rate": 0.1,
        "hessian_every": 1,
        "stability": rule,
    }
    e, rows = experiment("darts", training=training), list[dict[str, Any]]()
    report = json.loads(json.dumps(run_search(e, rows.append)))["result"]
    job = Plan(e).jobs["search-0"]
    assert all(math.isfinite(e.curve_point(job, row)["eigenvalue"]) for row in rows)
    (rollback,) = report["rollbacks"]
    assert (
        rollback["method"] == method and rollback["epoch"] + 1 == rollback["found"] and len(rollback["abandoned"]) == 1
    )
    epochs = rollback["epoch"] if method == "early_stop" else 6
    assert report["stopped_epoch"] == (epochs if method == "early_stop" else None) and rollback["weight_decay"] == (
        3e-4 if epochs < 6 else 0.003
    )
    assert [point["epoch"] for point in report["eigenvalues"]] == list(range(1, epochs + 1)) and len(
        report["genotypes"]
    ) == epochs
    space = e.settings.search_space
    assert space.to_string(space.architecture(report["found"][0]["choices"])) == report["genotypes"][-1]
    assert len(report["curve"]) == report["cost"]["search_epochs"] and set(report["operations"]) == {"cell"}
    assert "eigenvalues" not in run_search(experiment("darts"))["result"]


@pytest.mark.parametrize("variant", ["s1", "s4"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100", "svhn"])
def test_table_6_has_the_official_values(variant: str, data: str) -> None:
    """Of R-DARTS' code: second order, the stability rule, four decays and four rates of drop path with a ramp of cutout."""
    one = preset(f"robustdarts_{variant}_{data}")
    settings: Any = load_experiment(one.tuner, one.classArgs).settings
    assert settings.search_space == RobustDARTS(variant.upper()) and settings.seeds == (1, 2, 3)
    assert settings.evaluations["retrain"].recipe == f"robustdarts_{data}"
    searches = {name: settings.search_settings(name) for policy in settings.policies for name in settings.runs(policy)}
    assert {searched.data.source for searched in searches.values()} == {data}
    second = {name for name, searched in searches.items() if searched.training.order == 2}
    assert second == set(searches) - {"RF-DARTS", "DARTS-minus", "DARTS-plus"}
    rule = {"window": 5, "start_epoch": 10, "delta": 4, "factor": 1.3, "max_weight_decay": 0.03, "multiplier": 10.0}
    for name, method in (("DARTS-ES", "early_stop"), ("DARTS-ADA", "adaptive")):
        training = searches[name].training
        assert training.hessian_every == 2 and training.stability.model_dump() == {**rule, "method": method}
    decays = [searches[f"R-DARTS-L2#{run}"].training.weight_decay for run in (1, 2, 3, 4)]
    dropped = [searches[f"R-DARTS-DP#{run}"] for run in (1, 2, 3, 4)]
    assert decays == [3e-4, 9e-4, 27e-4, 81e-4]
    assert [one.search.drop_path for one in dropped] == [0, 0.2, 0.4, 0.6]
    cutout = [(one.data.augmentation.cutout, one.data.augmentation.cutout_ramp) for one in dropped]
    assert cutout == [(0, 0), *[(16, one.training.epochs) for one in dropped[1:]]]
    assert searches["DARTS-minus"].search.auxiliary_skip == 1 and searches["DARTS-plus"].training.most_skips == 2
    assert searches["RF-DARTS"].search.option == "C"


def test_the_spaces_of_the_presets() -> None:
    spaces = {name: settings_of(name).search_space for name in OURS}
    assert spaces["rfdarts_nasbench201"] == NASBench201() == spaces["darts_second_nasbench201"]
    assert spaces["darts_cifar10"] == spaces["pcdarts_cifar10"] == spaces["rfdarts_cifar10"] == DARTS()
    e = settings_of("rfdarts_nasbench201")
    assert e.seeds == (777, 888, 999) and not e.search.track_statistics


# -- the command line --------------------------------------------------------------------------------------------------
def shrunken(name: str, folder: Path) -> dict[str, Any]:
    """The preset's file with two epochs of everything, one found and one random architecture."""
    value: dict[str, Any] = yaml.safe_load(preset_file(name, folder).read_text())
    given = value["tuner"]["classArgs"]
    given["training"] |= {"epochs": 2, "warmup_epochs": 1}
    given["evaluations"]["stand_alone"]["training"] |= {"epochs": 2}
    given |= {"found": 1, "random": 1}
    value["maxTrialNumber"] = 4
    return value


def test_a_shrunken_preset_from_the_command_line(run: Cli, tmp_path: Path) -> None:
    config, folder = write(tmp_path / "x.yml", shrunken("rfdarts_digits", tmp_path)), tmp_path / "run"
    answer = run("search", config, "--output", folder)
    assert answer.status == 0, answer.err
    assert (
        "RFDARTS: the best by the validation of stand_alone first" in answer.out and "largest parameters" in answer.out
    )
    assert "log probability" in answer.out and (folder / "best.png").exists()
    assert "Kendall tau-b of log probability against the table of truth" in answer.out
    result = load(folder / "result.json")
    rows, (search,) = result["architectures"], result["searches"]
    jobs = sorted(row["evaluations"]["stand_alone"]["job"] for row in rows)
    assert jobs == ["stand_alone-found-0-1", "stand_alone-largest_parameters", "stand_alone-random-1"]
    assert result["strategy"] == "RFDARTS" and result["failed"] == []
    assert all(row["true_rank"] is not None and row["parameters"] > 0 for row in rows)
    assert (
        len(search["result"]["genotypes"]) == 2 and -1 <= search["tau"] <= 1 and 0 <= search["supernet_accuracy"] <= 100
    )
    found = next(row for row in rows if row["source"] == "found")
    assert found["architecture"] == search["result"]["genotypes"][-1]
    scored_rows = [row for row in rows if row["source"] in ("found", "random")]
    assert all(row["score"] < 0 for row in scored_rows)
    texts = [row["architecture"] for row in scored_rows]
    scored = json.loads(run("score", config, *texts, "--supernet", folder / "search-0", "--json").out)
    assert [row["log_probability"] for row in scored] == pytest.approx([row["score"] for row in scored_rows], abs=1e-6)
    assert (
        f"{scored[0]['log_probability']:.6f}" in run("score", config, texts[0], "--supernet", folder / "search-0").out
    )
    four = shrunken("rfdarts_digits", tmp_path)["tuner"]["classArgs"]
    four |= {"space": {"name": "nasbench201", "nodes": 4, "channels": 8, "cells_per_stage": 1}, "truth": None}
    larger = write(tmp_path / "y.yml", file_of(load_experiment("rfdarts", four), four))
    answer = run("score", larger, f"{OTHER}+|none~0|none~1|skip_connect~2|", "--supernet", folder / "search-0")
    assert (
        answer.status == 2 and "is a supernet of another space: alphas.cell is (3, 5) instead of (6, 5)" in answer.err
    )


def test_without_evaluations(run: Cli, tmp_path: Path) -> None:
    """Any registered objective will do, so images without labels can be searched too."""
    changes = {"evaluations": {}, "random": 0, "found": 3, "objective": {"name": "random_labels", "classes": 5}}
    answer = run("search", write(tmp_path / "x.yml", content("darts", **changes)), "--output", tmp_path / "run")
    assert answer.status == 0 and "DARTS: the largest log probability first" in answer.out
    rows = load(tmp_path / "run" / "result.json")["architectures"]
    scores = [row["score"] for row in rows]
    assert [row["source"] for row in rows] == ["found"] * 3 and scores == sorted(scores, reverse=True)


def test_refused_files(run: Cli, tmp_path: Path) -> None:
    value = content()
    value["tuner"]["classArgs"]["space"] = {"name": "nao"}
    answer = run("search", write(tmp_path / "x.yml", value), "--output", tmp_path / "run")
    assert answer.status == 2 and "nao has no mixture over edges" in answer.err and not (tmp_path / "run").exists()
