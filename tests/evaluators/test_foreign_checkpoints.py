"""Weights as others write them, and ours as others read them: timm's train.py, Hugging Face's layout, safetensors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("timm")

import timm

from nni_plugins.evaluators.errors import CheckpointError, DataError
from nni_plugins.evaluators.interchange import timm_models  # noqa: F401
from nni_plugins.evaluators.interchange.weights import load_into, read_weights, save_safetensors
from nni_plugins.evaluators.retraining.checkpoints import load
from nni_plugins.evaluators.retraining.evaluator import TimmRetrain
from nni_plugins.evaluators.retraining.recipes import changed, recipe
from nni_plugins.evaluators.retraining.settings import PictureSettings
from nni_plugins.evaluators.retraining.validation import validate

MODEL = "nasbench201_rf_darts"
ARGUMENTS = {"channels": 4, "cells_per_stage": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of grey squares."""
    root = tmp_path_factory.mktemp("images")
    for part, count in (("train", 8), ("test", 4)):
        for label in range(3):
            for i in range(count):
                place = root / part / f"class{label}" / f"{i}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (60 * label + i, 90, 120 - i)).save(place)
    return root


def network(classes: int = 3) -> Any:
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=classes, **ARGUMENTS)


def written(folder: Path, prefix: str = "", ema: bool = False, args: Any = None, **more: Any) -> Path:
    """As timm's ``train.py`` writes it."""
    state = {f"{prefix}{key}": value for key, value in network().state_dict().items()}
    given = {"model": MODEL, "num_classes": 3, "img_size": 32, "mean": None, "model_kwargs": ARGUMENTS, "lr": 0.1}
    content = {
        "epoch": 6,
        "arch": MODEL,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
        "version": 2,
        "args": argparse.Namespace(**given) if args is None else args,
        "metric": 51.5,
        **({"state_dict_ema": {key: value + 1 for key, value in state.items()}} if ema else {}),
        **more,
    }
    torch.save(content, folder / "checkpoint-6.pth.tar")
    return folder / "checkpoint-6.pth.tar"


def same(state: dict[str, torch.Tensor], other: Any, shift: float = 0.0) -> bool:
    wanted = other.state_dict()
    return state.keys() == wanted.keys() and all(
        torch.equal(value, wanted[key] + shift) for key, value in state.items()
    )


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_a_checkpoint_of_timms_train_script(tmp_path: Path, images: Path, prefix: str) -> None:
    file = written(tmp_path, prefix)
    loaded = load(file)
    assert same(loaded.network.state_dict(), network()) and loaded.epoch == 7 and loaded.metrics == {"top1": 51.5}
    assert loaded.image_size == 32 and loaded.classes == () and not loaded.averaged
    measured = validate(file, PictureSettings(path=str(images)), device="cpu")
    with torch.inference_mode():
        plain = loaded.network.eval()(torch.zeros(1, 3, 32, 32))
    assert plain.shape == (1, 3) and measured["images"] == 12 and measured["recorded"] == {"top1": 51.5}
    assert "nowhere in the file" in measured["classes_named"]


def test_its_moving_average_and_its_prepared_images_count(tmp_path: Path) -> None:
    args = argparse.Namespace(
        model_kwargs=ARGUMENTS, num_classes=3, img_size=64, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], crop_pct=0.9
    )
    loaded = load(written(tmp_path, ema=True, args=args))
    assert loaded.averaged and loaded.image_size == 64 and loaded.normalisation == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    floating = {key: value for key, value in loaded.network.state_dict().items() if value.is_floating_point()}
    wanted = network().state_dict()
    assert all(torch.equal(value, wanted[key] + 1) for key, value in floating.items())
    assert loaded.recipe.input.crop_pct == 0.9


def test_classes_are_counted_where_the_arguments_do_not_say(tmp_path: Path, images: Path) -> None:
    loaded = load(written(tmp_path, args={"model_kwargs": ARGUMENTS}))
    assert loaded.network.num_classes == 3  # type: ignore[attr-defined]
    other = written(tmp_path, args={"model_kwargs": ARGUMENTS}, state_dict=network(5).state_dict())
    with pytest.raises(DataError, match=r"tells 5 classes apart, and .* has 3"):
        validate(other, PictureSettings(path=str(images)), device="cpu")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"arch": "no_such_model"}, "asks for the model 'no_such_model'"),
        ({"args": {"model_kwargs": {**ARGUMENTS, "pretrained": True}}}, "asks for the argument 'pretrained'"),
        ({"args": {"model_kwargs": {"channels": 8}}}, "does not fit this network"),
        ({"args": {"model_kwargs": ARGUMENTS, "img_size": "big"}}, "what it says of its images cannot be used"),
        ({"state_dict": {"a": torch.tensor(float("nan"))}}, "NaN or infinite numbers in a"),
    ],
)
def test_checkpoints_that_are_refused(tmp_path: Path, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        load(written(tmp_path, **more))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    small = {"epochs": 1, "batch_size": 8, "input.size": 32, "network.sizes": {"nasbench201": ARGUMENTS}}
    TimmRetrain(PictureSettings(path=str(images)), changed(recipe("digits"), small), folder=folder).train(MODEL)
    return folder


def test_a_retraining_is_a_folder_that_timm_reads(trained: Path, images: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["label_names"] == ["class0", "class1", "class2"] and config["num_classes"] == 3
    model = timm.create_model(f"local-dir:{trained}", pretrained=True)
    assert same(load(trained / "last.pth.tar").network.state_dict(), model)
    assert model.pretrained_cfg["label_names"] == config["label_names"]
    data = timm.data.resolve_model_data_config(model)
    assert tuple(data["input_size"]) == (3, 32, 32)
    assert tuple(data["mean"]) == tuple(config["pretrained_cfg"]["mean"])


def test_a_folder_in_that_layout_is_measured_as_the_checkpoint(trained: Path, images: Path, tmp_path: Path) -> None:
    pictures = PictureSettings(path=str(images))
    wanted = validate(trained / "last.pth.tar", pictures, device="cpu")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    for path in (tmp_path, tmp_path / "model.safetensors"):
        found = validate(path, pictures, device="cpu")
        assert {key: found[key] for key in ("loss", "top1", "images", "classes", "image_size")} == {
            key: wanted[key] for key in ("loss", "top1", "images", "classes", "image_size")
        }
        assert load(path).classes == ("class0", "class1", "class2")
    fresh = network()
    load_into(fresh, tmp_path)
    assert same(load(trained / "last.pth.tar").network.state_dict(), fresh)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json has no weights beside it"):
        load(tmp_path)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    save_safetensors(tmp_path / "x.safetensors", state)
    read = read_weights(tmp_path / "x.safetensors")
    assert read.keys() == state.keys() and all(torch.equal(read[key], value) for key, value in state.items())
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="it is no file of safetensors"):
        read_weights(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"is a folder without model\.safetensors"):
        read_weights(tmp_path)
