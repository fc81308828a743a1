"""Ranking studies from the command line: the file, the draws, a run on digits that is interrupted and resumed, and what
it writes.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.data import ImageData
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, DataError
from nni_plugins.evaluators.reports.rank_study import report
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.statistics.ranking_metrics import pairwise_accuracy
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.presets import preset
from nni_plugins.studies.rank import training
from nni_plugins.studies.rank.draw import draw
from nni_plugins.studies.rank.experiment import RankStudyExperiment
from nni_plugins.studies.rank.settings import RankStudySettings

from .identities import check_every_key
from .small import Cli, file_of, load, write

TRAINING = {"batch_size": 64, "drop_path": 0.0, "accelerator": "cpu"}
OWN = {"training": {"epochs": 1, "batch_size": 64, "accelerator": "cpu"}, "seeds": [0, 1]}


def arguments(**changes: Any) -> dict[str, Any]:
    """Five architectures, four supernets of one and two epochs on 200 digits, the truth from the table."""
    small: dict[str, Any] = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "architectures": 5,
        "epochs": [1, 2],
        "seeds": [0, 1],
        "training": TRAINING,
        "truth": {"table": "digits", "metric": "accuracy"},
        "analysis": {"resamples": 100, "top": [2]},
        "threads": 1,
    }
    return small | changes


def study(**changes: Any) -> RankStudyExperiment:
    loaded = load_experiment("rankstudy", arguments(**changes))
    assert isinstance(loaded, RankStudyExperiment)
    return loaded


def settings(**changes: Any) -> RankStudySettings:
    return study(**changes).settings


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": 2}, "architectures: input should be greater than or equal to 3, but got 2"),
        ({"architecture": 5}, "architecture: no such key; did you mean 'architectures'"),
        ({"sizes": ["large"]}, "sizes.0: input should be 'random', 'similar' or 'diverse'"),
        ({"epochs": [5, 5]}, r"epochs: each may stand there once, but got \[5, 5\]"),
        ({"truth": None}, "either truth or stand_alone must say how accurate architectures truly are, but got neither"),
        ({"stand_alone": OWN}, "but got both"),
        ({"truth": None, "stand_alone": {**OWN, "seeds": [1, 1]}}, "stand_alone.seeds: each may stand there once"),
        (
            {"truth": None, "stand_alone": {**OWN, "space": {"nodes": 4}}},
            "stand_alone.space: its architectures must be those of space",
        ),
        ({"truth": None, "stand_alone": {**OWN, "space": {"chanels": 4}}}, "chanels: no such argument"),
        ({"training": {**TRAINING, "epochs": 3}}, "training.epochs: supernets are trained for each of `epochs`"),
        ({"pool": 4}, "pool >= architectures must hold, but got 4 and 5"),
        (
            {"objective": {"name": "random_labels", "classes": 10}},
            "random labels of held-out images cannot be predicted",
        ),
        ({"objective": {"name": "rotatoin"}}, "unknown objective 'rotatoin'; did you mean 'rotation'"),
        ({"space": {"name": "recurrent"}}, "space: networks of .* take no images"),
        ({"analysis": {"bin": 0}}, "analysis.bin"),
    ],
)
def test_refused_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_the_defaults_are_the_papers() -> None:
    study = RankStudySettings.model_validate({"truth": {}})
    assert (study.space, study.architectures, study.epochs, study.sampling) == (
        {"name": "nao"},
        50,
        (5, 10, 20, 30, 50),
        "uniform",
    )
    t, e = study.training, study.evaluation
    assert (t.batch_size, t.learning_rate, t.final_learning_rate, t.weight_decay, t.gradient_clip) == (
        64,
        0.025,
        0.001,
        3e-4,
        5.0,
    )
    assert (e.portion, e.evaluation_images, e.statistics) == (0.9, None, "batch")


def test_presets() -> None:
    digits, paper = (
        load_experiment("rankstudy", preset(f"rank_study_{name}").classArgs) for name in ("digits", "cifar10")
    )
    assert len(list(digits.first_jobs())) == digits.trials == 2 * 2 * 4 * 3
    assert digits.settings.search_space.decisions == digits_table().space.decisions
    space, default = paper.settings.search_space, RankStudySettings.model_validate({"truth": {}})
    assert len(paper.settings.conditions) == 2 * 2 * 5 * 3
    assert space.cost_table(32)(space.sample(np.random.default_rng(0), 2)).parameters.max() < 2e6
    assert paper.settings.training == default.training and paper.settings.evaluation == default.evaluation, (
        "the file only spells them out"
    )
    assert paper.settings.stand_alone.training.epochs == 600


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    own = arguments(truth=None, stand_alone=OWN, data={"source": "npz", "path": "images.npz"})
    loaded = load_experiment("rankstudy", own)
    experiment = read_experiment(write(tmp_path / "study.yml", file_of(loaded, own)))
    assert experiment.settings.data.path == str(tmp_path / "images.npz")


def test_description_needs_no_torch(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text(f"{part} words\n")
    given = [
        ("rankstudy", arguments()),
        ("samplestudy", {"random": 3}),
        ("sharingstudy", {"text": {"path": str(tmp_path)}}),
        ("diagnose", {"study": "options", "truth": {}, "space": {**arguments()["space"], "channels": 8}}),
    ]
    code = """
