"""Tables of results: round trips, everything that is no table, and look-up by NNI's strategies."""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.space import RawFormatModelSpace, SimplifiedModelSpace
from nni.nas.strategy import GridSearch, Random

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.nni_evaluator import PluginEvaluator
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.tables.plugin import TableEvaluation, TablePlugin
from nni_plugins.evaluators.tables.table import (
    NASBENCH201_METRICS,
    Table,
    check_images,
    digits_table,
    nasbench201_table,
    read_table,
)
from nni_plugins.spaces import NASBench101, NASBench201
from nni_plugins.spaces.errors import SpaceError

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELLS = tuple(SPACE.decode(SPACE.enumerate()))
STRINGS = [SPACE.to_string(cell) for cell in CELLS]
REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))


def csv_text(column: str = "architecture") -> str:
    """Metrics ``accuracy`` (row / 3, the last one missing) and ``macs``, and a column of text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([column, "accuracy", "comment", "macs"])
    writer.writerows(
        [text, repr(row / 3) if row < 124 else "", f"cell, {row}", row * 10] for row, text in enumerate(STRINGS)
    )
    return buffer.getvalue()


def write_csv(path: Path) -> Path:
    (path / "t.csv").write_text(csv_text())
    return path / "t.csv"


def write_gz(path: Path) -> Path:
    (path / "t.csv.gz").write_bytes(gzip.compress(csv_text("arch_str").encode()))
    return path / "t.csv.gz"


def write_npz(path: Path, save: Callable[..., None] = np.savez) -> Path:
    values = np.array([row / 3 for row in range(124)] + [math.nan])
    save(
        path / "t.npz",
        architecture=np.array(STRINGS),
        accuracy=values,
        macs=np.arange(125) * 10,
        comment=np.array(["x"] * 125),
    )
    return path / "t.npz"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return read_table(write_csv(tmp_path), SPACE)


@pytest.mark.parametrize("write", [write_csv, write_gz, write_npz, lambda path: write_npz(path, np.savez_compressed)])
def test_round_trip(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    table = read_table(write(tmp_path), SPACE)
    assert table.architectures == CELLS and list(table.metrics) == ["accuracy", "macs"]
    assert table.metric("accuracy")[:124].tolist() == [row / 3 for row in range(124)] and math.isnan(
        table.metric("accuracy")[124]
    )
    assert table.value(CELLS[7], "macs") == 70 and isinstance(table.value(CELLS[7], "macs"), float)
    assert table.values([CELLS[9], CELLS[3]], "accuracy").tolist() == [3.0, 1.0]
    assert table.name.startswith("t.")


# What is not there


def test_missing_values_metrics_and_architectures(table: Table) -> None:
    with pytest.raises(
        TableError, match=r"t.csv has no accuracy for \|avg_pool_3x3~0\|\+\|avg_pool_3x3~0\|avg_pool_3x3~1\|"
    ):
        table.value(CELLS[124], "accuracy")
    with pytest.raises(TableError, match=r"has no metric 'acuracy'; did you mean 'accuracy'\?"):
        table.metric("acuracy")
    part = Table("part", SPACE, CELLS[:3], {"accuracy": np.arange(3.0)})
    with pytest.raises(TableError, match=r"part has no accuracy for .*\nTrain it stand-alone"):
        part.value(CELLS[3], "accuracy")
    with pytest.raises(SpaceError):
        table.value(NASBench201(nodes=4).decode(np.zeros((1, 6), np.int8))[0], "accuracy")


def test_gaps_are_refused_before_anything_is_looked_up(tmp_path: Path, table: Table) -> None:
    table.check_whole("macs")
    with pytest.raises(TableError, match=r"t.csv has no accuracy for \|avg_pool_3x3~0.*\|\.\nUse another metric"):
        table.check_whole("accuracy")
    settings = {"evaluator": "table", "table": str(write_csv(tmp_path))}
    for metrics in ({"metric": "accuracy"}, {"metric": "macs", "test_metric": "accuracy"}):
        plugin = TablePlugin(TablePlugin.settings_class.model_validate({**settings, **metrics}), SPACE)
        with pytest.raises(TableError, match="has no accuracy for"):
            plugin.check_files()
    TablePlugin(TablePlugin.settings_class.model_validate({**settings, "metric": "macs"}), SPACE).check_files()


def refused(path: Path, content: str | bytes, name: str = "t.csv") -> str:
    (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TableError) as caught:
        read_table(path / name, SPACE)
    assert str(path / name) in caught.value.problem
    return caught.value.problem


def test_a_csv_file_that_is_no_table(tmp_path: Path) -> None:
    row = f"{STRINGS[0]},1.0\n"
    assert "no rows" in refused(tmp_path, "") and "no rows" in refused(tmp_path, "architecture,accuracy\n")
    assert "needs a column architecture or arch_str" in refused(tmp_path, f"cell,accuracy\n{row}")
    assert "rows of different lengths" in refused(tmp_path, f"architecture,accuracy\n{row}{STRINGS[1]}\n")
    assert "rows of different lengths" in refused(tmp_path, f"architecture,accuracy\n{row}{STRINGS[1]},2,3\n")
    assert "no numeric column" in refused(tmp_path, f"architecture,comment\n{STRINGS[0]},good\n")
    assert "no numeric column" in refused(tmp_path, f"architecture\n{STRINGS[0]}\n")
    unknown = refused(tmp_path, f"architecture,accuracy\n{row}{STRINGS[1].replace('skip_connect', 'skip_conect')},2\n")
    assert "unknown operation 'skip_conect'; did you mean 'skip_connect'?" in unknown
    assert "2 groups are needed for 3 nodes" in refused(tmp_path, "architecture,accuracy\n|none~0|,1\n")
    for value in ("inf", "-inf", "1e999"):
        assert f"accuracy of {STRINGS[1]} is " in refused(
            tmp_path, f"architecture,accuracy\n{row}{STRINGS[1]},{value}\n"
        )
    refused(tmp_path, b"\xff\xfe\x00architecture")
    refused(tmp_path, "architecture,accuracy\n" + "x" * 200_000 + ",1\n")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"cannot read .*none.csv: No such file or directory.\nCheck the path"):
        read_table(tmp_path / "none.csv", SPACE)
    with pytest.raises(TableError, match=r"cannot read .*: Is a directory"):
        read_table(tmp_path, SPACE)


class Payload:
    """Unpickling it touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_hostile_npz_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    buffer = io.BytesIO()
    np.savez(buffer, architecture=np.array(STRINGS[:1]), accuracy=np.array([Payload(marker)], dtype=object))
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=True) as arrays:
        _ = arrays["accuracy"]
    assert marker.exists(), "the payload works"
    marker.unlink()
    assert "Object arrays cannot be loaded" in refused(tmp_path, buffer.getvalue(), "t.npz")
    refused(tmp_path, pickle.dumps(Payload(marker)), "t.npz")
    assert not marker.exists()


