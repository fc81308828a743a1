"""Sample studies: what is drawn, planned, trained, resumed, compared and read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nni
import numpy as np
import pytest

from nni_plugins import trial
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError, DataError, LabelError
from nni_plugins.evaluators.reports.sample_study import report
from nni_plugins.evaluators.statistics.correlation import correlation
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.portal.tuner import job_of
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.presets import preset
from nni_plugins.studies.sample import experiment as module
from nni_plugins.studies.sample.comparison import measurements, study_of
from nni_plugins.studies.sample.draw import draw_samples
from nni_plugins.studies.sample.experiment import SampleStudyExperiment
from nni_plugins.studies.sample.settings import AnalysisSettings, FigureSettings, SampleStudySettings
from nni_plugins.studies.sample.summaries import analyse, read_summaries, read_summary
from nni_plugins.studies.sample.training import parts_of
from nni_plugins.testing.changes import with_another_value

from .identities import check_every_key, identities, variable
from .small import Cli, content, file_of, load, preset_file, write

TRAINING = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.025,
    "precise_batch_norm": 32,
    "accelerator": "cpu",
    "checkpoint_seconds": 0,
}
QUICK = {"training": TRAINING, "limit": 64, "test_limit": 100}


def arguments(**changes: Any) -> dict[str, Any]:
    """Three architectures, two objectives, two epochs on 64 digits."""
    small: dict[str, Any] = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "objectives": {"supervised": QUICK, "rotation": QUICK},
        "random": 3,
        "threads": 1,
    }
    return small | changes


def study(**changes: Any) -> SampleStudyExperiment:
    loaded = load_experiment("samplestudy", arguments(**changes))
    assert isinstance(loaded, SampleStudyExperiment)
    return loaded


def settings(**changes: Any) -> SampleStudySettings:
    return study(**changes).settings


def finished(experiment: SampleStudyExperiment, missing: tuple[str, ...] = ()) -> Plan:
    """Results for all jobs but ``missing``, which fail: the pretext accuracy of architecture i is its supervised one,
    times ten.
    """
    plan = Plan(experiment)
    while (job := plan.next()) is not None:
        if job.name in missing:
            plan.crashed(job.name, again=False)
            continue
        last = float(job.rank + job.seed) * (1 if job.variant == "supervised" else 10)
        plan.done(job.name, {"default": last, "last": last, "best": 99 - last, "accuracy": last, "loss": 1.0})
    return plan


# -- settings and draws ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"random": 2}, r"random: input should be greater than or equal to 3, but got 2"),
        ({"objectives": {"supervised": QUICK}}, "objectives: at least two must be given"),
        ({"objectives": {"supervised": {}, "rotatoin": {}}}, r"unknown objective 'rotatoin'; did you mean 'rotation'"),
        (
            {"objectives": {"supervised": {}, "labels": {"objective": {"name": "random_labels", "classes": 3}}}},
            "cannot be predicted",
        ),
        (
            {"objectives": {"supervised": {}, "rot-1": {"objective": {"name": "rotation"}}}},
            "'rot-1' must consist of letters",
        ),
        ({"reference": "supervisd"}, "reference: 'supervisd' is none of objectives; did you mean 'supervised'"),
        ({"seeds": [1, 1]}, r"seeds: each may stand there once, but got \[1, 1\]"),
        ({"evaluations": {}}, "evaluations: no such key"),
        ({"space": {"name": "recurrent"}}, "take no images, and this study trains on images"),
        ({"optimize_mode": "minimize"}, "optimize_mode: input should be 'maximize'"),
        (
            {"limits": {"min_parameters": 9, "max_parameters": 8}},
            "min_parameters <= max_parameters must hold, but got 9 and 8",
        ),
        (
            {"data": {"source": "digits", "limit": 50}},
            "objectives.supervised.limit <= data.limit = 50 must hold, but got 64",
        ),
        ({"objectives": {"supervised": {"training": {"devices": 2}}, "rotation": {}}}, "devices"),
        ({"figures": {"x": {"truth": "supervised", "scores": ["rot"]}}}, "figures.x: no objective 'rot'; did you mean"),
        ({"figures": {"x": {"truth": "table", "scores": ["rotation"]}}}, "figures.x: no objective 'table'"),
        (
            {"figures": {"x": {"truth": "rotation", "scores": ["rotation"]}}},
            "figures.x: scores must differ from one another and from truth",
        ),
        ({"architectures": "/x"}, "architectures: a file takes the place of a draw; leave out random"),
        (
            {"objectives": {"supervised": {**QUICK, "network": {"nodes": 4}}, "rotation": QUICK}},
            "objectives.supervised.network: nodes change which architectures there are",
        ),
        (
            {"objectives": {"supervised": {**QUICK, "network": {"chanels": 4}}, "rotation": QUICK}},
            "objectives.supervised.network: .*chanels",
        ),
        ({"analysis": {"resamples": 10}}, "analysis.resamples: input should be greater than or equal to 1000"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_the_defaults_are_the_papers() -> None:
    paper = SampleStudySettings()
    rates = {name: (one.training.batch_size, one.training.learning_rate) for name, one in paper.objectives.items()}
    assert rates == {
        "supervised": (128, 0.1),
        "rotation": (32, 0.025),
        "colorization": (128, 0.1),
        "jigsaw": (32, 0.025),
    }
    training = paper.objectives["jigsaw"].training
    assert (
        training.epochs,
        training.weight_decay,
        training.momentum,
        training.nesterov,
        training.precise_batch_norm,
    ) == (100, 5e-4, 0.9, True, 1024)
    assert (
        paper.objectives["jigsaw"].objective == {"name": "jigsaw", "grid": 2}
        and paper.random == 500
        and paper.measure == "last"
    )


def test_draws_are_distinct_repeatable_and_within_the_limits() -> None:
    small = settings(random=20, limits={"min_parameters": 3000, "max_parameters": 6000})
    space, drawn = small.search_space, draw_samples(small)
    assert len({space.canonical(architecture) for architecture in drawn}) == 20, "no twins"
    parameters = space.cost_table(32)(space.encode(drawn)).parameters
    assert parameters.min() >= 3000 and parameters.max() <= 6000
    assert (
        drawn
        == draw_samples(small)
        != draw_samples(settings(random=20, random_seed=1, limits=small.limits.model_dump()))
    )


def test_more_than_the_space_has() -> None:
    """Of the 125 three-node cells some compute the same as others, and limits leave fewer."""
    space = settings().search_space
    forms = {space.canonical(architecture) for architecture in space.decode(space.enumerate())}
    assert len(draw_samples(settings(random=len(forms)))) == len(forms) < 125
    with pytest.raises(
        ConfigError,
        match=rf"random: {len(forms) + 1} distinct architectures are wanted, but .* has only {len(forms)}\.[\s\S]*Lower",
    ):
        Plan(study(random=len(forms) + 1))
    with pytest.raises(ConfigError, match=r"has only 0 within the limits[\s\S]*widen tuner.classArgs.limits"):
        Plan(study(limits={"max_parameters": 10}))
    darts = settings(space={"name": "darts", "channels": 4, "cells": 5}, limits={"max_parameters": 10})
    with pytest.raises(ConfigError, match="has only 0 within the limits"):
        draw_samples(darts)


def test_nasbench101_is_drawn_from_the_benchmarks_table() -> None:
    """UnNAS' 500 have 428 cells of seven vertices; uniform matrices would have 16."""
    paper = SampleStudySettings.model_validate(preset("sample_study_nasbench101").classArgs)
    space, drawn = paper.search_space, draw_samples(paper)
    vertices = [len(space.cell(one).prune().matrix) for one in drawn]  # type: ignore[attr-defined]
    assert len(drawn) == 500 and abs(vertices.count(7) - 428) < 30 and abs(vertices.count(6) - 69) < 30


