"""What is meant by names, texts, JSON and files, of our spaces and of other people's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.evaluators.errors import CheckpointError, ConfigError, MissingBackend
from nni_plugins.evaluators.subjects.resolver import image_subject, subject
from nni_plugins.evaluators.subjects.subject import ImageSubject, Subject
from nni_plugins.spaces import NASBench201, registry
from nni_plugins.spaces.cells import DARTS, NAO, RobustDARTS
from nni_plugins.spaces.errors import NNIPluginsError, SpaceError
from nni_plugins.spaces.published import published

CELL = "|nor_conv_3x3~0|+|none~0|none~1|"
THREE = {"nodes": 3}
THIRD_PARTY = Path(__file__).resolve().parents[1] / "third_party"


@pytest.fixture
def kernelnet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package's space, registered by its entry point."""
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    entry = EntryPoint("kernelnet", "kernelnet:KernelNet", "nni_plugins.spaces")
    monkeypatch.setitem(registry.found("spaces"), "kernelnet", entry)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "kernelnet"]:
        del sys.modules[name]


# -- names -------------------------------------------------------------------------------------------------------------
def test_names() -> None:
    item = published("darts_v2")
    assert subject("darts_v2") == Subject("darts_v2", item.space, item.architecture)
    assert subject(" darts_v2\n", DARTS()) == Subject("darts_v2", DARTS(), item.architecture)
    assert subject("darts_v2", "darts", {"channels": 20}).space == item.space_with(channels=20)
    assert subject("recurrent_nao").space == published("recurrent_nao").space, "not of images only"
    timms = subject("resnet18")
    assert timms == Subject("resnet18", None, None) and timms.has_own_name and timms.text == "resnet18"
    assert subject("resnet18.a1_in1k").space is None and subject("resnet18", None, {"x": 1}).arguments == {"x": 1}
    assert len({subject("resnet18"), subject("resnet18")}) == 1
    assert subject("darts_v2").text == "darts_v2" and subject("darts_v2").has_own_name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("darts_v3",), "unknown architecture 'darts_v3'; did you mean 'darts_v2' or 'darts_v1'"),
        (("resnet19",), "unknown architecture 'resnet19'; did you mean 'resnet18'"),
        (
            ("qqqqqqqqqqqq",),
            "unknown architecture 'qqqqqqqqqqqq'; nothing is called like that.\nNames: nni-plugins list --arch",
        ),
        (("darts_network",), "darts_network: which architecture of darts"),
        (("darts_v2", "nao"), "darts_v2 is of the space 'darts', but the space given is 'nao'"),
        (("darts_v2", NAO()), "darts_v2 is of the space 'darts', but the space given is 'nao'"),
        (("darts_v2", None, {"chanels": 3}), "chanels: no such argument of the space; did you mean 'channels'"),
        (("darts_v3", "darts"), "darts_v3 is neither a published architecture nor an architecture of darts"),
        ((CELL, "dart"), "unknown space 'dart'; did you mean 'darts'"),
    ],
)
def test_unknown_names(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(NNIPluginsError, match=message):
        subject(*given)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert subject("darts_v2").space is not None
    said = (
        "unknown architecture 'darts_v3'; did you mean 'darts_v2'.* may be a model of timm's, but timm is not installed"
    )
    with pytest.raises(MissingBackend, match=said):
        subject("darts_v3")


# -- texts -------------------------------------------------------------------------------------------------------------
def test_texts() -> None:
    space = NASBench201(nodes=3)
    point = space.parse(CELL)
    choices = point.as_dict()
    forms: list[Any] = [CELL, f" {CELL}\n", point, point.to_json(), json.loads(point.to_json()), choices]
    for given in [*forms, json.dumps(choices)]:
        one = subject(given, None, THREE)
        assert one == Subject("nasbench201", space, point) and one.text == CELL and not one.has_own_name
        assert subject(given, "nasbench201", THREE) == subject(given, space) == one
    item = published("darts_v2")
    assert subject(item.architecture) == subject(item.architecture.to_json()) == subject(item.text, "darts")
    assert subject(item.text, item.space) == Subject("darts", item.space, item.architecture)


@pytest.mark.parametrize(
    ("given", "space", "message"),
    [
        ("", None, "'' is no architecture of nasbench201"),
        ("Genotype(normal=[])", None, "is no architecture of nasbench201[\\s\\S]*Of another space: say which"),
        (published("darts_v2").architecture, NAO(), "is of the space 'darts', but the space given is 'nao'"),
        (NASBench201(nodes=3).parse(CELL).to_json(), "darts", "is of the space 'nasbench201', but the space given"),
        (published("darts_v2").text, RobustDARTS("S2"), "is not an operation of robustdarts"),
        ('{"choices": 3}', None, "must have the keys schema, space and choices"),
        ("9" * 2000, "nasbench201", "is neither a published"),
    ],
)
def test_texts_of_nothing(given: Any, space: Any, message: str) -> None:
    with pytest.raises(NNIPluginsError, match=message):
        subject(given, space)


def test_only_networks_of_images() -> None:
    item = published("darts_v2")
    assert image_subject("darts_v2") == ImageSubject("darts_v2", item.space, item.architecture)  # type: ignore[arg-type]
    for given in ("recurrent_darts", published("recurrent_darts").architecture):
        with pytest.raises(ConfigError, match="is of the space 'recurrent', whose networks take no images"):
            image_subject(given)


def test_a_third_partys_space(kernelnet: None, tmp_path: Path) -> None:
    """Its native text is a single word."""
    text = "1x1-3x3-5x5-3x3"
    one = subject(text, "kernelnet", {"channels": 4})
    assert one.text == text and one.space is not None and one.space.config()["channels"] == 4
    assert one.architecture is not None
    (tmp_path / "found.json").write_text(one.architecture.to_json())
    assert subject(str(tmp_path / "found.json"), None, {"channels": 4}) == one
    with pytest.raises(SpaceError, match=r"1x1-3x3 is neither .* kernelnet: four kernels are needed"):
        subject("1x1-3x3", "kernelnet")


def test_timm_knows_a_third_partys_space(kernelnet: None) -> None:
    timm = pytest.importorskip("timm")
    from nni_plugins.evaluators.interchange import timm_models

    try:
        assert "kernelnet_network" in timm_models.register()
        network = timm.create_model("kernelnet_network", architecture="1x1-3x3-5x5-3x3", channels=2, num_classes=5)
        assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 5)
        assert timm_models.default_cfgs["kernelnet_network"].cfgs[""].first_conv == "convs.0.0"
    finally:
        del timm_models.default_cfgs["kernelnet_network"]
        registered = timm.models._registry
        registered._model_entrypoints.pop("kernelnet_network")
        registered._module_to_models[registered._model_to_module.pop("kernelnet_network")].remove("kernelnet_network")


