"""What a retraining leaves: checkpoints in timm's format, the table of the curve, TensorBoard's events, scores."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins import cli
from nni_plugins.cli.console import console
from nni_plugins.evaluators.errors import CheckpointError, ConfigError, DataError
from nni_plugins.evaluators.retraining import batches as pipeline
from nni_plugins.evaluators.retraining import checkpoints, recipes
from nni_plugins.evaluators.retraining.card import write_card
from nni_plugins.evaluators.retraining.network import build, describe
from nni_plugins.evaluators.retraining.pictures import open_pictures
from nni_plugins.evaluators.retraining.settings import (
    EMASettings,
    InputSettings,
    NetworkSettings,
    OptimizerSettings,
    PictureSettings,
    Recipe,
)
from nni_plugins.evaluators.retraining.validation import evaluate, validate
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.spaces.nasbench201 import NASBench201
from nni_plugins.spaces.published import published

from .test_retraining_curve import ROW

timm = pytest.importorskip("timm")
import nni_plugins.evaluators.interchange.timm_models  # noqa: E402, F401  (after the check that timm is there)
from nni_plugins.evaluators.interchange.weights import load_into  # noqa: E402

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|"
CLASSES = tuple("abcdefg")
STATISTICS = (np.array([0.5, 0.4, 0.3], np.float32), torch.tensor([0.2, 0.25, 0.3]))
RECIPE = Recipe(
    source="a test",
    epochs=3,
    batch_size=4,
    optimizer=OptimizerSettings(learning_rate=0.1, weight_decay=5e-4),
    input=InputSettings(size=16),
)
SIZES: dict[str, tuple[str, dict[str, Any], list[Any] | None, str | None]] = {
    "cell": (
        "nasbench201_network",
        {"architecture": CELL, "nodes": 3, "channels": 4, "cells_per_stage": 1},
        ["nasbench201", {"nodes": 3}],
        CELL,
    ),
    "darts": (
        "darts_v2",
        {"stem": "cifar", "channels": 4, "cells": 3},
        ["darts", {"channels": 4}],
        published("darts_v2").text,
    ),
    "resnet18": ("resnet18", {}, None, None),
}


def description(kind: str) -> dict[str, Any]:
    """As ``network.describe`` makes it."""
    name, arguments, space, text = SIZES[kind]
    network = timm.create_model(name, num_classes=7, **arguments)
    count = sum(p.numel() for p in network.parameters())
    facts = {"name": name, "space": space, "architecture": None, "text": text, "parameters": count, "macs": 123456}
    return {**facts, "timm": [name, {"num_classes": 7, **arguments}]}


def trained(kind: str) -> nn.Module:
    """The network that is trained, with settled statistics: that of ``darts`` has an auxiliary head."""
    name, arguments, _, _ = SIZES[kind]
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=7, **arguments, **({"auxiliary": True} if kind == "darts" else {}))
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 32, 32))
    return network  # type: ignore[no-any-return]


def write(path: Path, kind: str, network: nn.Module, ema: nn.Module | None = None, **changes: Any) -> Path:
    facts: dict[str, Any] = {
        "description": description(kind),
        "recipe": RECIPE.model_copy(update={"network": NetworkSettings(auxiliary=kind == "darts")}),
        "classes": CLASSES,
        "normalisation": STATISTICS,
        "epoch": 2,
        "metrics": ROW,
        "seed": 5,
        "data": {"name": "noise", "train": np.int64(8).item(), "test": 4},
    }
    checkpoints.save(path, network=network, ema=ema, **facts | changes)
    return path


class Saved:
    """A network, its moving average and their checkpoint."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.network, self.ema = kind, trained(kind), None
        if kind == "darts":
            self.ema = timm.utils.ModelEmaV3(self.network, decay=0.5)
            with torch.no_grad():
                for parameter in self.network.parameters():
                    parameter.add_(0.01)
            self.ema.update(self.network)
        self.path = write(folder / f"{kind}.pth.tar", kind, self.network, self.ema)
        self.images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        used = self.network if self.ema is None else self.ema.module
        with torch.no_grad():
            self.expected = used.eval()(self.images)

    def create(self, **options: Any) -> nn.Module:
        name, arguments, _, _ = SIZES[self.kind]
        return timm.create_model(name, **arguments, **options).eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=list(SIZES))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(request.param, tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved("cell", tmp_path_factory.mktemp("cell"))


@torch.no_grad()
def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network.eval()(images)  # type: ignore[no-any-return]


# -- reading -----------------------------------------------------------------------------------------------------------
def test_loaded_is_what_was_saved(saved: Saved) -> None:
    state = torch.get_rng_state()
    loaded = checkpoints.load(saved.path)
    assert torch.equal(torch.get_rng_state(), state) and not loaded.network.training
    assert torch.equal(outputs(loaded.network, saved.images), saved.expected)
    assert loaded.averaged == (saved.ema is not None) and loaded.recipe.network.auxiliary == (saved.kind == "darts")
    assert (loaded.classes, loaded.epoch, loaded.seed, loaded.image_size, loaded.metrics) == (CLASSES, 2, 5, 16, ROW)
    assert loaded.normalisation == tuple(tuple(float(v) for v in channel) for channel in STATISTICS)
    assert loaded.description == description(saved.kind) and loaded.data == {"name": "noise", "train": 8, "test": 4}
    assert (
        loaded.versions["timm"] == timm.__version__ and loaded.versions["torch"] == torch.__version__.partition("+")[0]
    )
    assert loaded.recipe.optimizer == RECIPE.optimizer and loaded.recipe_name is None


def test_timm_reads_it(saved: Saved) -> None:
    made = saved.create(num_classes=7, checkpoint_path=str(saved.path))
    assert torch.equal(outputs(made, saved.images), saved.expected)
    other = saved.create(num_classes=7)
    assert not torch.equal(outputs(other, saved.images), saved.expected)
    keys = timm.models.load_checkpoint(other, str(saved.path))
    assert (
        not keys.missing_keys and not keys.unexpected_keys and torch.equal(outputs(other, saved.images), saved.expected)
    )
    own = saved.create(num_classes=7)
    timm.models.load_checkpoint(own, str(saved.path), use_ema=False)
    same = torch.equal(outputs(own, saved.images), saved.expected)
    assert same == (saved.ema is None) and torch.equal(outputs(own, saved.images), outputs(saved.network, saved.images))
    fine = saved.create(
        num_classes=3, pretrained=True, pretrained_cfg_overlay={"file": str(saved.path), "num_classes": 7}
    )
    assert fine.get_classifier().out_features == 3 and torch.equal(
        fine.forward_features(saved.images), made.forward_features(saved.images)
    )


def test_timm_reads_it_for_features(saved: Saved) -> None:
    whole = checkpoints.load(saved.path).network
    with torch.no_grad():
        expected = whole.forward_intermediates(saved.images, intermediates_only=True)
        overlay = {"file": str(saved.path), "num_classes": 7}
        first = saved.create(features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)(saved.images)
        second = saved.create(features_only=True)
        keys = timm.models.load_checkpoint(second, str(saved.path), strict=False)
        found = second(saved.images)
    assert len(first) == len(found) == len(expected) and all(
        torch.equal(a, b) for a, b in zip(first, expected, strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not keys.missing_keys and all(key.startswith(("fc.", "classifier.")) for key in keys.unexpected_keys)


def test_the_file_is_timms(saved: Saved) -> None:
    content = torch.load(saved.path, weights_only=True)
    name = SIZES[saved.kind][0]
    assert (content["epoch"], content["arch"], content["version"], content["metric"]) == (1, name, 2, 35.0)
    assert (
        timm.models.resume_checkpoint(saved.create(num_classes=7), str(saved.path), log_info=False) == 2
    )  # the next epoch, from 0
    args = content["args"]
    assert (args["model"], args["num_classes"], args["img_size"], args["lr"], args["opt"], args["seed"]) == (
        name,
        7,
        16,
        0.1,
        "sgd",
        5,
    )
    assert (
        json.loads(json.dumps(content["nni_plugins"])) == content["nni_plugins"]
        and content["nni_plugins"]["schema"] == 1
    )
    states = [content["state_dict"], *([content["state_dict_ema"]] if saved.ema is not None else [])]
    assert ("state_dict_ema" in content) == (saved.ema is not None)
    for state in states:
        assert list(state) == list(saved.create(num_classes=7).state_dict())
        assert all(value.is_contiguous() and value.device.type == "cpu" for value in state.values())


def test_wrapped_networks_and_memory_formats_leave_the_same_weights(cell: Saved) -> None:
    wanted = checkpoints.weights(cell.network)
    compiled = torch.compile(copy.deepcopy(cell.network), backend="eager")
    part = copy.deepcopy(cell.network)
    part.cells = torch.compile(part.cells, backend="eager") if hasattr(part, "cells") else part
    several = nn.Module()
    several.module = compiled
    fabric = nn.Module()
    fabric._forward_module = several
    for network in (compiled, part, several, fabric, copy.deepcopy(cell.network).to(memory_format=torch.channels_last)):
        state = checkpoints.weights(network)
        assert list(state) == list(wanted) and all(torch.equal(state[key], wanted[key]) for key in wanted)
        assert all(value.is_contiguous() for value in state.values())
    assert all(
        a.data_ptr() != b.data_ptr()
        for a, b in zip(wanted.values(), cell.network.state_dict().values(), strict=True)
        if a.numel()
    )


def test_a_network_of_double_precision_stays_one(tmp_path: Path) -> None:
    network = trained("cell").double()
    loaded = checkpoints.load(write(tmp_path / "a.pth.tar", "cell", network)).network
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(outputs(loaded, images), outputs(network, images))


# -- files that are refused --------------------------------------------------------------------------------------------
class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_files_that_are_no_checkpoints(cell: Saved, tmp_path: Path) -> None:
    file, witness = tmp_path / "a.pth.tar", tmp_path / "witness"
    torch.save({"state_dict": {}, "x": Hostile(witness)}, file)
    with pytest.raises(CheckpointError, match=r"a\.pth\.tar: refused, it is not a file of plain weights"):
        checkpoints.load(file)
    file.write_bytes(pickle.dumps(Hostile(witness), protocol=2))
    with pytest.raises(CheckpointError, match="refused"):
        checkpoints.load(file)
    assert not witness.exists()
    whole = cell.path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello"):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="refused, it is not a file of plain weights"):
            checkpoints.load(file)
    weight = next(iter(torch.load(cell.path, weights_only=True)["state_dict"].values())).numpy().tobytes()
    place = whole.index(weight) + len(weight) // 2
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    torch.load(file, weights_only=True)  # torch notices nothing
    for read in (checkpoints.load, lambda path: load_into(torch.nn.Linear(1, 1), path)):
        with pytest.raises(CheckpointError, match=r"a\.pth\.tar is damaged: its weights do not have the hash"):
            read(file)
    with pytest.raises(CheckpointError, match=r"no\.pth\.tar cannot be read \(No such file"):
        checkpoints.load(tmp_path / "no.pth.tar")
    torch.save({"state_dict": {}, "epoch": 3}, file)
    with pytest.raises(CheckpointError, match=r"weights without a description of the network(.|\n)*--weights"):
        checkpoints.load(file)
    torch.save({"arch": "resnet18", "state_dict": {}, "epoch": 3}, file)
    with pytest.raises(CheckpointError, match=r"does not fit this network: 122 missing"):
        checkpoints.load(file)


def changed(source: Path, target: Path, **block: Any) -> Path:
    content = torch.load(source, weights_only=True)
    for place, value in block.items():
        at = content["nni_plugins"]
        *parents, last = place.split("__")
        for key in parents:
            at = at[key]
        at[last] = value
    torch.save(content, target)
    return target


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"schema": 2}, r"has schema 2; this version reads up to 1\.\nUpgrade"),
        ({"schema": "one"}, "no schema number"),
        ({"classes": None}, "description is damaged"),
        ({"normalisation": {"mean": [0.5]}}, "description is damaged.*expected 3, got 1"),
        ({"recipe__epochs": 0}, r"recipe\.epochs: .*but got 0"),
        ({"recipe__speed": 1}, r"recipe\.speed: no such key"),
        ({"description__timm": ["resnet", {}]}, "asks for the model 'resnet', which timm .* does not know"),
        ({"description__timm": ["hf-hub:timm/resnet18.a1_in1k", {}]}, "asks for the model 'hf-hub"),
        ({"description__timm": ["resnet18", {"pretrained": True}]}, "asks for the argument 'pretrained'"),
        ({"description__timm": ["resnet18", {"checkpoint_path": "b"}]}, "asks for the argument 'checkpoint_path'"),
        ({"description__timm": ["resnet18", {"color": 1}]}, "resnet18 cannot be made from its description"),
        ({"description__timm": None}, r"a nasbench201_network, was made by a program of its own(.|\n)*load_checkpoint"),
        (
            {"description__timm": ["resnet18", {"num_classes": 7}]},
            r"does not fit this network: 122 missing \(conv1.weight, .*, \.\.\.\)(.|\n)*is of resnet18",
        ),
    ],
)
def test_descriptions_that_are_refused(cell: Saved, tmp_path: Path, block: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(changed(cell.path, tmp_path / "a.pth.tar", **block))


def test_another_size_of_the_same_network(cell: Saved, tmp_path: Path) -> None:
    name, arguments, _, _ = SIZES["cell"]
    other = [name, {**arguments, "channels": 6, "num_classes": 7}]
    with pytest.raises(
        CheckpointError,
        match=r"of another shape \(stem.0.weight \(4, 3, 3, 3\) instead of \(6, 3, 3, 3\), (\S+ \(.*?\) instead of \(.*?\), ){2}\.\.\.\)",
    ):
        checkpoints.load(changed(cell.path, tmp_path / "a.pth.tar", description__timm=other))


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 7))
    facts = {
        "name": "Sequential",
        "space": None,
        "architecture": None,
        "text": None,
        "timm": None,
        "parameters": 91,
        "macs": None,
    }
    path = write(tmp_path / "own.pth.tar", "cell", network, description=facts)
    again = nn.Sequential(nn.Flatten(), nn.Linear(12, 7))
    timm.models.load_checkpoint(again, str(path))
    assert torch.equal(again[1].weight, network[1].weight)


