"""Published architectures: every printed number, the files, and the table of docs/architectures.md.

``python -m tests.spaces.test_published`` writes that table anew.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.spaces import ImageSpace, SpaceError, registry
from nni_plugins.spaces.cells import DARTS, NAO, NASNet
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.mobilenet.space import RLNAS_MOBILENET
from nni_plugins.spaces.published import Published, names, published
from nni_plugins.spaces.published.record import read
from nni_plugins.spaces.recurrent import RecurrentCell

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/architectures.md"
ALL = names()
COUNTS = [(name, i) for name in ALL for i in range(len(published(name).counts))]
UNNAS = [name for name in ALL if name == "darts_v2" or "_unnas_" in name]


# The golden table


def agrees(printed: str, value: int) -> bool:
    """Whether ``value`` is ``printed`` to the last printed digit: 4.7M is everything that rounds to 4.7."""
    digits = Decimal(printed[:-1])
    unit = Decimal({"M": 10**6, "G": 10**9}[printed[-1]])
    return abs(Decimal(value) / unit - digits) <= Decimal(5).scaleb(int(digits.as_tuple().exponent) - 1)


def test_what_agrees_means() -> None:
    assert (
        agrees("4.7M", 4_718_752)
        and agrees("4.719M", 4_718_752)
        and not agrees("4.718M", 4_718_752)
        and not agrees("4.6M", 4_718_752)
    )
    assert agrees("98.9G", 98_949_999_999) and not agrees("98.9G", 98_951_000_000) and agrees("473M", 473_247_456)


@cache
def parameters_of(name: str, changes: str) -> tuple[int, int]:
    """(parameters, (in - 1) out of the classifier) of the built network. It has shapes only, no memory."""
    entry = published(name)
    space = entry.space_with(**json.loads(changes))
    with torch.device("meta"):
        network = space.network(space.check(entry.architecture))
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    return sum(p.numel() for p in network.parameters()), sum((m.in_features - 1) * m.out_features for m in linear)


@pytest.mark.parametrize(("name", "i"), COUNTS)
def test_every_printed_number(name: str, i: int) -> None:
    entry = published(name)
    count = entry.counts[i]
    space = entry.space_with(**count.space)
    costs = space.cost_table(count.image_size or 32)(space.encode([entry.architecture]))
    built, more = parameters_of(name, json.dumps(dict(count.space)))
    assert int(costs.parameters[0]) == built and agrees(count.parameters, built), built
    if count.macs is not None:
        macs = int(costs.macs[0]) + (more if count.linear == "(2 in - 1) out" else 0)
        assert agrees(count.macs, macs), macs


def test_the_table_has_what_it_should() -> None:
    assert Counter(published(name).space_name for name in ALL) == {
        "darts": 22, "mobilenetlike": 1, "nao": 2, "nasbench201": 1, "nasnet": 4, "recurrent": 3,
    }  # fmt: skip
    assert all(published(name).counts for name in ALL) and len(UNNAS) == 13
    for name in UNNAS:
        sizes = {count.image_size for count in published(name).counts}
        assert {224, (1025, 2049)} <= sizes, name  # ImageNet and Cityscapes, 26 networks in all


def test_flops_that_unnas_prints_are_a_little_above_the_multiply_adds() -> None:
    compared = 0
    for name in UNNAS:
        entry = published(name)
        printed = [r.value for r in entry.results if r.source == "UnNAS, table 1" and r.metric == "FLOPs as printed"]
        macs = [count.macs for count in entry.counts if count.image_size == 224 and count.macs]
        for value in printed:
            ratio = float(value.removesuffix("M")) / float(macs[0].removesuffix("M"))
            assert 1 < ratio < 1.035, name
            compared += 1
    assert compared == 8


def test_what_unnas_reports() -> None:
    """The order of the paper's rows; accuracies of ImageNet and Cityscapes, tables 1 and 2."""
    rows = [
        "darts_v2",
        *(
            f"darts_unnas_{data}_{task}"
            for data in ("imagenet", "imagenet22k")
            for task in ("cls", "rot", "col", "jig")
        ),
    ]
    rows += [f"darts_unnas_cityscapes_{task}" for task in ("seg", "rot", "col", "jig")]
    found = {}
    for on in ("ImageNet", "Cityscapes"):
        reported = [
            [r.value for r in published(row).results if r.on == on and r.source.startswith("UnNAS")] for row in rows
        ]
        assert all(len(values) == 1 for values in reported)
        found[on] = [values[0].split()[0] for values in reported]
    assert found["ImageNet"] == [
        "74.9",
        "76.3",
        "75.8",
        "75.7",
        "75.9",
        "75.9",
        "75.7",
        "75.9",
        "75.9",
        "75.8",
        "75.9",
        "75.2",
        "75.5",
    ]
    assert found["Cityscapes"] == [
        "72.6",
        "73.6",
        "73.6",
        "72.2",
        "73.1",
        "72.4",
        "72.9",
        "73.6",
        "73.1",
        "72.4",
        "73.0",
        "72.5",
        "74.1",
    ]


