"""The training loop of differentiable search (DARTS): weights on one half of the images, architecture parameters on the
other.

An iteration is an architecture step (Adam) and a weight step (SGD). Each computes the gradients of what it trains and
no others: the official code computes all of them in both steps, which for DARTS' network costs a fifth more and stores
a quarter more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..data.images import ImageSet
from ..data.split import check_classes, halves
from ..errors import ConfigError
from ..objectives.base import Objective
from ..randomness import generator, torch_fork
from .base import Report, Trained, adam_moments, restore_adam
from .checkpoint import State
from .hessian import dominant_eigenvalue
from .loop import Uses
from .schedule import cosine, sgd, steps
from .second_order import Gradients, kept, require_gradients, unrolled_gradients
from .settings import BilevelSettings
from .stability import WatchedTraining


@dataclass(frozen=True)
class Bilevel(Trained):
    """``history`` has a row an epoch, of :meth:`BilevelTraining.run`; ``genotypes`` what would have been derived after
    each of them.

    ``mixtures``: of networks with ``numbers()`` a dictionary an epoch: ``epoch``, ``operations`` (kind of cell ->
    probabilities (edges, operations)) and ``shares`` (kind -> (edges,), empty without edge normalization).
    ``rollbacks``: what early stopping or adaptive decay did, in order: ``method``, ``epoch`` (the stop epoch),
    ``found`` (the epoch that showed it; both from 1), ``ratio`` of local averages, ``weight_decay`` from then on, and
    ``abandoned``, the rows of the epochs that do not count any more. Of a search that its skip connections ended
    (``method``: ``skips``) ``epoch``, ``found`` and ``skips`` alone.
    """

    genotypes: list[str]
    mixtures: list[dict[str, Any]] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def eigenvalues(self) -> dict[int, float]:
        """Epoch (from 1) -> dominant eigenvalue, of those epochs in which it was computed."""
        return {int(row["epoch"]): row["eigenvalue"] for row in self.history if "eigenvalue" in row}

    @property
    def stopped_epoch(self) -> int | None:
        """After how many epochs the search was stopped early; None if it was not."""
        return next((int(r["epoch"]) for r in self.rollbacks if r["method"] in ("early_stop", "skips")), None)


@dataclass(frozen=True)
class BatchPart:
    """This process' part of a batch; see :meth:`Training._prepared`. ``seed``: (epoch, step, process), of what the
    forward pass draws.
    """

    x: torch.Tensor
    targets: torch.Tensor
    share: float | torch.Tensor
    seed: tuple[int, int, int]


BACKEND = "inductor"
WEIGHTS, ARCHITECTURE, BOTH = (True, False), (False, True), (True, True)
"""Which parameters a forward pass wants gradients of: (weights, architecture parameters)."""


def compiled_networks(model: nn.Module) -> dict[tuple[bool, ...], nn.Module]:
    """``model`` as torch.compile has it, once for each set of parameters that gradients are wanted of.

    A compiled network does not notice that ``requires_grad`` of a parameter changed (PyTorch issue 139476; seen in
    2.11): after an architecture step the weights would have no gradients at all. But it never shares a graph between
    two back-end functions.
    """
    from torch._dynamo import lookup_backend

    function = lookup_backend(BACKEND)
    return {
        wanted: cast(nn.Module, torch.compile(model, backend=partial(function)))
        for wanted in (WEIGHTS, ARCHITECTURE, BOTH)
    }


class BilevelTraining(WatchedTraining):
    """One differentiable search; :meth:`run` trains, resuming from ``folder`` where there is something to resume.

    Args:
        model: with ``architecture_parameters() -> dict[str, Parameter]`` and ``genotype() -> str``, and perhaps
            ``begin_epoch(epoch, epochs)`` (both counts of epochs, the first from 0),
            ``begin_step("weights" or "architecture")`` and ``skips() -> int``. Parameters that require no gradient are
            frozen: no step and no decay touches them. Forward passes may draw from torch's global generator, which is
            seeded for each of them.
        objective, images, settings, seed, folder, config, report: as in :class:`Training`.
    """

    meter_count = 6  # those of the weights' half, then those of the architecture's
    settings: BilevelSettings

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        images: ImageSet,
        settings: BilevelSettings,
        seed: int,
        *,
        folder: Path | None = None,
        config: State | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(model, objective, images, settings, seed, folder=folder, config=config, report=report)
        if report is not None and settings.hessian_every:
            self.report = self._reporting(report)
        self.halves = halves(len(images), settings, seed)
        check_classes(images, objective, self.halves)
        sizes = [len(half) for half in self.halves]
        if min(sizes) < settings.batch_size:
            possible = (
                f"batch_size <= {min(sizes)}, or a portion nearer to 0.5"
                if min(sizes) > 1
                else "more images, or a portion nearer to 0.5"
            )
            raise ConfigError(
                f"{images.name}: portion={settings.portion} splits {len(images)} images into {sizes[0]} for the weights and {sizes[1]} for the "
                f"architecture, but each half must fill a batch of {settings.batch_size}.",
                f"Use {possible}.",
            )
        if not callable(getattr(model, "architecture_parameters", None)) or not callable(
            getattr(model, "genotype", None)
        ):
            raise ConfigError(
                f"{type(model).__name__} has no architecture_parameters() and genotype().",
                "Pass a network for differentiable search.",
            )
        named = cast(dict[str, nn.Parameter], cast(Any, model).architecture_parameters())
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        foreign = [name for name, parameter in named.items() if id(parameter) not in names]
        if foreign:
            raise ConfigError(
                f"{type(model).__name__}: {', '.join(foreign)} must be parameters of the network, but are not."
            )
        ours = {id(parameter) for parameter in named.values()}
        self.architecture = {name: p for name, p in sorted(named.items()) if p.requires_grad}
        self.weights = {
            name: p for name, p in sorted(model.named_parameters()) if p.requires_grad and id(p) not in ours
        }
        if settings.most_skips is not None and not callable(getattr(model, "normal_skips", None)):
            raise ConfigError(
                f"most_skips: {type(model).__name__} does not count skip connections.", "Leave most_skips out."
            )
        for what, found in (("architecture parameter", self.architecture), ("weight", self.weights)):
            if not found:
                raise ConfigError(
                    f"{type(model).__name__}: no {what} requires a gradient.", "Leave at least one of them trainable."
                )
        self.genotypes: list[str] = []

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the weights' half; those of the architecture's are always full, and start over when they are
        through.
        """
        return steps(len(self.halves[0]), self.settings)

    def run(self) -> Bilevel:
        """Train to the end. Errors are those of :meth:`Training.run`.

        A row of ``history`` has ``epoch``, ``loss``, ``accuracy`` (of the weights' half, in training mode),
        ``learning_rate``, after the warm-up ``architecture_loss`` and ``architecture_accuracy`` (at the unrolled
        weights if the order is 2), ``skips`` where the network counts them, and ``eigenvalue`` in every
        ``hessian_every``-th epoch, the first one and the last one.
        """
        try:
            trained = super().run()
        finally:
            require_gradients([*self.architecture.values(), *self.weights.values()], [])
        ended = list[dict[str, Any]]()
        if self.skips_reached:
            epoch = len(self.history)
            ended = [{"method": "skips", "epoch": epoch, "found": epoch, "skips": self.history[-1]["normal_skips"]}]
        return Bilevel(
            trained.initial,
            trained.final,
            trained.history,
            trained.initial_sha256,
            self.genotypes,
            self.mixtures,
            [*self.rollbacks, *ended],
        )

    # -- state ---------------------------------------------------------------------------------------------------------
    def _setup(self) -> None:
        settings = self.settings
        self.genotypes = []
        self._watch_from_start()
        self._choose_layout()
        self.compiled = compiled_networks(self.model) if settings.compile else {}
        self.optimizer = sgd(self.weights.values(), settings)
        self.adam = torch.optim.Adam(
            self.architecture.values(),
            settings.architecture_learning_rate,
            settings.architecture_betas,
            weight_decay=settings.architecture_weight_decay,
            foreach=True,
        )
        # DDP then knows nothing of the architecture parameters: theirs are averaged by hand, as DDP does not see
        # torch.autograd.grad.
        require_gradients([*self.weights.values()], [*self.architecture.values()])
        network = self.compiled.get(WEIGHTS, self.model)
        self.module, self.stepper, self.architecture_stepper = self.fabric.setup(
            network, self.optimizer, self.adam, _reapply_compile=False
        )

    def _snapshot(self, epoch: int, step: int, meters: torch.Tensor) -> State:
        state = super()._snapshot(epoch, step, meters)
        state["architecture"] = adam_moments(self.adam, self.architecture)
        state["genotypes"] = list(self.genotypes)
        return state

    def _restore(self, state: State) -> tuple[int, int]:
        restore_adam(self.adam, self.architecture, state["architecture"])
        self.genotypes = list(state["genotypes"])
        return super()._restore(state)

    def _remedy(self, epoch: int) -> str:
        weights, architecture = cosine(self.settings, epoch), self.settings.architecture_learning_rate
        return (
            f"Lower learning_rate (it is {weights:g}) or architecture_learning_rate (it is {architecture:g}), "
            "or lower gradient_clip or architecture_clip"
        )

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        super()._note(epoch, total)
        row, model = self.history[-1], cast(Any, self.model)
        loss, correct, count = total.tolist()[3:]
        if count:
            row |= {"architecture_loss": loss / count, "architecture_accuracy": 100 * correct / count}
        if hasattr(model, "skips"):
            row["skips"] = int(model.skips())
        if self.settings.most_skips is not None:
            row["normal_skips"] = int(model.normal_skips())
        self.genotypes.append(str(model.genotype()))
        self._watch(epoch)

    def _rows(self) -> list[dict[str, Any]]:
        return [{**row, "genotype": genotype} for row, genotype in zip(self.history, self.genotypes, strict=True)]

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _uses(self, epoch: int) -> tuple[Uses, Uses]:
        """Of the two halves. The augmentation is drawn for each use, for an image of a short half comes more than once."""
        weights, architecture = self.halves
        index = weights[generator(self.seed, "data order", epoch).permutation(len(weights))]
        needed, rng = (
            self.steps_per_epoch * self.settings.batch_size,
            generator(self.seed, "architecture data order", epoch),
        )
        passes = [architecture[rng.permutation(len(architecture))] for _ in range(-(-needed // len(architecture)))]
        joint = np.concatenate([index, *passes])[: len(index) + needed]
        drawn, own = (
            self.images.augmentation.draw(self.seed, epoch, len(joint)),
            self.objective.draw(self.seed, epoch, len(joint)),
        )
        first, second = (
            self._drawn(joint[part], drawn[part], own[part])
            for part in (slice(None, len(index)), slice(len(index), None))
        )
        return first, second

    def _batch(self, uses: Uses, epoch: int, step: int) -> BatchPart:
        x, targets, share = self._prepared(uses, step)
        return BatchPart(x, targets, share, (epoch, step, self.fabric.global_rank))

    def _plan(self, epoch: int, first: int, halves: tuple[Uses, Uses]) -> None:
        """Tell the images' source which come next, from step ``first`` on."""
        used = halves if epoch >= self.settings.warmup_epochs else halves[:1]
        self.pixels.plan(
            torch.cat(
                [uses.index[self._share(step, uses)[0]] for step in range(first, self.steps_per_epoch) for uses in used]
            )
        )

    def _epoch(self, epoch: int, first: int) -> None:
        if self.stopped:
            return
        settings, model = self.settings, cast(Any, self.model)
        if hasattr(model, "begin_epoch"):
            model.begin_epoch(epoch, settings.epochs)
        self._begin(epoch)
        of_weights, of_architecture = self._uses(epoch)
        self._plan(epoch, first, (of_weights, of_architecture))
        for step in range(first, self.steps_per_epoch):
            training = self._batch(of_weights, epoch, step)
            if settings.first == "weights":
                self._weight_step(training)
            if epoch >= settings.warmup_epochs:
                self._architecture_step(training, self._batch(of_architecture, epoch, step))
            if settings.first == "architecture":
                self._weight_step(training)
            self._after_step(epoch, step)

    def _weight_step(self, batch: BatchPart) -> None:
        clip = self.settings.gradient_clip
        require_gradients([*self.weights.values()], [*self.architecture.values()])
        self._begin_step("weights")
        with torch_fork(self.seed, "weights forward", *batch.seed):
            outputs = self.module(batch.x)
            loss = self.objective.loss(outputs, batch.targets)
        self.fabric.backward(loss * batch.share)
        if clip is not None:
            self.fabric.clip_gradients(self.module, self.stepper, max_norm=clip, error_if_nonfinite=False)
        self.stepper.step()
        self.stepper.zero_grad()
        self.meters[:3] += self._measured(loss.detach(), outputs, batch.targets)

    def _architecture_step(self, training: BatchPart, validation: BatchPart) -> None:
        clip, parameters, weights = (
            self.settings.architecture_clip,
            [*self.architecture.values()],
            [*self.weights.values()],
        )
        self._begin_step("architecture")
        if self.settings.order == 2:
            found = unrolled_gradients(
                lambda: self._loss(training, "weights forward"),
                lambda: self._loss(validation, "architecture forward", measured=True),
                weights,
                parameters,
                [self.optimizer.state.get(p, {}).get("momentum_buffer") for p in weights],
                [*self.model.buffers()],
                rate=self.optimizer.param_groups[0]["lr"],
                momentum=self.settings.momentum,
                weight_decay=self.weight_decay,
                average=self._average,
            )
        else:
            require_gradients(parameters, weights)
            self.fabric.backward(self._loss(validation, "architecture forward", measured=True))
            found = self._average([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        if clip is not None:
            self.fabric.clip_gradients(self.module, self.architecture_stepper, max_norm=clip, error_if_nonfinite=False)
        self.architecture_stepper.step()
        self.architecture_stepper.zero_grad()

    def _begin_step(self, step: str) -> None:
        if hasattr(self.model, "begin_step"):
            cast(Any, self.model).begin_step(step)

    def _loss(self, batch: BatchPart, purpose: str, measured: bool = False) -> torch.Tensor:
        """Of the network without DDP around it, weighed by this process' share of the batch."""
        precision = self.fabric.strategy.precision
        with torch_fork(self.seed, purpose, *batch.seed), precision.forward_context():
            wanted = tuple(next(iter(group.values())).requires_grad for group in (self.weights, self.architecture))
            outputs = self.compiled.get(wanted, self.model)(precision.convert_input(batch.x))
        outputs = outputs.double() if self.settings.precision == "64-true" else outputs.float()
        loss = self.objective.loss(outputs, batch.targets)
        if measured:
            self.meters[3:] += self._measured(loss.detach(), outputs, batch.targets)
        return loss * batch.share

    def _eigenvalue(self) -> float:
        """Of the Hessian with respect to the architecture parameters, at the weights as they are now, on the batch
        (images, augmentation, targets, what the forward pass draws) that the first architecture step of epoch 0 has or
        would have: the same in all epochs.
        """
        parameters = [*self.architecture.values()]
        self._begin(0)
        _, uses = self._uses(0)
        self.pixels.plan(uses.index[self._share(0, uses)[0]])
        batch = self._batch(uses, 0, 0)
        require_gradients(parameters, [*self.weights.values()])
        self._begin_step("architecture")
        held, self.compiled = self.compiled, {}  # torch.compile has no second derivatives
        try:
            with kept([*self.model.buffers()]):
                found = dominant_eigenvalue(
                    lambda: self._loss(batch, "architecture forward"),
                    parameters,
                    weight_decay=self.settings.architecture_weight_decay,
                    average=self._average,
                )
        finally:
            self.compiled = held
        return found.value

    def _average(self, gradients: Gradients) -> Gradients:
        """Over processes, in one message."""
        if self.fabric.world_size == 1:
            return gradients
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = cast(torch.Tensor, self.fabric.all_reduce(flat, reduce_op="mean"))
        return [
            part.view_as(g)
            for part, g in zip(torch.split(flat, [g.numel() for g in gradients]), gradients, strict=True)
        ]
