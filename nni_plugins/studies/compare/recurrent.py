"""Searches of recurrent cells, by method: a function of seed, text, space and settings to ranked cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.supernets.shared_weights import Cycle
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.settings import LanguageSearchSettings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.strategies.ranking import Ranked

from .measure import Report
from .recurrent_settings import RecurrentENAS, RecurrentNAO, RecurrentRandomNAS


@dataclass(frozen=True)
class RecurrentSearch:
    """``ranked``: best first; ``curve``: one row an epoch."""

    ranked: list[Ranked]
    curve: list[dict[str, float]]


Method = Callable[[int, Corpus, RecurrentCell, Any, int, Path | None, Report | None], RecurrentSearch]
"""(seed, corpus, space, settings, how many are wanted, folder, report); settings are of the class in
``recurrent_settings.METHODS``.
"""


def numbers(history: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The rows of a curve without what is no number."""
    return [{key: float(value) for key, value in row.items() if isinstance(value, int | float)} for row in history]


def _darts(
    seed: int,
    corpus: Corpus,
    space: RecurrentCell,
    settings: LanguageSearchSettings,
    k: int,
    folder: Path | None,
    report: Report | None,
) -> RecurrentSearch:
    from nni_plugins.strategies.differentiable.recurrent import search

    result = search(space, corpus, settings, seed, k, folder=folder, report=report)
    return RecurrentSearch(result.ranked, numbers(result.trained.history))


def _shared(
    seed: int,
    corpus: Corpus,
    space: RecurrentCell,
    settings: SharedTextSettings,
    folder: Path | None,
    report: Report | None,
) -> Any:
    from nni_plugins.evaluators.text.shared import SharedText

    return SharedText(space, corpus, settings, seed=seed, folder=folder, report=report)


def _nao(
    seed: int,
    corpus: Corpus,
    space: RecurrentCell,
    settings: RecurrentNAO,
    k: int,
    folder: Path | None,
    report: Report | None,
) -> RecurrentSearch:
    from nni_plugins.strategies.naov2.search import naov2
    from nni_plugins.strategies.naov2.settings import check_found

    check_found(settings.search, k, "per_search")
    shared = _shared(seed, corpus, space, settings.training, folder, report)
    result = naov2(
        shared, settings.search, epochs=settings.training.epochs, folder=folder, config={"text": corpus.identity()}
    )
    return RecurrentSearch(result.ranked, numbers(result.history))


def _enas(
    seed: int,
    corpus: Corpus,
    space: RecurrentCell,
    settings: RecurrentENAS,
    k: int,
    folder: Path | None,
    report: Report | None,
) -> RecurrentSearch:
    from nni_plugins.strategies.enas.search import enas

    shared = _shared(seed, corpus, space, settings.training, folder, report)
    result = enas(shared, settings.search, epochs=settings.training.epochs, top_k=k)
    return RecurrentSearch(result.ranked, numbers(result.history))


def _random_nas(
    seed: int,
    corpus: Corpus,
    space: RecurrentCell,
    settings: RecurrentRandomNAS,
    k: int,
    folder: Path | None,
    report: Report | None,
) -> RecurrentSearch:
    from nni_plugins.strategies.one_shot_ranking import draw_distinct
    from nni_plugins.strategies.ranking import best

    def draw(epoch: int, steps: int) -> Indices:
        return space.sample(generator(seed, "paths", epoch), steps)

    shared = _shared(seed, corpus, space, settings.training, folder, report)
    history = shared.train(draw, Cycle(epochs=settings.training.epochs))
    indices = draw_distinct(space, settings.search.candidates, generator(seed, "candidates"))
    return RecurrentSearch(best(space, indices, shared.scores(indices), k), numbers(history))


METHODS: dict[str, Method] = {"DARTS": _darts, "NAO": _nao, "ENAS": _enas, "RandomNAS": _random_nas}