# -- files -------------------------------------------------------------------------------------------------------------
def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = NASBench201(nodes=3)
    point = space.parse(CELL)
    texts = {
        "native.txt": CELL,
        "without_an_ending": CELL,
        "ours.json": point.to_json(),
        "choices.json": json.dumps(point.as_dict()),
        "quoted.json": json.dumps(CELL),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
        assert subject(str(tmp_path / name), "nasbench201", THREE) == Subject("nasbench201", space, point)
    (tmp_path / "name.txt").write_text("darts_v1\n")
    assert subject(str(tmp_path / "name.txt")) == subject("darts_v1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "darts_v2").write_text(CELL)
    assert subject("darts_v2").name == "darts_v2", "a file of that name does not hide it"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"{", "is no JSON file, or is damaged"),
        ("x.json", b"\xff\xfe", "it is no text"),
        ("x.json", b"[1]", "holds no architecture, but list"),
        ("x.txt", b"|nor_conv_3x4~0|", "is no architecture of nasbench201"),
        ("x.txt", b"x" * 1_000_001, "has 1,000,001 bytes, so it is no architecture"),
        ("x.yml", b"a: 1", "is a configuration, not an architecture"),
        ("x.pth", b"no weights", "is not a file of plain weights"),
        ("none.json", None, "none.json: no such file or folder"),
        ("none.pth.tar", None, "none.pth.tar: no such file or folder"),
    ],
)
def test_files_that_hold_none(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NNIPluginsError, match=message):
        subject(str(tmp_path / name))


def weights(file: Path, **description: Any) -> str:
    torch.save({"state_dict": {}, "nni_plugins": {"schema": 1, "description": description}}, file)
    return str(file)


def test_weights_say_what_they_are_of(tmp_path: Path) -> None:
    space = NASBench201(nodes=3, channels=4)
    point = space.parse(CELL)
    ours = {"space": ["nasbench201", space.config()], "architecture": point.as_dict(), "timm": None}
    for name in ("last.pth.tar", "nothing_by_its_name"):
        file = weights(tmp_path / name, **ours)
        assert subject(file) == Subject("nasbench201", space, point, weights=Path(file))
        assert subject(file, "nasbench201", {"channels": 8}).space == NASBench201(nodes=3, channels=8)
    with pytest.raises(ConfigError, match="is of the space 'nasbench201', but the space given is 'darts'"):
        subject(file, "darts")
    file = weights(tmp_path / "b.pt", space=None, timm=["test_resnet", {"num_classes": 5, "stem_type": "deep"}])
    assert subject(file) == Subject("test_resnet", None, None, {"stem_type": "deep"}, Path(file))
    with pytest.raises(CheckpointError, match="a Net, was made by a program of its own"):
        subject(weights(tmp_path / "c.pt", space=None, timm=None, name="Net"))
    with pytest.raises(CheckpointError, match="its description is damaged"):
        subject(weights(tmp_path / "d.pt", space=["nasbench201"]))
    torch.save({"state_dict": {}}, tmp_path / "e.pt")
    with pytest.raises(CheckpointError, match="its network is not described"):
        subject(str(tmp_path / "e.pt"))
