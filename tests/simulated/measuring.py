"""What the checks share: running something on the CPU and on the simulated device, and counting waits a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from .device import waits
from .fabric import simulated

Result = TypeVar("Result")


def both(run: Callable[[str], Result]) -> tuple[Result, Result]:
    """``run("cpu")`` and ``run("auto")``, the second on the simulated device."""
    plain = run("cpu")
    with simulated():
        return plain, run("auto")


def waits_a_step(run: Callable[[int], object]) -> dict[str, float]:
    """Where the host waits for the device in every step: what ``run`` of two steps waits more than of one."""
    return measured(run)[1]


def measured(run: Callable[[int], Result]) -> tuple[Result, dict[str, float]]:
    """What ``run`` of two steps gives on the simulated device, and :func:`waits_a_step`."""
    counts: list[Counter[str]] = []
    with simulated():
        run(1)  # what is made once in a process and kept
        for steps in (1, 2):
            with waits() as found:
                result = run(steps)
            counts.append(Counter())
            for (what, where), count in found.items():
                counts[-1][f"{what}: {where}"] += count
    one, two = counts
    return result, {where: two[where] - one[where] for where in one | two if one[where] != two[where]}


def assert_as_on_cpu(run: Callable[[str, int], Any], tolerance: float = 0, waiting: int = 0) -> None:
    """``run(accelerator, steps)`` of two steps has the numbers of the CPU, to :func:`assert_same`, and every step waits
    ``waiting`` times for the device.
    """
    ours, found = measured(lambda steps: run("auto", steps))
    assert_same(run("cpu", 2), ours, tolerance)
    assert sum(found.values()) == waiting, found


def assert_same(a: Any, b: Any, tolerance: float = 0) -> None:
    """Tensors, of the CPU, and numbers in dictionaries, lists and tuples are equal: to the bit, or within
    ``tolerance``, where a tensor's largest number is above 1 relative to that.
    """
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key], tolerance)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(a, torch.Tensor | float):
        one, other = (value if isinstance(value, torch.Tensor) else torch.tensor(value) for value in (a, b))
        assert type(one) is type(other) is torch.Tensor
        assert torch.equal(one, other) or float((one - other).abs().max()) <= tolerance * max(1, float(one.abs().max()))
    else:
        assert a == b
