"""Ranking studies from the command line: the file, the draws, a run on digits that is interrupted and resumed, and what
it writes.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.cli import app as application
from nni_plugins.cli.rank_study import _shown
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError, DataError, TrainingError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.statistics.ranking_metrics import pairwise_accuracy
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.studies.rank import run as runner
from nni_plugins.studies.rank.draw import draw
from nni_plugins.studies.rank.run import rank_study
from nni_plugins.studies.rank.settings import RankStudySettings, from_yaml
from nni_plugins.studies.rank.store import once

from .small import Cli, content, load, write

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
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


def settings(**changes: Any) -> RankStudySettings:
    return read(RankStudySettings, arguments(**changes))


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
        ({"space": {"name": "recurrent"}}, "space: "),
        ({"analysis": {"bin": 0}}, "analysis.bin"),
    ],
)
def test_refused_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_the_defaults_are_the_papers() -> None:
    study = read(RankStudySettings, {"truth": {}})
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


def test_examples(tmp_path: Path) -> None:
    digits, paper = (from_yaml(EXAMPLES / f"rank_study_{name}.yml") for name in ("digits", "cifar10"))
    assert len(digits.conditions) == 2 * 2 * 4 * 3 and digits.search_space.decisions == digits_table().space.decisions
    assert len(paper.conditions) == 2 * 2 * 5 * 3 and paper.data.path == str((EXAMPLES / "data").resolve()), (
        "paths are relative to the file"
    )
    assert (
        paper.search_space.cost_table(32)(paper.search_space.sample(np.random.default_rng(0), 2)).parameters.max() < 2e6
    )
    default = read(RankStudySettings, {"truth": {}})
    assert paper.training == default.training and paper.evaluation == default.evaluation, (
        "the file only spells them out"
    )
    assert paper.stand_alone is not None and paper.stand_alone.training.epochs == 600
    with pytest.raises(ConfigError, match="is an NNI experiment, not a ranking study"):
        from_yaml(write(tmp_path / "x.yml", content()))


def test_settings_and_report_need_no_torch() -> None:
    code = "import sys, nni_plugins.studies.rank.settings, nni_plugins.studies.rank.report; print(sorted({'torch', 'nni', 'matplotlib'} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.strip() == "[]", answer.stderr


# -- draws -------------------------------------------------------------------------------------------------------------
def test_random_similar_and_diverse_draws() -> None:
    study = settings(
        space={"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
        architectures=20,
        truth=None,
        stand_alone=OWN,
    )
    groups = {sizes: draw(study, sizes, (8, 8)) for sizes in ("random", "similar", "diverse")}
    space = study.search_space
    for drawn in groups.values():
        assert (
            drawn.pool == 400
            and drawn.rows.shape == (20, 6)
            and len({space.canonical(a) for a in drawn.architectures}) == 20
        )
        assert drawn.parameters.tolist() == space.cost_table((8, 8))(drawn.rows).parameters.tolist()
        assert sum(p.numel() for p in space.network(drawn.architectures[0]).parameters()) == drawn.parameters[0]
    assert groups["random"].rows.tolist() == draw(study, "random", (8, 8)).rows.tolist()
    pool = np.sort(draw(study.model_copy(update={"architectures": 400, "pool": 400}), "random", (8, 8)).parameters)
    similar, diverse = np.sort(groups["similar"].parameters), np.sort(groups["diverse"].parameters)
    assert (np.abs(similar - np.median(pool)).max() <= np.sort(np.abs(pool - np.median(pool)))[19]) and np.ptp(
        similar
    ) < np.ptp(diverse) / 4
    assert diverse.tolist() == pool[10::20].tolist(), "the middle one of each twentieth"
    other = draw(study.model_copy(update={"random_seed": 1}), "random", (8, 8))
    assert other.rows.tolist() != groups["random"].rows.tolist()


def test_a_table_limits_the_draw() -> None:
    study = settings(architectures=30)
    drawn = draw(study, "diverse", (8, 8), digits_table())
    assert len(set(drawn.architectures)) == 30 and drawn.pool == 60, "125 cells, twins left out"
    with pytest.raises(ConfigError, match="61 distinct ones are wanted, but the table has only 60"):
        draw(settings(architectures=61), "random", (8, 8), digits_table())
    with pytest.raises(ConfigError, match="61 distinct ones are wanted, but NASBench201"):
        draw(settings(architectures=61, truth=None, stand_alone=OWN), "random", (8, 8))


# -- runs --------------------------------------------------------------------------------------------------------------
class Finished:
    """A study that was interrupted in its third supernet, after the first of two epochs, and resumed."""

    def __init__(self, folder: Path) -> None:
        self.config = write(
            folder / "study.yml", arguments(sizes=["random", "similar"], training={**TRAINING, "checkpoint_seconds": 0})
        )
        self.folder, self.before, self.after = folder / "run", list[tuple[str, float]](), list[tuple[str, float]]()

        def stop(name: str, row: dict[str, float] | None) -> None:
            if row is not None:
                self.before.append((name, row["epoch"]))
                if name == "random-2-independent-0":
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rank_study(from_yaml(self.config), self.folder, stop)
        self.left = sorted(path.name for path in (self.folder / "supernets").glob("*/finished.json"))
        self.value = rank_study(
            from_yaml(self.config),
            self.folder,
            lambda name, row: self.after.append((name, row["epoch"])) if row else None,
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("study"))


def test_nothing_is_repeated(finished: Finished, tmp_path: Path) -> None:
    assert finished.before == [
        ("random-1-independent-0", 1),
        ("random-1-independent-1", 1),
        ("random-2-independent-0", 1),
    ]
    assert finished.left == ["finished.json"] * 2
    assert finished.after[:3] == [
        ("random-2-independent-0", 2),
        ("random-2-independent-1", 1),
        ("random-2-independent-1", 2),
    ]
    assert len(finished.after) == 9, "the second epoch of the interrupted one, and five others"
    assert not list(finished.folder.rglob("*.pt")), "the weights of finished trainings are deleted"
    alone = rank_study(settings(epochs=[2], seeds=[0]), tmp_path / "run")
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
    report = (finished.folder / "report.md").read_text()
    assert (
        "5 architectures would give PA 0.5 ± 0.204" in report
        and "## Table 3, by sizes of the architectures (independent schedule)" in report
    )
    assert "| epochs | PA | rho | tau-b |\n|---|---|---|---|\n| 1 |" in report, "the paper has neither 1 nor 2 epochs"
    assert all((finished.folder / name).read_bytes()[:4] == b"\x89PNG" for name in ("epochs.png", "scatter.png"))


def test_the_command(finished: Finished, run: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run("rank-study", finished.config, "--run-folder", finished.folder, "--json")
    assert answer.status == 0 and answer.json == finished.value, "read back, not trained again"
    application.console.print(*_shown(finished.value, finished.folder))
    shown = capsys.readouterr().out
    assert (
        "Table 2, by training epochs (random sizes, independent schedule)" in shown
        and "rows.csv" in shown
        and " ± " in shown
    )
    assert run("rank-study", finished.config.with_name("none.yml")).status == 2


def test_other_settings_are_refused(finished: Finished) -> None:
    for changes, message in (
        ({"random_seed": 1}, "random_seed: 0 -> 1"),
        ({"sampling": "proportional"}, "sampling: 'uniform' -> 'proportional'"),
    ):
        study = from_yaml(finished.config).model_copy(update=changes)
        with pytest.raises(ConfigChanged, match=message):
            rank_study(study, finished.folder)
    more = from_yaml(finished.config).model_copy(
        update={"analysis": settings(analysis={"resamples": 200, "top": [3]}).analysis}
    )
    rows = rank_study(more, finished.folder)["rows"]
    assert list(rows[0]["overlap"]) == ["3"], "how it is compared may be changed afterwards"


def test_stand_alone_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of three architectures, shared by both draws where they have the same ones; then a truth that fails
    does so before supernets.
    """
    trained: list[tuple[str, int]] = []
    whole = StandAlone.train

    def noted(self: StandAlone, model: Any) -> Any:
        assert self.space is not None
        trained.append((self.space.to_string(model), self.seed))
        return whole(self, model)

    monkeypatch.setattr(StandAlone, "train", noted)
    own = {**OWN, "space": {"channels": 2}}
    study = settings(
        architectures=3,
        sizes=["random", "diverse"],
        epochs=[1],
        seeds=[0],
        truth=None,
        stand_alone=own,
        sampling="proportional",
    )
    value = rank_study(study, tmp_path)
    groups = value["groups"]
    texts = {row["architecture"] for group in groups.values() for row in group["architectures"]}
    assert len(trained) == len(set(trained)) == 2 * len(texts) and len(
        list((tmp_path / "truth").glob("*/finished.json"))
    ) == 2 * len(texts)
    assert groups["random"]["truth_seeds"] == 2 and 0 <= groups["random"]["truth_reliability"] <= 1
    first = groups["random"]["architectures"][0]
    stored = [
        load(p)["value"]["metric"]
        for p in (tmp_path / "truth").glob("*/finished.json")
        if load(p)["identity"]["architecture"] == first["architecture"]
    ]
    assert first["truth"] == pytest.approx(np.mean(stored)) and len(stored) == 2