def test_an_interrupted_write_leaves_the_old_file(cell: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.pth.tar", "cell", cell.network)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nni_plugins.evaluators.files.os.replace", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        write(path, "cell", cell.network, epoch=3)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# -- validation --------------------------------------------------------------------------------------------------------
DIGITS = PictureSettings(path="digits", test_limit=50)


class Run:
    """A network as ``TimmRetrain`` makes it, untrained, its scores and its checkpoint."""

    def __init__(self, folder: Path) -> None:
        space = NASBench201(nodes=3)
        self.recipe, self.folder = recipes.changed(recipes.recipe("digits"), {"optimizer.learning_rate": 0.05}), folder
        one, data = image_subject(CELL, space), open_pictures(DIGITS)
        self.description = describe(one, self.recipe, 10)
        network = build(one, self.recipe, 10, seed=3)
        self.classes, self.statistics = data.test.classes, pipeline.normalisation(self.recipe, data.train)
        self.images = [images for images, _ in pipeline.test_batches(data.test, self.recipe, self.statistics, "cpu")]
        with torch.no_grad():
            network.train()(self.images[0])
        scores = evaluate(network, pipeline.test_batches(data.test, self.recipe, self.statistics, "cpu"))
        self.row = {
            "epoch": 1,
            "loss": 2.5,
            "accuracy": 11.0,
            "learning_rate": 0.05,
            "test_loss": scores["loss"],
            "top1": scores["top1"],
        }
        self.row["top5"] = scores["top5"]
        self.network, self.path, self.data = (
            network,
            folder / checkpoints.LAST,
            {"name": "digits", "train": 1347, "test": 50},
        )
        checkpoints.save(
            self.path, network=network, ema=None, epoch=1, metrics=self.row, recipe_name="digits", **self.facts
        )

    @property
    def facts(self) -> dict[str, Any]:
        names = ("description", "recipe", "classes", "data")
        return {name: getattr(self, name) for name in names} | {"normalisation": self.statistics, "seed": 3}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("digits"))


