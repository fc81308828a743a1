"""What a ranking study leaves: ``rank_study.json``, ``rows.csv``, ``scores.csv`` and the report. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...files import json_able, write_csv, write_shareable
from ...statistics.ranking_metrics import null_deviations, position_changes
from ..closing import closing
from ..document import Block, Bullets, Heading, Picture, Table, write_document
from ..figures import svg
from .published import ARCHITECTURES
from .rows import Cell, Condition, Floats, Row, Sizes, noise, reliability, row_of, tables

SCHEMA_VERSION = 1
EPOCHS, SCATTER = "epochs.svg", "scatter.svg"
PRINTED = (
    f"Paper: NAO-V2 as printed, one run with {ARCHITECTURES} architectures of NAO's space on CIFAR-10, whatever is "
    "studied here."
)
READING = (
    "PA: share of all pairs that the scores order as the truths do, a tie counting half; 0.5 by chance. rho: "
    "Spearman's. tau-b: Kendall's; without ties it is 2 PA - 1.",
    "The intervals know the choice of architectures, not the luck of a supernet's training; for that there are seeds.",
)
CAPTIONS = {
    EPOCHS: "PA and rho by the epochs of the supernet's training: a line is a mean over seeds, a dot a seed with its "
    "bootstrap interval. In the grey band lie 95 % of scores that have nothing to do with the truth.",
    SCATTER: "One-shot accuracy against true accuracy, a dot an architecture, of the first seed. Triangles at the "
    "left border stand for truths far below the rest.",
}


@dataclass(frozen=True)
class Group:
    """The n ``architectures`` of one kind of sizes and their ``parameters``, (n,), chosen from ``pool``; ``truths``:
    (n,) percent, one for each seed, or the table's.
    """

    architectures: tuple[str, ...]
    parameters: npt.NDArray[np.int64]
    pool: int
    truths: Sequence[Floats]

    @property
    def truth(self) -> Floats:
        """(n,): mean over the seeds."""
        mean: Floats = sum(self.truths[1:], start=self.truths[0]) / len(self.truths)
        return mean


@dataclass(frozen=True)
class RankStudy:
    """``groups`` by sizes; ``scores``, (n,), and ``curves`` by condition; ``resamples``, ``seed``, ``bin`` and ``top``
    as of :func:`row_of`.
    """

    title: str
    groups: Mapping[Sizes, Group]
    scores: Mapping[Condition, Floats]
    curves: Mapping[Condition, list[dict[str, float]]]
    settings: Mapping[str, Any]
    failed: Sequence[str]
    versions: Mapping[str, str]
    resamples: int
    seed: int
    bin: float
    top: Sequence[int]

    def truth(self, condition: Condition) -> Floats:
        """(n,) of the architectures of ``condition``."""
        return self.groups[condition.sizes].truth

    def rows(self) -> list[Row]:
        """A comparison a condition."""
        options: dict[str, Any] = {
            "resamples": self.resamples,
            "seed": self.seed,
            "width": self.bin,
            "top": self.top,
        }
        return [row_of(c, scores, self.truth(c), **options) for c, scores in self.scores.items()]


def write_rank_study(study: RankStudy, folder: Path) -> dict[str, Any]:
    """Write everything into ``folder``, the numbers before a figure is drawn, and the report into ``report`` below it;
    returns the content of ``rank_study.json``.
    """
    from .figures import epochs_figure, scatter_figure

    rows = study.rows()
    value = content(study, rows)
    write_csv(folder / "rows.csv", map(_flat, rows))
    write_csv(folder / "scores.csv", (row for sizes in study.groups for row in _scores(study, sizes)))
    write_shareable(folder / "rank_study.json", value)
    pictures: dict[str, bytes] = {}
    if rows:
        points = {c: (scores, study.truth(c)) for c, scores in study.scores.items()}
        pictures = {EPOCHS: svg(epochs_figure(rows)), SCATTER: svg(scatter_figure(points, rows))}
    write_document(folder / "report", study.title, report_blocks(value, pictures), pictures)
    return value


def content(study: RankStudy, rows: Sequence[Row]) -> dict[str, Any]:
    """The content of ``rank_study.json``; undefined numbers are null."""
    n = len(next(iter(study.groups.values())).architectures)
    value = {
        "schema": SCHEMA_VERSION,
        "title": study.title,
        "settings": study.settings,
        "noise": {"sentence": noise(n), **asdict(null_deviations(n))},
        "groups": {sizes: _group(study, sizes) for sizes in study.groups},
        "rows": [{**asdict(row), "curve": study.curves[row.condition]} for row in rows],
        "tables": [
            {
                "number": table.number,
                "title": table.title,
                "keys": table.heads,
                "lines": [
                    {
                        **dict(zip(table.heads, line.keys, strict=True)),
                        **{key: asdict(getattr(line, key)) for key in ("pairwise", "spearman", "kendall")},
                        "paper": None if line.printed is None else line.printed._asdict(),
                    }
                    for line in table.lines
                ],
            }
            for table in tables(rows)
        ],
        "failed": study.failed,
        "versions": study.versions,
    }
    return dict(json_able(value))


def _group(study: RankStudy, sizes: Sizes) -> dict[str, Any]:
    group = study.groups[sizes]
    ordered = sorted(int(v) for v in group.parameters)
    return {
        "pool": group.pool,
        "parameters": {"least": ordered[0], "median": ordered[len(ordered) // 2], "largest": ordered[-1]},
        "truth_seeds": len(group.truths),
        "truth_reliability": reliability(group.truths),
        "architectures": list(_scores(study, sizes)),
    }


def _scores(study: RankStudy, sizes: Sizes) -> Iterable[dict[str, Any]]:
    """A dictionary an architecture: its truth, its one-shot score under every condition, and by how many positions that
    puts it too low.
    """
    group = study.groups[sizes]
    truth = group.truth
    columns = {c: (scores, position_changes(scores, truth)) for c, scores in study.scores.items() if c.sizes == sizes}
    for i, architecture in enumerate(group.architectures):
        row = {
            "sizes": sizes,
            "architecture": architecture,
            "parameters": int(group.parameters[i]),
            "truth": float(truth[i]),
        }
        for c, (scores, changes) in columns.items():
            name = f"{c.epochs}-{c.schedule}-{c.seed}"
            row |= {f"score-{name}": float(scores[i]), f"change-{name}": float(changes[i])}
        yield row


def _flat(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = asdict(row.condition)
    for name in ("pairwise", "spearman", "kendall"):
        one = getattr(row.agreement, name)
        values |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_p": one.p}
    values |= {
        "sparse_kendall": row.sparse,
        "untied_pairwise": row.untied,
        "id_sequence_tau": row.id_sequence,
        "score_deviation": row.spread,
    }
    values |= {f"top_{k}_overlap": share for k, share in row.overlap.items()}
    return values | {f"top_{k}_median_percentile": middle for k, (_, middle, _) in row.percentiles.items()}


def shown_table(table: Mapping[str, Any]) -> Table:
    """One of ``tables`` in ``rank_study.json``; the paper's columns only where it has a number."""
    compared = any(line["paper"] for line in table["lines"])
    rows = []
    for line in table["lines"]:
        paper = line["paper"] or {}
        printed = [f"{paper[key]:.3f}" if key in paper else "" for key in ("pairwise", "spearman")] if compared else []
        measures = [_shown(line[key]) for key in ("pairwise", "spearman", "kendall")]
        rows.append([*(str(line[key]) for key in table["keys"]), *measures, *printed])
    return Table([*table["keys"], "PA", "rho", "tau-b", *(("paper's PA", "paper's rho") if compared else ())], rows)


