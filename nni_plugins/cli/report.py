"""What a person sees of ``result.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from nni_plugins.evaluators.base import Metric
from nni_plugins.spaces.drawing import draw_cell
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.score import Score

from ..experiment.report import best_row, sentences, table_of
from ..experiment.verdict import warnings_of

LONGEST = 60
"""Characters of an architecture that still stands in the table; longer ones are listed below it."""
CELL = 9
"""Characters of another column, about."""


@dataclass(frozen=True)
class ResultTable:
    """Found and random architectures and baselines side by side, and what they say together, for any width."""

    result: dict[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _table(self.result, options.max_width)


def result_table(result: dict[str, Any]) -> ResultTable:
    """What a person sees of ``result``."""
    return ResultTable(result)


def _table(result: dict[str, Any], width: int) -> Group:
    header, rows = _fewer_columns(result, *table_of(result), width)
    first = next(iter(result["evaluations"]), None)
    chosen = first is not None and result["evaluations"][first]["validated"]
    order = f"the best by the validation of {first} first" if chosen else f"the largest {result['score']['name']} first"
    table = Table(title=f"{result['strategy']}: {order}")
    for place, column in enumerate(header):
        words = place < 2
        table.add_column(column, overflow="fold", justify="left" if words else "right")
    numbers: dict[str, str] = {}
    longest = min(LONGEST, width - CELL * (len(header) - 1))
    for architecture, source, *cells in rows:
        if len(architecture) > longest:
            architecture = numbers.setdefault(architecture, str(len(numbers) + 1))
        table.add_row(Text(architecture), source, *cells, style="bold" if source == "found" else "")
    failed = [f"failed: {', '.join(result['failed'])}"] if result["failed"] else []
    lines = (Text(line) for line in (*sentences(result), *warnings_of(result), *failed))
    return Group(table, *([_listed(numbers)] if numbers else []), *lines)


def _fewer_columns(
    result: dict[str, Any], header: list[str], rows: list[list[str]], width: int
) -> tuple[list[str], list[list[str]]]:
    """Without multiply-adds, without the seed where there is one search, and without validations where there is no room:
    a terminal is narrower than a page.
    """
    left_out = {"macs", *(["seed"] if len(result["searches"]) < 2 else [])}
    if CELL * (len(header) - len(left_out)) > width:
        left_out |= {column for column in header if ": validation" in column}
    kept = [place for place, column in enumerate(header) if column not in left_out]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _listed(numbers: dict[str, str]) -> Table:
    """``1 Genotype(...)``, folded beside its number."""
    listed = Table.grid(padding=(0, 1))
    listed.add_column(justify="right", no_wrap=True)
    listed.add_column(overflow="fold")
    for architecture, number in numbers.items():
        listed.add_row(number, Text(architecture))
    return listed


def draw_best(result: dict[str, Any], folder: Path) -> Path | None:
    """``best.png`` in ``folder``: the cell of the best architecture that was found; None where there is none."""
    row = best_row(result)
    if row is None or row["choices"] is None:
        return None
    space = build_space(result["settings"]["space"])
    return draw_cell(space, space.architecture(row["choices"]), folder / "best.png", _title(result, row))


def _title(result: dict[str, Any], row: dict[str, Any]) -> str:
    """The architecture, what is known of its quality, and its size."""
    known = []
    for name, one in result["evaluations"].items():
        value = row["evaluations"].get(name, {}).get("value")
        if value is not None:
            known.append(f"{name}: {Metric(one['metric'], one['unit']).text(value)}")
    if not known and row["score"] is not None:
        known.append(Score(**result["score"]).text(row["score"]))
    if row["parameters"] is not None:
        known.append(f"{row['parameters']:,} parameters")
    return f"{row['architecture']}\n{', '.join(known)}"
