"""The curve of a retraining as a table and as TensorBoard's events, and scores of test images by hand."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nni_plugins.evaluators.errors import DataError, MissingBackend
from nni_plugins.evaluators.retraining.summary import EVENTS, FILE, Summary
from nni_plugins.evaluators.retraining.validation import check_classes, evaluate

timm = pytest.importorskip("timm")
import nni_plugins.evaluators.interchange.timm_models  # noqa: E402, F401  (after the check that timm is there)

ROW = {"epoch": 2, "loss": 1.5, "accuracy": 40.0, "learning_rate": 0.1, "test_loss": 1.7, "top1": 35.0, "top5": 90.0}


# -- the curve ---------------------------------------------------------------------------------------------------------
def rows(count: int) -> list[dict[str, float]]:
    return [{**ROW, "epoch": i + 1, "loss": 2 - i / 4, "top1": 30.0 + i} for i in range(count)]


def test_table_after_a_resume_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    undisturbed = Summary(tmp_path / "a")
    for epoch in range(1, 5):
        undisturbed(rows(epoch))
    killed = Summary(tmp_path / "b")
    for epoch in (1, 2, 3):
        killed(rows(epoch))
    resumed = Summary(tmp_path / "b")  # its checkpoint was of epoch 2
    for epoch in (3, 4):
        resumed(rows(epoch))
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    with open(tmp_path / "b" / FILE, newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["epoch", "train_loss", "train_top1", "eval_loss", "eval_top1", "eval_top5", "lr"]
    assert [int(line["epoch"]) for line in lines] == [0, 1, 2, 3] and [float(line["eval_top1"]) for line in lines] == [
        30,
        31,
        32,
        33,
    ]
    assert [line.name for line in (tmp_path / "b").iterdir()] == [FILE]


def test_columns_are_timms(tmp_path: Path) -> None:
    Summary(tmp_path / "ours")([{"epoch": 1, "loss": 1.5, "test_loss": 1.25, "top1": 50.0, "learning_rate": 0.5}])
    theirs = tmp_path / "theirs.csv"
    timm.utils.update_summary(0, {"loss": 1.5}, {"loss": 1.25, "top1": 50.0}, str(theirs), lr=0.5)
    assert (tmp_path / "ours" / FILE).read_text().split() == theirs.read_text().split()


def test_a_column_that_only_some_rows_have(tmp_path: Path) -> None:
    Summary(tmp_path)([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5, "top1": 60.0, "top1_raw": 59.0}])
    assert (tmp_path / FILE).read_text() == "epoch,train_loss,eval_top1,eval_top1_raw\n0,1.0,,\n1,0.5,60.0,59.0\n"


class Recorder:
    """Stands for TensorBoard's writer: one file a writer, one line a point."""

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = Path(folder) / f"events.out.tfevents.{len(list(Path(folder).iterdir()))}"
        self.file.write_text("")

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.file.write_text(self.file.read_text() + f"{tag} {step} {value}\n")

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_events_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Recorder))
    with Summary(tmp_path, tensorboard=True) as killed:
        killed(rows(1))
        killed(rows(2))
    (tmp_path / EVENTS / "notes.txt").write_text("kept")
    with Summary(tmp_path, tensorboard=True) as resumed:
        resumed(rows(2))
        resumed(rows(3))
    (file,) = (tmp_path / EVENTS).glob("events.*")
    points = file.read_text().splitlines()
    assert [line for line in points if line.startswith("eval/top1 ")] == [
        "eval/top1 1 30.0",
        "eval/top1 2 31.0",
        "eval/top1 3 32.0",
    ]
    assert len(points) == 3 * 6 and "lr 3 0.1" in points and (tmp_path / EVENTS / "notes.txt").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for counts in ((1, 2), (2, 3)):
        with Summary(tmp_path, tensorboard=True) as summary:
            for count in counts:
                summary(rows(count))
    events = EventAccumulator(str(tmp_path / EVENTS))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("eval/top1")] == [(1, 30.0), (2, 31.0), (3, 32.0)]


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        MissingBackend, match=r"tensorboard is not installed.\nInstall it: pip install \'tensorboard>=2\.18\'"
    ):
        Summary(tmp_path, tensorboard=True)


# -- scores ------------------------------------------------------------------------------------------------------------
class Lookup(nn.Module):
    """Answers image ``i``, whose first pixel is ``i``, with row ``i`` of a table of logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits, self.dropout = nn.Parameter(logits), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.logits[x[:, 0, 0, 0].long()])  # type: ignore[no-any-return]


def batches(labels: list[int], size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = torch.arange(len(labels), dtype=torch.float32)[:, None, None, None].expand(-1, 3, 2, 2)
    return list(zip(images.split(size), torch.tensor(labels).split(size), strict=True))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_scores_by_hand(size: int) -> None:
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1, 0]]).repeat(5, 1)
    labels = [0, 1, 4, 5, 0]  # ranks 1, 2, 5, 6, 1
    network = Lookup(logits).train()
    scores = evaluate(network, batches(labels, size))
    norm = np.log(np.exp(np.arange(7)).sum())
    assert scores["top1"] == 40.0 and scores["top5"] == 80.0 and list(scores) == ["loss", "top1", "top5"]
    assert scores["loss"] == pytest.approx(norm - np.mean([6, 5, 2, 1, 6]), rel=1e-6)
    assert network.training and network.dropout.training and network.logits.grad is None


def test_scores_of_five_classes_with_another_loss_and_two_processes() -> None:
    network, labels = Lookup(torch.eye(5)), [0, 1, 2, 0, 0]
    smooth = lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=0.1)  # noqa: E731
    whole = evaluate(network, batches(labels, 2), smooth)
    assert whole["top1"] == 60.0 and "top5" not in whole
    assert whole["loss"] == pytest.approx(smooth(torch.eye(5), torch.tensor(labels)).item(), rel=1e-6)
    parts: list[torch.Tensor] = []
    evaluate(network, batches(labels, 2)[:2], smooth, reduce=lambda sums: parts.append(sums) or sums)
    together = evaluate(network, batches(labels, 2)[2:], smooth, reduce=lambda sums: sums + parts[0])
    assert together == pytest.approx(whole) and parts[0].dtype == torch.float64
    assert evaluate(network, [], smooth, reduce=lambda sums: sums + parts[0])["top1"] == 75.0
    with pytest.raises(DataError, match="no images"):
        evaluate(network, [])


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (("b", "a", "c"), r"in another order: number 0 is 'b' instead of 'a'"),
        (("a", "b"), r"3 classes, and photos has 2: 1 missing \(c\)"),
        (("a", "b", "x"), r"1 missing \(c\); 1 unknown to it \(x\)"),
        (("a", "b", "c", *"defg"), r"4 unknown to it \(d, e, f, \.\.\.\)"),
    ],
)
def test_classes_that_differ(found: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_classes(("a", "b", "c"), found, "a.pth.tar", "photos")
    check_classes(found, list(found), "a.pth.tar", "photos")
