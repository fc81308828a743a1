"""What every training on Fabric does: the lock, the initial weights, checkpoints, meters, the curve, resuming.

A subclass says what an epoch is. Where it resumes, all that follows must be a function of (seed, purpose, epoch, step),
so that a run that was killed anywhere computes the very numbers that the undisturbed run computes.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from ..base import Report as Report
from ..errors import ConfigError, TrainingError
from ..files import append_row, atomic_write
from .checkpoint import CheckpointStore, State
from .memory import named_shortage, within_free_memory
from .ranks import lost_ranks_named, watch

LONGEST_WAIT = 31
"""Steps after which several processes ask one another again whether it is time to save, at the latest: each waits for
all.
"""


class LoopSettings(Protocol):
    """What a loop reads of its settings."""

    @property
    def batch_size(self) -> int: ...

    @property
    def checkpoint_seconds(self) -> float: ...


@dataclass(frozen=True)
class Trained:
    """What a training leaves: weights before and after (state dictionaries on the CPU), its curve, and the hash of W0's
    file, if it was written.
    """

    initial: State
    final: State
    history: list[dict[str, float]]
    initial_sha256: str | None


def to_cpu(state: State) -> State:
    """A copy of a state dictionary on the CPU, in the order of its names and torch's default layout."""
    return {
        name: state[name].detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name in sorted(state)
    }


def adam_moments(adam: torch.optim.Adam, parameters: Mapping[str, nn.Parameter]) -> State:
    """What ``adam`` remembers of each of the named ``parameters``, on the CPU; nothing of those without a step."""
    return {name: to_cpu(adam.state[p]) for name, p in parameters.items() if p in adam.state}


def restore_adam(adam: torch.optim.Adam, parameters: Mapping[str, nn.Parameter], moments: State) -> None:
    """Give ``adam`` back what :func:`adam_moments` said."""
    for name, values in moments.items():
        parameter = parameters[name]  # the count of steps stays on the CPU
        adam.state[parameter] = {
            key: value if key == "step" else torch.empty_like(parameter).copy_(value) for key, value in values.items()
        }


def fabric_on(accelerator: str, devices: int = 1, **options: Any) -> Fabric:
    """Devices and precision of a training; ``options`` are Fabric's own.

    Raises:
        ConfigError: this machine has no such device, or too few of them.
    """
    try:
        return Fabric(accelerator=accelerator, devices=devices, **options)
    except Exception as error:  # Lightning's and torch's types for what this machine does not have
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"accelerator={accelerator}, devices={devices}: {reason}", "Use accelerator=auto, or fewer devices."
        ) from None