# The architectures


@pytest.mark.parametrize("name", ALL)
def test_round_trip(name: str) -> None:
    entry = published(name)
    space, architecture = entry.space, entry.architecture
    assert (
        entry.name == name
        and name.startswith(entry.space_name)
        and architecture.space == space.name == entry.space_name
    )
    assert space.parse(space.to_string(architecture)) == space.parse(architecture.to_json()) == architecture
    assert space.path_counts(space.encode([architecture])).any() and space.graph(architecture)
    assert type(space)(**space.config()) == space


@pytest.mark.parametrize(
    ("name", "integers"),
    [
        ("darts_rlnas_cifar10", "5 4 6 0 5 4 0 0 7 0 7 6 0 0 | 5 6 4 0 5 0 6 0 4 0 1 5 0 0"),
        ("darts_rlnas_imagenet_600m", "4 4 0 3 4 0 4 4 0 3 0 0 0 4 | 4 1 4 3 0 4 6 0 0 3 4 0 0 0"),
        ("darts_rlnas_imagenet", "4 4 0 4 4 4 5 0 0 4 4 0 0 0 | 4 4 5 0 4 5 0 5 0 0 0 4 0 4"),
    ],
)
def test_rlnas_integers(name: str, integers: str) -> None:
    """RLNAS published its cells as genotypes and as these integers."""
    assert published(name).space.parse(integers) == published(name).architecture


def test_other_published_forms() -> None:
    assert published("mobilenetlike_rlnas").architecture == MobileNetLike().parse(RLNAS_MOBILENET)
    cell = RecurrentCell(nodes=11)
    assert published("recurrent_nao").architecture == cell.from_integers(
        "0 1 0 1 1 1 3 0 4 1 4 1 5 1 1 1 7 1 1 1 1 2", "nao"
    )
    assert published("recurrent_nao_ws").architecture == cell.from_integers(
        "0 1 1 1 2 2 1 2 4 1 4 1 4 1 7 1 8 2 1 0 4 1", "nao-ws"
    )


@pytest.mark.parametrize("name", names("nasnet"))
def test_cells_of_nasnet_in_darts_network(name: str) -> None:
    entry = published(name)
    assert isinstance(entry.space, NASNet)
    genotype = entry.space.genotype(entry.architecture)
    macro = DARTS(channels=36, cells=20)
    assert macro.genotype_costs(genotype, 32)[0] == parameters_of(name, "{}")[0]
    with torch.no_grad():
        assert DARTS(channels=4, cells=5).genotype_network(genotype).eval()(torch.zeros(1, 3, 16, 16)).shape == (1, 10)


def tiny(entry: Published) -> ImageSpace:
    """The space with narrow, shallow networks."""
    small: dict[str, dict[str, Any]] = {
        "mobilenetlike": {
            "stem_channels": 4, "first_channels": 4, "last_channels": 8,
            "stages": [[4, 4, 2], [4, 4, 2], [8, 4, 2], [8, 4, 1], [8, 4, 2], [8, 1, 1]],
        },
        "nasbench201": {"channels": 4, "cells_per_stage": 1},
    }  # fmt: skip
    config = {**entry.space.config(), **small.get(entry.space_name, {"channels": 4, "cells": 5}), "classes": 7}
    space = registry.named_space(entry.space_name, config)
    assert isinstance(space, ImageSpace)
    return space


