"""ConvNeXt and the vision transformer: weights in the layouts of timm, torchvision, the authors, MAE, DINOv2, ViTPose.

The files are made here, with the names and shapes that theirs have; the numbers are random. Whether the outputs are
timm's own is tested where timm is (hmr-timm).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hmr_core.nn.backbones.backbone import Backbone
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.plugins.backbones import build_backbone

State = dict[str, Tensor]


def random_state(backbone: Backbone) -> State:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in backbone.state_dict().items()
    }


def renamed(state: State, *rules: tuple[str, str]) -> State:
    """A state dict with each name changed by the first rule that fits it: a pattern, and what it becomes."""

    def name_of(name: str) -> str:
        for pattern, to in rules:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, to, name)
        raise AssertionError(f"no rule for {name}")

    return {name_of(name): value for name, value in state.items()}


def torchvision_convnext(state: State) -> State:
    block = r"stages\.(\d)\.blocks\.(\d+)"
    new = renamed(
        state,
        (r"stem\.(.*)", r"features.0.\1"),
        (rf"{block}\.conv_dw\.(.*)", r"features.\1!.\2.block.0.\3"),
        (rf"{block}\.norm\.(.*)", r"features.\1!.\2.block.2.\3"),
        (rf"{block}\.mlp\.fc1\.(.*)", r"features.\1!.\2.block.3.\3"),
        (rf"{block}\.mlp\.fc2\.(.*)", r"features.\1!.\2.block.5.\3"),
        (rf"{block}\.gamma", r"features.\1!.\2.layer_scale"),
        (r"stages\.(\d)\.downsample\.(.*)", r"features.\1?.\2"),
    )
    # Its stages are the odd ones of `features`, and the even ones before them are the downsamplings.
    new = {re.sub(r"(\d)!", lambda m: str(2 * int(m[1]) + 1), name): value for name, value in new.items()}
    new = {re.sub(r"(\d)\?", lambda m: str(2 * int(m[1])), name): value for name, value in new.items()}
    new = {name: value[:, None, None] if name.endswith("layer_scale") else value for name, value in new.items()}
    return {**new, "classifier.0.weight": torch.zeros(3), "classifier.2.weight": torch.zeros(5, 3)}


def authors_convnext(state: State) -> State:
    block = r"stages\.(\d)\.blocks\.(\d+)"
    new = renamed(
        state,
        (r"stem\.(.*)", r"downsample_layers.0.\1"),
        (rf"{block}\.conv_dw\.(.*)", r"stages.\1.\2.dwconv.\3"),
        (rf"{block}\.norm\.(.*)", r"stages.\1.\2.norm.\3"),
        (rf"{block}\.mlp\.fc1\.(.*)", r"stages.\1.\2.pwconv1.\3"),
        (rf"{block}\.mlp\.fc2\.(.*)", r"stages.\1.\2.pwconv2.\3"),
        (rf"{block}\.gamma", r"stages.\1.\2.gamma"),
        (r"stages\.(\d)\.downsample\.(.*)", r"downsample_layers.\1.\2"),
    )
    return {**new, "norm.weight": torch.zeros(3), "head.weight": torch.zeros(5, 3)}


def timm_convnext(state: State) -> State:
    """timm's nano has 1x1 convolutions for linear layers."""
    new = {
        name: value[..., None, None] if re.search(r"mlp\.fc\d\.weight", name) else value
        for name, value in state.items()
    }
    return {**new, "head.norm.weight": torch.zeros(3), "head.fc.weight": torch.zeros(5, 3)}


@pytest.mark.parametrize("name", ["convnext_nano", "convnext_tiny"])
@pytest.mark.parametrize("layout", [torchvision_convnext, authors_convnext, timm_convnext])
def test_convnext_takes_every_layout(name: str, layout: Callable[[State], State]) -> None:
    backbone = build_backbone(BackboneConfig(name=name, width=8))
    state = random_state(backbone)
    found = backbone.own_names(layout(state))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    rest = build_backbone(BackboneConfig(name=name, width=8), has_stem=False)
    assert rest.own_names(layout(state)).keys() == rest.state_dict().keys()


def torchvision_vit(state: State) -> State:
    block = r"blocks\.(\d+)"
    layer = r"encoder.layers.encoder_layer_\1"
    new = renamed(
        state,
        ("cls_token", "class_token"),
        ("pos_embed", "encoder.pos_embedding"),
        (r"patch_embed\.proj\.(.*)", r"conv_proj.\1"),
        (rf"{block}\.norm([12])\.(.*)", rf"{layer}.ln_\2.\3"),
        (rf"{block}\.attn\.qkv\.(.*)", rf"{layer}.self_attention.in_proj_\2"),
        (rf"{block}\.attn\.proj\.(.*)", rf"{layer}.self_attention.out_proj.\2"),
        (rf"{block}\.mlp\.fc1\.(.*)", rf"{layer}.mlp.0.\2"),
        (rf"{block}\.mlp\.fc2\.(.*)", rf"{layer}.mlp.3.\2"),
        (r"norm\.(.*)", r"encoder.ln.\1"),
    )
    return {**new, "heads.head.weight": torch.zeros(5, 3)}


