"""Networks as files for other programs: ONNX, and ``torch.export``'s archive. No file is written before it was run and
compared.

Both formats take batches of any size. The exported graph is that of evaluation: batch norms use their running
statistics.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.operations import Noise
from nni_plugins.spaces.staged import StagedNetwork

from ..backends import require
from ..errors import ExportError
from ..files import atomic_write
from ..randomness import torch_seed

EXTRA = "export"
RELATIVE, OF_SPREAD = 1e-6, 1e-3
"""What a file may differ by, in parts of the largest output and of the spread. PyTorch's own float32 output of a DARTS
network at 224 pixels is off by 8e-5 of the spread against float64 (measured), and other engines add in other orders."""
BATCHES = (1, 5)
"""Batch sizes that are compared; neither is the one that is traced."""

Outputs = list[torch.Tensor]
Run = Callable[[torch.Tensor], Outputs]


@dataclass(frozen=True)
class Exported:
    """What was written. ``difference``: the largest between the file's and the network's outputs on random images;
    ``spread``: the largest of the network's outputs from their mean over images, without which a small difference says
    little."""

    file: Path
    format: str
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float
    spread: float


def export_onnx(
    network: nn.Module, example: torch.Tensor, path: Path | str, metadata: Mapping[str, Any] | None = None
) -> Exported:
    """Write ``network`` as one ONNX file with weights inside, and compare it with what ONNX Runtime makes of it.

    Args:
        network: on any device; its training mode is left as it is.
        example: (B, C, H, W); height and width of the exported network's images, B of any size.
        path: replaced if it exists.
        metadata: JSON-able values by their names, such as class names and normalisation: kept in the file as texts of JSON
            (``metadata_props`` of ONNX, the extra file ``metadata.json`` of ``torch.export``).

    Raises:
        ExportError: an output that is random or not the network's; ``path`` is then as before.
        MissingBackend: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, _ = (require(module, EXTRA) for module in ("onnx", "onnxscript"))
    runtime = require("onnxruntime", EXTRA)
    with _evaluating(network), _quiet():
        expected = _expected(network, example)
        names = ["output"] if len(expected[0][1]) == 1 else [f"output_{i}" for i in range(len(expected[0][1]))]
        try:
            program: Any = torch.onnx.export(
                network,
                (_traced(example),),
                dynamo=True,
                verbose=False,
                external_data=False,
                dynamic_shapes=_any_batch(),
                input_names=["images"],
                output_names=names,
            )
            proto = program.model_proto
            onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in (metadata or {}).items()})
            content: bytes = proto.SerializeToString()
            session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # torch, onnxscript and onnxruntime raise what they like
            raise _refused("ONNX", error) from error

    def run(images: torch.Tensor) -> Outputs:
        return [torch.from_numpy(y) for y in session.run(names, {"images": images.numpy()})]

    return _checked(content, "ONNX", Path(path), run, expected, ("images",), tuple(names))


def export_torch(
    network: nn.Module, example: torch.Tensor, path: Path | str, metadata: Mapping[str, Any] | None = None
) -> Exported:
    """Write ``network`` as a ``torch.export`` archive (usually ``.pt2``), and compare it with what
    ``torch.export.load`` makes of it.

    Arguments and errors as :func:`export_onnx`; nothing but torch is needed.
    """
    with _evaluating(network), _quiet():
        expected = _expected(network, example)
        try:
            program = torch.export.export(network, (_traced(example),), dynamic_shapes=_any_batch())
            buffer = io.BytesIO()
            torch.export.save(program, buffer, extra_files={"metadata.json": json.dumps(dict(metadata or {}))})
            loaded = torch.export.load(io.BytesIO(buffer.getvalue()))
        except Exception as error:  # torch raises what it likes
            raise _refused("torch.export", error) from error
    module, signature, device = loaded.module(), loaded.graph_signature, example.device

    def run(images: torch.Tensor) -> Outputs:
        with torch.no_grad():
            return _listed(module(images.to(device)))

    inputs, outputs = (tuple(map(str, names)) for names in (signature.user_inputs, signature.user_outputs))
    return _checked(buffer.getvalue(), "torch.export", Path(path), run, expected, inputs, outputs)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Within the block the network is in evaluation mode; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' advice to their own authors."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _traced(example: torch.Tensor) -> torch.Tensor:
    """Two images: torch.export takes a batch of one for a constant."""
    return torch.zeros(2, *example.shape[1:], dtype=example.dtype, device=example.device)


