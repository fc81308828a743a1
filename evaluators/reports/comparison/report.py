"""The report of a comparison: ``report.md``, ``report.html``, figures, ``results.tex``, ``runs.csv``, ``comparison.json``
and ``statistics.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import atomic_write, csv_text, write_shareable
from ...statistics.differences import RESAMPLES
from ..document import to_latex, write_document
from ..figures import svg
from .analysis import Analysis, analyse
from .figures import curve_figure, difference_figure, distribution_figure
from .record import Comparison
from .sections import differences_picture, differences_table, document, results_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
FILES = ("report.html", "report.md", "results.tex", "runs.csv", "comparison.json", "statistics.json")
"""What every report has; pictures are further files."""


def write_report(
    comparison: Comparison, folder: Path, paired: bool = False, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Path]:
    """Judge ``comparison`` and write everything into ``folder``; equal comparisons give equal files.

    Returns:
        The files by name. ``report.html`` stands alone; ``report.md`` needs the pictures beside it.

    Raises:
        ConfigError: as :func:`analyse`.
        CheckpointError: the folder cannot be written.
    """
    return write_analysis(analyse(comparison, paired, seed, resamples), folder)


def write_analysis(analysis: Analysis, folder: Path) -> dict[str, Path]:
    """The same of what is judged already."""
    comparison = analysis.comparison
    pictures = {name: svg(figure) for name, figure in figures(analysis).items()}
    write_document(folder, comparison.title, document(analysis, pictures), pictures)
    baselines = (comparison.baseline, *comparison.also)
    tables = [results_table(analysis), *(differences_table(analysis, baseline) for baseline in baselines)]
    atomic_write(folder / "results.tex", "\n".join(map(to_latex, tables)).encode())
    atomic_write(folder / "runs.csv", runs_csv(comparison).encode())
    write_shareable(folder / "comparison.json", comparison.to_json())
    write_shareable(folder / "statistics.json", statistics(analysis))
    return {name: folder / name for name in (*FILES, *pictures)}


def figures(analysis: Analysis) -> dict[str, Figure]:
    """By file name; curves only where runs have some."""
    found = {"distribution.svg": distribution_figure(analysis)}
    for baseline in (analysis.comparison.baseline, *analysis.comparison.also):
        found[differences_picture(analysis.comparison, baseline)] = difference_figure(analysis, baseline)
    for name, which in (("curves.svg", "curve"), ("search_curves.svg", "search_curve")):
        figure = curve_figure(analysis.comparison, which)
        if figure is not None:
            found[name] = figure
    return found


def runs_csv(comparison: Comparison) -> str:
    """A row a run, the baseline's last, then those of the real best, then the baselines; costs as ``cost_<name>``, the
    choices as JSON.
    """
    order = {policy: i for i, policy in enumerate(comparison.policies)}
    runs = sorted(comparison.runs, key=lambda run: (order[run.policy], run.seed, run.rank))
    runs += comparison.real_best.runs if comparison.real_best is not None else ()
    measures = _names([run.measures for run in runs] + [one.measures for one in comparison.baselines])
    costs = _names([run.cost for run in runs])
    rows: list[dict[str, Any]] = [
        {
            "policy": run.policy,
            "seed": run.seed,
            "rank": run.rank,
            "label": run.label,
            "value": run.value,
            **{name: run.measures.get(name) for name in measures},
            **{f"cost_{name}": run.cost.get(name) for name in costs},
            "architecture": None if run.architecture is None else json.dumps(run.architecture),
        }
        for run in runs
    ]
    baselines = [{"policy": o.name, "label": o.label, "value": o.value, **o.measures} for o in comparison.baselines]
    return csv_text([*rows, *baselines])


def _names(mappings: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def statistics(analysis: Analysis) -> dict[str, Any]:
    """What ``statistics.json`` holds; undefined numbers are null."""
    value = {
        "schema_version": SCHEMA_VERSION,
        "metric": analysis.comparison.metric,
        "larger_is_better": analysis.comparison.larger_is_better,
        "baseline": analysis.comparison.baseline,
        "also": list(analysis.comparison.also),
        "paired": analysis.paired,
        "summaries": {policy: asdict(found) for policy, found in analysis.summaries.items()},
        "differences": [
            {**asdict(d), "improvement": d.improvement, "sentence": s}
            for d, s in zip(analysis.differences, analysis.sentences, strict=True)
        ],
        "baselines": [asdict(one) for one in analysis.comparison.baselines],
        "standings": [asdict(one) for one in analysis.standings],
        "standing_sentences": list(analysis.standing_sentences),
        "real_best": _real_best(analysis),
        "warnings": list(analysis.warnings),
    }
    return dict(_nulls(value))


def _real_best(analysis: Analysis) -> dict[str, Any] | None:
    real, found = analysis.comparison.real_best, analysis.real_best
    if real is None or found is None:
        return None
    return {**asdict(found), "label": real.label, "trained": real.trained, "sentence": analysis.real_best_sentence}


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
