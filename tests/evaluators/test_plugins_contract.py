"""The evaluators of this package pass the conformance suite."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.data import ImageData
from nni_plugins.evaluators.errors import MissingBackend
from nni_plugins.evaluators.mmlab.installation import check
from nni_plugins.evaluators.mmlab.recipes import FOLDER as RECIPES
from nni_plugins.evaluators.plugins import evaluator_plugin, read_evaluation
from nni_plugins.evaluators.stand_alone import plugin as stand_alone
from nni_plugins.evaluators.tables.table import Table
from nni_plugins.evaluators.text import plugin as text
from nni_plugins.spaces import NASBench201, SearchSpace
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.testing import EvaluatorContract
from nni_plugins.testing.evaluators import Untouchable

from .transfer_data import camvid, coco

SPACE = NASBench201(nodes=3, channels=2, cells_per_stage=1)
Changes = Mapping[str, Any]


def built(name: str, settings: Changes, space: SearchSpace, data: Any = None) -> EvaluatorPlugin:
    return evaluator_plugin(name)(read_evaluation({"evaluator": name, **settings}, ""), space, data)


class TestStandAlone(EvaluatorContract):
    settings: Changes = {
        "data": {"limit": 64},
        "training": {"epochs": 2, "batch_size": 32, "accelerator": "cpu", "checkpoint_seconds": 0},
    }

    def plugin(self) -> EvaluatorPlugin:
        return built("stand_alone", self.settings, SPACE)

    def refused(self) -> Iterator[Changes]:
        yield {
            **self.settings,
            "evaluator": "stand_alone",
            "data": {"source": "folder", "path": str(self.folder / "x")},
        }
        yield {**self.settings, "evaluator": "stand_alone", "objective": {"name": "rotation", "turns": 3}}
        yield {**self.settings, "evaluator": "stand_alone", "network": {"chanels": 4}}

    def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def only_training(settings: Any) -> ImageData:
            return ImageData(whole(settings).train, cast(Any, Untouchable("the test part")))

        whole = stand_alone.load_images
        monkeypatch.setattr(stand_alone, "load_images", only_training)


class TestTable(EvaluatorContract):
    def write(self, name: str, step: float) -> str:
        file: Path = self.folder / name
        with open(file, "w", newline="") as opened:
            rows = csv.writer(opened)
            rows.writerow(["architecture", "valid", "test", "other"])
            for i, cell in enumerate(SPACE.decode(SPACE.enumerate())):
                rows.writerow([SPACE.to_string(cell), i * step, i * step + 1, i * step + 2])
        return str(file)

    def plugin(self) -> EvaluatorPlugin:
        settings = {"table": self.write("a.csv", 0.5), "metric": "valid", "test_metric": "test"}
        return built("table", settings, SPACE)

    def other_values(self) -> Changes:
        return {"table": self.write("b.csv", 0.25), "metric": "other", "test_metric": "other"}

    def refused(self) -> Iterator[Changes]:
        yield from super().refused()
        given = self.plugin().settings.model_dump()
        yield {**given, "metric": "accuracy"}
        yield {**given, "table": "a.csv"}
        yield {**given, "table": "digits"}

    def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def only_valid(table: Table, architecture: Any, metric: str) -> float:
            assert metric != "test", "the metric test was looked at"
            return value(table, architecture, metric)

        value = Table.value
        monkeypatch.setattr(Table, "value", only_valid)

    def test_the_same_name_with_other_content_is_another_table(self) -> None:
        before = self.plugin().identity()
        path = self.write("a.csv", 0.25)
        after = built("table", {"table": path, "metric": "valid", "test_metric": "test"}, SPACE).identity()
        assert before != after and before["settings"] == after["settings"]


class TestLanguageModel(EvaluatorContract):
    training: Changes = {
        "epochs": 2,
        "batch_size": 4,
        "bptt": 8,
        "learning_rate": 2.0,
        "evaluation_batch": 2,
        "precision": "64-true",
        "accelerator": "cpu",
        "checkpoint_seconds": 0,
    }

    def write(self, name: str, line: str) -> str:
        folder: Path = self.folder / name
        folder.mkdir(exist_ok=True)
        for part, count in (("train", 20), ("valid", 8), ("test", 6), ("train-2", 21), ("valid-2", 9), ("test-2", 7)):
            (folder / f"{part}.text").write_text(line * count)
        return str(folder)

    def plugin(self) -> EvaluatorPlugin:
        files = {f"{part}_file": f"{part}.text" for part in ("train", "valid", "test")}
        given = {"text": {"path": self.write("a", "a b c d e f g\n"), **files}, "training": self.training}
        return built("language_model", given, RecurrentCell(nodes=2, hidden=6))

    def other_values(self) -> Changes:
        other = {f"text.{part}_file": f"{part}-2.text" for part in ("train", "valid", "test")}
        return {**other, "text.path": self.write("b", "a b c d e f f\n"), "measure": "valid"}

    def refused(self) -> Iterator[Changes]:
        yield from super().refused()
        given = self.plugin().settings.model_dump()
        yield {**given, "training": {**given["training"], "batch_size": 200}}
        yield {**given, "network": {"hiden": 4}}
        yield {**given, "text": None}

    def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def without_test(settings: Any) -> Any:
            return replace(whole(settings), test=cast(Any, Untouchable("the test text")))

        whole = text.read_text
        monkeypatch.setattr(text, "read_text", without_test)

    def test_the_same_files_with_other_words_are_another_text(self) -> None:
        before = self.plugin().identity()
        (self.folder / "a" / "test.text").write_text("g f e d c b a\n" * 6)
        after = type(self.plugin())(self.plugin().settings, self.plugin().space).identity()
        assert before == after, "plugin() wrote it anew"
        plugin = self.plugin()
        (self.folder / "a" / "test.text").write_text("g f e d c b a\n" * 6)
        assert plugin.identity() != before


class TestRetrain(EvaluatorContract):
    changes: Changes = {
        "epochs": 2,
        "schedule.warmup_epochs": 0,
        "checkpoint_seconds": 0,
        "network.sizes.nasbench201.channels": 2,
    }

    def plugin(self) -> EvaluatorPlugin:
        data = {"path": "digits", "limit": 96, "test_limit": 60, "validation": 0.25}
        return built("retrain", {"recipe": "digits", "data": data, "changes": self.changes}, SPACE)

    def other_values(self) -> Changes:
        return {"recipe": "nasbench201_cifar10", "changes": {**self.changes, "epochs": 3}}

    def refused(self) -> Iterator[Changes]:
        yield from super().refused()
        given = self.plugin().settings.model_dump()
        yield {**given, "recipe": "didgits"}
        yield {**given, "changes": {"input.size": 100}}

    def test_it_holds_images_out_only_where_it_is_told_to(self) -> None:
        settings = {"recipe": "digits", "data": "digits"}
        assert self.plugin().holds_out and not built("retrain", settings, SPACE).holds_out


def needs_openmmlab() -> None:
    try:
        check()
    except MissingBackend as error:
        pytest.skip(f"needs mmcv, mmengine, mmdet and mmseg: {error.problem}")


def slower(recipe: str, folder: Path) -> str:
    """A file of the recipe with a smaller learning rate."""
    values = yaml.safe_load((RECIPES / f"{recipe}.yml").read_text())
    values["optimizer"]["learning_rate"] /= 2
    (folder / "slower.yml").write_text(yaml.safe_dump(values))
    return str(folder / "slower.yml")


COMMON = {"epochs": 2, "batch_size": 4, "validate_every": 1, "backbone.sizes": {}, "schedule": {"name": "constant"}}
BACKBONES = NASBench201(channels=8, cells_per_stage=1, stem="imagenet")


@pytest.mark.slow
class TestDetection(EvaluatorContract):
    changes: Changes = {
        **COMMON,
        "images.size": [96, 64],
        "detector": {"kind": "retinanet", "channels": 64, "convolutions": 1, "norm": "group"},
    }

    def plugin(self) -> EvaluatorPlugin:
        needs_openmmlab()
        if not (self.folder / "boxes").exists():
            coco(self.folder / "boxes", {"train": 8, "val": 2, "test": 2})
        settings = {"recipe": "retinanet_small", "data": str(self.folder / "boxes"), "changes": self.changes}
        return built("detection", settings, BACKBONES)

    def other_values(self) -> Changes:
        return {"recipe": slower("retinanet_small", self.folder), "changes": {**self.changes, "epochs": 3}}


@pytest.mark.slow
class TestSegmentation(EvaluatorContract):
    changes: Changes = {**COMMON, "images.crop": [48, 48], "segmenter.channels": 8, "drop_last": False}

    def plugin(self) -> EvaluatorPlugin:
        needs_openmmlab()
        if not (self.folder / "labels").exists():
            camvid(self.folder / "labels", {"train": 8, "val": 2})
        settings = {"recipe": "deeplabv3_small", "data": str(self.folder / "labels"), "changes": self.changes}
        return built("segmentation", settings, BACKBONES)

    def other_values(self) -> Changes:
        return {"recipe": slower("deeplabv3_small", self.folder), "changes": {**self.changes, "epochs": 3}}