def _listed(output: torch.Tensor | Sequence[torch.Tensor]) -> Outputs:
    return [y.detach().cpu() for y in ([output] if isinstance(output, torch.Tensor) else output)]


def _expected(network: nn.Module, example: torch.Tensor) -> list[tuple[torch.Tensor, Outputs]]:
    """Random images, standard normal, and the network's outputs on them."""
    noisy = next((name for name, module in network.named_modules() if isinstance(module, Noise)), None)
    if noisy is not None:
        raise ExportError(
            f"{noisy}: the noise operation draws its output anew at every call, so no exported file can be checked against it."
        )
    draws = torch.Generator().manual_seed(torch_seed(0, "export"))
    pairs = []
    with torch.no_grad():
        for batch in BATCHES:
            images = torch.randn(batch, *example.shape[1:], dtype=example.dtype, generator=draws)
            pairs.append((images, _listed(network(images.to(example.device)))))
    return pairs


def _refused(form: str, error: Exception) -> ExportError:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportError(
        f"{form} cannot hold this network: {reason.strip()[:200]}",
        "Export it in the other format, or report this as a bug.",
    )


def _checked(
    content: bytes,
    form: str,
    path: Path,
    run: Run,
    expected: list[tuple[torch.Tensor, Outputs]],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> Exported:
    """Compare, then write.

    Raises:
        ExportError: an output differs by more than :data:`OF_SPREAD` of its spread plus :data:`RELATIVE` of its largest
            value.
    """
    difference = spread = 0.0
    answers = [run(images) for images, _ in expected]
    for position in range(len(outputs)):
        ours = torch.cat([wanted[position] for _, wanted in expected])
        theirs = torch.cat([answer[position] for answer in answers])
        if theirs.shape != ours.shape:
            raise ExportError(
                f"{form}: {outputs[position]} has shape {tuple(theirs.shape)} instead of {tuple(ours.shape)}; nothing was written."
            )
        apart, between = (theirs - ours).abs().max().item(), (ours - ours.mean(0)).abs().max().item()
        allowed = OF_SPREAD * between + RELATIVE * ours.abs().max().item()
        if not apart <= allowed:  # NaN too
            raise ExportError(
                f"{form}: {outputs[position]} differs from the network's by {apart:.3g}, more than {allowed:.3g}; nothing was written."
            )
        difference, spread = max(difference, apart), max(spread, between)
    atomic_write(path, content)
    return Exported(path, form, len(content), inputs, outputs, difference, spread)


class FeatureMaps(nn.Module):
    """A network's feature maps in place of its answer: (B, C, H, W) -> a list of (B, channels, h, w), one a stage.

    ``maps``: channels and stride of each.

    Raises:
        ExportError: the network has no such maps.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if isinstance(network, StagedNetwork):
            self.maps = [(stage.channels, stage.stride) for stage in network.all_stages]
        elif hasattr(network, "forward_intermediates"):  # timm's
            info: Any = network.feature_info
            self.maps = [(stage["num_chs"], stage["reduction"]) for stage in info]
        else:
            raise ExportError(f"{type(network).__name__} has no feature maps to export.", "Leave --features out.")

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if isinstance(self.network, StagedNetwork):
            return StagedNetwork.forward_features(self.network, x, range(len(self.maps)))
        maps: list[torch.Tensor] = self.network.forward_intermediates(x, intermediates_only=True)  # type: ignore[operator]
        return maps


def usual_image_size(space: ImageSpace) -> int:
    """Pixels a side that a space's networks are usually trained on: 32 behind a CIFAR stem, otherwise 224."""
    return 32 if space.config().get("stem") == "cifar" else 224
