"""The page of ``gpu.json``: one table a section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .record import ERROR, FAIL, OUTCOMES, number, shown

Record = Mapping[str, Any]


def render(result: Mapping[str, Any]) -> str:
    """Markdown."""
    machine, arguments = result["machine"], result["arguments"]
    lines = [
        f"# All of nni-plugins on {machine['device']}",
        "",
        f"`python benchmarks/gpu.py {result['command']}`, {result['started']}, {result['seconds'] / 60:.1f} minutes."
        + (" Sizes were reduced (`--quick`): speeds and memory say nothing." if arguments["quick"] else ""),
        "",
        *summary(result),
        "",
        "## Machine and versions",
        "",
        "| | |",
        "|---|---|",
        *(f"| {cell(key)} | {cell(value)} |" for key, value in {**machine, **result["versions"]}.items()),
    ]
    for section in result["sections"]:
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def summary(result: Mapping[str, Any]) -> list[str]:
    """How many checks came out how, and which failed."""
    checks = [(section["section"], check) for section in result["sections"] for check in section["checks"]]
    counts = ", ".join(f"{sum(c['outcome'] == o for _, c in checks)} {o}" for o in OUTCOMES)
    lines = [f"**{counts}.**"]
    broken = [f"`{name}.{check['check']}`" for name, check in checks if check["outcome"] in (FAIL, ERROR)]
    broken += [f"`{section['section']}`" for section in result["sections"] if section["error"]]
    if broken:
        lines += ["", f"Failed: {', '.join(broken)}."]
    return lines


def _section(section: Mapping[str, Any]) -> list[str]:
    lines = [f"## {section['section']}", "", f"{section['about']} ({section['seconds']:.0f} s)", ""]
    if section["checks"]:
        lines += ["| check | what | found | bar | outcome | note |", "|---|---|---|---|---|---|"]
        lines += [_row(check) for check in section["checks"]]
    tracebacks = [
        (check["check"], "\n".join(check["traceback"])) for check in section["checks"] if "traceback" in check
    ]
    if section["error"]:
        tracebacks.append((section["section"], section["error"]))
    for name, text in tracebacks:
        lines += ["", f"The end of the traceback of `{name}`:", "", *(f"    {line}" for line in text.splitlines())]
    return lines


def _row(check: Record) -> str:
    bar, outcome = check["bar"], check["outcome"]
    limit = "" if bar is None else f"{bar['relation']} {number(bar['limit'])}"
    if bar is not None and bar["source"]:
        limit += f" ({bar['source']})"
    found = "" if check["value"] is None else shown({**check, "bar": None})
    mark = f"**{outcome}**" if outcome in (FAIL, ERROR) else outcome
    return (
        "| " + " | ".join(map(cell, (f"`{check['check']}`", check["about"], found, limit, mark, _more(check)))) + " |"
    )


def _more(check: Record) -> str:
    """The note, and of speeds the range."""
    numbers, note = check.get("numbers", {}), check["note"]
    ranges = [
        f"{key} {number(value['least'])} / {number(value['median'])} / {number(value['most'])}"
        for key, value in numbers.items()
        if isinstance(value, Mapping) and {"least", "median", "most"} <= value.keys()
    ]
    return "; ".join([*([note] if note else []), *(["min / median / max: " + ", ".join(ranges)] if ranges else [])])


def cell(value: object) -> str:
    """For a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
