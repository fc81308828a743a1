"""Widths against the tables of UnNAS and RLNAS, to the printed digit; limits that nothing meets; spaces other than
DARTS'.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.retraining.settings import WidthSettings
from nni_plugins.evaluators.retraining.widths import Width, width, widths
from nni_plugins.spaces.cells import DARTS, NAO, NASNet
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.nasbench101 import NASBench101
from nni_plugins.spaces.nasbench201 import NASBench201
from nni_plugins.spaces.published import published

MOBILE = WidthSettings(macs=(500e6, 600e6))
SEGMENTATION = WidthSettings(parameters=(9.5e6, 10.5e6))
UNNAS = {
    "darts_v2": ((48, "4.719", "529.9", "4.7"), (82, "9.565", "98.9", "9.6")),
    "darts_unnas_imagenet_cls": ((44, "5.255", "581.1", "5.3"), (78, "10.202", "105.9", "10.2")),
    "darts_unnas_imagenet_rot": ((42, "5.138", "551.5", "5.1"), (78, "10.393", "107.2", "10.4")),
    "darts_unnas_imagenet_col": ((46, "4.935", "539.6", "4.9"), (80, "9.685", "99.6", "9.7")),
    "darts_unnas_imagenet_jig": ((42, None, None, None), (78, None, None, None)),
    "darts_unnas_imagenet22k_cls": ((46, "5.196", "574.6", "5.2"), (80, "10.052", "104.1", "10.1")),
    "darts_unnas_imagenet22k_rot": ((42, None, None, None), (78, None, None, None)),
    "darts_unnas_imagenet22k_col": ((42, None, None, None), (78, None, None, None)),
    "darts_unnas_imagenet22k_jig": ((42, "5.138", "552.2", "5.1"), (78, "10.391", "107.2", "10.4")),
    "darts_unnas_cityscapes_seg": ((44, "5.130", "558.5", "5.1"), (80, "10.292", "106.3", "10.3")),
    "darts_unnas_cityscapes_rot": ((42, "5.068", "546.9", "5.1"), (78, "10.343", "106.8", "10.3")),
    "darts_unnas_cityscapes_col": ((54, None, None, None), (86, None, None, None)),
    "darts_unnas_cityscapes_jig": ((44, None, None, None), (80, None, None, None)),
}
"""UnNAS' widths (facebookresearch/unnas, configs/search_based/eval_phase) on ImageNet and on Cityscapes: parameters (M)
and multiply-adds (M and G), recounted from their code, and the parameters of their tables 1 and 2, where the paper has
that network."""


def imagenet(channels: int = 16) -> DARTS:
    return DARTS(channels=channels, cells=14, classes=1000, stem="imagenet")


@pytest.mark.parametrize("name", UNNAS)
def test_widths_of_unnas(name: str) -> None:
    architecture = published(name).architecture
    (channels, parameters, macs, printed), (wide, *segmentation) = UNNAS[name]
    found = {one.channels: one for one in widths(imagenet(), architecture, MOBILE, 224)}
    assert (
        channels in found
        and all(500e6 <= one.macs <= 600e6 for one in found.values())
        and all(c % 2 == 0 for c in found)
    )
    cityscapes = DARTS(cells=12, classes=19, stem="imagenet", reductions=1, head={"kind": "aspp"})
    seen = {one.channels: one for one in widths(cityscapes, architecture, SEGMENTATION, (1025, 2049))}
    assert wide in seen and all(9.5e6 <= one.parameters <= 10.5e6 for one in seen.values())
    if parameters is not None:
        one, other = found[channels], seen[wide]
        assert (f"{one.parameters / 1e6:.3f}", f"{one.macs / 1e6:.1f}", f"{one.parameters / 1e6:.1f}") == (
            parameters,
            macs,
            printed,
        )
        assert [
            f"{other.parameters / 1e6:.3f}",
            f"{other.macs / 1e9:.1f}",
            f"{other.parameters / 1e6:.1f}",
        ] == segmentation


def test_the_page_shows_these_tables() -> None:
    cityscapes = DARTS(cells=12, classes=19, stem="imagenet", reductions=1, head={"kind": "aspp"})
    page = (Path(__file__).resolve().parents[2] / "docs" / "widths.md").read_text()
    for name, ((channels, *_), (wide, *_)) in UNNAS.items():
        architecture = published(name).architecture
        found, seen = widths(imagenet(), architecture, MOBILE, 224), widths(cityscapes, architecture, SEGMENTATION, 224)
        one, other = (next(x for x in rows if x.channels == c) for rows, c in ((found, channels), (seen, wide)))
        cells = (
            f"`{name}`",
            channels,
            f"{one.parameters / 1e6:.3f}",
            f"{one.macs / 1e6:.1f}",
            ", ".join(str(x.channels) for x in found),
        )
        more = (wide, f"{other.parameters / 1e6:.3f}", ", ".join(str(x.channels) for x in seen))
        assert f"| {' | '.join(map(str, (*cells, *more)))} |" in page


def test_the_range_is_whole() -> None:
    """No even width beside those found meets the limits, and odd ones are found where they are asked for and the stem
    takes them.
    """
    space, architecture = DARTS(cells=5), published("darts_v2").architecture
    limits = WidthSettings(parameters=(40_000, 90_000), multiple=1)
    found = widths(space, architecture, limits, 32)
    for channels in range(1, 40):
        built = DARTS(channels=channels, cells=5)
        costs = built.cost_table(32)(built.encode([architecture]))
        one = Width(channels, int(costs.parameters[0]), int(costs.macs[0]))
        assert (one in found) == (40_000 <= one.parameters <= 90_000)
    assert len(found) > 3 and {one.channels % 2 for one in found} == {0, 1}
    assert [one.channels for one in widths(space, architecture, limits.model_copy(update={"multiple": 4}), 32)] == [
        one.channels for one in found if one.channels % 4 == 0
    ]
    odd = WidthSettings(macs=(500e6, 600e6), multiple=1)
    assert widths(imagenet(), architecture, odd, 224) == widths(imagenet(), architecture, MOBILE, 224), (
        "its stem halves the width"
    )


def test_rlnas_fits_its_cell_into_600_million() -> None:
    """RLNAS, table 3: 629 M at 48 channels, 46 channels for the mobile setting: 581 M, 5.3 M parameters."""
    architecture = published("darts_rlnas_cifar10").architecture
    chosen = width(imagenet(), architecture, MOBILE, 224)
    assert chosen.channels == 46 and f"{chosen.parameters / 1e6:.1f}" == "5.3"
    assert round((chosen.macs + 1000 * (chosen.channels * 16 - 1)) / 1e6) == 581, (
        "RLNAS counts (2 in - 1) out for a linear layer"
    )
    assert width(imagenet(), architecture, WidthSettings(macs=(1, 600e6), choose="smallest"), 224).channels == 2
    assert width(imagenet(), architecture, WidthSettings(macs=(500e6, 600e6), choose="smallest"), 224).channels == 44


def test_both_limits_together() -> None:
    architecture = published("darts_unnas_cityscapes_col").architecture
    both = WidthSettings(macs=(500e6, 600e6), parameters=(4.5e6, 5.0e6))
    assert [one.channels for one in widths(imagenet(), architecture, both, 224)] == [52]


@pytest.mark.parametrize(
    "space", [NASNet(nodes=3), NAO(), NASBench201(), NASBench201(stem="imagenet"), NASBench101()], ids=repr
)
def test_other_spaces_with_channels(space: ImageSpace) -> None:
    import numpy as np

    (architecture,) = space.decode(space.sample(np.random.default_rng(0), 1))
    found = widths(space, architecture, WidthSettings(parameters=(100_000, 300_000)), 64)
    assert found and [one.parameters for one in found] == sorted(one.parameters for one in found)
    built = type(space)(**{**space.config(), "channels": found[-1].channels})
    network = built.network(architecture)
    assert sum(p.numel() for p in network.parameters()) == found[-1].parameters


def test_nothing_fits() -> None:
    architecture = published("darts_v2").architecture
    with pytest.raises(ConfigError) as caught:
        width(imagenet(), architecture, WidthSettings(macs=(530e6, 540e6)), 224)
    assert caught.value.problem == (
        "no width that 2 divides has 530 to 540 M multiply-adds. Nearest: 48 channels: 4.719 M parameters, 529.9 M multiply-adds; "
        "50 channels: 5.079 M parameters, 573.5 M multiply-adds."
    )
    assert widths(imagenet(), architecture, WidthSettings(macs=(530e6, 540e6)), 224) == []
    with pytest.raises(ConfigError, match=r"8 to 9 M parameters\. Nearest: 48 channels: .*; 66 channels"):
        width(imagenet(), architecture, WidthSettings(macs=(500e6, 535e6), parameters=(8e6, 9e6)), 224)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="networks of mobilenetlike have no number of channels to choose"):
        widths(MobileNetLike(), published("mobilenetlike_rlnas").architecture, MOBILE, 224)
    with pytest.raises(SpaceError, match="the architecture is of 'nao', but this space is 'darts'"):
        widths(imagenet(), published("nao_v2").architecture, MOBILE, 224)
    for wrong in ({}, {"macs": (2, 1)}, {"parameters": (0, 1)}, {"macs": (1, 2), "multiple": 0}):
        with pytest.raises(ValidationError):
            WidthSettings(**wrong)  # type: ignore[arg-type]


def test_torch_is_not_needed() -> None:
    import subprocess

    code = "import sys, nni_plugins.evaluators.retraining.widths; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
