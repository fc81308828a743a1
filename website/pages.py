"""Pages of the site that are made of other files: the commands, the changelog, and what the pages link to outside ``docs``.

A hook of MkDocs (``hooks`` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\]\((?P<target>(?![a-z]+:|#)[^)#\s]+)(?P<anchor>#[\w-]*)?\)")
SHIM = re.compile(r'<script src="https://unpkg.com/iframe-worker/shim"></script>')
"""The theme fetches this for the search of a site that is opened as files; ours is :file:`offline_search.js`."""
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md"}
"""Files outside ``docs`` that are pages, and where; other files that a page links to are copied below ``repository/``."""


def place_of(path: str, page: str) -> str | None:
    """Where on the site the file ``path`` (from the repository's root) stands, seen from ``page``; None: it is no such file."""
    if path in PAGES:
        place = PAGES[path]
    elif path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif (ROOT / path).is_file():
        place = f"repository/{path}"
    else:
        return None
    return posixpath.relpath(place, posixpath.dirname(page))


def relinked(text: str, folder: str, page: str) -> str:
    """``text``, which stands in ``folder`` of the repository, with its links as ``page`` of the site needs them."""

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found["target"]))
        place = place_of(path, page)
        return found[0] if place is None else f"]({place}{found['anchor'] or ''})"

    return LINK.sub(link, text)


def linked_files() -> set[str]:
    """Files outside ``docs`` that a page links to, seen from the repository's root."""
    sources = [(path, "docs") for path in (ROOT / "docs").rglob("*.md")]
    sources += [(ROOT / path, posixpath.dirname(path)) for path in PAGES]
    targets = {
        posixpath.normpath(posixpath.join(folder or ".", found["target"]))
        for path, folder in sources
        for found in LINK.finditer(path.read_text())
    }
    return {
        target
        for target in targets
        if not target.startswith("docs/") and target not in PAGES and (ROOT / target).is_file()
    }


# -- commands ----------------------------------------------------------------------------------------------------------
def commands() -> str:
    """A page of every command with its arguments and options, as ``--help`` has them."""
    import typer

    from nni_plugins.cli.app import app

    group = typer.main.get_command(app)
    lines = ["# Commands", "", "What `nni-plugins COMMAND --help` says, of all commands.", ""]
    for panel, members in by_panel(group).items():
        lines += [f"## {panel}", ""]
        for name, command in members:
            lines += described(name, command)
    return "\n".join(lines)


def by_panel(group: Any) -> dict[str, list[tuple[str, Any]]]:
    """The commands of a group (of a group of its own each of its members) by the heading that ``--help`` puts them under."""
    panels: dict[str, list[tuple[str, Any]]] = {}
    for name, command in group.commands.items():
        members = [(name, command), *((f"{name} {one}", sub) for one, sub in getattr(command, "commands", {}).items())]
        panels.setdefault(str(command.rich_help_panel or "Commands"), []).extend(members)
    return panels


def described(name: str, command: Any) -> Iterator[str]:
    """A section of one command."""
    takes = [
        one.name.upper() if one.required else f"[{one.name.upper()}]" for one in command.params if not is_option(one)
    ]
    group = ["COMMAND"] if hasattr(command, "commands") else []
    about, _, example = (command.help or "").partition("Example: ")
    first, _, more = example.partition("\n\n")
    yield from (f"### {name} {{ #{name.replace(' ', '-')} }}", "", about.strip(), "")
    yield from (f"    {' '.join(['nni-plugins', name, *takes, *group, '[OPTIONS]'])}", "")
    yield from ("Example:", "", f"    {' '.join(first.split())}", "", more.strip(), "")
    rows = [row for row in map(row_of, command.params) if row]
    if rows:
        yield from ("| | what | default |", "|---|---|---|", *rows, "")


def is_option(parameter: Any) -> bool:
    """Whether it is one, and no argument."""
    return bool(parameter.param_type_name == "option")


def row_of(parameter: Any) -> str | None:
    """A row of the table of arguments and options."""
    names = parameter.opts if is_option(parameter) else [parameter.name.upper()]
    if "--help" in names:
        return None
    text = " ".join((parameter.help or "").replace("\\[", "[").split())
    written = re.fullmatch(r"(.*?)\s*\[default: (.*)\]", text)
    text, default = written.groups() if written else (text, parameter.default)
    told = (
        "required" if parameter.required else "" if default in (None, False, ()) or callable(default) else str(default)
    )
    return f"| {', '.join(f'`{name}`' for name in names)} | {text} | {told} |".replace("\n", " ")


# -- MkDocs ------------------------------------------------------------------------------------------------------------
def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and files that do not stand in ``docs``."""
    for path, page in PAGES.items():
        text = relinked((ROOT / path).read_text(), posixpath.dirname(path), page)
        files.append(File.generated(config, page, content=text))
    for path in linked_files():
        files.append(File.generated(config, f"repository/{path}", abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "commands.md", content=commands()))
    shim = Path(__file__).with_name("offline_search.js")
    files.append(File.generated(config, f"assets/{shim.name}", abs_src_path=str(shim)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links from ``docs`` to files outside of it lead to their places on the site."""
    return relinked(markdown, posixpath.join("docs", posixpath.dirname(page.file.src_uri)), page.file.src_uri)


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Nothing is fetched from a network."""
    return offline(output, posixpath.relpath("assets", posixpath.dirname(page.url) or "."))


def on_post_template(output: str, *, template_name: str, **_: Any) -> str:
    """The same for the page of an address that does not exist."""
    return offline(output, "/assets") if template_name == "404.html" else output


def offline(html: str, assets: str) -> str:
    """``html`` with our own script for searches."""
    return SHIM.sub(f'<script src="{assets}/offline_search.js"></script>', html)
