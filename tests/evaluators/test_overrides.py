"""Changes by dotted keys, mappings laid over one another, and the one reader of YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import read_yaml
from nni_plugins.evaluators.overrides import changed, changed_values, laid_over
from nni_plugins.evaluators.settings import Settings


class Inner(Settings):
    kind: str = "a"
    rate: float | None = None
    sizes: dict[str, dict[str, int]] = {}


class Outer(Settings):
    epochs: int = 3
    inner: Inner | None = Inner()


def test_what_is_laid_over() -> None:
    assert laid_over({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": [4]}) == {"a": {"b": 1, "c": 3}, "d": [4]}
    assert laid_over({"a": {"type": "x", "b": 1}}, {"a": {"type": "y"}}) == {"a": {"type": "y"}}, "of another kind"
    assert laid_over({"a": {"type": "x", "b": 1}}, {"a": {"type": "x"}}) == {"a": {"type": "x", "b": 1}}
    assert laid_over({"a": {"b": 1}, "c": 2}, {"a": {}}) == {"a": {}, "c": 2}, "emptied"
    assert laid_over([1, 2], [3]) == [3] and laid_over({"a": 1}, None) is None


def test_changed_settings() -> None:
    given = Outer()
    assert changed(given, {}) is given
    other = changed(given, {"inner.rate": 2, "inner.sizes.x.y": 5, "epochs": 4})
    assert other == Outer(epochs=4, inner=Inner(rate=2, sizes={"x": {"y": 5}})) and given == Outer()
    assert changed(other, {"inner": {"rate": 3}}).inner == Inner(rate=3, sizes={"x": {"y": 5}})
    assert changed(other, {"inner": None}).inner is None
    assert changed(Outer(inner=None), {"inner.rate": 1}) == Outer(inner=Inner(rate=1))
    assert changed(other, {"inner.kind": "b"}).inner == Inner(kind="b"), "what belonged to the other kind is gone"
    assert changed(other, {"inner.kind": "a"}) == other


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        changed(Outer(), {"inner.rat": 1, "epochs.x": 1, "epoch": 2, "inner.rate": "many"}, "recipe.")
    message = str(caught.value)
    assert "epochs.x: epochs holds a value, not more keys" in message
    assert "recipe.inner.rat: no such key; did you mean 'rate'" in message
    assert "recipe.epoch: no such key; did you mean 'epochs'" in message and "recipe.inner.rate: input" in message


def test_changed_values() -> None:
    values: dict[str, Any] = {"model": {"heads": [{"n": 1}, {"n": 2}]}, "level": "INFO"}
    new = changed_values(values, {"model.heads.1.n": 3, "model.heads.0.new": 4, "level": None})
    assert new == {"model": {"heads": [{"n": 1, "new": 4}, {"n": 3}]}, "level": None}
    assert values["model"]["heads"] == [{"n": 1}, {"n": 2}], "a copy is changed"
    wrong = {"modl.x": 1, "lvl": 1, "model.heads.2": 1, "model.head.0": 1, "level.x": 1}
    with pytest.raises(ConfigError) as caught:
        changed_values(values, wrong, "See the file.")
    assert str(caught.value) == (
        "modl: no such key; did you mean 'model'?; lvl: no such key; did you mean 'level'?; "
        "model.heads.2: no such key; known: 0, 1; model.head: no such key; did you mean 'heads'?; "
        "level.x: level holds a value, not more keys\nSee the file."
    )


def test_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    for content, said in {
        b"a: [1": "is not YAML",
        b"\xff\xfe\x00": "is not YAML",
        b"a: !!python/object/apply:os.system ['true']": "could not determine a constructor",
        b"- a": "a recipe is a mapping, but this is list",
        b"3: 4": "keys must be names, but got 3",
        b"#" * 1_000_001: "1,000,001 bytes; at most 1,000,000 are read",
    }.items():
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            read_yaml(file, "a recipe")
    with pytest.raises(ConfigError, match=r"cannot read .*no\.yml: No such file or directory\.\nWrite one"):
        read_yaml(tmp_path / "no.yml", "a recipe", "Write one.")
    file.write_text("a: {b: 1}")
    assert read_yaml(file, "a recipe") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nseed: 1\nepochs: 4\n", "line 3: the key 'epochs' stands twice"),
        ("a: {b: 1, b: 2}\n", "line 1: the key 'b' stands twice"),
        ("a:\n- {c: 1}\n- b: 1\n  b: 2\n", "line 4: the key 'b' stands twice"),
    ],
)
def test_a_key_that_stands_twice(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "a.yml", "a recipe")


def test_a_yaml_file_with_a_mark_of_its_bytes_order_and_merged_keys(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("\ufeffbase: &b {epochs: 3, seed: 1}\nown: {<<: *b, epochs: 4}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yml", "a recipe")["own"] == {"epochs": 4, "seed": 1}
