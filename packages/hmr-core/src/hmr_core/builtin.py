"""Core's own hook implementations, found through core's entry point like any plugin's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import DatasetSpec, hookimpl

if TYPE_CHECKING:
    from pathlib import Path

    from hmr_core.data.sample import DatasetReader


@hookimpl
def hmr_datasets() -> list[DatasetSpec]:
    """OakInk-Image, from the release's own tree."""
    return [
        DatasetSpec(
            name="oakink",
            summary="OakInk-Image v2.1: the release's folder OakInk (image/anno, image/stream_release_v2)",
            open=_open_oakink,
        )
    ]


def _open_oakink(root: Path) -> DatasetReader:
    from hmr_core.data.oakink import open_oakink

    return open_oakink(root)
