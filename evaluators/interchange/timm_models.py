"""Our networks in timm's registry: after ``import nni_plugins.evaluators.interchange.timm_models``,
``timm.create_model`` knows them by name.

Every published network has its own name (``darts_rlnas_cifar10``), every space one of its own with any architecture
(``darts_network``, ``architecture=...``). No trained weights come with them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.cells.space import CellSpace
from nni_plugins.spaces.errors import NNIPluginsError, closest
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registry import changed_space, complete, found, named_space

from ..backends import require
from ..errors import ConfigError
from ..randomness import generator
from .export import usual_image_size

if TYPE_CHECKING:
    from nni_plugins.spaces.staged import StagedNetwork

    from .timm_network import TimmNetwork

default_cfgs: dict[str, Any] = {}
"""timm's configuration of every name; timm's registry reads it under this name."""
FIRST_CONVOLUTION = {"mobilenetlike": "stem.0.0", "nasbench101": "stem.0", "nasbench201": "stem.0"}
"""Where timm changes weights for another number of input channels; ``stem.first.0`` in spaces of cells. In the networks
of other people's spaces it is looked for.
"""
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "interpolation": "bilinear", "crop_pct": 0.875}
CIFAR = {
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}
TIMM_NAMES = {"classes": "num_classes", "input_channels": "in_chans", "dropout": "drop_rate"}
"""Arguments of spaces that timm has its own name for."""


def register() -> list[str]:
    """Register all names with timm, and return them; importing this module does it. Again does no harm.

    Raises:
        ConfigError: timm knows a model of one of these names; nothing is registered.
        MissingBackend: timm is not installed.
    """
    timm = require("timm.models", "timm")
    models: dict[str, tuple[ImageSpace, Architecture | None]] = {
        f"{name}_network": (space, None) for name, space in _image_spaces().items()
    }
    for item in map(published, names()):
        if isinstance(item.space, ImageSpace):
            models[item.name] = (item.space, item.architecture)
    new = [name for name in models if not timm.is_model(name) or timm.model_entrypoint(name).__module__ != __name__]
    for name in new:
        if timm.is_model(name):
            other = timm.model_entrypoint(name)
            raise ConfigError(
                f"two models are called {name!r}: {other.__module__}.{other.__qualname__} and one of {__name__}."
            )
    default_cfgs.update(timm.generate_default_cfgs({name: _configuration(models[name][0]) for name in new}))
    for name in new:
        globals()[name] = timm.register_model(_entrance(name, *models[name]))
    return sorted(models)


def _image_spaces() -> dict[str, ImageSpace]:
    """All registered ones that need no arguments. One that cannot be made is left out with a warning: timm's other names
    do not need it.
    """
    spaces = {}
    for name in found("spaces"):
        try:
            if not complete(name):
                continue
            space = named_space(name)
        except (NNIPluginsError, TypeError) as error:
            warnings.warn(f"timm does not get to know {name}_network: {error}", stacklevel=3)
            continue
        if isinstance(space, ImageSpace):
            spaces[name] = space
    return spaces


def _first_convolution(space: ImageSpace) -> str:
    """The name of the module that sees the images."""
    if isinstance(space, CellSpace):
        return "stem.first.0"
    if space.name in FIRST_CONVOLUTION:
        return FIRST_CONVOLUTION[space.name]
    import torch

    (example,) = space.decode(space.sample(generator(0, "first convolution"), 1))
    with torch.device("meta"):
        modules = space.network(example).named_modules()
    return next((name for name, module in modules if isinstance(module, torch.nn.Conv2d)), "")


def _configuration(space: ImageSpace) -> dict[str, Any]:
    """All but ``pool_size``, which the network itself says: it is added when one is made."""
    side = usual_image_size(space)
    convolution = _first_convolution(space)
    size = {"input_size": (space.input_channels, side, side), "num_classes": space.classes}
    return {**size, "first_conv": convolution, "classifier": "classifier", **(CIFAR if side == 32 else IMAGENET)}


def _entrance(name: str, space: ImageSpace, architecture: Architecture | None) -> Callable[..., Any]:
    """The function that timm calls to make ``name``. Without an architecture it takes one."""

    def create(pretrained: bool = False, **options: Any) -> Any:
        timm = require("timm.models", "timm")
        from .timm_network import features

        side = options.pop("img_size", None)
        built, chosen = _arguments(name, space, architecture, options)
        overlay = dict(options.pop("pretrained_cfg_overlay", None) or {})
        if not isinstance(options.get("pretrained_cfg"), dict) and built != space:  # another stem wants other images
            own = _configuration(built)
            overlay = {**{key: own[key] for key in ("input_size", *CIFAR)}, **overlay}
        if pretrained:
            source = timm.resolve_pretrained_cfg(name, options.get("pretrained_cfg"), overlay)
            if not (source.has_weights or source.state_dict):
                raise ConfigError(
                    f"{name}: no trained weights come with nni-plugins.",
                    "Use pretrained=False, or pass your own: pretrained_cfg_overlay=dict(file='weights.pth').",
                )
        if side is not None:
            overlay["input_size"] = (options.get("in_chans") or 3, *_sides(name, side))
        if options.get("features_only"):
            given = dict(options.pop("feature_cfg", None) or {})
            kind = options.pop("feature_cls", given.pop("feature_cls", None))
            if "out_indices" in options:
                given["out_indices"] = options.pop("out_indices")
            options["feature_cls"] = lambda network, **_: features(network, feature_cls=kind, **given)
        model = timm.build_model_with_cfg(
            lambda **rest: _network(name, built, chosen, **rest),
            name,
            pretrained,
            pretrained_cfg_overlay=overlay,
            **options,
        )
        if not options.get("features_only"):
            model.pretrained_cfg["pool_size"] = _pool_size(name, model, model.pretrained_cfg["input_size"][1:])
        return model

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{space!r}" if architecture is None else f"{space.to_string(architecture)} in {space!r}"
    return create


def _sides(name: str, size: Any) -> tuple[int, int]:
    """Height and width that ``img_size``, an integer or both, says."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ConfigError(f"{name}: img_size is a number of pixels, or height and width, but got {size!r}.")
    return cast(tuple[int, int], sides)


