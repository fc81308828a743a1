"""``NASBackbone`` in OpenMMLab's registries:
``custom_imports = dict(imports=["nni_plugins.evaluators.mmlab.backbones"])`` in any configuration file.

It stands in mmengine's registry of models, which those of mmdet and mmseg fall back on. Importing this module imports
mmengine and nothing else of OpenMMLab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .backbone import Backbone
from .installation import require_mm

NAME = "NASBackbone"


def register() -> type[Backbone]:
    """The class in mmengine's registry; importing this module does it. Again does no harm.

    Raises:
        ConfigError: another class has that name.
        MissingBackend: mmengine is not installed.
    """
    models = require_mm("mmengine.registry").MODELS
    known = models.module_dict.get(NAME)
    if known is None:
        known = _class(require_mm("mmengine.model").BaseModule)
        models.register_module(name=NAME, module=known)
    elif not issubclass(known, Backbone):
        raise ConfigError(f"two models are called {NAME}: {known.__module__}.{known.__qualname__} and ours.")
    return known  # type: ignore[no-any-return]


def _class(base: Any) -> type[Backbone]:
    class NASBackbone(Backbone, base):  # type: ignore[misc]
        """:class:`nni_plugins.evaluators.mmlab.backbone.Backbone` with mmengine's ``init_cfg``.

        ``init_cfg=dict(type="Pretrained", checkpoint=...)`` without a ``prefix`` is the same as ``checkpoint=...``;
        whatever else mmengine knows is done by mmengine.
        """

        def __init__(
            self, *args: Any, init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, **options: Any
        ) -> None:
            rest = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
            ours = [
                item for item in rest if item.get("type") in ("Pretrained", "PretrainedInit") and "prefix" not in item
            ]
            if len(ours) > 1 or (ours and options.get("checkpoint")):
                raise ConfigError("init_cfg and checkpoint name weights twice.", "Leave one of them out.")
            if ours:
                options["checkpoint"] = ours[0].get("checkpoint")
            super().__init__(*args, **options)
            self.init_cfg = [item for item in rest if item not in ours] or None

        def init_weights(self) -> None:
            """What ``init_cfg`` says, then the weights of ``checkpoint``."""
            base.init_weights(self)
            Backbone.init_weights(self)

    NASBackbone.__module__, NASBackbone.__qualname__ = __name__, NAME
    return NASBackbone


NASBackbone = register()
