"""The contract of a backbone: an image to feature maps, from fine to coarse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.nn.backbones.config import IMAGENET_MEAN, IMAGENET_STD, BackboneConfig


class FeatureMap(NamedTuple):
    """A map that a backbone gives. stride: pixels of the image for one cell."""

    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """An image to feature maps.

    maps: what forward gives, from fine to coarse. stem_map: what the stem gives and the stages take. A model that goes
    on from a map of its own makes a backbone without stem (has_stem), whose state dict has nothing of one.
    mean, std: of RGB in 0..1, what the image is normalised by; `config.image_norm` may say otherwise.
    """

    maps: tuple[FeatureMap, ...]
    stem_map: FeatureMap
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: BackboneConfig,
        *,
        has_stem: bool = True,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.config = config
        self.has_stem = has_stem
        # No part of a checkpoint: they follow from the config.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Compute the feature maps. image: RGB in 0..1 minus 0.5; its sides are multiples of the coarsest stride."""
        return self.stage_features(self.stem_features(image))

    def stem_features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h w"]:
        """Compute the map that the stages begin with, of what forward takes."""
        if self.config.image_norm == "own":
            image = (image + (0.5 - self.mean)) / self.std
        return self.embed(image)

    @abstractmethod
    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h w"]:
        """Compute the stem's map of a normalised image."""

    @abstractmethod
    def stage_features(self, x: Float[Tensor, "batch stem h w"]) -> list[Tensor]:
        """Compute the feature maps of a map such as the stem gives."""

    @abstractmethod
    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring the weights of a file that people have to this backbone's names and shapes, without what it lacks.

        What is not known stays as it is, so that the caller's check names it.
        """


def scaled(map_: FeatureMap, goal: int) -> int:
    """How many doublings bring a map to a stride of about `goal` pixels: 2 from 32 to 8, 1 from 14 to 8, at least 0."""
    doublings = 0
    while map_.stride / 2**doublings > goal * 2**0.5:
        doublings += 1
    return doublings
