"""Exported files are run again and compared; what cannot be checked is refused; ``nni-plugins export``."""

from __future__ import annotations

import argparse
import json
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
from nni_plugins.evaluators.errors import CheckpointError, ExportError, MissingBackend
from nni_plugins.evaluators.interchange.export import BATCHES, Exported, export_onnx, export_torch
from nni_plugins.evaluators.interchange.weights import load_into, settle
from nni_plugins.spaces.cells import DARTS, NAO, NASNet, RobustDARTS
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.nasbench101 import NASBench101
from nni_plugins.spaces.nasbench201 import NASBench201
from nni_plugins.spaces.published import published
from nni_plugins.spaces.staged import StagedNetwork

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BLOCKS = [[8, 2, 2], [12, 2, 2]]
TINY: dict[str, tuple[ImageSpace, str]] = {
    "darts": (DARTS(channels=4, cells=3), "darts_v2"),
    "nasnet-a": (NASNet(channels=4, cells=3), "nasnet_a"),
    "nao": (NAO(channels=4, cells=3), "nao_v2"),
    "mobilenetlike": (
        MobileNetLike(stem_channels=8, first_channels=8, stages=BLOCKS, last_channels=32, classes=10),
        "",
    ),
    "nasbench201": (NASBench201(channels=4, cells_per_stage=1), "nasbench201_rf_darts"),
    "nasbench101": (NASBench101(channels=8, cells_per_stack=1), ""),
}
SLOW = ("darts", "nasnet-a", "nao", "nasbench101")
FORMATS: dict[str, Callable[[nn.Module, torch.Tensor, Path], Exported]] = {"onnx": export_onnx, "torch": export_torch}
CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|"
SMALL = ("--space-argument", "nodes=3", "--space-argument", "channels=4", "--space-argument", "cells_per_stage=1")


def network(name: str) -> StagedNetwork:
    space, architecture = TINY[name]
    text = (
        published(architecture).text
        if architecture
        else space.to_string(space.decode(space.sample(np.random.default_rng(1), 1))[0])
    )
    built = space.network(space.parse(text))
    settle(built, torch.zeros(1, 3, 32, 32))
    return built.eval()


def reader(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """What an independent reader of the file makes of images."""
    if file.suffix == ".onnx":
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    module = torch.export.load(file).module()

    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            output: torch.Tensor = module(images)
        return output

    return run


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "onnx") for name in TINY if name not in SLOW),
        *(pytest.param(name, "onnx", marks=pytest.mark.slow) for name in SLOW),
        *((name, "torch") for name in ("mobilenetlike",)),
    ],
)
def test_every_family(name: str, form: str, tmp_path: Path) -> None:
    built, file = network(name), tmp_path / {"onnx": "a.onnx", "torch": "a.pt2"}[form]
    result = FORMATS[form](built, torch.zeros(1, 3, 32, 32), file)
    assert (
        result.file == file
        and result.bytes == file.stat().st_size
        and sorted(p.name for p in tmp_path.iterdir()) == [file.name]
    )
    assert result.difference < 1e-3 * result.spread and result.spread > 1e-3
    answers = reader(file)
    for batch in (1, 3):
        images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            wanted = built(images)
        torch.testing.assert_close(answers(images), wanted)
    if form == "onnx":
        assert (result.inputs, result.outputs) == (("images",), ("output",))


def test_modes_are_left_as_they_are(tmp_path: Path) -> None:
    built = network("nasbench201").train()
    built.stem.eval()  # type: ignore[operator]
    before = {name: value.clone() for name, value in built.state_dict().items()}
    export_torch(built, torch.zeros(2, 3, 16, 16), tmp_path / "a.pt2")
    assert built.training and not built.stem.training and built.classifier.training
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_feature_maps(tmp_path: Path) -> None:
    result = export_onnx(network("nasbench201").features_only([0, 2]), torch.zeros(1, 3, 16, 16), tmp_path / "a")
    assert result.outputs == ("output_0", "output_1")


@pytest.mark.parametrize(("head", "form"), [("pixels", "onnx"), ({"kind": "jigsaw", "tiles": 4}, "torch")])
@pytest.mark.slow
def test_other_heads(head: Any, form: str, tmp_path: Path) -> None:
    space = NASBench201(channels=4, cells_per_stage=1).with_head(head, 5)
    example = torch.zeros(1, 3, 16, 16) if head == "pixels" else torch.zeros(1, 4, 3, 16, 16)
    result = FORMATS[form](space.network(space.parse(published("nasbench201_rf_darts").text)), example, tmp_path / "a")
    assert result.file.exists() and result.difference < 1e-3


