"""Training NAO's controller on a pool of architectures and their accuracies: on the CPU, deterministic from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.randomness import generator, torch_fork

from .codecs import Codec
from .controller import Controller
from .settings import ControllerSettings
from .tokens import Rows

Values = npt.NDArray[np.float64]


class NoDirection(TrainingError):
    """All values are equal: nothing says which architecture is better. A search falls back to what it says it falls
    back to.
    """


def min_max(values: Values) -> Values:
    """``(v - min) / (max - min)`` of (n,) values, larger is better: the predictor's targets.

    Raises:
        TrainingError: a value is not finite, or there is none.
        NoDirection: all are equal.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        wrong = np.flatnonzero(~np.isfinite(values))
        what = f"value {int(wrong[0])} is {values[wrong[0]]}" if len(wrong) else "there is none"
        raise TrainingError(
            f"finite values are needed to train NAO's controller, but {what}.",
            "Leave failed architectures out of the pool.",
        )
    spread = float(values.max() - values.min())
    if spread == 0:
        raise NoDirection(
            f"all {len(values)} values are {float(values[0])!r}, so none is better.",
            "Give more different architectures.",
        )
    targets: Values = (values - values.min()) / spread
    return targets


def ranks(values: Values) -> Values:
    """Ranks of (n,) values scaled to 0 to 1, equal values sharing their mean rank. Raises as :func:`min_max`."""
    min_max(values)
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return min_max(below + (equal - 1) / 2)


def losses(values: Values) -> Values:
    """Minus the logarithms of (n,) perplexities, given as values below zero, scaled to 0 to 1. Raises as
    :func:`min_max`, and where a value is no minus perplexity.
    """
    if len(values) and not (values < 0).all():
        raise TrainingError(
            f"targets: loss learns minus perplexities, which are below 0, but a value is {float(values.max())!r}.",
            "Set targets: min_max.",
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return min_max(-np.log(-values))


TARGETS = {"min_max": min_max, "rank": ranks, "loss": losses}


@dataclass(frozen=True)
class Trained:
    """``history``: of each epoch the mean ``loss``, ``error`` (mean squared, of the predictor) and ``likelihood``
    (negative log, of a token).
    """

    controller: Controller
    history: list[dict[str, float]]


def build(codec: Codec, settings: ControllerSettings, seed: int, step: int = 0) -> Controller:
    """A fresh controller; its weights are a function of (seed, step)."""
    with torch_fork(seed, "nao controller", step):
        return Controller(codec.tokens, settings)


def _expanded(codec: Codec, rows: Rows, copies: int, rng: np.random.Generator) -> Rows:
    """``rows`` and ``copies - 1`` twins of each, where the space has twins."""
    if not codec.tokens.swaps:
        return rows
    expanded: Rows = np.concatenate([rows, *(codec.tokens.twins(rows, rng) for _ in range(copies - 1))])
    return expanded


def train(
    codec: Codec,
    rows: Rows,
    values: Values,
    settings: ControllerSettings,
    seed: int,
    step: int = 0,
    controller: Controller | None = None,
) -> Trained:
    """Train ``controller``, or a fresh one, on ``rows: (n, D)`` with ``values: (n,)``, larger is better.

    NAO-V2's master code keeps one controller through all rounds, its staged code trains a fresh one; Adam is fresh in
    both. ``step`` names the round, so that rounds draw different orders and twins.

    Raises:
        ConfigError: rows and values of different numbers.
        TrainingError: values that are not finite or all equal, or a loss that is not finite.
    """
    if len(rows) != len(values):
        raise ConfigError(f"{len(rows)} architectures need as many values, but got {len(values)}.")
    targets = TARGETS[settings.targets](np.asarray(values, dtype=np.float64))
    controller = build(codec, settings, seed, step) if controller is None else controller
    rng = generator(seed, "nao training", step)
    expanded = _expanded(codec, rows, settings.copies, rng)
    data = torch.from_numpy(codec.tokens.encode(expanded))
    wanted = torch.from_numpy(np.tile(targets, len(expanded) // len(rows)).astype(np.float32))
    optimizer = torch.optim.Adam(
        controller.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    parameters = list(controller.parameters())
    history: list[dict[str, float]] = []
    best, since = np.inf, 0
    controller.train()
    for _ in range(settings.epochs):
        order = torch.from_numpy(rng.permutation(len(data)))
        sums = torch.zeros(3)
        for batch in torch.split(order, settings.batch_size):
            losses = controller.loss(data[batch], wanted[batch])
            optimizer.zero_grad()
            losses[0].backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            optimizer.step()
            sums += len(batch) * torch.stack([loss.detach() for loss in losses])
        loss, error, likelihood = (sums / len(data)).tolist()
        if not np.isfinite(loss):
            raise TrainingError(
                f"the controller's loss is {loss} in epoch {len(history) + 1}.", "Lower controller.learning_rate."
            )
        history.append({"loss": loss, "error": error, "likelihood": likelihood})
        best, since = (loss, 0) if loss < 0.99 * best else (best, since + 1)
        if settings.patience is not None and since >= settings.patience:
            break
    controller.eval()
    return Trained(controller, history)


@torch.no_grad()
def predicted(codec: Codec, controller: Controller, rows: Rows) -> Values:
    """The predictor's value of each of ``rows: (n, D)``, 0 to 1: (n,)."""
    values: Values = controller.encode(torch.from_numpy(codec.tokens.encode(rows))).value.double().numpy()
    return values
