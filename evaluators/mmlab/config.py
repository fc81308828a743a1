"""mmengine's configuration file of a transfer: complete, without a hidden base, so that mmdet's and mmseg's own tools
can run it, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nni_plugins.spaces.staged import Stage

from ..errors import ConfigError
from . import detectors, segmenters
from .config_text import Section, changed, text
from .detection_data import DetectionData
from .segmentation_data import SegmentationData
from .settings import DetectionRecipe, SegmentationRecipe, TransferRecipe

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class BackboneChoice:
    """What stands in the configuration file for the network; ``name`` is for people."""

    name: str
    architecture: str
    space: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    normalisation: Normalisation | None = None
    """Of the images that the checkpoint was trained on: mean and standard deviation of R, G, B in [0, 1]."""
    notes: tuple[str, ...] = ()
    """Which width it has and why."""

    def options(self, recipe: TransferRecipe) -> dict[str, Any]:
        """Arguments of ``NASBackbone`` that decide about its feature maps."""
        given = {
            "space": self.space,
            "arguments": self.arguments or None,
            "output_stride": recipe.backbone.output_stride,
        }
        options = {key: value for key, value in given.items() if value is not None}
        return options if recipe.backbone.output_stride is None else {**options, "by": recipe.backbone.by}


def config(
    recipe: DetectionRecipe | SegmentationRecipe,
    backbone: BackboneChoice,
    data: DetectionData | SegmentationData,
    work_dir: Path,
    *,
    seed: int = 0,
    amp: bool = False,
    devices: int = 1,
    cuda: bool = False,
    changes: Mapping[str, Any] | None = None,
    recipe_name: str = "own",
) -> str:
    """The file's text.

    Args:
        work_dir: where mmengine writes checkpoints and logs.
        amp: mixed precision.
        devices: processes that train together; each has its share of the batch.
        cuda: they are GPUs.
        changes: values by dotted keys of the file, such as ``train_dataloader.num_workers``.

    Raises:
        ConfigError: a network whose feature maps do not suit, a batch that devices cannot share, unknown keys in
            ``changes``.
    """
    from .backbone import feature_channels

    problem = f"batch_size must be a multiple of devices * accumulate, but got {recipe.batch_size}, {devices} and {recipe.accumulate}."
    if recipe.batch_size % (devices * recipe.accumulate):
        raise ConfigError(problem, "Choose another batch_size or accumulate by --set.")
    if recipe.backbone.pretrained and backbone.checkpoint is None:
        raise ConfigError(
            f"the recipe {recipe_name} starts from a trained backbone, but no checkpoint was given.",
            "Pass --checkpoint FILE (nni-plugins retrain writes last.pth.tar), or train from scratch: --set backbone.pretrained=false "
            "--set backbone.frozen_stages=-1 --set backbone.norm_eval=false.",
        )
    if backbone.checkpoint is None and (recipe.backbone.frozen_stages > 0 or recipe.backbone.norm_eval):
        raise ConfigError(
            "frozen_stages and norm_eval keep what was trained, but no checkpoint was given.",
            "Pass --checkpoint FILE, or set both off.",
        )
    if amp and not cuda:
        raise ConfigError("mmengine's mixed precision needs a GPU.", "Leave --amp out.")
    stages = feature_channels(backbone.architecture, every=True, **backbone.options(recipe))
    chosen = (
        detectors.wanted(stages, recipe, backbone.name)
        if isinstance(recipe, DetectionRecipe)
        else segmenters.wanted(stages, recipe)
    )
    sync = recipe.sync_batchnorm and devices > 1 and cuda
    described = _backbone(recipe, backbone, stages, chosen, sync)
    norm = _normalisation(recipe, backbone)
    returned: list[Stage] = [stages[i] for i in chosen]
    loader: dict[str, Any] = {
        "num_workers": recipe.workers,
        "persistent_workers": bool(recipe.workers) and recipe.epochs is None,
    }
    if recipe.epochs is not None:
        loader["worker_init_fn"] = {"type": "seed_worker"}
    batch = recipe.batch_size // (devices * recipe.accumulate)
    _check_batches(recipe, data, batch, devices)
    count = len(data.classes)
    if isinstance(recipe, DetectionRecipe) and isinstance(data, DetectionData):
        model, parts, scope, more = (
            detectors.model(recipe, described, returned, count, norm),
            detectors.data(recipe, data, loader, batch),
            "mmdet",
            [],
        )
    elif isinstance(recipe, SegmentationRecipe) and isinstance(data, SegmentationData):
        model, parts, scope = (
            segmenters.model(recipe, described, returned, count, norm),
            segmenters.data(recipe, data, loader, batch),
            "mmseg",
        )
        more = ["nni_plugins.evaluators.mmlab.segmentation_components"]
        if recipe.segmenter.kind == "unnas":
            more.append("nni_plugins.evaluators.mmlab.heads")
    else:
        raise ConfigError(f"the recipe {recipe_name} is for {recipe.task}, but the data is not.")
    imports = {
        "imports": [
            "nni_plugins.evaluators.mmlab.backbones",
            "nni_plugins.evaluators.mmlab.hooks",
            "nni_plugins.evaluators.mmlab.reading",
            *more,
        ],
        "allow_failed_imports": False,
    }
    sections: list[Section] = [
        (
            "Where NASBackbone and the other classes of nni-plugins come from.",
            {"default_scope": scope, "custom_imports": imports},
        ),
        ("The network.", {"model": model}),
        *parts,
        ("Optimizer and learning rate.", _optimization(recipe, amp)),
        ("Length, validation and checkpoints.", _loops(recipe, average=devices > 1 and not sync)),
        (
            "Where, and with which random numbers. resume: from the last checkpoint in work_dir.",
            _runtime(work_dir, seed, cuda),
        ),
    ]
    heading = f"{recipe.task} with {backbone.name} by the recipe {recipe_name}, written by nni-plugins transfer.\nRecipe: {recipe.source}"
    return text(heading, changed(sections, changes or {}))


def _check_batches(recipe: TransferRecipe, data: DetectionData | SegmentationData, batch: int, devices: int) -> None:
    """Whether the images of an epoch make batches that can be trained on.

    Raises:
        ConfigError: they fill none; or one holds a single image, whose features after global pooling have no variance.
    """
    if recipe.epochs is None:
        return
    images = -(-data.trained // devices)
    alone = batch if recipe.drop_last else images % batch or batch
    if recipe.drop_last and images < batch:
        raise ConfigError(
            f"{data.root}: {data.trained} images to train on do not fill one batch of {batch * devices}.",
            f"Lower it: --set batch_size={max(1, data.trained // devices) * devices * recipe.accumulate}, or --set drop_last=false.",
        )
    if isinstance(recipe, SegmentationRecipe) and alone == 1:
        raise ConfigError(
            f"{data.root}: of {data.trained} images to train on, in batches of {batch * devices}, one would be alone in a "
            "batch, which the batch norm behind global pooling cannot have.",
            "Choose another --set batch_size=..., or --set drop_last=true.",
        )


def _backbone(
    recipe: TransferRecipe, backbone: BackboneChoice, stages: list[Stage], chosen: tuple[int, ...], sync: bool
) -> dict[str, Any]:
    """mmdet counts frozen stages without the stem, which of timm's ResNets is a level of its own, of stride 2."""
    from .architectures import resolve

    described: dict[str, Any] = {
        "type": "NASBackbone",
        "architecture": backbone.architecture,
        **backbone.options(recipe),
        "out_indices": chosen,
    }
    if recipe.backbone.frozen_stages > 0:
        timms = resolve(backbone.architecture, backbone.space, backbone.arguments).space is None
        described["frozen_stages"] = recipe.backbone.frozen_stages + (
            sum(stage.stride == 2 for stage in stages) if timms else 0
        )
    if recipe.backbone.norm_eval:
        described["norm_eval"] = True
    described["norm_cfg"] = {"type": "SyncBN" if sync else "BN", "requires_grad": True}
    return {**described, "checkpoint": None if backbone.checkpoint is None else os.path.abspath(backbone.checkpoint)}


