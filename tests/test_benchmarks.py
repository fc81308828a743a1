"""The GPU benchmark's command on the CPU, and what it records of checks that fail, break or take too long."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from .import_graph import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.slow
def test_the_command_on_a_cpu(tmp_path: Path) -> None:
    chosen = ["correctness.stand_alone.float32", "correctness.stand_alone.resume", "graphs.darts.darts"]
    command = [sys.executable, BENCHMARKS / "gpu.py", "--device", "cpu", "--quick", "--output", tmp_path, "--only"]
    done = subprocess.run([*map(str, command), *chosen], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["machine"]["cores"] and result["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert [section["section"] for section in result["sections"]] == ["correctness", "graphs"]
    checks = {check["check"]: check for section in result["sections"] for check in section["checks"]}
    assert list(checks) == [
        "stand_alone.float32.first",
        "stand_alone.float32.all",
        "stand_alone.resume",
        "darts.darts.losses",
        "darts.darts.time",
    ]
    for name in ("float32.first", "float32.all", "resume"):
        check = checks[f"stand_alone.{name}"]
        assert check["outcome"] == "pass" and check["value"] <= check["bar"]["limit"]
    assert "stopped after step" in checks["stand_alone.resume"]["note"]
    for name in ("losses", "time"):
        assert checks[f"darts.darts.{name}"]["outcome"] == "not run"
        assert checks[f"darts.darts.{name}"]["note"] == "needs CUDA"
    page = (tmp_path / "gpu.md").read_text()
    assert "**3 pass, 0 fail, 0 measured, 2 not run, 0 error.**" in page and "## correctness" in page
    assert all(f"| `{name}` |" in page for name in checks)


def test_what_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_proof.page import render, summary  # type: ignore[import-not-found]
    from gpu_proof.record import Bar, Found, Given, NotRun, Section  # type: ignore[import-not-found]

    def broken() -> Any:
        raise ValueError("a | b")

    def starving() -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def unfit() -> Any:
        raise NotRun("no nvcc")

    def slow() -> Any:
        while True:
            time.sleep(0.01)

    def body(section: Any) -> None:
        spread = {"least": 1.0, "median": 2.0, "most": 4.0, "count": 3}
        section.check("good", "within its bar", lambda: Found(2, "ms", Bar("<=", 3), "", {"ours": spread}))
        section.check("bad", "above it", lambda: Found(4, "ms", Bar("<=", 3, "the paper")))
        section.check("nan", "not a number", lambda: Found(float("nan"), "", Bar("<=", 3)))
        section.check("told", "no bar", lambda: Found(1234.5, "images/s"))
        for name, function in {"broken": broken, "starving": starving, "unfit": unfit, "slow": slow}.items():
            section.check(name, name, function)
        section.check("late", "never begun", broken)
        raise KeyError("between checks")

    given = Given("cpu", True, tmp_path)
    section = Section("one", "About it.", given, [], time.monotonic() + 2)
    section.run(body)
    found = {check["check"]: check for check in section.checks}
    outcomes = {name: check["outcome"] for name, check in found.items()}
    assert outcomes == {
        "good": "pass",
        "bad": "fail",
        "nan": "fail",
        "told": "measured",
        "broken": "error",
        "starving": "not run",
        "unfit": "not run",
        "slow": "not run",
        "late": "not run",
    }
    assert "ValueError: a | b" in found["broken"]["traceback"][-1] and "KeyError" in str(section.error)
    assert "out of memory" in found["starving"]["note"] and "time was up" in found["slow"]["note"]
    result = {
        "machine": {"device": "none"},
        "versions": {},
        "arguments": {"quick": True},
        "command": "",
        "started": "",
        "seconds": 1.0,
        "sections": [json.loads(json.dumps(section.as_dict()))],
    }
    page = render(result)
    assert "| `good` | within its bar | 2 ms | <= 3 | pass | min / median / max: ours 1 / 2 / 4 |" in page
    assert "| `bad` | above it | 4 ms | <= 3 (the paper) | **fail** |  |" in page
    assert "| `told` | no bar | 1,234 images/s |  | measured |  |" in page
    assert "| `broken` | broken |  |  | **error** | ValueError: a \\| b |" in page
    assert "The end of the traceback of `broken`:" in page and "    KeyError: 'between checks'" in page
    assert summary(result)[0] == "**1 pass, 2 fail, 1 measured, 4 not run, 1 error.**"
    assert "`one.bad`, `one.nan`, `one.broken`, `one`" in summary(result)[-1]


def test_names_choose_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_proof.record import Given, Section

    section = Section("speed", "", Given("cpu", True, tmp_path), ["memory", "speed.mixed"], time.monotonic() + 1)
    assert section.wanted("mixed.darts") and not section.wanted("recurrent")


def digits_searches() -> Any:
    """The module of the command."""
    specification = importlib.util.spec_from_file_location("digits_searches", BENCHMARKS / "digits_searches.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_figures_of_searches_on_digits_are_those_that_were_measured() -> None:
    """Each row of the table in docs/differentiable.md is the mean over the rows of its preset and changes."""
    module, page = digits_searches(), (ROOT / "docs" / "differentiable.md").read_text()
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in module.read_rows():
        groups.setdefault((row["preset"], row["changes"]), []).append(row)
    assert {preset for preset, _ in groups} >= {"rfdarts_digits", "darts_digits"}
    for (preset, changes), rows in groups.items():
        found = module.summary(rows)
        listed = ", ".join(f"{float(row['rank']):g}" for row in rows)
        numbers = f"{listed} | {found['rank']:.1f} ± {found['standard_error']:.1f} | {found['rank_with_none']:.1f} | {found['tau']:.2f}"
        assert f"| `{' '.join([preset, changes]).strip()}` | {numbers} |" in page and len(rows) >= 5


@pytest.mark.slow
def test_searches_on_digits_come_out_again() -> None:
    """The first seed of every row that the documentation shows, trained again."""
    assert digits_searches().check([0]) == []
