"""Heads: what a network ends in, described without torch. :mod:`nni_plugins.spaces.head_modules` builds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SpaceError, closest, shown

KINDS = {
    "linear": (),
    "pixels": (),
    "jigsaw": ("tiles",),
    "aspp": ("channels", "rates"),
}
"""Kind -> the options that it reads."""


@dataclass(frozen=True)
class Head:
    """What comes after the last feature map (B, C, h, w).

    ``linear``: global average pooling and a linear classifier, output (B, classes).
    ``pixels``: a 1x1 convolution with bias, output (B, classes, H, W), bilinearly resized to the image (UnNAS,
    colorization). ``jigsaw``: ``tiles`` images (B, tiles, C, h, w) pass the body; their pooled features, in order, feed
    one linear layer (UnNAS). ``aspp``: atrous spatial pyramid pooling with ``channels`` and ``rates``, output (B,
    classes, H, W) (UnNAS, segmentation).
    """

    kind: str = "linear"
    tiles: int = 9
    channels: int = 256
    rates: tuple[int, ...] = (6, 12, 18)

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | Head) -> Head:
        """From a kind's name or a dictionary ``{"kind": ..., option: ...}``.

        Raises:
            SpaceError: an unknown kind, an option that the kind does not read, or a value out of range.
        """
        if isinstance(value, Head):
            return value
        options: dict[str, Any] = (
            {"kind": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
        )
        kind = options.pop("kind", None)
        if kind not in KINDS:
            raise SpaceError(f"head: unknown kind {shown(kind)}; {closest(str(kind), KINDS)}")
        foreign = [key for key in options if key not in KINDS[kind]]
        if foreign:
            raise SpaceError(
                f"head: {kind!r} has no option {shown(foreign[0])}; it reads: {', '.join(KINDS[kind]) or 'none'}."
            )
        if "rates" in options:
            options["rates"] = (
                tuple(options["rates"]) if isinstance(options["rates"], list | tuple) else (options["rates"],)
            )
        numbers = [options.get("tiles", 1), options.get("channels", 1), *options.get("rates", ())]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers):
            raise SpaceError(f"head: tiles, channels and rates must be whole numbers >= 1, but got {shown(options)}.")
        return cls(kind, **options)

    def config(self) -> str | dict[str, Any]:
        """JSON-able; :meth:`of` reads it back."""
        options = {key: getattr(self, key) for key in KINDS[self.kind]}
        return (
            {"kind": self.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}}
            if options
            else self.kind
        )

    @property
    def images(self) -> int:
        """Images of one input: the tiles of a jigsaw, otherwise one."""
        return self.tiles if self.kind == "jigsaw" else 1

    def parameters(self, inputs: int, classes: int) -> int:
        """Weights on ``inputs`` channels."""
        if self.kind == "aspp":
            branches = inputs * self.channels * (2 + 9 * len(self.rates)) + 2 * self.channels * (2 + len(self.rates))
            joined = (2 + len(self.rates)) * self.channels**2 + 2 * self.channels
            return branches + joined + (self.channels + 1) * classes
        return (inputs * self.images + 1) * classes

    def macs(self, inputs: int, classes: int, pixels: int) -> int:
        """Multiply-adds on a feature map of ``pixels`` = h w."""
        if self.kind == "aspp":
            convolved = inputs * self.channels * (1 + 9 * len(self.rates)) * pixels + inputs * self.channels
            return convolved + ((2 + len(self.rates)) * self.channels**2 + self.channels * classes) * pixels
        return inputs * self.images * classes * (pixels if self.kind == "pixels" else 1)
