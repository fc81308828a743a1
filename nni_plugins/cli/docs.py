"""``nni-plugins docs``: the documentation's pages in the terminal, in a clone or beside a wheel."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markdown import Markdown

from ..pages import FOLDER, page, page_names, title
from .console import START, AsJson, app, console, emit, grid


@app.command(rich_help_panel=START)
def docs(
    name: Annotated[str | None, typer.Argument(metavar="PAGE", help="A page, such as data or papers/rlnas.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a page of the documentation; alone: list them. Example: nni-plugins docs data"""
    if name is None:
        table = grid("page", "title")
        for one in page_names():
            table.add_row(one, title(one))
        emit({one: title(one) for one in page_names()}, as_json, table)
        return
    text = page(name)
    if as_json:
        emit({"page": name, "folder": str(FOLDER), "text": text}, True, "")
    elif console.is_terminal:
        console.print(Markdown(text))
    else:
        print(text)