def _shown(one: Mapping[str, Any]) -> str:
    known: dict[str, Any] = {key: math.nan if number is None else number for key, number in one.items()}
    return str(Cell(**known))


def explanation(value: Mapping[str, Any]) -> str:
    """What stands behind the numbers of the tables of ``rank_study.json``."""
    seeds = len({row["condition"]["seed"] for row in value["rows"]})
    if seeds > 1:
        return f"Mean ± standard deviation over {seeds} supernet seeds; intervals of each seed stand in rows.csv."
    return "One supernet seed; in brackets: 95 % bootstrap intervals over the architectures."


def report_blocks(value: Mapping[str, Any], pictures: Collection[str]) -> list[Block]:
    """The report, from the content of ``rank_study.json``."""
    blocks: list[Block] = [
        Heading(value["title"], 1),
        Bullets([value["noise"]["sentence"], explanation(value), PRINTED]),
    ]
    if value["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(value['failed'])}"], warning=True))
    for table in value["tables"]:
        blocks += [Heading(f"Table {table['number']}, {table['title']}"), shown_table(table)]
    blocks += [Picture(name, name.removesuffix(".svg"), CAPTIONS[name]) for name in pictures]
    blocks += [Heading("Architectures"), Bullets([_group_sentence(*item) for item in value["groups"].items()])]
    blocks += [Heading("How to read this"), Bullets(READING)]
    return blocks + closing(value["settings"], value["versions"])


def _group_sentence(sizes: str, group: Mapping[str, Any]) -> str:
    p = group["parameters"]
    text = f"{sizes}: {p['least']:,} to {p['largest']:,} parameters, median {p['median']:,}"
    text += f"; chosen from {group['pool']:,}."
    if group["truth_reliability"] is not None:
        text += f" PA between two stand-alone seeds: {group['truth_reliability']:.3f}."
    return text