def _pool_size(name: str, model: TimmNetwork, sides: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the last feature map."""
    if min(sides) < model.smallest:
        raise ConfigError(
            f"{name}: images need {model.smallest} pixels a side or more, but got {sides[0]} x {sides[1]}."
        )
    stride = model.all_stages[-1].stride
    if not any(side % model.smallest for side in sides):
        return sides[0] // stride, sides[1] // stride
    from torch import empty
    from torch._subclasses.fake_tensor import FakeTensorMode

    modes = [(module, module.training) for module in model.modules()]
    with FakeTensorMode(allow_non_fake_inputs=True):  # whether odd sizes are rounded up or down is the network's affair
        height, width = model.eval().last_map(empty(1, model.in_chans, *sides)).shape[2:]
    for module, mode in modes:
        module.training = mode
    return height, width


def _arguments(
    name: str, space: ImageSpace, architecture: Architecture | None, options: dict[str, Any]
) -> tuple[ImageSpace, Architecture]:
    """The space and the architecture that ``options`` ask for; what belongs to them is taken out of ``options``."""
    config = space.config()
    for key, theirs in TIMM_NAMES.items():
        if key in config and key in options:
            raise ConfigError(f"{name}: unknown argument {key!r}.", f"In timm it is called {theirs!r}.")
    changed = {key: options.pop(key) for key in config if key in options}
    if changed.get("head", "linear") != "linear":
        raise ConfigError(
            f"{name}: timm's classifiers have a linear head, but got head={changed['head']!r}.",
            "Use the space's network().",
        )
    built = cast(ImageSpace, changed_space(space, changed))
    if architecture is not None:
        return built, built.check(architecture)
    if "architecture" not in options:
        raise ConfigError(
            f"{name}: which architecture?",
            "Pass architecture='...': the space's native text, JSON, or an Architecture.",
        )
    text = options.pop("architecture")
    return built, built.check(text) if isinstance(text, Architecture) else built.parse(text)


def _network(
    name: str,
    space: ImageSpace,
    architecture: Architecture,
    num_classes: int | None = None,
    in_chans: int = 3,
    global_pool: str = "avg",
    drop_rate: float | None = None,
    drop_path_rate: float = 0.0,
    output_stride: int | None = None,
    auxiliary: bool = False,
    device: Any = None,
    dtype: Any = None,
    **unknown: Any,
) -> TimmNetwork:
    """The network with timm's arguments.

    ``drop_path_rate``: probability of dropping an edge's output in training, equal for all cells. ``output_stride``:
    dilation in place of stride beyond it. ``auxiliary``: the auxiliary head of spaces of cells; in training the output
    is then a pair.
    """
    from .timm_network import bridge

    if unknown:
        key = next(iter(unknown))
        known = {
            *space.config(),
            *TIMM_NAMES.values(),
            "global_pool",
            "drop_path_rate",
            "output_stride",
            "auxiliary",
            "features_only",
            "img_size",
        }
        raise ConfigError(f"{name}: unknown argument {key!r}; {closest(key, known - set(TIMM_NAMES))}")
    classes = space.classes if num_classes is None else num_classes
    final = space.with_head("linear", max(classes, 1), in_chans)
    network: StagedNetwork
    if isinstance(final, CellSpace):
        network = final.network(architecture, auxiliary=auxiliary, drop_path=drop_path_rate)
    elif auxiliary or drop_path_rate:
        raise ConfigError(
            f"{name}: networks of {space.name} have neither an auxiliary head nor dropped paths.",
            "Only spaces of cells have.",
        )
    else:
        network = final.network(architecture)
    if output_stride is not None and output_stride < network.all_stages[-1].stride:
        network.dilate(output_stride)
    dropout = space.config().get("dropout", 0.0) if drop_rate is None else drop_rate
    return bridge(network, classes, global_pool, dropout).to(device=device, dtype=dtype)


register()
