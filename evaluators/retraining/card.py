"""The model card: ``README.md`` beside the weights, in the form that the model hub and timm use. It says what was
measured, and how.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_write, differences, shareable
from ..reports.document import Code, line, plain, to_markdown
from . import recipes
from .checkpoints import BEST, LAST, versions
from .settings import Recipe
from .summary import HELD_OUT, Rows

FILE = "README.md"
SHOWN = 20
"""So many class names at most."""


def write_card(
    folder: Path,
    *,
    description: Mapping[str, Any],
    recipe: Recipe,
    recipe_name: str | None,
    classes: Sequence[str],
    normalisation: tuple[Any, Any],
    data: Mapping[str, Any],
    seed: int,
    history: Rows,
    tested: Mapping[str, float] | None = None,
    drawing: str | None = None,
) -> Path:
    """Write the card and return its path.

    Args:
        description: by ``network.describe``.
        recipe_name: one of ours, whose changed values are then listed; otherwise all values are in ``recipe.yml``.
        normalisation: mean and standard deviation, each (3,).
        data: ``name``, and the numbers of images ``train``, ``test`` and, where some are held out, ``validation``.
        history: rows of the curve; at least one.
        tested: where images are held out, the numbers of the test images, and ``epoch``, the best one.
        drawing: name of an image in ``folder``.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    parts = [
        _front(),
        f"# {plain(description['name'])}",
        f"An image classifier for {len(classes):,} classes, trained with nni-plugins and timm.",
        *_network(description, recipe, normalisation, drawing),
        *_training(recipe, recipe_name, seed, history),
        *_listed("Left out of the recipe:", description.get("left_out", ())),
        *_listed("Notes:", description.get("notes", ())),
        *_data(data, classes),
        *(_accuracy(history, recipe) if tested is None else _accuracy_of_the_chosen(history, tested, recipe, data)),
        *_use(description, len(classes), recipe.input.size, LAST if tested is None else BEST),
        "## Versions",
        "\n".join(f"- {name} {number}" for name, number in versions().items()),
    ]
    path = Path(folder) / FILE
    atomic_write(path, (shareable("\n\n".join(parts)) + "\n").encode())
    return path


def _front() -> str:
    """The license is for whoever publishes the weights to say."""
    tags = "\n".join(f"- {tag}" for tag in ("image-classification", "timm", "neural-architecture-search"))
    return f"---\ntags:\n{tags}\nlibrary_name: timm\nlicense: unknown\n---"


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows.items())])


class _Markdown(str):
    """Written as it is; everything else is data."""


def _cell(value: Any) -> str:
    return value if isinstance(value, _Markdown) else plain(str(value))


def _code(value: Any) -> _Markdown:
    """Within a line, between as many signs as it takes."""
    text = " ".join(str(value).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return _Markdown(f"{fence} {text} {fence}" if "`" in text else f"`{text}`")


def _numbers(values: Any) -> str:
    return ", ".join(f"{float(value):.4f}" for value in values)


def _network(
    description: Mapping[str, Any], recipe: Recipe, normalisation: tuple[Any, Any], drawing: str | None
) -> list[str]:
    side, macs = recipe.input.size, description["macs"]
    rows = {
        "parameters": f"{description['parameters']:,}",
        "multiply-adds": "not counted" if macs is None else f"{macs:,} of one image of {side} x {side} pixels",
        "image size": f"{side} x {side}; tests: the centre of {100 * recipe.input.crop_pct:g} % of the side",
        "mean": f"{_numbers(normalisation[0])} (of each channel in [0, 1])",
        "standard deviation": _numbers(normalisation[1]),
    }
    if description["space"] is not None:
        name, config = description["space"]
        arguments = plain(", ".join(f"{key}={value!r}" for key, value in config.items()))
        rows = {"search space": _Markdown(f"{_code(name)}: {arguments}"), **rows}
    parts = ["## Network", _table(rows)]
    if description["text"] is not None:
        parts += ["The architecture in its space's own notation:", to_markdown([Code(description["text"])]).rstrip()]
    return parts + ([f"![The architecture]({drawing})"] if drawing is not None else [])


def _training(recipe: Recipe, name: str | None, seed: int, history: Rows) -> list[str]:
    named = recipes.recipe(name) if name is not None and name in recipes.names() else None
    rows = {
        "recipe": _Markdown("own values, in `recipe.yml`") if named is None else _code(name),
        "source of its values": (named or recipe).source,
        "epochs": f"{len(history)} of {recipe.epochs}" if len(history) < recipe.epochs else recipe.epochs,
        "images an update": recipe.batch_size,
        "optimizer": f"{recipe.optimizer.name}, learning rate {recipe.optimizer.learning_rate:g}, weight decay {recipe.optimizer.weight_decay:g}",
        "schedule": recipe.schedule.name,
        "precision": recipe.precision,
        "moving average of the weights": "none" if recipe.ema is None else f"decay {recipe.ema.decay:g}",
        "seed": seed,
    }
    changes = [] if named is None else differences(_values(named), _values(recipe))
    return ["## Training", _table(rows), *_listed(f"Changed in {_code(name)}:", [_code(change) for change in changes])]


def _listed(title: str, entries: Sequence[str]) -> list[str]:
    return (
        [title, "\n".join(f"- {entry if isinstance(entry, _Markdown) else line(entry)}" for entry in entries)]
        if entries
        else []
    )


def _values(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"source"})


