"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import BackboneFamily, hookimpl

if TYPE_CHECKING:
    from hmr_core.plugins import BackboneSpec


@hookimpl
def hmr_backbones() -> list[BackboneFamily]:
    """timm's, as one family: to list them takes seconds, since timm imports torch."""
    return [BackboneFamily(name="timm/", summary="any of timm's backbones: timm/NAME", member=_member)]


def _member(name: str) -> BackboneSpec:
    from hmr_timm.family import member

    return member(name)
