"""Training a network to the end by a recipe: timm's parts, our order of random numbers, exact resume.

Everything random in an update - order, crops, mixing, dropped paths - is a function of (seed, purpose, epoch, update or
image), so a run that is killed anywhere and resumed computes the very numbers that the undisturbed run computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..backends import require
from ..errors import ConfigError, TrainingError
from ..processes import process_counts, started_by_torchrun
from ..randomness import torch_fork, torch_seed
from ..training.base import Loop, Report, Trained, fabric_on, to_cpu
from ..training.checkpoint import CheckpointStore, State
from ..training.layout import laid_out, lay_out, layout_on
from ..training.memory import shortage, within_free_memory
from ..training.ranks import leave
from . import schedules
from .batches import Part, TrainingBatches, normalisation, test_batches
from .drop_path import set_drop_path
from .foresight import accumulations
from .losses import Losses, main
from .optimizers import optimizer
from .pictures import PictureData, Pictures
from .settings import Recipe
from .summary import HELD_OUT
from .validation import evaluate

Progress = Callable[[dict[str, float]], None]
"""Called about once a second with ``epoch`` (from 1), ``update`` (of the epoch, from 1), ``updates`` (of an epoch),
``images_per_second``, ``seconds_left`` (of the whole training) and ``loss`` (the epoch's mean so far, nats)."""
EVERY = 1.0
"""Seconds between two calls of it."""


@dataclass(frozen=True)
class Processes:
    """How many processes share the work, and how many of them run on this machine."""

    world: int
    local: int
    launched: bool
    """By torchrun; otherwise Fabric starts them."""

    @classmethod
    def of(cls, recipe: Recipe) -> Processes:
        """Those that torchrun has started, or as many as the recipe has devices."""
        if started_by_torchrun():
            return cls(*process_counts(), True)
        return cls(recipe.devices, recipe.devices, False)


class Retraining(Loop):
    """One training of one network by ``recipe``; :meth:`run` resumes where there is something to resume.

    Where images are held out for validation every epoch is measured on them, and after the last one the test images are
    shown once, to the weights of the best epoch; otherwise every epoch is measured on the test images.

    Args:
        model: with timm's interface, trained in place; its initial weights are the caller's affair.
        pictures: train and test images, and perhaps held-out ones.
        seed: of order, augmentation, mixing and the network's own randomness.
        store: None keeps everything in memory.
        after_epoch: called with this training at the end of every epoch, when the newest row of ``history`` is
            complete.
        report: called with the newest row, and ``images_per_second`` besides.
    """

    def __init__(
        self,
        model: nn.Module,
        pictures: PictureData,
        recipe: Recipe,
        seed: int,
        *,
        store: CheckpointStore | None = None,
        after_epoch: Callable[[Retraining], None] | None = None,
        report: Report | None = None,
        progress: Progress | None = None,
    ) -> None:
        processes = Processes.of(recipe)
        if processes.world != recipe.devices:
            raise ConfigError(
                f"the recipe says devices={recipe.devices}, but torchrun started {processes.world} processes.",
                "Leave devices out.",
            )
        # A cell whose node leads nowhere has operations without gradients, which DDP must be told.
        strategy = "ddp_find_unused_parameters_true" if processes.world > 1 or processes.launched else "auto"
        fabric = fabric_on(
            recipe.accelerator,
            processes.local,
            strategy=strategy,
            num_nodes=processes.world // processes.local,
            precision=recipe.precision,
        )
        if recipe.precision == "16-mixed" and fabric.device.type == "cpu":
            raise ConfigError("precision=16-mixed needs a GPU, and this is a CPU.", "Use bf16-mixed or 32-true.")
        if recipe.sync_batchnorm and fabric.device.type != "cuda":
            raise ConfigError(f"sync_batchnorm works on CUDA only, and this is {fabric.device.type}.", "Leave it out.")
        super().__init__(model, recipe, fabric, (0, recipe.epochs), store, report)
        self.pictures, self.recipe, self.seed = pictures, recipe, seed
        self.after_epoch, self.progress = after_epoch, progress
        self.losses = Losses(recipe.loss)
        self.normalisation = normalisation(recipe, pictures.train)
        self.ema: Any = None
        self.batches: TrainingBatches | None = None
        self.images_per_second = float("nan")
        self.tested: dict[str, float] = {}
        """Where images are held out, when the training is finished: ``loss``, ``top1`` and ``top5`` of the test images,
        with the weights of the best epoch."""
        self._best: State = {}

    @property
    def measured(self) -> str:
        """What stands before the names of a row's numbers: whether they are of held-out images or of the test images."""
        return "" if self.pictures.validation is None else HELD_OUT

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch with the largest top-1 accuracy, the first of equals."""
        return max(self.history, key=lambda row: row[f"{self.measured}top1"])

    @property
    def steps_per_epoch(self) -> int:
        """Updates an epoch."""
        assert self.batches is not None  # there is a number only when the processes are known
        return self.batches.updates

    @property
    def evaluated(self) -> nn.Module:
        """The network whose accuracy counts: the moving average where there is one."""
        return self.model if self.ema is None else cast(nn.Module, self.ema.module)

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            TrainingError: the loss or a weight is not finite; or memory runs out, then with the number of images at
                once that fits.
            CheckpointError: the folder cannot be used; ``ConfigChanged`` if it belongs to another configuration.
        """
        with torch_fork(
            self.seed, "retraining"
        ):  # what follows seeds torch's generators; the caller's stay as they are
            try:
                return super().run()
            except BaseException as error:
                leave()  # those that Fabric started would wait for this one
                cause = shortage(error)
                if cause is None:
                    raise
            finally:
                if self.batches is not None:
                    self.batches.close()
        raise self._named(cause)

    def rate(self, epoch: int) -> float:
        return schedules.rate(self.recipe, epoch, epoch * self.steps_per_epoch, self.steps_per_epoch)

    # -- state ---------------------------------------------------------------------------------------------------------
    def optimizer_state(self) -> State:
        """timm's optimizer with its groups, and the loss scale of mixed precision."""
        state = self.optimizer.state_dict()
        return {"optimizer": _on_cpu(state), "precision": self.fabric.strategy.precision.state_dict()}

    def _restore_optimizer(self, state: State) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("precision"):
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _extra_state(self) -> State:
        """``memory_format`` as in :class:`nni_plugins.evaluators.training.Training`."""
        average = {} if self.ema is None else {"ema": to_cpu(self.ema.module.state_dict())}
        chosen = {} if self.pictures.validation is None else {"best": self._best, "tested": self.tested}
        return {"memory_format": self.layout, **average, **chosen}

    def _restore_extra(self, state: State) -> None:
        self.layout = state["memory_format"]
        lay_out(self.model, self.layout)
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        if self.pictures.validation is not None:
            self._best, self.tested = state["best"], state["tested"]

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        recipe, device = self.recipe, self.fabric.device
        if recipe.sync_batchnorm:
            self.model = require("timm.layers", "timm").convert_sync_batchnorm(self.model)
        self.layout = layout_on(recipe.memory_format, device, recipe.precision)
        lay_out(self.model, self.layout)
        self.model = self.fabric.strategy.precision.convert_module(self.model).to(
            device
        )  # before the moving average copies it
        self.batches = TrainingBatches(
            self.pictures.train,
            recipe,
            self.normalisation,
            self.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            device=device,
        )
        self.optimizer = optimizer(self.model, recipe.optimizer)
        self.scheduler = schedules.scheduler(self.optimizer, recipe, self.steps_per_epoch)
        if recipe.ema is not None:
            utils = require("timm.utils", "timm")
            self.ema = utils.ModelEmaV3(self.model, decay=recipe.ema.decay, use_warmup=recipe.ema.warmup)
        module: Any = torch.compile(self.model) if recipe.compile else self.model
        self.module, self.stepper = self.fabric.setup(module, self.optimizer)

    def _begin_training(self) -> None:
        self.begun, self.seen, self.reported = time.monotonic(), 0, 0.0

    def _begin_epoch(self, epoch: int) -> None:
        self.module.train()
        self.epoch_begun, self.epoch_seen = time.monotonic(), 0

    def _epoch(self, epoch: int, first: int) -> None:
        recipe, fabric, updates = self.recipe, self.fabric, self.steps_per_epoch
        assert self.batches is not None
        for step, parts in enumerate(self.batches.epoch(epoch, first), start=first):
            update = epoch * updates + step
            schedules.set_rate(self.scheduler, recipe, epoch, update)
            set_drop_path(
                self.model,
                recipe.network,
                epoch=epoch,
                epochs=recipe.epochs,
                update=update,
                updates=recipe.epochs * updates,
            )
            self.stepper.zero_grad(set_to_none=True)
            for number, part in enumerate(parts):
                with fabric.no_backward_sync(self.module, enabled=number + 1 < len(parts)):
                    self._part(epoch, step, number, part)
            if recipe.optimizer.gradient_clip is not None:
                fabric.clip_gradients(
                    self.module, self.stepper, max_norm=recipe.optimizer.gradient_clip, error_if_nonfinite=False
                )
            self.stepper.step()
            if self.ema is not None:
                self.ema.update(self.model, step=update + 1)
            self._tell(epoch, step, sum(len(part.images) for part in parts) * fabric.world_size)
            self._after_step(epoch, step)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize(fabric.device)  # otherwise only what was queued would be timed
        self.images_per_second = self.epoch_seen / max(time.monotonic() - self.epoch_begun, 1e-9)

    def _part(self, epoch: int, step: int, number: int, part: Part) -> None:
        """Gradients of one part of a batch, and its meters. What the network draws is a function of (seed, epoch, step,
        part, process).
        """
        images = part.images.double() if self.recipe.precision == "64-true" else part.images
        torch.manual_seed(torch_seed(self.seed, "network noise", epoch, step, number, self.fabric.global_rank))
        outputs = self.module(laid_out(images, self.layout))
        loss = self.losses(outputs, part.targets)
        self.fabric.backward(loss * part.weight)
        with torch.no_grad():
            correct, count = (main(outputs).argmax(1) == part.labels).sum(), len(part.labels)
            self.meters += torch.stack(
                [loss.detach().double() * count, correct.double(), loss.new_full((), count, dtype=torch.float64)]
            )

    def _tell(self, epoch: int, step: int, images: int) -> None:
        """Speed and time left, about once a second: to read the loss waits for the device."""
        self.seen, self.epoch_seen, now = self.seen + images, self.epoch_seen + images, time.monotonic()
        if (
            self.progress is None
            or not self.fabric.is_global_zero
            or (now - self.reported < EVERY and step + 1 < self.steps_per_epoch)
        ):
            return
        loss, _, count = self.meters.tolist()
        speed = self.seen / max(now - self.begun, 1e-9)
        left = (self.recipe.epochs - epoch) * self.steps_per_epoch - step - 1
        numbers = {"epoch": epoch + 1, "update": step + 1, "updates": self.steps_per_epoch, "images_per_second": speed}
        self.progress({**numbers, "seconds_left": left * self.recipe.batch_size / speed, "loss": loss / max(count, 1)})
        self.reported = time.monotonic()

    def _enrich(self, epoch: int) -> None:
        """The numbers of the held-out images, or of the test images; then whatever the caller writes down."""
        row, held_out = self.history[-1], self.pictures.validation
        images = self.pictures.test if held_out is None else held_out
        own = self._measured(self.model, images)
        counted = dict(own) if self.ema is None else self._measured(self.ema.module, images)
        row[f"{self.measured or 'test_'}loss"] = counted.pop("loss")
        row.update({f"{self.measured}{name}": number for name, number in counted.items()})
        if self.ema is not None:
            row[f"{self.measured}top1_raw"] = own["top1"]
        if held_out is not None:
            if self.best is row:
                self._best = to_cpu(self.evaluated.state_dict())
            if epoch + 1 == self.recipe.epochs:
                self.tested = self._test_the_best()
        if self.after_epoch is not None and self.fabric.is_global_zero:
            self.after_epoch(self)

    def _reported(self) -> dict[str, float]:
        """The speed, which differs from run to run, is no part of the curve."""
        return {**self.history[-1], "images_per_second": self.images_per_second}

    def _test_the_best(self) -> dict[str, float]:
        """What the weights of the best epoch make of the test images; the network then has its own again."""
        network = self.evaluated
        own = to_cpu(network.state_dict())
        network.load_state_dict(self._best)
        tested = self._measured(network, self.pictures.test)
        network.load_state_dict(own)
        return tested

    def _measured(self, network: nn.Module, images: Pictures) -> dict[str, float]:
        """Every process measures its share; all with the statistics of the first one's batch norms, which are those
        that are saved.
        """
        fabric = self.fabric
        if fabric.world_size > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)
        batches = test_batches(
            images,
            self.recipe,
            self.normalisation,
            fabric.device,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )

        def total(sums: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, fabric.all_reduce(sums, reduce_op="sum"))

        with fabric.autocast():
            return evaluate(network, batches, reduce=total)

    def _remedy(self, epoch: int) -> str:
        return f"Lower optimizer.learning_rate (it is {self.rate(epoch):g}) or set optimizer.gradient_clip"

    # -- memory --------------------------------------------------------------------------------------------------------
    def _named(self, detail: str) -> TrainingError:
        """What fits, found by trying halves."""
        recipe, at_once = self.recipe, self.recipe.part_size
        problem = f"memory ran out with {at_once} images at once (batch_size={recipe.batch_size}): {detail}"
        fitting, tried = 0, at_once // 2
        while tried >= 2 and not fitting:
            fitting = tried if self._fits(tried) else 0
            tried //= 2
        choices = accumulations(recipe, fitting)
        if fitting and not choices:
            return TrainingError(
                problem,
                f"{fitting} at once fit, but no part of {recipe.batch_size} is that small: choose another batch_size, and accumulate.",
            )
        if not choices:
            return TrainingError(
                problem,
                "Not even 2 images fit: use smaller images or a smaller network (--set input.size=..., network.sizes).",
            )
        count = recipe.batch_size // (choices[0] * recipe.devices)
        return TrainingError(
            problem,
            f"{count} at once fit: add --set accumulate={choices[0]} (the batch stays {recipe.batch_size}), or use smaller images.",
        )

    def _fits(self, count: int) -> bool:
        """Whether a step of ``count`` images of zeros goes through."""
        self.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        side = self.recipe.input.size
        kind = torch.float64 if self.recipe.precision == "64-true" else torch.float32
        try:
            with self.fabric.autocast(), within_free_memory(self.fabric.device, self.fabric.world_size):
                outputs = self.model.train()(torch.zeros(count, 3, side, side, dtype=kind, device=self.fabric.device))
                loss = self.losses(outputs, torch.zeros(count, dtype=torch.int64, device=self.fabric.device))
                # not backward(): the hooks of several processes have already seen these weights
                torch.autograd.grad(loss, [p for p in self.model.parameters() if p.requires_grad], allow_unused=True)
        except Exception as error:
            if shortage(error) is None:
                raise
            return False
        return True


def _on_cpu(value: Any) -> Any:
    """A copy with all tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(part) for part in value)
    return value
