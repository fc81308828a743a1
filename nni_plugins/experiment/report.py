"""The report of an experiment with searches: the same page for every strategy and evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from nni_plugins.evaluators.reports.document import (
    Block,
    Bullets,
    Code,
    Heading,
    Picture,
    Table,
    write_document,
)
from nni_plugins.spaces.base import SearchSpace

from .verdict import verdicts, warnings_of

BEST = "best.svg"


def write_search_report(result: Mapping[str, Any], space: SearchSpace, folder: Path) -> Path:
    """Write ``report.html``, which stands alone, and ``report.md`` with its pictures; returns the first."""
    pictures: dict[str, bytes] = {}
    best = best_row(result)
    if best is not None and best["choices"] is not None:
        from nni_plugins.spaces.drawing import draw_cell

        folder.mkdir(parents=True, exist_ok=True)
        path = draw_cell(space, space.architecture(best["choices"]), folder / BEST, "best found")
        pictures[BEST] = path.read_bytes()
    return write_document(
        folder, f"{result['strategy']} on {space.name}", report_blocks(result, space, pictures), pictures
    )


def best_row(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best architecture that the searches found; where nothing was searched, the best random one. They are listed
    in the order of what they are chosen by.
    """
    rows = result["architectures"]
    for source in ("found", "random"):
        for row in rows:
            if row["source"] == source:
                return dict(row)
    return None


def report_blocks(result: Mapping[str, Any], space: SearchSpace, pictures: Mapping[str, bytes]) -> list[Block]:
    """What stands in the report."""
    blocks: list[Block] = [Heading(f"{result['strategy']} on {space.name}", 1), Bullets(sentences(result))]
    header, rows = table_of(result)
    blocks += [Heading("Architectures"), Table(header, rows)]
    if BEST in pictures:
        blocks.append(Picture(BEST, "the best found architecture", "The best architecture that was found."))
    warned = list(warnings_of(result))
    if warned:
        blocks.append(Bullets(warned, warning=True))
    if result["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(result['failed'])}"], warning=True))
    versions = "\n".join(f"{name} {version}" for name, version in result["versions"].items())
    blocks += [Heading("Versions"), Code(versions)]
    return blocks


def table_of(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of architectures, the best first."""
    score = result["score"]
    heading = f"{score['name']} ({score['unit']})" if score["unit"] else score["name"]
    evaluations = result["evaluations"]
    columns = []
    for name, one in evaluations.items():
        unit = f" ({one['unit']})" if one["unit"] else ""
        columns += [f"{name}: validation{unit}"] if one["validated"] else []
        columns.append(f"{name}: {one['metric']}{unit}")
    known = result["architectures_in_table"] is not None
    also = list(result["settings"]["truth"]["also"]) if known else []
    header = [
        "architecture",
        "source",
        "seed",
        heading,
        *columns,
        *(["true rank"] if known else []),
        *(f"true {name}" for name in also),
        "parameters",
        "macs",
    ]
    rows = []
    for row in result["architectures"]:
        cells = [row["architecture"], row["source"].replace("_", " "), str(row["seed"]), number(row["score"], ".4f")]
        for name in evaluations:
            one = row["evaluations"].get(name)
            if evaluations[name]["validated"]:
                cells.append(number(None if one is None else one["validation"], ".2f"))
            cells.append("-" if one is None else one["status"] if one["value"] is None else f"{one['value']:.2f}")
        if known:
            rank = row["true_rank"]
            cells.append("-" if rank is None else f"{rank:g} of {result['architectures_in_table']}")
        cells += [number(row["true_values"].get(name), ".2f") for name in also]
        rows.append([*cells, number(row["parameters"], ","), number(row["macs"], ",")])
    return header, rows


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say together, one sentence each; the verdicts first."""
    lines = verdicts(result)
    if not result["evaluations"]:
        lines.append("Nothing was evaluated (evaluations: {}).")
    score = result["score"]["name"]
    for name, one in list(result["evaluations"].items())[:1]:
        if one["validated"]:
            lines.append(f"The best is chosen by the validation of {name}.")
        else:
            lines.append(f"{name} holds nothing out to choose by, so the best is the one with the largest {score}.")
    for name, one in result["evaluations"].items():
        unit = f" {one['unit']}" if one["unit"] else ""
        means = [f"mean of {source} {v:.2f}{unit}" for source, v in one["mean"].items() if v is not None]
        means += [
            f"{source.replace('_', ' ')} {v:.2f}{unit}" for source, v in one["baselines"].items() if v is not None
        ]
        if means:
            lines.append(f"{name}, {one['metric']}: {', '.join(means)}.")
        if one["kendall_tau"] is not None:
            over = "over the found and random architectures"
            lines.append(f"Kendall tau-b of {score} against {name}: {one['kendall_tau']:.3f} {over}.")
    total = result["architectures_in_table"]
    lines += [] if total is None else _true_values(result)
    for search, tau in zip(result["searches"], result["kendall_tau"], strict=True):
        if tau is not None:
            scored = search["result"].get("scored_in_table", total)  # of the others no weights were trained
            some = f"all {total}" if scored == total else f"the {scored} of {total} whose weights were trained"
            lines.append(f"Kendall tau-b of {score} against the table of truth: {tau:.3f} over {some} architectures.")
    return lines


def _true_values(result: Mapping[str, Any]) -> list[str]:
    """Mean and deviation over the searches of what the table says of the first architecture of each."""
    first = [row for row in result["architectures"] if row["source"] == "found" and row["rank"] == 1]
    truth, lines = result["settings"]["truth"], []
    for name in (truth["metric"], *truth["also"]) if len(first) > 1 else ():
        given = (row["true_accuracy"] if name == truth["metric"] else row["true_values"].get(name) for row in first)
        values = [value for value in given if value is not None]
        if len(values) > 1:
            what = f"{mean(values):.2f} ± {stdev(values):.2f}"
            lines.append(
                f"First architecture of each search, {name} in the table of truth: {what} (n = {len(values)})."
            )
    return lines


def number(value: float | None, form: str) -> str:
    """``value`` as ``form`` says, or a dash."""
    return "-" if value is None else f"{value:{form}}"
