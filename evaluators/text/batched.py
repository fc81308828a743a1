"""Stand-alone training of many recurrent cells in one process: the numbers of :class:`LanguageTraining`, for a chunk of
cells at a time.

The cells of a seed begin with the same weights, read the same pieces of text and have the same masks of dropout, as
they do when they are trained one by one; seeds differ in all three and are trained one after the other. Letters: A
cells, S seeds, P weights of a cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.network import Dropouts

from ..errors import ConfigError, TrainingError
from ..randomness import torch_fork
from ..settings import read
from ..training.base import Report
from ..training.checkpoint import State
from .batched_model import BatchedCells, draw_masks
from .corpus import Corpus, Tokens
from .loop import DTYPES, MOST_NATS, TextTraining
from .settings import LanguageModelSettings
from .streams import Piece, batchify, even_pieces, read_piece
from .training import check_held_out, non_monotone

MEMORY = 2**30
"""Bytes that a chunk may take where its size is not given: about 1 GB."""

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CellsResult:
    """Of A architectures and S seeds, in the order in which they were given.

    ``valid``, ``test``: (A, S) perplexities of the weights with the smallest validation loss. ``best_epoch``: (A, S),
    theirs, from 1. ``averaged_from``: (A, S), the first epoch of averaged SGD, 0 where it never came to that.
    ``losses``, ``curves``: (A, S, epochs), nats a word of the training text (in training mode, as it went by) and of
    the validation text (as measured after the epoch).
    """

    architectures: tuple[Architecture, ...]
    seeds: tuple[int, ...]
    valid: Floats
    test: Floats
    best_epoch: Whole
    averaged_from: Whole
    losses: Floats
    curves: Floats


class BatchedTraining(TextTraining):
    """One chunk with one seed; arguments as of :class:`TextTraining`. ``model`` ends with the weights of the last step,
    ``best_weights`` holds the best.
    """

    settings: LanguageModelSettings
    model: BatchedCells

    def __init__(
        self,
        model: BatchedCells,
        corpus: Corpus,
        settings: LanguageModelSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(model, corpus, settings, seed, folder=folder, config=config, report=report)
        self.rates = Dropouts.of(settings.dropouts)
        self.meter_count = len(model.weights) + 1  # sums of the cells' losses, words
        check_held_out(corpus, settings)

    def results(self) -> dict[str, Any]:
        """Arrays by the names of :class:`CellsResult`, without S, of a training that :meth:`run` has ended."""
        averaged = np.array([line["averaged"] for line in self.lines], dtype=bool)
        return {
            "valid": np.exp(np.array(self.best_nats)),
            "test": np.exp(self.test_nats),
            "best_epoch": np.array(self.best_epoch),
            "averaged_from": np.where(averaged.any(0), averaged.argmax(0) + 1, 0),
            "losses": np.array([line["loss"] for line in self.lines]).T,
            "curves": np.array([line["valid_loss"] for line in self.lines]).T,
        }

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        super()._setup()
        self.cell_weights = self.model.weights.detach()
        self.views, self.nodes = self.model.views(self.cell_weights), self.model.tables(self.cell_weights)
        self.gradients = torch.empty_like(self.cell_weights)
        self.gradient_views = self.model.views(self.gradients)
        count = len(self.cell_weights)
        self.lines: list[dict[str, Any]] = []
        self.best_weights = self.cell_weights.cpu().clone()
        self.best_nats, self.best_epoch = [math.inf] * count, [0] * count
        self.averaging, self.steps_averaged = [False] * count, [0] * count
        self.means: torch.Tensor | None = None

    def _extra_state(self) -> State:
        mine = {name: getattr(self, name) for name in ("best_nats", "best_epoch", "averaging", "steps_averaged")}
        means = None if self.means is None else self.means.cpu()
        return {
            **super()._extra_state(),
            **mine,
            "best_weights": self.best_weights,
            "means": means,
            "lines": json.dumps(self.lines),
        }

    def _restore_extra(self, state: State) -> None:
        super()._restore_extra(state)
        for name in ("best_nats", "best_epoch", "averaging", "steps_averaged"):
            setattr(self, name, list(state[name]))
        self.best_weights, self.lines = state["best_weights"], json.loads(state["lines"])
        self.means = None if state["means"] is None else state["means"].to(self.device)

    # -- steps ---------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        settings = self.settings
        x, y = read_piece(self.stream, piece)
        with torch_fork(self.seed, "dropout", epoch, step):
            masks = draw_masks(self.model.space, self.rates, x.shape[1], self.cell_weights)
        penalties = settings.alpha, settings.beta
        sums, self.carried = self.model.gradient(
            self.views, self.nodes, (x, y), self.carried, masks, penalties, self.gradient_views
        )
        rate = self._piece_rate(epoch, piece)
        if settings.weight_decay:
            self.cell_weights.mul_(1 - rate * settings.weight_decay)
        if settings.gradient_clip is None:
            self.cell_weights.sub_(self.gradients, alpha=rate)
        else:
            share = (settings.gradient_clip / (torch.linalg.vector_norm(self.gradients, dim=1) + 1e-6)).clamp_max(1)
            self.cell_weights.addcmul_(self.gradients, share[:, None], value=-rate)
        self.meters[:-1] += sums
        self.meters[-1] += y.numel()
        self._average()

    def _average(self) -> None:
        """As :class:`nni_plugins.evaluators.text.training.Average`, for the cells that have switched."""
        for a in (a for a, on in enumerate(self.averaging) if on):
            if self.means is None:
                self.means = torch.zeros_like(self.cell_weights)
            self.steps_averaged[a] += 1
            self.means[a].lerp_(self.cell_weights[a], 1 / self.steps_averaged[a])

    # -- the end of an epoch -------------------------------------------------------------------------------------------
    def _note(self, epoch: int, total: torch.Tensor) -> None:
        """A line of the cells' numbers, and a row of their means."""
        *sums, words = total.tolist()
        losses = self._perplexed(np.array(sums) / words).tolist()
        averaged, nats, rate = list(self.averaging), self._validate(epoch), self.rate(epoch)
        line = {"epoch": epoch + 1, "learning_rate": rate, "loss": losses, "valid_loss": nats, "averaged": averaged}
        self.lines.append(line)
        means = {"loss": float(np.mean(losses)), "valid_loss": float(np.mean(nats))}
        row = {"seed": self.seed, "epoch": epoch + 1, "cells": len(nats), **means}
        self.history.append({**row, "best_valid_loss": min(self.best_nats)})

    def _rows(self) -> list[dict[str, Any]]:
        return self.lines

    def _end_training(self) -> None:
        """Measure the best weights on the test text."""
        batch = self.settings.test_batch
        self.test_nats = self._nats(self.best_weights.to(self.device), self.corpus.test, batch, "test text")

    def _validate(self, epoch: int) -> list[float]:
        """Measure, with averaged weights where there are some; keep the best; switch where that is due."""
        rows = self.cell_weights
        if self.means is not None:
            rows = torch.where(torch.tensor(self.averaging, device=self.device)[:, None], self.means, rows)
        nats: list[float] = self._nats(
            rows, self.corpus.valid, self.settings.evaluation_batch, "validation text"
        ).tolist()
        for a, value in enumerate(nats):
            if value < self.best_nats[a]:
                self.best_nats[a], self.best_epoch[a] = value, epoch + 1
                self.best_weights[a].copy_(rows[a])
            if self.settings.nonmono is not None and not self.averaging[a]:
                self.averaging[a] = non_monotone(
                    [line["valid_loss"][a] for line in self.lines], value, self.settings.nonmono
                )
        return nats

    @torch.no_grad()
    def _nats(self, rows: torch.Tensor, tokens: Tokens, batch: int, name: str) -> Floats:
        """(A,) mean loss a word with the weights ``rows: (A, P)``; states are carried through the whole text."""
        stream, state = batchify(tokens, batch, name).to(self.device), None
        views, total = self.model.views(rows), torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        for piece in even_pieces(len(stream), self.settings.bptt, single=True):
            sums, state = self.model.losses(views, self.nodes, read_piece(stream, piece), state)
            total += sums
        nats: Floats = total.cpu().numpy() / (stream.numel() - batch)
        return self._perplexed(nats, f"the loss of a word of the {name}")

    # -- errors --------------------------------------------------------------------------------------------------------
    def _perplexed(self, nats: Floats, name: str = "the loss of a word") -> Floats:
        """``nats``, unless one of them has no perplexity."""
        if not (nats < MOST_NATS).all():
            a = int(np.argmin(nats < MOST_NATS))
            raise self._cell_diverged(a, f"{name} is {nats[a]:g} nats")
        return nats

    def _check_finite(self, epoch: int, meters: torch.Tensor) -> None:
        weights = torch.isfinite(self.cell_weights).all(1).cpu()
        fine = weights & torch.isfinite(meters[:-1]).cpu()
        if not bool(fine.all()):
            a = int(fine.int().argmin())
            broken = f"the loss became {float(meters[a])}" if weights[a] else "weights became infinite or NaN"
            raise self._cell_diverged(a, f"{broken} in epoch {epoch + 1}")

    def _cell_diverged(self, a: int, problem: str) -> TrainingError:
        cell = self.model.space.to_string(self.model.architectures[a])
        return self._diverged(f"{cell}, seed {self.seed}: {problem}", self.first_epoch)

    def _remedy(self, epoch: int) -> str:
        return f"{super()._remedy(epoch)}, or leave this cell out"


