"""``nni-plugins width`` on the networks of published tables, and what it refuses."""

from __future__ import annotations

import pytest

from .small import Cli

CITYSCAPES = ("cells=12", "classes=19", "reductions=1", "head={kind: aspp, channels: 256, rates: [6, 12, 18]}")


def test_mobile_setting(run: Cli) -> None:
    lines = run("width", "darts_v2", "--macs", "500e6", "600e6").out.splitlines()
    assert [line.split() for line in lines] == [
        ["channels", "parameters", "multiply-adds"],
        ["48", "4,718,752", "529,911,552"],
        ["50", "5,079,375", "573,472,800"],
    ]


def test_segmentation_networks(run: Cli) -> None:
    """UnNAS on Cityscapes: 86 channels, the narrowest of those within 9.5 to 10.5 M parameters."""
    arguments = [word for argument in CITYSCAPES for word in ("--space-argument", argument)]
    value = run(
        "width",
        "darts_unnas_cityscapes_col",
        "--parameters",
        "9.5e6",
        "10.5e6",
        *arguments,
        "--image-size",
        1025,
        "--json",
    ).json
    assert [row["channels"] for row in value["widths"]] == [86, 88, 90, 92] and value["image_size"] == 1025
    assert f"{value['widths'][0]['parameters'] / 1e6:.3f}" == "9.517" and "'kind': 'aspp'" in value["space"]


def test_both_limits_and_a_multiple(run: Cli) -> None:
    limits = ("--macs", "500e6", "600e6", "--parameters", "5e6", "6e6")
    assert [
        row["channels"]
        for row in run("width", "darts_rlnas_cifar10", *limits, "--multiple", 1, "--json").json["widths"]
    ] == [46]
    cell = (
        "|nor_conv_3x3~0|+|none~0|none~1|",
        "--space-argument",
        "nodes=3",
        "--parameters",
        "0.5e6",
        "2e6",
        "--image-size",
        32,
        "--multiple",
        8,
    )
    assert [row["channels"] for row in run("width", *cell, "--json").json["widths"]] == [24, 32, 40]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["darts_v2", "--macs", "6e8", "5e8"], "macs must be two numbers above 0, the smaller one first"),
        (["darts_v2", "--macs", "nan", "5e8"], "macs"),
        (
            ["darts_v2", "--macs", "530e6", "540e6"],
            "Nearest: 48 channels: 4.719 M parameters, 529.9 M multiply-adds; 50 channels",
        ),
        (["mobilenetlike_rlnas", "--macs", "1", "2"], "networks of mobilenetlike have no number of channels to choose"),
        (["recurrent_nao", "--macs", "1", "2"], "recurrent"),
        (["darts_v2", "--space-argument", "chanels=3", "--macs", "1", "2"], "did you mean 'channels'"),
    ],
)
def test_wrong_input(run: Cli, words: list[str], message: str) -> None:
    status, _, err = run("width", *words)
    assert status == 2 and message in err and "Traceback" not in err
