"""The page above the reports of a comparison with several evaluations: what each of them says, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..document import Block, Bullets, Heading, Paragraph, Picture, Table, write_document
from ..figures import svg
from .analysis import Analysis
from .figures import distribution_figure, named
from .sections import CAPTIONS

DISTRIBUTION = "distribution.svg"


def write_overview(title: str, analyses: Mapping[str, Analysis], folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` into ``folder``, below which each evaluation has a folder of its name with
    its own report; returns the first.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    pictures = {f"{name}/{DISTRIBUTION}": svg(distribution_figure(one)) for name, one in analyses.items()}
    return write_document(folder, title, _blocks(title, analyses), pictures)


def _blocks(title: str, analyses: Mapping[str, Analysis]) -> list[Block]:
    text = (
        f"{len(analyses)} evaluations of the same searches: {', '.join(analyses)}. Each has a report of its own, in "
        "NAME/report.html beside this page. Verdicts are corrected for the policies of one evaluation, not for several."
    )
    blocks: list[Block] = [Heading(title, 1), Paragraph(text), Heading("All evaluations"), means_table(analyses)]
    for name, analysis in analyses.items():
        comparison = analysis.comparison
        direction = "larger" if comparison.larger_is_better else "smaller"
        judged = f"Judged by {named(comparison.metric, comparison.unit)}: {direction} is better."
        blocks += [Heading(name), Paragraph(judged), Bullets([*analysis.sentences, *analysis.standing_sentences])]
        if analysis.warnings:
            blocks += [Paragraph("Mind:"), Bullets(analysis.warnings, warning=True)]
        blocks.append(Picture(f"{name}/{DISTRIBUTION}", f"distribution, {name}", CAPTIONS[DISTRIBUTION]))
    return blocks


def means_table(analyses: Mapping[str, Analysis]) -> Table:
    """A row a policy and a baseline, a column an evaluation: the mean with its deviation and the verdict, or the value."""
    cells: dict[str, dict[str, str]] = {}
    for name, analysis in analyses.items():
        differences = analysis.against(analysis.comparison.baseline)
        verdicts = {difference.policy: f" ({difference.verdict})" for difference in differences}
        for policy, found in analysis.summaries.items():
            mean = f"{found.mean:.{analysis.decimals}f} ± {found.std:.{analysis.decimals}f}"
            cells.setdefault(policy, {})[name] = mean + verdicts.get(policy, "")
        for one in analysis.comparison.baselines:
            cells.setdefault(one.name, {})[name] = f"{one.value:.{analysis.decimals}f}"
    header = ["", *(f"{name}: {named(a.comparison.metric, a.comparison.unit)}" for name, a in analyses.items())]
    return Table(header, [[row, *(values.get(name, "–") for name in analyses)] for row, values in cells.items()])