def test_settled_batch_norms() -> None:
    """The outputs then depend on the images, and nothing but running statistics has changed."""
    space, _ = TINY["darts"]
    built = space.network(space.parse(published("darts_v2").text))
    before = {name: value.clone() for name, value in built.state_dict().items()}
    settle(built, torch.zeros(1, 3, 32, 32))
    changed = {
        name.rpartition(".")[2] for name, value in built.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"} and built.training
    assert {module.momentum for module in built.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    first = built.eval().stem.first(torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1)))  # type: ignore[union-attr]
    assert abs(first.var().item() - 1) < 0.05 and first.mean().abs() < 0.05


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMATS)
def test_noise_is_refused(form: str, tmp_path: Path) -> None:
    space = RobustDARTS("S4", channels=4, cells=3)
    row = space.sample(np.random.default_rng(0), 1)
    with pytest.raises(ExportError, match=r"cells\.0\.operations\.\d: the noise operation draws its output anew"):
        FORMATS[form](space.network(space.decode(row)[0]), torch.zeros(1, 3, 32, 32), tmp_path / "a")
    assert not list(tmp_path.iterdir())


class Fickle(nn.Module):
    """Answers another thing while it is traced, or is not to be traced at all."""

    def __init__(self, behaviour: str) -> None:
        super().__init__()
        self.behaviour, self.layer = behaviour, nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x.mean((2, 3)))
        if torch.compiler.is_compiling():
            if self.behaviour == "raises":
                raise NotImplementedError("no tracing here")
            return {"differs": y + 1e-3, "another shape": y[:, :1], "not a number": y * float("nan")}[self.behaviour]
        return y


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("differs", "differs from the network's by 0.00[01].*, more than .*; nothing was written"),
        ("another shape", r"has shape \(6, 1\) instead of \(6, 2\); nothing was written"),
        ("raises", "cannot hold this network: .*"),
        ("not a number", "differs from the network's by nan"),
    ],
)
def test_a_wrong_file_is_never_written(behaviour: str, message: str, form: str, tmp_path: Path) -> None:
    assert sum(BATCHES) == 6
    (tmp_path / "a").write_text("an older file")
    with pytest.raises(ExportError, match=message):
        FORMATS[form](Fickle(behaviour), torch.zeros(1, 3, 8, 8), tmp_path / "a")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "an older file")]


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_back_end(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingBackend,
        match=rf"{module} is not installed.\nInstall it: pip install \'onnx>=1\.17\' \'onnxruntime>=1\.20\' \'onnxscript>=0\.5\'",
    ):
        export_onnx(nn.Identity(), torch.zeros(1, 3, 8, 8), tmp_path / "a")


def test_images_that_are_too_small(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="H, W >= 4 are needed"):
        export_torch(network("nasbench201"), torch.zeros(1, 3, 2, 2), tmp_path / "a")


