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
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment import phases
from nni_plugins.experiment.file import from_yaml
from nni_plugins.experiment.plan import Job, Plan
from nni_plugins.experiment.result import summary
from nni_plugins.experiment.scores import ANGLE, LOG_PROBABILITY, outcome
from nni_plugins.experiment.settings import (
    EXPERIMENTS,
    DifferentiableExperiment,
    RandomSearchExperiment,
    RLNASExperiment,
    SearchExperiment,
    check,
)
from nni_plugins.portal.axes import expected_trials, search_space
from nni_plugins.portal.registration import _entries
from nni_plugins.portal.tuner import PhasedTuner, job_of
from nni_plugins.portal.tuners import DARTSTuner, PCDARTSTuner, RFDARTSTuner, RFPCDARTSTuner
from nni_plugins.presets import PRESETS, render
from nni_plugins.spaces import DARTS, NASBench201, RobustDARTS
from nni_plugins.strategies.differentiable.search import DifferentiableResult
from nni_plugins.trial import Reporter

from .small import CELL, OTHER, Cli, load, stand_alone_value, write

METHODS = ("darts", "pcdarts", "rfdarts", "rfpcdarts")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def arguments(**changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on 200 images, then one found and one random architecture."""
    whole: dict[str, Any] = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "training": {"epochs": 2, "batch_size": 50, "warmup_epochs": 0, "accelerator": "cpu"},
        "stand_alone": {"epochs": 1, "batch_size": 64, "accelerator": "cpu"},
        "threads": 1,
        "found": 1,
        "random": 1,
    }
    return whole | changes


def settings(method: str = "rfdarts", **changes: Any) -> DifferentiableExperiment:
    model = EXPERIMENTS[method]
    assert issubclass(model, DifferentiableExperiment)
    return check(model, arguments(**changes))


def content(method: str = "rfdarts", **changes: Any) -> dict[str, Any]:
    """A whole experiment file."""
    model = settings(method, **changes)
    return {
        "trialCommand": "python -m nni_plugins.trial",
        "trialConcurrency": 2,
        "maxTrialNumber": expected_trials(model),
        "trainingService": {"platform": "local"},
        "tuner": {"name": EXPERIMENTS[method].strategy, "classArgs": arguments(**changes)},
        "searchSpace": search_space(model),
    }


def search_value(experiment: SearchExperiment, seed: int = 0) -> dict[str, Any]:
    """What a search's trial would report."""
    best = experiment.search_space.decode(experiment.search_space.sample(np.random.default_rng(seed), experiment.found))
    found = [{"choices": a.as_dict(), "score": -1.5 - seed - i / 10} for i, a in enumerate(best)]
    return {
        "default": -1.5,
        "log_probability": -1.5,
        "loss": 2.3,
        "result": {"found": found, "random": [-4.0] * experiment.random},
    }


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_papers_values(method: str) -> None:
    model = EXPERIMENTS[method]
    e = check(model, {})
    assert (
        isinstance(e, DifferentiableExperiment) and e.score is LOG_PROBABILITY and e.objective == {"name": "supervised"}
    )
    assert (e.search.option, e.search.initialisation) == (
        ("C", "kaiming") if method.startswith("rf") else ("B", "torch")
    )
    partial = "pc" in method
    assert (e.search.partial_channels, e.search.edge_normalization) == ((4, True) if partial else (1, False))
    t = e.training
    assert (t.batch_size, t.learning_rate, t.warmup_epochs, t.epochs) == (
        (256, 0.1, 15, 50) if partial else (64, 0.025, 0, 50)
    )
    assert check(model, json.loads(json.dumps(e.model_dump(mode="json")))) == e


def test_the_score_of_every_experiment() -> None:
    assert RLNASExperiment.score is ANGLE and RandomSearchExperiment.score is ANGLE
    assert {model.strategy for model in EXPERIMENTS.values()} >= {
        "RLNAS",
        "RandomSearch",
        "DARTS",
        "PCDARTS",
        "RFDARTS",
        "RFPCDARTS",
    }
    assert (
        outcome({"accuracy": 93.456, "default": 93.456}) == "93.46 %" and outcome({"angle": 1.5}) == "angle 1.5000 rad"
    )
    assert outcome({"log_probability": -2.25}) == "log probability -2.2500" and ANGLE.heading == "angle (rad)"


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
        settings(**changes)


def test_what_only_the_images_tell_is_refused_before_the_training() -> None:
    with pytest.raises(ConfigError, match="each half must fill a batch of 150"):
        phases.run_search(settings(training={"batch_size": 150}), 0, None, None)
    with pytest.raises(ConfigError, match="found: 61 architectures are wanted, but only 60 distinct ones exist"):
        phases.run_search(settings(found=61), 0, None, None)


# -- plan and tuners ---------------------------------------------------------------------------------------------------
def test_the_plan() -> None:
    experiment = settings(found=2, random=1, seeds=[0, 3])
    plan = Plan(experiment)
    assert expected_trials(experiment) == plan.remaining == 2 * 3 + 1
    assert plan.next() is plan.jobs["search-0"]
    plan.done("search-0", search_value(experiment))
    assert [(job.score, job.status) for job in plan.jobs.values() if job.phase == "found"] == [
        (-1.5, "waiting"),
        (-1.6, "waiting"),
    ]
    again = Plan(experiment)
    again.restore(json.loads(json.dumps(plan.state())))
    assert again.jobs == plan.jobs
    axes = search_space(experiment)
    assert axes["phase"]["_value"] == ["search", "found", "random"] and axes["e_0_1"]["_value"][-1] == "all"


def test_plans_of_before_there_were_other_scores() -> None:
    """Their jobs say ``angle``."""
    plan = Plan(settings())
    old = {
        "name": "found-0-1",
        "phase": "found",
        "seed": 0,
        "choices": {},
        "angle": 1.25,
        "status": "done",
        "crashes": 0,
        "value": {},
    }
    plan.restore({"jobs": [old]})
    assert (
        plan.jobs == {"found-0-1": Job("found-0-1", "found", 0, {}, 1.25, "done")}
        and plan.jobs["found-0-1"].angle == 1.25
    )


def test_the_result_of_a_plan() -> None:
    experiment = settings(
        found=2,
        random=1,
        truth={"table": "digits"},
        space={"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
    )
    plan = Plan(experiment)
    plan.next()
    plan.done("search-0", search_value(experiment))
    for name, accuracy in (("found-0-1", 80.0), ("found-0-2", 90.0), ("random-1", 70.0)):
        plan.done(name, stand_alone_value(accuracy))
    result = summary(experiment, plan)
    rows = result["architectures"]
    assert result["strategy"] == "RFDARTS" and [row["job"] for row in rows] == ["found-0-2", "found-0-1", "random-1"]
    assert [(row["score"], row["score_name"]) for row in rows] == [
        (-1.6, "log probability"),
        (-1.5, "log probability"),
        (-4.0, "log probability"),
    ]
    assert "angle" not in rows[0] and result["kendall_tau"]["trained"] == pytest.approx(1 / 3)
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize("tuner", [DARTSTuner, PCDARTSTuner, RFDARTSTuner, RFPCDARTSTuner])
def test_tuners(tuner: type[PhasedTuner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    method = tuner.experiment.strategy.lower()
    built = tuner(**arguments(search={"partial_channels": 2}))
    (entry,) = [entry for entry in _entries() if entry["className"] == f"nni_plugins.portal.tuners.{tuner.__name__}"]
    assert built._problem is None and entry["builtinName"] == tuner.experiment.strategy
    sent: list[Any] = []
    (given,) = built.generate_multiple_parameters(
        [0], st_callback=lambda number, parameters: sent.append((number, parameters))
    )
    assert given["phase"] == "search" and given["e_0_1"] == "all" and given["trial"]["experiment"] == method
    again = check(EXPERIMENTS[method], given["trial"]["settings"])
    assert again.model_copy(update={"run_folder": None}) == built.settings
    assert [job_of(p) for p in built.generate_multiple_parameters([1, 2], st_callback=sent.append)] == ["random-1"]
    built._send = lambda number, parameters: sent.append((number, parameters))
    built.receive_trial_result(0, "", search_value(built.settings))  # type: ignore[arg-type]
    assert [(number, job_of(parameters)) for number, parameters in sent] == [(2, "found-0-1")]


def test_a_space_without_mixture_reaches_the_portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    built = DARTSTuner(**arguments(space={"name": "nasnet"}))
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
    report = Reporter(tmp_path / "reported", tmp_path / "metrics.jsonl", settings().curve_point)
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
    experiment = settings("rfpcdarts", search={"partial_channels": 2})
    plan = Plan(experiment)
    (tmp_path / "run").mkdir()
    given = plan.parameters(plan.jobs["search-0"])
    given["trial"] |= {
        "experiment": "rfpcdarts",
        "settings": {**experiment.model_dump(mode="json"), "run_folder": str(tmp_path / "run")},
    }
    monkeypatch.setattr(trial, "own_parameters", lambda: given)
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path / "out")))
    assert trial.main() == 0
    (value,) = final
    assert (
        set(value) == {"default", "log_probability", "loss", "supernet_accuracy", "result"}
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
    space = experiment.search_space
    assert space.to_string(space.architecture(found["found"][0]["choices"])) == found["genotypes"][-1]
    assert (
        json.loads((tmp_path / "run" / "search-0" / "metrics.jsonl").read_text().splitlines()[-1])["genotype"]
        == found["genotypes"][-1]
    )


# -- files -------------------------------------------------------------------------------------------------------------
def test_files(tmp_path: Path) -> None:
    for method in METHODS:
        changes = {"search": {"partial_channels": 2}}
        assert from_yaml(write(tmp_path / "x.yml", content(method, **changes))) == (method, settings(method, **changes))
    broken = content()
    broken["tuner"]["classArgs"]["objective"] = {"name": "supervised", "clases": 3}
    with pytest.raises(ConfigError, match=r"tuner\.classArgs\.objective: "):
        from_yaml(write(tmp_path / "x.yml", broken))


OURS = sorted(name for name, preset in PRESETS.items() if preset.tuner.lower() in METHODS)


def test_presets() -> None:
    robust = ["darts_ada_s1_cifar10", "darts_dp_s1_cifar10", "darts_es_s1_cifar10", "darts_l2_s1_cifar10"]
    others = [
        "darts_cifar10",
        "pcdarts_cifar10",
        "rfdarts_cifar10",
        "rfdarts_digits",
        "rfdarts_nasbench201",
        "rfdarts_s1_cifar10",
    ]
    assert sorted([*robust, *others, "pcdarts_imagenet", "rfpcdarts_imagenet"]) == OURS


@pytest.mark.parametrize("name", OURS)
def test_examples(name: str) -> None:
    tuner, experiment = from_yaml(EXAMPLES / f"{name}.yml")
    assert (EXAMPLES / f"{name}.yml").read_text() == render(name) and tuner == PRESETS[name].tuner.lower()
    assert isinstance(experiment, DifferentiableExperiment)
    if name != "rfdarts_digits":  # written out, but the paper's
        defaults = check(type(experiment), {})
        differ = {
            key
            for key, value in experiment.training.model_dump().items()
            if value != defaults.training.model_dump()[key]
        }
        imagenet = {
            "batch_size",
            "learning_rate",
            "learning_rate_warmup",
            "architecture_learning_rate",
            "architecture_clip",
            "warmup_epochs",
        }
        imagenet |= {"portion", "precision", "memory_format"}
        ours = {
            "darts_cifar10": {"order"},
            "rfdarts_nasbench201": {"nesterov", "weight_decay", "first", "shuffle_split"},
            **dict.fromkeys(("pcdarts_imagenet", "rfpcdarts_imagenet"), imagenet),
            "darts_es_s1_cifar10": {"order", "hessian_every", "stability"},
            "darts_ada_s1_cifar10": {"order", "hessian_every", "stability"},
            "darts_l2_s1_cifar10": {"order", "hessian_every", "weight_decay"},
            "darts_dp_s1_cifar10": {"order", "hessian_every"},
        }
        assert differ == ours.get(name, set())
        left_out = {"track_statistics"} | ({"drop_path"} if name == "darts_dp_s1_cifar10" else set())
        left_out |= {"partial_channels"} if name.endswith("imagenet") else set()
        assert experiment.search.model_dump(exclude=left_out) == defaults.search.model_dump(exclude=left_out)


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
    experiment, rows = settings("darts", training=training), list[dict[str, Any]]()
    result, value = phases.run_search(experiment, 0, None, rows.append)
    report = json.loads(json.dumps(value))["result"]
    assert all(math.isfinite(experiment.curve_point(row)["eigenvalue"]) for row in rows)
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
    assert experiment.search_space.to_string(result.ranked[0].architecture) == report["genotypes"][-1]
    assert (
        isinstance(result, DifferentiableResult)
        and report["operations"]["cell"] == result.trained.mixtures[-1]["operations"]["cell"]
    )
    assert "eigenvalues" not in phases.run_search(settings("darts"), 0, None, None)[1]["result"]


def test_robust_presets_have_the_official_rule() -> None:
    """Written out, they are the defaults of the settings; seeds, space and recipe are those of RF-DARTS' file on S1."""
    rule = {"window": 5, "start_epoch": 10, "delta": 4, "factor": 1.3, "max_weight_decay": 0.03, "multiplier": 10.0}
    reference = from_yaml(EXAMPLES / "rfdarts_s1_cifar10.yml")[1]
    for name, method in (("es", "early_stop"), ("ada", "adaptive"), ("l2", None), ("dp", None)):
        experiment = from_yaml(EXAMPLES / f"darts_{name}_s1_cifar10.yml")[1]
        assert isinstance(experiment, DifferentiableExperiment) and isinstance(reference, DifferentiableExperiment)
        assert (experiment.seeds, experiment.space, experiment.stand_alone) == (
            reference.seeds,
            reference.space,
            reference.stand_alone,
        )
        training = experiment.training
        assert training.hessian_every == 2 and training.order == 2
        assert (training.stability and training.stability.model_dump()) == (method and {**rule, "method": method})
        assert (training.weight_decay, experiment.search.drop_path) == {"l2": (0.0081, 0.0), "dp": (3e-4, 0.6)}.get(
            name, (3e-4, 0.0)
        )


def test_the_spaces_of_the_examples() -> None:
    spaces = {name: from_yaml(EXAMPLES / f"{name}.yml")[1].search_space for name in OURS}
    assert spaces["rfdarts_nasbench201"] == NASBench201() and spaces["rfdarts_s1_cifar10"] == RobustDARTS("S1")
    assert spaces["darts_cifar10"] == spaces["pcdarts_cifar10"] == spaces["rfdarts_cifar10"] == DARTS()
    _, experiment = from_yaml(EXAMPLES / "rfdarts_nasbench201.yml")
    assert (
        isinstance(experiment, DifferentiableExperiment)
        and experiment.seeds == (777, 888, 999)
        and not experiment.search.track_statistics
    )


# -- the command line --------------------------------------------------------------------------------------------------
def shrunken(name: str) -> dict[str, Any]:
    """The preset's file with two epochs of everything, one found and one random architecture."""
    value: dict[str, Any] = yaml.safe_load(render(name))
    given = value["tuner"]["classArgs"]
    given["training"] |= {"epochs": 2, "warmup_epochs": 1}
    given["stand_alone"] |= {"epochs": 2}
    given |= {"found": 1, "random": 1}
    value["maxTrialNumber"] = 3
    return value


def test_a_shrunken_preset_from_the_command_line(run: Cli, tmp_path: Path) -> None:
    config, folder = write(tmp_path / "x.yml", shrunken("rfdarts_digits")), tmp_path / "run"
    answer = run("search", config, "--output", folder)
    assert answer.status == 0, answer.err
    assert (
        "RFDARTS: found and random architectures" in answer.out
        and "log probability" in answer.out
        and (folder / "best.png").exists()
    )
    assert "Kendall tau-b of log probability against true accuracy" in answer.out and "log probability -" in answer.out
    result = load(folder / "result.json")
    rows, (search,) = result["architectures"], result["searches"]
    assert (
        result["strategy"] == "RFDARTS"
        and sorted(row["job"] for row in rows) == ["found-0-1", "random-1"]
        and result["failed"] == []
    )
    assert all(row["score"] < 0 and row["true_rank"] is not None and row["parameters"] > 0 for row in rows)
    assert (
        len(search["result"]["genotypes"]) == 2 and -1 <= search["tau"] <= 1 and 0 <= search["supernet_accuracy"] <= 100
    )
    found = next(row for row in rows if row["source"] == "found")
    assert found["architecture"] == search["result"]["genotypes"][-1]
    texts = [row["architecture"] for row in rows]
    scored = json.loads(run("score", config, *texts, "--supernet", folder / "search-0", "--json").out)
    assert [row["log_probability"] for row in scored] == pytest.approx([row["score"] for row in rows], abs=1e-6)
    assert scored[0]["initial_sha256"] == search["result"]["initial_sha256"]
    assert (
        f"{scored[0]['log_probability']:.6f}" in run("score", config, texts[0], "--supernet", folder / "search-0").out
    )
    four = shrunken("rfdarts_digits")
    four["tuner"]["classArgs"] |= {
        "space": {"name": "nasbench201", "nodes": 4, "channels": 8, "cells_per_stage": 1},
        "truth": None,
    }
    four["searchSpace"] = search_space(check(EXPERIMENTS["rfdarts"], four["tuner"]["classArgs"]))
    answer = run(
        "score",
        write(tmp_path / "y.yml", four),
        f"{OTHER}+|none~0|none~1|skip_connect~2|",
        "--supernet",
        folder / "search-0",
    )
    assert (
        answer.status == 2 and "is a supernet of another space: alphas.cell is (3, 5) instead of (6, 5)" in answer.err
    )


def test_without_stand_alone_training(run: Cli, tmp_path: Path) -> None:
    """Any registered objective will do, so images without labels can be searched too."""
    changes = {"stand_alone": None, "random": 0, "found": 3, "objective": {"name": "random_labels", "classes": 5}}
    answer = run("search", write(tmp_path / "x.yml", content("darts", **changes)), "--output", tmp_path / "run")
    assert answer.status == 0 and "DARTS: found architectures, largest log probability first" in answer.out
    rows = load(tmp_path / "run" / "result.json")["architectures"]
    assert [row["status"] for row in rows] == ["listed"] * 3 and rows[0]["score"] >= rows[1]["score"] >= rows[2][
        "score"
    ]


def test_refused_files(run: Cli, tmp_path: Path) -> None:
    value = content()
    value["tuner"]["classArgs"]["space"] = {"name": "nao"}
    answer = run("search", write(tmp_path / "x.yml", value), "--output", tmp_path / "run")
    assert answer.status == 2 and "nao has no mixture over edges" in answer.err and not (tmp_path / "run").exists()
