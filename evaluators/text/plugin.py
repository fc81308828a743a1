"""Training of a recurrent language model from scratch, measured on held-out text. Free of torch until it trains."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.registry import build_space, space_settings

from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report, lasting
from ..errors import ConfigError
from .corpus import Corpus, read_corpus, text_files
from .settings import LanguageModelSettings, TextSettings

if TYPE_CHECKING:
    from .training import LanguageResult


class LanguageModelEvaluation(EvaluationSettings):
    """Training of a recurrent language model from scratch. Strategies that ask are answered with the validation
    perplexity.
    """

    text: TextSettings | None = Field(None, description="default: the experiment's")
    training: LanguageModelSettings = LanguageModelSettings.model_validate({})
    measure: Literal["test", "valid"] = Field(
        "test", description="the perplexity that cells are compared on; both are in the report"
    )
    network: dict[str, Any] = Field(
        default={}, description="arguments of the space that differ in the trained networks, such as hidden: 850"
    )


class LanguageModelPlugin(EvaluatorPlugin):
    """``evaluator: language_model``."""

    name = "language_model"
    about = "training of a recurrent language model from scratch"
    settings_class = LanguageModelEvaluation
    paths = ("text.path",)
    settings: LanguageModelEvaluation

    @property
    def text(self) -> TextSettings:
        """What it trains and measures on."""
        return self.settings.text or cast(TextSettings, self.data)

    @property
    def metric(self) -> Metric:
        """The perplexity of the test or the validation text."""
        return Metric(f"{self.settings.measure} perplexity", larger_is_better=False)

    @property
    def holds_out(self) -> bool:
        """The validation text."""
        return True

    @property
    def network_space(self) -> RecurrentCell:
        """The space that builds the networks which are trained: the same decisions, perhaps another size."""
        changes = self.settings.network
        space = build_space({**space_settings(self.space), **changes}) if changes else self.space
        return cast(RecurrentCell, space)

    def identity(self) -> dict[str, Any]:
        """The texts, by their settings and contents, the training and the size of the networks."""
        return {**self.ask_identity(), "measure": self.settings.measure}

    def ask_identity(self) -> dict[str, Any]:
        """The same, whichever text is measured on."""
        settings = self.settings.model_dump(mode="json", include={"evaluator", "training", "network"})
        return {"settings": lasting(settings), "text": self.text.model_dump(mode="json"), "content": self._content}

    @cached_property
    def _content(self) -> dict[str, int]:
        """Checksum of each file."""
        return {part: zlib.crc32(file.read_bytes()) for part, file in text_files(self.text)[1].items()}

    def check(self) -> None:
        """Recurrent cells, in a size that the space has, and a text."""
        if not isinstance(self.space, RecurrentCell):
            raise ConfigError(f"networks of {self.space.name} are no language models; evaluate with another evaluator")
        if not isinstance(self.settings.text or self.data, TextSettings):
            raise ConfigError("text: which? The experiment has none itself")
        try:
            changed = self.network_space
        except NNIPluginsError as error:
            raise ConfigError(f"network: {error.problem}", error.remedy) from None
        if changed.decisions != self.space.decisions:
            raise ConfigError(
                f"network: {', '.join(self.settings.network)} change which cells there are; only sizes may differ"
            )

    def check_files(self) -> None:
        """The three texts are there."""
        text_files(self.text)

    def prepare(self, names: Sequence[str] = ()) -> None:
        """The texts are read, and are long enough for the batches."""
        from .streams import batchify

        corpus, training = read_text(self.text), self.settings.training
        for part, batch in (
            ("train", training.batch_size),
            ("valid", training.evaluation_batch),
            ("test", training.test_batch),
        ):
            batchify(getattr(corpus, part), batch, f"{corpus.name}, {part} text")

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Train, and measure the weights with the smallest validation loss."""
        assert isinstance(network, Architecture)
        corpus = read_text(self.text)
        result = self._train(network, corpus, seed, folder, report)
        space = self.network_space.with_classes(len(corpus.words))
        cost = {"parameters": float(space.cost_table()(space.encode([network])).parameters[0])}
        metrics = {
            "valid_perplexity": result.valid,
            "test_perplexity": result.test,
            "best_epoch": float(result.best_epoch),
        }
        value = metrics[f"{self.settings.measure}_perplexity"]
        return Measured(value, metrics, result.history, cost, validation=result.valid)

    @property
    def ask_cost(self) -> dict[str, float]:
        """The epochs of a training."""
        return {"search_epochs": float(self.settings.training.epochs)}

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """Minus the validation perplexity; the test text takes no part."""
        corpus = read_text(self.text)
        return -self._train(architecture, replace(corpus, test=corpus.valid), seed, folder, None).valid

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: perplexity of the validation text."""
        return {"default": row["valid_perplexity"], **row}

    def _train(
        self, cell: Architecture, corpus: Corpus, seed: int, folder: Path | None, report: Report | None
    ) -> LanguageResult:
        from .stand_alone import StandAloneText

        model = StandAloneText(
            corpus, self.settings.training, space=self.network_space, seed=seed, folder=folder, report=report
        )
        return model.train(cell)


def read_text(settings: TextSettings) -> Corpus:
    """The texts, read once in a process."""
    return _read_text(settings.model_dump_json())


@lru_cache(maxsize=2)
def _read_text(dumped: str) -> Corpus:
    return read_corpus(TextSettings.model_validate_json(dumped))