class Loop(ABC):
    """One training of one network.

    Args:
        model: trained in place. Its initial weights are the caller's affair (``randomness.torch_fork``).
        settings: batch size, and how often to save.
        fabric: of :func:`fabric_on`.
        epochs: ``first_epoch`` (from 0) and how many.
        store: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
        report: gets the newest row of the curve at the end of every epoch: ``epoch`` (from 1), ``loss`` (nats),
            ``learning_rate``; of images ``accuracy`` (percent of the objective's targets), of text ``perplexity``.
    """

    meter_count: int = 3  # sum of losses, correct answers, targets
    smaller: ClassVar[str] = "smaller images or crops"  # what a batch could consist of, should memory run out

    def __init__(
        self,
        model: nn.Module,
        settings: LoopSettings,
        fabric: Fabric,
        epochs: tuple[int, int],
        store: CheckpointStore | None,
        report: Report | None,
    ) -> None:
        self.model, self.fabric, self.store, self.report = model, fabric, store, report
        self.loop_settings, (self.first_epoch, self.epochs) = settings, epochs
        self.history: list[dict[str, float]] = []
        self.steps_waited, self.steps_to_wait = 0, 0
        self.saved_at, self.asked_at = 0.0, 0.0

    # -- what a subclass says ------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def steps_per_epoch(self) -> int: ...

    @abstractmethod
    def rate(self, epoch: int) -> float:
        """Learning rate of ``epoch`` (from 0), at its beginning."""

    @abstractmethod
    def _setup(self) -> None:
        """Make the optimizers; give them and the network to Fabric."""

    @abstractmethod
    def _begin_epoch(self, epoch: int) -> None: ...

    @abstractmethod
    def _epoch(self, epoch: int, first: int) -> None:
        """The steps of ``epoch`` from step ``first`` on; :meth:`_after_step` after each of them."""

    @abstractmethod
    def optimizer_state(self) -> State:
        """On the CPU."""

    @abstractmethod
    def _restore_optimizer(self, state: State) -> None: ...

    def _extra_state(self) -> State:
        """What a checkpoint holds besides."""
        return {}

    def _restore_extra(self, state: State) -> None:
        """Back from it."""

    def _begin_fresh(self) -> None:
        """Where nothing is resumed."""

    def _begin_training(self) -> None:
        """Before the first epoch of this process, when everything is restored."""

    def _end_training(self) -> None:
        """After the last epoch."""

    def _enrich(self, epoch: int) -> None:
        """Add to the newest row of the curve."""

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            TrainingError: the loss or a weight is not finite, or memory runs out.
            CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
        """
        # with several devices this starts the other processes; only the first one locks and writes
        self.fabric.launch()
        watch(self.fabric)
        with (
            lost_ranks_named(self.fabric.world_size),
            self.store if self.store is not None and self.fabric.is_global_zero else nullcontext(),
            named_shortage(self.loop_settings.batch_size, self.smaller),
            within_free_memory(self.fabric.device, self.fabric.world_size),
        ):
            return self._run()

    # -- state ---------------------------------------------------------------------------------------------------------
    def _snapshot(self, epoch: int, step: int, meters: torch.Tensor) -> State:
        return {
            "model": to_cpu(self.model.state_dict()),
            **self.optimizer_state(),
            "meters": meters.cpu(),
            "epoch": epoch,
            "step": step,
            "history": json.dumps(self.history),
            **self._extra_state(),
        }

    def _restore(self, state: State) -> tuple[int, int]:
        self.model.load_state_dict(state["model"])
        self._restore_extra(state)
        self._restore_optimizer(state)
        if self.fabric.is_global_zero:  # they are the sums over all processes
            self.meters.copy_(state["meters"])
        self.history = json.loads(state["history"])
        return int(state["epoch"]), int(state["step"])

    def _due(self) -> bool:
        """Whether it is time to save. Processes agree on it, because saving adds up their meters."""
        now, interval = time.monotonic(), self.loop_settings.checkpoint_seconds
        due = now - self.saved_at >= interval
        if self.fabric.world_size == 1:
            return due
        told = self.fabric.all_reduce(
            torch.tensor([float(due), now - self.asked_at], device=self.fabric.device), reduce_op="mean"
        )
        late, seconds = told.tolist()  # the same in all processes, so they wait for the same number of steps
        self.steps_to_wait = min(LONGEST_WAIT, int(interval / 8 * max(self.steps_waited, 1) / max(seconds, 1e-6)))
        self.asked_at, self.steps_waited = now, 0
        return bool(late > 0)

    def _total(self) -> torch.Tensor:
        """The meters, summed over all processes."""
        return cast(torch.Tensor, self.fabric.all_reduce(self.meters.clone(), reduce_op="sum"))

    def _save(self, epoch: int, step: int) -> None:
        meters = self._total()
        self._check_finite(epoch, meters)
        if self.store is not None and self.fabric.is_global_zero:
            self.store.save(epoch * self.steps_per_epoch + step, self._snapshot(epoch, step, meters))
        self.saved_at = time.monotonic()

    def _check_finite(self, epoch: int, meters: torch.Tensor) -> None:
        """The loss is that of before the step, so the weights are looked at too: no checkpoint holds broken ones."""
        weights = torch.stack([torch.isfinite(p).all() for p in self.model.parameters()]).all()
        if bool(torch.isfinite(meters).all() & weights):
            return
        broken = (
            f"the loss became {float(meters[~torch.isfinite(meters)][0])}"
            if bool(weights)
            else "weights became infinite or NaN"
        )
        raise self._diverged(f"{broken} in epoch {epoch + 1}", epoch)

    def _diverged(self, problem: str, epoch: int) -> TrainingError:
        """Says ``problem``, what mends it, and whether the training can be resumed from before it."""
        intact = "; the last checkpoint is intact" if self.store is not None and self.store.exists else ""
        return TrainingError(f"{problem}.", f"{self._remedy(epoch)}{intact}.")

    def _remedy(self, epoch: int) -> str:
        return f"Lower the learning rate (it is {self.rate(epoch):g}) or set gradient_clip"

    def _log(self, row: dict[str, Any]) -> None:
        if self.store is not None and self.fabric.is_global_zero:
            append_row(self.store.folder / "metrics.jsonl", row)

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _run(self) -> Trained:
        fabric = self.fabric
        initial = to_cpu(self.model.state_dict())
        if self.store is not None:
            if fabric.is_global_zero:
                self.store.keep_initial(initial)
            fabric.barrier()
            initial = self.store.keep_initial(initial)
            self.model.load_state_dict(initial)
        self._setup()
        self.meters = torch.zeros(self.meter_count, dtype=torch.float64, device=fabric.device)
        self.history = []
        found = self.store.load() if self.store is not None else None
        epoch, step = self._restore(found[1]) if found is not None else (self.first_epoch, 0)
        if found is None:
            self._begin_fresh()
        fabric.barrier()  # no process may still be reading when the first one writes
        if self.store is not None and fabric.is_global_zero:
            lines = "".join(json.dumps(row) + "\n" for row in self._rows())
            atomic_write(self.store.folder / "metrics.jsonl", lines.encode())
        self.saved_at = self.asked_at = time.monotonic()
        self._begin_training()
        end = self.first_epoch + self.epochs
        while epoch < end:
            self._begin_epoch(epoch)
            self._epoch(epoch, step)
            self._finish(epoch)
            epoch, step = epoch + 1, 0
        if self.store is not None and (found is None or found[0] < end * self.steps_per_epoch):
            self._save(epoch, 0)
        self._end_training()
        sha = self.store.initial_sha256 if self.store is not None else None
        return Trained(initial, to_cpu(self.model.state_dict()), self.history, sha)

    def _after_step(self, epoch: int, step: int) -> None:
        """Save in the middle of an epoch, if it is time."""
        self.steps_waited += 1
        if step + 1 < self.steps_per_epoch and self.steps_waited > self.steps_to_wait and self._due():
            self._save(epoch, step + 1)

    def _finish(self, epoch: int) -> None:
        total = self._total()
        self._check_finite(epoch, total)
        self._note(epoch, total)
        self._enrich(epoch)
        self.meters.zero_()
        self._log(self._rows()[-1])
        if self._due():
            self._save(epoch + 1, 0)
        if self.report is not None and self.fabric.is_global_zero:
            self.report(self._reported())

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        """Add the row of ``epoch`` to the curve. ``total``: the meters, summed over all processes."""
        loss, correct, count = total.tolist()[:3]
        row = {
            "epoch": epoch + 1,
            "loss": loss / count,
            "accuracy": 100 * correct / count,
            "learning_rate": self.rate(epoch),
        }
        self.history.append(row)

    def _reported(self) -> dict[str, float]:
        """What the report gets: the newest row of the curve."""
        return self.history[-1]

    def _rows(self) -> Sequence[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return self.history
