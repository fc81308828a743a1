"""What a diagnosis leaves: ``diagnosis.json``, ``parts.csv`` and the report. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_csv, write_shareable
from ..reports.closing import closing
from ..reports.document import Block, Bullets, Heading, Picture, Table, write_document
from ..reports.figures import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
CAPTIONS = {
    "lambda": "Mean lambda over the blocks (thick) and each block's (thin), by where it starts.",
    "eta": "Geometric mean of eta over the layers, 10 to 90 % of them and their whole range, on a logarithmic axis. 1 "
    "keeps the variance of the weights.",
    "depth": "Errors by network; bars are means, dots are seeds.",
    "options": "Accuracy of the mixed supernet beside that of the architecture that it found; bars are means, dots "
    "are seeds.",
    "skips": "Skip connections of the architecture that would be derived after each epoch; grey: all operations "
    "that it takes.",
    "eigenvalue": "Dominant eigenvalue of the validation loss's Hessian; dotted: the epoch that a search went back "
    "to; dashed: what it gave up thereby.",
    "alphas": "Probability of each operation over epochs, a panel an edge.",
    "entropy": "Entropy of every edge over epochs; grey: where all operations are equally probable.",
}
"""By the beginning of a figure's name, up to a hyphen."""


def write_diagnosis(
    folder: Path,
    about: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    figures: Callable[[], Mapping[str, Figure]],
) -> dict[str, Any]:
    """Write everything into ``folder``, the numbers before a figure is drawn, and the report into ``report`` below it;
    returns the content of ``diagnosis.json``.

    Args:
        about: that content: ``study``, ``title``, ``settings``, ``parts``, ``reading`` (sentences), ``failed``,
            ``versions``.
        rows: a line of ``parts.csv`` each, and of the report's table.
        figures: by name.
    """
    value = {"schema": SCHEMA_VERSION, **about}
    write_csv(folder / "parts.csv", rows)
    write_shareable(folder / "diagnosis.json", value)
    pictures = {f"{name}.svg": svg(figure) for name, figure in figures().items()}
    write_document(folder / "report", value["title"], report_blocks(value, rows, pictures), pictures)
    return value


def report_blocks(
    value: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], pictures: Collection[str]
) -> list[Block]:
    """The report, from the content of ``diagnosis.json``."""
    blocks: list[Block] = [Heading(value["title"], 1), Bullets(value["reading"])]
    if value["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(value['failed'])}"], warning=True))
    header = list(rows[0])
    blocks += [Heading("Numbers"), Table([key.replace("_", " ") for key in header], [_cells(row) for row in rows])]
    blocks.append(Heading("Pictures"))
    for file in pictures:
        name = file.removesuffix(".svg")
        blocks.append(Picture(file, name, CAPTIONS[name.partition("-")[0]]))
    return blocks + closing(value["settings"], value["versions"])


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_cell(value) for value in row.values()]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
