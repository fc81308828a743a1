"""``nni-plugins sharing-study``: its file, a whole study in this process and in several, and its mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, TrainingError
from nni_plugins.evaluators.settings import read
from nni_plugins.studies.sharing.run import Task, sharing_study, tasks_of
from nni_plugins.studies.sharing.settings import SharingStudySettings, from_yaml

from .small import Cli

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sharing_study_wikitext2.yml"
TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 5,
    "bptt": 12,
    "dropouti": 0,
    "dropoute": 0,
    "accelerator": "cpu",
}


def content(**changes: Any) -> dict[str, Any]:
    return {
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


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharing")
    (folder / "text").mkdir()
    words = ["one", "two", "three", "four", "five", "six"]
    for part, lines in (("train", 40), ("valid", 15), ("test", 12)):
        rows = [" ".join(words[(i * i + j * (i % 3 + 1)) % 6] for j in range(7)) for i in range(lines)]
        (folder / "text" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump(content()))
    return path


def test_the_example_is_the_paper_in_small() -> None:
    settings = from_yaml(EXAMPLE)
    assert Path(settings.text.path) == EXAMPLE.parent / "data" / "wikitext2" and len(settings.cells().names) == 32
    assert (
        settings.sharing == ("node", "edge", "edge_op")
        and len(settings.shared_seeds) == 10
        and len(settings.stand_alone_seeds) == 3
    )
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
    assert len(tasks_of(settings)) == 33 and tasks_of(settings)[0] == Task("stand-alone", 0)


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
        ({"tuner": {"name": "rlnas"}}, "is an NNI experiment, not a weight-sharing study"),
    ],
)
def test_mistakes_in_the_file(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yml"
    path.write_text(yaml.safe_dump(content(**changes)))
    with pytest.raises(ConfigError, match=message):
        from_yaml(path)


def test_a_text_that_is_too_short_is_refused_before_anything_is_trained(config: Path, tmp_path: Path) -> None:
    settings = from_yaml(config)
    with pytest.raises(ConfigError, match="words in 64 sequences"):
        sharing_study(
            settings.model_copy(update={"shared": settings.shared.model_copy(update={"evaluation_batch": 64})}),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_a_study_from_the_command_line(config: Path, run: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    answer = run("sharing-study", config, "--run-folder", folder)
    assert answer.status == 0, answer.err
    assert "mean tau-b" in answer.out and "by number of shared matrices" in answer.out and "report.md" in answer.out
    value = json.loads((folder / "study.json").read_text())
    assert (
        len(value["cells"]) == 12
        and [len(runs) for runs in value["runs"].values()] == [2, 2]
        and value["twins"] is None
    )
    assert [group["cells"] for group in value["amounts"][0]["groups"]] == [4, 4, 4] and all(
        (folder / name).is_file() for name in value["pictures"]
    )
    finished = sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("finished.json"))
    assert finished == [f"{kind}/seed-{seed}" for kind in ("edge_op", "node", "stand-alone") for seed in (0, 1)]
    assert not list(folder.rglob("*.pt")), "weights of finished trainings are removed"

    # Again: what is finished is not repeated, and one that is missing is trained anew to the same numbers.
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("finished.json")}
    shutil.rmtree(folder / "node" / "seed-1")
    again = sharing_study(from_yaml(config), folder)
    assert again["cells"] == value["cells"] and again["runs"] == value["runs"]
    changed = [path for path in folder.rglob("finished.json") if path.stat().st_mtime_ns != stamps[path]]
    assert changed == [folder / "node" / "seed-1" / "finished.json"]
    with pytest.raises(ConfigChanged, match=r"learning_rate: 5\.0 -> 4\.0"):
        settings = from_yaml(config)
        sharing_study(
            settings.model_copy(update={"stand_alone": settings.stand_alone.model_copy(update={"learning_rate": 4.0})}),
            folder,
        )


@pytest.mark.slow
def test_processes_compute_the_same(config: Path, tmp_path: Path) -> None:
    settings = from_yaml(config)
    one, two = (sharing_study(settings.model_copy(update={"workers": n}), tmp_path / str(n)) for n in (1, 2))
    assert one["cells"] == two["cells"] and one["runs"] == two["runs"] and one["shared_losses"] == two["shared_losses"]
    short = settings.model_copy(
        update={
            "workers": 2,
            "shared": settings.shared.model_copy(update={"learning_rate": 1e30, "gradient_clip": None}),
        }
    )
    with pytest.raises(TrainingError, match="in epoch 1"):  # of a process, word for word
        sharing_study(short, tmp_path / "broken")
