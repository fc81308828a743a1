"""When a differentiable search has become unstable, and what then happens: DARTS-ES stops it, DARTS-ADA rolls it back
and decays more.

Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020, sections 4.3 and 5.1, with
the numbers of the official code. With an eigenvalue every k epochs, local averages over the
window w, and the lag d:

- LA_j is the mean of the values j - w//2 to j + w//2, as far as they exist on the left; the newest one is therefore
  w//2 values old;
- the search is unstable if LA_j / LA_(j-d) > factor and value j-d is of epoch ``start_epoch`` or later; it is not asked
  in the last epoch;
- the stop epoch is that of value j-d: k (w//2 + d) epochs back, 12 with the official numbers.

Epochs count from 0 here, and from 1 in whatever people see. Three slips of the official code are left out: after a
roll-back the history ends at the stop epoch (there the abandoned eigenvalues stay in the average), the unrolled step
takes the new weight decay (there the old one), and the new decay never exceeds its maximum (there, a decay that does
not hit it within rounding grows on).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..errors import TrainingError
from ..files import atomic_write
from .checkpoint import State
from .loop import Report, Training, cosine
from .settings import BilevelSettings, StabilitySettings


@dataclass(frozen=True)
class Stop:
    """``epoch``: the stop epoch, from 0. ``ratio``: of the two local averages."""

    epoch: int
    ratio: float


def local_averages(values: Sequence[float], window: int) -> list[float]:
    """LA_0, LA_1, ... of an odd ``window``; as many as have all values on their right: len(values) - window // 2, or
    none.
    """
    half = window // 2
    parts = [values[max(0, j - half) : j + half + 1] for j in range(len(values) - half)]
    return [sum(part) / len(part) for part in parts]


def unstable(values: Sequence[float], every: int, rule: StabilitySettings) -> Stop | None:
    """What the newest of ``values`` (of epochs 0, ``every``, 2 ``every``, ...) says, or None.

    An average that is not positive has no ratio and stops nothing; with softmax and weight decay there is none, as the
    Hessian has a zero.
    """
    averages = local_averages(values, rule.window)
    earlier = len(averages) - 1 - rule.delta
    if earlier < 0 or earlier * every < rule.start_epoch or averages[earlier] <= 0:
        return None
    ratio = averages[-1] / averages[earlier]
    return Stop(earlier * every, ratio) if ratio > rule.factor else None


def raised(weight_decay: float, rule: StabilitySettings) -> float | None:
    """The weight decay after ``weight_decay``, or None if that is the largest one."""
    if weight_decay >= rule.max_weight_decay:
        return None
    return min(
        float(f"{weight_decay * rule.multiplier:.12g}"), rule.max_weight_decay
    )  # 0.0003 * 10 is a little less than 0.003


class WatchedTraining(Training):
    """The ends of epochs of a differentiable search: its mixtures, its eigenvalue, and what follows from that.

    Whatever is needed to roll back - the states of the last epochs that could become stop epochs, six with the official
    numbers - is part of every checkpoint, so that a resumed training decides and continues like an undisturbed one.
    """

    settings: BilevelSettings
    genotypes: list[str]
    architecture: dict[str, nn.Parameter]
    adam: torch.optim.Adam

    def _eigenvalue(self) -> float:
        raise NotImplementedError

    def _reporting(self, report: Report) -> Report:
        """``report`` with the newest eigenvalue in every row: the portal draws those keys that the first row of a trial
        has.
        """

        def wrapped(row: dict[str, float]) -> None:
            newest = next((old["eigenvalue"] for old in reversed(self.history) if "eigenvalue" in old), None)
            report(row if newest is None else {**row, "eigenvalue": newest})

        return wrapped

    # -- state ---------------------------------------------------------------------------------------------------------
    def _watch_from_start(self) -> None:
        self.mixtures: list[dict[str, Any]] = []
        self.rollbacks: list[dict[str, Any]] = []
        self.past: dict[int, State] = {}
        self.pending: Stop | None = None
        self._write_mixtures()

    def _snapshot(self, epoch: int, step: int, meters: torch.Tensor) -> State:
        state = super()._snapshot(epoch, step, meters)
        state["mixtures"] = json.dumps(self.mixtures)
        state["stability"] = {"rollbacks": json.dumps(self.rollbacks), "past": dict(self.past)}
        return state

    def _restore(self, state: State) -> tuple[int, int]:
        self.mixtures = json.loads(state["mixtures"])
        if "stability" in state:
            self.rollbacks = json.loads(state["stability"]["rollbacks"])
            self.past = dict(state["stability"]["past"])
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.weight_decay
        self._write_mixtures()
        return super()._restore(state)

    @property
    def weight_decay(self) -> float:
        """Of the weights, now."""
        return float(self.rollbacks[-1]["weight_decay"]) if self.rollbacks else self.settings.weight_decay

    @property
    def stopped(self) -> bool:
        """Whether the search was stopped early: nothing is trained any more."""
        return (bool(self.rollbacks) and self.rollbacks[-1]["method"] == "early_stop") or self.skips_reached

    @property
    def skips_reached(self) -> bool:
        """Whether the newest epoch's normal cell has as many skip connections as end a search (Liang et al., "DARTS+",
        2019, section 3.2, criterion 1).
        """
        most = self.settings.most_skips
        return most is not None and bool(self.history) and self.history[-1]["normal_skips"] >= most

    def _write(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        if self.store is not None and self.fabric.is_global_zero:
            atomic_write(self.store.folder / name, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _write_mixtures(self) -> None:
        if callable(getattr(self.model, "numbers", None)):
            self._write("mixtures.jsonl", self.mixtures)

    # -- the end of an epoch -------------------------------------------------------------------------------------------
    def _watch(self, epoch: int) -> None:
        """Complete the row of ``epoch`` and decide what follows it."""
        settings, last = self.settings, self.settings.epochs - 1
        model, every, rule = cast(Any, self.model), settings.hessian_every, settings.stability
        if callable(getattr(model, "numbers", None)):
            operations, shares = model.numbers()
            self.mixtures.append({"epoch": epoch + 1, "operations": operations, "shares": shares})
            self._write_mixtures()
        if not every or (epoch % every and epoch != last):
            return
        try:
            self.history[-1]["eigenvalue"] = self._eigenvalue()
        except TrainingError as error:
            raise TrainingError(f"epoch {epoch + 1}: {error.problem}", self._remedy(epoch) + ".") from None
        if (
            rule is None
            or epoch % every
            or epoch == last
            or (rule.method == "adaptive" and raised(self.weight_decay, rule) is None)
        ):
            return
        lag = rule.lag(every)
        if rule.start_epoch <= epoch < last - lag:
            state = self._snapshot(epoch + 1, 0, torch.zeros_like(self.meters))
            self.past[epoch] = {key: value for key, value in state.items() if key != "stability"}
        self.pending = unstable([row["eigenvalue"] for row in self.history[::every]], every, rule)
        self.past = {e: state for e, state in self.past.items() if e >= epoch - lag}

    def _save(self, epoch: int, step: int) -> None:
        if self.pending is None:  # otherwise the state that counts is still to come
            super()._save(epoch, step)

    def _finish(self, epoch: int) -> None:
        if self.stopped:
            return
        super()._finish(epoch)
        if self.pending is None:
            return
        stop, self.pending = self.pending, None
        self._roll_back(epoch, stop)
        if self.stopped:
            return
        self._save(stop.epoch + 1, 0)
        for again in range(stop.epoch + 1, epoch + 1):
            self.module.train()
            for group in self.optimizer.param_groups:
                group["lr"] = cosine(self.settings, again)
            self._epoch(again, 0)
            self._finish(again)

    def _roll_back(self, epoch: int, stop: Stop) -> None:
        """Put everything back to the end of the stop epoch, but for the record of what was abandoned, and the weight
        decay.
        """
        rule = cast(StabilitySettings, self.settings.stability)
        decay = raised(self.weight_decay, rule) if rule.method == "adaptive" else None
        record = {
            "method": rule.method,
            "epoch": stop.epoch + 1,
            "found": epoch + 1,
            "ratio": stop.ratio,
            "weight_decay": self.weight_decay if decay is None else decay,
            "abandoned": list(self._rows()[stop.epoch + 1 :]),
        }
        state = copy.deepcopy(self.past[stop.epoch])  # training goes on in the tensors that are put back
        self.rollbacks.append(record)
        further = decay is not None and raised(decay, rule) is not None
        self.past = {e: kept for e, kept in self.past.items() if further and e <= stop.epoch}
        for optimizer in (self.optimizer, self.adam):
            optimizer.state.clear()
        self._restore(state)
        self._write("metrics.jsonl", self._rows())
