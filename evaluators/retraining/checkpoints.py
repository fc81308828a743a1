"""Trained networks in timm's checkpoint format, with what is needed to make and use them again beside the weights.

A run's folder holds ``last.pth.tar`` and ``model_best.pth.tar``. timm reads them
(``timm.create_model(..., checkpoint_path=...)``, ``timm.models.load_checkpoint``); :func:`load` makes the network, too.
They hold tensors and plain values only, and the weights of the network that is used, without the auxiliary head of
training.
"""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..backends import require
from ..errors import CheckpointError, ConfigError
from ..files import atomic_write
from ..interchange.weights import BLOCK, digest, fit, read_weights, weights_of
from ..randomness import torch_fork
from ..settings import read
from ..training.checkpoint import State
from ..versions import versions as of
from .hub import hub_folder
from .recipes import changed, recipe
from .settings import Recipe, Three

SCHEMA_VERSION = 1
LAST, BEST = "last.pth.tar", "model_best.pth.tar"
PACKAGES = ("nni-plugins", "torch", "timm", "torchvision", "pytorch-lightning", "numpy")
NOT_OF_A_NETWORK = ("pretrained", "checkpoint", "cache_dir", "features")
"""Beginnings of ``timm.create_model``'s arguments that a checkpoint must not set: they read other files."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read. Of a foreign one ``classes`` may be empty, for nothing names them, and ``recipe`` tells
    only how images are prepared.

    ``network``: in evaluation mode on the CPU, with timm's interface and the weights, those of the moving average where
    there is one (``averaged``). ``description``: as ``network.describe`` made it. ``epoch``: from 1. ``metrics``: that
    epoch's row of the curve. ``normalisation``: mean and standard deviation of each channel in [0, 1].
    """

    path: Path
    network: nn.Module
    averaged: bool
    description: dict[str, Any]
    recipe: Recipe
    recipe_name: str | None
    classes: tuple[str, ...]
    normalisation: tuple[Three, Three]
    epoch: int
    metrics: dict[str, Any]
    seed: int
    data: dict[str, Any]
    versions: dict[str, str]

    @property
    def image_size(self) -> int:
        """Pixels a side of the images that it was trained on."""
        return self.recipe.input.size


def versions() -> dict[str, str]:
    """Of the packages that a trained network depends on."""
    return of(*PACKAGES)


