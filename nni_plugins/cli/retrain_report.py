"""What a person sees of a retraining: its bar, and the table at its end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from nni_plugins.evaluators.files import read_json

from ..experiment.verdict import verdicts
from ..requests.retrain import SEARCHED
from .console import grid
from .options import origin_line

if TYPE_CHECKING:
    from nni_plugins.evaluators.retraining.evaluator import RetrainResult

    from ..requests.retrain import RetrainRequest

INSIDE = ("training", "tensorboard")
"""Folders of a run whose files are not listed one by one."""
FLATTERS = (
    "The best epoch was chosen on the very images that it is measured on, so it flatters; quote the last one, or hold images "
    "out: --validation 0.1."
)
SEARCHED_SIZE = "The network has the size of the search; --recipe-size takes the recipe's."
ALONE = (
    "This is one training, and nothing else was trained by this recipe: whether the network is better is what an evaluation of "
    "several, or nni-plugins compare, tells."
)


class Bar:
    """Epoch, loss, images a second and time left; nothing at all if ``quiet``."""

    def __init__(self, console: Console, epochs: int, quiet: bool) -> None:
        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.progress = Progress(*columns, console=console, disable=quiet)
        self.epochs = epochs
        self.task = self.progress.add_task("", total=None, epoch="-", epochs=epochs, note="preparing")

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, row: dict[str, float]) -> None:
        """See :data:`nni_plugins.evaluators.retraining.loop.Progress`."""
        updates, epoch = int(row["updates"]), int(row["epoch"])
        note = f"loss {row['loss']:.3f}  {row['images_per_second']:,.0f} img/s  {remaining(row['seconds_left'])} left"
        done = (epoch - 1) * updates + int(row["update"])
        self.progress.update(self.task, total=self.epochs * updates, completed=done, epoch=epoch, note=note)


def remaining(seconds: float) -> str:
    """``2 d 03:04:05``, days only where there are some."""
    days, rest = divmod(round(max(seconds, 0)), 86_400)
    text = f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{days} d {text}" if days else text


def report(request: RetrainRequest, result: RetrainResult, folder: Path) -> tuple[dict[str, Any], RenderableType]:
    """What ``--json`` prints, and the table."""
    one, about = request.subject, request.origin.about
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files += [f"{name}/" for name in INSIDE if (folder / name).is_dir()]
    value = {
        "architecture": one.text,
        "origin": about,
        "recipe": request.recipe_name,
        "data": request.data.model_dump(mode="json"),
        "seed": request.seed,
        "epochs": int(result.history[-1]["epoch"]),
        **result.metrics,
        "epoch": result.epoch,
        "best_epoch": result.best_epoch,
        "weights": result.weights,
        "network": result.description,
        "folder": str(folder),
        "files": files,
    }
    table = grid("", "")
    table.add_row("architecture", escape(one.text))
    where = origin_line(about)
    if where is not None:
        table.add_row("from", escape(where))
    for key in ("parameters", "macs"):
        number = result.metrics.get(key)
        table.add_row({"macs": "multiply-adds"}.get(key, key), "-" if number is None else f"{number:,}")
    tested = (
        f"{result.top1:.2f} %"
        + ("" if result.top5 is None else f"   top-5 {result.top5:.2f} %")
        + f"   loss {result.loss:.4f}"
    )
    if result.validated:
        table.add_row(f"top-1, held out, epoch {result.epoch}", f"{result.best_top1:.2f} %")
        table.add_row("top-1, tested once", tested)
    else:
        table.add_row(f"top-1, epoch {result.epoch}", tested)
        table.add_row(f"top-1, best test (epoch {result.best_epoch})", f"{result.best_top1:.2f} %")
    for key in ("left_out", "notes"):
        for line in result.description.get(key, []):
            table.add_row(key.replace("_", " "), escape(line))
    table.add_row("folder", escape(str(folder)))
    table.add_row("files", escape(", ".join(files)))
    lines = [] if result.validated else [FLATTERS]
    lines += [SEARCHED_SIZE] if about["kind"] in SEARCHED and request.keeps_size else []
    return value, Group(table, *lines, *map(escape, beside(about)))


def beside(about: dict[str, Any]) -> list[str]:
    """What random architectures and baselines reached in the search or comparison that chose this one."""
    if about["kind"] not in ("search", "comparison"):
        return []
    searches, means = about.get("searches", 0), about["means"]
    seeds = f" with {searches} seed{'s' if searches > 1 else ''}" if searches else ""
    chosen_by = about["strategy"] + seeds if about["kind"] == "search" else "the comparison"
    if not means:
        return [f"{chosen_by} evaluated nothing, so no random architectures stand beside this one."]
    listed = ", ".join(f"{name} {mean['mean']:.2f} ({mean['count']})" for name, mean in means.items())
    rest = [] if about["random"] is not None else ["There are no random architectures to compare it with."]
    said = verdicts(read_json(Path(about["file"]), "Run the search again.")) if about["kind"] == "search" else []
    return [
        f"{chosen_by}: mean {about['metric']['name']} of its own evaluations (how many): {listed}.",
        *said,
        *rest,
        ALONE,
    ]
