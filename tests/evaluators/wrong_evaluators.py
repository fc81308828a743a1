"""Evaluators each of which breaks one promise; without torch, as descriptions are."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from nni_plugins.evaluators.base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.spaces.architecture import Architecture


class Secret:
    """What values are measured on."""

    seen: ClassVar[bool] = True

    @classmethod
    def bonus(cls) -> float:
        assert cls.seen, "the secret was looked at"
        return 1.0


class CountingSettings(EvaluationSettings):
    """Adds up the places of the choices."""

    factor: float = 2.0
    place: str = Field("", description="a file that must be there, if one is named")
    shown_as: str = "points"


class Counting(EvaluatorPlugin):
    """The honest one: a training of two epochs that counts."""

    name = "counting"
    about = "counting"
    settings_class = CountingSettings
    paths = ("place",)
    harmless = frozenset({"shown_as"})
    settings: CountingSettings

    @property
    def metric(self) -> Metric:
        return Metric("count")

    def check(self) -> None:
        if self.settings.place and not Path(self.settings.place).exists():
            raise ConfigError(f"place: there is no file {self.settings.place}")

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        assert isinstance(network, Architecture)
        places = self.space.encode([network])[0].tolist()
        done = self._resumed(folder, [places, seed])
        for epoch in range(len(done) + 1, 3):
            done.append({"epoch": epoch, "loss": self._loss(places, seed, epoch)})
            if folder is not None:
                write_json(folder / "run.json", {"of": [places, seed], "done": done})
            if report is not None:
                report(done[-1])
        return Measured(self._value(done), {}, done, {"parameters": 1.0})

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        return float(self.space.encode([architecture]).sum()) * self.settings.factor + seed

    def _loss(self, places: list[int], seed: int, epoch: int) -> float:
        return self.settings.factor * sum(places) / epoch + seed

    def _value(self, done: list[dict[str, float]]) -> float:
        return done[-1]["loss"] + Secret.bonus()

    def _resumed(self, folder: Path | None, of: Any) -> list[dict[str, float]]:
        if folder is None or not (folder / "run.json").exists():
            return []
        content = json.loads((folder / "run.json").read_text())
        if content["of"] != of:
            raise ConfigChanged(f"{folder} holds another run.")
        return list(content["done"])


class GivesNoNumber(Counting):
    def _value(self, done: list[dict[str, float]]) -> float:
        return float("nan")


class ForgetsAKey(Counting):
    def identity(self) -> dict[str, Any]:
        return {"place": self.settings.place}


class MindsTheHarmless(Counting):
    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "shown_as": self.settings.shown_as}


class HasNoJSON(Counting):
    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "place": Path(self.settings.place)}


class DrawsFromTheGlobalGenerator(Counting):
    def _loss(self, places: list[int], seed: int, epoch: int) -> float:
        return random.random()


class StartsAgain(Counting):
    """From the epoch that it was killed in, but with its number of starts in the loss."""

    def _loss(self, places: list[int], seed: int, epoch: int) -> float:
        self.starts = getattr(self, "starts", 0) + 1
        return super()._loss(places, seed, epoch) + self.starts


class TakesAnyFolder(Counting):
    def _resumed(self, folder: Path | None, of: Any) -> list[dict[str, float]]:
        return []


class CountsFromZero(Counting):
    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        return super().evaluate(
            network, seed, folder, None if report is None else lambda row: report({**row, "epoch": row["epoch"] - 1})
        )


class ReportsNothing(Counting):
    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        measured = super().evaluate(network, seed, folder, None)
        return Measured(measured.value, {}, [], measured.cost)


class Peeks(Counting):
    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        return super().ask(architecture, seed, folder) + Secret.bonus()


class TakesAnything(Counting):
    def check(self) -> None:
        pass


class HasNoMetric(Counting):
    @property
    def metric(self) -> Metric:
        return Metric("")


class KeepsWhatItWasGiven(Counting):
    """Settings that do not come back from JSON."""

    class Settings(CountingSettings):
        factor: Any = complex(1, 2)

    settings_class = Settings


class ImportsTorch(Counting):
    def check(self) -> None:
        import torch

        assert torch.get_num_threads() > 0