def test_an_npz_file_that_is_no_table(tmp_path: Path) -> None:
    def npz(**arrays: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    single = io.BytesIO()
    np.save(single, np.arange(3))
    refused(tmp_path, single.getvalue(), "t.npz")
    refused(tmp_path, npz(architecture=np.array(STRINGS[0]), accuracy=np.array(1.0)), "t.npz")
    assert "equally long columns" in refused(
        tmp_path, npz(architecture=np.array(STRINGS[:2]), accuracy=np.arange(3)), "t.npz"
    )
    assert "no numeric column" in refused(
        tmp_path, npz(architecture=np.array(STRINGS[:2]), accuracy=np.ones((2, 2))), "t.npz"
    )


@pytest.mark.parametrize("write", [write_gz, write_npz, lambda path: write_npz(path, np.savez_compressed)])
def test_damaged_files_are_refused_or_harmless(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path, rng = write(tmp_path), random.Random(0)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 40):
        refused(tmp_path, whole[:length], path.name)
    found = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(4):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            read_table(path, SPACE)
        except TableError:
            found += 1
    assert found > 100


# Look-up as an evaluator


def lookup(folder: Path, **settings: Any) -> PluginEvaluator:
    return PluginEvaluator("table", {"table": str(write_csv(folder)), **settings}, space=SPACE)


def test_look_up_of_every_form(tmp_path: Path) -> None:
    evaluator, cell = whole_table(tmp_path), CELLS[60]
    frozen = SimplifiedModelSpace.from_model(SPACE.supernet(), evaluator).freeze(cell.as_dict())
    for form in (cell, cell.as_dict(), SPACE.to_string(cell), cell.to_json(), frozen):
        assert evaluator.evaluate(form) == 60.0
    assert lookup(tmp_path, metric="macs").evaluate(cell) == 600
    assert lookup(tmp_path, metric="macs", larger_is_better=False).evaluate(cell) == -600
    with pytest.raises(SpaceError, match="unknown operation 'conv'"):
        evaluator.evaluate("|conv~0|+|none~0|none~1|")
    with pytest.raises(ConfigError, match="a frozen model space is needed, but got NASBench201Supernet"):
        evaluator.evaluate(SPACE.supernet())
    with pytest.raises(ConfigError, match="a frozen model space is needed, but this one was not frozen"):
        evaluator._execute(RawFormatModelSpace.from_model(SPACE.supernet(), evaluator))
    with pytest.raises(ConfigError, match="resnet18 is no architecture of nasbench201, and table takes no other"):
        evaluator.evaluate("resnet18")


def test_a_table_that_does_not_suit_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no accuracy for"):
        lookup(tmp_path)
    with pytest.raises(TableError, match="has no metric 'accurracy'; did you mean 'accuracy'"):
        lookup(tmp_path, metric="accurracy")
    with pytest.raises(ConfigError, match=r"settings\.metrik: no such key; did you mean 'metric'"):
        lookup(tmp_path, metrik="accuracy")
    with pytest.raises(ConfigError, match=r"settings\.evaluator: unknown 'tabel'; did you mean 'table'"):
        PluginEvaluator("tabel", space=SPACE)
    with pytest.raises(ConfigError, match="is of NASBench201"):
        PluginEvaluator("table", space=NASBench201(nodes=4))


def whole_table(folder: Path) -> PluginEvaluator:
    """Every cell has its own number."""
    rows = [f"{text},{row}" for row, text in enumerate(STRINGS)]
    (folder / "whole.csv").write_text("\n".join(["architecture,accuracy", *rows]))
    return PluginEvaluator("table", {"table": str(folder / "whole.csv")}, space={"name": "nasbench201", "nodes": 3})


@pytest.mark.parametrize("form", [RawFormatModelSpace, SimplifiedModelSpace])
def test_inside_nnis_random_strategy(form: Any, tmp_path: Path) -> None:
    engine = SequentialExecutionEngine(max_model_count=8)
    strategy = Random(seed=0)
    strategy(form.from_model(SPACE.supernet(), whole_table(tmp_path)), engine)
    models = list(engine.list_models())
    assert len({tuple(model.sample.items()) for model in models}) == 8
    assert [model.metric for model in models] == [CELLS.index(SPACE.parse(model.sample)) for model in models]
    assert next(iter(strategy.list_models(limit=1))).metric == max(model.metric for model in models)


def test_inside_nnis_grid_search(tmp_path: Path) -> None:
    """In NNI 3.0 all models that ``GridSearch`` draws from a ``RawFormatModelSpace`` share one sample, so the
    simplified format is used.
    """
    engine, strategy = SequentialExecutionEngine(), GridSearch(seed=0)
    strategy(SimplifiedModelSpace.from_model(SPACE.supernet(), whole_table(tmp_path)), engine)
    assert sorted(model.metric for model in engine.list_models()) == list(range(125))
    assert SPACE.parse(next(iter(strategy.list_models(limit=1))).sample) == CELLS[124]


# Real tables


def test_digits_table() -> None:
    table = digits_table()
    assert len(set(table.architectures)) == 125 == table.space.size
    seeds = np.stack([table.metric(f"accuracy_seed{seed}") for seed in range(5)])
    assert np.all((seeds >= 0) & (seeds <= 100)) and np.allclose(table.metric("accuracy"), seeds.mean(0), atol=1e-4)
    costs = table.space.cost_table(image_size=8)(table.space.encode(table.architectures))
    assert np.array_equal(table.metric("parameters"), costs.parameters) and np.array_equal(
        table.metric("macs"), costs.macs
    )
    alive = table.space.path_counts(table.space.encode(table.architectures)).any(axis=1)
    assert table.metric("accuracy")[alive].min() > table.metric("accuracy")[~alive].max(), (
        "a cell without a path cannot learn"
    )


def test_nasbench201_table() -> None:
    folder = REAL_DATA / "nb201"
    if not (folder / "nb201_table.csv.gz").exists():
        pytest.skip(f"no data: {folder / 'nb201_table.csv.gz'} is missing")
    table = nasbench201_table(folder)
    assert len(set(table.architectures)) == 15_625
    best = {name: round(float(np.nanmax(table.metric(column))), 2) for name, column in NASBENCH201_METRICS.items()}
    assert best == {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}, (
        "NAS-Bench-201, ICLR 2020, table 5: optimal"
    )
    assert all(np.nanmin(table.metric(column)) > 0 for column in NASBENCH201_METRICS.values())


def test_nasbench201_table_must_be_whole(tmp_path: Path) -> None:
    cell = NASBench201().to_string(NASBench201().decode(np.zeros((1, 6), np.int8))[0])
    (tmp_path / "nb201_table.csv.gz").write_bytes(gzip.compress(f"arch_str,cifar10_test_200\n{cell},90\n".encode()))
    with pytest.raises(
        TableError, match=r"1 of 15,625 architectures, missing columns \['cifar100_test_200', 'imagenet16_test_200'\]"
    ):
        nasbench201_table(tmp_path)
    with pytest.raises(TableError, match="cannot read"):
        nasbench201_table(tmp_path / "nowhere")


# -- a row for each distinct architecture ------------------------------------------------------------------------------
def test_twins_have_one_row_where_the_table_names_forms(tmp_path: Path) -> None:
    """As NAS-Bench-101 keeps its records: 91 cells of two operations stand for 423 architectures."""
    space = NASBench101(nodes=2)
    every = space.decode(space.enumerate())
    forms = list(dict.fromkeys(map(space.canonical, every)))
    lines = [f"{form},{90 + i / 100},{i}" for i, form in enumerate(forms)]
    (tmp_path / "x.csv").write_text("\n".join(["canonical,val_108,test_108", *lines]))
    settings = {"evaluator": "table", "table": str(tmp_path / "x.csv"), "metric": "val_108", "test_metric": "test_108"}
    evaluator = TablePlugin(read(TableEvaluation, settings), space)
    evaluator.check_files()
    assert (len(forms), len(every)) == (91, 423)
    for architecture in every[::7]:
        measured, place = evaluator.evaluate(architecture, 0, None, None), forms.index(space.canonical(architecture))
        assert (measured.value, measured.validation) == (place, 90 + place / 100)
    (tmp_path / "x.csv").write_text("\n".join(["canonical,val_108,test_108", *lines[1:]]))
    lacking = TablePlugin(read(TableEvaluation, settings), space)
    first = next(one for one in every if space.canonical(one) == forms[0])
    with pytest.raises(TableError, match=r"x\.csv has no test_108 for|x\.csv has no val_108 for"):
        lacking.evaluate(first, 0, None, None)
    (tmp_path / "x.csv").write_text("\n".join(["canonical,val_108,test_108", f"{forms[0]},,1"]))
    with pytest.raises(TableError, match=f"has no val_108 for {forms[0]}"):
        TablePlugin(read(TableEvaluation, settings), space).check_files()
    (tmp_path / "x.csv").write_text("\n".join(["canonical,v", f"{forms[0]},1", f"{forms[0]},2"]))
    with pytest.raises(TableError, match="1 architectures stand in it twice"):
        read_table(tmp_path / "x.csv", space, forms=True)
    with pytest.raises(TableError, match="needs a column architecture or arch_str and"):
        read_table(tmp_path / "x.csv", space)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    rows = ['"91,5"', "91.5%", "NA", " n/a ", "-", "92", "NaN", "null"]
    text = "\ufeffarchitecture,accuracy\n" + "".join(f"{STRINGS[i]},{value}\n" for i, value in enumerate(rows))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    nan = math.nan
    expected = [91.5, 91.5, nan, nan, nan, 92.0, nan, nan]
    assert np.array_equal(read_table(tmp_path / "t.csv", SPACE).metric("accuracy"), expected, equal_nan=True)


@pytest.mark.parametrize("wrong", ["about 90", '"90,123"', "91.5.2"])
def test_a_number_that_is_none_is_named_not_dropped_with_its_column(tmp_path: Path, wrong: str) -> None:
    text = "architecture,accuracy\n" + "".join(f"{STRINGS[i]},{value}\n" for i, value in enumerate(["90", wrong, "92"]))
    assert f"accuracy of {STRINGS[1]} is {wrong.strip(chr(34))!r}" in refused(tmp_path, text)


def test_a_table_names_its_images_and_others_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{text},{row},svhn\n" for row, text in enumerate(STRINGS))
    (tmp_path / "svhn.csv").write_text(f"architecture,accuracy,images\n{rows}")
    named = read_table(tmp_path / "svhn.csv", SPACE)
    assert named.images == "svhn" and list(named.metrics) == ["accuracy"] and digits_table().images == "digits"
    images, other = DataSettings(source="svhn", path="/data"), DataSettings(source="folder", path="/photos")
    for data in (images, None):
        check_images(named, data, "truth.table", False)
    check_images(named, other, "truth.table", True)
    check_images(read_table(write_csv(tmp_path), SPACE), other, "truth.table", False)
    with pytest.raises(
        ConfigError, match=r"truth\.table: svhn\.csv has results on svhn, but the images here are folder /pho"
    ):
        check_images(named, other, "truth.table", False)
    (tmp_path / "two.csv").write_text(f"architecture,accuracy,images\n{STRINGS[0]},1,svhn\n{STRINGS[1]},2,digits\n")
    with pytest.raises(TableError, match="images must be the same in all rows, but is digits, svhn"):
        read_table(tmp_path / "two.csv", SPACE)
