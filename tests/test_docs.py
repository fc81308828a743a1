"""What the pages say of plugins is what plugins say of themselves."""

from __future__ import annotations

import re

import pytest

from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.plugins import evaluator_plugin
from nni_plugins.pages import page, page_names
from nni_plugins.spaces import registry
from nni_plugins.strategies.base import StrategyPlugin
from nni_plugins.strategies.plugins import strategy_plugin

from .import_graph import ROOT

PAGES = {path.name: path.read_text() for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md")}


def table_rows(page: str) -> dict[str, list[str]]:
    """Of the tables of a page, the cells by the first one, without the code signs."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def described(plugin: StrategyPlugin) -> list[str]:
    """The cells that the page has of a strategy, but its last one, the page of its own."""
    objective = "none" if plugin.objective is None else plugin.objective["name"]
    asks = "an evaluation's answers" if plugin.asks else "no search" if not plugin.searches else plugin.data
    learns = "nothing" if asks == "none" else asks
    return [plugin.about, plugin.source, learns, objective, plugin.score.heading]


def test_the_table_of_strategies() -> None:
    ours = [name for name, entry in registry.found("strategies").items() if entry.value.startswith("nni_plugins.")]
    rows = table_rows(PAGES["strategies.md"])
    assert set(ours) == {name.lower() for name in rows} - {"strategy", "---"}
    for plugin in map(strategy_plugin, ours):
        assert rows[plugin.name][:5] == described(plugin), f"| `{plugin.name}` | {' | '.join(described(plugin))} |"


def test_the_table_of_evaluators() -> None:
    rows = table_rows(PAGES["search.md"])
    for name, entry in registry.found("evaluators").items():
        if not entry.value.startswith("nni_plugins."):
            continue
        cells = next(cells for first, cells in rows.items() if name in re.findall(r"\w+", first))
        keys = set(re.findall(r"`(\w+)`", cells[-1])) if name not in rows or len(cells) > 2 else set()
        own = set(evaluator_plugin(name).settings_class.model_fields)
        assert keys <= own, f"{name} has no {sorted(keys - own)}"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", PAGES[page])
    missing = [target for target in targets if "://" not in target and not (folder / target).exists()]
    assert not missing


@pytest.mark.parametrize("base", [StrategyPlugin, EvaluatorPlugin])
def test_the_lists_of_class_variables(base: type) -> None:
    """The page on plugins has every class variable that a plugin may set."""
    declared = {name for name, kind in base.__annotations__.items() if str(kind).startswith("ClassVar")}
    listed = {name for first in table_rows(PAGES["plugins.md"]) for name in re.findall(r"\w+", first)}
    assert declared and declared <= listed, declared - listed


def named_pages() -> set[str]:
    """Pages that messages and presets name: ``nni-plugins docs PAGE``."""
    folders = ("nni_plugins", "spaces", "strategies", "evaluators")
    sources = [path for folder in folders for kind in ("*.py", "*.yml") for path in (ROOT / folder).rglob(kind)]
    return {name for path in sources for name in re.findall(r"nni-plugins docs ([a-z_]\w*)", path.read_text())}


def test_pages_that_messages_name_exist() -> None:
    """Also beside a wheel, where there is no folder ``docs``: messages name a command, not a path of the clone."""
    assert len(named_pages()) > 5 and named_pages() <= set(page_names())
    sources = [
        path
        for folder in ("nni_plugins", "spaces", "strategies", "evaluators")
        for path in (ROOT / folder).rglob("*.py")
    ]
    paths = {str(path.relative_to(ROOT)) for path in sources if re.search(r"\bdocs/\w+\.md", path.read_text())}
    assert paths <= {"nni_plugins/pages.py"}


def test_a_page_that_does_not_exist() -> None:
    assert page("docs/data.md") == page("data") == PAGES["data.md"]
    with pytest.raises(ConfigError, match=r"no page 'dta'; did you mean 'data'\?"):
        page("dta")


def sentences(text: str) -> list[str]:
    """Of a page the sentences outside of code, tables and headings."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = ["" if re.match(r"#|\||    |\s*$|- |\d+\. ", line) else line for line in plain.splitlines()]
    return [
        " ".join(one.split()) for part in "\n".join(lines).split("\n\n") for one in re.split(r"(?<=[.:;?!]) ", part)
    ]


@pytest.mark.parametrize(
    "page", ["index", "install", "faq", "papers/index", "papers/rlnas", "papers/unnas", "papers/search_phase"]
)
def test_first_pages_have_short_sentences(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert not [one for one in sentences(text) if len(one.split()) > 30]
