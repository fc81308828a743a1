"""Stand-alone training of a recurrent language model: SGD, then averaged SGD (Merity et al., AWD-LSTM, ICLR 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..training.base import Report, Trained, to_cpu
from ..training.checkpoint import State
from .corpus import Corpus
from .loop import TextTraining, mean_nats, perplexity
from .settings import LanguageModelSettings
from .streams import Piece, batchify


def non_monotone(losses: Sequence[float], loss: float, nonmono: int) -> bool:
    """AWD-LSTM's criterion, algorithm 1: whether ``loss`` is above the smallest of all earlier ``losses`` but the last
    ``nonmono``.
    """
    earlier = losses[: len(losses) - nonmono] if len(losses) > nonmono else ()
    return bool(earlier) and loss > min(earlier)


class Average:
    """Running mean of weights after every step since the switch, by name.

    torch's ``ASGD`` leaves the first of them out and takes a changed learning rate one step late; here all count, and
    none is late.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters, self.count = dict(sorted(parameters.items())), 0
        self.means: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def add(self) -> None:
        """The weights as they are now."""
        self.count += 1
        if self.count == 1:
            self.means = {name: p.detach().clone() for name, p in self.parameters.items()}
        else:
            torch._foreach_lerp_(
                list(self.means.values()), [p.detach() for p in self.parameters.values()], 1 / self.count
            )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights, if there are any; afterwards the bits that it had
        before.
        """
        own = {name: p.detach().clone() for name, p in self.parameters.items()} if self.count else {}
        try:
            self.settle()
            yield
        finally:
            self._put(own)

    def settle(self) -> None:
        """The network has the averaged weights from now on, if there are any."""
        self._put(self.means)

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)


@dataclass(frozen=True)
class LanguageResult(Trained):
    """Perplexities of the weights with the smallest validation loss, which are ``final``, and how they were found.

    ``best_epoch``: theirs, from 1. ``averaged_from``: the first epoch of averaged SGD, None if it never came to that.
    ``history``: a row an epoch with ``loss`` and ``valid_loss`` (nats a word), their perplexities, ``learning_rate``
    and ``averaged`` (0 or 1).
    """

    valid: float
    test: float
    best_epoch: int
    averaged_from: int | None


class LanguageTraining(TextTraining):
    """One stand-alone training; :meth:`run` leaves the best weights in ``model``. Arguments as of
    :class:`TextTraining`.
    """

    settings: LanguageModelSettings

    def __init__(
        self,
        model: nn.Module,
        corpus: Corpus,
        settings: LanguageModelSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(model, corpus, settings, seed, folder=folder, config=config, report=report)
        check_held_out(corpus, settings)

    def run(self) -> LanguageResult:
        """Train to the end; errors are those of :meth:`nni_plugins.evaluators.training.base.Loop.run`."""
        trained = super().run()
        valid, epoch = perplexity(float(self.best["nats"])), int(self.best["epoch"])
        return LanguageResult(
            **vars(trained), valid=valid, test=self.test, best_epoch=epoch, averaged_from=self.averaged_from
        )

    @property
    def averaged_from(self) -> int | None:
        """The first epoch, from 1, whose steps were averaged; None if there was none."""
        return next((int(row["epoch"]) for row in self.history if row["averaged"]), None)

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        super()._setup()
        parameters = dict(sorted(self.model.named_parameters()))
        self._prepare_sgd([*parameters.values()])
        self.average, self.averaging = Average(parameters), False
        self.best: State = {"nats": float("inf"), "epoch": 0, "model": {}}

    def _extra_state(self) -> State:
        average = {"means": to_cpu(self.average.means), "count": self.average.count, "on": self.averaging}
        return {**super()._extra_state(), "average": average, "best": self.best}

    def _restore_extra(self, state: State) -> None:
        super()._restore_extra(state)
        self.best, found = state["best"], state["average"]
        self.averaging, self.average.count = bool(found["on"]), int(found["count"])
        self.average.means = {name: mean.to(self.device) for name, mean in found["means"].items()}

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        self._weight_step("dropout", epoch, step, piece)
        if self.averaging:
            self.average.add()

    def _enrich(self, epoch: int) -> None:
        """Measure on the validation text, with averaged weights once there are some; keep the best; switch where that
        is due.
        """
        settings, averaged = self.settings, self.averaging
        with self.average.in_place():
            nats = mean_nats(self.model, self.corpus.valid, settings.evaluation_batch, settings.bptt, "validation text")
            if nats < self.best["nats"]:
                self.best = {"nats": nats, "epoch": epoch + 1, "model": to_cpu(self.model.state_dict())}
        earlier = [row["valid_loss"] for row in self.history[:-1]]
        self.averaging = averaged or (settings.nonmono is not None and non_monotone(earlier, nats, settings.nonmono))
        self.history[-1] |= {"valid_loss": nats, "valid_perplexity": perplexity(nats), "averaged": float(averaged)}

    def _end_training(self) -> None:
        """Measure the best weights on the test text."""
        settings = self.settings
        self.model.load_state_dict(self.best["model"])
        self.test = perplexity(mean_nats(self.model, self.corpus.test, settings.test_batch, settings.bptt, "test text"))


def check_held_out(corpus: Corpus, settings: LanguageModelSettings) -> None:
    """Refuse a validation or test text that is too short now, with a :class:`ConfigError`, not after the training."""
    for tokens, batch, part in (
        (corpus.valid, settings.evaluation_batch, "validation"),
        (corpus.test, settings.test_batch, "test"),
    ):
        batchify(tokens, batch, f"{corpus.name}, {part} text")
