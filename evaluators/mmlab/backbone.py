"""A network as the backbone of a detector or segmentor: a tuple of feature maps. Needs none of OpenMMLab's packages.

``nni_plugins.evaluators.mmlab.backbones`` makes it known to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self

from nni_plugins.spaces.errors import NNIPluginsError, shown
from nni_plugins.spaces.images import OutputStrideBy
from nni_plugins.spaces.staged import Stage, StagedNetwork

from ..backends import require
from ..errors import ConfigError
from ..interchange.weights import fit, read_weights, weights_of
from ..randomness import torch_seed
from ..subjects.files import WEIGHTS
from ..subjects.subject import ImageSubject
from .architectures import resolve

NORMS = ("BN", "BN2d", "SyncBN")
NORM_KEYS = ("type", "requires_grad", "eps", "momentum")


class Backbone(nn.Module):
    """Images (B, in_channels, H, W) give a tuple of feature maps, one for each of ``out_indices``.

    Args:
        architecture, space, arguments: see :func:`nni_plugins.evaluators.mmlab.architectures.resolve`.
        out_indices: which stages, counted from 0, ascending; by default those of stride 4 and more, as detectors'
            anchors and necks expect them (all, where fewer than two are). For timm's models: timm's feature levels.
        output_stride: the largest stride; deeper stages keep that resolution.
        by: how: ``dilation`` keeps the shapes of all weights, ``fewer_reductions`` makes a thinner network (UnNAS on
            Cityscapes).
        in_channels: channels of an image.
        frozen_stages: n: everything up to stage n - 1 keeps its weights and statistics (as mmdet's ResNet for n >= 1);
            -1: nothing.
        norm_eval: batch norms keep their statistics in training.
        norm_cfg: ``type`` (BN; SyncBN, which on one device is BN), ``requires_grad``, ``eps``, ``momentum`` of all
            batch norms.
        checkpoint: weights in timm's format, such as ``nni-plugins retrain`` writes; :meth:`init_weights` reads them.
            Where ``architecture`` is a checkpoint, the default is that file; False: none.

    Attributes:
        out_channels, out_strides: of each feature map.

    Raises:
        ConfigError, SpaceError: before anything is built, what :func:`resolve` and ``features`` raise, and values out
            of range.
    """

    def __init__(
        self,
        architecture: str | Mapping[str, Any],
        space: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        out_indices: Sequence[int] | None = None,
        output_stride: int | None = None,
        by: OutputStrideBy = "dilation",
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: Mapping[str, Any] | None = None,
        checkpoint: str | Literal[False] | None = None,
        pretrained: None = None,
        **foreign: Any,
    ) -> None:
        super().__init__()
        _refuse(foreign, pretrained)
        if checkpoint is None and isinstance(architecture, str) and architecture.endswith(WEIGHTS):
            checkpoint = architecture
        self.checkpoint, self.norm_eval, self.frozen_stages = checkpoint or None, norm_eval, frozen_stages
        self.subject = resolve(architecture, space, arguments)
        self.by, self.output_stride = by, output_stride
        wanted = None if out_indices is None else tuple(out_indices)
        if (
            not isinstance(frozen_stages, int)
            or isinstance(frozen_stages, bool)
            or frozen_stages == 0
            or frozen_stages < -1
        ):
            raise ConfigError(
                f"frozen_stages: must be -1 (nothing) or the number of stages to freeze, but got {shown(frozen_stages)}.",
                "The stem belongs to stage 0, so frozen_stages=1 is the least.",
            )
        self.network, levels = _build(self.subject, wanted, output_stride, by, in_channels, frozen_stages)
        self.kept = tuple(i for i, (_, returned) in enumerate(levels) if returned)
        """Which of the network's feature maps are returned; the others only say what is frozen."""
        self.out_channels = [levels[i][0].channels for i in self.kept]
        self.out_strides = [levels[i][0].stride for i in self.kept]
        self.frozen: tuple[str, ...] = ()
        """The names of the modules that are frozen."""
        self._freeze(in_channels)
        _set_norms(self.network, norm_cfg, own=self.subject.space is not None)
        self.train()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.network(x)
        return tuple(maps[i] for i in self.kept)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; frozen modules, and with ``norm_eval`` all batch norms, stay in evaluation mode."""
        super().train(mode)
        modules = dict(self.network.named_modules())
        for name in self.frozen:
            modules[name].training = False
        if self.norm_eval:
            for module in modules.values():
                if isinstance(module, _BatchNorm):
                    module.training = False
        return self

    def init_weights(self) -> None:
        """Read ``checkpoint``, if there is one. OpenMMLab's runner calls this before it trains, and not before it tests
        a trained model.

        Raises:
            CheckpointError: unreadable, or weights that do not fit.
        """
        if self.checkpoint is not None:
            load_backbone(self.network, self.subject, Path(self.checkpoint))

    @torch.enable_grad()  # type: ignore[untyped-decorator]
    def _freeze(self, in_channels: int) -> None:
        """Freeze what the frozen feature map depends on, and what none of the returned maps depends on.

        The latter are the stages behind the last map: processes that train together wait for gradients of all weights
        that learn.
        """
        named = dict(self.network.named_parameters())
        maps = self._probe(in_channels)
        used = _behind([maps[i] for i in self.kept], named)
        fixed = _behind([maps[self._frozen_level]], named) if self.frozen_stages > 0 else set()
        for name, parameter in named.items():
            if name in fixed or name not in used:
                parameter.requires_grad_(False)
        owned = {
            name: [f"{name}.{key}" if name else key for key, _ in m.named_parameters(recurse=False)]
            for name, m in self.network.named_modules()
        }
        self.frozen = tuple(name for name, keys in owned.items() if keys and fixed.issuperset(keys))

    def _probe(self, in_channels: int) -> list[torch.Tensor]:
        """Feature maps of a random image, without a trace in the statistics of batch norms or in any random stream."""
        side = max(64, 2 * getattr(self.network, "smallest", 1))
        draws = torch.Generator().manual_seed(torch_seed(0, "backbone"))
        images = torch.randn(1, in_channels, side, side, generator=draws)
        return cast(list[torch.Tensor], self.network.eval()(images))

    @property
    def _frozen_level(self) -> int:
        """Which of the network's maps is the last frozen one."""
        indices = (
            self.network.out_indices
            if isinstance(self.network, StagedNetwork)
            else self.network.feature_info.out_indices
        )
        return list(indices or ()).index(self.frozen_stages - 1)


def feature_channels(architecture: str | Mapping[str, Any], every: bool = False, **options: Any) -> list[Stage]:
    """Channels and strides of the feature maps that :class:`Backbone` returns, for those who write configuration files.

    ``every``: of all stages instead, to choose ``out_indices`` from. ``options``: as :class:`Backbone`'s. Our networks
    are described without weights, so this costs neither memory nor random numbers.
    """
    _refuse({key: value for key, value in options.items() if key not in OPTIONS}, options.get("pretrained"))
    one = resolve(architecture, options.get("space"), options.get("arguments"))
    wanted = options.get("out_indices")
    with torch.device("meta"):
        _, levels = _build(
            one,
            None if wanted is None else tuple(wanted),
            options.get("output_stride"),
            options.get("by", "dilation"),
            options.get("in_channels", 3),
            -1,
        )
    return [stage for stage, returned in levels if returned or every]


def load_backbone(network: nn.Module, one: ImageSubject, path: Path) -> None:
    """Load a checkpoint's weights into a backbone's network: those of the moving average, where there is one; without
    classifier.

    Raises:
        CheckpointError: unreadable, or weights that do not fit; the first three of each kind are named.
    """
    state = weights_of(read_weights(path))
    if one.space is not None:
        body = {key: value for key, value in state.items() if not str(key).startswith(("classifier.", "auxiliary."))}
        remedy = "Pass the space's arguments that it was trained with; by='fewer_reductions' makes another network than the one for classification."
        fit(network, body, str(path), remedy)
        return
    given = {
        str(key).replace(".", "_"): value for key, value in state.items()
    }  # timm joins names of nested modules in feature extractors
    body = {
        key: given[own]
        for key in network.state_dict()
        if (own := key.removeprefix("model.").replace(".", "_")) in given
    }
    fit(network, body, str(path), f"It must hold weights of timm's {one.name}.")


def _refuse(foreign: Mapping[str, Any], pretrained: Any) -> None:
    if foreign:
        names = ", ".join(map(repr, list(foreign)[:3]))
        raise ConfigError(
            f"NASBackbone has no argument {names}.",
            "To replace another backbone in a configuration file, write backbone=dict(_delete_=True, ...).",
        )
    if pretrained is not None:
        raise ConfigError(
            f"pretrained={shown(pretrained)}: weights of another network.",
            "Set pretrained=None in the model; our weights are checkpoint='...'.",
        )


def _build(
    one: ImageSubject,
    wanted: tuple[int, ...] | None,
    output_stride: int | None,
    by: OutputStrideBy,
    in_channels: int,
    frozen: int,
) -> tuple[Any, list[tuple[Stage, bool]]]:
    """The network that returns the maps ``wanted`` and the last frozen one; each map with whether it is wanted."""
    network: Any
    if one.space is not None and one.architecture is not None:
        space = one.space.with_head("linear", max(one.space.classes, 1), in_channels)
        network = space.features(one.architecture, wanted, output_stride, by)
        stages, chosen = network.all_stages, tuple(network.out_indices or ())
        if frozen > len(stages):
            raise ConfigError(f"frozen_stages: {one.name} has {len(stages)} stages, but got {frozen}.")
        returned = _by_default(dict(enumerate(stages))) if wanted is None else set(chosen)
        network.out_indices = tuple(sorted({*chosen, *([frozen - 1] if frozen > 0 else [])}))
        return network, [(stages[i], i in returned) for i in network.out_indices]
    if by != "dilation":
        raise ConfigError(
            f"by: {one.name} is timm's, whose networks cannot leave reductions out.", "Use by='dilation'."
        )
    timm = require("timm", "timm")
    if wanted is not None and (not wanted or list(wanted) != sorted(set(wanted)) or wanted[0] < 0):
        raise ConfigError(
            f"out_indices: must count timm's feature levels from 0 and ascend, each once, but got {list(wanted)}."
        )
    options = {**one.arguments, "in_chans": in_channels, "features_only": True}
    if output_stride is not None:
        options["output_stride"] = output_stride
    if options.get("pretrained"):
        raise ConfigError("arguments: pretrained downloads weights.", "Name a file of weights: checkpoint='...'.")
    try:
        levels = (
            list(timm.create_model(one.name, **options).feature_info.out_indices) if wanted is None else list(wanted)
        )
        asked = sorted({*levels, *([frozen - 1] if frozen > 0 else [])})
        network = timm.create_model(one.name, **options, out_indices=tuple(asked))
    except NNIPluginsError:
        raise
    except Exception as error:  # what timm's models raise on arguments that they do not have has no common type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"timm's {one.name} cannot be a backbone with these arguments ({reason[:200]}).") from None
    info = network.feature_info
    found = zip(info.channels(), info.reduction(), strict=True)
    stages = {index: Stage(channels, stride) for index, (channels, stride) in zip(asked, found, strict=True)}
    returned = _by_default({index: stages[index] for index in levels}) if wanted is None else set(levels)
    return network, [(stage, index in returned) for index, stage in stages.items()]


def _by_default(stages: Mapping[int, Stage]) -> set[int]:
    """Those of stride 4 and more: a detector's first anchors are for that or for 8, and a map too many shifts all.
    Networks for small images have fewer than two of these; then all.
    """
    coarse = {index for index, stage in stages.items() if stage.stride >= 4}
    return coarse if len(coarse) > 1 else set(stages)


def _behind(maps: Iterable[torch.Tensor], named: Mapping[str, nn.Parameter]) -> set[str]:
    """The names of the parameters that ``maps`` depend on."""
    total = torch.stack([y.sum() for y in maps]).sum()
    slopes = torch.autograd.grad(total, list(named.values()), allow_unused=True, retain_graph=True)
    return {name for name, slope in zip(named, slopes, strict=True) if slope is not None}


def _set_norms(network: nn.Module, settings: Mapping[str, Any] | None, own: bool) -> None:
    given = dict(settings or {})
    kind = given.get("type", "BN")
    foreign = sorted(map(str, set(given) - set(NORM_KEYS)))
    if kind not in NORMS or foreign:
        what = f"keys {', '.join(foreign)}" if foreign else f"type {shown(kind)}"
        raise ConfigError(
            f"norm_cfg: {what}; {' and '.join(NORMS)} with {', '.join(NORM_KEYS[1:])} exist: the networks were made with batch norms."
        )
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eps, module.momentum = given.get("eps", module.eps), given.get("momentum", module.momentum)
            if not given.get("requires_grad", True):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    if kind == "SyncBN" and several and torch.cuda.is_available():
        convert = (
            nn.SyncBatchNorm.convert_sync_batchnorm if own else require("timm.layers", "timm").convert_sync_batchnorm
        )
        convert(network)


OPTIONS = ("space", "arguments", "out_indices", "output_stride", "by", "in_channels", "pretrained")