@pytest.mark.parametrize("name", [name for name in ALL if published(name).space_name != "recurrent"])
def test_forward(name: str) -> None:
    entry = published(name)
    space = tiny(entry)
    with torch.no_grad():
        output = space.network(space.check(entry.architecture)).eval()(torch.rand(2, 3, 64, 64))
    assert output.shape == (2, 7) and bool(output.isfinite().all())


@pytest.mark.parametrize("name", names("recurrent"))
def test_language_models(name: str) -> None:
    entry = published(name)
    space = entry.space_with(hidden=8, classes=12)
    with torch.no_grad():
        assert space.network(space.check(entry.architecture)).eval()(torch.zeros(3, 2, dtype=torch.int64)).shape == (
            3,
            2,
            12,
        )


def test_network() -> None:
    network = published("nasbench201_rf_darts").network()
    assert isinstance(network, nn.Module) and sum(p.numel() for p in network.parameters()) == 1_288_506


# Names


def test_names() -> None:
    assert names("nao") == ["nao_v2", "nao_ws"] and names("robustdarts") == [] and sorted(ALL) == ALL
    assert isinstance(published("nao_v2").space, NAO)
    first = published("darts_v2")
    assert (
        first == published("darts_v2") and hash(first) == hash(published("darts_v2")) and first != published("darts_v1")
    )
    assert first.image_size == 224 and first.input == "224x224" and published("recurrent_nao").input == "one token"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: published("darts_v3"), "unknown published architecture 'darts_v3'; did you mean 'darts_v2'"),
        (lambda: published("x" * 100_000_000), "unknown published architecture 'xxx"),
        (lambda: published("../registry"), "unknown published architecture"),
        (lambda: names("dart"), "unknown space 'dart'; did you mean 'darts'"),
        (
            lambda: published("darts_v2").space_with(chanels=4),
            "chanels: no such argument of the space; did you mean 'channels'",
        ),
        (lambda: published("darts_v2").space_with(channels=0), "channels >= 1"),
        (lambda: registry.named_space("dart"), "unknown space 'dart'"),
    ],
)
def test_what_is_not_there(call: Any, message: str) -> None:
    with pytest.raises(NNIPluginsError, match=re.escape(message)):
        call()


def test_spaces_are_called_as_they_are_registered() -> None:
    assert {"darts", "nasbench201", "recurrent"} <= set(registry.found("spaces"))
    complete = [name for name in registry.found("spaces") if registry.complete(name)]
    assert set(registry.found("spaces")) - set(complete) == {"nni"}
    assert all(registry.named_space(name).name == name for name in complete)
    wide = registry.changed_space(registry.named_space("nao"), {"channels": 8})
    assert wide == NAO(channels=8) and registry.changed_space(wide, {}) is wide


def test_files_are_part_of_the_package() -> None:
    assert '"published/*.json"' in (ROOT / "pyproject.toml").read_text()


def test_torch_is_not_imported() -> None:
    code = "from nni_plugins.spaces.published import names, published\nfor n in names(): published(n).architecture\nimport sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "False", result.stderr


# Files that do not hold together

