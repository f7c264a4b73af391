"""What hmr finds through this package's entry point."""

from __future__ import annotations

from hmr_core.plugins import DatasetSpec, hookimpl


@hookimpl
def hmr_datasets() -> list[DatasetSpec]:
    """The data sets."""
    return []
