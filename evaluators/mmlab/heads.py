"""``NASASPPHead`` in mmseg's registry: ``custom_imports = dict(imports=["nni_plugins.evaluators.mmlab.heads"])``.
Importing this module imports mmseg.

Atrous spatial pyramid pooling as UnNAS (Liu et al., ECCV 2020, Cityscapes) builds it: mmseg's own ASPPHead, but for the
convolution that joins the branches, which is 1x1 there and 3x3 in mmseg. Its weights are those of ``head="aspp"`` in
:mod:`nni_plugins.spaces.heads`.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .installation import require_mm

NAME = "NASASPPHead"


def register() -> Any:
    """The class in mmseg's registry; importing this module does it. Again does no harm.

    Raises:
        ConfigError: another class has that name.
        MissingBackend: mmseg or what it needs is not installed.
    """
    models = require_mm("mmseg.registry").MODELS
    known = models.module_dict.get(NAME)
    if known is None:
        known = _class(require_mm("mmseg.models.decode_heads.aspp_head").ASPPHead, require_mm("mmcv.cnn").ConvModule)
        models.register_module(name=NAME, module=known)
    elif known.__module__ != __name__:
        raise ConfigError(f"two models are called {NAME}: {known.__module__}.{known.__qualname__} and ours.")
    return known


def _class(aspp: Any, conv: Any) -> Any:
    class NASASPPHead(aspp):  # type: ignore[misc]
        """mmseg's ASPPHead with ``dilations`` (1, 6, 12, 18), a 1x1 convolution after the branches, and by default no
        dropout.
        """

        def __init__(self, *args: Any, dropout_ratio: float = 0.0, align_corners: bool = True, **options: Any) -> None:
            super().__init__(*args, dropout_ratio=dropout_ratio, align_corners=align_corners, **options)
            joined = (len(self.dilations) + 1) * self.channels
            self.bottleneck = conv(
                joined, self.channels, 1, conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg
            )

    NASASPPHead.__module__, NASASPPHead.__qualname__ = __name__, NAME
    return NASASPPHead


NASASPPHead = register()
