"""UnNAS' segmentation network as a configuration dictionary of mmseg."""

from __future__ import annotations

from typing import Any

from .backbone import feature_channels

RATES = (6, 12, 18)


def unnas_segmentor(
    architecture: str, channels: int, classes: int = 19, crop: int = 769, cells: int = 12, **options: Any
) -> dict[str, Any]:
    """UnNAS' network for Cityscapes (Liu et al., ECCV 2020, table 2, and the official configuration files): trained
    from scratch.

    The network of ``cells`` cells ends at stride 16, because it has one reduction only; atrous spatial pyramid pooling
    with 256 channels and rates 6, 12, 18 follows, then 1x1 convolution and bilinear resizing. There is no decoder and
    no auxiliary head. Needs
    ``custom_imports = dict(imports=["nni_plugins.evaluators.mmlab.backbones", "nni_plugins.evaluators.mmlab.heads"])``.

    Args:
        architecture: of DARTS' space, as NASBackbone takes it; ``options``: more of NASBackbone's arguments.
        channels: the width, W in the paper's table.
        crop: pixels a side of the training images, to which smaller ones are padded.
    """
    arguments = {"channels": channels, "cells": cells, "stem": "imagenet", **options.pop("arguments", {})}
    backbone = {
        "architecture": architecture,
        "arguments": arguments,
        "output_stride": 16,
        "by": "fewer_reductions",
        **options,
    }
    last = feature_channels(**backbone)[-1]
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
            "size": (crop, crop),
        },
        "backbone": {"type": "NASBackbone", **backbone},
        "decode_head": {
            "type": "NASASPPHead",
            "in_channels": last.channels,
            "in_index": -1,
            "channels": 256,
            "dilations": (1, *RATES),
            "num_classes": classes,
            "norm_cfg": {"type": "BN"},
            "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
