"""One iteration of differentiable search: the plain reference form, ours, and NNI's own DARTS. In one process, on the
CPU or a GPU.

    python benchmarks/mixed.py                      # NAS-Bench-201 and DARTS' CIFAR supernet, batch 16
    python benchmarks/mixed.py --space nasbench201 --batch 64 --runs 7

Plain: one edge after the other, gradients of all parameters in both steps, and, for RF-DARTS, convolutions that are
merely left out of the optimizer. Ours: work shared by source state, gradients only of what a step trains, convolutions
frozen, on a CPU channels last. Memory is what autograd keeps for backward in the weight step (each storage once, parameters left out).
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from common import seconds
from torch import nn

from nni_plugins.evaluators.training.layout import FORMATS, layout_on
from nni_plugins.spaces import DARTS, NASBench201, SearchSpace
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet

SPACES: dict[str, Callable[[], SearchSpace]] = {"nasbench201": NASBench201, "darts": DARTS}


class Iteration:
    """An architecture step and a weight step on random images.

    Args:
        option: of :class:`MixedOptions`: B is DARTS, C is RF-DARTS.
        plain: the reference form.
        half: the type that mixed precision computes in; None: float32.
    """

    def __init__(
        self,
        space: SearchSpace,
        option: str,
        plain: bool,
        batch: int,
        device: str,
        memory_format: torch.memory_format = torch.contiguous_format,
        half: torch.dtype | None = None,
    ) -> None:
        torch.manual_seed(0)
        options = MixedOptions(option, shared=not plain)
        self.model, self.plain = MixedSupernet(space, options).to(device, memory_format=memory_format), plain
        self.alphas = list(self.model.architecture_parameters().values())
        own = {id(p) for p in self.alphas}
        self.weights = [p for p in self.model.parameters() if id(p) not in own and p.requires_grad]
        if plain:  # the reference: gradients of everything, whether or not an optimizer uses them
            for p in self.model.parameters():
                p.requires_grad_(True)
        self.sgd = torch.optim.SGD(self.weights, 0.025, 0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(self.alphas, 3e-4, (0.5, 0.999), weight_decay=1e-3)
        self.images = [
            torch.randn(batch, 3, 32, 32, device=device).to(memory_format=memory_format) for _ in ("weights", "alphas")
        ]
        self.labels = torch.randint(0, 10, (2, batch), device=device)
        self.device, self.half = torch.device(device).type, half

    def loss(self, half: int) -> torch.Tensor:
        context: AbstractContextManager[object] = (
            nullcontext() if self.half is None else torch.autocast(self.device, self.half)
        )
        with context:
            return F.cross_entropy(self.model(self.images[half]), self.labels[half])

    def __call__(self) -> None:
        self.architecture_step()
        self.weight_step()

    def architecture_step(self) -> None:
        if self.plain:
            self.adam.zero_grad()
            self.loss(1).backward()
        else:
            self._learn(self.alphas, self.weights)
            for p, g in zip(self.alphas, torch.autograd.grad(self.loss(1), self.alphas), strict=True):
                p.grad = g
        self.adam.step()

    def weight_step(self) -> torch.Tensor:
        """Returns the loss of before the step."""
        self.learn_weights()
        self.sgd.zero_grad()
        loss = self.loss(0)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.sgd.step()
        return loss.detach()

    def learn_weights(self) -> None:
        """The next gradients are those of the weights alone, where this is not the plain form."""
        if not self.plain:
            self._learn(self.weights, self.alphas)

    @staticmethod
    def _learn(these: list[nn.Parameter], not_these: list[nn.Parameter]) -> None:
        for p in these:
            p.requires_grad_(True)
        for p in not_these:
            p.requires_grad_(False)

    def kept(self) -> float:
        """MiB that autograd keeps for the backward pass of the weight step."""
        self.learn_weights()
        storages: dict[int, int] = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            if not isinstance(t, nn.Parameter):
                storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = self.loss(0)
        kept = sum(storages.values()) / 2**20
        del loss
        return kept


def nni_times(space: str, batch: int, runs: int) -> Iterator[float]:
    """Seconds an iteration of NNI 3.0's DARTS strategy on its own hub's NAS-Bench-201, or on DARTS' supernet."""
    import nni.nas.strategy  # noqa: F401 - must be imported before NNI's one-shot code
    import pytorch_lightning as pl
    from nni.nas.evaluator.pytorch import Classification, DataLoader
    from nni.nas.execution import SequentialExecutionEngine
    from nni.nas.hub.pytorch import DARTS as HubDARTS
    from nni.nas.hub.pytorch import NasBench201
    from nni.nas.space import RawFormatModelSpace
    from nni.nas.strategy import DARTS as NNIDARTS
    from torch.utils.data import TensorDataset

    class Clock(pl.Callback):
        times: list[float] = []

        def on_train_batch_end(self, *_: object) -> None:
            self.times.append(time.perf_counter())

    clock = Clock()
    data = TensorDataset(torch.randn(batch * (runs + 2), 3, 32, 32), torch.randint(0, 10, (batch * (runs + 2),)))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    evaluator = Classification(
        train_dataloaders=DataLoader(data, batch_size=batch), val_dataloaders=DataLoader(data, batch_size=batch), num_classes=10, max_epochs=1,
        accelerator="cpu", callbacks=[clock], **quiet,
    )  # fmt: skip
    hub = NasBench201(num_labels=10) if space == "nasbench201" else HubDARTS(16, 8, dataset="cifar")
    NNIDARTS()(RawFormatModelSpace.from_model(hub, evaluator), SequentialExecutionEngine())
    yield from (b - a for a, b in zip(clock.times[1:], clock.times[2:], strict=False))


def show(name: str, times: list[float], reference: float | None, kept: float | None) -> float:
    middle = statistics.median(times)
    memory = "" if kept is None else f"{kept:8.0f} MiB"
    ratio = "" if reference is None else f"{middle / reference:6.2f}"
    print(
        f"{name:36}{1e3 * min(times):9.0f}{1e3 * middle:9.0f}{1e3 * max(times):9.0f} ms{ratio:>8}{memory:>14}",
        flush=True,
    )
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=[*SPACES, "all"], default="all")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without-nni", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    print(
        f"batch {arguments.batch}, {arguments.device}, {arguments.threads} threads, {arguments.runs} runs; ratios of medians to the plain form"
    )
    print(f"{'':36}{'min':>9}{'median':>9}{'max':>12}{'ratio':>8}{'kept':>14}")
    for name in SPACES if arguments.space == "all" else [arguments.space]:
        ours = 0.0
        for option, method in (("B", "DARTS"), ("C", "RF-DARTS")):
            reference = None
            for plain in (True, False):
                layout = "contiguous" if plain else layout_on("auto", torch.device(arguments.device), "32-true")
                iteration = Iteration(SPACES[name](), option, plain, arguments.batch, arguments.device, FORMATS[layout])
                kept, times = iteration.kept(), seconds(iteration, arguments.runs, arguments.device)
                middle = show(f"{name} {method} {'plain' if plain else 'ours'}", times, reference, kept)
                reference = middle if plain else reference
                ours = middle if option == "B" and not plain else ours
        if not arguments.without_nni and arguments.device == "cpu":
            times = list(nni_times(name, arguments.batch, arguments.runs))
            middle = show(f"NNI 3.0 DARTS, its hub's {name}", times, None, None)
            print(f"{'our DARTS to NNI':36}{'':30}{ours / middle:8.2f}")


if __name__ == "__main__":
    main()
