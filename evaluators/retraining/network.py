"""The network that a recipe makes of a subject: its size, its fresh weights, and what is written down of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from nni_plugins.spaces import registry
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.cells.space import CellSpace
from nni_plugins.spaces.errors import SpaceError, closest
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registry import named_space

from ..errors import ConfigError
from ..published_width import PaperWidth, paper_width, width_note
from ..randomness import torch_fork
from ..subjects.subject import ImageSubject
from . import timm_own
from .settings import Recipe
from .widths import Width, limits, width, widths, with_channels

if TYPE_CHECKING:
    from nni_plugins.spaces.staged import StagedNetwork

NOT_A_SIZE = {
    "classes": "the images say how many there are",
    "head": "networks are trained to classify",
    "input_channels": "images have three",
    "variant": "it says which architectures there are; robustdarts:s1 is the key for one of them",
}
SMALL_IMAGE = 64
"""Pixels a side below which a stem for photographs, and from which on one for CIFAR, deserves a note."""


def sized(one: ImageSubject, recipe: Recipe, classes: int | None = None) -> ImageSpace:
    """The space of ``one``'s network, with a linear head on RGB images, at the size that ``recipe.network`` says.

    Args:
        one: of one of our spaces.
        recipe: ``network.sizes`` comes first, then the width that ``network.published`` has, then ``network.width``.
        classes: outputs, which a search for the width counts, too; by default the space's own.

    Raises:
        ConfigError: one of timm's own models; sizes of no known space, or arguments that it refuses (all named at
            once); no such width.
    """
    space, architecture = _of_a_space(one)
    changes, key = _sizes(space, recipe)
    changed = type(space)(**{**space.config(), **changes}).with_head("linear", classes or space.classes, 3)
    if changed.decisions != space.decisions:
        problem = f"network.sizes.{key}: {', '.join(changes)}: another size is meant, but these change which architectures there are."
        raise ConfigError(problem, "Give the architecture in the space that it is trained in.")
    space, architecture = changed, changed.check(architecture)
    found = _paper_width(one, space, recipe)
    if found is not None:
        space = with_channels(space, found.channels)
    if recipe.network.width is not None:
        space = with_channels(space, width(space, architecture, recipe.network.width, recipe.input.size).channels)
    return space


def _paper_width(one: ImageSubject, space: ImageSpace, recipe: Recipe) -> PaperWidth | None:
    """What the recipe's paper trained this architecture with, unless the width is searched for."""
    if recipe.network.width is not None or "channels" not in space.config():
        return None
    architecture = cast(Architecture, one.architecture)
    return paper_width(one.name, space, architecture, recipe.network.published, recipe.input.size)


def build(one: ImageSubject, recipe: Recipe, classes: int, seed: int) -> nn.Module:
    """The network for training, with timm's interface; fresh weights are a function of ``seed``.

    With ``network.auxiliary`` a network of cells returns (logits, auxiliary logits) in training mode. Dropped paths
    have their final probability. What :func:`describe` lists as left out is left out. Dropout of 0 leaves a space's
    own.

    Raises:
        ConfigError: fewer than two classes, images that are too small, or anything that :func:`sized` or timm refuses.
        MissingBackend: timm is not installed.
    """
    _check_classes(classes)
    settings = recipe.network
    if one.space is None:
        return timm_own.build(one, recipe, classes, seed)
    from ..interchange.timm_network import bridge

    space, architecture = sized(one, recipe, classes), cast(Architecture, one.architecture)
    network: StagedNetwork
    with torch_fork(seed, "initialisation"):
        if isinstance(space, CellSpace):
            network = space.network(architecture, auxiliary=settings.auxiliary, drop_path=settings.drop_path)
        else:
            network = space.network(architecture)
    _check_side(space, network.smallest, recipe.input.size)
    return bridge(network, drop_rate=settings.dropout or space.config().get("dropout", 0.0))


def describe(one: ImageSubject, recipe: Recipe, classes: int) -> dict[str, Any]:
    """What is written down of the network: JSON-able.

    ``space``: ``[name, arguments]``; ``architecture``: its choices; ``text``: its native text; all None for timm's own
    models. ``timm``: ``[name, arguments]``, with which ``timm.create_model`` makes the inference network again after
    ``import nni_plugins.evaluators.interchange.timm_models``; None for a space that timm does not know. ``parameters``
    and ``macs`` (multiply-adds of one image): of the inference network. ``left_out``: keys of the recipe that do not
    apply, each with the reason. ``notes``: what may be unwise, and what was chosen.

    Raises:
        ConfigError, MissingBackend: as :func:`build`.
    """
    _check_classes(classes)
    if one.space is None:
        return timm_own.describe(one, recipe, classes)
    import torch

    space, architecture = sized(one, recipe, classes), cast(Architecture, one.architecture)
    with torch.device("meta"), torch_fork(0, "initialisation"):
        smallest = space.network(architecture).smallest
    _check_side(space, smallest, recipe.input.size)
    costs = space.cost_table(recipe.input.size)(space.encode([architecture]))
    name = space.name
    known = name in registry.found("spaces") and registry.complete(name) and type(space) is type(named_space(name))
    notes = _notes(one, recipe, space)
    if not known:
        notes.append(f"timm.create_model knows no networks of {name}; nni-plugins export writes this one.")
    description = {
        "name": one.name,
        "space": [space.name, space.config()],
        "architecture": architecture.as_dict(),
        "text": space.to_string(architecture),
        "timm": _timm_entry(one, space, classes) if known else None,
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
        "left_out": _left_out(space, recipe),
        "notes": notes,
    }
    return cast(dict[str, Any], json.loads(json.dumps(description)))


