"""What a person takes home: trained weights for timm and as safetensors, ONNX, and a card that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nni_plugins.evaluators.data.images import ImageSet
from nni_plugins.evaluators.errors import CheckpointError, ExportError, MissingBackend
from nni_plugins.evaluators.files import atomic_write
from nni_plugins.evaluators.interchange.export import export_onnx
from nni_plugins.evaluators.interchange.weights import fit, save_safetensors, weights_of
from nni_plugins.evaluators.mmlab.transfer import WORK
from nni_plugins.evaluators.objectives import fitted
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.retraining import checkpoints
from nni_plugins.evaluators.retraining.network import describe
from nni_plugins.evaluators.retraining.recipes import changed, recipe
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.stand_alone.plugin import StandAlonePlugin, load_images
from nni_plugins.evaluators.subjects.subject import ImageSubject
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.drawing import draw_cell
from nni_plugins.spaces.images import ImageSpace

CHECKPOINT, SAFETENSORS, ONNX, CARD, PICTURE = (
    "model.pth.tar",
    "model.safetensors",
    "model.onnx",
    "README.md",
    "architecture.svg",
)


@dataclass
class Handed:
    """``files``: by name, what each is; ``missing``: what could not be written, and why; ``use``: lines of Python that
    load the network."""

    files: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    use: str = ""


def hand_over(folder: Path, plugin: Any, network: Architecture, training: Path, seed: int, lines: list[str]) -> Handed:
    """Write the trained ``network`` into ``folder``.

    Args:
        plugin: the evaluator that trained it, of stand-alone trainings or of detection.
        training: the folder of its training.
        seed: of the training.
        lines: what the card says of how it was found and measured.

    Raises:
        CheckpointError: the training left no weights, or the disk is full.
        MissingBackend: timm is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handed = Handed()
    if isinstance(plugin, StandAlonePlugin):
        _stand_alone(folder, plugin, network, training, seed, handed)
    else:
        _backbone(folder, plugin, network, training, handed)
    draw_cell(plugin.space, network, folder / PICTURE, "found")
    handed.files[PICTURE] = "the architecture"
    handed.files[CARD] = "the model card"
    atomic_write(folder / CARD, _card(plugin.space, network, handed, lines).encode())
    return handed


def _stand_alone(
    folder: Path, plugin: StandAlonePlugin, network: Architecture, training: Path, seed: int, handed: Handed
) -> None:
    images, objective = load_images(plugin.images).train, build_objective(plugin.target)
    space = fitted(plugin.network_space, objective, images)
    assert isinstance(space, ImageSpace)
    module = space.network(network)
    stored_weights(training).load_into(module)
    trained = _recipe(plugin, space, images)
    subject = ImageSubject(space.name, space, network)
    classifies = plugin.target["name"] == "supervised"
    description = describe(subject, trained, space.classes if classifies else 2)
    name, arguments = description["timm"] or (None, {})
    if classifies:
        mean, std = images.statistics()
        history = [json.loads(line) for line in (training / "metrics.jsonl").read_text().splitlines()]
        checkpoints.save(
            folder / CHECKPOINT,
            network=module,
            ema=None,
            description=description,
            recipe=trained,
            classes=images.classes,
            normalisation=(mean, std),
            epoch=trained.epochs,
            metrics=history[-1],
            seed=seed,
            data=images.identity(),
        )
        handed.files[CHECKPOINT] = "weights as timm's checkpoints have them; nni-plugins validate and export read it"
    state = _body(module.state_dict(), whole=classifies)
    save_safetensors(folder / SAFETENSORS, state)
    handed.files[SAFETENSORS] = "weights" if classifies else "weights without the head, for timm"
    example = torch.zeros(2, space.input_channels, *images.size)
    mean, std = (channels.tolist() for channels in images.statistics())
    about = {"mean": mean, "std": std, "image_size": list(images.size)}
    labelled = {"classes": list(images.classes), **about} if classifies else about
    _onnx(folder, module, example, handed, "the trained network with its head", labelled)
    handed.use = _use(name, arguments, classifies)