def _data(data: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    named = ", ".join(classes[:SHOWN]) + (
        f", and {len(classes) - SHOWN:,} more (in the checkpoints)" if len(classes) > SHOWN else ""
    )
    rows = {
        "data": data["name"],
        "training images": f"{data['train']:,}",
        **({"held-out images": f"{data['validation']:,}"} if "validation" in data else {}),
        "test images": f"{data['test']:,}",
        "classes": named,
    }
    return ["## Data", _table(rows)]


SHOWN_OF_TESTS = {
    "top1": "top-1 (%)",
    "top5": "top-5 (%)",
    "top1_raw": "top-1 without moving average (%)",
    "loss": "loss (nats)",
}
"""Numbers of a measurement, with the headings of their columns."""


def _measured(columns: Sequence[str], rows: Sequence[tuple[str, int, Mapping[str, float]]]) -> str:
    """A table of (what, epoch, numbers)."""
    shown = [key for key in SHOWN_OF_TESTS if any(key in numbers for _, _, numbers in rows)]
    heads = [*columns, *(SHOWN_OF_TESTS[key] for key in shown)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for what, epoch, numbers in rows:
        values = ("-" if key not in numbers else f"{numbers[key]:.{4 if key == 'loss' else 2}f}" for key in shown)
        lines.append(f"| {what} | {epoch} | {' | '.join(values)} |")
    return "\n".join(lines)


def _whose(recipe: Recipe) -> str:
    return " The weights are the moving average's." if recipe.ema is not None else ""


def _accuracy(history: Rows, recipe: Recipe) -> list[str]:
    last, best = history[-1], max(history, key=lambda row: row["top1"])  # the first of equals
    rows = [
        (f"`{file}`", int(row["epoch"]), {**row, "loss": row["test_loss"]})
        for file, row in ((LAST, last), (BEST, best))
    ]
    return [
        "## Accuracy",
        _measured(("file", "epoch"), rows),
        f"Measured on the test images.{_whose(recipe)} The best epoch was chosen by its accuracy on the very images that it is measured on, so its "
        "accuracy is too good a guess for other images; the last epoch was not chosen.",
    ]


def _accuracy_of_the_chosen(
    history: Rows, tested: Mapping[str, float], recipe: Recipe, data: Mapping[str, Any]
) -> list[str]:
    """Where images are held out."""
    best, last = history[int(tested["epoch"]) - 1], history[-1]
    rows = [(f"`{BEST}`, test images", int(tested["epoch"]), tested)]
    for file, row in ((BEST, best), (LAST, last)):
        numbers = {key: row[HELD_OUT + key] for key in SHOWN_OF_TESTS if HELD_OUT + key in row}
        rows.append((f"`{file}`, held-out images", int(row["epoch"]), numbers))
    return [
        "## Accuracy",
        _measured(("file, measured on", "epoch"), rows),
        f"The best epoch was chosen by its accuracy on {data['validation']:,} held-out images, which did not train; the test images were shown to the "
        f"network once, after that.{_whose(recipe)}",
    ]


def _use(description: Mapping[str, Any], classes: int, side: int, file: str) -> list[str]:
    if description["timm"] is None:
        return [
            "## Use",
            "The network was made by a program of its own, which has to make it again:",
            f'```python\nimport timm\n\ntimm.models.load_checkpoint(network, "{file}")\n```',
        ]
    name, arguments = description["timm"]
    ours = description["space"] is not None
    start = "import timm\n" + (
        "\nimport nni_plugins.evaluators.interchange.timm_models  # of nni-plugins: tells timm the name\n"
        if ours
        else ""
    )
    lines = {
        key: f"    {key}={json.dumps(value) if isinstance(value, str) else repr(value)},\n"
        for key, value in arguments.items()
    }
    given, maps = "".join(lines.values()), "".join(line for key, line in lines.items() if key != "num_classes")
    call = (
        f'{start}\nmodel = timm.create_model(\n    {json.dumps(name)},\n{given}    checkpoint_path="{file}",\n).eval()'
    )
    features = (
        f"backbone = timm.create_model(\n    {json.dumps(name)},\n{maps}    features_only=True,\n    pretrained=True,\n"
        f'    pretrained_cfg_overlay=dict(file="{file}", num_classes={classes}),\n).eval()'
    )
    shape = f"(B, 3, {side}, {side})"
    return [
        "## Use",
        f"As a classifier, of normalised images {shape}; the same from the command line: `nni-plugins validate {file} --data ...`.",
        f"```python\n{call}\n```",
        "As a source of feature maps:",
        f"```python\n{features}\n```",
        "With the preparation of its images, class names and recipe:",
        f"```python\nfrom nni_plugins.evaluators.retraining.checkpoints import load\n\n"
        f'loaded = load("{file}")\nprint(loaded.classes, loaded.normalisation)\n```',
    ]
