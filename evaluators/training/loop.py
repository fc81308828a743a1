"""The training loop, on Lightning Fabric: devices, mixed precision and DDP are Fabric's; the order of random numbers and exact resume are ours.

Everything random in epoch ``e`` - order of the images, crops and flips, single paths, targets - is a function of (seed, purpose, e),
so a run that is killed anywhere and resumed computes the very numbers that the undisturbed run computes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from ..data import ImageSet
from ..errors import CheckpointError, ConfigError, TrainingError
from ..files import atomic_write
from ..objectives import Crops, Objective, check_targets
from ..randomness import generator, torch_fork
from ..settings import MAY_CHANGE, TrainingSettings
from ..shared_weights import Companion, Cycle
from .checkpoint import CheckpointStore, State
from .memory import named_shortage
from .paths import DropPath, Paths
from .schedule import cosine as cosine
from .schedule import sgd as sgd
from .schedule import steps as steps

Report = Callable[[dict[str, float]], None]
"""Called at the end of every epoch with ``epoch`` (from 1), ``loss`` (nats), ``accuracy`` (percent of the objective's targets), ``learning_rate``."""


@dataclass(frozen=True)
class Uses:
    """Which images an epoch uses, one use a row: ``index: (uses,)`` of the images, on the CPU; what was drawn for each use's augmentation
    and for the objective, on the device."""

    index: torch.Tensor
    augmentation: torch.Tensor
    objective: torch.Tensor


@dataclass(frozen=True)
class Trained:
    """What a training leaves: weights before and after (state dictionaries on the CPU), its curve, and the hash of W0's file, if it was written."""

    initial: State
    final: State
    history: list[dict[str, float]]
    initial_sha256: str | None


def to_cpu(state: State) -> State:
    """A copy of a state dictionary on the CPU, in the order of its names."""
    return {name: state[name].detach().to("cpu", copy=True) for name in sorted(state)}


class Training:
    """One training of one network; :meth:`run` trains it, resuming from ``folder`` where there is something to resume.

    Args:
        model: trained in place. Its initial weights are the caller's affair (``randomness.torch_fork``).
        objective, images, settings: what is trained, on what, and how.
        seed: of data order, augmentation and whatever ``paths`` draws.
        folder: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
        config: identity of the run beyond objective, settings and seed, for the check on resume.
        paths: makes this a supernet training: every step calls ``model.forward_path(x, path)``.
        update_all: decay and momentum also move parameters that the step's path does not touch, as in the official code, where
            gradients are zeroed rather than absent.
        drop_path: of a supernet that can drop; None: nothing is dropped.
        cycle: this is one of several trainings of a supernet. It lasts ``cycle.epochs`` epochs, counted through all cycles in the curve and
            in all draws; the learning rate is that of ``cycle.schedule``.
        optimizer_state: what :meth:`optimizer_state` gave of the cycle before, if momentum is kept.
        companion: what is trained beside the network; see :class:`evaluators.shared_weights.Companion`.
        report: see :data:`Report`.
    """

    meter_count: ClassVar[int] = 3  # sum of losses, correct answers, targets

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        images: ImageSet,
        settings: TrainingSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        paths: Paths | None = None,
        update_all: bool = False,
        drop_path: DropPath | None = None,
        cycle: Cycle | None = None,
        optimizer_state: State | None = None,
        companion: Companion | None = None,
        report: Report | None = None,
    ) -> None:
        if len(images) < 2 * settings.devices:
            raise ConfigError(
                f"{images.name}: at least 2 images for each device are needed, but there are {len(images)} (devices={settings.devices})."
            )
        if settings.devices > settings.batch_size // 2:
            raise ConfigError(f"batch_size >= 2 * devices must hold, but got batch_size={settings.batch_size}, devices={settings.devices}.")
        objective.check(images)
        self.model, self.objective, self.images, self.settings, self.seed = model, objective, images, settings, seed
        self.paths, self.update_all, self.report = paths, update_all, report
        self.drop_path, self.cycle, self.companion, self.given_state = drop_path, cycle, companion, optimizer_state
        self.first_epoch, self.epochs = (0, settings.epochs) if cycle is None else (cycle.first_epoch, cycle.epochs)
        self.history: list[dict[str, float]] = []
        identity = {"settings": settings.model_dump(exclude=set(MAY_CHANGE)), "seed": seed, "objective": [type(objective).__name__, vars(objective)]}
        if drop_path is not None:
            drop_path.check(model)
        identity |= {name: asdict(given) for name, given in (("drop_path", drop_path), ("cycle", cycle)) if given is not None}
        self.store = None if folder is None else CheckpointStore(folder, {**identity, **(config or {})})
        # A single path leaves most of a supernet without gradients, which DDP must be told.
        strategy = "ddp_find_unused_parameters_true" if settings.devices > 1 else "auto"
        self.fabric = Fabric(accelerator=settings.accelerator, strategy=strategy, devices=settings.devices, precision=settings.precision)

    @property
    def steps_per_epoch(self) -> int:
        """Of :func:`steps`."""
        return steps(len(self.images), self.settings)

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            TrainingError: the loss or a weight is not finite, or memory runs out.
            CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
        """
        self.fabric.launch()  # with several devices this starts the other processes; only the first one locks and writes
        with self.store if self.store is not None and self.fabric.is_global_zero else nullcontext(), named_shortage(self.settings.batch_size):
            return self._run()

    def rate(self, epoch: int) -> float:
        """Learning rate of ``epoch``, counted from 0 through all cycles."""
        if self.cycle is None:
            return cosine(self.settings, epoch)
        return cosine(self.settings, *self.cycle.schedule(epoch - self.first_epoch))

    # -- state ------------------------------------------------------------------------------------------------------------
    def optimizer_state(self) -> State:
        """``momentum`` by parameter, on the CPU, and ``precision``, the loss scale of mixed precision."""
        momenta = {
            name: self.optimizer.state[p]["momentum_buffer"]
            for name, p in sorted(self.model.named_parameters())
            if self.optimizer.state.get(p, {}).get("momentum_buffer") is not None
        }
        return {"momentum": to_cpu(momenta), "precision": self.fabric.strategy.precision.state_dict()}

    def _restore_optimizer(self, state: State) -> None:
        parameters = dict(self.model.named_parameters())
        for name, momentum in state["momentum"].items():  # a copy: on the CPU the buffer would be the caller's tensor
            self.optimizer.state[parameters[name]]["momentum_buffer"] = momentum.to(parameters[name].device, copy=True)
        if state.get("precision"):
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _snapshot(self, epoch: int, step: int, meters: torch.Tensor) -> State:
        return {
            "model": to_cpu(self.model.state_dict()),
            **self.optimizer_state(),
            "meters": meters.cpu(),
            "epoch": epoch,
            "step": step,
            "history": json.dumps(self.history),
            **({} if self.companion is None else {"companion": self.companion.state_dict()}),
        }

    def _restore(self, state: State) -> tuple[int, int]:
        self.model.load_state_dict(state["model"])
        self._restore_optimizer(state)
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])
        if self.fabric.is_global_zero:  # they are the sums over all processes
            self.meters.copy_(state["meters"])
        self.history = json.loads(state["history"])
        return int(state["epoch"]), int(state["step"])

    def _due(self) -> bool:
        """Whether it is time to save. Processes agree on it, because saving adds up their meters."""
        due = time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds
        if self.fabric.world_size == 1:
            return due
        return bool(self.fabric.all_reduce(torch.tensor(float(due), device=self.fabric.device), reduce_op="sum") > 0)

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
        """The loss is that of before the step, so the weights are looked at too: a checkpoint never holds broken ones."""
        weights = torch.stack([torch.isfinite(p).all() for p in self.model.parameters()]).all()
        if bool(torch.isfinite(meters).all() & weights):
            return
        broken = f"the loss became {float(meters[~torch.isfinite(meters)][0])}" if bool(weights) else "weights became infinite or NaN"
        intact = "; the last checkpoint is intact" if self.store is not None and self.store.exists else ""
        raise TrainingError(f"{broken} in epoch {epoch + 1}.", f"{self._remedy(epoch)}{intact}.")

    def _remedy(self, epoch: int) -> str:
        return f"Lower the learning rate (it is {self.rate(epoch):g}) or set gradient_clip"

    def _log(self, row: dict[str, Any]) -> None:
        if self.store is not None and self.fabric.is_global_zero:
            path = self.store.folder / "metrics.jsonl"
            try:
                with open(path, "a") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError as error:
                raise CheckpointError(f"cannot write {path}: {error.strerror}.", "Make room, then run the same command again.") from None

    # -- the loop ---------------------------------------------------------------------------------------------------------
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
        if found is None and self.given_state is not None:
            self._restore_optimizer(self.given_state)
        fabric.barrier()  # no process may still be reading when the first one writes
        if self.store is not None and fabric.is_global_zero:
            lines = "".join(json.dumps(row) + "\n" for row in self._rows())
            atomic_write(self.store.folder / "metrics.jsonl", lines.encode())
        self.saved_at = time.monotonic()
        self.pixels = self.images.on(fabric.device)
        self.mean, self.std = (s.to(fabric.device)[:, None, None] for s in self.images.statistics())
        end = self.first_epoch + self.epochs
        while epoch < end:
            self.module.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(epoch)
            self._epoch(epoch, step)
            self._finish(epoch)
            epoch, step = epoch + 1, 0
        if self.store is not None and (found is None or found[0] < end * self.steps_per_epoch):
            self._save(epoch, 0)
        if self.drop_path is not None:
            self.drop_path.apply(self.model, 0.0)
        sha = self.store.initial_sha256 if self.store is not None else None
        return Trained(initial, to_cpu(self.model.state_dict()), self.history, sha)

    def _setup(self) -> None:
        """Make the optimizers; give them and the network to Fabric."""
        self.optimizer = sgd(self.model.parameters(), self.settings)
        self.module, self.stepper = self.fabric.setup(self.model, self.optimizer)
        if self.paths is not None:
            self.module.mark_forward_method("forward_path")

    def _begin(self, epoch: int) -> None:
        """The given classes of all images in ``epoch``, on the device; None where the objective makes its targets itself."""
        targets, classes = self.objective.epoch_targets(self.images, epoch), self.objective.head(self.images).classes
        self.targets = None if targets is None else check_targets(targets, self.images, classes).to(self.fabric.device)

    def _drawn(self, index: npt.NDArray[np.int64], augmentation: npt.NDArray[Any], objective: npt.NDArray[np.int32]) -> Uses:
        """Uses of the images at ``index``, with what was drawn for each."""
        moved = (torch.from_numpy(np.ascontiguousarray(drawn)).to(self.fabric.device) for drawn in (augmentation, objective))
        return Uses(torch.from_numpy(index), *moved)

    def _share(self, step: int, uses: Uses) -> tuple[torch.Tensor, float]:
        """This process' part of batch ``step`` of ``uses``, on the CPU, and the weight of its mean loss: averaged over processes, every
        image then counts the same."""
        joint = torch.arange(step * self.settings.batch_size, min((step + 1) * self.settings.batch_size, len(uses.index)))
        batch = joint[self.fabric.global_rank :: self.fabric.world_size]
        return batch, len(batch) * self.fabric.world_size / len(joint)

    def _prepared(self, uses: Uses, step: int) -> tuple[torch.Tensor, torch.Tensor, float | torch.Tensor]:
        """Inputs and targets of this process' part of batch ``step``, and the weight of its mean loss."""
        batch, share = self._share(step, uses)
        device, augmentation, objective = self.fabric.device, self.images.augmentation, self.objective
        chosen, index = batch.to(device), uses.index[batch]
        index = index if self.images.streamed else index.to(device)  # files are opened from the CPU: asking a GPU for numbers would wait for it
        drawn = uses.augmentation[chosen]
        maps = augmentation.apply_maps(self.pixels.gather_maps(index), drawn) if objective.wants_maps else None
        x, targets = objective.prepare(
            Crops(
                augmentation.apply(self.pixels.gather(index), drawn),
                None if self.targets is None else self.targets[index.to(device)],
                maps,
                uses.objective[chosen],
                self.mean,
                self.std,
                augmentation.colour,
                drawn,
            )
        )
        weight: float | torch.Tensor = share
        if not objective.even and self.fabric.world_size > 1:
            count = objective.count(targets).double()
            weight = count / cast(torch.Tensor, self.fabric.all_reduce(count.clone(), reduce_op="mean")).clamp_min(1 / self.fabric.world_size)
        return (x.double() if self.settings.precision == "64-true" else x), targets, weight

    def _measured(self, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(3,) float64 of a batch: sum of losses, number of correct answers, number of targets."""
        with torch.no_grad():
            count = self.objective.count(targets).double()
            return torch.stack([loss.double() * count, self.objective.correct(outputs, targets).double(), count])

    def _epoch(self, epoch: int, first: int) -> None:
        """The steps of ``epoch`` from step ``first`` on."""
        settings, fabric, module, optimizer, count = self.settings, self.fabric, self.module, self.stepper, len(self.images)
        self._begin(epoch)
        order = generator(self.seed, "data order", epoch).permutation(count)
        drawn, own = self.images.augmentation.draw(self.seed, epoch, count), self.objective.draw(self.seed, epoch, count)
        uses = self._drawn(order, drawn[order], own[order])
        self.pixels.plan(uses.index[torch.cat([self._share(step, uses)[0] for step in range(first, self.steps_per_epoch)])])
        paths = None if self.paths is None else self.paths(epoch, self.steps_per_epoch)
        if self.update_all:
            for p in self.model.parameters():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        for step in range(first, self.steps_per_epoch):
            x, targets, share = self._prepared(uses, step)
            optimizer.zero_grad(set_to_none=not self.update_all)
            outputs = module(x) if paths is None else self._forward_path(x, paths[step], epoch, step)
            loss = self.objective.loss(outputs, targets)
            fabric.backward(loss * share)
            if settings.gradient_clip is not None:
                fabric.clip_gradients(module, optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False)
            optimizer.step()
            self.meters += self._measured(loss.detach(), outputs, targets)
            if step + 1 < self.steps_per_epoch and self._due():
                self._save(epoch, step + 1)

    def _forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8], epoch: int, step: int) -> torch.Tensor:
        """What is dropped is a function of (seed, epoch, step, process)."""
        if self.drop_path is None:
            return cast(torch.Tensor, self.module.forward_path(x, path))
        done = (epoch - self.first_epoch) * self.steps_per_epoch + step + 1
        self.drop_path.apply(self.model, done / (self.epochs * self.steps_per_epoch))
        with torch_fork(self.seed, "drop path", epoch, step, self.fabric.global_rank):
            return cast(torch.Tensor, self.module.forward_path(x, path))

    def _finish(self, epoch: int) -> None:
        total = self._total()
        self._check_finite(epoch, total)
        self._note(epoch, total)
        if self.companion is not None:
            self.history[-1] |= self.companion.after_epoch(epoch)
        self.meters.zero_()
        self._log(self._rows()[-1])
        if self._due():
            self._save(epoch + 1, 0)
        if self.report is not None and self.fabric.is_global_zero:
            self.report(self.history[-1])

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        """Add the row of ``epoch`` to the curve. ``total``: the meters, summed over all processes."""
        loss, correct, count = total.tolist()[:3]
        row = {"epoch": epoch + 1, "loss": loss / count, "accuracy": 100 * correct / count, "learning_rate": self.rate(epoch)}
        self.history.append(row)

    def _rows(self) -> Sequence[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return self.history
