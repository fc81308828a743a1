"""``nni-plugins retrain`` and its companions: one tiny training on digits serves most of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nni
import pytest
import torch
import yaml
from PIL import Image

from nni_plugins import cli
from nni_plugins.cli import retrain_report
from nni_plugins.cli.retrain import pictures
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.retraining import PictureSettings, recipes
from nni_plugins.origins.origin import origin
from nni_plugins.portal import reporting
from nni_plugins.requests.request import in_trial
from nni_plugins.requests.retrain import RetrainRequest

from .small import CELL, OTHER, Cli

DATA = ["--data", "digits", "--limit", "200", "--test-limit", "100"]
WORDS = [CELL, "--space-argument", "nodes=3", "--recipe", "digits", "--set", "epochs=3", *DATA]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What ``--json`` prints of a training of three epochs, and its ``folder``."""
    place = tmp_path_factory.mktemp("retrain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        printed: list[str] = []
        patch.setattr("builtins.print", lambda text, **_: printed.append(str(text)))
        patch.setattr(sys, "argv", ["nni-plugins", "retrain", *WORDS, "--json"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert not caught.value.code, printed
    value = json.loads(printed[-1])
    yield {**value, "folder": str(place / value["folder"]), "place": place}


@pytest.fixture
def place(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the training was started in, as the current one."""
    monkeypatch.chdir(trained["place"])
    return Path(trained["folder"])


# -- the command -------------------------------------------------------------------------------------------------------
def test_what_it_says_and_leaves(trained: dict[str, Any], place: Path) -> None:
    assert trained["architecture"] == CELL and trained["origin"] == {"kind": "text"} and trained["recipe"] == "digits"
    assert trained["epochs"] == 3 and trained["best_epoch"] in (1, 2, 3) and trained["seed"] == 0
    assert (
        0 <= trained["top1"] <= trained["best_on_test_top1"] <= 100
        and trained["top5"] >= trained["top1"]
        and trained["loss"] > 0
    )
    assert trained["network"]["space"][1]["nodes"] == 3 and trained["network"]["space"][1]["classes"] == 10
    assert trained["parameters"] == trained["network"]["parameters"] > 0 and trained["macs"] > 0
    for name in ("last.pth.tar", "model_best.pth.tar", "summary.csv", "README.md"):
        assert name in trained["files"] and (place / name).stat().st_size > 0
    assert "training/" in trained["files"] and json.loads((place / "origin.json").read_text()) == {
        "architecture": CELL,
        "kind": "text",
    }
    rows = [json.loads(line) for line in (place / "training" / "metrics.jsonl").read_text().splitlines()]
    assert (
        [row["epoch"] for row in rows] == [1, 2, 3]
        and rows[-1]["top1"] == trained["top1"]
        and rows[-1]["test_loss"] == trained["loss"]
    )


def test_the_same_command_again_trains_nothing(
    trained: dict[str, Any], place: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (place / "training" / "metrics.jsonl").read_text()
    again = run("retrain", *WORDS, "--json")
    assert again.status == 0 and {**again.json, "folder": str(place), "place": trained["place"]} == trained
    assert (place / "training" / "metrics.jsonl").read_text() == before
    out = run("retrain", *WORDS).out
    assert (
        f"{trained['parameters']:,}" in out
        and f"{trained['top1']:.2f} %" in out
        and "so it flatters; quote the last one" in out
    )
    assert "random" not in out, "a text comes from no search"
    again = origin(str(place))
    one, space = again.subject, again.subject.space
    assert one.text == CELL and again.about["kind"] == "retraining" and space is not None
    assert [space.name, space.config()] == trained["network"]["space"] and one.weights == place / "last.pth.tar"
    for text in (str(place), str(place / "model_best.pth.tar")):
        asked = RetrainRequest(architecture=text, recipe="digits", data=PictureSettings(path="digits"))
        assert space.name in recipes.recipe("digits").network.sizes, "the same size again"
        assert space.name not in asked.resolved.network.sizes and asked.identity["space"] == trained["network"]["space"]


def test_stopped_and_typed_again(
    trained: dict[str, Any], run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second epoch; then the very numbers of the undisturbed training."""
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--set", "checkpoint_seconds=0"]
    with monkeypatch.context() as patch:
        patch.setattr("nni_plugins.evaluators.retraining.loop.EVERY", 0.0)

        def interrupt(bar: Any, row: dict[str, float]) -> None:
            if row["epoch"] == 2 and row["update"] == 2:
                raise KeyboardInterrupt

        patch.setattr(retrain_report.Bar, "__call__", interrupt)
        status, _, err = run("retrain", *words)
        assert status == 130 and "stopped; run the same command again to continue." in err
    (folder,) = (tmp_path / "runs" / "retrain").iterdir()
    assert folder.name == Path(trained["folder"]).name, (
        "checkpoint_seconds changes no number, so it makes no other folder"
    )
    resumed = run("retrain", *words, "--json").json
    assert {key: resumed[key] for key in ("top1", "top5", "loss", "best_on_test_top1", "best_epoch")} == {
        key: trained[key] for key in ("top1", "top5", "loss", "best_on_test_top1", "best_epoch")
    }
    ours, theirs = (
        torch.load(Path(f) / "last.pth.tar", weights_only=True)["state_dict"] for f in (folder, trained["folder"])
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    bar = retrain_report.Bar(Console(width=120), 600, quiet=False)
    with bar:
        bar(
            {
                "epoch": 3,
                "update": 10,
                "updates": 50,
                "images_per_second": 1234.5,
                "seconds_left": 100_000,
                "loss": 1.25,
            }
        )
    (task,) = bar.progress.tasks
    assert (task.completed, task.total) == (110, 30_000)
    out = capsys.readouterr().out
    assert "epoch 3/600" in out and "loss 1.250  1,234 img/s  1 d 03:46:40 left" in out
    assert retrain_report.remaining(59.6) == "00:01:00"


def request(**changes: Any) -> RetrainRequest:
    given: dict[str, Any] = {
        "architecture": CELL,
        "recipe": "digits",
        "data": pictures("digits", "auto", 200, 100),
        "space_arguments": {"nodes": 3},
    }
    return RetrainRequest(**{**given, **changes})


def test_folders_are_a_function_of_what_is_trained() -> None:
    assert request().folder() == request(changes={"checkpoint_seconds": 5}).folder()
    others = [
        {"seed": 1},
        {"architecture": OTHER},
        {"changes": {"epochs": 4}},
        {"data": pictures("digits", "auto", 100, 100)},
        {"recipe": "modern"},
    ]
    folders = {request(**other).folder() for other in [{}, *others]}
    assert len(folders) == len(others) + 1
    assert request().folder().parent == Path("runs/retrain") and request().folder().name.startswith(
        "nasbench201-digits-digits-0-"
    )


def test_arguments_of_the_space_precede_the_recipe() -> None:
    sizes = recipes.recipe("digits").network.sizes
    assert request().resolved.network.sizes["nasbench201"] == {**sizes["nasbench201"], "nodes": 3}
    wider = request(space_arguments={"nodes": 3, "channels": 16}).resolved.network.sizes
    assert wider["nasbench201"]["channels"] == 16 and wider["darts"] == sizes["darts"]


# -- recipes, width, validate ------------------------------------------------------------------------------------------
def test_recipes(run: Cli, tmp_path: Path) -> None:
    names = list(run("recipes", "--json").json)
    assert tuple(names) == recipes.names() and {"digits", "darts_cifar10", "unnas_imagenet"} <= set(names)
    out = run("recipes").out
    assert all(name in out for name in names)
    own = tmp_path / "own.yml"
    own.write_text(run("recipes", "digits").out)
    assert yaml.safe_load(own.read_text())["source"] == recipes.recipe("digits").source
    assert request(recipe=str(own)).resolved == recipes.changed(recipes.recipe("digits"), {}).model_copy(
        update={"network": request().resolved.network}
    )
    assert request(recipe=str(own)).recipe_name == "own"
    status, _, err = run("recipes", "digit")
    assert status == 2 and "digits" in err


def test_width(run: Cli) -> None:
    """UnNAS' rule: even widths with 500 to 600 million multiply-adds; DARTS-V2 has 48 channels in its
    paper.
    """
    rows = run("width", "darts_v2", "--macs", "500e6", "600e6", "--json").json["widths"]
    assert [row["channels"] for row in rows] == [48, 50] and rows[0] == {
        "channels": 48,
        "parameters": 4_718_752,
        "macs": 529_911_552,
    }
    assert "529,911,552" in run("width", "darts_v2", "--macs", "500e6", "600e6").out
    status, _, err = run("width", "darts_v2", "--macs", "1", "2")
    assert status == 2 and "Nearest: 2 channels" in err
    assert "macs, parameters or both must be given" in run("width", "darts_v2").err
    assert "is a model of timm's" in run("width", "resnet18", "--macs", "1", "2").err


def test_validate(trained: dict[str, Any], place: Path, run: Cli) -> None:
    value = run("validate", place / "last.pth.tar", "--data", "digits", "--test-limit", 100, "--json").json
    assert (
        value["top1"] == trained["top1"]
        and value["loss"] == pytest.approx(trained["loss"], abs=1e-6)
        and value["images"] == 100
    )
    table = run("validate", place / "last.pth.tar", "--data", "digits").out
    assert "in the file" in table and "last.pth.tar" in table


# -- bad input ---------------------------------------------------------------------------------------------------------
def photos(folder: Path, parts: dict[str, tuple[str, ...]], side: int = 8) -> Path:
    for part, classes in parts.items():
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (side, side), (60 * i, 0, 0)).save(folder / part / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "digit"], "did you mean 'digits'"),
        ([CELL, "--recipe", "absent.yml"], "absent.yml"),
        ([CELL, "--recipe", "digits", "--set", "epochs"], "--set epochs: must be key=value"),
        ([CELL, "--recipe", "digits", "--set", "epochs={"], "is not YAML"),
        ([CELL, "--recipe", "digits", "--set", "optimizer.learning_rat=1"], "learning_rate"),
        ([CELL, "--recipe", "digits"], "3 groups are needed for 4 nodes"),
        ([CELL, "--recipe", "digits", "--space-argument", "node=3"], "node: no such argument of the space"),
        (["darts_v3", "--recipe", "digits"], "unknown architecture 'darts_v3'; did you mean 'darts_v2'"),
        (["resnet81", "--recipe", "digits"], "did you mean 'resnet18'"),
        (["qqqqqqqq", "--recipe", "digits"], "nothing is called like that"),
        (["darts_network", "--recipe", "digits"], "--space darts"),
        (["resnet18", "--recipe", "digits", "--space-argument", "channels=3"], "has no space of ours"),
        (["resnet18", "--recipe", "digits", "--space", "darts"], "neither a published architecture nor"),
        (["resnet18", "--recipe", "digits", "--rank", "2"], "is one architecture, but got --rank 2"),
        (["recurrent_nao", "--recipe", "digits"], "whose networks take no images"),
        (["a/b.json", "--recipe", "digits"], "a/b.json: no such file or folder"),
        (["--recipe", "digits"], "which architecture?"),
    ],
)
def test_what_is_refused_before_anything_is_read(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run("retrain", *words, *DATA)
    assert status == 2 and err.startswith("error: ") and message in err and out == "" and not list(tmp_path.iterdir())


def test_images_that_do_not_fit(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [CELL, "--space-argument", "nodes=3", "--recipe", "digits"]
    empty = tmp_path / "empty"
    empty.mkdir()
    mismatch = photos(tmp_path / "mismatch", {"train": ("cat", "dog"), "test": ("cat", "fox")})
    for data, said in ((tmp_path / "absent", "no such file or folder"), (empty, "empty"), (mismatch, "fox")):
        status, _, err = run("retrain", *words, "--data", data)
        assert status == 2 and said in err and err.count("\n") >= 1, "what was found, and what to do"
    small = photos(tmp_path / "small", {"train": ("cat", "dog"), "test": ("cat", "dog")})
    status, _, err = run("retrain", *words, "--data", small, "--set", "input.size=32")
    assert status == 2 and "the smallest is 8x8 pixels" in err and "--set input.size=8" in err
    status, _, err = run(
        "retrain", CELL, "--space-argument", "nodes=3", "--space-argument", "stem=imagenet", "--recipe", "digits", *DATA
    )
    assert status == 2 and "input.size" in err, "the network reduces images of 8 pixels to nothing"


def test_folders_and_checkpoints_of_another_training(
    trained: dict[str, Any], place: Path, run: Cli, tmp_path: Path
) -> None:
    status, _, err = run("retrain", OTHER, *WORDS[1:], "--output", place)
    assert status == 2 and "was started with" in err
    damaged = torch.load(place / "last.pth.tar", weights_only=True)
    damaged["nni_plugins"]["description"]["timm"] = ["resnet18", {"num_classes": 10}]
    torch.save(damaged, tmp_path / "x.pth.tar")
    status, _, err = run("validate", tmp_path / "x.pth.tar", "--data", "digits")
    assert status == 2 and "weights and description do not belong together" in err
    (tmp_path / "images").mkdir()
    data = photos(tmp_path / "images", {"train": ("a", "b"), "test": ("a", "b")})
    status, _, err = run("validate", place / "last.pth.tar", "--data", data)
    assert status == 2 and "was trained on 10 classes" in err


# -- NNI ---------------------------------------------------------------------------------------------------------------
class Portal:
    """What NNI got of a trial."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, output: Path, parameters: Any) -> None:
        self.curve: list[tuple[int, dict[str, float]]] = []
        self.final: list[dict[str, float]] = []
        self.next = 0
        monkeypatch.setenv("NNI_PLATFORM", "local")
        monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(output)))
        monkeypatch.setattr(reporting, "own_parameters", lambda: parameters)
        monkeypatch.setattr(nni, "report_intermediate_result", lambda point: self.curve.append((self.next, point)))
        monkeypatch.setattr(nni, "report_final_result", self.final.append)
        monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", lambda number: setattr(self, "next", number))


def test_a_trial_and_the_same_again(
    trained: dict[str, Any], run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tuner's choices make it the training of the command line."""
    assert not in_trial()
    portal = Portal(monkeypatch, tmp_path / "out", {"architecture": CELL, "epochs": 3, "seed": 0})
    words = ["retrain", OTHER, "--space-argument", "nodes=3", "--recipe", "digits", "--seed", "9", *DATA]
    assert run(*words).status == 0 and in_trial()
    assert [number for number, _ in portal.curve] == [0, 1, 2]
    first, _, last = (point for _, point in portal.curve)
    assert (
        set(first)
        == set(last)
        == {"default", "epoch", "loss", "accuracy", "learning_rate", "test_loss", "top1", "top5"}
    )
    assert last["default"] == last["top1"] == trained["top1"]
    (final,) = portal.final
    assert final == {
        key: trained[key] for key in ("top1", "top5", "loss", "best_on_test_top1", "parameters", "macs")
    } | {"default": trained["top1"]}
    assert (tmp_path / "out" / "retrain" / "last.pth.tar").exists() and (
        tmp_path / "out" / "reported"
    ).read_text() == "3"
    assert run(*words).status == 0, "as after nnictl resume"
    assert len(portal.curve) == 3 and portal.final == [final, final]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (None, "must be a mapping, but got NoneType"),
        ({"architecture": 3}, "architecture: must be of type str, but the tuner gave 3"),
        ({"seed": "0"}, "seed: must be of type int"),
        ({"architecture": CELL, "optimizer.learning_rat": 1}, "learning_rate"),
        ({"architecture": CELL, "recipe": "digit"}, "did you mean 'digits'"),
    ],
)
def test_parameters_that_are_none(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Any, message: str
) -> None:
    portal = Portal(monkeypatch, tmp_path, parameters)
    status, _, err = run("retrain", "--space-argument", "nodes=3", "--recipe", "digits", *DATA)
    assert status == 2 and message in err and portal.final == []
    assert "--output: a trial of NNI" in run("retrain", "--recipe", "digits", *DATA, "--output", tmp_path).err


def test_the_tuners_choices_precede(tmp_path: Path) -> None:
    chosen = request(changes={"epochs": 5}).with_parameters(
        {"recipe": "modern", "epochs": 3, "optimizer.learning_rate": 0.5, "rank": 1, "seed": 4}
    )
    assert (chosen.recipe, chosen.seed, chosen.architecture) == ("modern", 4, CELL)
    assert chosen.changes == {"epochs": 3, "optimizer.learning_rate": 0.5}
    with pytest.raises(ConfigError, match="seed: must be of type int"):
        request().with_parameters({"seed": True})


def test_a_point_of_the_curve() -> None:
    row = {"epoch": 1, "loss": 0.5, "top1": 90.0, "images_per_second": 7.0}
    assert request().curve_point(row) == {"default": 90.0, "epoch": 1, "loss": 0.5, "top1": 90.0}


def test_held_out_images_are_what_a_trial_is_chosen_by(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal's ``default`` in the curve and at the end; the test images' number stands beside it."""
    words = ["retrain", CELL, "--space-argument", "nodes=3", "--recipe", "digits", "--set", "epochs=3", *DATA]
    said = run(*words, "--validation", "0.2", "--output", tmp_path / "run").out
    value = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"top-1, held out, epoch {value['epoch']}" in said and f"{value['validation_top1']:.2f} %" in said
    assert "top-1, tested once" in said and f"{value['top1']:.2f} %" in said and "flatters" not in said
    assert origin(str(tmp_path / "run")).subject.weights == tmp_path / "run" / "model_best.pth.tar"
    portal = Portal(monkeypatch, tmp_path / "out", {})
    assert run(*words, "--validation", "0.2").status == 0
    assert [point["default"] for _, point in portal.curve] == [row["validation_top1"] for row in value["history"]]
    (final,) = portal.final
    assert final["default"] == final["validation_top1"] == value["validation_top1"] and final["top1"] == value["top1"]
    answer = run(*words, "--validation", "own")
    assert answer.status == 2 and "images of digits have no validation part of their own" in answer.err


def test_the_example_is_one_that_nni_reads() -> None:
    from nni.experiment.config import ExperimentConfig

    path = Path(__file__).resolve().parents[2] / "examples" / "retrain_digits.yml"
    content = yaml.safe_load(path.read_text())
    ExperimentConfig.load(path).validate()
    space = content["searchSpace"]
    assert content["maxTrialNumber"] == len(space["architecture"]["_value"]) * len(space["seed"]["_value"])
    assert content["trialCommand"].startswith("nni-plugins retrain --recipe digits --data digits")
    for text in space["architecture"]["_value"]:
        assert request(architecture=text, space_arguments={}).identity["architecture"]