# -- weights -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"model": state, "step": 3}, lambda state: {"state_dict": state, "arch": "darts_v2"}]
)
def test_weights(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    space = DARTS(channels=4, cells=3)
    cell = space.parse(published("darts_v2").text)
    trained, fresh = space.network(cell, auxiliary=True), space.network(cell)
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pt")
    load_into(fresh, tmp_path / "weights.pt")
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in fresh.state_dict().items())


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_a_moving_average_precedes_the_weights_that_it_is_of(key: str, tmp_path: Path) -> None:
    own, average, fresh = (network("nasbench201") for _ in range(3))
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.fill_(0.5)
    torch.save(
        {"state_dict": own.state_dict(), "model": own.state_dict(), key: average.state_dict()}, tmp_path / "w.pt"
    )
    load_into(fresh, tmp_path / "w.pt")
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state: dict[str, Any] = dict(network("nasbench201").state_dict())
    del state["stem.0.weight"]
    torch.save({**state, **dict.fromkeys("abcde", 1), "classifier.weight": torch.zeros(3, 16)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as caught:
        load_into(network("nasbench201"), tmp_path / "w.pt")
    for part in (
        "1 missing (stem.0.weight)",
        "5 unexpected (a, b, c, ...)",
        "1 of another shape (classifier.weight (3, 16) instead of (10, 16))",
    ):
        assert part in str(caught.value)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_into(network("nasbench201"), tmp_path / "nothing.pt")


# -- command line ------------------------------------------------------------------------------------------------------
@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(console, "_width", 250)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nni-plugins", "export", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(caught.value.code or 0), out, err

    return call


def test_command(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    built = NASBench201(nodes=3, channels=4, cells_per_stage=1, classes=7)
    torch.save(built.network(built.parse(CELL)).state_dict(), tmp_path / "w.pt")
    words = (
        CELL,
        *SMALL,
        "--space-argument",
        "classes=7",
        "--image-size",
        16,
        "--weights",
        tmp_path / "w.pt",
        "--onnx",
        tmp_path / "a.onnx",
    )
    status, out, _ = run(*words, "--torch-export", tmp_path / "a.pt2", "--json")
    assert status == 0
    value = json.loads(out)
    assert (value["architecture"], value["image_size"], value["weights"]) == (CELL, 16, str(tmp_path / "w.pt"))
    assert [(f["file"], f["bytes"]) for f in value["files"]] == [
        (str(f), f.stat().st_size) for f in (tmp_path / "a.onnx", tmp_path / "a.pt2")
    ]
    assert reader(tmp_path / "a.onnx")(torch.zeros(2, 3, 16, 16)).shape == (2, 7)
    status, _, err = run(*words)
    assert status == 2 and "a.onnx exists" in err and "--force" in err
    status, out, _ = run(*words, "--force")
    assert status == 0 and "images: (B, 3, 16, 16)" in out and "between images" in out


@pytest.mark.slow
def test_command_on_a_published_name_twice_gives_the_same(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        status, out, _ = run(
            "darts_v2",
            "--space-argument",
            "channels=4",
            "--space-argument",
            "cells=3",
            "--space-argument",
            "stem=cifar",
            "--torch-export",
            tmp_path / name,
        )
        assert status == 0 and "classes=1000" in out and "random" in out
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        first, second = (torch.export.load(tmp_path / name).module()(images) for name in ("a", "b"))
    assert first.shape == (2, 1000) and torch.equal(first, second)


def test_command_on_json_knows_its_space(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    space = NASBench101(channels=8, cells_per_stack=1)
    text = space.decode(space.sample(np.random.default_rng(1), 1))[0].to_json()
    status, _, err = run(
        text,
        "--space-argument",
        "channels=8",
        "--space-argument",
        "cells_per_stack=1",
        "--torch-export",
        tmp_path / "a",
        "--json",
    )
    assert status == 0, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["darts_v2"], "nothing to write.\nPass --onnx FILE, --torch-export FILE, or both."),
        (["darts_v3", "--onnx", "a"], "unknown architecture 'darts_v3'; did you mean"),
        (
            ["darts_v2", "--onnx", "a", "--space", "nao"],
            "darts_v2 is of the space 'darts', but the space given is 'nao'",
        ),
        (
            ["darts_v2", "--onnx", "a", "--space-argument", "chanels=3"],
            "chanels: no such argument of the space; did you mean 'channels'",
        ),
        (["recurrent_nao", "--onnx", "a"], "recurrent_nao is of the space 'recurrent', whose networks take no images"),
        (["resnet18", "--onnx", "a"], "resnet18 is a model of timm's; only networks of our spaces, and trained ones"),
        ([CELL, "--onnx", "a"], "nodes"),
        ([CELL, "--onnx", "a", "--space", "nasbench"], "nasbench201"),
        ([CELL, *SMALL, "--onnx", "a", "--weights", "no.pt"], "no.pt cannot be read (No such file or directory)"),
    ],
)
def test_command_errors(
    words: list[str],
    message: str,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*words)
    assert (status, out) == (2, "") and message in err and not list(tmp_path.iterdir())


# -- weights as others write them ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["timm", "compiled", "parallel", "safetensors", "all at once"])
def test_weights_as_others_write_them(tmp_path: Path, form: str) -> None:
    """timm's train.py stores its settings as argparse.Namespace beside the weights; a compiled or parallel model
    puts a word before their names."""
    trained = network("nasbench201")
    prefix = {"compiled": "_orig_mod.", "parallel": "module.", "all at once": "module._orig_mod."}.get(form, "")
    state = {prefix + key: value for key, value in trained.state_dict().items()}
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth.tar")
    if form == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, str(file))
    elif form in ("timm", "all at once"):
        arguments = argparse.Namespace(model="nasbench201_network", lr=0.1, aug_splits=0, mean=None)
        torch.save(
            {"epoch": 3, "arch": "nasbench201_network", "state_dict": state, "args": arguments, "version": 2}, file
        )
    else:
        torch.save(state, file)
    fresh = network("nasbench201")
    load_into(fresh, file)
    for key, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    state = network("nasbench201").state_dict()
    broken = [key for key, value in state.items() if value.is_floating_point()][1]
    state[broken] = torch.full_like(state[broken], float("nan"))
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=f"NaN or infinite numbers in {broken}"):
        load_into(network("nasbench201"), tmp_path / "w.pt")


def test_a_damaged_file_of_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="no file of safetensors"):
        load_into(network("nasbench201"), tmp_path / "w.safetensors")