def _of_a_space(one: ImageSubject) -> tuple[ImageSpace, Architecture]:
    if one.space is None or one.architecture is None:
        raise ConfigError(f"{one.name} is one of timm's own models: it has no space.")
    return one.space, one.architecture


def _check_classes(classes: int) -> None:
    if classes < 2:
        raise ConfigError(
            f"classes >= 2 must hold, but the images have {classes}.", "Images of at least two classes are needed."
        )


def _check_side(space: ImageSpace, smallest: int, side: int) -> None:
    if side < smallest:
        problem = f"input.size: images of networks of {space.name} need {smallest} pixels a side, because that is their stride, but got {side}."
        raise ConfigError(
            problem,
            f"Use input.size={smallest} or more{', or a cifar stem' if _stem(space) not in ('', 'cifar') else ''}.",
        )


def _sizes(space: ImageSpace, recipe: Recipe) -> tuple[dict[str, Any], str | None]:
    """The arguments that the recipe has for ``space``, and their key; every entry of the recipe is checked."""
    problems, found = [], {}
    own = str(space.config().get("variant", "")).lower()
    for key, arguments in recipe.network.sizes.items():
        name, _, variant = key.partition(":")
        place = f"network.sizes.{key}"
        known = {*registry.found("spaces"), space.name}
        if name not in known:
            problems.append(f"{place}: no such space; {closest(name, known)}")
            continue
        base = space if name == space.name else named_space(name)
        if not isinstance(base, ImageSpace):
            problems.append(f"{place}: its networks take no images")
            continue
        config = base.config()
        if variant and "variant" not in config:
            problems.append(f"{place}: {name} has no variants")
            continue
        fixed = [
            f"{place}.{argument}: not a size; {NOT_A_SIZE[argument]}"
            for argument in arguments
            if argument in NOT_A_SIZE
        ]
        fixed += [
            f"{place}.{a}: no such argument; {closest(a, set(config) - set(NOT_A_SIZE))}"
            for a in arguments
            if a not in {*config, *NOT_A_SIZE}
        ]
        problems += fixed
        if not fixed:
            try:
                type(base)(**{**config, **({"variant": variant.upper()} if variant else {}), **arguments})
            except SpaceError as error:
                problems.append(f"{place}: {error.problem}")
        if name == space.name and variant.lower() in ("", own):
            found[key] = arguments
    if problems:
        raise ConfigError("; ".join(problems), "Correct the recipe's network.sizes.")
    chosen = max(found, key=len, default=None)  # the one with a variant is the longer
    return (found[chosen] if chosen is not None else {}), chosen


def _stem(space: ImageSpace) -> str:
    return str(space.config().get("stem", ""))


def _left_out(space: ImageSpace, recipe: Recipe) -> list[str]:
    settings, left = recipe.network, []
    if not isinstance(space, CellSpace):
        left += [f"network.auxiliary: networks of {space.name} have no auxiliary head"] if settings.auxiliary else []
        left += [f"network.drop_path: networks of {space.name} have no paths to drop"] if settings.drop_path else []
    if settings.arguments:
        left.append(f"network.arguments ({', '.join(settings.arguments)}): for timm's own models only")
    return left


def _notes(one: ImageSubject, recipe: Recipe, space: ImageSpace) -> list[str]:
    notes, side, stem = [], recipe.input.size, _stem(space)
    changes, key = _sizes(cast(ImageSpace, one.space), recipe)
    if stem and "stem" not in changes and (side < SMALL_IMAGE) != (stem == "cifar"):
        made = "photographs" if side < SMALL_IMAGE else "small images"
        notes.append(
            f"the {stem} stem is made for {made}, but images have {side} pixels a side; network.sizes.{key or space.name}.stem changes it"
        )
    if recipe.network.width is None:
        found = _paper_width(one, space, recipe)
        notes += width_note(one.name, recipe.network.published, found, space.config().get("channels"))
    else:
        fitting: list[Width] = widths(space, cast(Architecture, one.architecture), recipe.network.width, side)
        listed = ", ".join(str(found.channels) for found in fitting)
        notes.append(
            f"{space.config()['channels']} channels, the {recipe.network.width.choose} of {listed} with {limits(recipe.network.width)}"
        )
    return notes


def _timm_entry(one: ImageSubject, space: ImageSpace, classes: int) -> list[Any]:
    """Name and arguments of ``timm.create_model``; only what differs from what the name stands for."""
    named = one.name in names() and published(one.name).architecture == one.architecture
    usual = published(one.name).space.config() if named else named_space(space.name).config()
    given = {
        key: value
        for key, value in space.config().items()
        if value != usual[key] and key not in ("head", "classes", "input_channels", "dropout")
    }
    if not named:
        given["architecture"] = space.to_string(cast(Architecture, one.architecture))
    return [one.name if named else f"{space.name}_network", {"num_classes": classes, **given}]