VALID: dict[str, Any] = {
    "schema": 1,
    "name": "mine",
    "title": "mine",
    "space": {"name": "nao"},
    "architecture": "0 0 " * 20,
    "source": {"paper": "none", "year": 2020, "where": "here"},
    "counts": [{"space": {}, "image_size": 32, "parameters": "1M", "source": "here"}],
}
COUNT: dict[str, Any] = VALID["counts"][0]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(VALID))
    entry = read(path)
    assert (
        isinstance(entry.space, NAO)
        and entry.architecture.space == "nao"
        and entry.results == ()
        and entry.counts[0].macs is None
    )
    path.write_text(json.dumps({**VALID, "counts": []}))
    assert read(path).input == "32x32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "mine.json: schema 2; this version reads 1 to 1.\nUpgrade nni-plugins."),
        ({"schema": True}, "mine.json: schema True"),
        ({"schema": None}, "mine.json: schema None"),
        ({"note": ""}, "mine.json: missing keys: none; unknown keys: ['note']"),
        ({"name": "yours"}, "mine.json: name: must be 'mine'"),
        ({"title": 3}, "mine.json: title: must be text, but got 3"),
        ({"space": "nao"}, "mine.json: space: must be an object"),
        ({"space": {}}, "mine.json: space: must be an object"),
        ({"space": {"name": "noa"}}, "mine.json: space: unknown space 'noa'; did you mean 'nao'"),
        ({"architecture": ["0"]}, "mine.json: architecture: must be text"),
        ({"source": []}, "mine.json: source: must be an object"),
        ({"source": {"paper": "none", "year": 2020}}, "mine.json: source: missing keys: where"),
        (
            {"source": {"paper": "none", "year": "2020", "where": ""}},
            "mine.json: source.year: must be a whole number, but got '2020'",
        ),
        ({"counts": {}}, "mine.json: counts: must be a list"),
        (
            {"counts": [COUNT, {**COUNT, "space": {"name": "nao"}}]},
            "mine.json: counts[1].space: must be an object of the arguments that differ",
        ),
        (
            {"counts": [{**COUNT, "image_size": [32]}]},
            "mine.json: counts[0].image_size: must be a side, [height, width] or null, but got [32]",
        ),
        ({"counts": [{**COUNT, "image_size": 0}]}, "mine.json: counts[0].image_size"),
        (
            {"counts": [{**COUNT, "parameters": 4.7}]},
            "mine.json: counts[0].parameters: must be printed like '4.7M' or '98.9G', but got 4.7",
        ),
        ({"counts": [{**COUNT, "macs": None}]}, "mine.json: counts[0].macs: must be printed"),
        (
            {"counts": [{**COUNT, "linear": "twice"}]},
            "mine.json: counts[0].linear: must be one of 'in out', '(2 in - 1) out'",
        ),
        (
            {"results": [{"on": "x", "metric": "y", "value": 3, "source": "z"}]},
            "mine.json: results[0].value: must be text, but got 3",
        ),
        ({"notes": "x" * 1_000_000}, "bytes; at most 1,000,000 are read"),
    ],
)
def test_a_file_that_does_not_hold_together(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**VALID, **changes}))
    with pytest.raises(SpaceError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"[1]", b"nan"])
def test_a_file_that_is_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=r"^mine\.json"):
        read(path)


def test_an_architecture_of_another_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**VALID, "architecture": "0 9 " * 20}))
    with pytest.raises(SpaceError, match="normal_2_op_0"):
        _ = read(path).architecture


# The document


def table() -> str:
    """The table of docs/architectures.md."""
    lines = ["| name | space | what | input | parameters | multiply-adds | source |", "|---|---|---|---|---|---|---|"]
    for entry in map(published, ALL):
        costs = entry.space.cost_table(entry.image_size)(entry.space.encode([entry.architecture]))
        size = f"{int(costs.parameters[0]) / 1e6:.2f} M | {int(costs.macs[0]) / 1e6:.1f} M"
        lines.append(
            f"| `{entry.name}` | {entry.space_name} | {entry.title} | {entry.input} | {size} | {entry.source.paper} {entry.source.year} |"
        )
    return "\n".join(lines)


def test_the_document_has_the_table_of_the_data() -> None:
    assert table() in DOCUMENT.read_text(), "write it anew: python -m tests.spaces.test_published"


def test_the_document_mentions_every_sheet() -> None:
    pictures = sorted(path.name for path in (ROOT / "docs/images").glob("architectures*.png"))
    text = DOCUMENT.read_text()
    assert pictures and all(f"(images/{name})" in text for name in pictures)
    assert all((ROOT / "docs/images" / name).stat().st_size < 3_000_000 for name in pictures)


def test_the_file_in_the_document(tmp_path: Path) -> None:
    path = tmp_path / "my_cell.json"
    path.write_text(DOCUMENT.read_text().split("```json\n")[1].split("```")[0])
    entry = read(path)
    costs = entry.space.cost_table(32)(entry.space.encode([entry.architecture]))
    assert agrees(entry.counts[0].parameters, int(costs.parameters[0]))


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(re.sub(r"\| name \| space \| what .*?(?=\n\n)", lambda _: table(), text, flags=re.S))
