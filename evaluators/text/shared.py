"""A recurrent supernet, trained on text one architecture a piece, and architectures evaluated with its weights.

Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020, section 5. As
in the codes of NAO and ENAS, the state that a piece begins with is the one that the previous piece, and so another
architecture, has left; only an epoch begins with zeros. A step moves only the matrices that its architecture uses: the
others have no gradient, so nothing decays them either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.supernet import RecurrentSupernet

from ..errors import ConfigError, TrainingError
from ..randomness import generator, torch_fork
from ..settings import read
from ..supernets.shared_weights import Companion, Cycle, Draw
from ..training.base import Report, to_cpu
from ..training.checkpoint import State
from .corpus import Corpus, read_corpus
from .fused import hidden_states, mean_loss
from .loop import DTYPES, TextTraining, device_of, perplexity
from .settings import TextSettings
from .shared_settings import SharedTextSettings
from .streams import Piece, batchify, even_pieces, read_piece
from .training import Average, non_monotone


class DrawnPath(nn.Module):
    """The supernet as the language model of one architecture, ``path``: (D,)."""

    def __init__(self, supernet: RecurrentSupernet) -> None:
        super().__init__()
        self.supernet = supernet
        self.path: Indices = np.zeros(len(supernet.search_space.decisions), dtype=np.int8)

    @property
    def embedding(self) -> nn.Embedding:
        """Of words."""
        return self.supernet.body.embedding

    def hidden_of(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of the cell (T, B, H), the last of which is the state for the next piece of text."""
        net, space = self.supernet, self.supernet.search_space
        cell = space.cell(space.decode(self.path[None])[0])
        matrices = [net.matrices[net.key(j, source, operation)] for j, (operation, source) in enumerate(cell, start=1)]
        return hidden_states(net.body, tokens, state, cell, matrices)


def held_out_text(corpus: Corpus, settings: SharedTextSettings) -> torch.Tensor:
    """(N, ``evaluation_batch``): the validation text, or its first ``evaluation_tokens`` words.

    Raises:
        ConfigError: it is too short.
    """
    words = corpus.valid[: settings.evaluation_tokens]
    return batchify(words, settings.evaluation_batch, f"{corpus.name}, validation text")


@torch.no_grad()
def nats_of(model: DrawnPath, stream: torch.Tensor, pieces: Sequence[Piece], paths: Indices) -> float:
    """Mean loss a word in evaluation mode from a state of zeros on, which is carried from piece to piece.

    Args:
        stream: (N, B) of :func:`batchify`.
        paths: (P, D), the architecture that reads each of the P ``pieces``.
    """
    supernet = model.supernet
    training, drawn, state = supernet.training, model.path, None
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=stream.device)
    for piece, model.path in zip(pieces, paths, strict=True):
        x, y = read_piece(stream, piece)
        hidden = model.hidden_of(x, state)
        state = hidden[-1]
        total += mean_loss(supernet.body, hidden, y).double() * y.numel()
    supernet.train(training)
    model.path = drawn
    return float(total) / (sum(length for _, length in pieces) * stream.shape[1])


