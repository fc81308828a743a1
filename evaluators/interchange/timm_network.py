"""A stand-alone network with the attributes and methods that timm's scripts and features expect of an image model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace

from nni_plugins.spaces.cells.network import CellNetwork
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.head_modules import LinearHead, Size
from nni_plugins.spaces.staged import StagedNetwork

from ..backends import require
from ..errors import ConfigError


class TimmNetwork(StagedNetwork):
    """timm's interface, laid over a network's own class by :func:`bridge`; all weights keep their names.

    ``feature_info`` lists every stage as ``{"num_chs", "reduction", "module", "index"}``.
    """

    in_chans: int
    num_classes: int
    num_features: int
    """Channels of the last feature map."""
    head_hidden_size: int
    """Channels after pooling, before the classifier."""
    feature_info: Any
    global_pool: nn.Module
    head_drop: nn.Module

    def forward(self, x):  # type: ignore[no-untyped-def]  # torch.fx writes annotations into code, where TorchScript trips
        """As the network's own: (B, in_chans, H, W) -> (B, num_classes), or what that says."""
        return super().forward(x)

    def forward_features(self, x: torch.Tensor, out_indices: Sequence[int] | None = None) -> Any:
        """The last feature map (B, num_features, h, w); with ``out_indices``, a list of those stages' maps."""
        if out_indices is not None:
            return super().forward_features(x, out_indices)
        return super().forward_features(x, (len(self.all_stages) - 1,))[0]

    def forward_head(self, x: torch.Tensor, size: Size | bool | None = None, pre_logits: bool = False) -> torch.Tensor:
        """Pooling, dropout and, unless ``pre_logits`` (also as second positional argument, as in timm), the classifier."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits or size is True else self.classifier(x)  # type: ignore[no-any-return]

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
    ) -> Any:
        """Feature maps of the stages ``indices`` (an integer: the last N; None: all), and the last map unless
        ``intermediates_only``: (last, maps), or with ``output_dict`` as ``image_features`` and ``image_intermediates``.

        There is no norm after the stages, so ``norm`` changes nothing; ``stop_early`` is always done where nothing
        later is asked for.
        """
        if output_fmt != "NCHW":
            raise ConfigError(f"output_fmt: only 'NCHW' exists, but got {output_fmt!r}.")
        count = len(self.all_stages)
        wanted = _indices(indices, count)
        last = [] if intermediates_only or stop_early else [count - 1]
        maps = dict(zip(sorted({*wanted, *last}), self.forward_features(x, [*wanted, *last]), strict=True))
        features = [maps[i] for i in wanted]
        if output_dict:
            named = {"image_intermediates": features}
            return named if intermediates_only else {**named, "image_features": maps[max(maps)]}
        return features if intermediates_only else (maps[max(maps)], features)

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an identity where there is none."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier; none for ``num_classes=0``. ``global_pool``: avg, max, avgmax, catavgmax or, without a
        classifier, ''.
        """
        if global_pool is not None:
            self.global_pool = require("timm.layers", "timm").SelectAdaptivePool2d(
                pool_type=global_pool, flatten=bool(global_pool)
            )
        pool = cast(Any, self.global_pool)
        if pool.is_identity() and num_classes:
            raise ConfigError(
                "global_pool='' leaves a feature map, which the linear classifier cannot take.",
                "Use num_classes=0 with it.",
            )
        self.num_classes, self.head_hidden_size = num_classes, self.num_features * pool.feat_mult()
        like = next(self.parameters())

        def linear(inputs: int) -> nn.Module:
            return (
                nn.Linear(inputs, num_classes, device=like.device, dtype=like.dtype) if num_classes else nn.Identity()
            )

        self.classifier = linear(self.head_hidden_size)
        auxiliary = getattr(self, "auxiliary", None)
        if auxiliary is not None and num_classes:
            auxiliary.classifier = linear(auxiliary.classifier.in_features)
        elif auxiliary is not None:
            self.auxiliary = None

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] | None = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last of ``indices``, and with ``prune_head``, or where a stage is dropped, the
        classifier. There is no norm after the stages, so ``prune_norm`` changes nothing.

        Returns:
            ``indices``, counted from 0.
        """
        kept = _indices(indices, len(self.all_stages))
        if kept != sorted(set(kept)):
            raise ConfigError(f"indices: must ascend, each stage once, but got {kept}.")
        end = kept[-1] + 1
        names = _stage_names(self)
        for name in (name for stage in names[end:] for name in stage):
            parent, _, own = name.rpartition(".")
            setattr(self.get_submodule(parent), own, nn.Identity())
        pruned = end < len(names)
        self.all_stages, self.feature_info = self.all_stages[:end], list(self.feature_info)[:end]
        if pruned:
            self.num_features = self.all_stages[-1].channels
        if prune_head or pruned:
            self.reset_classifier(0, "")
        return kept

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations of the stem and of each cell or block again in the backward pass: less memory, the same
        gradients and the same statistics of batch norms."""
        self.recompute = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups of timm's layer-wise learning rates: the stem, each cell or block (``coarse``: each stage), the
        rest.
        """
        named = {id(module): name for name, module in self.named_modules()}
        blocks = _stage_names(self) if coarse else [[named[id(module)]] for module in self.chain()]
        blocks = [[name for name in block if not name.startswith("stem")] for block in blocks]
        return {
            "stem": r"^stem",
            "blocks": [
                (rf"^(?:{'|'.join(map(re.escape, block))})(?:\.|$)", (index,))
                for index, block in enumerate(blocks)
                if block
            ],
        }

    def __prepare_scriptable__(self) -> GraphModule:
        """TorchScript knows no generators, so ``torch.jit.script`` takes the traced network, in its present mode."""
        return symbolic_trace(self)

    def __reduce__(self) -> Any:
        """The class is made at run time, so pickle and deepcopy are told how."""
        return _blank, (type(self).__bases__[1],), self.__dict__.copy()


_classes: dict[type[StagedNetwork], type[TimmNetwork]] = {}


def _bridged(network: type[StagedNetwork]) -> type[TimmNetwork]:
    if network not in _classes:
        _classes[network] = type(f"Timm{network.__name__}", (TimmNetwork, network), {})
    return _classes[network]


def _blank(network: type[StagedNetwork]) -> TimmNetwork:
    kind = _bridged(network)
    return kind.__new__(kind)


def bridge(
    network: StagedNetwork, num_classes: int | None = None, global_pool: str = "avg", drop_rate: float = 0.0
) -> TimmNetwork:
    """Give ``network`` timm's interface. Changes the network and returns it; its weights stay.

    Args:
        network: of any image space, with a linear head.
        num_classes: makes a new classifier of so many classes, or none (0); by default the head's own is kept.
        global_pool: see :meth:`TimmNetwork.reset_classifier`.
        drop_rate: dropout of the pooled features, in training.

    Raises:
        ConfigError: another head, or a value out of range.
        MissingBackend: timm is not installed.
    """
    head = network.classifier
    if not isinstance(head, LinearHead):
        raise ConfigError(
            f"head: timm's interface needs a linear head, but this network ends in a {type(head).__name__}."
        )
    if not 0 <= drop_rate < 1:
        raise ConfigError(f"0 <= drop_rate < 1 must hold, but got drop_rate={drop_rate!r}.")
    pool = require("timm.layers", "timm").SelectAdaptivePool2d(pool_type="avg", flatten=True)
    network.__class__ = _bridged(type(network))
    bridged = cast(TimmNetwork, network)
    bridged.in_chans, bridged.num_features = bridged.input_channels, head.in_features
    bridged.num_classes, bridged.head_hidden_size = head.out_features, head.in_features
    bridged.global_pool, bridged.head_drop = pool, nn.Dropout(drop_rate)
    bridged.classifier = nn.Linear(
        head.in_features, head.out_features, device="meta"
    )  # ours pools too; this one takes what is pooled
    bridged.classifier.weight, bridged.classifier.bias = head.weight, head.bias
    bridged.feature_info = [
        {"num_chs": stage.channels, "reduction": stage.stride, "module": module, "index": index}
        for index, (stage, module) in enumerate(zip(bridged.all_stages, _stage_outputs(bridged), strict=True))
    ]
    if num_classes not in (None, head.out_features) or global_pool != "avg":
        bridged.reset_classifier(head.out_features if num_classes is None else num_classes, global_pool)
    return bridged


FEATURES = {
    "getter": "FeatureGetterNet",
    "hook": "FeatureHookNet",
    "fx": "FeatureGraphNet",
    "dict": "FeatureGraphNet",
}
"""timm's wrappers by the names of its ``feature_cls``. ``dict`` is what timm's own makes of a chain of modules, which
networks of cells are not; its graph gives the same dictionary."""


def features(
    network: TimmNetwork, out_indices: int | Sequence[int] | None = None, feature_cls: Any = None, **options: Any
) -> nn.Module:
    """Drop the head and return a list of feature maps from now on; ``feature_info`` becomes timm's ``FeatureInfo`` of
    these stages.

    timm calls this for ``features_only=True``. ``out_indices``: as :meth:`TimmNetwork.forward_intermediates`,
    ascending; all by default. ``feature_cls``: one of :data:`FEATURES` or a class, with its ``options``, wraps the network
    in timm's way; by default (and as ``list``) the network itself returns its maps, under the names of weights that it has.

    Raises:
        ConfigError: another ``feature_cls``; SpaceError: stages that do not exist.
    """
    models = require("timm.models._features", "timm")
    indices = _indices(out_indices, len(network.all_stages))
    if feature_cls is None or feature_cls == "list":
        if options:
            raise ConfigError(f"feature_cfg: unknown {', '.join(map(repr, options))}.")
        network.features_only(indices)
        network.feature_info = models.FeatureInfo(network.feature_info, network.out_indices)
        return network
    if isinstance(feature_cls, str):
        name = next((name for name in FEATURES if name in feature_cls.lower()), None)
        if name is None:
            raise ConfigError(f"feature_cls: {', '.join(['list', *FEATURES])} exist, but got {feature_cls!r}.")
        options = {"return_dict": True, **options} if name == "dict" else options
        feature_cls = getattr(
            require("timm.models", "timm") if FEATURES[name] == "FeatureGraphNet" else models, FEATURES[name]
        )
    if feature_cls.__name__ == "FeatureGraphNet":  # its graph keeps what leads to the maps, so nothing follows them
        network.prune_intermediate_layers(indices)
    return cast(nn.Module, feature_cls(network, out_indices=tuple(indices), **options))


def _indices(indices: int | Sequence[int] | None, count: int) -> list[int]:
    """From 0; an integer: the last so many, None: all.

    Raises:
        SpaceError: stages that do not exist.
    """
    if isinstance(indices, int):
        indices = range(-indices, 0)
    chosen = list(range(count) if indices is None else indices)
    if not chosen or any(not isinstance(i, int) or not -count <= i < count for i in chosen):
        raise SpaceError(f"out_indices: stages 0 to {count - 1} exist, but got {chosen}.")
    return [i % count for i in chosen]


def _stage_names(network: StagedNetwork) -> list[list[str]]:
    """The names of the modules of each stage. A cell belongs to one, unlike in :meth:`StagedNetwork.stage_modules`."""
    if isinstance(network, CellNetwork):
        first = ["stem" if network.stem.second is None else "stem.second"]
        stages = [first if stage == 0 else [] for stage in range(network.shapes[-1].stage + 1)]
        for shape in network.shapes:
            stages[shape.stage].append(f"cells.{shape.index}")
        return stages if network.stem.second is None else [["stem.first"], *stages]
    named = {id(module): name for name, module in network.named_modules()}
    stages = [[named[id(module)] for module in modules] for modules in network.stage_modules()]
    if hasattr(network, "lastact"):
        stages[-1].append("lastact")
    return stages


def _stage_outputs(network: StagedNetwork) -> list[str]:
    """The name of the module whose output is each stage's feature map."""
    if isinstance(
        network, CellNetwork
    ):  # its stages share cells: the reduction cell's input 0 is calibrated at the resolution before
        ends = list({shape.stage: f"cells.{shape.index}" for shape in network.shapes}.values())
        return ends if network.stem.second is None else ["stem.first", *ends]
    names = {module: name for name, module in network.named_modules()}
    ends = [names[modules[-1]] for modules in network.stage_modules()]
    return (
        [*ends[:-1], "lastact"] if hasattr(network, "lastact") else ends
    )  # NAS-Bench-201's batch norm and ReLU after the last cell