def test_what_does_not_fit_is_refused_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(SharedImages, "train", never)
    monkeypatch.setattr(StandAlone, "train", never)
    with pytest.raises(ConfigError, match="has no drop-path"):
        rank_study(settings(training={**TRAINING, "drop_path": 0.1}), tmp_path)
    with pytest.raises(ConfigError, match=r"truth\.table: digits_3nodes\.csv is of NASBench201"):
        rank_study(settings(space={"name": "nasbench201", "channels": 4}), tmp_path)
    with pytest.raises(DataError, match="colorization needs colours"):
        rank_study(settings(objective={"name": "colorization"}), tmp_path)
    data = runner.load(settings().data)
    monkeypatch.setattr(runner, "load", lambda _: type(data)(data.train, None))
    with pytest.raises(DataError, match=r"needs labelled test images\.\n.*or give a table as truth"):
        rank_study(settings(truth=None, stand_alone=OWN), tmp_path)
    assert not list(tmp_path.iterdir())


def test_finished_trainings(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True)
        (folder / "weights").write_text("large")
        return {"score": 1.5}

    assert (
        once(tmp_path / "a", {"seed": (0, 1)}, work) == {"score": 1.5} and not (tmp_path / "a" / "checkpoints").exists()
    )
    assert once(tmp_path / "a", {"seed": [0, 1]}, lambda _: {}) == {"score": 1.5}, "read back"
    with pytest.raises(ConfigChanged, match=r"holds another training: seed: \[0, 1\] -> 2"):
        once(tmp_path / "a", {"seed": 2}, work)
    (tmp_path / "a" / "finished.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"finished.json is damaged"):
        once(tmp_path / "a", {"seed": [0, 1]}, work)

    def broken(folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True)
        raise TrainingError("the loss became nan in epoch 1.")

    with pytest.raises(TrainingError):
        once(tmp_path / "b", {}, broken)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["checkpoints"], (
        "what an interrupted training continues from is kept"
    )
