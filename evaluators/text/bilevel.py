"""DARTS' search of recurrent cells: weights on the training text, architecture parameters on the validation text.

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
from typing import Any, cast

import torch
import torch.nn.functional as F

from nni_plugins.spaces.recurrent.mixed import MixedRecurrent

from ..randomness import torch_fork
from ..training.base import Report, Trained, adam_moments, restore_adam
from ..training.checkpoint import State
from ..training.second_order import Gradients, require_gradients, unrolled_gradients
from .corpus import Corpus
from .loop import TextTraining, perplexity
from .settings import LanguageSearchSettings
from .streams import Piece, batchify, even_pieces, read_piece


@dataclass(frozen=True)
class TextBilevel(Trained):
    """``genotypes``: what would have been derived after each epoch."""

    genotypes: list[str]


class TextBilevelTraining(TextTraining):
    """One differentiable search; arguments as of :class:`TextTraining`. The corpus' test text is never read."""

    meter_count = 4  # those of the training text, then those of the validation text
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
        self.validation_stream = batchify(corpus.valid, settings.batch_size, f"{corpus.name}, validation text")
        self.validation_pieces = even_pieces(len(self.validation_stream), settings.bptt, single=False)

    def run(self) -> TextBilevel:
        """Train to the end; errors are those of :meth:`nni_plugins.evaluators.training.base.Loop.run`.

        A row of ``history`` has ``epoch``, ``loss`` (nats a word of the training text, in training mode),
        ``perplexity``, ``learning_rate``, and after the warm-up ``architecture_loss`` and ``architecture_perplexity``
        of the validation text (at the unrolled weights if the order is 2).
        """
        try:
            trained = super().run()
        finally:
            require_gradients([*self.model.parameters()], [])
        return TextBilevel(**vars(trained), genotypes=self.genotypes)

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        super()._setup()
        self.validation_stream = self.validation_stream.to(self.device)
        settings, model = self.settings, cast(MixedRecurrent, self.model)
        self.named = dict(sorted(model.architecture_parameters().items()))
        self.architecture = [*self.named.values()]
        ours = {id(p) for p in self.architecture}
        self._prepare_sgd([p for _, p in sorted(model.named_parameters()) if id(p) not in ours])
        assert len(self.weights) != len(self.architecture)  # by which _clipped tells them apart
        rate, betas, decay = (
            settings.architecture_learning_rate,
            settings.architecture_betas,
            settings.architecture_weight_decay,
        )
        self.adam = torch.optim.Adam(self.architecture, rate, betas, weight_decay=decay, foreach=True)
        self.genotypes: list[str] = []
        self.validation_state: torch.Tensor | None = None

    def optimizer_state(self) -> State:
        """Adam's moments; plain SGD has none."""
        return {"architecture": adam_moments(self.adam, self.named)}

    def _restore_optimizer(self, state: State) -> None:
        restore_adam(self.adam, self.named, state["architecture"])

    def _extra_state(self) -> State:
        read = None if self.validation_state is None else self.validation_state.cpu()
        return {**super()._extra_state(), "validation_state": read, "genotypes": list(self.genotypes)}

    def _restore_extra(self, state: State) -> None:
        super()._restore_extra(state)
        self.validation_state = None if state["validation_state"] is None else state["validation_state"].to(self.device)
        self.genotypes = list(state["genotypes"])

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        super()._note(epoch, total)
        loss, words = total.tolist()[2:]
        if words:
            self.history[-1] |= {
                "architecture_loss": loss / words,
                "architecture_perplexity": perplexity(loss / words),
            }
        self.genotypes.append(cast(MixedRecurrent, self.model).genotype())

    def _rows(self) -> list[dict[str, Any]]:
        return [{**row, "genotype": genotype} for row, genotype in zip(self.history, self.genotypes, strict=True)]

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        if epoch >= self.settings.warmup_epochs:
            self._architecture_step(epoch, step, piece)
        require_gradients(self.weights, self.architecture)
        self._weight_step("weights forward", epoch, step, piece)

    def _architecture_step(self, epoch: int, step: int, piece: Piece) -> None:
        number = step % len(self.validation_pieces)
        if number == 0:
            self.validation_state = None
        batch = read_piece(self.validation_stream, self.validation_pieces[number])

        def training() -> torch.Tensor:
            return self._loss("weights forward", epoch, step, read_piece(self.stream, piece), self.carried)[0]

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
                rate=self._piece_rate(epoch, piece),
                momentum=0.0,
                weight_decay=self.settings.weight_decay,
                average=self._clipped,
            )
        else:
            require_gradients(self.architecture, self.weights)
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
