"""``nni-plugins sharing-study``: its file, a whole study in this process and in several, and its mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, TrainingError
from nni_plugins.evaluators.reports.sharing_study import report
from nni_plugins.evaluators.settings import read
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.presets import preset
from nni_plugins.studies.sharing.experiment import SharingStudyExperiment
from nni_plugins.studies.sharing.settings import SharingStudySettings

from .identities import check_every_key, identities
from .small import Cli, file_of, load, write

TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 5,
    "bptt": 12,
    "dropouti": 0,
    "dropoute": 0,
    "accelerator": "cpu",
}


def arguments(**changes: Any) -> dict[str, Any]:
    """Twelve cells of four units, two epochs on a few words, two seeds alone and two of two sharing keys."""
    return {
        "optimize_mode": "minimize",
        "study": "amount",
        "hidden": 4,
        "text": {"path": "text"},
        "sharing": ["node", "edge_op"],
        "shared": {**TRAINING, "evaluation_batch": 4, "reward_batch": 4},
        "shared_seeds": [0, 1],
        "stand_alone": {**TRAINING, "evaluation_batch": 4, "test_batch": 4},
        "stand_alone_seeds": [0, 1],
        "analysis": {"resamples": 100, "permutations": 100},
        **changes,
    }


def study(**changes: Any) -> SharingStudyExperiment:
    loaded = load_experiment("sharingstudy", arguments(**changes))
    assert isinstance(loaded, SharingStudyExperiment)
    return loaded


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharing")
    (folder / "text").mkdir()
    words = ["one", "two", "three", "four", "five", "six"]
    for part, lines in (("train", 40), ("valid", 15), ("test", 12)):
        rows = [" ".join(words[(i * i + j * (i % 3 + 1)) % 6] for j in range(7)) for i in range(lines)]
        (folder / "text" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    return write(folder / "study.yml", file_of(study(), arguments()))


def test_the_preset_is_the_paper_in_small() -> None:
    experiment = load_experiment("sharingstudy", preset("sharing_study_wikitext2").classArgs)
    settings = experiment.settings
    assert len(settings.cells().names) == 32 and settings.sharing == ("node", "edge", "edge_op")
    assert len(settings.shared_seeds) == 10 and len(settings.stand_alone_seeds) == 3
    same = (
        "epochs",
        "batch_size",
        "learning_rate",
        "gradient_clip",
        "dropout",
        "dropouth",
        "bptt",
        "beta",
        "weight_decay",
        "length_deviation",
    )
    assert all(getattr(settings.shared, key) == getattr(settings.stand_alone, key) for key in same)
    jobs = list(experiment.first_jobs())
    assert len(jobs) == experiment.trials == 33 and jobs[0].name == "stand_alone-0", "the longest first"


def test_paths_are_relative_to_the_file(config: Path) -> None:
    assert read_experiment(config).settings.text.path == str(config.parent / "text")


def test_the_defaults_are_the_papers() -> None:
    settings = read(SharingStudySettings, {"text": {"path": "penn"}})
    assert (settings.space("edge").nodes, settings.hidden, settings.stand_alone.epochs, settings.shared.epochs) == (
        2,
        850,
        1000,
        1000,
    )
    assert settings.shared_seeds == settings.stand_alone_seeds == tuple(range(10))
    shared, alone = settings.shared.model_dump(), settings.stand_alone.model_dump()
    different = {key for key in alone if key in shared and alone[key] != shared[key]}
    assert different == {"evaluation_batch"}  # evaluation hyper-parameters for both (section 5)
    assert read(SharingStudySettings, {"text": {"path": "penn"}, "study": "amount"}).space("node").nodes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 2}, "nodes: the amount of sharing is studied with 3, but got 2"),
        ({"sharing": ["node", "node"]}, "sharing: each may stand there once"),
        ({"shared_seeds": [1, 1]}, "shared_seeds: each may stand there once, but got"),
        ({"sharing": ["cell"]}, r"sharing\.0: .*'edge_op'"),
        ({"fixed": ["tanh", "gelu"]}, r"fixed\.1"),
        ({"hiden": 3}, "hiden.*did you mean 'hidden'"),
        ({"optimize_mode": "maximize"}, "optimize_mode: input should be 'minimize'"),
        ({"workers": 2}, "workers: no such key"),
    ],
)
def test_mistakes_in_the_file(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_smaller_is_better_and_the_file_must_say_so(config: Path, tmp_path: Path) -> None:
    given = arguments()
    del given["optimize_mode"]
    with pytest.raises(ConfigError, match="optimize_mode: must be minimize, for the portal reads it there"):
        read_experiment(write(tmp_path / "study.yml", file_of(study(), given)))


def test_every_key_is_of_some_consequence(config: Path, tmp_path: Path) -> None:
    """Of trainings alone and together, but for what only the comparison looks at, and what is speed; and the words."""
    text = {"path": str(shutil.copytree(config.parent / "text", tmp_path / "text"))}
    alternatives: dict[str, Any] = {
        "text": {**text, "max_words": 5},
        "sharing": ["node", "edge"],
        "shared_seeds": [0, 2],
        "stand_alone_seeds": [0, 2],
        "rank_every": 2,
        "run_folder": "/elsewhere",
    }
    check_every_key(
        study(text=text), {**alternatives, "study": "whole", "fixed": ["relu", "tanh"]}, impossible=("nodes",)
    )
    whole = study(study="whole", nodes=1, text=text)
    check_every_key(whole, {**alternatives, "nodes": 2}, impossible=("study", "fixed"))
    before = identities(whole)
    (tmp_path / "text" / "valid.txt").write_text("other words\n")
    assert identities(study(study="whole", nodes=1, text=text)) != before


def test_where_trainings_stand_in_the_portal() -> None:
    experiment = study()
    axes = experiment.axes()
    places = [experiment.parameters(job) for job in experiment.first_jobs()]
    assert axes["training"]["_value"] == ["stand_alone", "node", "edge_op"] and len(places) == experiment.trials == 6
    assert all(place[axis] in axes[axis]["_value"] for place in places for axis in axes)
    files = {job.phase: experiment.curve_file(job) for job in experiment.first_jobs()}
    assert files == {"stand_alone": None, "shared": "cycle-0/metrics.jsonl"}
    assert [experiment.is_essential(job) for job in experiment.first_jobs()] == [True] * 2 + [False] * 4


def test_a_text_that_is_too_short_is_refused_before_anything_is_trained(config: Path, tmp_path: Path) -> None:
    whole = read_experiment(config).settings
    for key, training in (("shared", {"evaluation_batch": 64}), ("stand_alone", {"batch_size": 999})):
        changed = whole.model_copy(update={key: getattr(whole, key).model_copy(update=training)})
        with pytest.raises(ConfigError, match=r"words in (64|999) sequences"):
            run_experiment(SharingStudyExperiment(changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_study_from_the_command_line(config: Path, run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    answer = run("sharing-study", config, "--output", folder)
    assert answer.status == 0, answer.err
    assert "mean tau-b" in answer.out and "by number of shared matrices" in answer.out and "report.html" in answer.out
    value = json.loads((folder / "study.json").read_text())
    assert (
        len(value["cells"]) == 12
        and [len(runs) for runs in value["runs"].values()] == [2, 2]
        and value["twins"] is None
    )
    assert [group["cells"] for group in value["amounts"][0]["groups"]] == [4, 4, 4]
    page = (folder / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 4 and "By the number of shared matrices" in page
    jobs = [f"{kind}-{seed}.json" for kind in ("edge_op", "node", "stand_alone") for seed in (0, 1)]
    assert sorted(path.name for path in (folder / "jobs").iterdir()) == jobs
    assert not list(folder.rglob("*.pt")), "weights of finished trainings are removed"
    assert len((folder / "node-0" / "cycle-0" / "metrics.jsonl").read_text().splitlines()) == 2, "their curves stay"
    alone = load(folder / "jobs" / "stand_alone-1.json")["value"]
    assert alone["default"] == pytest.approx(np.mean(alone["result"]["valid"])) and len(alone["result"]["valid"]) == 12

    monkeypatch.setattr(report, "svg", lambda figure: b"<svg/>")  # the pictures are those of above
    # Again: what is finished is not repeated, and one that is missing is trained anew to the same numbers.
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()}
    (folder / "jobs" / "node-1.json").unlink()
    again = run_experiment(read_experiment(config), folder)
    assert again["cells"] == value["cells"] and again["runs"] == value["runs"]
    changed = [path.name for path in (folder / "jobs").iterdir() if path.stat().st_mtime_ns != stamps[path]]
    assert changed == ["node-1.json"]
    whole = read_experiment(config).settings
    for other, message in (
        ({"stand_alone": whole.stand_alone.model_copy(update={"learning_rate": 4.0})}, r"learning_rate: 5\.0 -> 4\.0"),
        ({"fixed": ("relu", "tanh")}, r"cells: "),
    ):
        with pytest.raises(ConfigChanged, match=message):
            run_experiment(SharingStudyExperiment(whole.model_copy(update=other)), folder)

    # A run that failed for good takes its seed out of the comparison.
    experiment = read_experiment(config)
    plan = Plan(experiment)
    while (job := plan.next()) is not None:
        if job.name == "node-1":
            plan.crashed(job.name, again=False)
        else:
            plan.done(job.name, load(folder / "jobs" / f"{job.name}.json")["value"])
    less = experiment.conclude(plan, tmp_path / "less")
    assert less["failed"] == ["node-1"] and less["run_seeds"] == [0] and [k["runs"] for k in less["keys"]] == [1, 1]
    assert less["runs"]["edge_op"][0] == value["runs"]["edge_op"][0]
    plan.jobs["node-0"].status = "failed"
    with pytest.raises(TrainingError, match=r"nothing to compare[\s\S]*node-0, node-1 must finish"):
        experiment.conclude(plan, tmp_path / "none")


@pytest.mark.slow
def test_processes_compute_the_same(config: Path, tmp_path: Path) -> None:
    whole = read_experiment(config).settings
    one, two = (run_experiment(SharingStudyExperiment(whole), tmp_path / str(n), processes=n) for n in (1, 2))
    assert one["cells"] == two["cells"] and one["runs"] == two["runs"] and one["shared_losses"] == two["shared_losses"]
    diverging = whole.shared.model_copy(update={"learning_rate": 1e30, "gradient_clip": None})
    broken = SharingStudyExperiment(whole.model_copy(update={"shared": diverging}))
    with pytest.raises(TrainingError, match="in epoch 1"):  # of a process, word for word
        run_experiment(broken, tmp_path / "broken", processes=2)
