"""Tables, genotypes and experiment files."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.tables.table import Table, read_table
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.presets import preset_names, render_preset
from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError

from .trying import fuzz, tried

SPACE = NASBench201(nodes=3)
CELLS = [SPACE.to_string(one) for one in SPACE.decode(SPACE.sample(np.random.default_rng(0), 6))]
CELL_TEXTS = st.one_of(
    st.floats(-200, 200, allow_nan=False).map(lambda number: f"{number:.3f}"),
    st.sampled_from(["", "NA", "n/a", "-", "nan", "91.5%", "91,5", "88,25", " 90 ", "1e2", "inf", "-inf", "90,123", "?", "None", "first try", "1 2"]),
    st.text(max_size=6),
)  # fmt: skip


@fuzz(60)
@given(
    rows=st.lists(st.tuples(st.sampled_from([*CELLS, "|conv~0|", ""]), CELL_TEXTS, CELL_TEXTS), min_size=0, max_size=6),
    header=st.sampled_from(["architecture", "arch_str", "Architecture", "name"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    cut=st.integers(0, 400),
)
def test_tables(rows: list[tuple[str, str, str]], header: str, encoding: str, cut: int) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([(header, "accuracy", "other"), *rows])
    content = stream.getvalue().encode(encoding, errors="replace")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.csv"
        file.write_bytes(content if cut > 300 else content[:cut])
        table = tried(lambda: read_table(file, SPACE))
    if not isinstance(table, Table):
        return
    assert all(len(values) == len(table.architectures) for values in table.metrics.values())
    assert not any(np.isinf(values).any() for values in table.metrics.values())
    if cut > 300:  # nothing is lost: every plain number is there, in its row
        assert len(table.architectures) == len(rows)
        for name, place in (("accuracy", 1), ("other", 2)):
            if name in table.metrics:
                for value, row in zip(table.metrics[name], rows, strict=True):
                    wanted = plain(row[place])
                    assert wanted is None or math.isclose(value, wanted)


def plain(text: str) -> float | None:
    """The number that ``text`` is beyond doubt."""
    try:
        number = float(text.encode("ascii"))
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


@cache
def spaces() -> tuple[SearchSpace, ...]:
    return (DARTS(), NASBench201(), NASBench101(), MobileNetLike(), NAO())


@st.composite
def architecture_texts(draw: st.DrawFn) -> tuple[SearchSpace, str]:
    """A space, and the text of one of its architectures with some letters, or whole parts, changed."""
    space = draw(st.sampled_from(spaces()))
    (one,) = space.decode(space.sample(np.random.default_rng(draw(st.integers(0, 50))), 1))
    text = draw(st.sampled_from([space.to_string(one), one.to_json()]))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        new = draw(st.one_of(st.sampled_from(list("()[],'|~+ 0123456789\n\0\\{}:\"")), st.text(max_size=3)))
        text = text[:place] + new + text[place + draw(st.integers(0, 4)) :]
    around = draw(
        st.sampled_from(["{}", "NAME = {}", "INFO 12:00 genotype = {}", "np.array({})", '"{}"', "({})", "\ufeff{}\n"])
    )
    return space, around.replace("{}", text)


@fuzz(150)
@given(architecture_texts())
def test_texts_of_architectures(given_text: tuple[SearchSpace, str]) -> None:
    space, text = given_text
    found = tried(lambda: space.parse(text))
    if isinstance(found, Architecture):
        assert space.check(found) == found
        assert space.parse(space.to_string(found)) == found == space.parse(found.to_json())
    assert isinstance(tried(lambda: space.from_string(text)), Architecture | NNIPluginsError)


@fuzz(60)
@given(text=st.text(max_size=200))
def test_any_text_is_an_architecture_or_none(text: str) -> None:
    for space in spaces():
        assert isinstance(tried(lambda: space.parse(text)), Architecture | NNIPluginsError)  # noqa: B023


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-10, 2**70), st.floats(), st.text(max_size=8),
        st.sampled_from(["0.5", "auto", "../x", "~", "/nowhere", "digits", "supervised", "1e3", "yes"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)  # fmt: skip


@cache
def preset_texts() -> tuple[str, ...]:
    small = [name for name in preset_names() if name.endswith("_digits")]
    return tuple(render_preset(name) for name in small)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in YAML's content."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in pairs for place in places(inner, (*path, key)))]


@st.composite
def experiment_files(draw: st.DrawFn) -> str:
    """A preset in which values are others, or absent, or more; or letters are."""
    text = draw(st.sampled_from(preset_texts()))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text)))
        return text[:place] + draw(st.text(max_size=4)) + text[place + draw(st.integers(0, 30)) :]
    content = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(content)[1:]))
        inner = content
        for key in path[:-1]:
            inner = inner[key] if not isinstance(inner, str | int | float | None) else {}
        if not isinstance(inner, dict | list) or (isinstance(inner, list) and not inner):
            continue
        what = draw(st.sampled_from(["change", "remove", "add"]))
        if what == "change":
            inner[path[-1]] = draw(VALUES)
        elif what == "remove":
            del inner[path[-1]]
        elif isinstance(inner, dict):
            inner[draw(st.text(min_size=1, max_size=6))] = draw(VALUES)
    return yaml.safe_dump(content, allow_unicode=True)


@fuzz(60)
@given(text=experiment_files())
def test_experiment_files(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "search.yml"
        file.write_bytes(text.encode(errors="surrogatepass"))
        found = tried(lambda: read_experiment(file))
    if not isinstance(found, NNIPluginsError):
        assert found.trials >= 0


def test_what_was_found() -> None:
    """Examples of earlier runs."""
    for space in spaces():
        for text in ("¹", "²³", "٣", "|²~0|"):
            assert isinstance(tried(lambda: space.parse(text)), NNIPluginsError)  # noqa: B023
    content = yaml.safe_load(render_preset("rlnas_digits"))
    arguments = content["tuner"]["classArgs"]
    for change in ({"objective": {"name": []}}, {"space": {**arguments["space"], "nodes": 10**9}}):
        with pytest.raises(ConfigError, match=r"unknown objective|nodes: at most 100 is possible"):
            load_experiment("rlnas", {**arguments, **change})


def test_messages_hold_nothing_that_a_terminal_obeys() -> None:
    error = ConfigError("key\0 \x1b[31m\u202e", "line\none")
    assert str(error) == "key\\x00 \\x1b[31m\\u202e\nline\none" and error.args == (error.problem, error.remedy)
