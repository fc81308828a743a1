"""DARTS' genotypes of recurrent cells, NAO's integers, and the canonical form under which 32 two-node cells become 26."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import SpaceError, closest, shown

Node = tuple[str, int]
"""(operation, input): the activation, and the state that the node reads; state 0 is the cell's initial one."""

OPERATIONS = ("tanh", "relu", "sigmoid", "identity")

NAO_IDS = {"nao-ws": OPERATIONS, "nao": ("tanh", "relu", "identity", "sigmoid")}
"""What NAO's integers mean: its code with weight sharing (``NAO-WS/rnn/model.py``) and without (``NAO/rnn/utils.py``)
differ in 2 and 3.
"""

LIMIT = 20_000
"""Characters that are read."""

DEPTH = 3
"""Lists within lists: of a genotype's pairs there are two, and one more lets the message name the place."""

Value = int | str | range | list["Value"]

_TOKEN = re.compile(
    r"""\s*(?:([A-Za-z_]\w*)|(-?[0-9]{1,9}(?![0-9]))|'([^'\\\n]*)'|"([^"\\\n]*)"|([][(),=]))""", re.ASCII
)
_FORM = "A two-node cell reads Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))."


def to_string(nodes: Sequence[Node]) -> str:
    """DARTS' text; ``concat`` lists the nodes whose mean is the output, here all of them."""
    pairs = ", ".join(f"({operation!r}, {source})" for operation, source in nodes)
    return f"Genotype(recurrent=[{pairs}], concat=range(1, {len(nodes) + 1}))"


def from_string(text: str, nodes: int) -> list[Node]:
    """Inverse of :func:`to_string`, which also reads pairs as (input, operation), ``concat`` as a list or left out, a
    bare list of pairs, and NAO's integers with the meaning of its code with weight sharing. Nothing is evaluated.

    Raises:
        SpaceError: malformed, a wrong number of nodes, an unknown operation or a state that does not exist yet; the
            place is named.
    """
    _check_length(text)
    if re.fullmatch(r"[-0-9\s,]+", text, re.ASCII):
        return from_integers(text, nodes, "nao-ws")
    recurrent, concat = _Reader(text).genotype()
    if not isinstance(recurrent, list):
        raise SpaceError(f"recurrent: must be a list of pairs, but got {shown(recurrent)}.", _FORM)
    if len(recurrent) != nodes:
        raise SpaceError(f"recurrent: {nodes} pairs are needed for {nodes} nodes, but got {len(recurrent)}.", _FORM)
    read = [_node(value, k) for k, value in enumerate(recurrent)]
    if concat is not None and not _lists_all(concat, nodes):
        raise SpaceError(
            f"concat: the output of this space is the mean of all nodes, 1 to {nodes}, but got {shown(concat)}."
        )
    return read


def from_integers(text: str, nodes: int, code: str) -> list[Node]:
    """NAO's form, ``input activation`` for each node: ``0 1 0 1`` for two. ``code`` is a key of :data:`NAO_IDS`.

    Raises:
        SpaceError: as :func:`from_string`.
    """
    _check_length(text)
    if code not in NAO_IDS:
        raise SpaceError(f"code: unknown code {shown(code)}; {closest(str(code), NAO_IDS)}")
    words = re.split(r"[\s,]+", text.strip())
    if len(words) != 2 * nodes:
        raise SpaceError(
            f"{2 * nodes} integers, an input and an activation for each of {nodes} nodes, are needed, but got {len(words)}."
        )
    known = {str(i): operation for i, operation in enumerate(NAO_IDS[code])}
    read = []
    for k, (source, activation) in enumerate(zip(words[::2], words[1::2], strict=True)):
        number = _input(int(source) if re.fullmatch("-?[0-9]{1,9}", source, re.ASCII) else source, k)
        if activation not in known:
            meanings = ", ".join(f"{i} ({operation})" for i, operation in known.items())
            raise SpaceError(f"recurrent[{k}].operation: must be one of {meanings}, but got {shown(activation)}.")
        read.append((known[activation], number))
    return read


def canonical(nodes: Sequence[Node]) -> str:
    """The cell as a tree without names: the nodes that read a state are its children, in alphabetical order.

    The output is the mean of all nodes and every node has weights of its own, so two cells whose trees differ only in
    the order of children are the same function once their weights are renamed. 32 cells of two nodes are 26 functions.
    """
    children: list[list[str]] = [[] for _ in range(len(nodes) + 1)]
    for j in range(len(nodes), 0, -1):  # children come after their parents
        operation, source = nodes[j - 1]
        children[source].append(operation + (f"({','.join(sorted(children[j]))})" if children[j] else ""))
    return ",".join(sorted(children[0]))