def test_validation_finds_what_training_measured(digits: Run) -> None:
    found = validate(digits.path, DIGITS, device="cpu")
    assert (
        found["loss"] == digits.row["test_loss"]
        and found["top1"] == digits.row["top1"]
        and found["top5"] == digits.row["top5"]
    )
    assert found["recorded"] == {key: found[key] for key in ("loss", "top1", "top5")}
    facts = {
        "epoch": 1,
        "weights": "trained",
        "images": 50,
        "classes": 10,
        "image_size": 8,
        "batch_size": 64,
        "device": "cpu",
    }
    assert (
        {key: found[key] for key in facts} == facts and found["seconds"] > 0 and json.loads(json.dumps(found)) == found
    )
    small = validate(digits.path, DIGITS, device="cpu", batch_size=7)
    assert (
        small["top1"] == found["top1"]
        and small["loss"] == pytest.approx(found["loss"], rel=1e-6)
        and small["batch_size"] == 7
    )
    large = validate(digits.path, DIGITS, device="cpu", input_size=12)
    assert large["image_size"] == 12 and large["loss"] != found["loss"] and large["images"] == 50


def test_validation_that_cannot_be(digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = changed(digits.path, tmp_path / "a.pth.tar", classes=["zero", *map(str, range(1, 10))])
    with pytest.raises(DataError, match=r"1 missing \(zero\); 1 unknown to it \(0\)"):
        validate(renamed, DIGITS, device="cpu")
    with pytest.raises(ConfigError, match=r"cannot take images of 3 pixels a side \(.*H, W >= 4"):
        validate(digits.path, DIGITS, device="cpu", input_size=3)
    for device in ("gpu", "cpu:x", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
            validate(digits.path, DIGITS, device=device)
    with pytest.raises(DataError, match="no such file or folder"):
        validate(digits.path, PictureSettings(path=str(tmp_path / "no")), device="cpu")


def test_vision_transformers_take_one_size(tmp_path: Path) -> None:
    facts = {"img_size": 32, "patch_size": 16, "depth": 1, "num_classes": 10}
    network = timm.create_model("vit_tiny_patch16_224", **facts)
    made = {
        "name": "vit_tiny_patch16_224",
        "space": None,
        "text": None,
        "timm": ["vit_tiny_patch16_224", facts],
        "parameters": 1,
        "macs": None,
    }
    recipe = RECIPE.model_copy(update={"input": InputSettings(size=32)})
    path = write(
        tmp_path / "vit.pth.tar", "cell", network, description=made, recipe=recipe, classes=tuple("0123456789")
    )
    with pytest.raises(ConfigError, match=r"vit_tiny_patch16_224 cannot take images of 16 pixels a side \(.*16"):
        validate(path, DIGITS, device="cpu", input_size=16)


# -- nni-plugins export ------------------------------------------------------------------------------------------------
@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(console, "_width", 250)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nni-plugins", "export", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


def test_onnx_of_a_checkpoint_agrees(digits: Run, tmp_path: Path, export: Callable[..., tuple[int, str, str]]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    status, out, _ = export(digits.path, "--onnx", tmp_path / "a.onnx", "--json")
    value = json.loads(out)
    assert status == 0 and (value["architecture"], value["weights"], value["image_size"]) == (CELL, str(digits.path), 8)
    assert value["space"].startswith("NASBench201(") and "channels=8" in value["space"]
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": digits.images[0].numpy()})
    expected = outputs(digits.network, digits.images[0])
    assert (
        np.abs(found - expected.numpy()).max() < 1e-4 * expected.std().item() and value["files"][0]["difference"] < 1e-4
    )


def test_exported_files_say_what_they_need(
    digits: Run, tmp_path: Path, export: Callable[..., tuple[int, str, str]]
) -> None:
    """Class names and normalisation travel within the file."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    status, _, err = export(digits.path, "--onnx", tmp_path / "a.onnx", "--torch-export", tmp_path / "a.pt2")
    assert status == 0, err
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    found = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert found["classes"] == list(map(str, range(10))) and found["image_size"] == 8
    assert found["mean"] == pytest.approx(list(map(float, digits.statistics[0])))
    assert found["std"] == pytest.approx(list(map(float, digits.statistics[1])))
    extra = {"metadata.json": ""}
    torch.export.load(tmp_path / "a.pt2", extra_files=extra)
    assert json.loads(extra["metadata.json"]) == found


def test_export_of_feature_maps(digits: Run, tmp_path: Path, export: Callable[..., tuple[int, str, str]]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    status, out, _ = export(digits.path, "--features", "--onnx", tmp_path / "a.onnx", "--json")
    value = json.loads(out)
    assert status == 0 and value["maps"].startswith("8 channels at stride 1, 16 channels at stride 2")
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": digits.images[0].numpy()})
    with torch.no_grad():
        expected = digits.network.eval().forward_intermediates(digits.images[0], intermediates_only=True)
    for ours, theirs in zip(expected, found, strict=True):
        assert np.abs(theirs - ours.numpy()).max() < 1e-4 * ours.abs().max().item()
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["maps"])[2] == {"channels": 32, "stride": 4} and "classes" not in metadata


@pytest.mark.parametrize("saved", ["resnet18"], indirect=True, scope="module")
def test_export_of_timms_own_feature_maps(
    saved: Saved, tmp_path: Path, export: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = export(saved.path, "--features", "--torch-export", tmp_path / "a.pt2", "--image-size", 32)
    assert status == 0, err
    found = torch.export.load(tmp_path / "a.pt2").module()(saved.images)
    assert [y.shape[1] for y in found] == [64, 64, 128, 256, 512]


@pytest.mark.parametrize("saved", ["resnet18"], indirect=True, scope="module")
def test_export_of_timms_own_network_at_another_size(
    saved: Saved, tmp_path: Path, export: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = export(saved.path, "--torch-export", tmp_path / "a.pt2", "--image-size", 32)
    assert status == 0 and "x: (B, 3, 32, 32)" in out and str(saved.path) in out, err
    assert "space" not in out and "resnet18" in out.split()
    with torch.no_grad():
        found = torch.export.load(tmp_path / "a.pt2").module()(saved.images)
    assert torch.allclose(found, saved.expected, atol=1e-4 * saved.expected.std().item())


def test_export_that_is_refused(digits: Run, tmp_path: Path, export: Callable[..., tuple[int, str, str]]) -> None:
    file = tmp_path / "a.onnx"
    status, _, err = export(digits.path, "--onnx", file, "--space-argument", "channels=3")
    assert status == 2 and "--space-argument: a checkpoint says that itself.\nLeave it out." in err
    torch.save({"state_dict": {}}, tmp_path / "plain.pth.tar")
    status, _, err = export(tmp_path / "plain.pth.tar", "--onnx", file)
    assert status == 2 and "its network is not described" in err and not file.exists()


# -- the card ----------------------------------------------------------------------------------------------------------
def card(run: Run, folder: Path, history: list[dict[str, float]], **changes: Any) -> str:
    facts: dict[str, Any] = {"recipe_name": "digits", **run.facts} | changes
    return write_card(folder, history=history, **facts).read_text()


def test_card(digits: Run, tmp_path: Path) -> None:
    history = [{**digits.row, "epoch": i + 1, "top1": top1} for i, top1 in enumerate((50.0, 70.5, 70.5, 60.25))]
    text = card(digits, tmp_path, history, drawing="cell.svg")
    front = "---\ntags:\n- image-classification\n- timm\n- neural-architecture-search\nlibrary_name: timm\nlicense: unknown\n---\n"
    assert (
        text.startswith(front)
        and f"\n# {digits.description['name']}\n" in text
        and "![The architecture](cell.svg)" in text
    )
    assert (
        f"```\n{CELL}\n```" in text and "`nasbench201`: stem='cifar', channels=8" not in text
    )  # its own order of arguments
    assert f"| parameters | {digits.description['parameters']:,} |" in text
    assert f"| multiply-adds | {digits.description['macs']:,} of one image of 8 x 8 pixels |" in text
    assert "| mean | " + ", ".join(f"{v:.4f}" for v in digits.statistics[0]) in text and "for 10 classes" in text
    assert (
        "| recipe | `digits` |" in text
        and "Changed in `digits`:\n\n- `optimizer.learning_rate: 0.1 -> 0.05`\n\n" in text
    )
    assert (
        "- network.auxiliary: networks of nasbench201 have no auxiliary head" in text and "| epochs | 4 of 20 |" in text
    )
    assert "| test images | 50 |" in text and "| classes | 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 |" in text
    loss = f"{digits.row['test_loss']:.4f}"
    assert f"| `last.pth.tar` | 4 | 60.25 | {digits.row['top5']:.2f} | {loss} |" in text
    assert f"| `model_best.pth.tar` | 2 | 70.50 | {digits.row['top5']:.2f} | {loss} |" in text
    assert "The best epoch was chosen by its accuracy on the very images that it is measured on" in text
    assert f"- timm {timm.__version__}" in text and "moving average's" not in text


def test_card_of_a_training_with_held_out_images(digits: Run, tmp_path: Path) -> None:
    """What chose, and what was measured once, stand apart; the code loads what was chosen."""

    def row(epoch: int, top1: float) -> dict[str, float]:
        return {"epoch": epoch, "validation_top1": top1, "validation_top5": 90.0, "validation_loss": 0.5}

    facts = {"data": {**digits.data, "validation": 1_234}, "tested": {"epoch": 2, "top1": 66.5, "loss": 1.25}}
    text = card(digits, tmp_path, [row(1, 50.0), row(2, 70.5), row(3, 60.25)], **facts)
    assert "| held-out images | 1,234 |" in text and "flatter" not in text and "too good a guess" not in text
    assert "| file, measured on | epoch | top-1 (%) | top-5 (%) | loss (nats) |\n|---|---|---|---|---|" in text
    assert "| `model_best.pth.tar`, test images | 2 | 66.50 | - | 1.2500 |" in text
    assert "| `model_best.pth.tar`, held-out images | 2 | 70.50 | 90.00 | 0.5000 |" in text
    assert "| `last.pth.tar`, held-out images | 3 | 60.25 | 90.00 | 0.5000 |" in text
    assert text.count("model_best.pth.tar") == 6 and text.count("last.pth.tar") == 1


def test_code_of_the_card_runs(digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = card(digits, tmp_path, [digits.row])
    (tmp_path / checkpoints.LAST).write_bytes(digits.path.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    with torch.no_grad():
        assert torch.equal(names["model"](digits.images[0]), outputs(digits.network, digits.images[0]))
        maps = digits.network.forward_intermediates(digits.images[0], intermediates_only=True)  # type: ignore[operator]
        assert all(torch.equal(a, b) for a, b in zip(names["backbone"](digits.images[0]), maps, strict=True))
    assert names["loaded"].recipe == digits.recipe and names["loaded"].recipe_name == "digits"


def test_card_of_other_trainings(digits: Run, tmp_path: Path) -> None:
    facts = {
        "name": "resnet18",
        "space": None,
        "architecture": None,
        "text": None,
        "parameters": 11_181_642,
        "macs": 1_000,
        "left_out": [],
    }
    averaged = digits.recipe.model_copy(update={"ema": EMASettings(decay=0.99)})
    row = {**digits.row, "top1_raw": 12.5}
    del row["top5"]
    description = {**facts, "timm": ["resnet18", {"num_classes": 30}]}
    text = card(
        digits,
        tmp_path,
        [row],
        description=description,
        recipe=averaged,
        recipe_name="mine.yml",
        classes=tuple(map(str, range(30))),
    )
    assert "| recipe | own values, in `recipe.yml` |" in text and "Changed in" not in text and "| decay 0.99 |" in text
    assert "The weights are the moving average's." in text and "| 12.50 |" in text and "top-5" not in text
    assert (
        "18, 19, and 10 more (in the checkpoints)" in text
        and "nni_plugins.evaluators.interchange.timm_models" not in text
        and "search space" not in text
    )
    text = card(digits, tmp_path, [row], description={**facts, "name": "Mine", "timm": None, "macs": None})
    assert (
        "was made by a program of its own" in text
        and "| multiply-adds | not counted |" in text
        and "create_model" not in text
    )
