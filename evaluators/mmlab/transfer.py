"""One transfer: an architecture as backbone, a recipe, a data set, a folder with everything that comes of it."""

from __future__ import annotations

import contextlib
import difflib
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published

from ..data.report import FILE as DATA
from ..data.report import tell
from ..errors import CheckpointError, ConfigChanged, ConfigError
from ..files import atomic_write, shareable, write_json, writing
from ..locks import FolderLock
from ..processes import first_process, process_counts
from ..published_width import paper_width, width_note
from .config import BackboneChoice, Normalisation, config
from .detection_data import DetectionData, detection_data
from .recipes import AnyRecipe, changed, recipe
from .segmentation_data import SegmentationData, segmentation_data
from .settings import TransferRecipe

CONFIG, RESULT, PICTURE, LOG, WORK = "config.py", "result.json", "predictions.png", "console.log", "mmengine"
ANNOTATIONS = "annotations"
"""Folder of annotation files that had to be mended."""
SCHEMA_VERSION = 1
Row = dict[str, Any]


def backbone(
    name: str,
    space: ImageSpace | None,
    architecture: Architecture | None,
    recipe: TransferRecipe,
    arguments: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
) -> BackboneChoice:
    """What stands in the configuration file for an architecture, or for the model of timm's called ``name``.

    Args:
        space: with the arguments that neither the recipe's ``backbone.sizes`` nor ``arguments`` change.
        arguments: precede the recipe's; of ``timm.create_model`` for timm's models.
        checkpoint: weights in timm's format. One of ``nni-plugins retrain`` decides about the space's arguments and the
            normalisation.

    Raises:
        CheckpointError: unreadable, or of another architecture.
        SpaceError: an argument that the space does not have.
    """
    given = dict(arguments or {})
    described = None if checkpoint is None else _described(Path(checkpoint))
    norm = None if described is None else described[2]
    if space is None or architecture is None:
        if described is not None and described[0] is not None:
            raise CheckpointError(
                f"{checkpoint} holds a network of the space {described[0].name}, but the backbone is {name}."
            )
        return BackboneChoice(name, name, None, given, checkpoint, norm)
    sizes: dict[str, Any] = {**space.config(), **recipe.backbone.sizes.get(space.name, {})}
    if described is not None:
        trained, point, _ = described
        if trained is None or point is None or point != architecture:
            what = "a model of timm's" if trained is None or point is None else trained.to_string(point)
            raise CheckpointError(
                f"{checkpoint} holds another network: {what}, not {space.to_string(architecture)}.",
                "Pass its own checkpoint.",
            )
        sizes = trained.config()
    paper = recipe.backbone.published if described is None and "channels" not in given else None
    found = paper_width(name, space, architecture, paper, recipe.tested_size) if paper is not None else None
    if found is not None:
        sizes["channels"] = found.channels
    sizes = {**sizes, **given}
    notes = width_note(name, paper, found, sizes.get("channels"))
    built = type(space)(**sizes)
    built.check(architecture)
    kept = {key: value for key, value in sizes.items() if key not in ("classes", "head", "input_channels")}
    if name in names(space.name) and published(name).architecture == architecture:
        return BackboneChoice(name, name, None, kept, checkpoint, norm, tuple(notes))
    return BackboneChoice(name, built.to_string(architecture), space.name, kept, checkpoint, norm, tuple(notes))


def _described(path: Path) -> tuple[ImageSpace | None, Architecture | None, Normalisation | None] | None:
    """Space, architecture and normalisation of a checkpoint of ours; None for a foreign one."""
    from ..interchange.weights import BLOCK, read_weights
    from .architectures import resolve

    block = read_weights(path).get(BLOCK)
    if not isinstance(block, Mapping) or "description" not in block:
        return None
    one, norm = resolve(str(path)), block.get("normalisation")
    pair = None if norm is None else (tuple(map(float, norm["mean"])), tuple(map(float, norm["std"])))
    return one.space, one.architecture, pair


