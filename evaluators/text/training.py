"""Stand-alone training of a recurrent language model: SGD, then averaged SGD (Merity et al., AWD-LSTM, ICLR 2018; fact
sheet B3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..training.checkpoint import State
from ..training.loop import Report, to_cpu
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
            self._put(self.means)
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)


@dataclass(frozen=True)
class LanguageResult:
    """Perplexities of the weights with the smallest validation loss, and how they were found.

    ``best_epoch``: theirs, from 1. ``averaged_from``: the first epoch of averaged SGD, None if it never came to that.
    ``history``: a row an epoch with ``loss`` and ``valid_loss`` (nats a word), their perplexities, ``learning_rate``
    and ``averaged`` (0 or 1).
    """

    valid: float
    test: float
    best_epoch: int
    averaged_from: int | None
    history: list[dict[str, float]]


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
        for tokens, batch, part in (
            (corpus.valid, settings.evaluation_batch, "validation"),
            (corpus.test, settings.test_batch, "test"),
        ):
            batchify(
                tokens, batch, f"{corpus.name}, {part} text"
            )  # one that is too short is refused now, not after the training

    def run(self) -> LanguageResult:
        """Train to the end; errors are those of :meth:`TextTraining._loop`."""
        settings = self.settings
        self._loop()
        self.model.load_state_dict(self.best["model"])
        test = mean_nats(self.model, self.corpus.test, settings.test_batch, settings.bptt, "test text")
        valid = perplexity(float(self.best["nats"]))
        return LanguageResult(valid, perplexity(test), int(self.best["epoch"]), self.averaged_from, self.history)

    @property
    def averaged_from(self) -> int | None:
        """The first epoch, from 1, whose steps were averaged; None if there was none."""
        return next((int(row["epoch"]) for row in self.history if row["averaged"]), None)

    def _prepare(self) -> None:
        super()._prepare()
        parameters = dict(sorted(self.model.named_parameters()))
        self.weights = list(parameters.values())
        self.optimizer = torch.optim.SGD(
            self.weights, self.settings.learning_rate, weight_decay=self.settings.weight_decay, foreach=True
        )
        self.average, self.averaging = Average(parameters), False
        self.best: State = {"nats": float("inf"), "epoch": 0, "model": {}}

    def _snapshot(self) -> State:
        average = {"means": to_cpu(self.average.means), "count": self.average.count, "on": self.averaging}
        return {**super()._snapshot(), "average": average, "best": self.best}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.best, found = state["best"], state["average"]
        self.averaging, self.average.count = bool(found["on"]), int(found["count"])
        self.average.means = {name: mean.to(self.device) for name, mean in found["means"].items()}

    def _step(self, epoch: int, step: int, piece: Piece) -> None:
        self._weight_step(self.weights, self.optimizer, "dropout", epoch, step, piece)
        if self.averaging:
            self.average.add()

    def _row(self, epoch: int) -> dict[str, float]:
        """Measure on the validation text, with averaged weights once there are some; keep the best; switch where that
        is due.
        """
        settings, averaged = self.settings, self.averaging
        with self.average.in_place():
            nats = mean_nats(self.model, self.corpus.valid, settings.evaluation_batch, settings.bptt, "validation text")
            if nats < self.best["nats"]:
                self.best = {"nats": nats, "epoch": epoch + 1, "model": to_cpu(self.model.state_dict())}
        earlier = [row["valid_loss"] for row in self.history]
        self.averaging = averaged or (settings.nonmono is not None and non_monotone(earlier, nats, settings.nonmono))
        return {"valid_loss": nats, "valid_perplexity": perplexity(nats), "averaged": float(averaged)}
