"""timm's own models as retraining builds and describes them; :mod:`nni_plugins.evaluators.retraining.network` is the
way in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from torch import nn

from nni_plugins.spaces.base import ImageSize
from nni_plugins.spaces.images import sides

from ..backends import require
from ..errors import ConfigError
from ..randomness import torch_fork
from ..subjects.subject import ImageSubject
from .settings import Recipe

SAID_ELSEWHERE = {
    "num_classes": "the images say how many there are",
    "in_chans": "images have three channels",
    "drop_rate": "set network.dropout",
    "drop_path_rate": "set network.drop_path",
    "features_only": "networks are trained to classify",
    "scriptable": "compile is a key of the recipe",
    "exportable": "networks are trained here",
}
"""Arguments of timm.create_model that a recipe says in another way."""
WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments that say where weights come from; the inference network gets its own from a checkpoint."""
REFUSALS = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError, NotImplementedError, OSError)
"""What timm and torch raise where an argument or an image size does not suit a model."""


def build(one: ImageSubject, recipe: Recipe, classes: int, seed: int) -> nn.Module:
    """See :func:`nni_plugins.evaluators.retraining.network.build`."""
    arguments = _arguments(one, recipe, classes)
    _measure(one.name, _inference(arguments), recipe.input.size)
    with torch_fork(seed, "initialisation"):
        return _create(one.name, {**arguments, **_dropped(recipe)})[0]


def describe(one: ImageSubject, recipe: Recipe, classes: int) -> dict[str, Any]:
    """See :func:`nni_plugins.evaluators.retraining.network.describe`; multiply-adds are counted on one image by torch's
    FlopCounterMode.
    """
    arguments = _inference(_arguments(one, recipe, classes))
    parameters, macs = _measure(one.name, arguments, recipe.input.size)
    network, refused = _draft(one.name, {**arguments, **_dropped(recipe)})
    left = [f"network.{SETTING[key]}: {one.name} does not take timm's {key}" for key in refused]
    if recipe.network.drop_path and "drop_path_rate" not in refused and not _drops_paths(network):
        left.append(f"network.drop_path: {one.name} has no paths to drop")
    left += [f"network.auxiliary: {one.name} has no auxiliary head of ours"] if recipe.network.auxiliary else []
    source = [
        key for key in ("pretrained", "checkpoint_path") if {**recipe.network.arguments, **one.arguments}.get(key)
    ]
    notes = [f"the weights of the beginning come from the file in network.arguments.{source[0]}"] if source else []
    description = {
        "name": one.name,
        "space": None,
        "architecture": None,
        "text": None,
        "timm": [one.name, arguments],
        "parameters": parameters,
        "macs": macs,
        "left_out": left,
        "notes": notes,
    }
    try:
        return cast(dict[str, Any], json.loads(json.dumps(description)))
    except TypeError as error:
        raise ConfigError(
            f"network.arguments: {error}.", "Only values that YAML can write are kept in checkpoints."
        ) from None


def plain(name: str, classes: int, image_size: ImageSize, seed: int) -> tuple[nn.Module, int, int]:
    """The model called ``name`` with ``classes`` outputs for RGB images of ``image_size``, without a recipe; its
    parameters; its multiply-adds. Fresh weights are a function of ``seed``.

    Raises:
        ConfigError: timm cannot make it so, or it takes no such images; MissingBackend: timm is not installed.
    """
    arguments = {"num_classes": classes, **({"img_size": sides(image_size)} if _fixed_size(name) else {})}
    parameters, macs = _counted(_draft(name, arguments)[0], name, classes, image_size)
    with torch_fork(seed, "initialisation"):
        return _create(name, arguments)[0], parameters, macs


SETTING = {"drop_rate": "dropout", "drop_path_rate": "drop_path"}


def _dropped(recipe: Recipe) -> dict[str, float]:
    """Dropout and dropped paths, where there are any, as timm calls them."""
    settings = recipe.network
    return {
        key: rate for key, rate in (("drop_rate", settings.dropout), ("drop_path_rate", settings.drop_path)) if rate
    }


