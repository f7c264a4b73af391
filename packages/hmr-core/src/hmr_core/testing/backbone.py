"""The contract of a backbone as a test: `check_backbone("name")` in a plugin's own test suite is all that it needs.

Each rule is a function below, in the order in which they are checked; a backbone that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.nn.backbones.backbone import Backbone
from hmr_core.nn.backbones.config import ALWAYS, BackboneConfig
from hmr_core.plugins.registry import discover
from hmr_core.plugins.specs import BackboneSpec
from hmr_core.testing.imports import check_import

SAME = 1e-4
"""Largest difference, over the largest value of a map, between two computations of the same thing."""


def check_backbone(name: str, *, width: int | None = None, device: str = "cpu") -> None:
    """Check an installed backbone against the whole contract; AssertionError says what it breaks and why it matters.

    width: channels of its first stage, for a small one; it must then have the option.
    """
    registry = discover()
    try:
        spec = registry.backbone(name)
    except HmrError as error:
        raise AssertionError(f"{error}") from error
    check_import("backbone", name, registry)
    check_backbone_spec(spec, width=width, device=device)


def check_backbone_spec(spec: BackboneSpec, *, width: int | None = None, device: str = "cpu") -> None:
    """Check a spec and its backbone against all rules but that of the import; see check_backbone."""
    contract = _Contract(spec, width, torch.device(device))
    contract.check_options()
    contract.check_maps()
    contract.check_parts()
    contract.check_gradients()
    contract.check_same_seed()
    contract.check_batch_independence()
    contract.check_own_weights()


class _Contract:
    """The rules, on backbones built from one spec."""

    def __init__(self, spec: BackboneSpec, width: int | None, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.config = BackboneConfig(name=spec.name, width=width)
        generator = torch.Generator().manual_seed(0)
        sides = 3, 2 * spec.stride, 3 * spec.stride  # not square
        self.image = (torch.rand(2, *sides, generator=generator) - 0.5).to(device)

    def check_options(self) -> None:
        """The spec names options that there are, and sources whose digest is in their name."""
        if unknown := set(self.spec.options) - set(BackboneConfig.model_fields) | set(self.spec.options) & set(ALWAYS):
            self._fail(f"its spec's options name {sorted(unknown)[0]}, which is none that a backbone may have or not")
        if self.config.width is not None and "width" not in self.spec.options:
            self._fail("a width was given, and its spec's options do not name it")
        for name, source in self.spec.weights.items():
            digits = source.digits
            if len(digits) < 8 or set(digits) - set("0123456789abcdef"):
                self._fail(f'nothing could tell whether its weights "{name}" came whole: no digest in {source.file}')

    def check_maps(self) -> None:
        """It gives the maps that it says, from fine to coarse, of images that are not square, too."""
        backbone = self._build().eval()
        if not isinstance(backbone, Backbone):
            self._fail(f"build gave a {type(backbone).__name__}, not a hmr_core.nn.backbones.backbone.Backbone")
        if any(fine.stride >= coarse.stride for fine, coarse in pairwise(backbone.maps)):
            self._fail(f"its maps are not ordered from fine to coarse: {backbone.maps}")
        if backbone.maps[-1].stride != self.spec.stride:
            self._fail(f"its coarsest map has stride {backbone.maps[-1].stride}, and its spec says {self.spec.stride}")
        with torch.no_grad():
            maps = backbone(self.image)
        height, width = self.image.shape[2:]
        said = [(2, m.channels, height // m.stride, width // m.stride) for m in backbone.maps]
        if (given := [tuple(m.shape) for m in maps]) != said:
            self._fail(f"its maps have the shapes {given}, and by its `maps` and the image they would have {said}")
        if not all(bool(m.isfinite().all()) for m in maps):
            self._fail("its maps are not finite")

    def check_parts(self) -> None:
        """Stem and stages are what forward does, and a backbone without stem is the rest of one with it."""
        whole, rest = self._build().eval(), self._build(has_stem=False).eval()
        own, of_rest = whole.state_dict(), rest.state_dict()
        if any(name not in own or own[name].shape != value.shape for name, value in of_rest.items()):
            self._fail("without stem it has weights that the whole one has not, so that no file could fill both")
        rest.load_state_dict({name: own[name] for name in of_rest})
        with torch.no_grad():
            early = whole.stem_features(self.image)
            height, width = self.image.shape[2:]
            stem = whole.stem_map
            if tuple(early.shape) != (2, stem.channels, height // stem.stride, width // stem.stride):
                self._fail(f"its stem gives {tuple(early.shape)}, which is not what its stem_map says: {stem}")
            self._same(whole(self.image), rest.stage_features(early), "forward and the stages behind the stem's map")

    def check_gradients(self) -> None:
        """Every parameter learns."""
        backbone = self._build().train()
        sum((m * torch.linspace(-1, 1, m.numel()).view(m.shape)).sum() for m in backbone(self.image)).backward()
        if idle := [name for name, value in backbone.named_parameters() if value.grad is None]:
            self._fail(f"{idle[0]} gets no gradient: nothing that it gives depends on it, and DDP would wait for it")

    def check_same_seed(self) -> None:
        """The same seed gives the same weights, and another seed others."""
        first, again, other = (self._build(seed).state_dict() for seed in (1, 1, 2))
        if any(not torch.equal(first[name], again[name]) for name in first):
            self._fail("it is not the same for the same seed of torch's generator, so that no run could be repeated")
        if all(torch.equal(first[name], other[name]) for name in first):
            self._fail("it is the same for every seed of torch's generator")

    def check_batch_independence(self) -> None:
        """In eval mode an image's maps do not depend on what else is in the batch."""
        backbone = self._build().eval()
        with torch.no_grad():
            self._same([m[:1] for m in backbone(self.image)], backbone(self.image[:1]), "an image alone and in a batch")

    def check_own_weights(self) -> None:
        """What it saves it can start from."""
        backbone = self._build()
        own = backbone.state_dict()
        found = backbone.own_names(own)
        if found.keys() != own.keys() or any(not torch.equal(found[name], own[name]) for name in own):
            self._fail("own_names changes its own weights, so that it could not start from what it saved")

    def _build(self, seed: int = 0, *, has_stem: bool = True) -> Backbone:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.spec.build(self.config, has_stem).to(self.device)

    def _same(self, some: list[Tensor], others: list[Tensor], what: str) -> None:
        for one, other in zip(some, others, strict=True):
            if float((one - other).abs().max()) > SAME * max(float(one.abs().max()), 1):
                self._fail(f"it does not give the same for {what}")

    def _fail(self, text: str) -> NoReturn:
        raise AssertionError(f'backbone "{self.spec.name}": {text}.')