def save(
    path: Path,
    *,
    network: nn.Module,
    ema: nn.Module | None,
    description: Mapping[str, Any],
    recipe: Recipe,
    classes: Sequence[str],
    normalisation: tuple[Any, Any],
    epoch: int,
    metrics: Mapping[str, Any],
    seed: int,
    data: Mapping[str, Any],
    recipe_name: str | None = None,
) -> None:
    """Write a checkpoint, atomically.

    Args:
        network: may be compiled or wrapped for several devices, and have an auxiliary head.
        ema: the moving average of its weights; timm's ``ModelEmaV3`` or its ``module``.
        description: of the network without auxiliary head, by ``network.describe``; its ``timm`` is None for a network
            that timm cannot make.
        normalisation: mean and standard deviation, each (3,).
        epoch: the one that ended, from 1. timm counts from 0: its key ``epoch`` holds one less.
        metrics: that epoch's row of the curve; its top-1 accuracy becomes timm's ``metric``.
        data: JSON-able, such as ``Pictures.identity()``.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    mean, std = ([float(value) for value in channel] for channel in normalisation)
    block = {
        "schema": SCHEMA_VERSION,
        "description": dict(description),
        "recipe": recipe.model_dump(mode="json"),
        "recipe_name": recipe_name,
        "classes": list(classes),
        "normalisation": {"mean": mean, "std": std},
        "epoch": epoch,
        "metrics": dict(metrics),
        "seed": seed,
        "data": dict(data),
        "versions": versions(),
    }
    block = json.loads(json.dumps(block))  # no tuple, no NumPy number
    name, arguments = block["description"]["timm"] or [block["description"]["name"], {}]
    content = {
        "epoch": epoch - 1,
        "arch": name,
        "state_dict": weights(network),
        **({} if ema is None else {"state_dict_ema": weights(ema)}),
        "version": 2,
        "metric": block["metrics"].get("validation_top1", block["metrics"].get("top1")),
        "args": _args(name, arguments, recipe, len(block["classes"]), mean, std, seed),
        BLOCK: block,
    }
    block["sha256"] = digest(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic_write(Path(path), buffer.getvalue())


def is_intact(path: Path, epoch: int) -> bool:
    """Whether ``path`` holds a checkpoint of ``epoch``."""
    try:
        return int(_block(read_weights(path), path)["epoch"]) == epoch
    except (CheckpointError, KeyError, TypeError, ValueError):
        return False


def weights(network: nn.Module) -> State:
    """The state dictionary on the CPU, without the auxiliary head and without the names that wrappers put before a
    weight's own.
    """
    state = {
        ".".join(part for part in key.split(".") if part != "_orig_mod"): value
        for key, value in network.state_dict().items()
    }
    for prefix in ("_forward_module.", "module."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {
        key: value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
        if not _auxiliary(key)
    }


def _auxiliary(key: str) -> bool:
    return key.startswith("auxiliary.")


def _args(
    name: str, arguments: dict[str, Any], recipe: Recipe, classes: int, mean: list[float], std: list[float], seed: int
) -> dict[str, Any]:
    """Of the recipe, what timm's train.py has an argument for, under that argument's name."""
    mix, side = recipe.mix, recipe.input.size
    return {
        "model": name,
        "model_kwargs": {key: value for key, value in arguments.items() if key != "num_classes"},
        "num_classes": classes,
        "img_size": side,
        "input_size": [3, side, side],
        "mean": mean,
        "std": std,
        "crop_pct": recipe.input.crop_pct,
        "interpolation": recipe.input.interpolation,
        "batch_size": recipe.batch_size,
        "grad_accum_steps": recipe.accumulate,
        "epochs": recipe.epochs,
        "opt": recipe.optimizer.name,
        "lr": recipe.optimizer.learning_rate,
        "momentum": recipe.optimizer.momentum,
        "weight_decay": recipe.optimizer.weight_decay,
        "layer_decay": recipe.optimizer.layer_decay,
        "clip_grad": recipe.optimizer.gradient_clip,
        "sched": recipe.schedule.name,
        "warmup_epochs": recipe.schedule.warmup_epochs,
        "cooldown_epochs": recipe.schedule.cooldown_epochs,
        "smoothing": recipe.loss.smoothing,
        "mixup": 0.0 if mix is None else mix.mixup,
        "cutmix": 0.0 if mix is None else mix.cutmix,
        "model_ema": recipe.ema is not None,
        "model_ema_decay": None if recipe.ema is None else recipe.ema.decay,
        "seed": seed,
    }


def load(path: Path | str) -> Loaded:
    """Read a checkpoint of :func:`save`, one of timm's ``train.py``, or a folder in Hugging Face's layout, and make its
    network. Nothing in it is run, and no file but it is read.

    Raises:
        CheckpointError: unreadable, damaged, foreign or newer than this version, or with weights of another
            architecture.
        MissingBackend: timm is not installed.
    """
    path = Path(path)
    layout = hub_folder(path)
    content = read_weights(path if layout is None else layout[0])
    if BLOCK not in content and layout is not None:
        return _of_hub(path, content, layout[1])
    if BLOCK not in content and isinstance(content.get("arch"), str):
        return _of_train_script(path, content)
    block = _block(content, path)
    try:
        mean, std = (_three(block["normalisation"][key]) for key in ("mean", "std"))
        name, arguments = block["description"]["timm"] or (block["description"]["name"], None)
        own_recipe = read(Recipe, block["recipe"], "recipe.")
        facts = {key: block[key] for key in ("description", "metrics", "data", "versions")}
        epoch, seed, classes = int(block["epoch"]), int(block["seed"]), tuple(map(str, block["classes"]))
        if not all(isinstance(value, dict) for value in (*facts.values(), arguments or {})):
            raise TypeError("its parts are of other types")
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.problem}", "The checkpoint is damaged.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its description is damaged ({type(error).__name__}: {error}).", "Take another copy of it."
        ) from None
    if arguments is None:
        raise CheckpointError(
            f"{path}: its network, a {name}, was made by a program of its own, and nothing in the file makes it again.",
            f"Make the network, then timm.models.load_checkpoint(network, {str(path)!r}).",
        )
    network, state = _network(path, name, arguments), weights_of(content)
    if any(getattr(value, "dtype", None) == torch.float64 for value in state.values()):  # of precision 64-true
        network.double()
    fit(
        network,
        state,
        str(path),
        f"The file says that it is of {name}; weights and description do not belong together.",
    )
    return Loaded(
        path=path,
        network=network.eval(),
        averaged=isinstance(content.get("state_dict_ema"), Mapping),
        recipe=own_recipe,
        recipe_name=block.get("recipe_name"),
        classes=classes,
        normalisation=(mean, std),
        epoch=epoch,
        seed=seed,
        **facts,
    )


def _of_train_script(path: Path, content: State) -> Loaded:
    """A checkpoint of timm's ``train.py``, whose arguments stand in it."""
    given = content.get("args")
    args = dict(given) if isinstance(given, Mapping) else dict(vars(given)) if isinstance(given, Namespace) else {}
    own = args.get("model_kwargs")
    arguments = {
        **(own if isinstance(own, dict) else {}),
        **{key: args[key] for key in ("num_classes", "in_chans") if args.get(key) is not None},
    }
    metric = content.get("metric")
    facts = {"epoch": content.get("epoch"), "metrics": {} if metric is None else {"top1": metric}}
    return _foreign(path, content["arch"], arguments, content, args, (), facts)


