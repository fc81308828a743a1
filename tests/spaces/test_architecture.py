"""The value object that crosses every seam, and what its reader refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from nni_plugins.spaces import Architecture, NASBench201, NNIPluginsError, SpaceError

SPACE = NASBench201(nodes=3)
GOOD: dict[str, Any] = {
    "schema": 1,
    "space": "nasbench201",
    "choices": {"e_0_1": "none", "e_0_2": "skip_connect", "e_1_2": "nor_conv_3x3"},
}
ARCHITECTURE = Architecture("nasbench201", tuple(GOOD["choices"].items()))


def test_it_is_a_value() -> None:
    same = Architecture("nasbench201", tuple(GOOD["choices"].items()))
    other = SPACE.architecture({**GOOD["choices"], "e_1_2": "none"})
    assert same == ARCHITECTURE and hash(same) == hash(ARCHITECTURE) and {same, ARCHITECTURE, other} == {other, same}
    assert sorted([other, same, Architecture("a", ())]) == [Architecture("a", ()), other, same]
    with pytest.raises(dataclasses.FrozenInstanceError):
        same.space = "x"  # type: ignore[misc]
    assert same["e_0_2"] == "skip_connect" and same.as_dict() == GOOD["choices"]
    same.as_dict()["e_0_1"] = "changed"
    assert same == ARCHITECTURE


def test_json() -> None:
    assert json.loads(ARCHITECTURE.to_json()) == GOOD
    for form in (ARCHITECTURE.to_json(), ARCHITECTURE.to_json().encode(), json.dumps(GOOD, indent=2), GOOD):
        assert Architecture.from_json(form) == ARCHITECTURE


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("schema"), r"misses \['schema'\] and has \[\]"),
        (without("choices"), r"misses \['choices'\]"),
        ({**GOOD, "weights": []}, r"misses \[\] and has \['weights'\]"),
        ({**GOOD, 5: 1, "x": 2}, r"has \['5', 'x'\]"),
        ({**GOOD, **{f"key{i}": 0 for i in range(10_000)}}, r"has \['key0', .*\.\.\."),
        ({**GOOD, "schema": 2}, r"has schema 2; this version reads 1 to 1\.\nUpgrade"),
        ({**GOOD, "schema": 0}, "has schema 0"),
        ({**GOOD, "schema": -1}, "has schema -1"),
        ({**GOOD, "schema": "1"}, "has schema '1'"),
        ({**GOOD, "schema": True}, "has schema True"),
        ({**GOOD, "schema": 1.0}, r"has schema 1\.0"),
        ({**GOOD, "schema": None}, "has schema None"),
        ({**GOOD, "space": 5}, "space: must be a string, but got int"),
        ({**GOOD, "choices": []}, "choices: must be an object of strings"),
        ({**GOOD, "choices": {"e_0_1": 3}}, "choices: must be an object of strings"),
        ({**GOOD, "choices": {"e_0_1": None}}, "choices: must be an object of strings"),
        ({**GOOD, "choices": {"e_0_1": ["none"]}}, "choices: must be an object of strings"),
        ({**GOOD, "choices": {1: "none"}}, "choices: must be an object of strings"),
        ([GOOD], "must be an object, but got list"),
        ("null", "must be an object, but got NoneType"),
        ("5", "must be an object, but got int"),
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        (json.dumps(GOOD)[:-2], "not valid JSON"),
        ("{'schema': 1}", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON: UnicodeDecodeError"),
        (b"\x80abc", "not valid JSON"),
        ('{"schema": ' + "9" * 6000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON: RecursionError"),
        ('{"choices":' * 90_000, "not valid JSON"),
        (json.dumps({**GOOD, "space": "x" * 2_000_000}), "2,000,.* bytes; at most 1,000,000"),
        ("x" * 2_000_000, "2,000,000 bytes"),
    ],
)
def test_json_that_is_refused(content: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        Architecture.from_json(content)
    assert len(str(caught.value)) < 400 and isinstance(caught.value, NNIPluginsError) and caught.value.exit_status == 2


@pytest.mark.parametrize(
    "content",
    [
        {**GOOD, "space": "x" * 900_000},
        {**GOOD, "choices": {"e_0_1": "x" * 900_000}},
        {**GOOD, "choices": {"x" * 900_000: "none"}},
        {**GOOD, "choices": {**GOOD["choices"], **{f"e_{i}": "none" for i in range(50_000)}}},
        {**GOOD, "choices": {}},
        {"e_0_1": ["none"], "e_0_2": {}, "e_1_2": None},
        {5: "none"},
        {},
    ],
)
def test_a_space_refuses_briefly(content: Any) -> None:
    for form in (content, json.dumps(content)):
        with pytest.raises(SpaceError) as caught:
            SPACE.parse(form)
        assert len(str(caught.value)) < 1000


def test_nothing_of_a_wrong_text_is_believed() -> None:
    """A second "space" smuggled in behind the choices changes nothing."""
    choices = json.dumps(GOOD["choices"])
    with pytest.raises(SpaceError):
        SPACE.parse(f'{choices}, "space": "other", "more": {{}}')
    assert SPACE.parse(choices) == ARCHITECTURE