def _backbone(folder: Path, plugin: Any, network: Architecture, training: Path, handed: Handed) -> None:
    """Of a detector: only its backbone is ours."""
    from nni_plugins.evaluators.mmlab.backbone import Backbone
    from nni_plugins.evaluators.mmlab.checkpoints import newest
    from nni_plugins.evaluators.mmlab.loading import load_plain

    choice = plugin.backbone(network)
    module = Backbone(choice.architecture, choice.space, choice.arguments)
    checkpoint = newest(training / WORK)
    if checkpoint is None:
        raise CheckpointError(f"{training / WORK} holds no finished training.", "Run the command again.")
    state = weights_of(load_plain(checkpoint))
    prefix = "backbone."
    own = {str(key).removeprefix(prefix): value for key, value in state.items() if str(key).startswith(prefix)}
    fit(module, own, str(training))
    assert isinstance(plugin.space, ImageSpace)
    space = type(plugin.space)(**{**plugin.space.config(), **choice.arguments})
    description = describe(ImageSubject(space.name, space, network), _sized(space), 2)
    name, arguments = description["timm"] or (None, {})
    save_safetensors(folder / SAFETENSORS, _body(module.network.state_dict(), whole=False))
    handed.files[SAFETENSORS] = "weights of the detector's backbone, for timm and NASBackbone"
    width, height = plugin.recipe.images.size
    _onnx(folder, module, torch.zeros(2, 3, height, width), handed, "the backbone's feature maps", {})
    handed.use = _use(name, arguments, classifies=False)


def _sized(space: ImageSpace) -> Recipe:
    """A recipe that leaves the networks of ``space`` as large as they are."""
    return changed(recipe("modern"), {f"network.sizes.{space.name}": _own(space)})


def _own(space: ImageSpace) -> dict[str, Any]:
    return {key: value for key, value in space.config().items() if key not in ("classes", "head", "input_channels")}


def _body(state: Mapping[str, torch.Tensor], whole: bool) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if whole or not key.startswith(("classifier.", "auxiliary."))}


def _onnx(
    folder: Path, module: nn.Module, example: torch.Tensor, handed: Handed, what: str, metadata: Mapping[str, Any]
) -> None:
    try:
        export_onnx(module, example, folder / ONNX, metadata)
    except (MissingBackend, ExportError) as error:
        handed.missing.append(f"{ONNX}: {error.problem} {error.remedy}".strip())
        return
    handed.files[ONNX] = f"{what}, for batches of any size, compared with PyTorch's outputs"


def _use(name: str | None, arguments: Mapping[str, Any], classifies: bool) -> str:
    if name is None:
        return ""
    arguments = arguments if classifies else {**arguments, "num_classes": 0}
    given = "".join(f",\n    {key}={value!r}" for key, value in arguments.items())
    return (
        "import timm\nimport nni_plugins.evaluators.interchange.timm_models\n\n"
        f"network = timm.create_model(\n    {name!r}{given},\n    checkpoint_path={SAFETENSORS!r},\n)"
    )


def _recipe(plugin: StandAlonePlugin, space: ImageSpace, images: ImageSet) -> Recipe:
    """What the stand-alone training did, as a recipe."""
    given = plugin.settings.training
    side = images.size[0]
    mean, std = images.statistics()
    return Recipe.model_validate(
        {
            "source": "nni-plugins auto, for a comparison of networks in minutes",
            "epochs": given.epochs,
            "batch_size": given.batch_size,
            "optimizer": {
                "name": "sgd",
                "learning_rate": given.learning_rate,
                "momentum": given.momentum,
                "nesterov": given.nesterov,
                "weight_decay": given.weight_decay,
                "gradient_clip": given.gradient_clip,
            },
            "schedule": {"name": "cosine"},
            "input": {"size": side, "mean": tuple(mean.tolist()), "std": tuple(std.tolist())},
            "augmentation": {"kind": "padded_crop", "padding": max(1, side // 8), "flip": 0.5},
            "network": {"sizes": {space.name: _own(space)}},
        }
    )


def _card(space: Any, network: Architecture, handed: Handed, lines: list[str]) -> str:
    parts = [
        "---\nlibrary_name: timm\nlicense: unknown\ntags:\n- timm\n- neural-architecture-search\n---",
        "# A network that nni-plugins auto found",
        f"`{space.to_string(network)}` of {space.name}.",
        "\n".join(f"- {line}" for line in lines),
        "## Files",
        "\n".join(f"- `{name}`: {what}" for name, what in handed.files.items()),
    ]
    if handed.use:
        parts += ["## Use", f"```python\n{handed.use}\n```"]
    versions = "\n".join(f"- {name} {number}" for name, number in checkpoints.versions().items())
    return "\n\n".join([*parts, "## Versions", versions]) + "\n"
