"""DARTS on recurrent cells: one training of the mixed cell, then the most probable cells (Liu et al., "DARTS", ICLR
2019, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.text.bilevel import TextBilevel, TextBilevelTraining
from nni_plugins.evaluators.text.corpus import Corpus, read_corpus
from nni_plugins.evaluators.text.settings import LanguageSearchSettings, TextSettings
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.codec import OPERATIONS
from nni_plugins.spaces.recurrent.mixed import MixedRecurrent, edge, ranked

from ..differentiable.settings import DifferentiableSettings
from ..limits import Limits
from ..ranking import Ranked

MOST_RANKED = 100_000
"""Where so many most probable cells have too few within the limits, no more are looked at."""


@dataclass(frozen=True)
class RecurrentMixture:
    """``probabilities``: (edges, 5) of none and the four activations; see :mod:`nni_plugins.spaces.recurrent.mixed`."""

    probabilities: list[list[float]]

    def score(self, space: RecurrentCell, indices: Indices) -> npt.NDArray[np.float64]:
        """Log-probability of ``indices: (n, D)``: (n,), the sum over nodes of that of the activation on the edge that
        each takes.
        """
        with np.errstate(divide="ignore"):
            logs = np.log(np.asarray(self.probabilities, dtype=np.float64))
        cells = [space.cell(architecture) for architecture in space.decode(indices)]
        sums = [
            sum(logs[edge(source, j), 1 + OPERATIONS.index(name)] for j, (name, source) in enumerate(cell, start=1))
            for cell in cells
        ]
        scores: npt.NDArray[np.float64] = np.array(sums, dtype=np.float64)
        return scores

    def best(self, space: RecurrentCell, k: int, limits: Limits = Limits()) -> list[Ranked]:  # noqa: B008 - frozen
        """The most probable cells within ``limits``, the first of which is without limits the derived one, symmetric
        twins left out; fewer than ``k`` if there are no more among the :data:`MOST_RANKED` most probable.
        """
        wanted = 4 * k
        while True:
            indices, scores = ranked(space, self.probabilities, wanted)
            within = limits.mask(space, indices)
            chosen: dict[str, Ranked] = {}
            for architecture, score in zip(space.decode(indices[within]), scores[within].tolist(), strict=True):
                if len(chosen) < k:
                    chosen.setdefault(space.canonical(architecture), Ranked(architecture, score))
            if len(chosen) == k or len(indices) < wanted or wanted > MOST_RANKED:
                return list(chosen.values())
            wanted *= 8


@dataclass(frozen=True)
class RecurrentResult:
    """``ranked``: what DARTS derives, then the next best; scores are log-probabilities. ``mixture`` scores others."""

    ranked: list[Ranked]
    mixture: RecurrentMixture
    trained: TextBilevel

    @property
    def genotypes(self) -> list[str]:
        """What would have been derived after each epoch, in DARTS' text."""
        return self.trained.genotypes


def initialise(space: RecurrentCell, training: LanguageSearchSettings, seed: int) -> MixedRecurrent:
    """The mixed cell of ``space`` with initial weights and architecture parameters drawn from ``seed``."""
    with torch_fork(seed, "initialisation"):
        return MixedRecurrent(space, training.batch_norm, **training.dropouts)


def train(
    model: MixedRecurrent,
    corpus: Corpus,
    training: LanguageSearchSettings,
    seed: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
) -> TextBilevel:
    """Train a mixed cell; see :class:`nni_plugins.evaluators.text.bilevel.TextBilevelTraining`."""
    config: dict[str, Any] = {"space": [model.search_space.name, model.search_space.config()]}
    return TextBilevelTraining(model, corpus, training, seed, folder=folder, config=config, report=report).run()


def search(
    space: RecurrentCell,
    corpus: Corpus,
    training: LanguageSearchSettings,
    seed: int,
    top_k: int,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> RecurrentResult:
    """One search; ``space`` may have any number of classes, the corpus says how many words there are. What it finds
    meets ``limits``.

    Raises:
        ConfigError: a text is too short for the batch size.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.text.bilevel.TextBilevelTraining`.
    """
    if top_k < 1:
        raise ConfigError(f"top_k >= 1 must hold, but got top_k={top_k}.")
    model = initialise(space.with_classes(len(corpus.words)), training, seed)
    trained = train(model, corpus, training, seed, folder=folder, report=report)
    mixture = RecurrentMixture(model.numbers())
    return RecurrentResult(mixture.best(model.search_space, top_k, limits), mixture, trained)


class RecurrentDifferentiable(Evaluator):
    """Configuration of a differentiable search of recurrent cells: texts in, trained mixed cell out.

    Args:
        corpus: texts, or the settings to read them (a dictionary will do). Training text trains the weights, validation
            text the architecture parameters.
        settings: None: DARTS' on Penn Treebank.
        seed: of initialisation, pieces' lengths and dropout.
        folder: for checkpoints and the curve; None keeps nothing.
        report: called with a dictionary at the end of every epoch.
    """

    def __init__(
        self,
        corpus: Corpus | TextSettings | dict[str, Any],
        settings: LanguageSearchSettings | dict[str, Any] | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        text = corpus if isinstance(corpus, Corpus | TextSettings) else read(TextSettings, corpus, "corpus.")
        self.corpus = text if isinstance(text, Corpus) else read_corpus(text)
        self.settings = (
            settings
            if isinstance(settings, LanguageSearchSettings)
            else read(LanguageSearchSettings, settings or {}, "settings.")
        )
        self.seed, self.folder, self.report = seed, folder, report

    def evaluate(self, model: Any) -> TextBilevel:
        """Train ``model``, a :class:`nni_plugins.spaces.recurrent.mixed.MixedRecurrent`."""
        if not isinstance(model, MixedRecurrent):
            raise ConfigError(
                f"{type(model).__name__} is not a mixed recurrent cell.",
                "Pass nni_plugins.spaces.recurrent.mixed.MixedRecurrent(space).",
            )
        return train(model, self.corpus, self.settings, self.seed, folder=self.folder, report=self.report)


def recurrent_training(
    strategy: str,
    works: bool,
    settings: DifferentiableSettings,
    changes: Mapping[str, Any],
    evaluator: Evaluator | None,
) -> RecurrentDifferentiable:
    """What ``strategy`` trains recurrent cells with: ``evaluator``, with the strategy's ``changes`` to its settings.

    Raises:
        ConfigError: ``strategy`` has no recurrent form, is given settings of images' supernets, or another kind of
            evaluator.
    """
    if not works:
        raise ConfigError(
            f"{strategy} has no form for recurrent cells, which have neither channels to leave out nor convolutions to freeze.",
            "Use DARTS(), or DARTS(order=2), with RecurrentDifferentiable(corpus).",
        )
    if settings != DifferentiableSettings():
        raise ConfigError(
            f"{strategy}: DifferentiableSettings are those of image supernets and mean nothing for recurrent cells.",
            "Set dropout, batch_norm and the rest in LanguageSearchSettings of RecurrentDifferentiable.",
        )
    if not isinstance(evaluator, RecurrentDifferentiable):
        raise ConfigError(
            f"{strategy} trains recurrent cells with RecurrentDifferentiable, but got {type(evaluator).__name__}.",
            "Pass nni_plugins.strategies.recurrent.darts.RecurrentDifferentiable(corpus).",
        )
    values = read(LanguageSearchSettings, {**evaluator.settings.model_dump(), **changes})
    return RecurrentDifferentiable(
        evaluator.corpus, values, seed=evaluator.seed, folder=evaluator.folder, report=evaluator.report
    )