import json, sys
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
for name, settings in json.loads(sys.argv[1]):
    experiment = load_experiment(name, settings)
    experiment.check()
    plan = Plan(experiment)
    assert [experiment.axes() and experiment.parameters(job) and plan.identity(job) for job in plan.jobs.values()]
print(sorted({'torch', 'nni', 'matplotlib', 'sklearn'} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, json.dumps(given)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_every_key_is_of_some_consequence() -> None:
    """Of supernets and truths, but for what only the comparison looks at."""
    alternatives = {
        "space": {**arguments()["space"], "channels": 5},
        "data": {"source": "digits", "limit": 100},
        "objective": {"name": "rotation"},
        "pool": 6,
        "epochs": [1, 3],
        "seeds": [0, 2],
        "schedules": ["dependent"],
        "evaluation.evaluation_images": 20,
        "truth.table": str(Path(digits_table.__code__.co_filename).with_name("digits_3nodes.csv")),
        "truth.metric": "accuracy_seed0",
        "run_folder": "/elsewhere",
    }
    of_supernets = {**alternatives, "sizes": ["random", "similar"]}
    check_every_key(study(sizes=["similar"], pool=20), of_supernets, impossible=("stand_alone",))
    of_truths = {key: value for key, value in of_supernets.items() if not key.startswith("truth")}
    of_truths |= {"stand_alone.space": {"channels": 3}, "stand_alone.seeds": [0, 2]}
    alone = study(sizes=["similar"], pool=20, truth=None, stand_alone=OWN)
    check_every_key(alone, of_truths, impossible=("truth",))


def test_where_trainings_stand_in_the_portal() -> None:
    table, alone = study(), study(truth=None, stand_alone=OWN, architectures=3, epochs=[1])
    assert list(table.axes()) == ["sizes", "epochs", "schedule", "seed"] and table.phases == ("supernet",)
    assert len(list(alone.first_jobs())) == alone.trials == 3 * 2 + 2 and alone.phases == ("truth", "supernet")
    for experiment in (table, alone):
        axes = experiment.axes()
        for job in experiment.first_jobs():
            place = experiment.parameters(job)
            assert list(place) == list(axes) and all(place[axis] in axes[axis]["_value"] for axis in axes)
            assert experiment.is_essential(job) == (job.phase == "truth")
    first, *_, last = [alone.parameters(job) for job in alone.first_jobs()]
    assert (first["phase"], first["epochs"]) == ("truth", "all") and (last["epochs"], last["e_0_1"]) == ("1", "all")


# -- draws -------------------------------------------------------------------------------------------------------------
def test_random_similar_and_diverse_draws() -> None:
    small = settings(
        space={"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
        architectures=20,
        truth=None,
        stand_alone=OWN,
    )
    groups = {sizes: draw(small, sizes) for sizes in ("random", "similar", "diverse")}
    space = small.search_space
    for drawn in groups.values():
        assert (
            drawn.pool == 400
            and drawn.rows.shape == (20, 6)
            and len({space.canonical(a) for a in drawn.architectures}) == 20
        )
        assert drawn.parameters.tolist() == space.cost_table((8, 8))(drawn.rows).parameters.tolist()
        assert sum(p.numel() for p in space.network(drawn.architectures[0]).parameters()) == drawn.parameters[0]
    assert groups["random"].rows.tolist() == draw(small, "random").rows.tolist()
    pool = np.sort(draw(small.model_copy(update={"architectures": 400, "pool": 400}), "random").parameters)
    similar, diverse = np.sort(groups["similar"].parameters), np.sort(groups["diverse"].parameters)
    assert (np.abs(similar - np.median(pool)).max() <= np.sort(np.abs(pool - np.median(pool)))[19]) and np.ptp(
        similar
    ) < np.ptp(diverse) / 4
    assert diverse.tolist() == pool[10::20].tolist(), "the middle one of each twentieth"
    other = draw(small.model_copy(update={"random_seed": 1}), "random")
    assert other.rows.tolist() != groups["random"].rows.tolist()


def test_a_table_limits_the_draw() -> None:
    small = settings(architectures=30)
    drawn = draw(small, "diverse", digits_table())
    assert len(set(drawn.architectures)) == 30 and drawn.pool == 60, "125 cells, twins left out"
    with pytest.raises(ConfigError, match="61 distinct ones are wanted, but the table has only 60"):
        draw(settings(architectures=61), "random", digits_table())
    with pytest.raises(ConfigError, match="61 distinct ones are wanted, but NASBench201"):
        draw(settings(architectures=61, truth=None, stand_alone=OWN), "random")


# -- runs --------------------------------------------------------------------------------------------------------------
class Finished:
    """A study that was interrupted in its third supernet, after the first of two epochs, and resumed."""

    def __init__(self, folder: Path) -> None:
        given = arguments(sizes=["random", "similar"], training={**TRAINING, "checkpoint_seconds": 0})
        self.config = write(folder / "study.yml", file_of(load_experiment("rankstudy", given), given))
        self.folder, self.before, self.after = folder / "run", list[tuple[str, float]](), list[tuple[str, float]]()

        def stop(job: Job, row: dict[str, float] | None, plan: Plan) -> None:
            if row is not None:
                self.before.append((job.variant, row["epoch"]))
                if job.variant == "random-2-independent-0":
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_experiment(read_experiment(self.config), self.folder, stop)
        self.left = sorted(path.name for path in (self.folder / "jobs").iterdir())
        self.value = run_experiment(
            read_experiment(self.config),
            self.folder,
            lambda job, row, plan: self.after.append((job.variant, row["epoch"])) if row else None,
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("study"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "svg", lambda figure: b"<svg/>")


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_repeated(finished: Finished, tmp_path: Path) -> None:
    assert finished.before == [
        ("random-1-independent-0", 1),
        ("random-1-independent-1", 1),
        ("random-2-independent-0", 1),
    ]
    assert finished.left == [f"supernet-random-1-independent-{seed}.json" for seed in (0, 1)]
    assert finished.after[:3] == [
        ("random-2-independent-0", 2),
        ("random-2-independent-1", 1),
        ("random-2-independent-1", 2),
    ]
    assert len(finished.after) == 9, "the second epoch of the interrupted one, and five others"
    assert not list(finished.folder.rglob("*.pt")), "the weights of finished trainings are deleted"
    curve = finished.folder / "supernet-random-2-independent-0" / "cycle-0" / "metrics.jsonl"
    assert len(curve.read_text().splitlines()) == 2, "their curves stay where the portal's trials look for them"
    assert study().curve_file(Job("x", "supernet", 0)) == "cycle-0/metrics.jsonl"
    alone = run_experiment(study(epochs=[2], seeds=[0]), tmp_path / "run")
    (undisturbed,) = alone["rows"]
    resumed = next(
        row for row in finished.value["rows"] if list(row["condition"].values()) == ["random", 2, "independent", 0]
    )
    assert (
        resumed["curve"] == undisturbed["curve"]
        and resumed["agreement"]["kendall"] == undisturbed["agreement"]["kendall"]
    )
    key = "score-2-independent-0"
    scores = [[row[key] for row in v["groups"]["random"]["architectures"]] for v in (alone, finished.value)]
    assert scores[0] == scores[1] and len(scores[0]) == 5, (
        "resumed to the very numbers of an undisturbed run, whatever else is studied"
    )


def test_what_is_written(finished: Finished) -> None:
    value = finished.value
    assert load(finished.folder / "rank_study.json") == value and [t["number"] for t in value["tables"]] == [2, 3]
    with open(finished.folder / "rows.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(r["sizes"], r["epochs"], r["seed"]) for r in rows] == [
        (s, e, d) for s in ("random", "similar") for e in "12" for d in "01"
    ]
    with open(finished.folder / "scores.csv") as file:
        scores = [r for r in csv.DictReader(file) if r["sizes"] == "similar"]
    truth, given = ([float(r[key]) for r in scores] for key in ("truth", "score-2-independent-1"))
    table, space = digits_table(), settings().search_space
    assert truth == [table.value(space.parse(r["architecture"]), "accuracy") for r in scores]
    assert float(rows[-1]["pairwise"]) == pytest.approx(pairwise_accuracy(given, truth))
    assert float(rows[-1]["kendall"] or "nan") == pytest.approx(kendall_tau(given, truth), nan_ok=True)
    assert all(
        0 <= float(r["score-1-independent-0"]) <= 100 and sum(float(x["change-1-independent-0"]) for x in scores) == 0
        for r in scores
    )
    job = load(finished.folder / "jobs" / "supernet-similar-2-independent-1.json")
    assert job["value"]["result"]["scores"] == given and job["value"]["default"] == pytest.approx(np.mean(given))
    text = (finished.folder / "report" / "report.md").read_text()
    assert (
        "5 architectures would give PA 0.5 ± 0.204" in text
        and "## Table 3, by sizes of the architectures (independent schedule)" in text
    )
    assert "| epochs | PA | rho | tau-b |\n| --- | ---: | ---: | ---: |\n| 1 |" in text, (
        "the paper has neither 1 nor 2 epochs"
    )
    page = (finished.folder / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2 and "Versions" in page


@pytest.mark.usefixtures("undrawn")
def test_the_command(finished: Finished, run: Cli) -> None:
    answer = run("rank-study", finished.config, "--output", finished.folder, "--json")
    assert answer.status == 0 and answer.json == finished.value, "read back, not trained again"
    shown = run("rank-study", finished.config, "--output", finished.folder, "--processes", 2).out
    assert (
        "Table 2, by training epochs (random sizes, independent schedule)" in shown
        and "rows.csv" in shown
        and " ± " in shown
    )
    assert run("rank-study", finished.config.with_name("none.yml")).status == 2


@pytest.mark.usefixtures("undrawn")
def test_other_settings_are_refused(finished: Finished) -> None:
    whole = read_experiment(finished.config).settings
    for changes, message in (
        ({"random_seed": 1}, "random_seed: 0 -> 1"),
        ({"sampling": "proportional"}, "sampling: 'uniform' -> 'proportional'"),
        ({"evaluation": {"evaluation_batch": 50}}, "evaluation.evaluation_batch: 500 -> 50"),
    ):
        with pytest.raises(ConfigChanged, match=message):
            run_experiment(study(**{**whole.model_dump(), **changes}), finished.folder)
    more = study(**{**whole.model_dump(), "analysis": {"resamples": 200, "top": [3]}})
    rows = run_experiment(more, finished.folder)["rows"]
    assert list(rows[0]["overlap"]) == ["3"], "how it is compared may be changed afterwards"


@pytest.mark.usefixtures("undrawn")
def test_a_supernet_that_failed_is_left_out(finished: Finished, tmp_path: Path) -> None:
    experiment = read_experiment(finished.config)
    plan = Plan(experiment)
    while (job := plan.next()) is not None:
        if job.variant == "random-1-independent-0":
            plan.crashed(job.name, again=False)
        else:
            plan.done(job.name, load(finished.folder / "jobs" / f"{job.name}.json")["value"])
    value = experiment.conclude(plan, tmp_path)
    assert value["failed"] == ["supernet-random-1-independent-0"] and len(value["rows"]) == 7
    assert value["tables"][0]["lines"][0]["pairwise"]["seeds"] == 1
    assert "failed: supernet-random-1-independent-0" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_stand_alone_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of three architectures, shared by both draws where they have the same ones."""
    trained: list[tuple[str, int]] = []
    whole = StandAlone.train

    def noted(self: StandAlone, model: Any) -> Any:
        assert self.space is not None
        trained.append((self.space.to_string(model), self.seed))
        return whole(self, model)

    monkeypatch.setattr(StandAlone, "train", noted)
    own = {**OWN, "space": {"channels": 2}}
    alone = study(
        architectures=3,
        sizes=["random", "diverse"],
        epochs=[1],
        seeds=[0],
        truth=None,
        stand_alone=own,
        sampling="proportional",
    )
    value = run_experiment(alone, tmp_path)
    groups = value["groups"]
    texts = {row["architecture"] for group in groups.values() for row in group["architectures"]}
    jobs = [load(path) for path in (tmp_path / "jobs").glob("truth-*.json")]
    assert len(trained) == len(set(trained)) == 2 * len(texts) == len(jobs)
    assert groups["random"]["truth_seeds"] == 2 and 0 <= groups["random"]["truth_reliability"] <= 1
    first, space = groups["random"]["architectures"][0], alone.settings.search_space
    stored = [
        job["value"]["default"]
        for job in jobs
        if space.to_string(space.architecture(job["job"]["choices"])) == first["architecture"]
    ]
    assert first["truth"] == pytest.approx(np.mean(stored)) and len(stored) == 2


def test_what_does_not_fit_is_refused_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(SharedImages, "train", never)
    monkeypatch.setattr(StandAlone, "train", never)
    with pytest.raises(ConfigError, match="has no drop-path"):
        run_experiment(study(training={**TRAINING, "drop_path": 0.1}), tmp_path)
    with pytest.raises(ConfigError, match=r"truth\.table: digits_3nodes\.csv is of NASBench201"):
        run_experiment(study(space={"name": "nasbench201", "channels": 4}), tmp_path)
    with pytest.raises(DataError, match="colorization needs colours"):
        run_experiment(study(objective={"name": "colorization"}), tmp_path)
    data = training.load(settings().data)
    monkeypatch.setattr(training, "load", lambda _: ImageData(data.train, None))
    with pytest.raises(DataError, match=r"needs labelled test images\.\n.*or give a table as truth"):
        run_experiment(study(truth=None, stand_alone=OWN), tmp_path)
    assert not list(tmp_path.iterdir())
