"""Scores of untrained networks: ours, and the plain way, one freshly built network after the other.

    python benchmarks/training_free.py [--space nasbench201] [--architectures 8] [--batch 32] [--runs 3] [--threads 1]

In one process, turn by turn, so that a busy machine slows both alike. "plain" is how the public code scores: the default
layout, a ReLU for every operation, for NASWOT two products of codes a unit and a backward pass that nobody reads, for
the Jacobian the weights' gradients too, and for each architecture a network even where one like it was scored. The values
agree, which is checked. "twins" are architectures of the draw that are the network of another one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from common import seconds
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nni_plugins.evaluators import RandomLabels
from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.spaces import DARTS, MobileNetLike, NASBench101, NASBench201, SearchSpace
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.operations import State
from nni_plugins.strategies.training_free.batches import inputs
from nni_plugins.strategies.training_free.jacobian import correlation_score
from nni_plugins.strategies.training_free.measures import measure
from nni_plugins.strategies.training_free.networks import for_scoring

SPACES: dict[str, Callable[[], SearchSpace]] = {
    "nasbench201": lambda: NASBench201(cells_per_stage=1),
    "nasbench101": lambda: NASBench101(channels=32, cells_per_stack=1),
    "darts": lambda: DARTS(channels=16, cells=5),
    "mobilenetlike": MobileNetLike,
}


class TwoProducts(TorchFunctionMode):
    """Adds up the agreements of every ReLU's codes, active and inactive ones by a product each."""

    total: float | npt.NDArray[np.float64] = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (functional.relu, functional.hardtanh):
            code = (args[0].flatten(1) > 0).float()
            self.total = self.total + (code @ code.T).numpy() + ((1 - code) @ (1 - code.T)).numpy()
        return func(*args, **(kwargs or {}))


def naswot(network: nn.Module, x: torch.Tensor) -> float:
    """As in Mellor et al.'s code, with the units that ours counts."""
    with TwoProducts() as counted:
        network(x.clone().requires_grad_()).sum().backward()
    return float(np.linalg.slogdet(np.asarray(counted.total))[1])


def jacobian(network: nn.Module, x: torch.Tensor) -> float:
    """As in NASLib."""
    x = x.clone().requires_grad_()
    outputs = network(x)
    if outputs.requires_grad:
        outputs.sum().backward()
    return float("nan") if x.grad is None else correlation_score(x.grad.flatten(1))


def synflow(network: nn.Module, x: torch.Tensor) -> float:
    """As in zero-cost-nas: batch norms are passed by."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = lambda y: y  # type: ignore[method-assign, assignment]
    network.double()
    for parameter in network.parameters():
        parameter.data.abs_()
    network(torch.ones_like(x[:1], dtype=torch.float64)).sum().backward()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    flows = [(one.weight * one.weight.grad).abs().sum() for one in layers if one.weight.grad is not None]
    return float(torch.stack(flows).sum().log().detach())


PLAIN = {"naswot": naswot, "jacobian": jacobian, "synflow": synflow}


def plainly(space: SearchSpace, rows: Indices, x: torch.Tensor, name: str) -> npt.NDArray[np.float64]:
    """Of ``rows``, one after the other."""
    values = []
    for architecture in space.decode(rows):
        with torch_fork(0, "training-free", 0):
            network = for_scoring(space.network(architecture))
            with mock.patch.object(State, "through", lambda state, operation: operation(state.x)):
                values.append(PLAIN[name](network, x))
    return np.array(values)


def main() -> None:
    """Print a row for each score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="nasbench201")
    parser.add_argument("--architectures", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pixels = torch.randint(
        0, 256, (given.batch, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images, objective = ImageSet("noise", pixels, None), RandomLabels(10)
    space = fitted(SPACES[given.space](), objective, images)
    rows = space.sample(np.random.default_rng(0), given.architectures)
    twins = len(rows) - len(np.unique(space.simplified(rows), axis=0))
    x = inputs(images, objective, given.batch, 1, 0, torch.device("cpu")).x
    print(f"{given.space}: {len(rows)} architectures ({twins} twins), {given.batch} images, {given.threads} thread(s)")
    for name in PLAIN:
        settings = {} if name == "synflow" else {"batch_size": given.batch}
        ours = measure(space, images, name, settings=settings)(rows)[:, 0]
        theirs = plainly(space, space.simplified(rows), x, name)
        agree = np.isfinite(ours) & np.isfinite(theirs)
        np.testing.assert_allclose(ours[agree], theirs[agree], rtol=1e-3)
        fast = seconds(lambda: measure(space, images, name, settings=settings)(rows), given.runs, warm=0)  # noqa: B023
        slow = seconds(lambda: plainly(space, rows, x, name), given.runs, warm=0)  # noqa: B023
        ratios = [b / a for a, b in zip(fast, slow, strict=True)]
        one, other = (statistics.median(times) / len(rows) for times in (fast, slow))
        print(
            f"  {name:9s} ours {one:.3f} s, plain {other:.3f} s an architecture: {min(ratios):.2f} to {max(ratios):.2f} x"
        )


if __name__ == "__main__":
    main()
