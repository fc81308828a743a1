"""What a ranking study leaves: ``rank_study.json``, ``rows.csv``, ``scores.csv``, ``report.md`` and figures. Free of
torch.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.files import atomic_write, write_json
from nni_plugins.evaluators.reports.rank_study.published import ARCHITECTURES
from nni_plugins.evaluators.reports.rank_study.rows import (
    Cell,
    Condition,
    Floats,
    Row,
    Sizes,
    noise,
    reliability,
    row_of,
    tables,
)
from nni_plugins.evaluators.statistics.ranking_metrics import null_deviations, position_changes

from .settings import RankStudySettings

if TYPE_CHECKING:
    from .draw import Drawn

SCHEMA_VERSION = 1
PRINTED = f"Paper: NAO-V2 as printed, one run with {ARCHITECTURES} architectures of NAO's space on CIFAR-10, whatever is studied here."


@dataclass(frozen=True)
class Results:
    """``drawn`` and ``truths`` (a list of (n,) a seed, one of a table) by sizes; ``scores: (n,)`` and ``curves`` by
    condition.
    """

    settings: RankStudySettings
    drawn: Mapping[Sizes, Drawn]
    truths: Mapping[Sizes, Sequence[Floats]]
    scores: Mapping[Condition, Floats]
    curves: Mapping[Condition, list[dict[str, float]]]

    def truth(self, sizes: Sizes) -> Floats:
        """(n,): mean over the seeds."""
        mean: Floats = sum(self.truths[sizes][1:], start=self.truths[sizes][0]) / len(self.truths[sizes])
        return mean

    def rows(self) -> list[Row]:
        """A comparison a condition."""
        a = self.settings.analysis
        return [
            row_of(c, scores, self.truth(c.sizes), resamples=a.resamples, seed=a.seed, width=a.bin, top=a.top)
            for c, scores in self.scores.items()
        ]


def write(results: Results, folder: Path, versions: dict[str, str]) -> dict[str, Any]:
    """Write everything into ``folder``; returns the content of ``rank_study.json``."""
    from nni_plugins.evaluators.diagnostics.figures import save
    from nni_plugins.evaluators.reports.rank_study.figures import epochs_figure, scatter_figure

    rows, suffix = results.rows(), results.settings.analysis.pictures
    value = content(results, rows, [f"epochs.{suffix}", f"scatter.{suffix}"], versions)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "rows.csv", _csv(_flat(row) for row in rows).encode())
    atomic_write(folder / "scores.csv", _csv(_scores(results)).encode())
    atomic_write(folder / "report.md", markdown(value).encode())
    points = {c: (scores, results.truth(c.sizes)) for c, scores in results.scores.items()}
    save(epochs_figure(rows), folder / value["pictures"][0])
    save(scatter_figure(points, rows), folder / value["pictures"][1])
    write_json(folder / "rank_study.json", value)
    return value


def content(results: Results, rows: Sequence[Row], pictures: Sequence[str], versions: dict[str, str]) -> dict[str, Any]:
    """The content of ``rank_study.json``; undefined numbers are null."""
    n = results.settings.architectures
    groups = {}
    for sizes, drawn in results.drawn.items():
        p = sorted(int(v) for v in drawn.parameters)
        groups[sizes] = {
            "pool": drawn.pool,
            "parameters": {"least": p[0], "median": p[len(p) // 2], "largest": p[-1]},
            "truth_seeds": len(results.truths[sizes]),
            "truth_reliability": reliability(results.truths[sizes]),
            "architectures": list(_scores(results, sizes)),
        }
    value = {
        "schema": SCHEMA_VERSION,
        "title": f"Ranking study: {n} architectures of {results.settings.search_space.name}",
        "settings": results.settings.model_dump(mode="json"),
        "noise": {"sentence": noise(n), **asdict(null_deviations(n))},
        "groups": groups,
        "rows": [{**asdict(row), "curve": results.curves[row.condition]} for row in rows],
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
        "pictures": list(pictures),
        "versions": versions,
    }
    plain: dict[str, Any] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scores(results: Results, only: Sizes | None = None) -> Iterable[dict[str, Any]]:
    """A dictionary an architecture: its truth, its one-shot score under every condition, and by how many positions that
    puts it too low.
    """
    space = results.settings.search_space
    for sizes, drawn in results.drawn.items():
        if only not in (None, sizes):
            continue
        truth = results.truth(sizes)
        columns = {
            c: (scores, position_changes(scores, truth)) for c, scores in results.scores.items() if c.sizes == sizes
        }
        for i, architecture in enumerate(drawn.architectures):
            row = {
                "sizes": sizes,
                "architecture": space.to_string(architecture),
                "parameters": int(drawn.parameters[i]),
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


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    given, buffer = list(rows), io.StringIO()
    writer = csv.DictWriter(
        buffer, list(dict.fromkeys(key for row in given for key in row)), lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(_plain(row) for row in given)
    return buffer.getvalue()


def heads_and_cells(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The columns and lines of one of ``tables`` in ``rank_study.json`` as text; the paper's columns only where it has
    a number.
    """
    compared = any(line["paper"] for line in table["lines"])
    lines = []
    for line in table["lines"]:
        paper = line["paper"] or {}
        printed = [f"{paper[key]:.3f}" if key in paper else "" for key in ("pairwise", "spearman")] if compared else []
        lines.append(
            [
                *(str(line[key]) for key in table["keys"]),
                *(_shown(line[key]) for key in ("pairwise", "spearman", "kendall")),
                *printed,
            ]
        )
    return [*table["keys"], "PA", "rho", "tau-b", *(("paper's PA", "paper's rho") if compared else ())], lines


def _shown(one: Mapping[str, Any]) -> str:
    known: dict[str, Any] = {key: math.nan if number is None else number for key, number in one.items()}
    return str(Cell(**known))


def explanation(seeds: int) -> str:
    """What stands behind the numbers of a table."""
    if seeds > 1:
        return f"Mean ± standard deviation over {seeds} supernet seeds; intervals of each seed stand in rows.csv."
    return "One supernet seed; in brackets: 95 % bootstrap intervals over the architectures."


def markdown(value: Mapping[str, Any]) -> str:
    """``report.md``."""
    lines = [f"# {value['title']}", "", value["noise"]["sentence"], "", explanation(len(value["settings"]["seeds"]))]
    lines += [PRINTED, ""]
    for sizes, group in value["groups"].items():
        p = group["parameters"]
        text = f"{sizes}: {p['least']:,} to {p['largest']:,} parameters, median {p['median']:,}; chosen from {group['pool']:,}."
        if group["truth_reliability"] is not None:
            text += f" PA between two stand-alone seeds: {group['truth_reliability']:.3f}."
        lines.append(f"- {text}")
    for table in value["tables"]:
        heads, rows = heads_and_cells(table)
        lines += [
            "",
            f"## Table {table['number']}, {table['title']}",
            "",
            f"| {' | '.join(heads)} |",
            f"|{'---|' * len(heads)}",
        ]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "Pairs in order (PA) over all pairs, a tie counting half.", ""]
    lines += [f"![{name.split('.')[0]}]({name})\n" for name in value["pictures"]]
    return "\n".join(lines)
