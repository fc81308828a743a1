"""Hostile inputs at every door. Each is first given to a reader or writer without protection, which must fall for it, so
that no test passes for a harmless input; then to ours, which must refuse it in a sentence or take it as plain data.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nni_plugins import trial
from nni_plugins.cli.console import key_value
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.pickles import unpickle
from nni_plugins.evaluators.data.segmentation import class_list
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import CheckpointError, ConfigError, DataError, MissingBackend
from nni_plugins.evaluators.files import (
    MAX_YAML_NODES,
    cell_text,
    csv_text,
    parse_yaml,
    read_yaml,
    shareable,
    write_shareable,
)
from nni_plugins.evaluators.interchange.weights import read_weights
from nni_plugins.evaluators.mmlab import checkpoints
from nni_plugins.evaluators.mmlab.config_text import text
from nni_plugins.evaluators.mmlab.detection_data import detection_data
from nni_plugins.evaluators.mmlab.watch import rows_in
from nni_plugins.evaluators.reports.comparison.record import read_comparison
from nni_plugins.evaluators.reports.document import (
    Block,
    Bullets,
    Code,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
    write_document,
)
from nni_plugins.evaluators.reports.figures import label, panels, svg
from nni_plugins.evaluators.retraining import recipes as retraining_recipes
from nni_plugins.evaluators.retraining.card import write_card
from nni_plugins.evaluators.subjects.files import subject_in
from nni_plugins.evaluators.tables.table import read_table
from nni_plugins.evaluators.training.checkpoint import CheckpointStore, load_weights
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.experiment.asking import Asked
from nni_plugins.experiment.file import load_yaml
from nni_plugins.experiment.jobs import Job
from nni_plugins.experiment.names import JOB
from nni_plugins.experiment.store import read_settings
from nni_plugins.portal import reporting
from nni_plugins.portal.reporting import Reporter
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import NNIPluginsError, printable
from nni_plugins.spaces.published.record import read as read_published
from nni_plugins.strategies.naov2.pool import read_pool
from nni_plugins.strategies.precomputed import _architectures_by_seed
from nni_plugins.studies.diagnose.searches import read_searches
from nni_plugins.studies.sample.draw import read_architectures
from nni_plugins.studies.sample.summaries import read_summary

from .evaluators.transfer_data import camvid, coco

SPACE = NASBench201(channels=8, cells_per_stage=1, stem="imagenet")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that only hostile code makes."""
    return tmp_path / "fired"