def chunk_size(space: RecurrentCell, settings: LanguageModelSettings, cells: int, memory: int = MEMORY) -> int:
    """How many of ``cells`` are trained at a time so that they take about ``memory`` bytes; at least one, and chunks of
    even size.

    Of a cell there are five copies of its weights where it is trained (those of the step, its gradient, the best, the
    mean, and what is measured), and, for every word of a piece, vectors that the way back needs. The first and the last
    weights, which the result holds, are not counted.
    """
    weights = space.cost_table().fixed_parameters
    words = settings.batch_size * (settings.bptt + settings.longest_extra)
    numbers = 5 * weights + words * (4 * space.embedding + (3 * space.nodes + 8) * space.hidden)
    at_once = max(1, min(cells, memory // (numbers * DTYPES[settings.precision].itemsize)))
    return math.ceil(cells / math.ceil(cells / at_once))


def train_cells(
    corpus: Corpus,
    architectures: Sequence[Architecture],
    space: RecurrentCell,
    settings: LanguageModelSettings | dict[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    *,
    folder: Path | None = None,
    report: Report | None = None,
    chunk: int | None = None,
) -> CellsResult:
    """Train every architecture with every seed; each result is that of
    ``StandAloneText(..., seed=seed).train(architecture)``.

    Args:
        space: its ``classes`` are replaced by the size of the vocabulary.
        settings: as of :class:`StandAloneText`.
        folder: where each chunk of each seed keeps checkpoints and ``metrics.jsonl`` (lists in the order of the cells),
            in ``seed-S/cells-FIRST-LAST``; finished ones are not trained again, so that seeds can be added later. None
            keeps nothing.
        report: called after every epoch of a chunk with ``seed``, ``epoch``, ``cells``, means over them of ``loss`` and
            ``valid_loss``, and the ``best_valid_loss`` so far, in nats.
        chunk: cells at a time; :func:`chunk_size` by default. It changes memory and speed, and results by rounding
            only.

    Raises:
        ConfigError: nothing to train, a chunk or a seed that is none, or a text that is too short.
        TrainingError: a cell's loss or weights are not finite; the message names the cell and the seed.
        CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
    """
    settings = (
        settings
        if isinstance(settings, LanguageModelSettings)
        else read(LanguageModelSettings, settings or {}, "settings.")
    )
    space = space.with_classes(len(corpus.words))
    found = tuple(space.check(architecture) for architecture in architectures)
    if not found or not seeds:
        raise ConfigError(f"at least one architecture and one seed are needed, but got {len(found)} and {len(seeds)}.")
    if len(set(seeds)) < len(seeds) or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"seeds must be different whole numbers from 0 on, but got {list(seeds)}.")
    if chunk is not None and chunk < 1:
        raise ConfigError(f"chunk >= 1 must hold, but got chunk={chunk}.")
    batchify(corpus.train, settings.batch_size, f"{corpus.name}, training text")
    check_held_out(corpus, settings)
    size = chunk_size(space, settings, len(found)) if chunk is None else chunk
    columns: list[dict[str, Any]] = []
    for seed in seeds:
        with torch_fork(seed, "initialisation"):  # a network draws the same numbers whatever its operations and inputs
            initial = space.network(found[0]).state_dict()
        parts = []
        for first in range(0, len(found), size):
            part = found[first : first + size]
            place = None if folder is None else Path(folder) / f"seed-{seed}" / f"cells-{first}-{first + len(part) - 1}"
            config = {
                "architectures": [architecture.as_dict() for architecture in part],
                "space": [space.name, space.config()],
            }
            model = BatchedCells(space, part, initial)
            training = BatchedTraining(model, corpus, settings, seed, folder=place, config=config, report=report)
            training.run()
            parts.append(training.results())
        columns.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return CellsResult(
        found, tuple(seeds), **{name: np.stack([column[name] for column in columns], 1) for name in columns[0]}
    )
