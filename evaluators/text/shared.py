"""A recurrent supernet, trained on text one architecture a piece, and architectures evaluated with its weights.

Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020, section 5 (fact sheet B2, B4, B6). As
in the codes of NAO and ENAS, the state that a piece begins with is the one that the previous piece, and so another
architecture, has left; only an epoch begins with zeros. A step moves only the matrices that its architecture uses: the
others have no gradient, so nothing decays them either.
"""

from __future__ import annotations

import math
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
from ..training.checkpoint import State
from ..training.loop import Report
from .corpus import Corpus, read_corpus
from .fused import hidden_states, mean_loss
from .loop import DTYPES, TextTraining, device_of, perplexity
from .settings import TextSettings
from .shared_settings import SharedTextSettings
from .streams import Piece, batchify, drawn_pieces, even_pieces, read_piece
from .training import Average


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


class SharedTextTraining(TextTraining):
    """One cycle; arguments as of :class:`TextTraining`. What it leaves is in the supernet."""

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
        config = {"space": [space.name, space.config()], "cycle": about}
        super().__init__(
            DrawnPath(supernet),
            corpus,
            settings.model_copy(update={"epochs": cycle.epochs}),
            seed,
            folder=folder,
            config=config,
            report=report,
        )
        self.draw, self.cycle, self.companion = draw, cycle, companion

    def run(self) -> list[dict[str, float]]:
        """Train to the end; the supernet then has the mean weights where there are some. Errors are those of
        :meth:`TextTraining._loop`.
        """
        self._loop()
        with torch.no_grad():
            for name, mean in self.average.means.items():
                self.average.parameters[name].copy_(mean)
        return self.history

    # -- state ---------------------------------------------------------------------------------------------------------
    def _prepare(self) -> None:
        super()._prepare()
        parameters = dict(sorted(self.model.named_parameters()))
        self.weights = list(parameters.values())
        self.optimizer = torch.optim.SGD(
            self.weights, self.settings.learning_rate, weight_decay=self.settings.weight_decay, foreach=True
        )
        self.average = Average(parameters)
        self.paths: Indices = np.zeros((0, 0), dtype=np.int8)

    def _snapshot(self) -> State:
        average = {
            "means": {name: mean.cpu() for name, mean in self.average.means.items()},
            "count": self.average.count,
        }
        companion = {} if self.companion is None else {"companion": self.companion.state_dict()}
        return {**super()._snapshot(), "average": average, **companion}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.average.count = int(state["average"]["count"])
        self.average.means = {name: mean.to(self.device) for name, mean in state["average"]["means"].items()}
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])

    # -- an epoch ------------------------------------------------------------------------------------------------------
    def _epoch(self, epoch: int, first: int) -> None:
        lengths = generator(self.seed, "sequence lengths", epoch)  # as the loop draws them
        steps = len(drawn_pieces(len(self.stream), self.settings, lengths))
        self.paths = np.asarray(self.draw(self._through(epoch), steps), dtype=np.int8)
        wanted = (steps, len(self._net.search_space.decisions))
        if self.paths.shape != wanted:
            raise ConfigError(f"an epoch draws one architecture a step, {wanted}, but got {self.paths.shape}.")
        super()._epoch(epoch, first)

    def _through(self, epoch: int) -> int:
        """The epoch's number through all cycles, from 0."""
        return self.cycle.first_epoch + epoch

    @property
    def _net(self) -> RecurrentSupernet:
        return cast(DrawnPath, self.model).supernet

    def learning_rate(self, epoch: int) -> float:
        """Of ``epoch`` of this cycle (from 0)."""
        settings = self.settings
        if settings.schedule == "constant":
            return settings.learning_rate
        position, period = self.cycle.schedule(epoch)
        low, high = settings.final_learning_rate, settings.learning_rate
        return low + (high - low) * (1 + math.cos(math.pi * position / period)) / 2

    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        settings, body, model = self.settings, self._net.body, cast(DrawnPath, self.model)
        x, y = read_piece(self.stream, piece)
        model.path = self.paths[step]
        with torch_fork(self.seed, "shared weights dropout", self._through(epoch), step):
            hidden = model.hidden_of(x, self.state)
            dropped = body.dropped(hidden)
            loss = mean_loss(body, dropped, y)
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
            group["lr"] = self.learning_rate(epoch) * piece[1] / settings.bptt
        self.optimizer.step()
        self.state = hidden[-1].detach()
        self.meters[0] += loss.detach().double() * y.numel()
        self.meters[1] += y.numel()
        if epoch >= self.cycle.epochs - settings.averaged_epochs:
            self.average.add()

    def _row(self, epoch: int) -> dict[str, float]:
        row = {"epoch": float(self._through(epoch) + 1), "learning_rate": self.learning_rate(epoch)}
        return row if self.companion is None else {**row, **self.companion.after_epoch(self._through(epoch))}


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
        name, held_out = f"{corpus.name}, validation text", corpus.valid[: self.settings.evaluation_tokens]
        self.held_out = batchify(held_out, self.settings.evaluation_batch, name).to(self.device)
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
        return training.run()

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

    @torch.no_grad()
    def _perplexities(self, indices: Indices, stream: torch.Tensor, pieces: list[Piece]) -> npt.NDArray[np.float64]:
        training, body, model = self.supernet.training, self.supernet.body, DrawnPath(self.supernet)
        model.eval()
        found, words = np.zeros(len(indices)), sum(length for _, length in pieces) * stream.shape[1]
        for i, path in enumerate(np.asarray(indices, dtype=np.int8)):
            model.path, state = path, None
            total = torch.zeros((), dtype=torch.float64, device=stream.device)
            for piece in pieces:
                x, y = read_piece(stream, piece)
                hidden = model.hidden_of(x, state)
                state = hidden[-1]
                total += mean_loss(body, hidden, y).double() * y.numel()
            nats = float(total) / words
            if not math.isfinite(nats):
                name = self.space.to_string(self.space.decode(path[None])[0])
                raise TrainingError(f"{name}: the loss of a word is {nats}.", "Lower learning_rate or gradient_clip.")
            found[i] = perplexity(nats)
        self.supernet.train(training)
        return found

    def _fresh(self, cycle: int) -> RecurrentSupernet:
        with torch_fork(self.seed, "initialisation", cycle):
            net = self.space.supernet(**self.settings.dropouts)
        net.to(self.device, DTYPES[self.settings.precision])
        return net