class Payload:
    """Whoever unpickles it makes the file ``mark``."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def fires(mark: Path, unprotected: Callable[[], object]) -> None:
    """The input is hostile: without protection its code runs."""
    assert not mark.exists()
    unprotected()
    assert mark.exists(), "the corpus is harmless"
    mark.unlink()


# Pickles


def as_checkpoint(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"w": torch.ones(1)}, "meta": Payload(mark)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model_best.pth.tar", "a.pth", "b.pt", "c.ckpt", "d.tar"])
def test_weights(tmp_path: Path, mark: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(as_checkpoint(mark))
    fires(mark, lambda: torch.load(file, weights_only=False))
    with pytest.raises(CheckpointError, match="refused, it is not a file of plain weights"):
        read_weights(file)
    with pytest.raises(CheckpointError, match="refused"):
        load_weights(file.read_bytes(), name)
    with pytest.raises(CheckpointError, match="refused"):
        subject_in(file)
    assert not mark.exists()


def test_initial_weights_and_checkpoints_of_a_training(tmp_path: Path, mark: Path) -> None:
    """Whoever can write the weights can write their manifest, too."""
    import hashlib

    with CheckpointStore(tmp_path / "run", {"seed": 1}) as store:
        store.keep_initial({"w": torch.ones(1)})
        store.save(1, {"model": {"w": torch.ones(1)}})
    content = as_checkpoint(mark)
    for name in ("initial", "step-0000000001"):
        (tmp_path / "run" / f"{name}.pt").write_bytes(content)
        manifest = tmp_path / "run" / f"{name}.json"
        facts = {**json.loads(manifest.read_text()), "sha256": hashlib.sha256(content).hexdigest()}
        manifest.write_text(json.dumps(facts))
    fires(mark, lambda: torch.load(tmp_path / "run/initial.pt", weights_only=False))
    with CheckpointStore(tmp_path / "run", {"seed": 1}) as store:
        for use in (store.load, lambda: store.keep_initial({}), lambda: stored_weights(tmp_path / "run")):
            with pytest.raises(CheckpointError, match=r"refused|no intact"):
                use()
    assert not mark.exists()


def test_arrays(tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, images=np.array([Payload(mark)], dtype=object), architecture=np.array([Payload(mark)], dtype=object))
    fires(mark, lambda: np.load(file, allow_pickle=True)["images"])
    with pytest.raises(DataError, match=r"holds Python objects \(a pickle\) and is refused"):
        load(DataSettings(source="npz", path=str(file)))
    with pytest.raises(NNIPluginsError, match="refused, it is not a plain table"):
        read_table(file, SPACE)
    assert not mark.exists()


def test_pickles_of_images(tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps({"data": Payload(mark)}))
    fires(mark, lambda: pickle.loads(file.read_bytes()))
    with pytest.raises(DataError, match="refused, because it wants to import"):
        unpickle(file)
    assert not mark.exists()


# YAML


def bomb(levels: int = 30) -> str:
    """A few hundred letters that mean 2 ** levels values."""
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels))]
    return "\n".join(lines)


def size(value: Any) -> int:
    """Of a value, each part counted as often as it stands there."""
    known: dict[int, int] = {}

    def count(part: Any) -> int:
        if not isinstance(part, dict | list):
            return 1
        if id(part) not in known:
            known[id(part)] = 1 + sum(map(count, part.values() if isinstance(part, dict) else part))
        return known[id(part)]

    return count(value)


CODE = "a: !!python/object/apply:shutil.copy [{source}, {mark}]"
YAML = {
    "bomb": (bomb(), "more than 20,000 values"),
    "bomb of merges": (bomb(26) + "\nb: {<<: [{k: *a25}, {l: *a25}]}", "more than 20,000 values"),
    "long": ("[" + "x," * 30_000 + "]", "it has more than 20,000 values"),
    "itself": ("&a [*a]", "an anchor repeats what it is in itself"),
    "deep": ("[" * 5000, "nested too deeply"),
    "a number without digits": ("a: !!int ''", "."),
    "a number of many digits": (f"a: {'1' * 5000}", "."),
    "a truth value that is none": ("a: !!bool maybe", "."),
    "no date": ("a: 2001-13-45", "."),
    "no time": ("a: !!timestamp x", "."),
    "no base 64": ("a: !!binary 'x'", "."),
    "a control character": ("a: \x07", "."),
}


@pytest.mark.parametrize("name", YAML)
def test_yaml(tmp_path: Path, name: str) -> None:
    content, message = YAML[name]
    if "bomb" in name:
        assert size(yaml.safe_load(content)) > 10**7 > MAX_YAML_NODES
    elif name == "long":
        assert content.count("x") > MAX_YAML_NODES
    else:
        with pytest.raises(Exception):  # noqa: B017  (of all kinds, among them IndexError and KeyError)
            json.dumps(yaml.safe_load(content))
    with pytest.raises(ValueError, match=message):
        parse_yaml(content)
    refused_as_yaml(tmp_path / "a.yml", content)


def refused_as_yaml(file: Path, content: str) -> None:
    file.write_text(content)
    doors: list[Callable[[], object]] = [
        lambda: read_yaml(file, "a recipe"),
        lambda: load_yaml(file),
        lambda: retraining_recipes.recipe(str(file)),
        lambda: key_value(f"a={content}"),
    ]
    for door in doors:
        with pytest.raises(ConfigError, match="is not YAML"):
            door()


def test_yaml_that_asks_for_code(tmp_path: Path, mark: Path) -> None:
    content = CODE.format(source=json.dumps(__file__), mark=json.dumps(str(mark)))
    fires(mark, lambda: yaml.unsafe_load(content))
    refused_as_yaml(tmp_path / "a.yml", content)
    assert not mark.exists()


def test_yaml_with_anchors_that_people_write() -> None:
    given = "base: &base {x: 1, y: [1, 2]}\nother: {<<: *base, z: 2}\nagain: *base\n"
    assert parse_yaml(given) == yaml.safe_load(given) and parse_yaml("") is None


# JSON

DEEP = '{"schema": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}"
JSON = [
    DEEP,
    "[]",
    "{}",
    '"text"',
    "1" * 5000,
    "",
    "\0",
    '{"schema": 1}',
    '{"schema": 999}',
    '{"schema": "x", "a": NaN}',
]


def test_deep_json_fires() -> None:
    with pytest.raises(RecursionError):
        json.loads(DEEP)
    with pytest.raises(ValueError, match="digits"):
        json.loads("1" * 5000)


def doors_of_json(file: Path) -> dict[str, Callable[[], object]]:
    """Everything that reads a JSON file which may come from elsewhere."""
    folder = file.parent
    for name in ("config.json", "run.json", "answers.json", "metrics.jsonl", "epoch_1.json", "train.json"):
        (folder / name).write_bytes(file.read_bytes())
    (folder / "val.json").write_bytes(file.read_bytes())
    return {
        "architecture": lambda: Architecture.from_json(file.read_bytes()),
        "architecture of a space": lambda: SPACE.parse(file.read_text()),
        "subject": lambda: subject_in(file),
        "published": lambda: read_published(file),
        "pool": lambda: read_pool(file, SPACE),
        "precomputed": lambda: (_architectures_by_seed(str(file)), refuse()),
        "sample study": lambda: read_architectures(file, SPACE),
        "summary": lambda: read_summary(file),
        "comparison": lambda: read_comparison(file),
        "settings of a run": lambda: read_settings(folder),
        "training": lambda: CheckpointStore(folder, {"seed": 1}).__enter__(),
        "searches": lambda: read_searches(folder),
        "boxes": lambda: detection_data(str(folder)),
        "transfer": lambda: checkpoints.newest(folder),
    }


def refuse() -> None:
    raise ConfigError("nothing in it")


@pytest.mark.parametrize("content", JSON, ids=lambda content: content[:14])
def test_json(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    (tmp_path / "train").mkdir()
    for name, door in doors_of_json(file).items():
        with pytest.raises(NNIPluginsError) as caught:
            door()
        assert len(str(caught.value)) < 1500, name


@pytest.mark.parametrize("content", JSON, ids=lambda content: content[:14])
def test_rows_of_a_curve_that_are_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"epoch": 1, "iteration": 2}}\n{content}\n{{"epoch": 2, "itera')
    assert rows_in(file) == [{"epoch": 1, "iteration": 2}]
    (tmp_path / "mark").write_text("\udce4".encode("utf-8", "replace").decode())
    sent: list[Any] = []
    reporter = Reporter(tmp_path / "mark", file, dict)
    reporter._send = sent.append  # type: ignore[method-assign]
    reporter.catch_up()
    assert sent == [{"epoch": 1, "iteration": 2}]


def test_answers(tmp_path: Path) -> None:
    for content in (DEEP, "[]", '{"a": "x"}', '{"a": []}', ""):
        (tmp_path / "answers.json").write_text(content)
        from nni_plugins.experiment import asking

        (tmp_path / asking.ANSWERS).write_text(content)
        with pytest.raises(CheckpointError, match="is damaged"):
            Asked(None, 0, tmp_path)  # type: ignore[arg-type]


# Names of jobs, which anybody who reaches the portal can post

ESCAPES = ["/tmp/x", "../x", "..", ".", "", "a/b", "a\0b", "a\nb", "~", "-rf", ".hidden", "a" * 300, "a b", "é/../x"]


@pytest.mark.parametrize("name", [*ESCAPES, 3, None, ["a"]])
def test_names_of_jobs(tmp_path: Path, name: Any) -> None:
    if name in ("/tmp/x", "../x", "..", "é/../x"):
        assert (tmp_path / name).resolve().parent != tmp_path.resolve() or name == "é/../x"
    with pytest.raises(ConfigError, match="a job's name is made of letters, digits"):
        Job(name, "search", 0)


def test_names_that_jobs_have() -> None:
    for name in ("search-0", "stand_alone-found-0-1", "search-DARTS#2-1", "alone-resnet18.a1_in1k", "x-RF-DARTS+b-0"):
        assert JOB.fullmatch(name) and Job(name, "search", 0).name == name


@pytest.mark.parametrize("name", ["/{}/elsewhere", "../../elsewhere"])
def test_a_posted_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    from types import SimpleNamespace

    name = name.format(str(tmp_path).strip("/"))
    output = tmp_path / "out"
    assert not (output / "run" / name).resolve().is_relative_to(output)
    described = {"name": name, "phase": "search", "seed": 0}
    posted = {"trial": {"experiment": "RLNAS", "settings": {}, "described": described, "known": None}}
    monkeypatch.setattr(reporting, "own_record", lambda: {"parameter_id": 0, "parameters": posted})
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(output)))
    assert trial.main() == 2
    assert "a job's name is made of" in capsys.readouterr().err
    for broken in ({}, {"name": "a"}, {**described, "name": "a", "more": 1}, {**described, "name": "a", "phase": "x"}):
        posted["trial"]["described"] = broken  # type: ignore[assignment]
        assert trial.main() == 2
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "elsewhere").exists()


# Names and titles in reports

TITLES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></pre><b>",
    "![x](http://a/b.png) [y](javascript:z) <http://a>",
    "| a | b |",
    "`code` ``` ~~~",
    "# heading",
    "- item",
    "1. first",
    "---",
    "===",
    "**bold** _it_ ~~no~~",
    "$\\frac{1$",
    "$\\undefined$",
    "=HYPERLINK(1)",
    "@SUM(1)",
    "+1+cmd|' /C calc'!A0",
    "-1-1",
    "a,b;c\t\"d\"'e'",
    "\\begin{x}\\input{/etc/passwd}",
    "&lt;b&gt; &amp;",
    "_background_",
    "{{ fileDirname }}",
    "\x1b]0;owned\x07\x1b[31m",
]


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.words, self.inside = set[str](), "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}" if self.inside != "style" else ""


def one_line(words: str) -> str:
    return " ".join(words.split())


def blocks_of(title: str) -> list[Block]:
    table = Table([title, title], [[title, title]])
    return [Heading(title, 1), Paragraph(title), Bullets([title]), table, Picture("a.svg", title, title), Code(title)]


ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "p",
    "ul",
    "li",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
}
ALLOWED |= {"th", "td", "figure", "img", "figcaption", "pre"}


def test_the_titles_are_hostile() -> None:
    """To a writer that writes them as they are."""
    from markdown_it import MarkdownIt
    from matplotlib.figure import Figure

    assert "script" in Page(f"<p>{TITLES[0]}</p>").tags and "img" in Page(f'<p title="{TITLES[1]}">').tags
    rendered = {
        title: Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(title)) for title in TITLES
    }
    marked = [title for title, page in rendered.items() if page.tags - {"p"} or one_line(page.words) != one_line(title)]
    assert len(marked) >= 12
    for title in ("$\\frac{1$", "$\\undefined$"):
        figure = Figure()
        figure.suptitle(title)
        if title.count("$") == 2:
            with pytest.raises(ValueError, match=r"Parse"):
                figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize("title", TITLES)
def test_titles_in_html(title: str) -> None:
    page = Page(to_html(title, blocks_of(title), {"a.svg": b"<svg/>"}))
    assert page.tags <= ALLOWED
    assert page.words.count(title) >= 6 or one_line(page.words).count(one_line(title)) >= 6


@pytest.mark.parametrize("title", TITLES)
def test_titles_in_markdown(title: str) -> None:
    from markdown_it import MarkdownIt

    markdown = to_markdown(blocks_of(title))
    page = Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
    assert page.tags <= {"h1", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "img", "pre", "code"}
    shown = printable(one_line(title))
    assert one_line(page.words).count(shown) >= 7 and "\x1b" not in page.words.partition(title)[0]


@pytest.mark.parametrize("title", TITLES)
def test_titles_in_tables(title: str) -> None:
    def formula(cell: str) -> bool:
        return cell.startswith(("=", "+", "-", "@", "\t", "\r"))

    ((cell,),) = list(csv.reader(io.StringIO(csv_text([{"a": title}]))))[1:]
    ((name,), _) = list(csv.reader(io.StringIO(csv_text([{title: 1}]))))
    assert not formula(cell) and not formula(name) and cell_text(cell) == cell_text(name) == title
    assert list(csv.reader(io.StringIO(csv_text([{"a": -1.5}])))) == [["a"], ["-1.5"]], "numbers stay numbers"


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_titles_in_pictures(title: str) -> None:
    figure, ((axes,),) = panels(1, 1, (9, 6), title=title)
    axes.plot([1, 2], [1, 2], label=title)
    axes.set_yticks([1, 2], [title, "b"])
    axes.annotate(title, (1, 1))
    label(axes, title, title, title)
    if not title.startswith("_"):
        figure.legend(loc="outside lower center")
    assert b"<svg" in svg(figure)


def test_powers_of_ten_stay_formulas() -> None:
    figure, ((axes,),) = panels(1, 1, (3, 2), title="$x$")
    axes.loglog([1, 1000], [1, 1000])
    svg(figure)
    assert all(tick.get_parse_math() for tick in axes.get_xticklabels()) and not figure.texts[0].get_parse_math()


@pytest.mark.parametrize("title", TITLES)
def test_titles_in_a_model_card(tmp_path: Path, title: str) -> None:
    from markdown_it import MarkdownIt

    described = {"name": title, "space": ["x", {"stem": title}], "text": title, "parameters": 1, "macs": 1}
    card = write_card(
        tmp_path,
        description={**described, "timm": [title, {"act": title}], "notes": [title], "left_out": [title]},
        recipe=retraining_recipes.recipe("digits").model_copy(update={"source": title}),
        recipe_name=None,
        classes=[title, "b"],
        normalisation=([0.5] * 3, [0.5] * 3),
        data={"name": title, "train": 1, "test": 1},
        seed=0,
        history=[{"epoch": 1, "top1": 1.0, "test_loss": 1.0}],
    ).read_text()
    page = Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(card.partition("\n---\n")[2]))
    assert page.tags <= {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert one_line(page.words).count(printable(one_line(shareable(title)))) >= 7


@pytest.mark.parametrize("name", ["../x.svg", "/tmp/x.svg", "a/../../x.svg", "", "a b.svg", "a\n.svg", ".."])
def test_pictures_outside_of_a_report(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a picture of a report cannot be called"):
        write_document(tmp_path / "r", "t", [], {name: b""})
    assert not list(tmp_path.iterdir())


PATHS = {
    "/home/ada/data": "data",
    "/home/ada/my data/set": "set",
    "~/data/set": "set",
    "/root": "root",
    "cannot read /home/ada/a.csv: gone (/etc/hostname), '/x/y/z/'": "cannot read a.csv: gone (hostname), 'z'",
    "nni-plugins transfer --data /home/ada/boxes --set a.b=1": "nni-plugins transfer --data boxes --set a.b=1",
    "https://example.org/home/ada and img/s, 3 / 4, and/or": "https://example.org/home/ada and img/s, 3 / 4, and/or",
    "|nor_conv_3x3~0|+|none~0|": "|nor_conv_3x3~0|+|none~0|",
}


def test_what_is_given_to_others_names_no_user(tmp_path: Path) -> None:
    for given, expected in PATHS.items():
        assert shareable({"a": [given]}) == {"a": [expected]}
    write_shareable(
        tmp_path / "result.json", {"here": str(tmp_path / "r/x.html"), "folder": str(tmp_path), "n": (1, None)}
    )
    written = json.loads((tmp_path / "result.json").read_text())
    assert written == {"here": "r/x.html", "folder": tmp_path.name, "n": [1, None]}
    told = "of /home/ada/data"
    blocks = [Heading(told), Paragraph(told), Bullets([told]), Table([told], [[told]]), Code(f"path: {told[3:]}\nb: 1")]
    write_document(tmp_path / "r", told, blocks, {})
    for name in ("report.html", "report.md"):
        text_ = (tmp_path / "r" / name).read_text()
        assert "ada" not in text_ and text_.count("data") >= 6 and "b: 1" in text_


def test_messages_on_a_terminal() -> None:
    assert printable("a\x1b[31m\n\ud800é") == "a\\x1b[31m\n\\ud800é"


# Files of boxes and of classes


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/hostname",
        "a/../../secret.png",
        "",
        ".",
        "x" * 300,
        "a:s3://b/c.png",
        "a\0b",
        "\ud800.png",
    ],
)
def test_images_outside_of_their_folder(tmp_path: Path, name: str) -> None:
    """Without a check another file is read, or something else than a sentence comes of it."""
    folder = tmp_path / "data"
    content = coco(folder)
    (tmp_path / "secret.png").write_bytes((folder / "images/train0.png").read_bytes())
    if name.endswith(("secret.png", "hostname")):
        assert not (folder / "images" / name).resolve().is_relative_to(folder / "images")
    content["train"]["images"][0]["file_name"] = name
    (folder / "train.json").write_text(json.dumps(content["train"]))
    with pytest.raises(DataError, match=r"images\[0\]: file_name must be"):
        detection_data(str(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bbox", [0, 0, float("inf"), 3]),
        ("bbox", [0, 0, float("nan"), 3]),
        ("area", 10**400),
        ("image_id", [1]),
        ("category_id", {"a": 1}),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, key: str, value: Any) -> None:
    content = coco(tmp_path)
    content["train"]["annotations"][0][key] = value
    (tmp_path / "train.json").write_text(json.dumps(content["train"]))
    with pytest.raises(DataError, match=r"annotations\[0\]"):
        detection_data(str(tmp_path))


def test_lists_of_classes(tmp_path: Path) -> None:
    for line in ("9" * 5000 + " a", "0 " + "a " * 50_000 + "b", "0"):
        (tmp_path / "classes.txt").write_text(line)
        with pytest.raises(DataError, match="is no class"):
            class_list(tmp_path / "classes.txt")


# Configuration files of mmengine's


@pytest.fixture(scope="module")
def mmengine() -> Any:
    try:
        importlib.import_module("nni_plugins.evaluators.mmlab.installation").check("mmengine")
    except MissingBackend as error:
        pytest.skip(f"needs mmengine: {error.problem}")
    return importlib.import_module("mmengine")


def names_that_run(mark: Path) -> tuple[str, ...]:
    """mmengine takes the text from ``{{$`` to ``}}`` for a template, over the ends of strings and lines."""
    return ("{{$A:", f"}}}}__import__('pathlib').Path('{mark}').touch(),#", "a name with spaces", *TITLES)


def test_names_of_classes_in_a_configuration(tmp_path: Path, mark: Path, mmengine: Any) -> None:
    names = names_that_run(mark)
    read = mmengine.config.Config.fromfile
    naive = "\n".join(["classes = (", *(f'    "{name}",' for name in names[:3]), ")"])
    (tmp_path / "naive.py").write_text(naive)
    fires(mark, lambda: read(str(tmp_path / "naive.py")))
    comment = "one {{$HOME:x}}\ntwo {{ fileDirname }} # {{_base_.x}}\x0cimport os\x85x = 1\u2028y = 2\rz = 3"
    values = {"classes": names, "mapping": {names[1]: names[0], "class": 1, "ﬁ": 2, "a-b": "a-b " * 60}}
    values = {**values, "listed": ["hyphen-ated"] * 40, "numbers": [float("inf"), -0.0, None, True, 10**30]}
    (tmp_path / "ours.py").write_text(text(comment, [(comment, values)]), encoding="ascii")
    ours = read(str(tmp_path / "ours.py"))
    assert ours._cfg_dict.to_dict() == values and not mark.exists()
    globals_: dict[str, Any] = {}
    exec((tmp_path / "ours.py").read_text(), globals_)
    assert {key: globals_[key] for key in values} == values


def test_values_that_no_configuration_has() -> None:
    for value in ({1, 2}, object(), yaml.safe_load("2001-01-01"), b"x"):
        with pytest.raises(ConfigError, match="has no place in a configuration file"):
            text("", [("", {"a": [value]})])


# mmengine's checkpoints


@pytest.fixture
def unguarded(mmengine: Any) -> Iterator[Any]:
    """mmengine's reader of checkpoints as it comes; guarded again afterwards."""
    module = importlib.import_module("mmengine.runner.checkpoint")
    before = {name: getattr(module, name) for name in ("_safe_torch_load", "load_url", "torch")}
    spec = importlib.util.find_spec("mmengine.runner.checkpoint")
    assert spec is not None and spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    yield fresh
    for name, value in before.items():
        setattr(module, name, value)


