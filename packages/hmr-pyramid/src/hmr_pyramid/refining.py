"""Two ways to a second look at the joints. What they bring was not measured yet, and the recipes leave them out.

Refinement samples the maps where the joints were found (Potamias et al., WiLoR, CVPR 2025, sample them at a coarse
hand's vertices). The token decoder lets each joint's token look at the whole map and at the other joints (Pavlakos et
al., HaMeR, CVPR 2024, have one token for the whole hand). Either says what is to be added to UVD, at first nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.hand.joints import N_JOINTS
from hmr_core.nn.backbones.backbone import FeatureMap

_HEADS = 4


class Sampler(nn.Module):
    """Maps and joints to a token for each joint: what the maps have where it is, which joint it is, and where."""

    def __init__(self, maps: Sequence[FeatureMap], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Linear(m.channels, width) for m in maps)
        self.joints = nn.Parameter(torch.zeros(N_JOINTS, width))
        self.places = nn.Linear(3, width)
        nn.init.normal_(self.joints, std=0.02)

    def forward(self, maps: Sequence[Tensor], uvd: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 21 width"]:
        """The tokens. A joint outside the crop has nothing of the maps."""
        grid = 2 * uvd[:, :, None, :2] - 1
        tokens: Tensor = self.joints + self.places(uvd - 0.5)
        for lateral, features in zip(self.laterals, maps, strict=True):
            found = F.grid_sample(features, grid.to(features.dtype), align_corners=False)
            tokens = tokens + lateral(found[..., 0].transpose(1, 2))
        return tokens


class Refinement(nn.Module):
    """What is to be added to UVD, round after round, by features of all maps at the joints."""

    def __init__(self, maps: Sequence[FeatureMap], width: int, rounds: int) -> None:
        super().__init__()
        self.samplers = nn.ModuleList(Sampler(maps, width) for _ in range(rounds))
        # All joints at once: what is wrong with one says something of its neighbours.
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Flatten(1),
                nn.Linear(N_JOINTS * width, N_JOINTS * 3),
            )
            for _ in range(rounds)
        )
        for head in self.heads:
            assert isinstance(head, nn.Sequential)
            last = head[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, maps: Sequence[Tensor], uvd: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 21 3"]:
        """The joints after all rounds; each round's places are taken as given."""
        for sampler, head in zip(self.samplers, self.heads, strict=True):
            uvd = uvd + head(sampler(maps, uvd.detach())).view(-1, N_JOINTS, 3)
        return uvd


class TokenDecoder(nn.Module):
    """What is to be added to UVD, by tokens of the joints that look at the map and at each other."""

    def __init__(self, features: FeatureMap, layers: int) -> None:
        super().__init__()
        width = features.channels
        self.sampler = Sampler([features], width)
        self.cells = nn.Linear(2, width)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(
                width, _HEADS, 2 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
            ),
            layers,
            nn.LayerNorm(width),
        )
        self.out = nn.Linear(width, 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, features: Float[Tensor, "batch channels h w"], uvd: Float[Tensor, "batch 21 3"]
    ) -> Float[Tensor, "batch 21 3"]:
        """The joints."""
        height, width = features.shape[2:]
        y, x = torch.meshgrid(
            *(
                torch.arange(n, dtype=features.dtype, device=features.device).add(0.5) / n - 0.5
                for n in (height, width)
            ),
            indexing="ij",
        )
        memory = features.flatten(2).transpose(1, 2) + self.cells(torch.stack([x, y], dim=-1).flatten(0, 1))
        tokens = self.decoder(self.sampler([features], uvd.detach()), memory)
        moved: Tensor = uvd + self.out(tokens)
        return moved
