"""What a sample study leaves: ``study.json``, ``study.csv`` and the report. Free of torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import json_able, write_csv, write_json
from ...statistics.correlation import LEAST, Correlation, Estimate, correlation
from ..closing import closing
from ..document import Block, Bullets, Heading, Paragraph, Picture, Table, write_document
from ..figures import svg
from .measurements import Experiments, Measurements, efficiency

SCHEMA_VERSION = 1
Pair = tuple[str, str]
SCATTER, EFFICIENCY = "scatter.svg", "efficiency.svg"
READING = (
    "Pairs in order: the share of the pairs with different truths that the ranking orders alike, where equal scores "
    "count half; without ties it is (1 + tau) / 2.",
    "The intervals are over architectures. They do not know of the noise of a training; more seeds lower that.",
    "Random experiments: m architectures are drawn without replacement, the best one by what stands first is taken, "
    "and its true accuracy noted. For large m there are few experiments, and each draws from the same architectures, "
    "so the last points say little.",
)


@dataclass(frozen=True)
class Study:
    """``title``: a sentence; ``measured``: all; ``pairs``: (what ranks, what it is compared with); ``curves``: pairs of
    efficiency curves; ``about``: what else ``study.json`` says, ``failed`` among it.
    """

    title: str
    measured: Measurements
    pairs: Sequence[Pair]
    curves: Sequence[Pair]
    about: Mapping[str, Any]
    resamples: int = 1000
    seed: int = 0

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


def write_study(study: Study, folder: Path) -> dict[str, Any]:
    """Write everything into ``folder``, the numbers before a figure is drawn, and the report into ``report`` below it;
    returns the content of ``study.json``.
    """
    from .figures import efficiency_figure, scatter_figure

    correlations, experiments = study.correlations(), study.experiments()
    value = content(study, correlations, experiments)
    write_csv(folder / "study.csv", _rows(study.measured))
    write_json(folder / "study.json", value)
    pictures: dict[str, bytes] = {}
    if correlations:
        pictures[SCATTER] = svg(scatter_figure(study.measured.complete(), correlations))
    if experiments:
        pictures[EFFICIENCY] = svg(efficiency_figure(experiments))
    write_document(folder / "report", study.title, report_blocks(value, pictures), pictures)
    return value


def content(
    study: Study, correlations: Mapping[Pair, Correlation], experiments: Mapping[Pair, Sequence[Experiments]]
) -> dict[str, Any]:
    """The content of ``study.json``; undefined numbers are null."""
    compared = len(study.measured.complete().architectures)
    lacking = f"no correlation: it needs {LEAST} architectures with all accuracies, but there are {compared}"
    value = {
        "schema": SCHEMA_VERSION,
        "title": study.title,
        **study.about,
        "compared": compared,
        "note": "" if correlations else lacking,
        "correlations": [{"score": x, "truth": y, **asdict(found)} for (x, y), found in correlations.items()],
        "efficiency": [
            {"selected_by": x, "judged_by": y, "experiments": [asdict(p) for p in curve]}
            for (x, y), curve in experiments.items()
        ],
        "resampling": {"resamples": study.resamples, "seed": study.seed},
        "accuracies": list(_rows(study.measured)),
    }
    return dict(json_able(value))


def _rows(measured: Measurements) -> Iterable[dict[str, Any]]:
    """An architecture each, with its accuracies."""
    columns = [measured.column(name).tolist() for name in measured.values]
    for row in zip(measured.architectures, *columns, strict=True):
        yield dict(zip(("architecture", *measured.values), row, strict=True))


def shown(found: Mapping[str, Any]) -> str:
    """Of an estimate in ``study.json``: ``0.81 [0.70, 0.88]``."""
    one = Estimate(**found)
    if one.value is None or one.low is None:
        return "undefined"
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def correlation_table(value: Mapping[str, Any]) -> Table:
    """Of the content of ``study.json``."""
    header = ("ranked by", "compared with", "Spearman's rho", "Kendall's tau-b", "pairs in order")
    measures = ("spearman", "kendall", "pairwise")
    rows = [[row["score"], row["truth"], *(shown(row[key]) for key in measures)] for row in value["correlations"]]
    return Table(header, rows)


def sentences(value: Mapping[str, Any]) -> list[str]:
    """What was compared."""
    lines = [f"{value['compared']} of {len(value['accuracies'])} architectures have all accuracies and are compared."]
    return lines + ([f"{value['note'][0].upper()}{value['note'][1:]}."] if value["note"] else [])


def report_blocks(value: Mapping[str, Any], pictures: Collection[str]) -> list[Block]:
    """The report, from the content of ``study.json``."""
    blocks: list[Block] = [Heading(value["title"], 1), Bullets(sentences(value))]
    if value["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(value['failed'])}"], warning=True))
    if value["correlations"]:
        resamples = value["resampling"]["resamples"]
        explained = f"With 95 % percentile intervals of {resamples:,} bootstrap samples of the architectures."
        blocks += [Heading("Rank agreement"), Paragraph(explained), correlation_table(value)]
    if SCATTER in pictures:
        caption = "A dot is an architecture; the lines are Theil and Sen's (the median slope of all pairs)."
        blocks.append(Picture(SCATTER, "accuracies", caption))
    if value["efficiency"]:
        explained = "Mean accuracy (%) ± 2 standard deviations of the best of m architectures, by what chose it."
        blocks += [Heading("Random experiments"), Paragraph(explained), _efficiency_table(value["efficiency"])]
    if EFFICIENCY in pictures:
        caption = "Mean accuracy of the best by each ranking, and two standard deviations about it."
        blocks.append(Picture(EFFICIENCY, "random experiments", caption))
    if value["correlations"]:
        blocks += [Heading("How to read this"), Bullets(READING)]
    return blocks + (closing(value["settings"], value["versions"]) if "settings" in value else [])


def _efficiency_table(curves: Sequence[Mapping[str, Any]]) -> Table:
    budgets = [f"m = {point['budget']}" for point in curves[0]["experiments"]]
    rows = [
        [row["selected_by"], row["judged_by"], *(f"{p['mean']:.2f} ± {2 * p['std']:.2f}" for p in row["experiments"])]
        for row in curves
    ]
    return Table(["chosen by", "judged by", *budgets], rows)