def test_checkpoints_of_mmengine(tmp_path: Path, mark: Path, unguarded: Any) -> None:
    from nni_plugins.evaluators.mmlab.loading import protect

    file = tmp_path / "epoch_1.pth"
    file.write_bytes(as_checkpoint(mark))
    fires(mark, lambda: unguarded._load_checkpoint(str(file), map_location="cpu"))
    url = file.as_uri()
    fires(mark, lambda: unguarded.load_url(url, model_dir=str(tmp_path / "hub"), map_location="cpu", progress=False))
    protect()
    module = sys.modules["mmengine.runner.checkpoint"]
    for read in (
        lambda: module._load_checkpoint(str(file), map_location="cpu"),
        lambda: module.load_checkpoint(torch.nn.Linear(1, 1), str(file)),
        lambda: module.load_url(url, model_dir=str(tmp_path / "hub"), map_location="cpu", progress=False),
        lambda: module.torch.load(str(file), map_location="cpu"),
        lambda: module._safe_torch_load(str(file), map_location="cpu", weights_only=False),
    ):
        with pytest.raises(CheckpointError, match=r"refused, it is damaged or not a file of plain weights .*pathlib"):
            read()
    assert not mark.exists()


def test_what_checkpoints_of_mmengine_hold_beside_weights(tmp_path: Path, mark: Path, mmengine: Any) -> None:
    """Records of numbers come back; the text of a configuration, which mmengine runs on resume, does not."""
    from nni_plugins.evaluators.mmlab.loading import load_plain

    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nx = 1"
    fires(mark, lambda: mmengine.config.Config.fromstring(code, file_format=".py"))
    record = mmengine.logging.HistoryBuffer([1.0, 2.5], [1, 1])
    given = {
        "meta": {"config": code, "epoch": 1},
        "message_hub": {"x": record, "y": np.float64(0.1)},
        "w": torch.ones(2),
    }
    torch.save(given, tmp_path / "a.pth")
    found = load_plain(tmp_path / "a.pth")
    assert found["meta"] == {"epoch": 1} and found["message_hub"]["y"] == 0.1 and torch.equal(found["w"], given["w"])
    again = found["message_hub"]["x"]
    assert type(again) is mmengine.logging.HistoryBuffer and again.mean() == 1.75 and again.max_length == 1_000_000
    again.update(3)
    assert again.data[0].tolist() == [1.0, 2.5, 3.0]
    for content in (b"", b"PK\x03\x04", (tmp_path / "a.pth").read_bytes()[:500]):
        (tmp_path / "b.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="refused, it is damaged"):
            load_plain(tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_plain(tmp_path / "absent.pth")


def test_a_type_of_numbers_that_are_pointers(tmp_path: Path, mmengine: Any) -> None:
    from nni_plugins.evaluators.mmlab.loading import load_plain

    torch.save({"a": np.array([object()], dtype=object)[:0]}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="arrays of object have no place here"):
        load_plain(tmp_path / "a.pth")


# A whole transfer with all of it


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector of hostile classes was trained in the first folder; the second is the file that their code makes."""
    pytest.importorskip("mmdet")
    from .evaluators.test_mmlab_run import detection

    place = tmp_path_factory.mktemp("hostile {{ fileDirname }}'\"\n#")
    mark = place.parent / "fired-in-transfer"
    names = (*names_that_run(mark)[:2], *TITLES)
    content = coco(place / "boxes", {"train": 4, "val": 2})
    for split, part in content.items():
        part["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
        box = part["annotations"][0]
        given = len(part["annotations"])
        part["annotations"] += [{**box, "id": given + i, "category_id": i} for i in range(3, len(names) + 1)]
        (place / f"boxes/{split}.json").write_text(json.dumps(part))
    detection(place / "run", {"epochs": 1})
    assert not mark.exists()
    return place / "run", mark


def test_a_transfer_of_hostile_classes(transferred: tuple[Path, Path], mmengine: Any) -> None:
    """Every file that mmengine wrote is safe for mmengine's own reader, templates and all, and says the same."""
    folder, mark = transferred
    names = (*names_that_run(mark)[:2], *TITLES)
    written = [folder / "config.py", *(folder / "mmengine").rglob("*.py")]
    assert len(written) >= 2
    for file in written:
        assert "{{" not in file.read_text()
        content = mmengine.config.Config.fromfile(str(file))
        assert tuple(content.train_dataloader.dataset.metainfo.classes) == names
        assert content.train_dataloader.dataset.ann_file == str(folder.parent / "boxes/train.json")
    checkpoint = torch.load(folder / "mmengine/epoch_1.pth", weights_only=False)
    assert "{{" not in checkpoint["meta"]["cfg"] and tuple(checkpoint["meta"]["dataset_meta"]["classes"]) == names
    assert not mark.exists()
    assert json.loads((folder / "result.json").read_text())["data"]["classes"] == list(names)
    assert (folder / "predictions.png").stat().st_size > 10_000


def escaped(path: Path) -> str:
    return ascii(str(path)).replace("{{", "{\\x7b")


def test_a_transfer_from_hostile_weights(transferred: tuple[Path, Path], mark: Path) -> None:
    """In the folder that is resumed, with a manifest that fits, and as ``load_from``."""
    from .evaluators.test_mmlab_run import detection

    folder, _ = transferred
    hostile = folder / "mmengine/epoch_1.pth"
    before = hostile.read_bytes()
    hostile.write_bytes(as_checkpoint(mark))
    checkpoints.seal(hostile)
    fires(mark, lambda: torch.load(hostile, weights_only=False))
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth: refused"):
        detection(folder, {"epochs": 1})
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth: refused"):
        from nni_plugins.evaluators.mmlab.run import run

        config = (folder / "config.py").read_text().replace("load_from = None", f"load_from = {escaped(hostile)}")
        (mark.parent / "own.py").write_text(config + f"\nwork_dir = {str(mark.parent / 'own')!r}\n")
        run(mark.parent / "own.py")
    hostile.write_bytes(before)
    checkpoints.seal(hostile)
    assert not mark.exists()


def test_a_transfer_of_hostile_labels(tmp_path: Path) -> None:
    """The other door to a configuration: lines of ``classes.txt``."""
    from nni_plugins.evaluators.mmlab.segmentation_data import segmentation_data

    camvid(tmp_path)
    (tmp_path / "classes.txt").write_text("0 {{$A:\n1 }}__import__('os'),#\n2 Void (ignore)\n")
    data = segmentation_data(str(tmp_path))
    written = text("", [("", {"classes": data.classes})])
    found: dict[str, Any] = {}
    exec(written, found)
    assert found["classes"] == data.classes == ("{{$A:", "}}__import__('os'),#") and "{{" not in written
