"""A backbone of timm's (Wightman, PyTorch Image Models) by hmr's contract.

timm's networks cannot be cut behind their stem in one way that fits all, so the stem is the image itself: a model that
goes on from a map of its own gives one of three channels and the image's size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor

from hmr_core.nn.backbones.backbone import Backbone, FeatureMap
from hmr_core.nn.backbones.config import BackboneConfig

FAMILY = "timm/"


class TimmBackbone(Backbone):
    """The network that timm calls `config.name` without the family's name, randomly initialised as timm does.

    maps: the deepest map of each stride. Vision transformers take images of any size.
    """

    def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
        name = config.name.removeprefix(FAMILY)
        known: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
        norm = {} if known is None else {"mean": tuple(known.mean), "std": tuple(known.std)}
        super().__init__(config, has_stem=has_stem, **norm)
        self.network = _network(name)
        info = self.network.feature_info
        given = [FeatureMap(*pair) for pair in zip(info.channels(), info.reduction(), strict=True)]
        last = {m.stride: index for index, m in enumerate(given)}
        self.kept = [last[stride] for stride in sorted(last)]
        self.maps = tuple(given[index] for index in self.kept)
        self.stem_map = FeatureMap(3, 1)

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """The image."""
        return image

    def stage_features(self, x: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Compute the maps, channels first."""
        given = self.network(x)
        maps = []
        for index, said in zip(self.kept, self.maps, strict=True):
            features: Tensor = given[index]
            last = features.shape[1] != said.channels and features.shape[-1] == said.channels
            maps.append(features.permute(0, 3, 1, 2) if last else features)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring timm's names of the whole network to those of the part that gives maps; the rest is left out."""
        own = self.state_dict()
        found = {}
        for name, value in state.items():
            # timm takes a list of stages apart, and puts vision transformers under `model`.
            for other in (name, f"network.{name}", f"network.{_apart(name)}", f"network.model.{name}"):
                if other in own:
                    found[other] = value
                    break
        return found or dict(state)


def _apart(name: str) -> str:
    """`stages.0.x` as `stages_0.x`."""
    return re.sub(r"^(\w+?)\.(\d+)\.", r"\1_\2.", name)


def _network(name: str) -> Any:
    """timm's network, which gives maps alone. What takes images of any size is asked to."""
    try:
        return timm.create_model(name, features_only=True, dynamic_img_size=True)
    except TypeError:  # a network of convolutions has no such option
        return timm.create_model(name, features_only=True)