class SharedTextTraining(TextTraining):
    """One cycle; arguments as of :class:`TextTraining`. What it leaves is in the supernet.

    As soon as weights are averaged (``averaged_epochs``, ``nonmono``), whatever is measured has the averaged ones, and
    SGD goes on from its own; the cycle leaves the averaged ones.

    Epochs count through all cycles in the curve and in what is drawn, but for the pieces' lengths: these are the same
    in all cycles.
    """

    settings: SharedTextSettings

    def __init__(
        self,
        supernet: RecurrentSupernet,
        corpus: Corpus,
        settings: SharedTextSettings,
        seed: int,
        draw: Draw,
        cycle: Cycle,
        companion: Companion | None,
        *,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        space = supernet.search_space
        about = {**asdict(cycle), "companion": companion is not None}
        super().__init__(
            DrawnPath(supernet),
            corpus,
            settings.model_copy(update={"epochs": cycle.epochs}),
            seed,
            folder=folder,
            config={"space": [space.name, space.config()], "cycle": about},
            first_epoch=cycle.first_epoch,
            report=report,
        )
        self.draw, self.cycle, self.companion = draw, cycle, companion

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        super()._setup()
        self.held_out = held_out_text(self.corpus, self.settings).to(self.device)
        parameters = dict(sorted(self.model.named_parameters()))
        self._prepare_sgd([*parameters.values()])
        self.average, self.averaging = Average(parameters), False

    def _extra_state(self) -> State:
        average = {"means": to_cpu(self.average.means), "count": self.average.count, "on": self.averaging}
        companion = {} if self.companion is None else {"companion": self.companion.state_dict()}
        return {**super()._extra_state(), "average": average, **companion}

    def _restore_extra(self, state: State) -> None:
        super()._restore_extra(state)
        self.average.count, self.averaging = int(state["average"]["count"]), bool(state["average"]["on"])
        self.average.means = {name: mean.to(self.device) for name, mean in state["average"]["means"].items()}
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])

    # -- the loop ------------------------------------------------------------------------------------------------------
    def rate(self, epoch: int) -> float:
        """Of a piece of ``bptt`` words in ``epoch``, counted from 0 through all cycles."""
        settings = self.settings
        if settings.schedule == "constant":
            return settings.learning_rate
        if settings.schedule == "decay":
            return float(settings.learning_rate * settings.decay ** max(0, epoch - settings.decay_after))
        position, period = self.cycle.schedule(epoch - self.first_epoch)
        low, high = settings.final_learning_rate, settings.learning_rate
        return low + (high - low) * (1 + math.cos(math.pi * position / period)) / 2

    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        self.paths = self._drawn(epoch, len(self.pieces))
        if epoch - self.first_epoch >= self.cycle.epochs - self.settings.averaged_epochs:
            self.averaging = True

    def _drawn(self, epoch: int, steps: int) -> Indices:
        drawn: Indices = np.asarray(self.draw(epoch, steps), dtype=np.int8)
        wanted = (steps, len(cast(DrawnPath, self.model).supernet.search_space.decisions))
        if drawn.shape != wanted:
            raise ConfigError(f"an epoch draws one architecture a step, {wanted}, but got {drawn.shape}.")
        return drawn

    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        cast(DrawnPath, self.model).path = self.paths[step]
        self._weight_step("shared weights dropout", epoch, step, piece)
        if self.averaging:
            self.average.add()

    def _forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        model = cast(DrawnPath, self.model)
        hidden = model.hidden_of(x, self.carried)
        dropped = model.supernet.body.dropped(hidden)
        return hidden, dropped, mean_loss(model.supernet.body, dropped, y)

    def _enrich(self, epoch: int) -> None:
        with self.average.in_place():
            if self.settings.nonmono is not None:
                self._validate(self.settings.nonmono)
            if self.companion is not None:
                self.history[-1] |= self.companion.after_epoch(epoch)

    def _validate(self, nonmono: int) -> None:
        """Add the validation loss to the row of the epoch, and switch where that is due.

        Each piece is read by another architecture, drawn by the first epoch's random numbers: where the draw does not
        change, as of uniform ones, the same in every epoch, so that its chance moves no loss.
        """
        pieces = even_pieces(len(self.held_out), self.settings.bptt, single=True)
        paths = self._drawn(self.first_epoch, len(pieces))
        nats = nats_of(cast(DrawnPath, self.model), self.held_out, pieces, paths)
        self.history[-1] |= {
            "valid_loss": nats,
            "valid_perplexity": perplexity(nats),
            "averaged": float(self.averaging),
        }
        earlier = [row["valid_loss"] for row in self.history[:-1]]
        self.averaging = self.averaging or non_monotone(earlier, nats, nonmono)

    def _end_training(self) -> None:
        """The supernet gets the mean weights where there are some."""
        self.average.settle()


