"""CUDA graphs of steps whose graph is the same every time: those of the mixed supernets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from common import Spread, seconds
from mixed import Iteration

from nni_plugins.spaces import DARTS, NASBench201, SearchSpace

from .record import Bar, Found, Given, Section

ABOUT = (
    "The weight step of the mixed supernets (forward, backward, clipping, SGD) captured as a CUDA graph and replayed, "
    'against the same step run eagerly; and the network compiled with `mode="reduce-overhead"`, which captures graphs '
    "by itself. Losses of steps on new images must agree, and a replay must not be slower."
)
WARM, STEPS = 3, 8
CLOSE, FASTER = Bar("<=", 1e-3), Bar("<=", 1.0)


def graphs(section: Section) -> None:
    given = section.given
    spaces: dict[str, SearchSpace] = {"nasbench201": NASBench201(), "darts": DARTS()}
    for name, space in spaces.items():
        for option, method in (("B", "DARTS"), ("C", "RF-DARTS")):
            make = partial(Iteration, space, option, False, given.sized(64, 4), given.device)
            check = f"{name}.{method.replace('-', '').lower()}"
            about = f"{method}'s weight step, space {name}"
            section.check(f"{check}.losses", f"{about}: captured against eager", partial(_equal, make, given))
            section.check(f"{check}.time", f"{about}: time of a replay to eager's", partial(_faster, make, given))
    make = partial(Iteration, spaces["nasbench201"], "B", False, given.sized(64, 4), given.device)
    section.check(
        "reduce_overhead",
        "DARTS' weight step, nasbench201, reduce-overhead against eager",
        partial(_reduced, make, given),
    )


def captured(iteration: Iteration) -> tuple[Callable[[], None], torch.Tensor]:
    """A replay of ``iteration.weight_step()``, of which ``WARM`` were made, and where it puts its loss."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            iteration.weight_step()
    torch.cuda.current_stream().wait_stream(side)
    iteration.sgd.zero_grad(set_to_none=True)  # gradients are then the graph's own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = iteration.weight_step()
    return graph.replay, loss


def _images(iteration: Iteration) -> list[torch.Tensor]:
    """New ones for each step, the same for every iteration."""
    random = torch.Generator().manual_seed(1)
    return [torch.randn(iteration.images[0].shape, generator=random) for _ in range(STEPS)]


def _losses(iteration: Iteration, step: Callable[[], torch.Tensor]) -> torch.Tensor:
    found = []
    for images in _images(iteration):
        iteration.images[0].copy_(images)
        found.append(step().clone())
    return torch.stack(found).double().cpu()


def _compared(found: torch.Tensor, eager: torch.Tensor) -> Found:
    value = float(((found - eager).abs() / eager.abs()).max())
    note = "bit for bit" if torch.equal(found, eager) else ""
    return Found(value, "", CLOSE, note, {"steps": len(eager)})


def _eager(make: Callable[[], Iteration]) -> torch.Tensor:
    iteration = make()
    for _ in range(WARM):
        iteration.weight_step()
    return _losses(iteration, iteration.weight_step)


def _equal(make: Callable[[], Iteration], given: Given) -> Found:
    given.need_cuda()
    iteration = make()
    replay, loss = captured(iteration)

    def step() -> torch.Tensor:
        replay()
        return loss

    return _compared(_losses(iteration, step), _eager(make))


def _faster(make: Callable[[], Iteration], given: Given) -> Found:
    given.need_cuda()
    eager = Spread.of(seconds(make().weight_step, 2 * STEPS, given.device, WARM))
    replay = Spread.of(seconds(captured(make())[0], 2 * STEPS, given.device, WARM))
    return Found(
        replay.median / eager.median, "", FASTER, "seconds", {"eager": asdict(eager), "replay": asdict(replay)}
    )


def _reduced(make: Callable[[], Iteration], given: Given) -> Found:
    given.need_cuda()
    iteration = make()
    iteration.learn_weights()  # a compiled network does not notice later changes
    iteration.model.compile(mode="reduce-overhead")
    for _ in range(WARM):
        iteration.weight_step()
    found = _losses(iteration, iteration.weight_step)
    spread = Spread.of(seconds(iteration.weight_step, 2 * STEPS, given.device, WARM))
    compared = _compared(found, _eager(make))
    return Found(compared.value, "", CLOSE, "seconds", {"reduce-overhead": asdict(spread)})
