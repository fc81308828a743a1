"""How a training of this project gets the simulated accelerator: from Fabric, wherever it does not ask for the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import Accelerator
from lightning_fabric.plugins.precision import DoublePrecision, MixedPrecision, Precision
from lightning_fabric.strategies import SingleDeviceStrategy

from nni_plugins.evaluators import devices
from nni_plugins.evaluators.text import loop as text
from nni_plugins.evaluators.text import shared
from nni_plugins.evaluators.training import base

from . import autocast as autocast
from .device import DEVICE

PRECISIONS = {
    "32-true": Precision,
    "64-true": DoublePrecision,
    "bf16-mixed": lambda: MixedPrecision("bf16-mixed", DEVICE.type),
    "16-mixed": lambda: MixedPrecision("16-mixed", DEVICE.type),
}


class SimulatedAccelerator(Accelerator):
    """What Fabric asks an accelerator for."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return DEVICE.type


def fabric(accelerator: str = "auto", devices: int = 1, precision: str = "32-true", **options: Any) -> Fabric:
    """As ``Fabric(...)``, which has the simulated accelerator for ``auto``, ``cuda`` and ``sim``."""
    if accelerator == "cpu":
        return Fabric(accelerator=accelerator, devices=devices, precision=precision, **options)
    assert devices == 1, "there is one simulated accelerator"
    plugin = PRECISIONS[precision]()
    return Fabric(strategy=SingleDeviceStrategy(DEVICE, SimulatedAccelerator(), precision=plugin), devices=1)


def device_of(accelerator: str) -> torch.device:
    """In place of the texts' own."""
    return torch.device("cpu") if accelerator == "cpu" else DEVICE


@contextmanager
def simulated() -> Iterator[None]:
    """Within the block, what asks for an accelerator gets the simulated one, and memory can be pinned for it."""
    with ExitStack() as patches:
        for owner, name, value in (
            (base, "Fabric", fabric),
            (text, "device_of", device_of),
            (shared, "device_of", device_of),
            (devices, "PINNED", devices.PINNED | {DEVICE.type}),
        ):
            patches.enter_context(mock.patch.object(owner, name, value))
        yield