class SharedText:
    """:class:`nni_plugins.evaluators.supernets.shared_weights.SharedWeights` of a recurrent space; scores are minus
    perplexities of the validation text.

    Args:
        space: its ``classes`` are replaced by the size of the vocabulary; its ``sharing`` says what is shared.
        corpus: texts, or the settings to read them (a dictionary will do). The test text is never used.
        settings: the defaults are NAO's on Penn Treebank.
        seed: of initialisation, pieces' lengths, dropout and rewards.
        folder: cycle n is kept in ``cycle-n`` below it, and continues there when it was interrupted; None keeps
            nothing.
        report: called with the row of every epoch.
    """

    def __init__(
        self,
        space: RecurrentCell,
        corpus: Corpus | TextSettings | dict[str, Any],
        settings: SharedTextSettings | dict[str, Any] | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        if not isinstance(corpus, Corpus):
            corpus = read_corpus(corpus if isinstance(corpus, TextSettings) else read(TextSettings, corpus, "corpus."))
        self.settings = (
            settings
            if isinstance(settings, SharedTextSettings)
            else read(SharedTextSettings, settings or {}, "settings.")
        )
        self.corpus, self.seed, self.folder, self.report = (
            corpus,
            seed,
            None if folder is None else Path(folder),
            report,
        )
        self._space = space.with_classes(len(corpus.words))
        self.device = device_of(self.settings.accelerator)
        self.held_out = held_out_text(corpus, self.settings).to(self.device)
        name = f"{corpus.name}, validation text"
        self.rewarding = batchify(corpus.valid, self.settings.reward_batch, name).to(self.device)
        batchify(corpus.train, self.settings.batch_size, f"{corpus.name}, training text")  # too short: refused now
        self.supernet = self._fresh(0)

    @property
    def space(self) -> RecurrentCell:
        """With the words of the text."""
        return self._space

    def train(self, draw: Draw, cycle: Cycle, companion: Companion | None = None) -> list[dict[str, float]]:
        """Train through ``cycle``; a row an epoch of ``epoch`` (from 1, through all cycles), ``loss`` (nats a word, in
        training mode), ``perplexity``, ``learning_rate`` and the companion's numbers. A cycle that is finished on disk
        is loaded instead.

        Plain SGD has no memory, so ``reset="optimizer"`` is ``"learning_rate"`` here, and both matter only with
        ``schedule: cosine``.

        Raises:
            TrainingError: the loss or a weight is not finite.
            CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
        """
        if cycle.reset == "all":
            self.supernet = self._fresh(cycle.number)
        folder = None if self.folder is None else self.folder / f"cycle-{cycle.number}"
        training = SharedTextTraining(
            self.supernet,
            self.corpus,
            self.settings,
            self.seed,
            draw,
            cycle,
            companion,
            folder=folder,
            report=self.report,
        )
        return training.run().history

    def perplexities(self, indices: Indices) -> npt.NDArray[np.float64]:
        """(n,) of ``indices: (n, D)`` on the validation text, or the first ``evaluation_tokens`` words of it, with the
        weights as they are.

        All read the same words from a state of zeros on, which is carried through the whole text; so an architecture's
        number does not depend on which others are evaluated with it.

        Raises:
            TrainingError: a loss is not finite.
        """
        pieces = even_pieces(len(self.held_out), self.settings.bptt, single=True)
        return self._perplexities(indices, self.held_out, pieces)

    def scores(self, indices: Indices) -> npt.NDArray[np.float64]:
        """Minus :meth:`perplexities`: larger is better."""
        return -self.perplexities(indices)

    def reward_perplexities(self, indices: Indices, step: int) -> npt.NDArray[np.float64]:
        """(n,) on one piece of the validation text, from a state of zeros: ``bptt`` words of ``reward_batch``
        sequences, drawn by ``step``.
        """
        pieces = even_pieces(len(self.rewarding), self.settings.bptt, single=False)
        whole = [piece for piece in pieces if piece[1] == self.settings.bptt] or pieces[:1]
        chosen = whole[int(generator(self.seed, "reward", step).integers(len(whole)))]
        return self._perplexities(indices, self.rewarding, [chosen])

    def reward(self, indices: Indices, step: int) -> npt.NDArray[np.float64]:
        """Minus :meth:`reward_perplexities`."""
        return -self.reward_perplexities(indices, step)

    def _perplexities(self, indices: Indices, stream: torch.Tensor, pieces: list[Piece]) -> npt.NDArray[np.float64]:
        found = np.zeros(len(indices))
        for i, path in enumerate(np.asarray(indices, dtype=np.int8)):
            nats = nats_of(DrawnPath(self.supernet), stream, pieces, np.repeat(path[None], len(pieces), axis=0))
            if not math.isfinite(nats):
                name = self.space.to_string(self.space.decode(path[None])[0])
                raise TrainingError(f"{name}: the loss of a word is {nats}.", "Lower learning_rate or gradient_clip.")
            found[i] = perplexity(nats)
        return found

    def _fresh(self, cycle: int) -> RecurrentSupernet:
        with torch_fork(self.seed, "initialisation", cycle):
            net = self.space.supernet(**self.settings.dropouts)
        net.to(self.device, DTYPES[self.settings.precision])
        return net
