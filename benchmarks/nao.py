"""What NAO's controller and its sizes cost: vectorised against one token at a time, closed form against built networks.
One process, one thread.

    python benchmarks/nao.py [--runs 5] [--batch 100] [--networks 20]

Controller: one training step (forward, backward, clipping, Adam) on a batch. Stepwise is the official form, which calls
the decoder's LSTM and attention once a token; ours calls both once. Sizes: parameters of random NAO architectures at
search size (11 cells, 20 channels), which NAO-V2's proportional sampling needs for its whole pool in every round. Times
are of the process, minimum of the runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces import NAO, NASBench201, SearchSpace
from nni_plugins.strategies.nao import Controller, ControllerSettings, SpaceCodec
from nni_plugins.strategies.nao.training import build


class Step:
    """A training step on random architectures and targets."""

    def __init__(self, space: SearchSpace, batch: int, stepwise: bool) -> None:
        codec = SpaceCodec(space)
        rng = generator(0, "benchmark")
        self.controller: Controller = build(codec, ControllerSettings(), 0)
        self.tokens = torch.from_numpy(codec.tokens.encode(codec.sample(rng, batch)))
        self.targets = torch.from_numpy(rng.random(batch).astype(np.float32))
        self.optimizer = torch.optim.Adam(self.controller.parameters(), 1e-3, fused=True)
        self.stepwise = stepwise

    def loss(self) -> torch.Tensor:
        if not self.stepwise:
            return self.controller.loss(self.tokens, self.targets)[0]
        encoded = self.controller.encode(self.tokens)
        logits, _ = self.controller.decode_stepwise(encoded.outputs, encoded.embedding, self.tokens)
        return 0.8 * F.mse_loss(encoded.value, self.targets) + 0.2 * F.cross_entropy(
            logits.flatten(0, 1), self.tokens.flatten()
        )

    def __call__(self) -> float:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.controller.parameters(), 5.0)
        self.optimizer.step()
        return float(loss.detach())


def fastest(function: Callable[[], object], runs: int, repeat: int) -> float:
    """Seconds of CPU for one call: the fastest of ``runs`` means over ``repeat`` calls, after one that does not count."""
    function()
    times = []
    for _ in range(runs):
        start = time.process_time()
        for _ in range(repeat):
            function()
        times.append((time.process_time() - start) / repeat)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--networks", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for space in (NAO(), NASBench201()):
        ours, official = Step(space, arguments.batch, False), Step(space, arguments.batch, True)
        difference = abs(ours.loss().item() - official.loss().item())
        fast, slow = (1e3 * fastest(step, arguments.runs, 5) for step in (ours, official))
        print(
            f"{space.name}: a step takes {fast:.1f} ms, stepwise {slow:.1f} ms ({slow / fast:.1f} times); losses differ by {difference:.1e}",
            flush=True,
        )

    space = NAO()
    rows = space.sample(generator(0, "benchmark sizes"), 1000)
    closed = fastest(lambda: space.cost_table(32)(rows), arguments.runs, 1)
    few = space.decode(rows[: arguments.networks])
    start = time.process_time()
    built = [sum(p.numel() for p in space.network(a).parameters()) for a in few]
    seconds = (time.process_time() - start) / len(few)
    table = space.cost_table(32)(rows)
    assert built == table.parameters[: len(few)].tolist(), "both count the same"
    share = table.parameters / table.parameters.sum()
    print(
        f"sizes of 1,000: {1e3 * closed:.1f} ms with the table (made anew); {1e3 * seconds:.0f} ms a network where each is built"
    )
    print(
        f"parameters {table.parameters.min() / 1e6:.3f} to {table.parameters.max() / 1e6:.3f} million, median {np.median(table.parameters) / 1e6:.2f}"
    )
    print(f"proportional sampling: effective pool {1 / (share**2).sum():.0f} of 1,000")


if __name__ == "__main__":
    main()
