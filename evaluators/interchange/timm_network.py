"""A stand-alone network with the attributes and methods that timm's scripts and features expect of an image model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from nni_plugins.spaces.cells.network import CellNetwork
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
    ) -> Any:
        """Feature maps of the stages ``indices`` (an integer: the last N; None: all), and the last map unless
        ``intermediates_only``.

        There is no norm after the stages, so ``norm`` changes nothing; ``stop_early`` is always done where nothing
        later is asked for.
        """
        if output_fmt != "NCHW":
            raise ConfigError(f"output_fmt: only 'NCHW' exists, but got {output_fmt!r}.")
        count = len(self.all_stages)
        wanted = [i % count for i in _indices(indices, count)]
        last = [] if intermediates_only or stop_early else [count - 1]
        maps = dict(zip(sorted({*wanted, *last}), self.forward_features(x, [*wanted, *last]), strict=True))
        features = [maps[i] for i in wanted]
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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Only ``enable=False`` exists."""
        if enable:
            raise ConfigError(
                "these networks cannot recompute activations (gradient checkpointing).",
                "Leave it off, and use smaller batches.",
            )

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Layer groups of timm's layer-wise learning rates: the stem, each cell or block, the rest."""
        return {"stem": r"^stem", "blocks": r"^(?:cells|blocks)\.(\d+)"}

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


def features(network: TimmNetwork, out_indices: int | Sequence[int] | None = None) -> TimmNetwork:
    """Drop the head and return a list of feature maps from now on; ``feature_info`` becomes timm's ``FeatureInfo`` of
    these stages.

    timm calls this for ``features_only=True``. ``out_indices``: as :meth:`TimmNetwork.forward_intermediates`,
    ascending.
    """
    network.features_only(_indices(out_indices, len(network.all_stages)))
    network.feature_info = require("timm.models", "timm").FeatureInfo(network.feature_info, network.out_indices)
    return network


def _indices(indices: int | Sequence[int] | None, count: int) -> list[int]:
    if isinstance(indices, int):
        return list(range(-indices, 0))
    return list(range(count) if indices is None else indices)


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
