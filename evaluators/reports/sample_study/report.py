"""What a sample study leaves: ``study.json``, ``study.csv`` and the report. Free of torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import json_able, write_csv, write_shareable
from ...statistics.correlation import LEAST, Correlation, Estimate, correlation
from ..closing import closing
from ..document import Block, Bullets, Heading, Paragraph, Picture, Table, write_document
from ..figures import svg
from .measurements import Experiments, Measurements, efficiency

SCHEMA_VERSION = 1
Pair = tuple[str, str]
READING = (
    "Pairs in order: the share of the pairs with different truths that the ranking orders alike, where equal scores "
    "count half; without ties it is (1 + tau) / 2.",
    "The intervals are over architectures. They do not know of the noise of a training; more seeds lower that.",
    "Random experiments: m architectures are drawn without replacement, the best one by what stands first is taken, "
    "and its true accuracy noted. For large m there are few experiments, and each draws from the same architectures, "
    "so the last points say little.",
)


@dataclass(frozen=True)
class Figure:
    """``scores``: what ranks; ``truth``: what they are compared with. Over the architectures that have all of these."""

    truth: str
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """``title``: a sentence; ``measured``: all; ``figures``: what is compared, by name; ``about``: what else
    ``study.json`` says, ``failed`` among it.
    """

    title: str
    measured: Measurements
    figures: Mapping[str, Figure]
    about: Mapping[str, Any]
    resamples: int = 1000
    seed: int = 0

    def compared(self, figure: Figure) -> Measurements:
        """Those that have every accuracy of a figure."""
        return self.measured.complete([*figure.scores, figure.truth])

    def correlations(self, figure: Figure) -> dict[Pair, Correlation]:
        """Of every score with the truth; none of fewer than three architectures."""
        of, truth = self.compared(figure), figure.truth
        if len(of.architectures) < LEAST:
            return {}
        return {
            (x, truth): correlation(of.column(x), of.column(truth), self.resamples, self.seed) for x in figure.scores
        }

    def experiments(self, figure: Figure) -> dict[Pair, list[Experiments]]:
        """The efficiency curves, over the same architectures, and that of the truth itself."""
        of, truth = self.compared(figure), figure.truth
        if len(of.architectures) < LEAST:
            return {}
        return {(x, truth): efficiency(of.column(x), of.column(truth), self.seed) for x in (*figure.scores, truth)}


def write_study(study: Study, folder: Path) -> dict[str, Any]:
    """Write everything into ``folder``, the numbers before a figure is drawn, and the report into ``report`` below it;
    returns the content of ``study.json``.
    """
    from .figures import efficiency_figure, scatter_figure

    correlations = {name: study.correlations(figure) for name, figure in study.figures.items()}
    experiments = {name: study.experiments(figure) for name, figure in study.figures.items()}
    value = content(study, correlations, experiments)
    write_csv(folder / "study.csv", _rows(study.measured))
    write_shareable(folder / "study.json", value)
    pictures: dict[str, bytes] = {}
    for name, figure in study.figures.items():
        if correlations[name]:
            pictures[_scatter(name)] = svg(scatter_figure(study.compared(figure), correlations[name]))
            pictures[_experiments(name)] = svg(efficiency_figure(experiments[name]))
    write_document(folder / "report", study.title, report_blocks(value, pictures), pictures)
    return value


def _scatter(name: str) -> str:
    return f"{name}.svg"


def _experiments(name: str) -> str:
    return f"{name}_experiments.svg"


def content(
    study: Study,
    correlations: Mapping[str, Mapping[Pair, Correlation]],
    experiments: Mapping[str, Mapping[Pair, Sequence[Experiments]]],
) -> dict[str, Any]:
    """The content of ``study.json``; undefined numbers are null."""
    value = {
        "schema": SCHEMA_VERSION,
        "title": study.title,
        **study.about,
        "figures": {
            name: {
                "truth": figure.truth,
                **_counted(len(study.compared(figure).architectures)),
                "correlations": [
                    {"score": x, "truth": y, **asdict(found)} for (x, y), found in correlations[name].items()
                ],
                "efficiency": [
                    {"selected_by": x, "judged_by": y, "experiments": [asdict(p) for p in curve]}
                    for (x, y), curve in experiments[name].items()
                ],
            }
            for name, figure in study.figures.items()
        },
        "resampling": {"resamples": study.resamples, "seed": study.seed},
        "accuracies": list(_rows(study.measured)),
    }
    return dict(json_able(value))


def _counted(compared: int) -> dict[str, Any]:
    lacking = f"no correlation: it needs {LEAST} architectures with all accuracies, but there are {compared}"
    return {"compared": compared, "note": lacking if compared < LEAST else ""}


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


def correlation_table(figure: Mapping[str, Any]) -> Table:
    """Of a figure in the content of ``study.json``."""
    header = ("ranked by", "compared with", "Spearman's rho", "Kendall's tau-b", "pairs in order")
    measures = ("spearman", "kendall", "pairwise")
    rows = [[row["score"], row["truth"], *(shown(row[key]) for key in measures)] for row in figure["correlations"]]
    return Table(header, rows)


def sentences(figure: Mapping[str, Any], architectures: int) -> list[str]:
    """What was compared."""
    lines = [f"{figure['compared']} of {architectures} architectures have all accuracies and are compared."]
    return lines + ([f"{figure['note'][0].upper()}{figure['note'][1:]}."] if figure["note"] else [])


def report_blocks(value: Mapping[str, Any], pictures: Collection[str]) -> list[Block]:
    """The report, from the content of ``study.json``."""
    blocks: list[Block] = [Heading(value["title"], 1)]
    if value["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(value['failed'])}"], warning=True))
    for name, figure in value["figures"].items():
        blocks += _figure_blocks(name, figure, value, pictures)
    if any(figure["correlations"] for figure in value["figures"].values()):
        blocks += [Heading("How to read this"), Bullets(READING)]
    return blocks + (closing(value["settings"], value["versions"]) if "settings" in value else [])


def _figure_blocks(
    name: str, figure: Mapping[str, Any], value: Mapping[str, Any], pictures: Collection[str]
) -> list[Block]:
    several = f", {name}" if len(value["figures"]) > 1 else ""
    blocks: list[Block] = [Heading(f"Rank agreement{several}"), Bullets(sentences(figure, len(value["accuracies"])))]
    if figure["correlations"]:
        resamples = value["resampling"]["resamples"]
        explained = f"With 95 % percentile intervals of {resamples:,} bootstrap samples of the architectures."
        blocks += [Paragraph(explained), correlation_table(figure)]
    if _scatter(name) in pictures:
        caption = "A dot is an architecture; the lines are Theil and Sen's (the median slope of all pairs)."
        blocks.append(Picture(_scatter(name), f"accuracies{several}", caption))
    if figure["efficiency"]:
        explained = "Mean accuracy (%) ± 2 standard deviations of the best of m architectures, by what chose it."
        blocks += [
            Heading(f"Random experiments{several}"),
            Paragraph(explained),
            _efficiency_table(figure["efficiency"]),
        ]
    if _experiments(name) in pictures:
        caption = "Mean accuracy of the best by each ranking, and two standard deviations about it."
        blocks.append(Picture(_experiments(name), f"random experiments{several}", caption))
    return blocks


def _efficiency_table(curves: Sequence[Mapping[str, Any]]) -> Table:
    budgets = [f"m = {point['budget']}" for point in curves[0]["experiments"]]
    rows = [
        [row["selected_by"], row["judged_by"], *(f"{p['mean']:.2f} ± {2 * p['std']:.2f}" for p in row["experiments"])]
        for row in curves
    ]
    return Table(["chosen by", "judged by", *budgets], rows)
