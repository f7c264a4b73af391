"""The vision transformer as a backbone.

Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021 (arXiv 2010.11929). Parameter names are timm's, as DeiT,
MAE, DINO and DINOv2 have them, too; torchvision's and ViTPose's files are read as well. Deviations: no classifier; the
map is that of the patches after the last norm; the position embedding is resampled (bicubic) to the image's own grid,
at load to the config's class token and in forward to images of other sides, square or not. DINOv2's scale of a branch
is multiplied into the branch's last layer, which gives the same. ViTPose's network pads its image by two pixels, ours
does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.errors import HmrError
from hmr_core.nn.backbones.backbone import Backbone, FeatureMap
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.drop_path import DropPath, drop_rates
from hmr_core.nn.backbones.mlp import Mlp

WIDTHS = {"vit_small": 384, "vit_base": 768, "vit_small_14": 384, "vit_base_14": 768}
"""Length of a token."""

BLOCKS = 12
GRID = {16: 14, 14: 37}
"""Patches along a side of the image that the position embedding is of, by the patch's side in pixels.

224 pixels for patches of 16, and for those of 14, which DINOv2 has, 518.
"""

_HEAD = 64
"""Length of a head's part of a token."""

_EPS = 1e-6


def patch_size(name: str) -> int:
    """The side of a patch in pixels."""
    return 14 if name.endswith("_14") else 16


class Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // _HEAD, 1)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The attended tokens."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return out


class Block(nn.Module):
    """Attention and an Mlp, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width)
        self.drop_path = DropPath(drop)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The block's output."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class PatchEmbed(nn.Module):
    """Patches to tokens; `proj` is what timm calls it."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens h w"]:
        """The map of the patches."""
        y: Tensor = self.proj(image)
        return y


class ViT(Backbone):
    """The vision transformer of `config.name`: one map, of patches of 16 or 14 pixels.

    Initialised as in timm (normal, deviation 0.02), with the global generator.
    """

    def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
        super().__init__(config, has_stem=has_stem)
        width = WIDTHS[config.name] if config.width is None else config.width
        if width > _HEAD and width % _HEAD:
            raise HmrError(f"backbone.width of {config.name} is at most {_HEAD} or a multiple of it, not {width}.")
        patch = patch_size(config.name)
        if has_stem:
            self.patch_embed = PatchEmbed(width, patch)
        self.grid = GRID[patch]
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + config.class_token, width))
        self.blocks = nn.Sequential(*(Block(width, drop) for drop in drop_rates(config.drop_path, BLOCKS)))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.maps = (FeatureMap(width, patch),)
        self.stem_map = FeatureMap(width, patch)
        nn.init.normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h w"]:
        """Compute the map of the patches, without their positions."""
        x: Tensor = self.patch_embed(image)
        return x

    def stage_features(self, x: Float[Tensor, "batch stem h w"]) -> list[Tensor]:
        """Compute the one map."""
        height, width = x.shape[2:]
        positions = self.pos_embed[:, self.config.class_token :]
        tokens = x.flatten(2).transpose(1, 2) + resampled(positions, (self.grid, self.grid), (height, width))
        if self.config.class_token:
            first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
            tokens = torch.cat([first.to(tokens.dtype), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens))[:, self.config.class_token :]
        return [tokens.transpose(1, 2).unflatten(2, (height, width))]

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring torchvision's, MAE's, DINOv2's and ViTPose's names to timm's, and the positions to the own grid.

        Without decoders, classifiers, and what masked patches are replaced by.
        """
        named = {_timm_name(name): value for name, value in state.items()}
        left_out: tuple[str, ...] = ("head", "fc_norm.", "mask_token", "decoder_", "keypoint_head.", "register_tokens")
        if not self.has_stem:
            left_out = (*left_out, "patch_embed.")
        kept = {name: value for name, value in named.items() if not name.startswith(left_out)}
        for name in [name for name in kept if re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", name)]:
            _multiply_in(kept, name)
        if "pos_embed" in kept:
            kept["pos_embed"] = self._own_positions(kept["pos_embed"], "cls_token" in kept)
        return kept

    def _own_positions(self, embedding: Tensor, has_class_token: bool) -> Tensor:
        """A file's position embedding for the own grid; as it is where its grid cannot be told.

        ViTPose's has a place for the class token that its network lacks, and adds what stands there to every patch.
        """
        places = embedding.shape[1] if embedding.ndim == 3 else 0
        has_first = has_class_token or _grid(places) is None
        grid = _grid(places - has_first)
        if grid is None:
            return embedding
        first, patches = embedding[:, :has_first], embedding[:, has_first:]
        if has_first and not has_class_token:
            return resampled(patches + first, grid, (self.grid, self.grid))
        return torch.cat([first, resampled(patches, grid, (self.grid, self.grid))], dim=1)


def _grid(places: int) -> tuple[int, int] | None:
    """Height and width of the grid of so many patches: of a square image, or of a person's, which is 4 by 3."""
    side = math.isqrt(places)
    if side and side**2 == places:
        return side, side
    unit = math.isqrt(places // 12)
    return (4 * unit, 3 * unit) if unit and 12 * unit**2 == places else None


def resampled(
    positions: Float[Tensor, "1 places width"], grid: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "1 places2 width"]:
    """The position embedding of a grid (height, width) for another, bicubic."""
    if size == grid:
        return positions
    places = positions.transpose(1, 2).reshape(len(positions), -1, *grid)
    return F.interpolate(places, size=size, mode="bicubic", antialias=True).flatten(2).transpose(1, 2)


def _multiply_in(state: dict[str, Tensor], scale: str) -> None:
    """Take a branch's scale out of a state dict, into the weight and the bias of the branch's last layer.

    It stays where it is of no such layer, so that the caller's check names it.
    """
    block, branch, _ = scale.rsplit(".", 2)
    layer = f"{block}.attn.proj" if branch == "ls1" else f"{block}.mlp.fc2"
    gamma, weight, bias = (state.get(name) for name in (scale, f"{layer}.weight", f"{layer}.bias"))
    if (
        gamma is None
        or weight is None
        or bias is None
        or weight.ndim != 2
        or not gamma.shape == bias.shape == weight.shape[:1]
    ):
        return
    state[f"{layer}.weight"], state[f"{layer}.bias"] = gamma[:, None] * weight, gamma * bias
    del state[scale]


_TORCHVISION = {
    "class_token": "cls_token",
    "encoder.pos_embedding": "pos_embed",
    "conv_proj.weight": "patch_embed.proj.weight",
    "conv_proj.bias": "patch_embed.proj.bias",
    "encoder.ln.weight": "norm.weight",
    "encoder.ln.bias": "norm.bias",
}
_TORCHVISION_BLOCK = {
    "ln_1": "norm1",
    "self_attention.in_proj": "attn.qkv",
    "self_attention.out_proj": "attn.proj",
    "ln_2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
}


def _timm_name(name: str) -> str:
    """timm's name of a tensor that torchvision or ViTPose call `name`; others stay as they are."""
    name = name.removeprefix("backbone.")
    if name in _TORCHVISION:
        return _TORCHVISION[name]
    if match := re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.(.+?)[._](weight|bias)", name):
        return f"blocks.{match[1]}.{_TORCHVISION_BLOCK.get(match[2], match[2])}.{match[3]}"
    return f"norm.{name.removeprefix('last_norm.')}" if name.startswith("last_norm.") else name
