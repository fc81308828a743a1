"""What stand-alone training and search have in common: streams, pieces, the state that is carried, checkpoints and the
curve.

As in ``training/loop.py``, everything random is a function of (seed, purpose, epoch, step): lengths of pieces by epoch,
dropout by step. A killed run that is resumed computes the very numbers of an undisturbed one; the carried state is
therefore part of a checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ConfigError, TrainingError
from ..files import append_row, atomic_write
from ..randomness import generator, torch_fork
from ..training.checkpoint import CheckpointStore, State
from ..training.loop import Report, to_cpu
from ..training.settings import MAY_CHANGE
from .corpus import Corpus, Tokens
from .settings import SequenceSettings
from .streams import Piece, batchify, drawn_pieces, even_pieces, read_piece

DTYPES = {"32-true": torch.float32, "64-true": torch.float64}

LARGEST = 700.0
"""Nats; their exponential is near the largest float."""


def device_of(accelerator: str) -> torch.device:
    """Raises :class:`ConfigError` if there is no such device."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "accelerator: cuda was asked for, but torch finds no such device.", "Use accelerator: auto or cpu."
        )
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def perplexity(nats: float) -> float:
    """exp of the mean loss a word; a :class:`TrainingError` where that exceeds a float or is none."""
    if not nats < LARGEST:
        raise TrainingError(f"the loss of a word is {nats:g} nats.", "Lower the learning rate or gradient_clip.")
    return math.exp(nats)


@torch.no_grad()
def mean_nats(model: nn.Module, tokens: Tokens, batch: int, bptt: int, name: str) -> float:
    """Mean loss a word of ``model`` in evaluation mode; the state is carried through the whole text.

    Raises:
        ConfigError: the text is too short for ``batch`` sequences.
        TrainingError: the loss is not finite.
    """
    language = cast(Any, model.eval())
    stream = batchify(tokens, batch, name).to(language.w0.device)
    total, state = torch.zeros((), dtype=torch.float64, device=stream.device), None
    for piece in even_pieces(len(stream), bptt, single=True):
        x, y = read_piece(stream, piece)
        hidden = language.hidden_of(x, state)
        state = hidden[-1]
        total += F.cross_entropy(language.logits(hidden).flatten(0, 1), y.flatten(), reduction="sum").double()
    nats = float(total) / (stream.numel() - batch)
    if not math.isfinite(nats):
        raise TrainingError(f"{name}: the loss of a word is {nats}.", "Lower the learning rate or gradient_clip.")
    return nats