def test_the_darts_population_is_the_papers() -> None:
    """Its statistics over 500: sizes with 1,000 classes on ImageNet of 3.27 to 4.23 M, and operations of normal cells."""
    paper = SampleStudySettings.model_validate(preset("sample_study_darts").classArgs)
    space, drawn = paper.search_space, draw_samples(paper)
    names = [name for one in drawn for name, _ in space.genotype(one).normal.edges()]  # type: ignore[attr-defined]
    published = {"sep_conv_5x5": 986, "sep_conv_3x3": 804, "dil_conv_5x5": 570, "dil_conv_3x3": 496, "none": 313}
    assert len(names) == 4000 and all(abs(names.count(name) - n) < 4 * n**0.5 for name, n in published.items())
    large = paper.space_of("imagenet_supervised").with_classes(1000)
    sizes = large.cost_table(224)(large.encode(drawn)).parameters / 1e6
    assert 3.2 < sizes.min() < 3.35 and 4.1 < sizes.max() < 4.35
    twice = [a == b for one in drawn for node in space.genotype(one).normal.nodes for (_, a), (_, b) in [node]]  # type: ignore[attr-defined]
    assert abs(np.mean(twice) - (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4) < 0.03


@pytest.mark.parametrize("name", ["sample_study_darts", "sample_study_nasbench101"])
def test_the_grid_of_the_paper(name: str, tmp_path: Path) -> None:
    """Two data sets and four objectives each; figures 2, 3 and 4."""
    paper: Any = read_experiment(preset_file(name, tmp_path)).settings
    tasks = ("supervised", "rotation", "colorization", "jigsaw")
    assert list(paper.objectives) == [f"{data}_{task}" for data in ("cifar10", "imagenet") for task in tasks]
    darts = name.endswith("darts")
    for key, one in paper.objectives.items():
        data, task = key.split("_")
        t, crop = one.training, one.data.augmentation
        small, decay = data == "imagenet" or task in ("rotation", "jigsaw"), 5e-4 if data == "cifar10" else 5e-5
        rate = 0.0125 if data == "imagenet" else 0.025 if small else 0.1
        assert (t.batch_size, t.learning_rate, t.weight_decay) == (32 if small else 128, rate, decay)
        assert t.epochs == (100 if data == "cifar10" else 5 if darts else 10)
        assert t.precise_batch_norm == (0 if data == "imagenet" and not darts else 1024)
        if data == "cifar10":
            assert crop.padding == (4 if task in ("supervised", "rotation") else 0) and crop.flip
        else:
            assert crop.size == (255 if task == "jigsaw" else 224)
            assert crop.lighting == (0.0 if task == "colorization" else 0.1)
            stem = "imagenet"
            wanted = {"channels": 32, "cells": 22} if darts else {"channels": 128, "cells_per_stack": 4}
            assert one.network == {**wanted, "stem": stem}
    assert paper.figures["cifar10_to_imagenet"].truth == "imagenet_supervised" and paper.measure == "best"


def test_architectures_of_a_file(tmp_path: Path) -> None:
    space = settings().search_space
    cells = list({space.canonical(one): one for one in space.decode(space.enumerate())}.values())[:4]
    file = tmp_path / "cells"
    own = {key: value for key, value in arguments(architectures=str(file)).items() if key != "random"}
    given: Any = load_experiment("samplestudy", own)
    for text in (
        "\n".join(map(space.to_string, cells)),
        json.dumps([space.to_string(cells[0]), *(one.as_dict() for one in cells[1:])]),
    ):
        file.write_text(text)
        assert draw_samples(given.settings) == cells
    assert len(Plan(given).jobs) == 4 * 2
    for text, message in (
        ("x\n", "cells, number 1: "),
        ("[3]", "number 1: got int"),
        ("[", "cannot read"),
        ("\n".join(map(space.to_string, cells[:2])), "has 2; a correlation needs 3"),
        ("\n".join(map(space.to_string, [*cells, cells[1]])), "numbers 2 and 5 are the same architecture"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            draw_samples(given.settings)


def test_objectives_with_images_and_networks_of_their_own(tmp_path: Path) -> None:
    """Other crops and another width for one of them; figures that compare what they name."""
    wide = {**QUICK, "network": {"channels": 8}, "data": {"source": "digits", "limit": 100, "flip": True}}
    whole = study(
        objectives={"supervised": QUICK, "rotation": QUICK, "wide": {**wide, "objective": {"name": "supervised"}}},
        figures={
            "same": {"truth": "supervised", "scores": ["rotation"]},
            "other": {"truth": "wide", "scores": ["supervised", "rotation"]},
        },
    )
    parts = parts_of(whole.settings)
    assert len(parts["rotation"].train) == 64 == len(parts["wide"].train)
    assert parts["supervised"].train.augmentation != parts["wide"].train.augmentation
    widths = {name: part.space.config()["channels"] for name, part in parts.items()}
    assert widths == {"supervised": 4, "rotation": 4, "wide": 8}
    identity = {job.variant: whole.identity(job) for job in whole.first_jobs()}
    assert identity["wide"]["data"]["flip"] and not identity["rotation"]["data"]["flip"]
    value = written(whole, finished(whole, missing=("sample-1-wide-0",)), tmp_path)
    assert {name: figure["compared"] for name, figure in value["figures"].items()} == {"same": 3, "other": 2}
    assert [row["score"] for row in value["figures"]["same"]["correlations"]] == ["rotation"]


# -- plan and tuner ----------------------------------------------------------------------------------------------------
def test_the_plan_in_miniature() -> None:
    small = study(seeds=[0, 7])
    plan, axes = Plan(small), small.axes()
    assert len(plan.jobs) == small.trials == 3 * 2 * 2
    assert list(plan.jobs)[:3] == ["sample-1-supervised-0", "sample-1-rotation-0", "sample-2-supervised-0"]
    assert list(axes) == ["objective", "seed", *small.settings.search_space.labels]
    for job in plan.jobs.values():
        parameters = small.parameters(job)
        assert list(parameters) == list(axes) and all(parameters[axis] in axes[axis]["_value"] for axis in axes)
    assert small.optimize_mode == "maximize" and small.objectives["objectives.rotation.objective"] == {
        "name": "rotation"
    }


def test_every_key_is_of_some_consequence() -> None:
    """A training is done again, or others are done; but for what only the comparison looks at."""
    whole = study(random=4, seeds=[0], truth={"table": "digits"}, limits={"min_parameters": 2000})
    space = whole.settings.search_space
    sizes = space.cost_table(32)(space.encode(whole.architectures)).parameters.tolist()
    check_every_key(
        whole,
        {
            "space": {**arguments()["space"], "channels": 5},
            "data": {"source": "digits", "limit": 100},
            "objectives": {"supervised": QUICK, "jigsaw": {"objective": {"name": "jigsaw", "grid": 2}, **QUICK}},
            "reference": "rotation",
            "figures": {"own": FigureSettings(truth="rotation", scores=("supervised",))},
            "seeds": [1],
            "limits.min_parameters": min(sizes) + 1,
            "limits.max_parameters": max(sizes) - 1,
            "run_folder": "/elsewhere",
        },
        impossible=("architectures",),
    )
    others = {"objective": {"name": "jigsaw", "grid": 2}, "data": DataSettings(limit=90), "network": {"channels": 5}}
    for key in variable(whole.settings.objectives["rotation"]):
        one = whole.settings.objectives["rotation"]
        other = one.model_copy(update={key: others[key]}) if key in others else with_another_value(one, key)
        objectives = {**whole.settings.objectives, "rotation": other}
        changed = SampleStudyExperiment(whole.settings.model_copy(update={"objectives": objectives}))
        assert (identities(changed) == identities(whole)) == (
            key.split(".")[-1] in ("checkpoint_seconds", "accelerator")
        )


def test_the_tuner_hands_out_all_trainings_and_writes_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    tuner = tuner_class("samplestudy")(**arguments())
    given = tuner.generate_multiple_parameters(list(range(6)), st_callback=lambda number, parameters: None)
    assert [job_of(parameters) for parameters in given] == list(tuner.plan.jobs)
    assert given[0]["trial"]["experiment"] == "SampleStudy" and given[1]["objective"] == "rotation"
    for number, parameters in enumerate(given):
        value = 10.0 * number
        said = {"default": value, "last": value, "best": value, "loss": 1.0, "job": job_of(parameters)}
        tuner.receive_trial_result(number, parameters, said)
        tuner.trial_end(number, True)
    value = load(tmp_path / "run" / "study.json")
    figure = value["figures"]["accuracies"]
    assert figure["compared"] == 3 and figure["correlations"][0]["spearman"]["value"] == 1
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2 and "Rank agreement" in page


# -- results -----------------------------------------------------------------------------------------------------------
def written(experiment: SampleStudyExperiment, plan: Plan, folder: Path) -> dict[str, Any]:
    assert experiment.conclude(plan, folder) == load(folder / "study.json")
    value: dict[str, Any] = load(folder / "study.json")
    return value


def test_the_study_compares_what_was_measured(tmp_path: Path) -> None:
    whole = study(
        random=8,
        seeds=[0, 2],
        truth={"table": "digits"},
        space={"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
    )
    plan = finished(whole, missing=("sample-4-rotation-2",))
    measured = measurements(whole.settings, whole.architectures, plan)
    assert measured.column("supervised").tolist() == [2, 3, 4, 5, 6, 7, 8, 9], "the mean of the two seeds"
    assert np.isnan(measured.column("rotation")[3]) and len(measured.complete().architectures) == 7
    value = written(whole, plan, tmp_path)
    assert list(value["figures"]) == ["accuracies", "table"]
    found = {
        (row["score"], row["truth"]): row for figure in value["figures"].values() for row in figure["correlations"]
    }
    assert list(found) == [("rotation", "supervised"), ("rotation", "table accuracy"), ("supervised", "table accuracy")]
    assert found["rotation", "supervised"]["kendall"] == {
        "value": pytest.approx(1),
        "low": pytest.approx(1),
        "high": pytest.approx(1),
    }
    kept = measured.complete()
    expected = correlation(kept.column("rotation"), kept.column("table accuracy")).spearman
    assert found["rotation", "table accuracy"]["spearman"] == {
        "value": expected.value,
        "low": expected.low,
        "high": expected.high,
    }
    compared = value["figures"]["accuracies"]["compared"]
    assert value["failed"] == ["sample-4-rotation-2"] and (compared, len(value["accuracies"])) == (7, 8)
    rows = list(csv.DictReader((tmp_path / "study.csv").open()))
    assert [row["rotation"] for row in rows] == ["20.0", "30.0", "40.0", "", "60.0", "70.0", "80.0", "90.0"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert r"| rotation | supervised | 1.00 \[1.00, 1.00\] |" in text and "7 of 8 architectures" in text
    assert "failed: sample-4-rotation-2" in text and "## Setting" in text and "torch" in text
    best = study(**{**whole.settings.model_dump(), "measure": "best"})
    assert study_of(best.settings, best.architectures, plan).measured.column("supervised")[0] == 99 - 2


def test_fewer_than_three_architectures_are_not_correlated(tmp_path: Path) -> None:
    value = written(study(), finished(study(), missing=("sample-2-rotation-0",)), tmp_path)
    figure = value["figures"]["accuracies"]
    assert figure["correlations"] == figure["efficiency"] == []
    assert figure["note"] == "no correlation: it needs 3 architectures with all accuracies, but there are 2"
    assert "No correlation: it needs 3 architectures" in (tmp_path / "report" / "report.md").read_text()
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.html", "report.md"]


def test_the_numbers_stand_there_before_a_figure_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nni_plugins.evaluators.reports.sample_study import figures

    def broken(*_: Any) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(figures, "scatter_figure", broken)
    small = study()
    with pytest.raises(RuntimeError, match="no fonts"):
        report.write_study(study_of(small.settings, small.architectures, finished(small)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.csv", "study.json"]


# -- training ----------------------------------------------------------------------------------------------------------
class Stopped(Exception):
    pass


def test_a_study_that_is_killed_continues_without_repeating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "svg", lambda figure: b"<svg/>")
    whole = run_experiment(study(), tmp_path / "whole")
    seen: list[tuple[str, int | None]] = []

    def stop(job: Job, row: dict[str, float] | None, plan: Plan) -> None:
        seen.append((job.name, None if row is None else int(row["epoch"])))
        if seen[-1] == ("sample-2-rotation-0", 1):
            raise Stopped

    folder = tmp_path / "killed"
    with pytest.raises(Stopped):
        run_experiment(study(), folder, stop)
    before = len(seen)
    resumed = run_experiment(study(), folder, stop)
    epochs = [(name, epoch) for name, epoch in seen[before:] if epoch is not None]
    assert epochs == [
        ("sample-2-rotation-0", 2),
        *((f"sample-3-{name}-0", epoch) for name in ("supervised", "rotation") for epoch in (1, 2)),
    ]
    assert resumed["trainings"] == whole["trainings"] and resumed["figures"] == whole["figures"]
    assert all(
        training["status"] == "done" and 0 <= training["last"] <= training["best"] <= 100
        for training in whole["trainings"]
    )
    left = {path.name for path in (folder / "sample-1-rotation-0").iterdir()}
    assert left == {"data.json", "lock", "metrics.jsonl", "run.json"}, "weights of finished trainings are deleted"
    assert len((folder / "sample-2-rotation-0" / "metrics.jsonl").read_text().splitlines()) == 2

    after = len(seen)
    again = run_experiment(study(measure="best", truth=None, analysis={"seed": 1}), folder, stop)
    assert len(seen) == after, "only the comparison is made anew"
    assert [row["supervised"] for row in again["accuracies"]] == [
        t["best"] for t in whole["trainings"] if t["objective"] == "supervised"
    ]
    with pytest.raises(
        ConfigChanged, match=r"sample-1-supervised-0\.json was made with other settings: .*limit: 64 -> 63"
    ):
        run_experiment(study(objectives={"supervised": {**QUICK, "limit": 63}, "rotation": QUICK}), folder)
    more = run_experiment(study(random=4), folder)
    assert more["trainings"][:4] == whole["trainings"][:4] and len(more["trainings"]) == 8, "a study may grow"
    (folder / "jobs" / "sample-1-rotation-0.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"sample-1-rotation-0\.json is damaged"):
        run_experiment(study(), folder)


@pytest.mark.slow
def test_processes_compute_the_same(tmp_path: Path) -> None:
    one, two = (run_experiment(study(), tmp_path / str(n), processes=n) for n in (1, 2))
    assert one == two


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colorization", "objectives.colorization: .* colorization needs colours"),
        ("jigsaw", r"objectives.jigsaw: .*jigsaw of 3 x 3 tiles needs images of at least 9 x 9"),
        ({"name": "jigsaw", "grid": 2}, "objectives.other: images of shape"),
    ],
)
def test_images_that_cannot_serve_are_refused_before_any_training(tmp_path: Path, name: Any, message: str) -> None:
    described = {"objective": name if isinstance(name, dict) else {"name": name}, **QUICK}
    other = study(objectives={"supervised": QUICK, name if isinstance(name, str) else "other": described})
    seen: list[Any] = []
    with pytest.raises(ConfigError, match=message):
        run_experiment(other, tmp_path, lambda job, row, plan: seen.append(row))
    assert not seen and not list(tmp_path.glob("sample-*/metrics.jsonl"))


def test_images_without_labels_or_held_out_part(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, size=(20, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "unlabelled.npz", images=pixels)
    with pytest.raises(DataError, match="held-out images, and there are none"):
        parts_of(settings(data={"source": "npz", "path": str(tmp_path / "unlabelled.npz")}))
    np.savez(tmp_path / "half.npz", images=pixels, test_images=pixels)
    with pytest.raises(LabelError, match="have no labels"):
        parts_of(settings(data={"source": "npz", "path": str(tmp_path / "half.npz")}))


def test_a_trial_reports_every_epoch_and_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = study()
    job = next(job for job in small.first_jobs() if job.variant == "rotation")
    about = {"experiment": "samplestudy", "settings": small.settings.model_dump(mode="json")}
    told = {"job": job.name, "described": job.described(), "known": None, **about}
    points: list[dict[str, Any]] = []
    final: list[dict[str, Any]] = []
    record = {"parameter_id": 0, "parameters": {**small.parameters(job), "trial": told}}
    monkeypatch.setattr("nni_plugins.portal.reporting.own_record", lambda: record)
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path)))
    monkeypatch.setattr(nni, "report_intermediate_result", points.append)
    monkeypatch.setattr(nni, "report_final_result", final.append)
    monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", lambda number: None)
    assert trial.main() == 0
    assert [point["epoch"] for point in points] == [1, 2]
    assert all(point["default"] == point["test_accuracy"] for point in points)
    assert final[0]["default"] == final[0]["last"] == points[-1]["default"] and final[0]["parameters"] > 0
    assert (
        final[0]["best"] == max(point["default"] for point in points) == points[final[0]["best_epoch"] - 1]["default"]
    )


# -- published summaries -----------------------------------------------------------------------------------------------
ERRORS = {
    "cls": [[8.0, 7.0, 6.0, 5.0], [8.4, 7.4, 6.4, 5.4]],
    "rot": [[[50.0, 9.0], 8.0, 7.5, 6.0]],
    "jig": [[20.0, 24.0, 22.0, 28.0]],
}


def genotype(number: int) -> dict[str, Any]:
    cell = [["sep_conv_3x3", number % 2], ["skip_connect", 1]]
    return {
        "normal": cell,
        "reduce": [[f"op{number}", 0]],
        "normal_concat": [2, 3, 4, 5],
        "reduce_concat": [2, 3, 4, 5],
    }


def summaries(folder: Path, data: str, errors: dict[str, list[list[Any]]], first: int = 0) -> Path:
    for task, runs in errors.items():
        for run, values in enumerate(runs):
            jobs = [
                {"job_id": f"{i:05d}", "net": {"genotype": genotype(first + i)}, "min_test_top1": e}
                for i, e in enumerate(values)
            ]
            path = folder / data / task / f"run{run}" / "sweep_summary.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"job_summaries": jobs}))
    return folder


def test_published_summaries(tmp_path: Path) -> None:
    folder = summaries(tmp_path / "in", "cifar10", ERRORS)
    summaries(folder, "imagenet", {"cls": [[60.0, 55.0, 50.0]]}, first=1)
    (studies,) = analyse(folder, tmp_path / "out", AnalysisSettings()).values()
    rows = {row["architecture"]: row for row in studies["accuracies"]}
    assert set(rows) == {json.dumps(genotype(i), sort_keys=True) for i in range(4)}
    figures = studies["figures"]
    assert {name: figure["compared"] for name, figure in figures.items()} == {
        "cifar10": 4,
        "cifar10_to_imagenet": 3,
        "imagenet_to_cifar10": 3,
    }, "of each figure those that are in every file that it needs"
    second = rows[json.dumps(genotype(2), sort_keys=True)]
    assert (
        second["cifar10/cls"] == pytest.approx(100 - 6.2)
        and second["cifar10/rot"] == 92.5
        and second["imagenet/cls"] == 45
    )
    found = {
        (row["score"], row["truth"]): row["spearman"]["value"]
        for figure in figures.values()
        for row in figure["correlations"]
    }
    assert (
        found["cifar10/rot", "cifar10/cls"] == 1
        and found["cifar10/jig", "cifar10/cls"] == pytest.approx(-0.8)
        and found["cifar10/cls", "imagenet/cls"] == 1
    )
    assert len(found) == 2 + 3 + 1 and ("imagenet/cls", "cifar10/cls") in found
    selected = [row["selected_by"] for row in figures["cifar10_to_imagenet"]["efficiency"]]
    assert sorted(selected) == ["cifar10/cls", "cifar10/jig", "cifar10/rot", "imagenet/cls"], "figure 5"
    assert (
        read_summary(folder / "cifar10/rot/run0/sweep_summary.json")[json.dumps(genotype(0), sort_keys=True)] == 91
    ), "the last of a list"
    assert (tmp_path / "out" / "report" / "cifar10_to_imagenet_experiments.svg").exists()
    assert studies["summaries"]["cifar10/cls"]["runs"] == 2


def test_summaries_of_several_spaces_and_without_genotypes(tmp_path: Path) -> None:
    for space in ("darts", "nas_bench"):
        summaries(tmp_path / space, "cifar10", ERRORS)
    for path in (tmp_path / "nas_bench").rglob("*.json"):
        content = load(path)
        for job in content["job_summaries"]:
            job["net"] = {}
        path.write_text(json.dumps(content))
    read = read_summaries(tmp_path)
    assert set(read) == {"darts", "nas_bench"} and set(read["nas_bench"]["cifar10", "jig"][0]) == {
        "00000",
        "00001",
        "00002",
        "00003",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "'job_summaries' must be a list"),
        ('{"job_summaries": [3]}', r"job_summaries\[0\] must be an object, but is int"),
        ('{"job_summaries": [{"min_test_top1": 1}]}', "neither net.genotype nor job_id"),
        (
            '{"job_summaries": [{"job_id": "1", "min_test_top1": []}]}',
            r"min_test_top1 must be an error in percent, .* but is '\[\]'",
        ),
        (
            '{"job_summaries": [{"job_id": "1", "min_test_top1": 1}, {"job_id": "1", "min_test_top1": 2}]}',
            "stands there already",
        ),
    ],
)
def test_broken_summaries(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cifar10" / "cls" / "0" / "sweep_summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_summaries(tmp_path)


def test_folders_that_hold_no_summaries(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no sweep_summary\.json"):
        read_summaries(tmp_path)
    only = summaries(tmp_path / "only", "cifar10", {"rot": ERRORS["rot"]})
    with pytest.raises(
        DataError, match="a comparison needs the task 'cls' and another one, but there are: cifar10/rot"
    ):
        analyse(only, tmp_path / "out", AnalysisSettings())
    with pytest.raises(DataError, match="lies 1 folders below"):
        read_summaries(only / "cifar10" / "rot")


# -- the command -------------------------------------------------------------------------------------------------------
def test_the_command(tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    published = ("sample-study", "--summaries", summaries(tmp_path / "in", "cifar10", ERRORS))
    answer = run(*published, "--output", tmp_path / "out")
    assert answer.status == 0 and "cifar10/rot" in answer.out and "4 of 4 architectures have all" in answer.out
    assert "report.html" in answer.out and (tmp_path / "out" / "report" / "report.html").exists()
    answer = run(*published, "--output", tmp_path / "out", "--json")
    assert answer.status == 0 and answer.json[""] == load(tmp_path / "out" / "study.json")

    path = write(tmp_path / "study.yml", file_of(study(), arguments()))
    monkeypatch.setattr(module.SampleStudyExperiment, "run", lambda *_: {"last": 50.0, "best": 60.0, "default": 50.0})
    answer = run("sample-study", path, "--output", tmp_path / "run", "--json")
    assert answer.status == 0 and [row["supervised"] for row in answer.json["accuracies"]] == [50.0] * 3, answer.err
    assert answer.json["figures"]["accuracies"]["correlations"][0]["spearman"] == {
        "value": None,
        "low": None,
        "high": None,
    }, "undefined where all are equal"

    for words, message in (
        (("sample-study",), "either CONFIG or --summaries"),
        (("sample-study", path, "--summaries", tmp_path), "either CONFIG or --summaries"),
        (("sample-study", path, "--seed", 3), "--seed goes with --summaries"),
        (("search", path), f"nni-plugins sample-study {path}"),
        (
            ("sample-study", write(tmp_path / "search.yml", content())),
            "tuner RLNAS are not run by nni-plugins sample-study",
        ),
    ):
        answer = run(*words)
        assert answer.status == 2 and message in answer.err, answer.err