def mae(state: State) -> State:
    more = {"mask_token": torch.zeros(1, 1, 3), "decoder_blocks.0.norm1.weight": torch.zeros(3)}
    return {**state, **more, "decoder_pos_embed": torch.zeros(1, 197, 3), "head.weight": torch.zeros(5, 3)}


@pytest.mark.parametrize("layout", [torchvision_vit, mae])
def test_vit_takes_every_layout(layout: Callable[[State], State]) -> None:
    backbone = build_backbone(BackboneConfig(name="vit_small", width=16))
    state = random_state(backbone)
    found = backbone.own_names(layout(state))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_dinov2_s_scales_are_multiplied_into_the_layers_before_them() -> None:
    backbone = build_backbone(BackboneConfig(name="vit_small_14", width=16)).eval()
    state = random_state(backbone)
    scales = {
        f"blocks.{i}.ls{j}.gamma": torch.rand(16, generator=torch.Generator().manual_seed(10 * i + j)) + 0.5
        for i in range(12)
        for j in (1, 2)
    }
    backbone.load_state_dict(backbone.own_names({**state, **scales, "mask_token": torch.zeros(1, 16)}))
    image = torch.rand(1, 3, 28, 42, generator=torch.Generator().manual_seed(1)) - 0.5
    (found,) = backbone(image)

    scaled = build_backbone(BackboneConfig(name="vit_small_14", width=16)).eval()
    scaled.load_state_dict(state)
    for i, block in enumerate(scaled.get_submodule("blocks").children()):
        for j, branch in ((1, "attn"), (2, "mlp")):
            gamma = scales[f"blocks.{i}.ls{j}.gamma"]
            block.get_submodule(branch).register_forward_hook(lambda _, __, out, gamma=gamma: out * gamma)
    torch.testing.assert_close(found, scaled(image)[0])


def test_vitpose_has_no_class_token_and_its_place_counts_for_every_patch() -> None:
    backbone = build_backbone(BackboneConfig(name="vit_base", width=16, class_token=False))
    state = random_state(backbone)
    places = torch.randn(1, 16 * 12 + 1, 16, generator=torch.Generator().manual_seed(2))
    vitpose = {**state, "pos_embed": places}
    vitpose = renamed(vitpose, (r"norm\.(.*)", r"backbone.last_norm.\1"), ("(.+)", r"backbone.\1"))
    found = backbone.own_names({**vitpose, "keypoint_head.final_layer.weight": torch.zeros(17, 3)})
    assert found.keys() == state.keys()
    grid = (places[:, 1:] + places[:, :1]).transpose(1, 2).unflatten(2, (16, 12))  # 256 x 192 pixels
    expected = torch.nn.functional.interpolate(grid, size=(14, 14), mode="bicubic", antialias=True)
    torch.testing.assert_close(found["pos_embed"], expected.flatten(2).transpose(1, 2))


def test_positions_of_another_grid_are_resampled_and_the_class_token_s_is_kept() -> None:
    backbone = build_backbone(BackboneConfig(name="vit_small", width=16))
    places = torch.randn(1, 24 * 24 + 1, 16, generator=torch.Generator().manual_seed(3))  # 384 pixels
    found = backbone.own_names({**random_state(backbone), "pos_embed": places})["pos_embed"]
    assert found.shape == (1, 14 * 14 + 1, 16)
    assert torch.equal(found[:, 0], places[:, 0])
    constant = backbone.own_names({**random_state(backbone), "pos_embed": torch.ones(1, 577, 16)})["pos_embed"]
    torch.testing.assert_close(constant, torch.ones(1, 197, 16))
    with pytest.raises(RuntimeError, match="size mismatch"):  # no grid: what does not fit is left for the check to name
        backbone.load_state_dict(backbone.own_names({**random_state(backbone), "pos_embed": torch.ones(1, 150, 16)}))


@pytest.mark.parametrize("lacks", ["blocks.3.attn.proj.weight", "blocks.3.attn.proj.bias"])
def test_a_scale_without_its_layer_is_left_for_the_check_to_name(lacks: str) -> None:
    backbone = build_backbone(BackboneConfig(name="vit_small_14", width=16))
    state = {**random_state(backbone), "blocks.3.ls1.gamma": torch.ones(16)}
    del state[lacks]
    assert "blocks.3.ls1.gamma" in backbone.own_names(state)
