"""One training step: ours in both layouts, timm's plain step of the same network, and the time of its convolutions alone.

    python benchmarks/steps.py                        # single paths and stand-alone networks, one thread
    python benchmarks/steps.py --only single --runs 9
    python benchmarks/steps.py --side-by-side 2       # two threads against two processes of one thread

In one process, turn by turn, so that a busy machine slows all of them alike. "before" is the form without what was
gained: the default layout, a ReLU for every operation, dilated convolutions as they stand. "convolutions" is the bound:
forward and both gradients of every convolution of the step, one after the other, channels last.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from common import Spread, TimmStep, seconds
from torch import nn

from nni_plugins.evaluators.training.layout import laid_out, lay_out
from nni_plugins.spaces import (
    DARTS,
    Architecture,
    MobileNetLike,
    NASBench101,
    NASBench201,
    SearchSpace,
    convolutions,
    operations,
)
from nni_plugins.spaces.published import names, published

CONV2D = F.conv2d
CONVOLUTIONS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


@dataclass(frozen=True)
class Case:
    """``single``: random paths of the supernet; otherwise the stand-alone network of ``architecture``."""

    name: str
    space: SearchSpace
    batch: int
    size: int
    single: bool
    architecture: str = ""

    def found(self) -> Architecture:
        """The stand-alone network's."""
        name = self.architecture
        return published(name).architecture if name in names() else self.space.parse(name)

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return self.space.supernet() if self.single else self.space.network(self.found())


CASES = [
    Case("single path, NAS-Bench-201", NASBench201(), 64, 32, True),
    Case("single path, DARTS", DARTS(), 16, 32, True),
    Case("single path, MobileNet-like", MobileNetLike(), 8, 64, True),
    Case("single path, NAS-Bench-101", NASBench101(channels=32), 16, 32, True),
    Case("stand-alone, NAS-Bench-201", NASBench201(), 64, 32, False, CONVOLUTIONS),
    Case("stand-alone, DARTS (darts_v2)", DARTS(channels=16, cells=8), 16, 32, False, "darts_v2"),
]


class Step:
    """Forward, loss, backward and SGD; calls take one path after the other, the same for all forms."""

    def __init__(self, case: Case, layout: str) -> None:
        self.case, self.layout, self.model = case, layout, case.network().train()
        lay_out(self.model, layout)
        self.paths = iter(case.space.sample_paths(np.random.default_rng(0), 1000, False)) if case.single else None
        self.images = laid_out(torch.randn(case.batch, 3, case.size, case.size), layout)
        self.targets = torch.randint(0, 10, (case.batch,))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.025, 0.9, weight_decay=5e-4, nesterov=True)

    def forward(self) -> torch.Tensor:
        model: Any = self.model
        output = model(self.images) if self.paths is None else model.forward_path(self.images, next(self.paths))
        return output[0] if isinstance(output, tuple) else output

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.forward(), self.targets).backward()
        self.optimizer.step()


@contextmanager
def as_before() -> Iterator[None]:
    """Every operation with its own ReLU, dilated convolutions by torch's kernels."""
    with (
        mock.patch.object(operations.State, "through", lambda state, operation: operation(state.x)),
        mock.patch.object(convolutions, "splits", lambda x, conv: False),
    ):
        yield


class Convolutions:
    """Of the step that ``step`` would do next: forward and gradients of each, without anything between them."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __call__(self) -> float:
        seen: list[tuple[Any, ...]] = []

        def recording(*arguments: Any, **options: Any) -> torch.Tensor:
            seen.append((*arguments, options))
            return CONV2D(*arguments, **options)

        with torch.no_grad(), mock.patch.object(F, "conv2d", recording):
            self.step.forward()
        total = 0.0
        for x, weight, *rest, options in seen:
            x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
            convolve = partial(CONV2D, **options)
            g = torch.ones_like(convolve(x, weight, *rest))

            def both(f: Any = convolve, given: Any = (x, weight, *rest), g: torch.Tensor = g) -> None:
                torch.autograd.grad(f(*given), given[:2], g)

            total += min(seconds(both, 1, warm=0))
        return total


def times(case: Case, runs: int) -> dict[str, Spread]:
    """Seconds of each form."""
    before, ours = Step(case, "contiguous"), Step(case, "channels_last")
    same = Step(case, "contiguous")
    bound = Convolutions(Step(case, "channels_last"))
    forms: dict[str, Callable[[], list[float]]] = {"ours": lambda: seconds(ours, 1, warm=0)}
    forms["contiguous"] = lambda: seconds(same, 1, warm=0)
    if not case.single:
        options = {"opt": "sgd", "lr": 0.025, "momentum": 0.9, "weight_decay": 5e-4}
        timm, plain = TimmStep(case.network().train(), nn.CrossEntropyLoss(), options), Step(case, "contiguous")
        forms["timm"] = lambda: seconds(lambda: timm(plain.images, plain.targets), 1, warm=0)
    forms["convolutions"] = lambda: [bound()]
    found: dict[str, list[float]] = {name: [] for name in ("before", *forms)}
    for run in range(runs + 1):
        with as_before():
            taken = {"before": seconds(before, 1, warm=0)}
            if "timm" in forms:
                taken["timm"] = forms["timm"]()
        taken |= {name: measure() for name, measure in forms.items() if name != "timm"}
        if run:  # the first one warms up
            for name, values in taken.items():
                found[name] += values
    return {name: Spread.of(values) for name, values in found.items()}


def side_by_side(case: Case, count: int, runs: int) -> tuple[float, float]:
    """Milliseconds a step: of one process with ``count`` threads, and of each of ``count`` processes with one."""

    def started(threads: int) -> subprocess.Popen[str]:
        words = ["--only", case.name, "--runs", str(runs), "--threads", str(threads), "--ours"]
        return subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)

    def answered(processes: list[subprocess.Popen[str]]) -> float:
        return statistics.median(float(process.communicate()[0].split()[-1]) for process in processes)

    return answered([started(count)]), answered([started(1) for _ in range(count)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, metavar="N", help="N threads against N processes")
    parser.add_argument("--ours", action="store_true", help="only ours, and only its milliseconds")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    chosen = [case for case in CASES if arguments.only in case.name]
    if arguments.ours:
        for case in chosen:
            print(1e3 * statistics.median(seconds(Step(case, "channels_last"), arguments.runs)))
        return
    if arguments.side_by_side:
        print(f"| step | {arguments.side_by_side} threads, ms | as many processes | ratio |\n|---|---:|---:|---:|")
        for case in chosen:
            threads, processes = side_by_side(case, arguments.side_by_side, arguments.runs)
            ratio = processes / arguments.side_by_side / threads
            print(f"| {case.name}, batch {case.batch} | {threads:.0f} | {processes:.0f} | {ratio:.2f} |", flush=True)
        return
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} thread(s), float32"
    )
    print(f"| {'step':34} | form | min ms | median | max | to before |\n|---|---|---:|---:|---:|---:|")
    for case in chosen:
        found = times(case, arguments.runs)
        for form, spread in found.items():
            ratio = spread.median / found["before"].median
            numbers = " | ".join(f"{1e3 * value:.0f}" for value in (spread.least, spread.median, spread.most))
            print(f"| {case.name}, batch {case.batch} | {form} | {numbers} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
