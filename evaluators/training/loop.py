"""Training of supernets and stand-alone networks for the searches: our objectives, our augmentation on the device,
single paths.

Everything random in epoch ``e`` - order of the images, crops and flips, single paths, targets - is a function of (seed,
purpose, e), so a run that is killed anywhere and resumed computes the very numbers that the undisturbed run computes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..data.images import ImageSet
from ..devices import moved
from ..errors import ConfigError
from ..objectives.base import Crops, Objective, check_targets
from ..randomness import generator, torch_fork, torch_seed
from ..supernets.shared_weights import Companion, Cycle
from .base import Loop, fabric_on
from .base import Report as Report
from .base import Trained as Trained
from .base import to_cpu as to_cpu
from .checkpoint import CheckpointStore, State
from .layout import laid_out, lay_out, layout_on
from .paths import DropPath, Paths
from .schedule import cosine as cosine
from .schedule import sgd as sgd
from .schedule import steps as steps
from .settings import MAY_CHANGE, TrainingSettings


@dataclass(frozen=True)
class Uses:
    """Which images an epoch uses, one use a row: ``index: (uses,)`` of the images, on the CPU, and ``place``, the same on
    the device; what was drawn for each use's augmentation and for the objective, on the device."""

    index: torch.Tensor
    place: torch.Tensor
    augmentation: torch.Tensor
    objective: torch.Tensor


