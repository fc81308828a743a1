"""What all trainings on text have in common: streams, pieces, the state that is carried from piece to piece, and SGD on
a piece.

Everything random is a function of (seed, purpose, epoch, step): lengths of pieces by epoch, dropout by step. The
carried state is part of a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ConfigError, TrainingError
from ..randomness import generator, torch_fork
from ..training.base import Loop, Report, fabric_on
from ..training.checkpoint import CheckpointStore, State
from ..training.settings import MAY_CHANGE
from .corpus import Corpus, Tokens
from .settings import SequenceSettings
from .streams import Piece, batchify, drawn_pieces, even_pieces, read_piece

DTYPES = {"32-true": torch.float32, "64-true": torch.float64}

MOST_NATS = 700.0
"""Their exponential is near the largest float."""


def device_of(accelerator: str) -> torch.device:
    """Raises :class:`ConfigError` if there is no such device."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "accelerator: cuda was asked for, but torch finds no such device.", "Use accelerator: auto or cpu."
        )
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def perplexity(nats: float) -> float:
    """exp of the mean loss a word; a :class:`TrainingError` where that exceeds a float or is none."""
    if not nats < MOST_NATS:
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


class TextTraining(Loop):
    """Base of the trainings on text; :meth:`run` trains, resuming from ``folder`` where there is something to resume.

    Args:
        model: a :class:`nni_plugins.spaces.recurrent.network.LanguageModel` with ``hidden_of(tokens, state)``, trained
            in place.
        corpus, settings: on what, and how.
        seed: of pieces' lengths and dropout.
        folder: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
        config: identity of the run beyond text, settings and seed, for the check on resume.
        first_epoch: the epochs of the curve and of what is drawn count from it on; pieces begin anew.
        report: called with the row of every epoch.
    """

    meter_count = 2  # sum of losses, words
    smaller = "shorter pieces (bptt)"

    def __init__(
        self,
        model: nn.Module,
        corpus: Corpus,
        settings: SequenceSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        first_epoch: int = 0,
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
        self.device, self.corpus, self.settings, self.seed = device_of(settings.accelerator), corpus, settings, seed
        self.stream = batchify(corpus.train, settings.batch_size, f"{corpus.name}, training text")
        identity = {"settings": settings.model_dump(exclude=set(MAY_CHANGE)), "seed": seed, "text": corpus.identity()}
        store = None if folder is None else CheckpointStore(folder, {**identity, **(config or {})})
        fabric = fabric_on(self.device.type)
        super().__init__(model, settings, fabric, (first_epoch, settings.epochs), store, report)

    # -- for the kinds of training -------------------------------------------------------------------------------------
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        """Train on ``piece``."""
        raise NotImplementedError

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        """Network and text go to the device; what an earlier run left is forgotten."""
        self.model.to(self.device, DTYPES[self.settings.precision])
        self.stream = self.stream.to(self.device)
        self.carried = cast("torch.Tensor | None", None)

    def _prepare_sgd(self, weights: Sequence[nn.Parameter]) -> None:
        """:meth:`_weight_step` moves ``weights``."""
        settings, self.weights = self.settings, list(weights)
        self.optimizer = torch.optim.SGD(
            self.weights, settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )

    def optimizer_state(self) -> State:
        """SGD without momentum has none."""
        return {}

    def _restore_optimizer(self, state: State) -> None: ...

    def _extra_state(self) -> State:
        return {"carried": None if self.carried is None else self.carried.cpu()}

    def _restore_extra(self, state: State) -> None:
        self.carried = None if state["carried"] is None else state["carried"].to(self.device)

    # -- the loop ------------------------------------------------------------------------------------------------------
    @property
    def steps_per_epoch(self) -> int:
        """By which checkpoints are counted: epochs differ in pieces, but none has more than the text has steps."""
        return len(self.stream)

    def rate(self, epoch: int) -> float:
        """Of a piece of ``bptt`` words."""
        return self.settings.learning_rate

    def _piece_rate(self, epoch: int, piece: Piece) -> float:
        """A piece's loss is a mean over its words, so a longer one weighs more."""
        return self.rate(epoch) * piece[1] / self.settings.bptt

    def _begin_epoch(self, epoch: int) -> None:
        lengths = generator(self.seed, "sequence lengths", epoch - self.first_epoch)
        self.pieces = drawn_pieces(len(self.stream), self.settings, lengths)
        self.model.train()

    def _epoch(self, epoch: int, first: int) -> None:
        if first == 0:
            self.carried = None
        for step, piece in enumerate(self.pieces[first:], start=first):
            self._step(epoch, step, piece)
            if step + 1 < len(self.pieces):
                self._after_step(epoch, step)

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        loss, words = total.tolist()[:2]
        self.history.append(
            {
                "epoch": epoch + 1,
                "loss": loss / words,
                "perplexity": perplexity(loss / words),
                "learning_rate": self.rate(epoch),
            }
        )

    def _remedy(self, epoch: int) -> str:
        return f"Lower learning_rate (it is {self.rate(epoch):g}) or gradient_clip"

    # -- one weight step -----------------------------------------------------------------------------------------------
    def _forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs of the cell, the same after dropout, and the mean loss a word."""
        language = cast(Any, self.model)
        hidden = language.hidden_of(x, self.carried)
        dropped = language.dropped(hidden)
        return hidden, dropped, F.cross_entropy(language.decode(dropped).flatten(0, 1), y.flatten())

    def _weight_step(self, purpose: str, epoch: int, step: int, piece: Piece) -> None:
        """One step of SGD on ``piece``; carries the state."""
        settings = self.settings
        x, y = read_piece(self.stream, piece)
        with torch_fork(self.seed, purpose, epoch, step):
            hidden, dropped, loss = self._forward(x, y)
        total = loss
        if settings.alpha:
            total = total + settings.alpha * dropped.square().mean()
        if settings.beta:
            total = total + settings.beta * hidden.diff(dim=0).square().mean()
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.weights, settings.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self._piece_rate(epoch, piece)
        self.optimizer.step()
        self.carried = hidden[-1].detach()
        self.meters[0] += loss.detach().double() * y.numel()
        self.meters[1] += y.numel()