def _arguments(one: ImageSubject, recipe: Recipe, classes: int) -> dict[str, Any]:
    """Checked arguments of timm.create_model, without dropout and dropped paths."""
    given = {**recipe.network.arguments, **one.arguments}
    problems = [
        f"network.arguments.{key}: not given here; {why}" for key, why in SAID_ELSEWHERE.items() if key in given
    ]
    if recipe.network.width is not None:
        problems.append(
            f"network.width: {one.name} has no number of channels to choose; only networks of our spaces have"
        )
    overlay = given.get("pretrained_cfg_overlay") or {}
    file = overlay.get("file") if isinstance(overlay, dict) else None
    if given.get("pretrained") and file is None:
        problems.append(
            "network.arguments.pretrained: weights are not downloaded; give a file of them: pretrained_cfg_overlay: {file: weights.pth} "
            "beside pretrained: true, and timm adapts them to other classes"
        )
    for key, path in (("pretrained_cfg_overlay.file", file), ("checkpoint_path", given.get("checkpoint_path"))):
        if path and not Path(str(path)).is_file():
            problems.append(f"network.arguments.{key}: there is no file {path}")
    if problems:
        raise ConfigError("; ".join(problems), "Correct the recipe's network.")
    sizes = {"img_size": recipe.input.size} if _fixed_size(one.name) and "img_size" not in given else {}
    return {"num_classes": classes, **sizes, **given}


def _inference(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key not in WEIGHTS}


def _fixed_size(name: str) -> bool:
    """Whether timm builds the model for one image size, such as a vision transformer."""
    try:
        found = require("timm.models", "timm").get_pretrained_cfg(name)
    except REFUSALS as error:  # a tag that the model does not have
        raise ConfigError(f"{name}: {_reason(error)}") from None
    return bool(found is not None and found.fixed_input_size)


def _create(name: str, arguments: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """The model, and which of dropout and dropped paths it does not know."""
    timm, arguments = require("timm", "timm"), dict(arguments)
    refused: list[str] = []
    while True:
        try:
            return timm.create_model(name, **arguments), refused
        except REFUSALS as error:
            match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            foreign = match.group(1) if match else ""
            if foreign not in arguments or foreign not in SETTING:
                place = f"network.arguments.{foreign}" if foreign in arguments else "network.arguments"
                raise ConfigError(f"{place}: {name} cannot be made: {_reason(error)}") from None
            refused.append(foreign)
            del arguments[foreign]


def _draft(name: str, arguments: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """As :func:`_create`, on the device that computes shapes only, where the model allows it, and otherwise on the CPU."""
    import torch

    try:
        with torch.device("meta"):
            return _create(name, arguments)
    except (
        ConfigError
    ):  # a foreign argument, which is refused again, or a constructor that reads a number from a tensor
        with torch_fork(0, "initialisation"):
            return _create(name, arguments)


def _measure(name: str, arguments: dict[str, Any], side: int) -> tuple[int, int]:
    """(parameters, multiply-adds of one image)."""
    model, _ = _draft(name, arguments)
    stages = getattr(model, "feature_info", None) or [{}]
    reduction = stages[-1].get("reduction") if isinstance(stages, list) else None
    if isinstance(reduction, int) and reduction > side:
        problem = (
            f"input.size: images of {name} need {reduction} pixels a side, because that is its stride, but got {side}."
        )
        raise ConfigError(problem, f"Use input.size={reduction} or more.")
    return _counted(model, name, arguments["num_classes"], side, "input.size: ")


def _counted(model: nn.Module, name: str, classes: int, image_size: ImageSize, key: str = "") -> tuple[int, int]:
    """Parameters and multiply-adds of one image of a :func:`_draft`; ``key``: stands before what is wrong with the size."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    height, width = sides(image_size)
    image = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            output = model.eval()(image)
    except REFUSALS as error:
        problem = f"{key}{name} takes no images of {height} x {width} pixels: {_reason(error)}"
        raise ConfigError(problem, "Choose another size, or a model for images of this one.") from None
    if not isinstance(output, torch.Tensor) or output.shape != (1, classes):
        raise ConfigError(f"{name} does not answer with one number a class.", "Choose a model that classifies.")
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2  # two operations a multiply-add


def _drops_paths(network: nn.Module) -> bool:
    return any("droppath" in type(module).__name__.lower() for module in network.modules())


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
