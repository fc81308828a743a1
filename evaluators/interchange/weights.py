"""The weights of a network that is about to be used: read from a file, or random ones that let an image through."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..backends import require
from ..errors import CheckpointError
from ..files import atomic_write
from ..randomness import torch_seed
from ..training.checkpoint import State, load_weights


def settle(network: nn.Module, example: torch.Tensor) -> None:
    """Set the running statistics of batch norms to those of eight random images shaped like one of ``example``.

    For untrained networks: with initial statistics each layer scales its input down, and hardly anything of an image
    reaches the output.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    draws = torch.Generator().manual_seed(torch_seed(0, "batch norms"))
    training = network.training
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, *example.shape[1:], dtype=example.dtype, generator=draws).to(example.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


WEIGHTS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys that hold a checkpoint's weights, in timm's order: a moving average, where there is one, before the weights that
it is of.
"""


def load_into(network: nn.Module, file: Path | str) -> None:
    """Load a state dictionary into ``network``: plain, or under one of :data:`WEIGHTS` as our and timm's checkpoints
    have it.

    Weights of an auxiliary head are left out where the network has none.

    Raises:
        CheckpointError: unreadable, or weights that do not fit; the first three of each kind are named.
    """
    path = Path(file)
    fit(network, weights_of(read_weights(path)), str(path))


BLOCK = "nni_plugins"
"""Where our part of a checkpoint stands."""


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the weights in a checkpoint, under all of :data:`WEIGHTS`: names, types, shapes and values. torch itself
    does not notice a flipped bit.
    """
    found = hashlib.sha256()
    for key in WEIGHTS:
        state = content.get(key)
        for name, value in sorted(state.items()) if isinstance(state, Mapping) else ():
            plain = value.detach().cpu().contiguous()
            found.update(f"{key} {name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            found.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
"""In a folder in Hugging Face's layout, in the order in which one is taken."""


def read_weights(path: Path) -> State:
    """The dictionary in a file of weights, or in that of a folder in Hugging Face's layout. Those of our checkpoints must
    have the hash that they were written with.

    Raises:
        CheckpointError: unreadable, damaged, or not a file of plain weights.
    """
    if path.is_dir():
        inside = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
        if inside is None:
            raise CheckpointError(
                f"{path}: is a folder without {' or '.join(WEIGHT_FILES)}.", "Name the file of weights."
            )
        path = inside
    try:
        whole = path.read_bytes()
        if path.suffix == ".safetensors":
            return _safetensors(whole, str(path))
        content = load_weights(whole, str(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({os.strerror(error.errno or 0)}).") from None
    block = content.get(BLOCK)
    expected = block.get("sha256") if isinstance(block, Mapping) else None
    try:
        intact = expected is None or digest(content) == expected
    except (AttributeError, TypeError, RuntimeError):  # something else than tensors
        intact = False
    if not intact:
        raise CheckpointError(
            f"{path} is damaged: its weights do not have the hash that they were written with.",
            "Take another copy of it; nni-plugins retrain writes its last.pth.tar anew.",
        )
    return content


def _safetensors(content: bytes, name: str) -> State:
    load = require("safetensors.torch", "timm").load
    try:
        return dict(load(content))
    except Exception as error:  # of a library written in Rust
        raise CheckpointError(f"{name}: refused, it is no file of safetensors ({str(error)[:100]}).") from None


def save_safetensors(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write ``state`` atomically, for any program that reads safetensors.

    Raises:
        CheckpointError: the disk is full or read-only; MissingBackend: safetensors is not installed.
    """
    save = require("safetensors.torch", "timm").save
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    atomic_write(path, cast(bytes, save(plain, {"format": "pt"})))


WRAPPERS = ("_orig_mod.", "module.")
"""What torch.compile and DistributedDataParallel put before the names of weights."""


def weights_of(content: State) -> State:
    """The weights within a checkpoint, or ``content`` itself, by the names that they have in the plain network."""
    found = next((content[key] for key in WEIGHTS if isinstance(content.get(key), Mapping)), content)
    while found and (wrapper := next((w for w in WRAPPERS if all(str(key).startswith(w) for key in found)), None)):
        found = {str(key).removeprefix(wrapper): value for key, value in found.items()}
    return dict(found)


def fit(
    network: nn.Module, state: State, name: str, remedy: str = "Pass the space arguments that it was trained with."
) -> None:
    """Load ``state``, which is called ``name`` in errors; see :func:`load_into`."""
    wanted = network.state_dict()
    broken = [
        key
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise CheckpointError(
            f"{name}: NaN or infinite numbers in {', '.join(map(str, broken[:3]))}{more}.",
            "Take an earlier checkpoint.",
        )
    state = {key: value for key, value in state.items() if key in wanted or not str(key).startswith("auxiliary.")}
    shapes = {key: tuple(getattr(value, "shape", ())) for key, value in state.items()}
    problems = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [str(key) for key in state if key not in wanted],
        "of another shape": [
            f"{key} {shapes[key]} instead of {tuple(value.shape)}"
            for key, value in wanted.items()
            if shapes.get(key, value.shape) != value.shape
        ],
    }
    if any(problems.values()):
        parts = [
            f"{len(keys):,} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in problems.items()
            if keys
        ]
        raise CheckpointError(f"{name} does not fit this network: {'; '.join(parts)}.", remedy)
    network.load_state_dict(state)
