"""One of timm's backbones by its name: the spec that hmr needs of it."""

from __future__ import annotations

import timm
import torch

from hmr_core.errors import UsageError, did_you_mean
from hmr_core.nn.backbones.backbone import Backbone
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.plugins import BackboneSpec
from hmr_timm.backbone import FAMILY, TimmBackbone


def member(name: str) -> BackboneSpec:
    """The spec of `timm/NAME`. UsageError for what timm does not have, or has no feature maps of."""
    own = name.removeprefix(FAMILY)
    architecture = own.partition(".")[0]
    if not timm.is_model(architecture):
        raise UsageError(
            f'timm {timm.__version__} has no model "{own}".{did_you_mean(architecture, timm.list_models())} List them: '
            "python -c 'import timm; print(timm.list_models())'"
        )
    try:
        with torch.device("meta"):
            shape = TimmBackbone(BackboneConfig(name=name))
    except (RuntimeError, AttributeError, AssertionError, TypeError, NotImplementedError) as error:
        raise UsageError(f"timm's {own} gives no feature maps: {error}") from error
    return BackboneSpec(
        name=name,
        summary=f"timm's {own}: maps at {', '.join(f'1/{m.stride}' for m in shape.maps)}",
        build=_build,
        stride=shape.maps[-1].stride,
    )


def _build(config: BackboneConfig, has_stem: bool) -> Backbone:
    return TimmBackbone(config, has_stem=has_stem)
