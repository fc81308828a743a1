"""The report of a comparison: ``report.md``, ``report.html``, figures, ``runs.csv``, ``comparison.json`` and
``statistics.json``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import atomic_write, write_json
from ...statistics.differences import RESAMPLES
from ..document import to_html, to_markdown
from .analysis import Analysis, analyse
from .figures import curve_figure, difference_figure, distribution_figure
from .record import Comparison, Run
from .sections import document

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1


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
    analysis = analyse(comparison, paired, seed, resamples)
    pictures = {name: svg(figure) for name, figure in figures(analysis).items()}
    blocks = document(analysis, pictures)
    texts = {
        "report.md": to_markdown(blocks),
        "report.html": to_html(comparison.title, blocks, pictures),
        "runs.csv": runs_csv(comparison),
    }
    written = {**pictures, **{name: text.encode() for name, text in texts.items()}}
    for name, content in written.items():
        atomic_write(folder / name, content)
    write_json(folder / "comparison.json", comparison.to_json())
    write_json(folder / "statistics.json", statistics(analysis))
    return {
        name: folder / name
        for name in ("report.html", "report.md", "runs.csv", "comparison.json", "statistics.json", *pictures)
    }


def figures(analysis: Analysis) -> dict[str, Figure]:
    """By file name; curves only where runs have some."""
    found = {"distribution.svg": distribution_figure(analysis), "differences.svg": difference_figure(analysis)}
    for name, which in (("curves.svg", "curve"), ("search_curves.svg", "search_curve")):
        figure = curve_figure(analysis.comparison, which)
        if figure is not None:
            found[name] = figure
    return found


def svg(figure: Figure) -> bytes:
    """Equal figures are equal bytes: no date, fixed names; letters as outlines, so that every viewer shows the same."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nni_plugins.evaluators.reports.comparison"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def runs_csv(comparison: Comparison) -> str:
    """A row a run, the random policy's last; costs as ``cost_<name>``, the choices as JSON."""
    order = {policy: i for i, policy in enumerate(comparison.policies)}
    runs = sorted(comparison.runs, key=lambda run: (order[run.policy], run.seed, run.rank))
    measures, costs = _names([run.measures for run in runs]), _names([run.cost for run in runs])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["policy", "seed", "rank", "label", "value", *measures, *(f"cost_{name}" for name in costs), "architecture"]
    )
    for run in runs:
        numbers = [
            run.value,
            *(run.measures.get(name, "") for name in measures),
            *(run.cost.get(name, "") for name in costs),
        ]
        writer.writerow([run.policy, run.seed, run.rank, run.label, *numbers, _choices(run)])
    return buffer.getvalue()


def _choices(run: Run) -> str:
    return "" if run.architecture is None else json.dumps(run.architecture)


def _names(mappings: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def statistics(analysis: Analysis) -> dict[str, Any]:
    """What ``statistics.json`` holds; undefined numbers are null."""
    value = {
        "schema_version": SCHEMA_VERSION,
        "metric": analysis.comparison.metric,
        "larger_is_better": analysis.comparison.larger_is_better,
        "baseline": analysis.comparison.baseline,
        "paired": analysis.paired,
        "summaries": {policy: asdict(found) for policy, found in analysis.summaries.items()},
        "differences": [
            {**asdict(d), "improvement": d.improvement, "sentence": s}
            for d, s in zip(analysis.differences, analysis.sentences, strict=True)
        ],
        "warnings": list(analysis.warnings),
    }
    return dict(_nulls(value))


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
