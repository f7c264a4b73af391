"""A backbone's first weights: what is fetched, what a file must hold, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.nn.backbones.backbone import Backbone
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.plugins.backbones import build_backbone, load_pretrained


def resnet18(**options: Any) -> Backbone:
    return build_backbone(BackboneConfig(name="resnet18", **options))


def imagenet_like(value: float = 0.25) -> dict[str, Tensor]:
    """A state dict as torchvision's files have it: nothing frozen, a classifier, values of our own."""
    own = ResNet(BackboneConfig(name="resnet18")).state_dict()
    state = {name: torch.full_like(tensor, value) for name, tensor in own.items()}
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("freeze", ["none", "first", "all"])
@pytest.mark.parametrize("under", [None, "model", "state_dict"])
def test_a_file_loads(tmp_path: Path, freeze: str, under: str | None) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(imagenet_like() if under is None else {under: imagenet_like(), "epoch": 3}, path)
    backbone = resnet18(weights=str(path), freeze_batch_norm=freeze)
    load_pretrained(backbone)
    state = {name: value for name, value in backbone.state_dict().items() if "num_batches" not in name}
    assert all(bool((value == 0.25).all()) for value in state.values())


def test_a_backbone_without_stem_takes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(imagenet_like(), path)
    backbone = build_backbone(BackboneConfig(name="resnet18", weights=str(path)), has_stem=False)
    load_pretrained(backbone)
    assert not any(name.startswith(("conv1", "bn1")) for name in backbone.state_dict())
    assert bool((backbone.state_dict()["layer4.1.conv2.weight"] == 0.25).all())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            None,
            r'no such file\. Valid for backbone\.weights: "random", "imagenet", or a file of resnet18\'s weights, such '
            r"as resnet18-5c106cde\.pth\.",
        ),
        (
            b"not a file of weights",
            r"it is no file of torch's\. Valid for backbone\.weights: \"random\", \"imagenet\"",
        ),
        (b"", r"it is empty\. Valid for backbone"),
        (b"PK\x03\x04 and no more", r"it is a damaged or cut off zip file, as torch's are: get it again"),
        (b"\x80\x02}q\x00", r"it is no file of torch's, or a damaged one"),
        (
            b"\x20" + bytes(7) + b"{",
            r"cannot be read as safetensors: .*\. It is cut off or damaged: copy it",
        ),
        (["a list"], r"does not hold a state dict \(names to tensors\).*: it holds a list\."),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"does not fit resnet18: it lacks bn1\.bias and 98 more"),
        ({**imagenet_like(), "extra": torch.zeros(1)}, r"it has the unknown extra\. Is backbone\.name the file's\?"),
        ({**imagenet_like(), "conv1.weight": torch.zeros(32, 3, 7, 7)}, r"it has another shape of conv1\.weight\."),
        (
            {**imagenet_like(), "conv1.weight": torch.full((64, 3, 7, 7), math.nan)},
            r"holds numbers that are not finite, first in conv1\.weight: it is damaged\. Get it again",
        ),
    ],
    ids=["missing", "garbage", "empty", "zip", "pickle", "safetensors", "list", "part", "extra", "shape", "nan"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    backbone = resnet18(weights=str(path))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(HmrError, match=text):
        load_pretrained(backbone)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_weights_that_cannot_be_fetched_name_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **options: Any) -> dict[str, Tensor]:
        assert url == "https://download.pytorch.org/models/resnet18-5c106cde.pth"
        assert options["check_hash"]
        assert options["weights_only"]
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(HmrError, match=r"resnet18-5c106cde\.pth could not be fetched: no route to host.*weights=FILE"):
        load_pretrained(resnet18(weights="imagenet"))


@pytest.mark.parametrize("nested", [False, True])
def test_fetched_weights_are_loaded(monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    held = {"model": imagenet_like()} if nested else imagenet_like()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **options: held)
    backbone = resnet18(weights="imagenet")
    load_pretrained(backbone)
    assert bool((backbone.state_dict()["conv1.weight"] == 0.25).all())
    with pytest.raises(HmrError, match=r"nothing to fetch for one of another width, 32\. .*backbone\.width=null"):
        load_pretrained(resnet18(width=32, weights="imagenet"))
