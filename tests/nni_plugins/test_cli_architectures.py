"""Published architectures on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nni_plugins.cli.console import console
from nni_plugins.spaces.published import names, published

from .small import Cli

CELL = "|nor_conv_3x3~0|+|none~0|none~1|"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files are written into a temporary folder."""
    monkeypatch.chdir(tmp_path)


# -- list --------------------------------------------------------------------------------------------------------------
def test_list(run: Cli) -> None:
    lines = run("list", "--architectures").out.splitlines()
    assert lines[0].split() == ["name", "space", "title", "input", "parameters", "multiply-adds", "source"]
    assert [line.split()[0] for line in lines[1:]] == names()
    line = next(line for line in lines if line.startswith("darts_v2 "))
    assert all(
        part in line for part in ("DARTS, second order", "224x224", "4.72 M", "529.9 M", "Liu et al., DARTS, ICLR 2019")
    )


def test_list_of_a_space(run: Cli) -> None:
    rows = run("list", "--architectures", "--space", "recurrent", "--json").json
    assert [row["name"] for row in rows] == names("recurrent")
    assert rows[0]["space"] == {"name": "recurrent", "nodes": 8, "hidden": 850} and rows[0]["parameters"] == 22_960_000
    assert (
        rows[0]["input"] == "one token"
        and rows[0]["source"]["year"] == 2019
        and rows[0]["architecture"].startswith("Genotype(recurrent=")
    )
    assert len(run("list", "--architectures", "--space", "nao").out.splitlines()) == 3
    assert run("list", "--architectures", "--space", "robustdarts", "--json").json == []
    assert (
        run("list", "--architectures", "--space", "robustdarts").out
        == "no architecture of robustdarts is published here\n"
    )


@pytest.mark.parametrize(("width", "columns"), [(80, 4), (140, 7)])
def test_list_on_a_terminal(run: Cli, monkeypatch: pytest.MonkeyPatch, width: int, columns: int) -> None:
    for name, value in {"_width": width, "_force_terminal": True, "_color_system": None}.items():
        monkeypatch.setattr(console, name, value)
    lines = run("list", "--architectures").out.splitlines()
    assert len(lines[0].split()) == columns and max(map(len, lines)) <= width
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in names())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--architectures", "--space", "dart"], "unknown space 'dart'; did you mean 'darts'"),
        (["--space", "darts"], "--space goes with --architectures."),
    ],
)
def test_list_what_is_none(run: Cli, words: list[str], message: str) -> None:
    status, out, err = run("list", *words)
    assert status == 2 and err.startswith("error: ") and message in err and out == ""


def test_listing_is_without_torch() -> None:
    code = (
        "import sys; from nni_plugins.cli.app import app\n"
        "app(['list', '--architectures', '--json'], standalone_mode=False)\n"
        "print({'torch', 'timm', 'nni'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert len(json.loads(result.stdout)) == len(names()) and result.stderr.strip() == "set()", result.stderr


# -- show --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["darts_v2", "mobilenetlike_rlnas", "nao_ws", "nasbench201_rf_darts", "nasnet_pnas", "recurrent_nao"]
)
def test_show_a_name(run: Cli, name: str, tmp_path: Path) -> None:
    entry = published(name)
    value = run("show", name, "--json").json
    costs = entry.space.cost_table(entry.image_size)(entry.space.encode([entry.architecture]))
    assert (value["parameters"], value["macs"]) == (int(costs.parameters[0]), int(costs.macs[0]))
    assert (
        value["name"] == name
        and value["title"] == entry.title
        and value["input"] == entry.input
        and entry.source.where in value["source"]
    )
    assert entry.space.parse(value["architecture"]) == entry.architecture and value.get("notes", "") == entry.notes
    assert value["picture"] is None and not list(tmp_path.iterdir())
    out = run("show", name).out
    assert f"{value['parameters']:,}" in out and entry.title in out and entry.input in out


