"""One iteration of DARTS' search on its CIFAR supernet: ours beside the official code's and beside confopt's.

    git clone https://github.com/quark0/darts /tmp/darts
    git clone https://github.com/automl/ConfigurableOptimizer /tmp/confopt
    python benchmarks/peers.py --official /tmp/darts/cnn --confopt /tmp/confopt/src

An iteration is an architecture step of first order and a weight step, 16 channels, 8 cells, float32. All forms take
turns in one process. The official code asks for a GPU by ``.cuda()``, which is made to do nothing; confopt's imports of
packages that a forward pass does not need (wandb, nasbench, ...) are answered by empty ones.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F
from common import Spread, seconds
from mixed import Iteration
from torch import nn

from nni_plugins.evaluators.training.layout import FORMATS, layout_on
from nni_plugins.spaces import DARTS

UNNEEDED = frozenset({"wandb", "ConfigSpace", "nasbench", "reinmax", "seaborn", "skimage", "gdown", "nas_201_api"})


class Peer:
    """An iteration of a network that says its logits, with its own architecture parameters."""

    def __init__(self, model: nn.Module, alphas: list[torch.Tensor], batch: int) -> None:
        self.model = model.train()
        own = {id(a) for a in alphas}
        self.weights = [p for p in model.parameters() if id(p) not in own]
        self.sgd = torch.optim.SGD(self.weights, 0.025, 0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(alphas, 3e-4, (0.5, 0.999), weight_decay=1e-3)
        self.images, self.labels = torch.randn(2, batch, 3, 32, 32), torch.randint(0, 10, (2, batch))

    def loss(self, half: int) -> torch.Tensor:
        outputs = self.model(self.images[half])
        return F.cross_entropy(outputs[1] if isinstance(outputs, tuple) else outputs, self.labels[half])

    def __call__(self) -> None:
        self.adam.zero_grad()
        self.loss(1).backward()
        self.adam.step()
        self.sgd.zero_grad()
        self.loss(0).backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.sgd.step()


def official(folder: Path, batch: int) -> Peer:
    """Of ``quark0/darts``, its folder ``cnn``."""
    sys.path.insert(0, str(folder))
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    model: Any = importlib.import_module("model_search").Network(16, 10, 8, nn.CrossEntropyLoss())
    return Peer(model, model.arch_parameters(), batch)


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        known = name.split(".")[0] in UNNEEDED
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: types.ModuleType) -> None: ...


def confopt(folder: Path, batch: int) -> Peer:
    """Of ``automl/ConfigurableOptimizer``, its folder ``src``."""
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, _Empty())
    counter: Any = types.ModuleType("thop")
    counter.profile = lambda *_, **__: (0, 0)  # it counts while it runs, which the comparison leaves out
    sys.modules["thop"] = counter
    model: Any = importlib.import_module("confopt.searchspace").DARTSSearchSpace(C=16, layers=8)
    return Peer(model, list(model.arch_parameters), batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--confopt", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    layout = FORMATS[layout_on("auto", torch.device("cpu"), "32-true")]
    forms: dict[str, Callable[[], None]] = {
        name: Iteration(DARTS(), option, False, arguments.batch, "cpu", layout)
        for name, option in (("our DARTS", "B"), ("our RF-DARTS", "C"))
    }
    if arguments.official is not None:
        forms["official DARTS"] = official(arguments.official, arguments.batch)
    if arguments.confopt is not None:
        forms["confopt DARTS"] = confopt(arguments.confopt, arguments.batch)
    found: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(arguments.runs):
        for name, form in forms.items():
            found[name] += seconds(form, 1, warm=0 if found[name] else 1)
    peers = [name for name in forms if not name.startswith("our")]
    print(f"batch {arguments.batch}, {arguments.threads} thread(s), {arguments.runs} runs, ms")
    print(
        f"| form | min | median | max |{''.join(f' to {peer} |' for peer in peers)}\n|---|{'---:|' * (3 + len(peers))}"
    )
    for name, values in found.items():
        spread = Spread.of(values)
        ratios = "".join(f" {spread.median / Spread.of(found[peer]).median:.2f} |" for peer in peers)
        print(f"| {name} | {1e3 * spread.least:.0f} | {1e3 * spread.median:.0f} | {1e3 * spread.most:.0f} |{ratios}")


if __name__ == "__main__":
    main()
