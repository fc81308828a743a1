"""Stand-alone training of one recurrent cell: its own weights, and the perplexity of held-out text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell

from ..errors import ConfigError
from ..randomness import torch_fork
from ..settings import read
from ..training.base import Report
from .corpus import Corpus, read_corpus
from .settings import LanguageModelSettings, TextSettings
from .training import LanguageResult, LanguageTraining


class StandAloneText:
    """Train from scratch and measure perplexity.

    Args:
        corpus: texts, or the settings to read them (a dictionary will do).
        settings: the defaults are those of the published comparisons on Penn Treebank.
        space: needed to evaluate an :class:`Architecture`; its ``classes`` are replaced by the size of the vocabulary.
        seed: of initialisation, pieces' lengths and dropout.
        folder: for checkpoints and the curve; None keeps nothing.
        report: called with a dictionary at the end of every epoch.
    """

    def __init__(
        self,
        corpus: Corpus | TextSettings | dict[str, Any],
        settings: LanguageModelSettings | dict[str, Any] | None = None,
        *,
        space: RecurrentCell | None = None,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self._corpus = corpus if isinstance(corpus, Corpus | TextSettings) else read(TextSettings, corpus, "corpus.")
        self.settings = (
            settings
            if isinstance(settings, LanguageModelSettings)
            else read(LanguageModelSettings, settings or {}, "settings.")
        )
        self.space, self.seed, self.folder, self.report = space, seed, folder, report

    @property
    def corpus(self) -> Corpus:
        """The texts, read when they are first needed."""
        if isinstance(self._corpus, TextSettings):
            self._corpus = read_corpus(self._corpus)
        return self._corpus

    def train(self, model: Architecture | nn.Module) -> LanguageResult:
        """Train ``model``; an architecture gets fresh weights from ``seed`` and the settings' dropout, a network keeps
        its own.

        Raises:
            DataError: the texts cannot be read.
            ConfigError: there is no space for an architecture, a network is no language model of these words, or a text
                is too short.
            TrainingError: the loss or a weight is not finite.
        """
        corpus, config = self.corpus, dict[str, Any]()
        if isinstance(model, Architecture):
            if self.space is None:
                raise ConfigError(
                    "StandAloneText needs its space to evaluate an Architecture.", "Pass space=RecurrentCell(...)."
                )
            space = self.space.with_classes(len(corpus.words))
            config = {"architecture": model.as_dict(), "space": [space.name, space.config()]}
            with torch_fork(self.seed, "initialisation"):
                model = space.network(model, **self.settings.dropouts)
        return LanguageTraining(
            model, corpus, self.settings, self.seed, folder=self.folder, config=config, report=self.report
        ).run()