class Training(Loop):
    """One training of one network; :meth:`run` trains it, resuming from ``folder`` where there is something to resume.

    Args:
        model: trained in place. Its initial weights are the caller's affair (``randomness.torch_fork``).
        objective, images, settings: what is trained, on what, and how.
        seed: of data order, augmentation and whatever ``paths`` draws.
        folder: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
        config: identity of the run beyond objective, settings and seed, for the check on resume.
        paths: makes this a supernet training: every step calls ``model.forward_path(x, path)``.
        update_all: decay and momentum also move parameters that the step's path does not touch, as in the official
            code, where gradients are zeroed rather than absent.
        drop_path: of a supernet that can drop; None: nothing is dropped.
        cycle: this is one of several trainings of a supernet. It lasts ``cycle.epochs`` epochs, counted through all
            cycles in the curve and in all draws; the learning rate is that of ``cycle.schedule``.
        optimizer_state: what :meth:`optimizer_state` gave of the cycle before, if momentum is kept.
        companion: what is trained beside the network; see
            :class:`nni_plugins.evaluators.supernets.shared_weights.Companion`.
        report: see :class:`Loop`.
    """

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
            raise ConfigError(
                f"batch_size >= 2 * devices must hold, but got batch_size={settings.batch_size}, devices={settings.devices}."
            )
        objective.check(images)
        self.objective, self.images, self.settings, self.seed = objective, images, settings, seed
        self.paths, self.update_all = paths, update_all
        self.drop_path, self.cycle, self.companion, self.given_state = drop_path, cycle, companion, optimizer_state
        identity = {
            "settings": settings.model_dump(exclude=set(MAY_CHANGE)),
            "seed": seed,
            "objective": [type(objective).__name__, vars(objective)],
        }
        if drop_path is not None:
            drop_path.check(model)
        identity |= {
            name: asdict(given) for name, given in (("drop_path", drop_path), ("cycle", cycle)) if given is not None
        }
        store = None if folder is None else CheckpointStore(folder, {**identity, **(config or {})})
        # A single path leaves most of a supernet without gradients, which DDP must be told.
        strategy = "ddp_find_unused_parameters_true" if settings.devices > 1 else "auto"
        fabric = fabric_on(settings.accelerator, settings.devices, strategy=strategy, precision=settings.precision)
        epochs = (0, settings.epochs) if cycle is None else (cycle.first_epoch, cycle.epochs)
        super().__init__(model, settings, fabric, epochs, store, report)

    @property
    def steps_per_epoch(self) -> int:
        """Of :func:`steps`."""
        return steps(len(self.images), self.settings)

    def rate(self, epoch: int) -> float:
        """Learning rate of ``epoch``, counted from 0 through all cycles."""
        if self.cycle is None:
            return cosine(self.settings, epoch)
        return cosine(self.settings, *self.cycle.schedule(epoch - self.first_epoch))

    # -- state ---------------------------------------------------------------------------------------------------------
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
            buffer = torch.empty_like(parameters[name]).copy_(momentum)
            self.optimizer.state[parameters[name]]["momentum_buffer"] = buffer
        if state.get("precision"):
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _choose_layout(self) -> None:
        """Before the network is Fabric's, and compiled."""
        self.layout = layout_on(self.settings.memory_format, self.fabric.device, self.settings.precision)
        lay_out(self.model, self.layout)

    def _extra_state(self) -> State:
        """``memory_format``: a run that goes on elsewhere keeps the layout that it began with, and so its bits."""
        companion = {} if self.companion is None else {"companion": self.companion.state_dict()}
        return {"memory_format": self.layout, **companion}

    def _restore_extra(self, state: State) -> None:
        self.layout = state["memory_format"]
        lay_out(self.model, self.layout)
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _begin_fresh(self) -> None:
        if self.given_state is not None:
            self._restore_optimizer(self.given_state)

    def _begin_training(self) -> None:
        self.pixels = self.images.on(self.fabric.device)
        self.mean, self.std = (s.to(self.fabric.device)[:, None, None] for s in self.images.statistics())

    def _begin_epoch(self, epoch: int) -> None:
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch)

    def _end_training(self) -> None:
        if self.drop_path is not None:
            self.drop_path.apply(self.model, 0.0)

    def _enrich(self, epoch: int) -> None:
        if self.companion is not None:
            self.history[-1] |= self.companion.after_epoch(epoch)

    def _setup(self) -> None:
        """Make the optimizers; give them and the network to Fabric."""
        self._choose_layout()
        self.optimizer = self._optimizer()
        self.module, self.stepper = self.fabric.setup(self.model, self.optimizer)
        if self.paths is not None:
            self.module.mark_forward_method("forward_path")

    def _optimizer(self) -> torch.optim.SGD:
        return sgd(self.model.parameters(), self.settings)

    def _before_step(self, epoch: int, step: int) -> None:
        """Before the gradients of ``step`` are computed."""

    def _clip(self) -> None:
        """Bound the gradients of a step."""
        if self.settings.gradient_clip is not None:
            self.fabric.clip_gradients(
                self.module, self.stepper, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
            )

    def _begin(self, epoch: int) -> None:
        """The given classes of all images in ``epoch``, on the device; None where the objective makes its targets
        itself.
        """
        targets, classes = self.objective.epoch_targets(self.images, epoch), self.objective.head(self.images).classes
        self.targets = (
            None if targets is None else moved(check_targets(targets, self.images, classes), self.fabric.device)
        )

    def _drawn(
        self, index: npt.NDArray[np.int64], augmentation: npt.NDArray[Any], objective: npt.NDArray[np.int32]
    ) -> Uses:
        """Uses of the images at ``index``, with what was drawn for each."""
        placed = (
            moved(torch.from_numpy(np.ascontiguousarray(rows)), self.fabric.device)
            for rows in (index, augmentation, objective)
        )
        return Uses(torch.from_numpy(index), *placed)

    def _share(self, step: int, uses: Uses) -> tuple[slice, float]:
        """This process' part of batch ``step`` of ``uses``, and the weight of its mean loss: averaged over processes,
        every image then counts the same. (Rows at indices of the CPU would wait for the device.)"""
        first, rank, world = step * self.settings.batch_size, self.fabric.global_rank, self.fabric.world_size
        joint = range(first, min(first + self.settings.batch_size, len(uses.index)))
        return slice(first + rank, joint.stop, world), len(joint[rank::world]) * world / len(joint)

    def _prepared(self, uses: Uses, step: int) -> tuple[torch.Tensor, torch.Tensor, float | torch.Tensor]:
        """Inputs and targets of this process' part of batch ``step``, and the weight of its mean loss."""
        batch, share = self._share(step, uses)
        augmentation, objective, place, drawn = (
            self.images.augmentation,
            self.objective,
            uses.place[batch],
            uses.augmentation[batch],
        )
        index = uses.index[batch] if self.images.streamed else place  # files are opened from the CPU
        maps = augmentation.apply_maps(self.pixels.gather_maps(index), drawn) if objective.wants_maps else None
        x, targets = objective.prepare(
            Crops(
                augmentation.apply(self.pixels.gather(index), drawn),
                None if self.targets is None else self.targets[place],
                maps,
                uses.objective[batch],
                self.mean,
                self.std,
                augmentation.colour,
                drawn,
            )
        )
        weight: float | torch.Tensor = share
        if not objective.even and self.fabric.world_size > 1:
            count = objective.count(targets).double()
            weight = count / cast(torch.Tensor, self.fabric.all_reduce(count.clone(), reduce_op="mean")).clamp_min(
                1 / self.fabric.world_size
            )
        x = laid_out(x.double() if self.settings.precision == "64-true" else x, self.layout)
        return x, targets, weight

    def _measured(self, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(3,) float64 of a batch: sum of losses, number of correct answers, number of targets."""
        with torch.no_grad():
            count = self.objective.count(targets).double()
            return torch.stack([loss.double() * count, self.objective.correct(outputs, targets).double(), count])

    def _epoch(self, epoch: int, first: int) -> None:
        """The steps of ``epoch`` from step ``first`` on. They seed torch's generators; the caller's stay as they are."""
        with torch_fork(self.seed, "network noise", epoch):
            self._steps(epoch, first)

    def _steps(self, epoch: int, first: int) -> None:
        fabric, module, optimizer, count = self.fabric, self.module, self.stepper, len(self.images)
        self._begin(epoch)
        order = generator(self.seed, "data order", epoch).permutation(count)
        drawn, own = (
            self.images.augmentation.draw(self.seed, epoch, count),
            self.objective.draw(self.seed, epoch, count),
        )
        uses = self._drawn(order, drawn[order], own[order])
        self.pixels.plan(
            torch.cat([uses.index[self._share(step, uses)[0]] for step in range(first, self.steps_per_epoch)])
        )
        paths = None if self.paths is None else self.paths(epoch, self.steps_per_epoch)
        if self.update_all:
            for p in self.model.parameters():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        for step in range(first, self.steps_per_epoch):
            self._before_step(epoch, step)
            x, targets, share = self._prepared(uses, step)
            optimizer.zero_grad(set_to_none=not self.update_all)
            torch.manual_seed(torch_seed(self.seed, "network noise", epoch, step, fabric.global_rank))
            outputs = module(x) if paths is None else self._forward_path(x, paths[step], epoch, step)
            loss = self.objective.loss(outputs, targets)
            fabric.backward(loss * share)
            self._clip()
            optimizer.step()
            self.meters += self._measured(loss.detach(), outputs, targets)
            self._after_step(epoch, step)

    def _forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8], epoch: int, step: int) -> torch.Tensor:
        """In mixed precision, too: on one device Fabric calls a marked method as it stands."""
        if self.drop_path is not None:
            done = (epoch - self.first_epoch) * self.steps_per_epoch + step + 1
            self.drop_path.apply(self.model, done / (self.epochs * self.steps_per_epoch))
        with self.fabric.autocast():
            outputs = cast(torch.Tensor, self.module.forward_path(x, path))
        return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
