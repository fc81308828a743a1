"""The memory layout of trainings: which it is, that it changes no more than rounding, and that a resumed run keeps it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nni_plugins.evaluators.objectives import RandomLabels, fitted
from nni_plugins.evaluators.supernets.one_shot import one_shot_measures
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import Trained
from nni_plugins.evaluators.training.layout import layout_on
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201, SearchSpace

from .tiny import CLASSES, Interrupted, images

OBJECTIVE = RandomLabels(CLASSES)
SPACE = fitted(NASBench201(nodes=3, channels=8, cells_per_stage=1, classes=CLASSES), OBJECTIVE, images(12))


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cpu", "32-true", "channels_last"),
        ("cpu", "bf16-mixed", "channels_last"),
        ("cuda", "32-true", "contiguous"),
        ("cuda", "16-mixed", "channels_last"),
        ("cuda", "64-true", "contiguous"),
    ],
)
def test_the_rule(device: str, precision: str, expected: str) -> None:
    assert layout_on("auto", torch.device(device), precision) == expected
    assert layout_on("contiguous", torch.device(device), precision) == "contiguous"
    assert layout_on("channels_last", torch.device(device), precision) == "channels_last"


def supernet(space: SearchSpace = SPACE) -> Any:
    torch.manual_seed(0)
    return space.supernet()


def train(model: Any, folder: Path | None = None, report: Any = None, **changes: Any) -> Trained:
    s = SupernetSettings(epochs=3, batch_size=4, checkpoint_seconds=0, accelerator="cpu", **changes)
    return SupernetTraining(images(12), OBJECTIVE, s, folder=folder, report=report).evaluate(model)


def in_channels_last(model: Any) -> bool:
    weights = [p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    found = {not p.is_contiguous() for p in weights}
    assert len(found) == 1
    return found.pop()


def test_layouts_compute_the_same_up_to_rounding() -> None:
    plain, other, default = supernet(), supernet(), supernet()
    a = train(plain, memory_format="contiguous", precision="64-true")
    b = train(other, memory_format="channels_last", precision="64-true")
    c = train(default, precision="64-true")
    assert [in_channels_last(m) for m in (plain, other, default)] == [False, True, True]
    for name, value in a.final.items():
        assert torch.allclose(value, b.final[name], rtol=0, atol=1e-9) and torch.equal(b.final[name], c.final[name])
        assert b.final[name].is_contiguous()  # files do not depend on the layout
    assert a.initial.keys() == b.initial.keys() and all(map(torch.equal, a.initial.values(), b.initial.values()))


def test_a_resumed_run_keeps_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rule says by then, such as on another device."""
    undisturbed = train(supernet())

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(supernet(), tmp_path, stop)
    monkeypatch.setattr("nni_plugins.evaluators.training.loop.layout_on", lambda *_: "contiguous")
    model = supernet()
    resumed = train(model, tmp_path)
    assert in_channels_last(model)
    assert all(map(torch.equal, undisturbed.final.values(), resumed.final.values()))


def test_one_shot_evaluation_chooses_it_too() -> None:
    """Numbers do not depend on the layout in which the supernet comes."""
    indices = SPACE.enumerate()[:5]
    model = supernet()
    first = one_shot_measures(model, indices, images(12), OBJECTIVE)
    assert in_channels_last(model)
    again = one_shot_measures(supernet().to(memory_format=torch.channels_last), indices, images(12), OBJECTIVE)
    assert all((first[key] == again[key]).all() for key in first)


@pytest.mark.parametrize(
    ("wrapper", "device", "expected"),
    [("OptimWrapper", "cpu", True), ("AmpOptimWrapper", "meta", True), ("OptimWrapper", "meta", False)],
)
def test_mmengines_hook(wrapper: str, device: str, expected: bool) -> None:
    """``meta`` stands for a device that is no CPU."""
    pytest.importorskip("mmengine")
    from nni_plugins.evaluators.mmlab.hooks import LayoutHook

    model = torch.nn.Conv2d(3, 4, 3, device=device)
    LayoutHook().before_run(SimpleNamespace(model=model, cfg={"optim_wrapper": {"type": wrapper}}))
    assert in_channels_last(model) == expected