def _normalisation(recipe: DetectionRecipe | SegmentationRecipe, backbone: BackboneChoice) -> dict[str, Any]:
    mean, std = backbone.normalisation or IMAGENET
    mean, std = recipe.images.mean or mean, recipe.images.std or std
    return {"mean": [round(255 * value, 4) for value in mean], "std": [round(255 * value, 4) for value in std]}


def _optimization(recipe: TransferRecipe, amp: bool) -> dict[str, Any]:
    settings, schedule = recipe.optimizer, recipe.schedule
    sgd = {"momentum": settings.momentum, "nesterov": settings.nesterov} if settings.name == "SGD" else {}
    wrapper: dict[str, Any] = {"type": "AmpOptimWrapper" if amp else "OptimWrapper"}
    wrapper["optimizer"] = {
        "type": settings.name,
        "lr": settings.learning_rate,
        **sgd,
        "weight_decay": settings.weight_decay,
    }
    if settings.gradient_clip is not None:
        wrapper["clip_grad"] = {"max_norm": settings.gradient_clip, "norm_type": 2}
    if recipe.accumulate > 1:
        wrapper["accumulative_counts"] = recipe.accumulate
    rates: list[dict[str, Any]] = []
    if schedule.warmup_iterations:
        rates.append(
            {
                "type": "LinearLR",
                "start_factor": schedule.warmup_from,
                "by_epoch": False,
                "begin": 0,
                "end": schedule.warmup_iterations,
            }
        )
    epochs = recipe.epochs is not None
    span = {"begin": 0, "end": recipe.length, "by_epoch": epochs}
    if epochs and schedule.per == "iteration" and schedule.name != "step":
        span["convert_to_iter_based"] = True
    if schedule.name == "step":
        rates.append({"type": "MultiStepLR", **span, "milestones": list(schedule.steps), "gamma": schedule.factor})
    elif schedule.name == "cosine":
        rates.append({"type": "CosineAnnealingLR", **span, "T_max": recipe.length, "eta_min": schedule.final})
    elif schedule.name == "poly":
        rates.append({"type": "PolyLR", **span, "power": schedule.power, "eta_min": schedule.final})
    return {"optim_wrapper": wrapper, "param_scheduler": rates}