def test_show_a_picture(run: Cli, tmp_path: Path) -> None:
    assert run("show", "darts_v1", "--picture", tmp_path / "v1.png", "--json").json["picture"] == str(
        tmp_path / "v1.png"
    )
    with Image.open(tmp_path / "v1.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200


def test_show_in_another_network(run: Cli) -> None:
    changed = run(
        "show",
        "darts_v2",
        "--space-argument",
        "channels=36",
        "--space-argument",
        "cells=20",
        "--space-argument",
        "classes=10",
        "--space-argument",
        "stem=cifar",
        "--json",
    ).json
    assert round(changed["parameters"] / 1e6, 3) == 3.349 and changed["input"] == "224x224"
    smaller = run("show", "darts_v2", "--image-size", 64, "--space", "darts", "--json").json
    assert smaller["parameters"] == 4_718_752 and smaller["macs"] < 529_911_552 / 10 and smaller["input"] == "64x64"
    city = [
        f"--space-argument={text}"
        for text in ("channels=82", "cells=12", "classes=19", "reductions=1", "head={kind: aspp}")
    ]
    assert round(run("show", "darts_v2", *city, "--json").json["parameters"] / 1e6, 3) == 9.565


def test_show_a_native_string_as_before(run: Cli) -> None:
    value = run("show", CELL, "--space-argument", "nodes=3", "--json").json
    keys = ["space", "architecture", "canonical", "parameters", "macs", "paths", "picture", "origin"]
    assert list(value) == keys and value["architecture"] == CELL and value["origin"] == {"kind": "text"}
    assert (
        run("show", CELL, "--space-argument", "nodes=3", "--space", "nasbench201", "--image-size", 32, "--json").json
        == value
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["darts_v3"], "unknown architecture 'darts_v3'; did you mean 'darts_v2'"),
        (["skip_connect"], "nni-plugins list --architectures shows ours"),
        (["resnet18"], "resnet18 is a model of timm's; only networks of our spaces are shown"),
        (["darts_v2", "--space", "nao"], "darts_v2 is of the space 'darts', but the space given is 'nao'."),
        (
            ["darts_v2", "--space-argument", "chanels=3"],
            "chanels: no such argument of the space; did you mean 'channels'",
        ),
        (["darts_v2", "--space-argument", "name=nao"], "a published architecture has a space of its own"),
        (["nasbench201_rf_darts", "--space-argument", "nodes=3"], "no such decision"),
        (["darts_v2", "--picture", "no/such/folder/x.png"], "picture: there is no folder"),
    ],
)
def test_show_what_is_none(run: Cli, words: list[str], message: str) -> None:
    status, out, err = run("show", *words)
    assert status == 2 and err.startswith("error: ") and message in err and out == ""


def test_show_refuses_an_image_without_pixels(run: Cli) -> None:
    assert run("show", "darts_v2", "--image-size", 0).status == 2


@pytest.mark.parametrize(
    ("words", "strides"),
    [
        (["darts_v2", "--space-argument", "channels=8", "--space-argument", "cells=5"], [4, 8, 16, 32]),
        (["mobilenetlike_rlnas"], [4, 8, 16, 32]),
        (["|none~0|+|nor_conv_3x3~0|none~1|", "--space", "nasbench201", "--space-argument", "nodes=3"], [1, 2, 4]),
    ],
)
def test_show_feature_maps_and_what_to_paste(run: Cli, words: list[str], strides: list[int]) -> None:
    """The lines are a configuration file whose backbone has these maps."""
    from nni_plugins.evaluators.mmlab.backbone import feature_channels

    value = run("show", *words, "--features", "--json").json
    returned = [one for one in value["features"] if one["returned"]]
    assert [one["stride"] for one in returned] == strides
    pasted: dict[str, Any] = {}
    exec(value["configuration"], pasted)
    backbone = pasted["model"]["backbone"]
    assert backbone.pop("_delete_") is True and backbone.pop("type") == "NASBackbone"
    maps = feature_channels(**backbone)
    assert (
        [one.channels for one in maps]
        == pasted["model"]["neck"]["in_channels"]
        == [one["channels"] for one in returned]
    )
    assert [one.stride for one in maps] == strides
    printed = run("show", *words, "--features").out
    assert value["configuration"] in printed and "returned by default" in printed


def test_show_feature_maps_of_what_has_none(run: Cli) -> None:
    assert "networks take no images" in run("show", "recurrent_darts", "--features").err