def _check_length(text: str) -> None:
    if len(text) > LIMIT:
        raise SpaceError(f"a recurrent cell of {len(text):,} characters; at most {LIMIT:,} are read.")


def _lists_all(concat: Value, nodes: int) -> bool:
    everything = range(1, nodes + 1)
    if isinstance(concat, range):
        return concat == everything
    return isinstance(concat, list) and len(concat) == nodes and all(node in concat for node in everything)


def _input(source: Value, k: int) -> int:
    if not isinstance(source, int) or not 0 <= source <= k:
        states = f"one of the states 0 to {k}" if k else "state 0"
        raise SpaceError(f"recurrent[{k}].input: node {k + 1} reads {states}, but got {shown(source)}.")
    return source


def _node(value: Value, k: int) -> Node:
    """``value`` as node ``k + 1``, whatever the order of operation and input."""
    first, second = value if isinstance(value, list) and len(value) == 2 else (None, None)
    operation, source = (first, second) if isinstance(first, str) else (second, first)
    if not isinstance(operation, str) or not isinstance(source, int):
        raise SpaceError(f"recurrent[{k}]: must be a pair such as ('tanh', 0), but got {shown(value)}.")
    if operation not in OPERATIONS:
        raise SpaceError(
            f"recurrent[{k}].operation: unknown operation {shown(operation)}; {closest(operation, OPERATIONS)}"
        )
    return operation, _input(source, k)


class _Reader:
    """Reads the few forms that genotypes have: names, whole numbers, quoted strings, lists, tuples and ``range``."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, Value | None]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise SpaceError(f"character {at + 1}: {shown(text[at : at + 40].strip())} cannot be read.", _FORM)
            name, number, single, double, mark = match.groups()
            quoted = single if single is not None else double
            self.tokens.append((name or mark or "", int(number) if number else quoted))
            at = match.end()
        self.tokens.append(("end of text", None))
        self.position = 0

    def genotype(self) -> tuple[Value, Value | None]:
        """(recurrent, concat or None) of ``Genotype(...)``, or of a bare list."""
        fields: dict[str, Value] = {}
        if not self._skip("Genotype"):
            fields["recurrent"] = self._value("recurrent")
        else:
            self._need("(")
            while not self._skip(")"):
                name = ("recurrent", "concat", "a third field")[min(len(fields), 2)]
                if self.tokens[self.position + 1 : self.position + 2] == [("=", None)]:
                    name = self._next()[0]
                    self._need("=")
                if name not in ("recurrent", "concat") or name in fields:
                    raise SpaceError(
                        f"Genotype: the fields are recurrent and concat, each once, but got {shown(name)}.", _FORM
                    )
                fields[name] = self._value(name)
                if not self._skip(","):
                    self._need(")")
                    break
        self._need("end of text")
        if "recurrent" not in fields:
            raise SpaceError("Genotype: recurrent is missing.", _FORM)
        return fields["recurrent"], fields.get("concat")

    def _next(self) -> tuple[str, Value | None]:
        self.position += 1
        return self.tokens[self.position - 1]

    def _skip(self, word: str) -> bool:
        found = self.tokens[self.position] == (word, None)
        self.position += found
        return found

    def _need(self, word: str) -> None:
        if not self._skip(word):
            word_found, value = self.tokens[self.position]
            raise SpaceError(f"expected {word!r}, but got {shown(word_found if value is None else value)}.", _FORM)

    def _value(self, place: str, depth: int = 0) -> Value:
        word, value = self._next()
        if value is not None:
            return value
        if word not in ("[", "(", "range"):
            raise SpaceError(
                f"{place}: expected a list, a pair, a whole number or a quoted name, but got {shown(word)}.", _FORM
            )
        if depth == DEPTH:
            raise SpaceError(f"{place}: lists within lists, more than {DEPTH} deep.", _FORM)
        if word == "range":
            self._need("(")
        items = self._items(place, "]" if word == "[" else ")", depth + 1)
        if word != "range":
            return items
        bounds = [item for item in items if isinstance(item, int)]
        if len(bounds) != len(items) or not 1 <= len(bounds) <= 2:
            raise SpaceError(f"{place}: range takes one or two whole numbers, but got {shown(items)}.")
        return range(*bounds)

    def _items(self, place: str, closing: str, depth: int) -> list[Value]:
        items: list[Value] = []
        while not self._skip(closing):
            items.append(self._value(f"{place}[{len(items)}]", depth))
            if not self._skip(","):
                self._need(closing)
                break
        return items
