"""DARTS' search of recurrent cells: weights on the training text, architecture parameters on the validation text (fact
sheet B4).

An iteration is an architecture step (Adam), then a weight step (SGD). Both texts are read by as many sequences; the
validation text is read in pieces of equal length and begins anew, with a state of zeros, when it is through.

Second order: as in DARTS' ``rnn/architect.py`` - and unlike its search on images - the weights' gradients are clipped
both where the step ahead is taken and at the point that it leads to, for with a learning rate of 20 an unclipped step
would lead nowhere. (The official code also adds the decayed weights, times 5e-7, to the direction of the finite
difference; we do not.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F

from nni_plugins.spaces.recurrent.mixed import MixedRecurrent

from ..randomness import torch_fork
from ..training.checkpoint import State
from ..training.loop import Report, to_cpu
from ..training.second_order import Gradients, require, unrolled_gradients
from .corpus import Corpus
from .loop import TextTraining, perplexity
from .settings import LanguageSearchSettings
from .streams import Piece, batchify, even_pieces, read_piece


@dataclass(frozen=True)
class TextBilevel:
    """``final``: weights on the CPU; ``history``: a row an epoch; ``genotypes``: what would have been derived after
    each of them.
    """

    final: State
    history: list[dict[str, float]]
    genotypes: list[str]


class TextBilevelTraining(TextTraining):
    """One differentiable search; arguments as of :class:`TextTraining`. The corpus' test text is never read."""

    meter_count: ClassVar[int] = 4  # those of the training text, then those of the validation text
    settings: LanguageSearchSettings

    def __init__(
        self,
        model: MixedRecurrent,
        corpus: Corpus,
        settings: LanguageSearchSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(model, corpus, settings, seed, folder=folder, config=config, report=report)
        stream = batchify(corpus.valid, settings.batch_size, f"{corpus.name}, validation text")
        self.validation_stream = stream.to(self.device)
        self.validation_pieces = even_pieces(len(stream), settings.bptt, single=False)

    def run(self) -> TextBilevel:
        """Train to the end; errors are those of :meth:`TextTraining._loop`.

        A row of ``history`` has ``epoch``, ``loss`` (nats a word of the training text, in training mode),
        ``perplexity``, ``learning_rate``, and after the warm-up ``architecture_loss`` and ``architecture_perplexity``
        of the validation text (at the unrolled weights if the order is 2).
        """
        try:
            self._loop()
        finally:
            require([*self.model.parameters()], [])
        return TextBilevel(to_cpu(self.model.state_dict()), self.history, self.genotypes)

    # -- state ---------------------------------------------------------------------------------------------------------
    def _prepare(self) -> None:
        super()._prepare()
        settings, model = self.settings, cast(MixedRecurrent, self.model)
        self.architecture = [p for _, p in sorted(model.architecture_parameters().items())]
        ours = {id(p) for p in self.architecture}
        self.weights = [p for _, p in sorted(model.named_parameters()) if id(p) not in ours]
        assert len(self.weights) != len(self.architecture)  # by which _clipped tells them apart
        self.optimizer = torch.optim.SGD(
            self.weights, settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )
        rate, betas, decay = (
            settings.architecture_learning_rate,
            settings.architecture_betas,
            settings.architecture_weight_decay,
        )
        self.adam = torch.optim.Adam(self.architecture, rate, betas, weight_decay=decay, foreach=True)
        self.genotypes: list[str] = []
        self.validation_state: torch.Tensor | None = None

    def _snapshot(self) -> State:
        return {
            **super()._snapshot(),
            "validation_state": None if self.validation_state is None else self.validation_state.cpu(),
            "adam": [to_cpu(self.adam.state[p]) for p in self.architecture if p in self.adam.state],
            "genotypes": list(self.genotypes),
        }

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.validation_state = None if state["validation_state"] is None else state["validation_state"].to(self.device)
        for parameter, moments in zip(
            self.architecture, state["adam"], strict=False
        ):  # there are none before the first step
            self.adam.state[parameter] = {
                key: value if key == "step" else value.to(self.device) for key, value in moments.items()
            }
        self.genotypes = list(state["genotypes"])

    def _row(self, epoch: int) -> dict[str, float]:
        loss, words = self.meters.tolist()[2:]
        self.genotypes.append(cast(MixedRecurrent, self.model).genotype())
        return {"architecture_loss": loss / words, "architecture_perplexity": perplexity(loss / words)} if words else {}

    def _rows(self) -> list[dict[str, Any]]:
        return [{**row, "genotype": genotype} for row, genotype in zip(self.history, self.genotypes, strict=True)]

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        if epoch >= self.settings.warmup_epochs:
            self._architecture_step(epoch, step, piece)
        require(self.weights, self.architecture)
        self._weight_step(self.weights, self.optimizer, "weights forward", epoch, step, piece)

    def _architecture_step(self, epoch: int, step: int, piece: Piece) -> None:
        number = step % len(self.validation_pieces)
        if number == 0:
            self.validation_state = None
        batch = read_piece(self.validation_stream, self.validation_pieces[number])

        def training() -> torch.Tensor:
            return self._loss("weights forward", epoch, step, read_piece(self.stream, piece), self.state)[0]

        def validation() -> torch.Tensor:
            loss, hidden = self._loss("architecture forward", epoch, step, batch, self.validation_state)
            self.validation_state = hidden[-1].detach()
            self.meters[2] += loss.detach().double() * batch[1].numel()
            self.meters[3] += batch[1].numel()
            return loss

        if self.settings.order == 2:
            found = unrolled_gradients(
                training,
                validation,
                self.weights,
                self.architecture,
                [None] * len(self.weights),
                rate=self._rate(piece),
                momentum=0.0,
                weight_decay=self.settings.weight_decay,
                average=self._clipped,
            )
        else:
            require(self.architecture, self.weights)
            found = list(torch.autograd.grad(validation(), self.architecture))
        for parameter, gradient in zip(self.architecture, found, strict=True):
            parameter.grad = gradient
        self.adam.step()
        self.adam.zero_grad()

    def _loss(
        self, purpose: str, epoch: int, step: int, batch: tuple[torch.Tensor, torch.Tensor], state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss without penalties, as DARTS' architecture step has it, and the outputs of the cell."""
        model = cast(MixedRecurrent, self.model)
        with torch_fork(self.seed, purpose, epoch, step):
            hidden = model.hidden_of(batch[0], state)
            return F.cross_entropy(model.logits(hidden).flatten(0, 1), batch[1].flatten()), hidden

    def _clipped(self, gradients: Gradients) -> Gradients:
        """Those of the weights, which stand first where there are any, scaled to the norm that ``gradient_clip``
        allows.
        """
        clip, count = self.settings.gradient_clip, len(self.weights)
        if clip is None or len(gradients) == len(self.architecture):
            return gradients
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients[:count])))
        return [*torch._foreach_mul(gradients[:count], (clip / (norm + 1e-6)).clamp_max(1)), *gradients[count:]]
