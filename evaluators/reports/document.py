"""A small document that is written as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from nni_plugins.spaces.errors import printable, shown

from ..errors import ConfigError
from ..files import atomic_write, shareable

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #2c3e50; background: #fff;
  max-width: 58rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid #d5d8dc; }
ul { padding-left: 1.3rem; } li { margin: .35rem 0; }
.warning { background: #fef5e7; border-left: 4px solid #e69f00; padding: .5rem 1rem .5rem 2.2rem; }
.table { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .65rem; border-bottom: 1px solid #e5e8e8; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #aeb6bf; font-weight: 600; white-space: normal;
  vertical-align: bottom; } tbody tr:last-child td { border-bottom: 2px solid #aeb6bf; }
th:first-child, td:first-child { text-align: left; }
td.wide { white-space: normal; text-align: left; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { font-size: .88rem; color: #566573; }
pre { background: #f4f6f7; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.4; }
"""


PLAIN = frozenset(f"{string.ascii_letters}{string.digits}._-+")
"""Of these signs names of pictures are made."""


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    """``warning``: set off from the text."""

    items: Sequence[str]
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """All rows as long as ``header``; columns of which a cell has more than 40 letters may break lines."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """``file``: name of the SVG file; ``caption``: how to read it; ``name``: what stands where it cannot be shown."""

    file: str
    name: str
    caption: str


@dataclass(frozen=True)
class Code:
    text: str


Block = Heading | Paragraph | Bullets | Table | Picture | Code


def plain(text: str) -> str:
    """``text`` on one line, with the signs of Markdown, of HTML within it and of formulas as letters, and without control
    characters.
    """
    text = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]~$])", r"\\\1", text).replace("://", "&#58;//").replace("@", "&#64;")


def line(text: str) -> str:
    """:func:`plain` where it is all of a line: it begins no heading, list, quotation or rule."""
    return re.sub(
        r"^(#{1,6}|[+-]|\d+[.)])(?=\s|$)|^[=-]+$", lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", plain(text)
    )


def to_markdown(blocks: Sequence[Block]) -> str:
    """Pictures are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {line(block.text)}"
    if isinstance(block, Bullets):
        return "\n".join(f"- {line(item)}" for item in block.items)
    if isinstance(block, Table):
        lines = [[plain(cell) for cell in row] for row in (block.header, *block.rows)]
        lines.insert(1, ["---", *["---:"] * (len(block.header) - 1)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if isinstance(block, Picture):
        return f"![{plain(block.name)}]({quote(block.file)})\n\n{line(block.caption)}"
    if isinstance(block, Code):
        longest = max((len(run) for run in re.findall("`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}\n{block.text.rstrip()}\n{fence}"
    return line(block.text)


def to_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """One file without scripts or links; ``pictures``: SVG by file name, embedded."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
    body = "\n".join(_html(block, pictures) for block in blocks)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}\n<style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n'


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Bullets):
        items = "".join(f"<li>{html.escape(item)}</li>" for item in block.items)
        return f'<ul class="warning">{items}</ul>' if block.warning else f"<ul>{items}</ul>"
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Picture):
        data, name, caption = (
            base64.b64encode(pictures[block.file]).decode(),
            html.escape(block.name),
            html.escape(block.caption),
        )
        return f'<figure><img alt="{name}" src="data:image/svg+xml;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text.rstrip())}</pre>"
    return f"<p>{html.escape(block.text)}</p>"


def _html_table(table: Table) -> str:
    wide = {c for row in table.rows for c, cell in enumerate(row) if len(cell) > 40}
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    opened = ['<td class="wide">' if c in wide else "<td>" for c in range(len(table.header))]
    rows = (
        "".join(f"{start}{html.escape(cell)}</td>" for start, cell in zip(opened, row, strict=True))
        for row in table.rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _shareable(block: Block) -> Block:
    """Without absolute paths."""
    return replace(block, **shareable(vars(block)))


LATEX = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
LATEX |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "<": "$<$", ">": "$>$", "|": r"\textbar{}"}


def to_latex(table: Table) -> str:
    """``tabular`` with the rules of the package booktabs; columns of numbers to the right, the first to the left."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(sign, sign) for sign in shareable(cell)) for cell in cells) + r" \\"

    lines = [rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule", row(table.header), r"\midrule"]
    return "\n".join([*lines, *map(row, table.rows), r"\bottomrule", r"\end{tabular}", ""])


def write_document(folder: Path, title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> Path:
    """Write ``report.html``, ``report.md`` and the pictures beside it into ``folder``; returns the path of the first. They
    can be given to others: no absolute path is in them.

    Raises:
        CheckpointError: the folder cannot be written; ConfigError: a picture has no plain name.
    """
    title, blocks = shareable(title), [_shareable(block) for block in blocks]
    written = {
        **pictures,
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(title, blocks, pictures).encode(),
    }
    outside = [name for name in written if any(not part.strip(".") or set(part) - PLAIN for part in name.split("/"))]
    if outside:
        raise ConfigError(f"a picture of a report cannot be called {shown(outside[0])}.", "Give it one plain name.")
    for name, content in written.items():
        atomic_write(folder / name, content)
    return folder / "report.html"