def _of_hub(path: Path, content: State, config: Mapping[str, Any]) -> Loaded:
    """Weights beside a ``config.json``."""
    own, told = config.get("model_args"), config.get("pretrained_cfg")
    arguments = dict(own) if isinstance(own, dict) else {}
    if isinstance(config.get("num_classes"), int):
        arguments["num_classes"] = config["num_classes"]
    names = config.get("label_names")
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return _foreign(
        path, config["architecture"], arguments, content, told if isinstance(told, dict) else {}, classes, {}
    )


def _foreign(
    path: Path,
    name: str,
    arguments: dict[str, Any],
    content: State,
    told: Mapping[str, Any],
    classes: tuple[str, ...],
    facts: Mapping[str, Any],
) -> Loaded:
    """``told``: how images are prepared, by timm's names; the rest is the model's own."""
    state, network = weights_of(content), _network(path, name, arguments)
    config: dict[str, Any] = dict(cast(Any, network).pretrained_cfg)
    head = state.get(f"{config.get('classifier')}.weight")
    if (
        "num_classes" not in arguments
        and isinstance(head, torch.Tensor)
        and len(head) != cast(Any, network).num_classes
    ):
        network = _network(path, name, {**arguments, "num_classes": len(head)})
    fit(
        network,
        state,
        str(path),
        f"The file says that it is of {name}; weights and description do not belong together.",
    )
    config |= {key: value for key, value in told.items() if value is not None}
    try:
        side = int(told.get("img_size") or config["input_size"][-1])
        mean, std = _three(config["mean"]), _three(config["std"])
        inputs = {"size": side, "mean": mean, "std": std, "crop_pct": float(config["crop_pct"])}
        if config.get("interpolation") in ("bilinear", "bicubic"):
            inputs["interpolation"] = config["interpolation"]
        prepared = changed(recipe("modern"), {f"input.{key}": value for key, value in inputs.items()})
        epoch, metrics = (
            int(facts.get("epoch") or 0) + 1,
            {key: float(v) for key, v in facts.get("metrics", {}).items()},
        )
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: what it says of its images cannot be used ({type(error).__name__}: {str(error)[:100]}).",
            "Take another copy of it.",
        ) from None
    return Loaded(
        path=path,
        network=network.eval(),
        averaged=any(isinstance(content.get(key), Mapping) for key in ("state_dict_ema", "model_ema")),
        description={"name": name, "timm": [name, arguments]},
        recipe=prepared,
        recipe_name=None,
        classes=classes,
        normalisation=(mean, std),
        epoch=epoch,
        metrics=metrics,
        seed=0,
        data={},
        versions={},
    )


def images_of(loaded: Loaded) -> dict[str, Any]:
    """What an exported file says of images and classes: JSON-able. Pixels are divided by 255 before ``mean`` and ``std``."""
    mean, std = loaded.normalisation
    inputs = loaded.recipe.input
    return {
        "classes": list(loaded.classes),
        "mean": list(mean),
        "std": list(std),
        "image_size": inputs.size,
        "crop_pct": inputs.crop_pct,
        "interpolation": "bicubic" if inputs.interpolation == "random" else inputs.interpolation,
    }


def _block(content: State, path: Path) -> dict[str, Any]:
    block = content.get(BLOCK)
    if not isinstance(block, dict):
        arch = content.get("arch")
        of = f" of {arch!r}" if isinstance(arch, str) else ""
        raise CheckpointError(
            f"{path}: weights{of} without a description of the network, as checkpoints of nni-plugins retrain and of timm's train.py have it.",
            f"Name the network yourself: nni-plugins export ARCHITECTURE --weights {path}; in Python timm.create_model(NAME, checkpoint_path=...).",
        )
    schema = block.get("schema")
    if not isinstance(schema, int):
        raise CheckpointError(f"{path}: its description is damaged (no schema number).", "Take another copy of it.")
    if schema > SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has schema {schema}; this version reads up to {SCHEMA_VERSION}.", "Upgrade nni-plugins to use it."
        )
    return block


def _three(values: Any) -> Three:
    red, green, blue = map(float, values)
    return red, green, blue


def _network(path: Path, name: Any, arguments: dict[str, Any]) -> nn.Module:
    """The network that the description names. It comes from a file, so it may ask for nothing but a network with fresh
    weights.
    """
    timm = require("timm", "timm")
    from ..interchange import timm_models  # noqa: F401  (registers our names)

    foreign = [str(key) for key in arguments if str(key).startswith(NOT_OF_A_NETWORK)]
    if foreign or not isinstance(name, str) or not timm.is_model(name):
        what = (
            f"the argument {foreign[0]!r}"
            if foreign
            else f"the model {name!r}, which timm {timm.__version__} does not know"
        )
        raise CheckpointError(
            f"{path}: refused, its description asks for {what}.",
            "Install the versions that it was made with, or take another copy.",
        )
    try:
        with torch_fork(0, "initialisation"):
            return cast(nn.Module, timm.create_model(name, **arguments))
    except Exception as error:  # timm's models raise what they like, ours NNIPluginsError
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(
            f"{path}: {name} cannot be made from its description ({reason[:200]}).",
            "Install the versions that it was made with.",
        ) from None
