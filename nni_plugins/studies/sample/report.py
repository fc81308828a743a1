"""What a sample study leaves: ``study.json``, ``study.csv``, figures and ``report.md``. Free of torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.files import atomic_write, write_json
from nni_plugins.evaluators.reports.sample_study.measurements import (
    LEAST,
    Correlation,
    Experiments,
    Interval,
    Measurements,
    correlation,
    efficiency,
)

SCHEMA_VERSION = 1
Pair = tuple[str, str]


@dataclass(frozen=True)
class Study:
    """``title``: a sentence; ``measured``: all; ``pairs``: (what ranks, what it is compared with); ``curves``: pairs of
    efficiency curves; ``about``: what else ``study.json`` says."""

    title: str
    measured: Measurements
    pairs: Sequence[Pair]
    curves: Sequence[Pair]
    about: dict[str, Any]
    resamples: int = 1000
    seed: int = 0
    pictures: str = "png"

    def correlations(self) -> dict[Pair, Correlation]:
        """Of all pairs, over the architectures that have every value; none if those are fewer than three."""
        whole = self.measured.complete()
        if len(whole.architectures) < LEAST:
            return {}
        return {(x, y): correlation(whole.column(x), whole.column(y), self.resamples, self.seed) for x, y in self.pairs}

    def experiments(self) -> dict[Pair, list[Experiments]]:
        """The efficiency curves, over the same architectures."""
        whole = self.measured.complete()
        if len(whole.architectures) < LEAST:
            return {}
        return {(x, y): efficiency(whole.column(x), whole.column(y), self.seed) for x, y in self.curves}


def write(study: Study, folder: Path) -> Path:
    """Write everything into ``folder``; returns the path of ``study.json``. The numbers stand there before a figure is
    drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    correlations, experiments = study.correlations(), study.experiments()
    names = {"scatter": bool(correlations), "efficiency": bool(experiments)}
    pictures = [f"{name}.{study.pictures}" for name, drawn in names.items() if drawn]
    value = content(study, correlations, experiments, pictures)
    atomic_write(folder / "study.csv", _csv(study.measured).encode())
    atomic_write(folder / "report.md", _markdown(study.title, value).encode())
    path = folder / "study.json"
    write_json(path, value)
    if pictures:
        from nni_plugins.evaluators.diagnostics.figures import save
        from nni_plugins.evaluators.reports.sample_study.figures import efficiency_figure, scatter_figure

        whole = study.measured.complete()
        save(scatter_figure(whole, correlations), folder / pictures[0])
        save(efficiency_figure(experiments), folder / pictures[1])
    return path


def content(
    study: Study,
    correlations: dict[Pair, Correlation],
    experiments: dict[Pair, list[Experiments]],
    pictures: Sequence[str],
) -> dict[str, Any]:
    """The content of ``study.json``; undefined numbers are null."""
    rows = zip(
        study.measured.architectures,
        *(study.measured.column(name).tolist() for name in study.measured.values),
        strict=True,
    )
    compared = len(study.measured.complete().architectures)
    return {
        "schema": SCHEMA_VERSION,
        "title": study.title,
        **study.about,
        "compared": compared,
        "note": ""
        if correlations
        else f"no correlation: it needs {LEAST} architectures with all accuracies, but there are {compared}",
        "correlations": [{"score": x, "truth": y, **_plain(asdict(found))} for (x, y), found in correlations.items()],
        "efficiency": [
            {"selected_by": x, "judged_by": y, "experiments": [asdict(p) for p in curve]}
            for (x, y), curve in experiments.items()
        ],
        "resampling": {"resamples": study.resamples, "seed": study.seed},
        "accuracies": [
            dict(zip(("architecture", *study.measured.values), map(_number, row), strict=True)) for row in rows
        ],
        "pictures": list(pictures),
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else _number(value)


def _csv(measured: Measurements) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["architecture", *measured.values])
    for row in zip(measured.architectures, *(measured.column(name).tolist() for name in measured.values), strict=True):
        writer.writerow(["" if _number(cell) is None else cell for cell in row])
    return buffer.getvalue()


def shown(found: dict[str, Any]) -> str:
    """Of an interval in ``study.json``: ``0.81 [0.70, 0.88]``."""
    one = Interval(**found)
    if one.value is None or one.low is None:
        return "undefined"
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def _markdown(title: str, value: dict[str, Any]) -> str:
    lines = [
        f"# {title}",
        "",
        f"{value['compared']} of {len(value['accuracies'])} architectures have all accuracies and are compared.",
        "",
    ]
    if value["note"]:
        return "\n".join([*lines, f"{value['note'][0].upper()}{value['note'][1:]}.", ""])
    resamples = value["resampling"]["resamples"]
    lines += [
        "## Rank agreement",
        "",
        f"With 95 % percentile intervals of {resamples:,} bootstrap samples of the architectures.",
        "",
    ]
    lines += [
        "| ranked by | compared with | Spearman's rho | Kendall's tau-b | pairs in order |",
        "|---|---|---|---|---|",
    ]
    for row in value["correlations"]:
        cells = [row["score"], row["truth"], *(shown(row[key]) for key in ("spearman", "kendall", "pairwise"))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"![accuracies]({value['pictures'][0]})",
        "",
        "Lines: Theil-Sen (median slope of all pairs).",
        "",
        "## Random experiments",
        "",
    ]
    lines += [
        "Mean accuracy (%) ± 2 standard deviations of the best of m random architectures, by what it was chosen by.",
        "",
    ]
    budgets = [point["budget"] for point in value["efficiency"][0]["experiments"]]
    lines += [
        f"| chosen by | judged by | {' | '.join(f'm = {m}' for m in budgets)} |",
        f"|---|---|{'---|' * len(budgets)}",
    ]
    for row in value["efficiency"]:
        cells = [f"{p['mean']:.2f} ± {2 * p['std']:.2f}" for p in row["experiments"]]
        lines.append(f"| {row['selected_by']} | {row['judged_by']} | {' | '.join(cells)} |")
    lines += ["", f"![random experiments]({value['pictures'][1]})", ""]
    return "\n".join(lines)