class TextTraining:
    """Base of both trainings; :meth:`_loop` trains, resuming from ``folder`` where there is something to resume.

    Args:
        model: a :class:`nni_plugins.spaces.recurrent.network.LanguageModel` with ``hidden_of(tokens, state)``, trained
            in place.
        corpus, settings: on what, and how.
        seed: of pieces' lengths and dropout.
        folder: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
        config: identity of the run beyond text, settings and seed, for the check on resume.
        report: called with the row of every epoch.
    """

    meter_count: ClassVar[int] = 2  # sum of losses, words

    def __init__(
        self,
        model: nn.Module,
        corpus: Corpus,
        settings: SequenceSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        report: Report | None = None,
    ) -> None:
        words = getattr(getattr(model, "embedding", None), "num_embeddings", None)
        if words is None or not hasattr(model, "hidden_of"):
            raise ConfigError(
                f"{type(model).__name__} is not a recurrent language model.",
                "Pass RecurrentCell(...).network(architecture).",
            )
        if words != len(corpus.words):
            raise ConfigError(
                f"the network has {words} words, but {corpus.name} has {len(corpus.words)}.",
                f"Use classes={len(corpus.words)}.",
            )
        self.device, self.corpus, self.settings, self.seed, self.report = (
            device_of(settings.accelerator),
            corpus,
            settings,
            seed,
            report,
        )
        self.stream = batchify(corpus.train, settings.batch_size, f"{corpus.name}, training text").to(self.device)
        self.model = model.to(self.device, DTYPES[settings.precision])
        self.history: list[dict[str, float]] = []
        identity = {"settings": settings.model_dump(exclude=set(MAY_CHANGE)), "seed": seed, "text": corpus.identity()}
        self.store = None if folder is None else CheckpointStore(folder, {**identity, **(config or {})})

    # -- for the two kinds of training ---------------------------------------------------------------------------------
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        raise NotImplementedError

    def _row(self, epoch: int) -> dict[str, float]:
        """The numbers of an epoch that is through, beyond those of the training text; whatever else is to be done after
        it.
        """
        raise NotImplementedError

    def _rows(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return list(self.history)

    def _snapshot(self) -> State:
        return {
            "model": to_cpu(self.model.state_dict()),
            "state": None if self.state is None else self.state.cpu(),
            "meters": self.meters.cpu(),
            "history": json.dumps(self.history),
        }

    def _restore(self, state: State) -> None:
        self.model.load_state_dict(state["model"])
        self.state = None if state["state"] is None else state["state"].to(self.device)
        self.meters.copy_(state["meters"])
        self.history = json.loads(state["history"])

    def _prepare(self) -> None:
        """Make optimizers and forget what an earlier run left."""
        self.history, self.state = [], cast("torch.Tensor | None", None)
        self.meters = torch.zeros(self.meter_count, dtype=torch.float64, device=self.device)

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _loop(self) -> None:
        """Train to the end.

        Raises:
            TrainingError: the loss or a weight is not finite.
            CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
        """
        with self.store if self.store is not None else nullcontext():
            self._prepare()
            epoch, step, saved = self._resume()
            self.saved_at = time.monotonic()
            while epoch < self.settings.epochs:
                self._epoch(epoch, step)
                epoch, step = epoch + 1, 0
            if self.store is not None and saved < self._number(epoch, 0):
                self._save(epoch, 0)

    def _number(self, epoch: int, step: int) -> int:
        """Of a checkpoint. Epochs differ in their pieces, but none has more of them than the stream has steps."""
        return epoch * len(self.stream) + step

    def _resume(self) -> tuple[int, int, int]:
        """(epoch, step) to go on with, and the number of the newest checkpoint, -1 if there is none."""
        if self.store is None:
            return 0, 0, -1
        initial = self.store.keep_initial(to_cpu(self.model.state_dict()))
        self.model.load_state_dict(initial)
        found = self.store.load()
        if found is not None:
            self._restore(found[1])
        lines = "".join(json.dumps(row) + "\n" for row in self._rows())
        atomic_write(self.store.folder / "metrics.jsonl", lines.encode())
        return (0, 0, -1) if found is None else (int(found[1]["epoch"]), int(found[1]["step"]), found[0])

    def _save(self, epoch: int, step: int) -> None:
        self._check_finite(epoch)
        if self.store is not None:
            self.store.save(self._number(epoch, step), {**self._snapshot(), "epoch": epoch, "step": step})
        self.saved_at = time.monotonic()

    def _due(self) -> bool:
        return self.store is not None and time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds

    def _epoch(self, epoch: int, first: int) -> None:
        pieces = drawn_pieces(len(self.stream), self.settings, generator(self.seed, "sequence lengths", epoch))
        self.model.train()
        if first == 0:
            self.state = None
        for step, piece in enumerate(pieces[first:], start=first):
            self._step(epoch, step, piece)
            if step + 1 < len(pieces) and self._due():
                self._save(epoch, step + 1)
        self._check_finite(epoch)
        loss, words = self.meters.tolist()[:2]
        row = {
            "epoch": epoch + 1,
            "loss": loss / words,
            "perplexity": perplexity(loss / words),
            "learning_rate": self.settings.learning_rate,
        }
        self.history.append({**row, **self._row(epoch)})
        self.meters.zero_()
        self._log(self._rows()[-1])
        if self._due():
            self._save(epoch + 1, 0)
        if self.report is not None:
            self.report(self.history[-1])

    def _log(self, row: dict[str, Any]) -> None:
        if self.store is not None:
            append_row(self.store.folder / "metrics.jsonl", row)

    def _check_finite(self, epoch: int) -> None:
        """The loss is that of before the step, so the weights are looked at too: a checkpoint never holds broken ones."""
        weights = bool(torch.stack([torch.isfinite(p).all() for p in self.model.parameters()]).all())
        if weights and bool(torch.isfinite(self.meters).all()):
            return
        broken = "the loss became infinite or NaN" if weights else "weights became infinite or NaN"
        intact = "; the last checkpoint is intact" if self.store is not None and self.store.exists else ""
        raise TrainingError(
            f"{broken} in epoch {epoch + 1}.",
            f"Lower learning_rate (it is {self.settings.learning_rate:g}) or gradient_clip{intact}.",
        )

    # -- one weight step -----------------------------------------------------------------------------------------------
    def _rate(self, piece: Piece) -> float:
        """A piece's loss is a mean over its words, so a longer one weighs more."""
        return self.settings.learning_rate * piece[1] / self.settings.bptt

    def _weight_step(
        self, weights: list[nn.Parameter], optimizer: torch.optim.SGD, purpose: str, epoch: int, step: int, piece: Piece
    ) -> None:
        """One step of SGD on ``piece``; carries the state."""
        settings, language = self.settings, cast(Any, self.model)
        x, y = read_piece(self.stream, piece)
        with torch_fork(self.seed, purpose, epoch, step):
            hidden = language.hidden_of(x, self.state)
            dropped = language.dropped(hidden)
            loss = F.cross_entropy(language.decode(dropped).flatten(0, 1), y.flatten())
        total = loss
        if settings.alpha:
            total = total + settings.alpha * dropped.square().mean()
        if settings.beta:
            total = total + settings.beta * hidden.diff(dim=0).square().mean()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(weights, settings.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = self._rate(piece)
        optimizer.step()
        self.state = hidden[-1].detach()
        self.meters[0] += loss.detach().double() * y.numel()
        self.meters[1] += y.numel()