def _loops(recipe: TransferRecipe, average: bool) -> dict[str, Any]:
    """``average``: processes have batch statistics of their own, whose mean is taken before they are used or saved."""
    epochs = recipe.epochs is not None
    train: dict[str, Any] = (
        {"type": "EpochBasedTrainLoop", "max_epochs": recipe.epochs} if epochs else {"type": "IterBasedTrainLoop"}
    )
    if not epochs:
        train["max_iters"] = recipe.iterations
    saved = {
        "type": "SealedCheckpointHook",
        "interval": recipe.checkpoint_every,
        "by_epoch": epochs,
        "max_keep_ckpts": 2,
    }
    hooks = {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": epochs},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": saved,
        "sampler_seed": {"type": "DistSamplerSeedHook"},
    }
    return {
        "train_cfg": {**train, "val_interval": recipe.validate_every},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": hooks,
        "custom_hooks": [
            *([{"type": "EpochSeedHook"}] if epochs else []),
            {"type": "LayoutHook"},
            *([{"type": "SyncBuffersHook"}] if average else []),
        ],
        "log_processor": {"by_epoch": epochs},
    }


def _runtime(work_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    environment = {"cudnn_benchmark": False, "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}}
    return {
        "work_dir": os.path.abspath(work_dir),
        "randomness": {"seed": seed, "deterministic": False},
        "env_cfg": {**environment, "dist_cfg": {"backend": "nccl" if cuda else "gloo"}},
        "log_level": "INFO",
        "load_from": None,
        "resume": False,
    }
