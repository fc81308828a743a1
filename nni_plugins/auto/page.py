"""The page that a run ends with. It begins with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.evaluators.reports.document import (
    Block,
    Bullets,
    Code,
    Heading,
    Paragraph,
    Picture,
    Table,
    write_document,
)
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.drawing import draw_cell

from ..experiment.verdict import FOUND, LARGEST, RANDOM, warnings_of
from .verdict import Verdict

if TYPE_CHECKING:
    from .handover import Handed

TITLE = "A network for your images"
PICTURE = "network.svg"
NAMES = {FOUND: "that was found", LARGEST: "that is the largest within the limit"}


def write_page(
    output: Path,
    planned: Mapping[str, Any],
    judged: Verdict,
    result: Mapping[str, Any],
    space: SearchSpace,
    handed: Handed,
) -> Path:
    """Write ``page/report.html``, which stands alone, and ``page/report.md``; returns the first."""
    shown = next(row["choices"] for row in result["architectures"] if row["source"] == judged.taken)
    what = NAMES[judged.taken]
    folder = output / "page"
    folder.mkdir(parents=True, exist_ok=True)
    picture = draw_cell(space, space.architecture(shown), folder / PICTURE, f"the network {what}").read_bytes()
    blocks: list[Block] = [
        Heading(TITLE, 1),
        Paragraph(judged.sentence),
        Bullets(judged.details),
        Heading("Networks"),
        Table(*_table(result, space, planned["image"])),
        Picture(PICTURE, f"the network {what}", f"The network {what}."),
        Heading("Images"),
        Bullets(planned["found"]),
        Heading("What was done, and why"),
        Bullets(planned["reasons"]),
        Heading("Files"),
        Bullets([f"{name}: {what}" for name, what in handed.files.items()]),
    ]
    warned = list(warnings_of(result))
    if warned or handed.missing or result["failed"]:
        failed = [f"failed: {', '.join(result['failed'])}"] if result["failed"] else []
        blocks.insert(3, Bullets([*warned, *handed.missing, *failed], warning=True))
    if handed.use:
        blocks += [Heading("Use"), Code(handed.use)]
    versions = "\n".join(f"{name} {version}" for name, version in result["versions"].items())
    return write_document(folder, TITLE, [*blocks, Heading("Versions"), Code(versions)], {PICTURE: picture})


def _table(result: Mapping[str, Any], space: SearchSpace, side: int) -> tuple[list[str], list[list[str]]]:
    """A row a network: its size, of images of ``side`` x ``side`` pixels, and what each of its trainings gave."""
    costs = space.cost_table(side)
    first = next(iter(result["evaluations"].values()))
    heading = f"{first['metric']} ({first['unit']})"
    header = ["network", heading, "trainings", "parameters", "multiply-adds"]
    order = {FOUND: 0, LARGEST: 1, RANDOM: 2}
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(result["architectures"], key=lambda row: (order.get(row["source"], 3), row["rank"])):
        name = {LARGEST: "largest within the limit", RANDOM: f"random {row['rank']}"}.get(row["source"], row["source"])
        networks.setdefault(name, []).append(row)
    rows = []
    for name, same in networks.items():
        trainings = [one for row in same for one in row["evaluations"].values() if one["value"] is not None]
        values = [one["value"] for one in trainings]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        if same[0]["choices"] is None:  # a network by name
            given = trainings[0]["metrics"] if trainings else {}
            sizes = [_number(given.get("parameters")), _number(given.get("macs"))]
        else:
            one = costs(space.encode([space.architecture(same[0]["choices"])]))
            sizes = [_number(one.parameters[0]), _number(one.macs[0])]
        rows.append([name, f"{np.mean(values):.2f}{spread}" if values else "-", str(len(values)), *sizes])
    return header, rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{int(value):,}"
