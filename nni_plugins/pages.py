"""The documentation's pages, which come with the package: an error, a preset or a person can name one anywhere."""

from __future__ import annotations

from pathlib import Path

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import closest

FOLDER = Path(__file__).with_name("docs")


def page_names() -> list[str]:
    """All pages, such as ``data`` and ``papers/rlnas``, those for a first look in front."""
    paths = [path.relative_to(FOLDER) for path in (*FOLDER.glob("*.md"), *FOLDER.glob("papers/*.md"))]
    return sorted(
        (path.with_suffix("").as_posix() for path in paths), key=lambda name: ("/" in name, name != "index", name)
    )


def page(name: str) -> str:
    """The Markdown text of a page, by its name or its path (``data``, ``docs/data.md``).

    Raises:
        ConfigError: there is none; the message has close matches.
    """
    wanted = name.removesuffix(".md").removeprefix("docs/")
    if wanted not in page_names():
        raise ConfigError(f"no page {name!r}; {closest(wanted, page_names())}")
    return (FOLDER / f"{wanted}.md").read_text()


def title(name: str) -> str:
    """Its first heading."""
    return page(name).partition("\n")[0].lstrip("# ").replace("`", "")
