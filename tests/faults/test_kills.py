"""A run that is killed anywhere and started again gives what an undisturbed one gives, and leaves nothing behind."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from .kinds import KINDS
from .process import Kill, run

DERIVED = (".svg", ".png", ".html", ".md", ".onnx")
"""Made from what is compared."""
PASSING = ("step-", "lock", "printed.txt", "console.log")
"""Beginnings of names of what is there for resuming and for people."""
MANY = 12
"""Tests of each kind by hand: 156, of 228 kills; those of ``make test`` are 20."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a kind: how it ended, and what it left."""
    known: dict[str, Any] = {}

    def of(kind: str) -> Any:
        if kind not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            ended = run(KINDS[kind](folder), folder)
            assert ended.status == 0 and ended.operations > 5, ended.printed
            known[kind] = ended, content(folder / "run")
        return known[kind]

    return of


def content(folder: Path) -> dict[str, Any]:
    """Path -> what stands in the file, without seconds; of files of weights their bytes' number."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        assert not path.name.endswith(".tmp"), f"{path} was left behind"
        if path.is_dir() or path.suffix in DERIVED or path.name.startswith(PASSING):
            continue
        found[str(path.relative_to(folder))] = _plain(path, str(folder.parent))
    return found


def _timeless(value: Any) -> Any:
    """Without whatever is called after seconds."""
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if "seconds" not in key}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def _plain(path: Path, place: str) -> Any:
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text().replace(place, "")))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]
    if path.suffix in (".yml", ".txt"):
        return [line.replace(place, "") for line in path.read_text().splitlines() if "second" not in line]
    return path.read_bytes()


def check(kind: str, number: int, by_operation: bool, undisturbed: Any, tmp_path: Path) -> None:
    """One kill, or two: the second while it goes on."""
    ended, whole = undisturbed(kind)
    draw = random.Random(f"{kind} {number}")
    words, kills = KINDS[kind](tmp_path), []
    for _ in range(draw.choice((1, 2))):
        kill = Kill(draw.randint(1, ended.operations)) if by_operation else Kill(None, draw.uniform(0, ended.seconds))
        status = run(words, tmp_path, kill).status
        assert status in (0, -9), f"{[*kills, kill]}"
        kills.append(kill)
    last = run(words, tmp_path)
    assert last.status == 0, f"{kills}: {last.printed}"
    left = content(tmp_path / "run")
    assert left.keys() == whole.keys(), kills
    for name, value in left.items():
        assert value == whole[name], f"{name} after {kills}"


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_started_again(kind: str, undisturbed: Any, tmp_path: Path) -> None:
    check(kind, 0, list(KINDS).index(kind) % 2 == 0, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, MANY + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_killed_many_times(kind: str, number: int, undisturbed: Any, tmp_path: Path) -> None:
    check(kind, number, number % 2 == 0, undisturbed, tmp_path)
