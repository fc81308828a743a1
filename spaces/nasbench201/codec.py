"""NAS-Bench-201 strings, and the canonical form under which 15,625 four-node cells become 6,466."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import SpaceError, closest, shown

Edge = tuple[int, int]
"""(source node, target node), source < target."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the benchmark's order, which is also the encoding of RLNAS' evolution."""

NNI_NAMES = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}
"""What NNI's hub calls these operations."""


def edges(nodes: int) -> list[Edge]:
    """All edges in the order of the benchmark's strings: by target, then by source."""
    return [(i, j) for j in range(1, nodes) for i in range(j)]


def label(edge: Edge) -> str:
    """``e_<source>_<target>``."""
    return f"e_{edge[0]}_{edge[1]}"


def to_string(operations: Mapping[Edge, str], nodes: int) -> str:
    """``|op~0|+|op~0|op~1|+...``: one group a target node."""
    return "+".join("|" + "|".join(f"{operations[i, j]}~{i}" for i in range(j)) + "|" for j in range(1, nodes))


def from_string(text: str, nodes: int) -> dict[Edge, str]:
    """Inverse of :func:`to_string`; NNI's operation names are accepted too.

    Raises:
        SpaceError: a wrong number of nodes or edges, a malformed edge, an unknown operation; the message names the
            edge.
    """
    if len(text) > 10_000:
        raise SpaceError(f"a NAS-Bench-201 string of {len(text):,} characters; at most 10,000 are read.")
    groups = text.split("+")
    if len(groups) != nodes - 1:
        raise SpaceError(
            f"{nodes - 1} groups are needed for {nodes} nodes, but got {len(groups)} in {shown(text)}.",
            "A four-node cell reads |op~0|+|op~0|op~1|+|op~0|op~1|op~2|.",
        )
    operations: dict[Edge, str] = {}
    for j, group in enumerate(groups, start=1):
        if not (group.startswith("|") and group.endswith("|") and len(group) > 1):
            raise SpaceError(f"node {j}: {shown(group)} must begin and end with '|'.")
        entries = group[1:-1].split("|")
        if len(entries) != j:
            raise SpaceError(f"node {j}: {j} edges are needed, but got {len(entries)} in {shown(group)}.")
        for i, entry in enumerate(entries):
            match = re.fullmatch(rf"(\w+)~{i}", entry)
            if match is None:
                raise SpaceError(f"node {j}, edge {i}: expected 'operation~{i}', but got {shown(entry)}.")
            operations[i, j] = operation(match[1], f"node {j}, edge {i}")
    return operations


def operation(name: str, place: str) -> str:
    """The benchmark's name of an operation, given that name or NNI's."""
    name = NNI_NAMES.get(name, name)
    if name not in OPERATIONS:
        raise SpaceError(f"{place}: unknown operation {shown(name)}; {closest(name, OPERATIONS)}")
    return name


def canonical(operations: Mapping[Edge, str], nodes: int) -> str:
    """The benchmark's own equivalence: order of summands, ``skip_connect`` as identity, ``none`` as zero.

    A zero stays visible as a summand (``#``), as in the benchmark's count of 6,466 unique cells.
    """
    states = ["x"]
    for j in range(1, nodes):
        terms = []
        for i in range(j):
            name = operations[i, j]
            if name == "none" or states[i] == "#":
                terms.append("#")
            else:
                terms.append(states[i] if name == "skip_connect" else f"({states[i]})@{name}")
        states.append("+".join(sorted(terms)))
    return states[-1]