@dataclass(frozen=True)
class Transfer:
    """``recipe``: a name or a YAML file; ``changes``: to it, by dotted keys; ``options``: to the written configuration
    file.
    """

    task: Literal["detection", "segmentation"]
    recipe: str
    data: str
    seed: int = 0
    amp: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resolved(self) -> AnyRecipe:
        """The recipe with all changes.

        Raises:
            ConfigError: no such recipe, one of the other task, or keys that do not exist.
        """
        found = recipe(self.recipe)
        if found.task != self.task:
            raise ConfigError(
                f"the recipe {self.recipe} is for {found.task}.",
                f"nni-plugins transfer {found.task} ..., or another --recipe.",
            )
        return changed(found, self.changes)

    @cached_property
    def dataset(self) -> DetectionData | SegmentationData:
        """The data set, checked."""
        return detection_data(self.data) if self.task == "detection" else segmentation_data(self.data)

    def write(self, backbone: BackboneChoice, folder: Path) -> Path:
        """Write the configuration file and ``data.json``; everything that can be wrong with what is asked for comes out
        here.

        Raises:
            ConfigChanged: ``folder`` holds a training of something else.
        """
        import torch

        devices, cuda = process_counts()[0], torch.cuda.is_available()
        options: dict[str, Any] = {
            "seed": self.seed,
            "amp": self.amp,
            "devices": devices,
            "cuda": cuda,
            "changes": self.options,
        }
        data = self.dataset.placed(folder / ANNOTATIONS) if isinstance(self.dataset, DetectionData) else self.dataset
        content = config(self.resolved, backbone, data, folder / WORK, recipe_name=self.recipe, **options)
        file = folder / CONFIG
        before = file.read_text(errors="replace") if file.exists() else content
        if before != content and (folder / WORK).exists():
            lines = difflib.unified_diff(before.splitlines(), content.splitlines(), n=0, lineterm="")
            changes = [line for line in lines if line[:1] in "+-" and not line.startswith(("---", "+++"))]
            raise ConfigChanged(
                f"{folder} holds a training by another {CONFIG}: {'; '.join(changes[:4])}{' ...' if len(changes) > 4 else ''}",
                "Choose another --output, or run the same command as before.",
            )
        atomic_write(file, content.encode())
        if isinstance(data, DetectionData):
            data.written(folder / ANNOTATIONS)
        tell(data.report, folder)
        return file

    def train(
        self,
        backbone: BackboneChoice,
        folder: Path,
        *,
        origin: Mapping[str, Any] | None = None,
        report: Callable[[Row], None] | None = None,
        progress: Callable[[Row], None] | None = None,
        quiet: bool = True,
    ) -> dict[str, Any]:
        """Train or go on in ``folder``, test, draw, and write ``result.json``, which is also returned.

        Args:
            origin: where the architecture comes from, as JSON.
            report, progress: see :func:`nni_plugins.evaluators.mmlab.run.run`.
            quiet: what OpenMMLab's packages print goes to a file.

        Raises:
            ConfigError, DataError: before anything is trained.
            CheckpointError: a folder that another process uses, no intact checkpoint, a disk that is full or read-only.
            TrainingError: a loss that is not finite.
            MissingBackend: OpenMMLab's packages are missing.
        """
        with FolderLock(folder) if first_process() else contextlib.nullcontext(), writing(folder):
            return self._train(backbone, folder, dict(origin or {}), report, progress, quiet)

    def _train(
        self,
        backbone: BackboneChoice,
        folder: Path,
        origin: dict[str, Any],
        report: Callable[[Row], None] | None,
        progress: Callable[[Row], None] | None,
        quiet: bool,
    ) -> dict[str, Any]:
        from .installation import check
        from .predictions import draw
        from .run import printed_to, run
        from .watch import METRICS

        log = folder / LOG if quiet else None
        with printed_to(log):
            check("mmcv", "mmengine", "mmdet" if self.task == "detection" else "mmseg")
        file = self.write(backbone, folder)
        result = run(
            file,
            report=report,
            progress=progress,
            log=log,
            finish=lambda runner: draw(runner, folder / PICTURE),
            substitute=False,
        )
        data = self.dataset
        value = {
            "schema": SCHEMA_VERSION,
            "task": self.task,
            "architecture": backbone.architecture,
            "backbone": {
                "name": backbone.name,
                "space": backbone.space,
                "arguments": backbone.arguments,
                "checkpoint": backbone.checkpoint,
                "notes": list(backbone.notes),
            },
            "origin": origin,
            "recipe": self.recipe,
            "changes": {**self.changes, **self.options},
            "data": {
                "path": str(data.root),
                "classes": list(data.classes),
                "images": {key: _count(part) for key, part in data.parts.items()},
            },
            "tested_on": data.tested,
            "metric": METRICS["mmdet" if self.task == "detection" else "mmseg"][0],
            "seed": self.seed,
            **result,
            "command": shlex.join(sys.argv),
            "versions": versions(),
            "files": [
                name for name in (CONFIG, DATA, PICTURE, LOG, f"{WORK}/metrics.jsonl") if (folder / name).exists()
            ],
        }
        if first_process():
            stored = shareable(value, folder)
            stored["data"]["classes"] = list(data.classes)  # names, whatever they look like
            write_json(folder / RESULT, stored)
        return value


def versions() -> dict[str, str]:
    """Of the packages that the result depends on."""
    from ..retraining.checkpoints import versions as ours
    from .installation import PACKAGES, installed

    return {**ours(), **{name: installed(name) or "not installed" for name in PACKAGES}}


def _count(part: Any) -> int:
    return int(part.count) if hasattr(part, "count") and not isinstance(part, tuple) else len(part)
